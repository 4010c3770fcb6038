"""The matrix of a comparison: variants by figures, each with its ratio to the baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from workbench.core.measure.comparison import Comparison
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.figures import PointFigures, pooled_figures
from workbench.core.measure.matrix_values import (
    Facts,
    Value,
    cost_value,
    draft_value,
    held_value,
    point_value,
    quality_value,
    reported_value,
    task_value,
    told_value,
)
from workbench.core.measure.passages import shipped
from workbench.core.measure.record import Subject

Better = Literal["lower", "higher"]

GIB, MIB = 2**30, 2**20


@dataclass(frozen=True)
class Column:
    """A figure. Values are kept in base units; `unit`, `scale` and `decimals` are how they are shown."""

    id: str
    title: str
    unit: str
    better: Better
    definition: str
    scale: float = 1.0
    """A value is divided by it to be shown in `unit`."""
    decimals: int = 0

    def shown(self, value: float) -> str:
        """A value without its unit; U+202F between thousands, no more than three digits behind the point."""
        if self.unit == "min:s":
            minutes, seconds = divmod(round(value), 60)
            return f"{minutes}:{seconds:02d}"
        return f"{value / self.scale:,.{self.decimals}f}".replace(",", "\u202f")


@dataclass(frozen=True)
class Cell:
    """One figure of one variant."""

    value: float | None
    """In base units; None: `reason` says why."""
    reason: str = ""
    ratio: float | None = None
    """To the baseline; None for the baseline itself and where one of the two is not reported."""
    better: bool | None = None
    """Than the baseline; None: the same, or not comparable."""
    best: bool = False
    """Of all variants."""
    share: float | None = None
    """Length of the bar, of the longest in its column, 0 to 1."""
    repeats: tuple[float, ...] = ()
    """The value of each repeat, where there are several."""
    estimate: Estimate | None = None
    """With its interval, where there is one."""


@dataclass(frozen=True)
class Row:
    subject: Subject
    cells: tuple[Cell, ...]
    is_baseline: bool = False


@dataclass(frozen=True)
class Matrix:
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def column(self, column_id: str) -> int | None:
        """Its place; None when it is not there."""
        return next((place for place, column in enumerate(self.columns) if column.id == column_id), None)

    def cell(self, subject_id: str, column_id: str) -> Cell | None:
        place = self.column(column_id)
        row = next((row for row in self.rows if row.subject.id == subject_id), None)
        return row.cells[place] if row is not None and place is not None else None


def make_matrix(comparison: Comparison, known: Mapping[tuple[str, float], PointFigures] | None = None) -> Matrix:
    """All figures that any variant has; a column that no variant has is left out.

    `known`: figures by subject and level that were computed already; all of the run's, when it is given.
    """
    head = comparison.head
    levels = _levels(comparison)
    columns = _columns(comparison, levels)
    facts = [_facts(comparison, subject, known) for subject in head.subjects]
    base = next((one for one in facts if one.subject.id == head.baseline), None)
    made: list[tuple[Column, list[Cell]]] = []
    for column, value in columns:
        cells = [_cell(value(one)) for one in facts]
        if all(cell.value is None for cell in cells):
            continue
        fitted = _fitted(column, cells)
        made.append((fitted, _against(fitted, cells, facts, base)))
    rows = tuple(
        Row(one.subject, tuple(cells[place] for _, cells in made), one.subject.id == head.baseline)
        for place, one in enumerate(facts)
    )
    return Matrix(tuple(column for column, _ in made), rows)


def _levels(comparison: Comparison) -> tuple[float, ...]:
    points = comparison.run.points if comparison.run is not None else ()
    return tuple(sorted({*comparison.head.load.levels, *(point.level for point in points)}))


def _facts(comparison: Comparison, subject: Subject, known: Mapping[tuple[str, float], PointFigures] | None) -> Facts:
    head = comparison.head
    points = comparison.run.points_of(subject.id) if comparison.run is not None else ()
    if known is not None:
        levels = {level: figures for (name, level), figures in known.items() if name == subject.id}
    else:
        levels = {
            level: pooled_figures(same, head.load.limits, fixed_output=head.workload.fixed_output)
            for level in sorted({point.level for point in points})
            if (same := [point for point in points if point.level == level])
        }
    base = comparison.baseline
    told = bool(base.tokenizer and subject.tokenizer)
    tokens_in, tokens_out = head.workload.input.mean, head.workload.output.mean
    return Facts(
        subject=subject,
        levels=levels,
        quality=comparison.quality_of(subject.id),
        price=head.price,
        comparable=not told or base.tokenizer == subject.tokenizer,
        sequence_tokens=tokens_in + tokens_out if tokens_in and tokens_out else None,
        is_baseline=subject.id == head.baseline,
    )


def _columns(comparison: Comparison, levels: tuple[float, ...]) -> list[tuple[Column, Callable[[Facts], Value]]]:
    load, first = comparison.head.load, levels[0] if levels else 1.0
    at_first = level_words(load.arrival, first)
    found: list[tuple[Column, Callable[[Facts], Value]]] = [
        (
            Column("size", "Size on disk", "GiB", "lower", "All files of the engine, or the weights it refers to."),
            lambda f: told_value(f, f.subject.size_bytes),
        ),
        (
            Column("weights", "Weight memory", "GiB", "lower", "Memory of the weights, as the engine reports it."),
            lambda f: reported_value(f, f.subject.weights_bytes),
        ),
        (
            Column("kv", "KV capacity", "k tokens", "higher", "KV blocks times tokens a block.", 1000.0),
            lambda f: reported_value(f, f.subject.kv_tokens),
        ),
        (
            Column(
                "kv_sequences",
                "Fits",
                "sequences",
                "higher",
                "KV capacity by the length of the workload's prompt and answer together.",
            ),
            lambda f: (
                reported_value(f, f.subject.kv_tokens // f.sequence_tokens)
                if f.subject.kv_tokens is not None and f.sequence_tokens
                else reported_value(f, None)
            ),
        ),
        (
            Column("build", "Build time", "min:s", "lower", "All steps from the source model to the engine."),
            lambda f: (f.subject.build_s, "" if f.subject.build_s is not None else "not built here", (), None),
        ),
        (
            Column(
                "ttft", "TTFT", f"ms, {at_first}", "lower", "Median time from a request to its first token.", 1.0, 1
            ),
            lambda f: point_value(f, first, lambda p: p.ttft_ms.p50 if p.ttft_ms else None, lambda r: r.ttft_p50_ms),
        ),
        (
            Column(
                "itl",
                "Inter-token",
                f"ms, {at_first}",
                "lower",
                "Median over requests of (tN - t1) / (n - 1): the time between tokens.",
                1.0,
                2,
            ),
            lambda f: point_value(f, first, lambda p: p.itl_ms.p50 if p.itl_ms else None, lambda r: r.itl_p50_ms),
        ),
    ]
    for level in levels:
        found.append(
            (
                Column(
                    f"speed@{level:g}",
                    level_words(load.arrival, level),
                    "tok/s",
                    "higher",
                    "Output tokens of all requests by the measured time.",
                ),
                lambda f, level=level: point_value(f, level, lambda p: p.output_tok_s, lambda r: r.output_tok_s),  # type: ignore[misc]
            )
        )
    found += [
        (
            Column(
                "acceptance",
                "Accepted",
                "% of guesses",
                "higher",
                "Guesses of speculative decoding that the engine kept, of those it checked, over all levels.",
                0.01,
                0,
            ),
            lambda f: draft_value(f, "rate"),
        ),
        (
            Column(
                "tokens_a_pass",
                "Tokens a pass",
                "with guesses",
                "higher",
                "1 + guesses kept / passes of a request in which guesses were checked, over all levels.",
                1.0,
                2,
            ),
            lambda f: draft_value(f, "length"),
        ),
        (
            Column(
                "perplexity",
                "Perplexity",
                "shipped text" if all(shipped(one.text) for one in comparison.quality) else "own text",
                "lower",
                "exp of the mean negative log-likelihood a token.",
            ),
            lambda f: quality_value(f, "perplexity"),
        ),
        (
            Column("bits_per_byte", "Bits", "a byte", "lower", "Negative log2-likelihood a byte of text.", 1.0, 3),
            lambda f: quality_value(f, "bits_per_byte"),
        ),
        (
            Column(
                "agreement",
                "Agreement",
                "%",
                "higher",
                "Positions where the greedy token is the baseline's, on the baseline's own answer.",
                0.01,
                1,
            ),
            lambda f: held_value(f, "agreement"),
        ),
        (
            Column("kl", "KL", "nats", "lower", "Mean KL divergence of next-token distributions, baseline || variant."),
            lambda f: held_value(f, "kl_nats"),
        ),
    ]
    tasks = {(task.name, task.metric) for one in comparison.quality for task in one.tasks}
    for name, metric in sorted(tasks):
        found.append(
            (
                Column(
                    f"task.{name}.{metric}",
                    name,
                    f"% {metric}",
                    "higher",
                    "Share of questions answered right.",
                    0.01,
                    1,
                ),
                lambda f, name=name, metric=metric: task_value(f, name, metric),  # type: ignore[misc]
            )
        )
    price = comparison.head.price
    if price is not None:
        found.append(
            (
                Column(
                    "cost",
                    "Cost",
                    f"{price.currency} a M tokens",
                    "lower",
                    "Price of an hour by the output tokens of an hour, at the level of the highest throughput.",
                    1.0,
                    3,
                ),
                cost_value,
            )
        )
    return found


def level_words(arrival: str, level: float) -> str:
    """`1 user`, `8 users`, `2.5 req/s`."""
    if arrival == "closed":
        return f"{level:g} user{'' if level == 1 else 's'}"
    return f"{level:g}x trace" if arrival == "trace" else f"{level:g} req/s"


def _cell(value: Value) -> Cell:
    number, reason, repeats, estimate = value
    return Cell(number, reason, repeats=repeats, estimate=estimate)


def _fitted(column: Column, cells: list[Cell]) -> Column:
    """The column with a unit and as many decimals as its values want."""
    values = [abs(cell.value) for cell in cells if cell.value is not None]
    low, high = min(values), max(values)
    if column.unit == "GiB":
        small = high < GIB
        scale = MIB if small else GIB
        return replace(column, unit="MiB" if small else "GiB", scale=scale, decimals=0 if low / scale >= 100 else 1)
    if column.id == "kv":
        return replace(column, decimals=0 if low >= 100_000 else 1)
    if column.id in ("perplexity", "kl"):
        return replace(column, decimals=2 if low >= 1 else 3 if low >= 0.01 else 4)
    if column.unit == "tok/s":
        return replace(column, decimals=0 if low >= 100 else 1)
    if column.id == "cost":
        return replace(column, decimals=2 if low >= 0.1 else 4)
    return column


def _against(column: Column, cells: list[Cell], facts: list[Facts], base: Facts | None) -> list[Cell]:
    """The cells with ratio, bar and which is best."""
    here = next((cell for cell, one in zip(cells, facts, strict=True) if base is not None and one is base), None)
    longest = max((abs(cell.value) for cell in cells if cell.value is not None), default=0.0)
    by_tokens = column.id.startswith(("ttft", "itl", "speed@", "perplexity", "cost"))
    fair = [
        cell.value
        for cell, one in zip(cells, facts, strict=True)
        if cell.value is not None and (one.comparable or not by_tokens)
    ]
    best = (min(fair) if column.better == "lower" else max(fair)) if len({*fair}) > 1 else None
    made = []
    for cell, one in zip(cells, facts, strict=True):
        if cell.value is None:
            made.append(cell)
            continue
        ratio = better = None
        comparable = one.comparable or not by_tokens
        if here is not None and here.value and cell is not here and comparable:
            ratio = cell.value / here.value
            # What is said as the same, or as 1.000 times the baseline, is neither better nor worse.
            if column.shown(cell.value) != column.shown(here.value) and abs(ratio - 1) >= 0.0005:
                better = (cell.value < here.value) == (column.better == "lower")
        made.append(
            replace(
                cell,
                ratio=ratio,
                better=better,
                best=comparable and cell.value == best,
                share=abs(cell.value) / longest if longest else None,
                reason="" if comparable else "other tokenizer",
            )
        )
    return made
