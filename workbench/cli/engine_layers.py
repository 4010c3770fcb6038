"""`workbench engines layers`: the layers, profiles and targets of a compiled engine."""

from __future__ import annotations

from dataclasses import asdict

from rich.console import JustifyMethod
from rich.table import Table

from workbench.cli.column_widths import column_widths
from workbench.cli.context import Context
from workbench.cli.engines import find_engine
from workbench.core.errors import BadInputError
from workbench.core.tensorrt_rtx.layer_words import (
    NOT_REPORTED,
    LayerRow,
    ProfileRows,
    Sum,
    engine_facts,
    layer_rows,
    profile_rows,
    sums,
    target_words,
    targets_of_result,
)
from workbench.core.tensorrt_rtx.layers import read_layers
from workbench.core.units import format_bytes, in_thousands

_MOST_LETTERS = 60
"""Of a list of tensors or nodes in the table; --json has all of them."""
_LONG = ("layer", "inputs", "outputs", "made from")
"""Columns that give way where the terminal is narrow; the others are short and stay whole."""


def run_layers(context: Context, wanted: str, only: str) -> None:
    """Print the layers (of one type, where `only` names it), and what they sum up to."""
    stored = find_engine(context, wanted)
    if stored.provenance.toolchain != "tensorrt_rtx":
        raise BadInputError(
            f"The engine {stored.path.name} has no list of its layers.",
            evidence=f"toolchain {stored.provenance.toolchain}",
            fix="Only engines of tensorrt_rtx are compiled here with such a list.",
            code="no-layers",
        )
    table = read_layers(stored.path)
    rows, profiles = layer_rows(table), profile_rows(table)
    by_type = sums(rows, lambda row: row.type)
    shown = _of_type(rows, by_type, only)
    by_precision = sums(shown, lambda row: row.precision)
    targets = targets_of_result(stored.provenance.result)
    facts = engine_facts(stored.provenance.result)
    if context.as_json:
        context.result(
            {
                "engine": stored.provenance.name,
                "path": str(stored.path),
                "targets": list(targets),
                **{
                    name: stored.provenance.result.get(name)
                    for name in ("engine_bytes", "weight_streaming", "stripped", "build_seconds")
                },
                "source": table.source,
                "by_type": [asdict(one) for one in by_type],
                "by_precision": [asdict(one) for one in by_precision],
                "profiles": [one.model_dump(mode="json") for one in table.profiles],
                "bindings": [one.model_dump(mode="json") for one in table.bindings],
                "layers": [
                    {**layer.model_dump(mode="json"), "constants_bytes": row.constants_bytes, "profile": row.profile}
                    for layer, row in zip(table.layers, rows, strict=True)
                    if not only or row.type == only
                ],
            }
        )
        return
    context.out.print(_layers(shown, several=len(profiles) > 1, room=context.out.width))
    context.out.print()
    for profile in profiles:
        context.out.print(_profile(profile))
        context.out.print()
    context.out.print(_sums("type", by_type))
    context.out.print()
    context.out.print(_sums("precision" + (f" of {only}" if only else ""), by_precision))
    context.out.print()
    lines = [f"built for         {words}" for words in target_words(targets) or [NOT_REPORTED]]
    lines += [f"{name.lower():<17} {words}" for name, words in facts]
    context.result(None, "\n".join([*lines, f"{'read from':<17} {table.source}"]))


def _of_type(rows: tuple[LayerRow, ...], by_type: tuple[Sum, ...], only: str) -> tuple[LayerRow, ...]:
    """Raises BadInputError for a type that no layer has."""
    shown = tuple(row for row in rows if not only or row.type == only)
    if only and not shown:
        raise BadInputError(
            f"No layer is of the type {only!r}.",
            evidence=f"types: {', '.join(one.name for one in by_type) or 'none'}",
            fix="Leave --type out to see all of them.",
            code="no-such-type",
        )
    return shown


def _layers(rows: tuple[LayerRow, ...], *, several: bool, room: int) -> Table:
    """`room`: letters of a line."""
    heads = ["layer", "type", "precision", "constants", "inputs", "outputs", "made from"]
    heads += ["profile"] if several else []
    lines = []
    for row in rows:
        cells = [row.name, row.type, row.precision, format_bytes(row.constants_bytes) if row.constants_bytes else ""]
        cells += [_short(text) for text in (row.inputs, row.outputs, row.origin)]
        lines.append([*cells, row.profile] if several else cells)
    made = Table(box=None, pad_edge=False)
    for head, width in zip(heads, column_widths(heads, lines, _LONG, room), strict=True):
        side: JustifyMethod = "right" if head == "constants" else "left"
        made.add_column(head, justify=side, overflow="ellipsis", no_wrap=True, width=width)
    for line in lines:
        made.add_row(*line)
    return made


def _short(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 1] + "…"


def _profile(profile: ProfileRows) -> Table:
    made = Table(box=None, pad_edge=False)
    made.add_column(f"profile {profile.name}, {in_thousands(profile.layers)} layers", no_wrap=True)
    for head in ("min", "opt", "max"):
        made.add_column(head, justify="right", no_wrap=True)
    for one in profile.inputs:
        name = f"{one.name} ({one.count} inputs)" if one.count > 1 else one.name
        made.add_row(name, one.least, one.best, one.most)
    return made


def _sums(title: str, found: tuple[Sum, ...]) -> Table:
    made = Table(box=None, pad_edge=False)
    made.add_column(title)
    for head in ("layers", "constants"):
        made.add_column(head, justify="right", no_wrap=True)
    for one in found:
        size = format_bytes(one.constants_bytes) if one.constants_bytes else ""
        made.add_row(one.name, in_thousands(one.layers), size)
    return made
