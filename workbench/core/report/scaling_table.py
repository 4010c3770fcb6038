"""Scaling over GPUs as rows of text and as sentences, so that the command line, the window and reports say the same."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.scaling import ScalingGroup, ScalingRow
from workbench.core.report import words
from workbench.core.report.model import Statement

HEADS: tuple[tuple[str, str, str], ...] = (
    ("Engine", "", ""),
    ("GPUs", "", "Processes, one GPU each: tensor x pipeline x context parallel"),
    ("Load", "", "Level of the load; fastest: each engine where its throughput is highest"),
    ("Throughput", "tok/s", "Output tokens a second of all users"),
    ("A GPU", "tok/s", "Throughput by the number of GPUs"),
    ("Speed-up", "", "Throughput by that of the single-GPU engine, of several the fastest; 95 % interval"),
    ("Efficiency", "%", "Speed-up by the number of GPUs, 95 % interval"),
)
"""Title, unit, definition."""


def cells(row: ScalingRow) -> tuple[tuple[str, str], ...]:
    """Text of each column, and what stands under it: an interval, or why there is no figure."""
    load = "fastest" if row.level is None else words.level(row.level)
    speedup, efficiency = (words.NOT_REPORTED, row.why), (words.NOT_REPORTED, "")
    if row.speedup is not None:
        speedup = words.ratio(row.speedup.value), words.interval(row.speedup, 2)
    if row.efficiency_percent is not None:
        efficiency = words.number(row.efficiency_percent.value, 1), words.interval(row.efficiency_percent, 1)
    return (
        (row.name, ""),
        (str(row.gpus), "; ".join(part for part in (row.shape, row.remark) if part)),
        (load, f"at {words.level(row.at)}" if row.at is not None else ""),
        (words.number(row.throughput_tok_s.value, _digits(row.throughput_tok_s)), _between(row.throughput_tok_s)),
        (words.number(row.per_gpu_tok_s.value, _digits(row.per_gpu_tok_s)), _between(row.per_gpu_tok_s)),
        speedup,
        efficiency,
    )


def sentences(groups: Sequence[ScalingGroup]) -> tuple[Statement, ...]:
    """One for each engine on several GPUs, where it is fastest."""
    found = []
    for group in groups:
        for row in group.at(None):
            if row.gpus == 1:
                continue
            if row.speedup is None or row.efficiency_percent is None:
                text = f"{row.name} on {row.gpus} GPUs: no speed-up or efficiency: {row.why}."
                found.append(Statement(tone="note", text=text))
                continue
            sure = words.interval(row.efficiency_percent, 0)
            text = (
                f"{row.name} on {row.gpus} GPUs gives {words.ratio(row.speedup.value)} of one GPU, each at its fastest "
                f"load: efficiency {words.number(row.efficiency_percent.value, 0)} %" + (f" ({sure})" if sure else "")
            )
            text += f"; it {row.remark}." if row.remark else "."
            found.append(Statement(tone="note", text=text))
    return tuple(found)


def _between(one: Estimate) -> str:
    return words.interval(one, _digits(one))


def _digits(one: Estimate) -> int:
    return 0 if abs(one.value) >= 100 else 1
