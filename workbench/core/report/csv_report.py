"""The report's points as CSV: one row a variant and level, units in the column names, absent values empty."""

from __future__ import annotations

import csv
import io
import json

from workbench.core.report.model import Point, Report

_LEADING = ("variant", "variant_name", "baseline", "source")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_columns() -> tuple[str, ...]:
    """Header of the file, in order."""
    return (*_LEADING, *(name for name in Point.model_fields if name != "variant"))


def write_csv(report: Report) -> str:
    """RFC 4180 with CRLF. Numbers have a decimal point and full precision; a share is 0 to 1."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(csv_columns())
    for variant in report.variants:
        for point in report.points_of(variant.id):
            leading = (variant.id, _safe(variant.name), "yes" if variant.baseline else "no", variant.source)
            values = (_text(getattr(point, name)) for name in csv_columns()[len(_LEADING) :])
            writer.writerow((*leading, *values))
    return out.getvalue()


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    if isinstance(value, tuple):
        return _safe("; ".join(str(item) for item in value))
    return _safe(str(value))


def _safe(text: str) -> str:
    """Names and error texts come from elsewhere; a spreadsheet must not take one for a formula."""
    return "'" + text if text.startswith(_FORMULA) else text
