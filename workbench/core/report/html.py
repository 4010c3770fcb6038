"""The report as one HTML file that needs nothing else: no script, no font, no address to fetch."""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from workbench.core.data import resource
from workbench.core.measure.scaling import ScalingRow
from workbench.core.report import scaling_table, tables, words
from workbench.core.report.charts import charts
from workbench.core.report.fit import fit_to_page
from workbench.core.report.marks import Theme, colours, is_filled, shape_of, tone_of
from workbench.core.report.model import MatrixCell, Report, RunInfo, Variant
from workbench.core.report.svg import marker_svg, to_svg

if TYPE_CHECKING:
    from jinja2 import Template

_TONES = {"ok": "Found", "note": "Note", "warning": "Warning", "error": "Failed"}


def write_html(report: Report) -> str:
    """Light and dark by the reader's setting, on paper always light; prints to one page of A4 or Letter."""
    drawings = charts(report)
    head, rows = tables.point_table(report)
    quality_head, quality_rows = tables.quality_table(report)
    fit = fit_to_page(report, len(drawings), quality_rows)
    on_paper = tables.fewer_points(report, fit.most_rows)
    views = {variant.id: _view(variant) for variant in report.variants}
    return _template().render(
        report=report,
        light=_properties("light"),
        dark=_properties("dark"),
        tones=_TONES,
        subtitle=tables.subtitle(report),
        created=words.moment(report.created_at),
        variants=list(views.values()),
        matrix=_matrix(report, views),
        charts=[{"title": drawing.title, "svg": Markup(to_svg(drawing))} for drawing in drawings],  # noqa: S704
        point_columns=head,
        points=[{"variant": views[row.variant.id], "cells": row.cells, "hidden": row not in on_paper} for row in rows],
        quality_columns=quality_head,
        quality=[
            {"variant": views[row.variant.id], "cells": row.cells, "kind": "simulated" if simulated else ""}
            for row, simulated in zip(quality_rows, _simulated(report, quality_rows), strict=True)
        ],
        quality_text=_quality_text(report),
        scaling_columns=[tables.Head(*one) for one in scaling_table.HEADS],
        scaling=[
            {"title": group.title, "rows": [_scaling_row(row, views) for row in group.rows]} for group in report.scaling
        ],
        worst=[
            {
                "variant": views[row.variant.id],
                "text": row.text,
                "agreement": row.agreement,
                "first": row.first,
                "baseline": row.baseline,
                "says": row.says,
            }
            for row in tables.worst_prompts(report)
        ],
        setting_variants=[views[variant.id] for variant in report.variants if variant.subject is not None],
        settings=_settings(report),
        runs=_runs(report),
        provenance=tables.provenance(report),
        foreign=[
            {
                "variant": views[info.variant],
                "facts": tables.foreign_facts(info),
                "mapping": tuple(info.mapping.items()),
                "line": tables.foreign_line(info),
            }
            for info in report.foreign
        ],
        print=fit,
        only_on_screen=len(rows) - len(on_paper),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.from_string(resource("report/report.html.j2").read_text(encoding="utf-8"))


def _properties(theme: Theme) -> Markup:
    found = colours(theme)
    return Markup(" ".join(f"--{name}: {value};" for name, value in found.items()))  # noqa: S704


def _view(variant: Variant) -> dict[str, Any]:
    tone = tone_of(variant.slot)
    return {
        "name": variant.name,
        "detail": variant.detail,
        "baseline": variant.baseline,
        "failure": variant.failure,
        "tone": tone,
        "marker": Markup(marker_svg(shape_of(variant.slot), tone, is_filled(variant.slot))),  # noqa: S704
    }


def _matrix(report: Report, views: dict[str, dict[str, Any]]) -> dict[str, Any]:
    base = report.baseline
    repeats = max((len(cell.repeats) for cell in report.matrix.cells), default=0)
    rows = []
    for variant in report.variants:
        cells = []
        for column in report.matrix.columns:
            cell = report.matrix.cell(variant.id, column.id)
            reference = report.matrix.cell(base.id, column.id) if base is not None else None
            cells.append(_cell(cell, reference, column.unit))
        rows.append({"variant": views[variant.id], "cells": cells})
    told = [f"Median of {repeats} repeats." if repeats > 1 else ""]
    told.append(
        "Filled dot: better than the baseline; hollow: worse. The bar's tick is the baseline. ↑ more is better."
    )
    return {"columns": report.matrix.columns, "rows": rows, "caption": " ".join(part for part in told if part)}


def _cell(cell: MatrixCell | None, base: MatrixCell | None, unit: str) -> dict[str, Any]:
    if cell is None or cell.value is None:
        why = cell.reason if cell is not None else "not reported"
        nothing = dict.fromkeys(("ratio", "dot", "between", "title"), "")
        return {**nothing, "shown": words.NOT_REPORTED, "why": why, "best": False, "width": None, "tick": None}
    parts = []
    if cell.repeats:
        parts.append(f"repeats {words.number(min(cell.repeats))} to {words.number(max(cell.repeats))}")
    between = words.interval(cell.estimate, 3)
    if between:
        parts.append(f"95 % interval {between}")
    if cell.verdict:
        parts.append(f"against the baseline: {cell.verdict}")
    return {
        "between": words.ratio_interval(cell.ratio_estimate),
        "shown": cell.shown,
        "why": cell.reason,
        "ratio": words.ratio(cell.ratio) if cell.ratio is not None else "baseline" if cell is base else "",
        "dot": {True: "full", False: "open", None: ""}[cell.better],
        "best": cell.best,
        "width": None if cell.share is None else round(cell.share * 100, 1),
        "tick": None if base is None or base.share is None else round(base.share * 100, 1),
        "title": f"{cell.shown} {unit}" + (f", {', '.join(parts)}" if parts else ""),
    }


def _settings(report: Report) -> list[dict[str, Any]]:
    shown = [variant.id for variant in report.variants if variant.subject is not None]
    return [
        {
            "name": row.name,
            "cells": [
                {"text": row.values.get(key, words.NOT_REPORTED), "missed": row.missed.get(key, "")} for key in shown
            ],
        }
        for row in report.settings
    ]


def _runs(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "heading": (run.title or run.id) if len(report.runs) > 1 else "",
            "command": words.command_line(run.command),
            "facts": tables.run_facts(report, run),
            "config": _config(run),
        }
        for run in report.runs
    ]


def _config(run: RunInfo) -> str:
    """Workload and load, a setting a line; the values are JSON."""
    lines = []
    for name, settings in (("workload", run.workload), ("load", run.load)):
        lines += [f"{name}.{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in settings.items()]
    return "\n".join(lines)


def _simulated(report: Report, rows: tuple[tables.Row, ...]) -> list[bool]:
    kinds = {record.subject: record.kind for record in report.quality}
    return [kinds.get(row.variant.id) == "simulated" for row in rows]


def _scaling_row(row: ScalingRow, views: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {"variant": views[row.subject], "cells": scaling_table.cells(row)[1:]}


def _quality_text(report: Report) -> str:
    texts = list(dict.fromkeys(record.text for record in report.quality if record.text))
    return f"Perplexity on {'; '.join(texts)}." if texts else ""
