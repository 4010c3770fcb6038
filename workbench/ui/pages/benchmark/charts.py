"""From a run to the four charts of its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from workbench.core.measure.figures import P99_SURE_FROM, PointFigures, RepeatFigures, Spread
from workbench.core.report import words
from workbench.ui.models.bench_view import RunView
from workbench.ui.plots.data import Chart, Dot, Line

TABS = (
    ("throughput", "Throughput by users"),
    ("per_user", "Throughput by speed per user"),
    ("ttft", "TTFT"),
    ("itl", "Inter-token"),
)
"""Name and title."""


@dataclass(frozen=True)
class Axes:
    """How a person wants the axes."""

    y_log: bool = False
    y_from_zero: bool = True
    x_log: bool = True
    """Levels stand by their doubling, where they are far apart."""


def by_words(view: RunView) -> str:
    """What a level is, for titles: `users`, `request rate`, `speed of the trace`."""
    return {"closed": "users", "trace": "speed of the trace"}.get(view.head.load.arrival, "request rate")


def x_title(view: RunView) -> str:
    return {"closed": "concurrent users", "trace": "times the trace's speed"}.get(
        view.head.load.arrival, "requests a second"
    )


def tab_title(name: str, view: RunView | None) -> str:
    """Of a tab, in the words of the run's load."""
    title = dict(TABS)[name]
    return title.replace("users", by_words(view)) if view is not None and name == "throughput" else title


def spread_words(view: RunView) -> str:
    """What the vertical bars are; empty where there are none."""
    repeats = max((len(one.repeats) for one in view.figures), default=0)
    return f"vertical bars: min and max of {repeats} repeats" if repeats > 1 else ""


def chart_of(name: str, view: RunView, axes: Axes = Axes()) -> Chart:
    """The chart of a tab."""
    makers = {
        "throughput": partial(_throughput, view),
        "per_user": partial(_per_user, view),
        "ttft": partial(_latency, view, "TTFT, median", lambda f: f.ttft_ms, lambda r: r.ttft_p50_ms),
        "itl": partial(_latency, view, "Inter-token latency, median", lambda f: f.itl_ms, lambda r: r.itl_p50_ms),
    }
    return makers[name](axes)


def _lines(view: RunView, dot: Callable[[PointFigures], Dot], end: Callable[[Dot], str]) -> tuple[Line, ...]:
    found = []
    for subject in view.head.subjects:
        dots = tuple(dot(one) for one in view.of(subject.id))
        last = next((one for one in reversed(dots) if one.y is not None), None)
        if dots:
            words_at_end = end(last) if last is not None else "not reported"
            found.append(Line(subject.name, view.slot(subject.id), dots, words_at_end, subject.id))
    return tuple(found)


def _range(
    repeats: Sequence[RepeatFigures], value: Callable[[RepeatFigures], float | None]
) -> tuple[float | None, float | None]:
    """Lowest and highest of the repeats; nothing of one."""
    there = [found for one in repeats if (found := value(one)) is not None]
    return (min(there), max(there)) if len(there) > 1 else (None, None)


def _reach(value: float | None, low: float | None, high: float | None, digits: int | None = None) -> str:
    """`\u00b1111`: how far the repeats lie from the value."""
    if value is None or low is None or high is None:
        return ""
    return f"\u00b1{words.number(max(high - value, value - low), digits)}"


def _why(one: PointFigures) -> str:
    if one.failure is not None:
        return "failed"
    return "no request completed" if not one.completed else "not reported"


def _note(unit: str, view: RunView) -> str:
    repeats = max((len(one.repeats) for one in view.figures), default=0)
    return f"{unit}, min\u2013max of {repeats}" if repeats > 1 else unit


def _kind(axes: Axes, view: RunView) -> str:
    return "levels" if axes.x_log or len(view.levels) < 3 else "linear"


def _throughput(view: RunView, axes: Axes) -> Chart:
    def dot(one: PointFigures) -> Dot:
        low, high = _range(one.repeats, lambda repeat: repeat.output_tok_s)
        value = one.output_tok_s if one.completed else None
        detail = _reach(value, low, high) if value is not None else _why(one)
        return Dot(one.level, value, low, high, detail=detail, key=one.level)

    return Chart(
        _lines(view, dot, lambda last: f"{words.number(last.y)} tok/s"),
        x_title(view),
        "tok/s, generated",
        x_kind=_kind(axes, view),  # type: ignore[arg-type]
        x_all=view.head.load.levels if view.head.status == "running" else (),
        y_log=axes.y_log,
        y_from_zero=axes.y_from_zero,
        card_title=view.level_words,
        card_note=_note("tok/s", view),
    )


def _per_user(view: RunView, axes: Axes) -> Chart:
    def dot(one: PointFigures) -> Dot:
        speed = one.per_user_tok_s
        value = one.output_tok_s if speed is not None else None
        detail = f"{words.number(speed.p50)} a user" if speed is not None else "no inter-token latency"
        return Dot(speed.p50 if speed else 0.0, value, detail=detail, key=one.level, name=words.level(one.level))

    return Chart(
        _lines(view, dot, lambda last: f"{words.number(last.y)} tok/s"),
        "tok/s of each user, median",
        "tok/s, generated",
        x_kind="linear",
        y_log=axes.y_log,
        y_from_zero=axes.y_from_zero,
        card_title=view.level_words,
        card_note="tok/s",
        names_dots=True,
        nearest=True,
    )


def _latency(
    view: RunView,
    title: str,
    spread: Callable[[PointFigures], Spread | None],
    repeat: Callable[[RepeatFigures], float | None],
    axes: Axes,
) -> Chart:
    def dot(one: PointFigures) -> Dot:
        found = spread(one)
        if found is None:
            return Dot(one.level, None, detail=_why(one), key=one.level)
        low, high = _range(one.repeats, repeat)
        few = f" n{found.n}" if found.n < P99_SURE_FROM else ""
        return Dot(one.level, found.p50, low, high, detail=f"p99 {words.number(found.p99)}{few}", key=one.level)

    return Chart(
        _lines(view, dot, lambda last: f"{words.number(last.y)} ms"),
        x_title(view),
        f"{title}, ms",
        x_kind=_kind(axes, view),  # type: ignore[arg-type]
        x_all=view.head.load.levels if view.head.status == "running" else (),
        y_log=axes.y_log,
        y_from_zero=axes.y_from_zero,
        card_title=view.level_words,
        card_note="ms, median",
    )
