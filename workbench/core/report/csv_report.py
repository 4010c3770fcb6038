"""The report's points as CSV: one row a variant and level, units in the column names, absent values empty.

Quality is a variant's and not a point's: it stands in each of its rows, and in one of its own where no speed was
measured.
"""

from __future__ import annotations

import csv
import io
import json

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import QualityRecord
from workbench.core.report.model import Point, Report

_LEADING = ("variant", "variant_name", "baseline", "source")
_QUALITY = {"perplexity": "perplexity", "perplexity_ratio": "perplexity_ratio", "bits_per_byte": "bits_per_byte",
            "agreement": "agreement_share", "kl_nats": "kl_nats"}  # fmt: skip
"""Field of the record -> column."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_columns() -> tuple[str, ...]:
    """Header of the file, in order."""
    quality = [f"{name}{end}" for name in _QUALITY.values() for end in ("", "_low", "_high", "_stderr")]
    return (*_LEADING, *_point_columns(), *quality, "tasks", "quality_not_reported")


def _point_columns() -> tuple[str, ...]:
    return tuple(name for name in Point.model_fields if name != "variant")


def write_csv(report: Report) -> str:
    """RFC 4180 with CRLF. Numbers have a decimal point and full precision; a share is 0 to 1."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(csv_columns())
    records = {record.subject: record for record in report.quality}
    for variant in report.variants:
        record = records.get(variant.id)
        leading = (variant.id, _safe(variant.name), "yes" if variant.baseline else "no", variant.source)
        points: tuple[Point | None, ...] = report.points_of(variant.id)
        for point in points or ((None,) if record is not None else ()):
            values = (_text(None if point is None else getattr(point, name)) for name in _point_columns())
            writer.writerow((*leading, *values, *_quality(record)))
    return out.getvalue()


def _quality(record: QualityRecord | None) -> list[str]:
    found: list[object] = []
    for field in _QUALITY:
        estimate: Estimate | None = getattr(record, field) if record is not None else None
        found += [None] * 4 if estimate is None else [estimate.value, estimate.low, estimate.high, estimate.stderr]
    tasks = record.tasks if record is not None else ()
    found.append({f"{task.name} {task.metric}": task.score.value for task in tasks})
    missing = dict(record.not_reported) if record is not None else {}
    if record is not None and record.failure is not None:
        missing["all"] = record.failure.what
    found.append(missing)
    return [_text(value) for value in found]


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
