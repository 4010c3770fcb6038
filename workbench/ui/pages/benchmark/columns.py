"""The columns of the numbers: which figures, in which groups, and what each of them means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from workbench.core.measure.figures import P99_SURE_FROM, PointFigures, Spread
from workbench.core.report import words
from workbench.core.report.definitions import DEFINITIONS
from workbench.ui.models.bench_view import RunView


@dataclass(frozen=True)
class Column:
    """One figure of a point."""

    title: str
    group: str
    unit: str
    tip: str
    value: Callable[[PointFigures], float | None]
    digits: int | None
    csv: str
    """Name of the column in CSV, with its unit."""
    count: Callable[[PointFigures], int | None] = lambda _: None
    """Values that it is made of, where they are too few to be sure of it."""

    note: Callable[[PointFigures], str] = lambda _: ""
    """More about a point's value, for its tool tip."""

    def text(self, one: PointFigures) -> str:
        return words.number(self.value(one), self.digits)


_P = {"p50": "Half of the requests are below it.", "p90": "90 % of the requests are below it.", "p99": (
    "99 % of the requests are below it. Below 100 requests their number stands beside it."
)}  # fmt: skip


def _percentiles(
    group: str,
    unit: str,
    definition: str,
    spread: Callable[[PointFigures], Spread | None],
    digits: int,
    csv: str,
    names: tuple[str, ...] = ("p50", "p90", "p99"),
    scale: float = 1.0,
) -> list[Column]:
    def value(name: str) -> Callable[[PointFigures], float | None]:
        def read(one: PointFigures) -> float | None:
            found = spread(one)
            return getattr(found, name) * scale if found is not None else None

        return read

    def few(one: PointFigures) -> int | None:
        found = spread(one)
        return found.n if found is not None and found.n < P99_SURE_FROM else None

    def rarest(one: PointFigures) -> str:
        found = spread(one)
        if found is None or found.p999 is None:
            return ""
        return f"p99.9: {words.number(found.p999 * scale, digits)} {unit}"

    return [
        Column(
            name,
            group,
            unit,
            f"{definition}\n{_P[name]}",
            value(name),
            digits,
            f"{csv}_{name}_{unit}",
            few if name == "p99" else lambda _: None,
            rarest if name == "p99" else lambda _: "",
        )
        for name in names
    ]


def columns_of(view: RunView) -> tuple[Column, ...]:
    """What is shown of a run; columns that nothing of it reports are left out, but not those that all runs have."""
    arrival = view.head.load.arrival
    level = {"closed": "Users", "trace": "Speed"}.get(arrival, "Rate")
    level_tip = {
        "closed": "Requests that are open at any time: one user each.",
        "trace": "How many times faster than recorded the trace is replayed.",
    }.get(arrival, "Requests sent a second, whatever the engine does.")
    found = [
        Column(level, "", "", level_tip, lambda one: one.level, None, "level"),
        Column(
            "Requests", "", "", "Requests that completed, of all repeats; warm-up left out.",
            lambda one: one.completed, 0, "completed",
        ),
        Column(
            "Req/s", "", "", DEFINITIONS["Request throughput"], lambda one: one.req_s, 1, "request_throughput_req_s"
        ),
        Column(
            "all", "Generated tokens", "tok/s", DEFINITIONS["Output throughput"],
            lambda one: one.output_tok_s if one.completed else None, 0, "output_throughput_tok_s",
        ),
        Column(
            "per user", "Generated tokens", "tok/s", f"{DEFINITIONS['Output speed per user']} The median.",
            lambda one: one.per_user_tok_s.p50 if one.per_user_tok_s else None, 1, "output_speed_per_user_p50_tok_s",
        ),
        *_percentiles("Time to first token", "ms", DEFINITIONS["TTFT"], lambda one: one.ttft_ms, 1, "ttft"),
        *_percentiles("Inter-token latency", "ms", DEFINITIONS["ITL"], lambda one: one.itl_ms, 2, "itl"),
        *_percentiles(
            "Whole answer", "s", DEFINITIONS["Latency"], lambda one: one.latency_ms, 2, "latency", ("p50", "p90"), 1e-3
        ),
    ]  # fmt: skip
    found += [column for column in _extra() if any(column.value(one) is not None for one in view.figures)]
    found.append(
        Column(
            "Errors",
            "",
            "",
            "Requests that failed or timed out. They are in no time and no speed.",
            lambda one: one.failed,
            0,
            "failed",
        )
    )
    return tuple(_fine(column, view) for column in found)


def _fine(column: Column, view: RunView) -> Column:
    """With as many digits as its smallest value needs for two that count: what is small must not read as zero."""
    values = [value for one in view.figures if (value := column.value(one))]
    if column.digits is None or not values or all(isinstance(value, int) for value in values):
        return column
    least, digits = min(abs(value) for value in values), column.digits
    while digits < column.digits + 3 and least * 10**digits < 10:
        digits += 1
    return replace(column, digits=digits)


def _extra() -> list[Column]:
    return [
        Column(
            "req/s", "Goodput", "", DEFINITIONS["Goodput"], lambda one: one.goodput_req_s, 1, "goodput_req_s"
        ),
        Column(
            "KV peak %", "Engine", "", "Most of the KV pool that was in use, in percent.",
            lambda one: None if one.kv_share_peak is None else one.kv_share_peak * 100, 0, "kv_share_peak_percent",
        ),
        Column(
            "Power W", "Engine", "", "Mean power of its GPUs, in W.", lambda one: one.power_mean_w, 0, "power_mean_w"
        ),
        Column(
            "tok/J", "Engine", "", DEFINITIONS["Output tokens a joule"], lambda one: one.tok_per_j, 2, "tok_per_j"
        ),
    ]  # fmt: skip


def table_csv(view: RunView) -> str:
    """All points of all subjects with the shown columns; what is not reported is an empty cell."""
    columns = columns_of(view)
    lines = [",".join(["subject", *(column.csv for column in columns)])]
    for one in view.figures:
        subject = view.subject(one.subject)
        name = subject.name if subject is not None else one.subject
        cells = ['"' + name.replace('"', '""') + '"']
        for column in columns:
            value = column.value(one)
            cells.append("" if value is None else f"{value:.6g}")
        lines.append(",".join(cells))
    return "\n".join(lines) + "\n"
