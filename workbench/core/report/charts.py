"""The report's charts: throughput by load, throughput against speed per user, TTFT by load, speed against quality."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workbench.core.report import words
from workbench.core.report.axes import Axis, axis_for, spread_labels
from workbench.core.report.drawing import Box, Drawing, Item, Label, Mark, Stroke
from workbench.core.report.marks import is_filled, shape_of, tone_of
from workbench.core.report.model import Point, Report, Variant

WIDTH, HEIGHT = 460.0, 270.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 112.0, 24.0, 40.0
_MOST_NAMED_INSIDE = 4
"""More lines than that and their names stand beside the plot."""
_MOST_INSIDE = 28
"""Letters of a name within the plot."""
_LETTER = 6.3
"""Width of a letter at 11 px, near enough to shorten a name that would run out of the picture."""


@dataclass(frozen=True)
class Dot:
    """One measured value of a line; y None is a gap."""

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None
    words: str = ""


@dataclass(frozen=True)
class Line:
    variant: Variant
    dots: tuple[Dot, ...]


def charts(report: Report) -> tuple[Drawing, ...]:
    """Those that the report has figures for."""
    made = (throughput_by_level(report), throughput_by_speed(report), ttft_by_level(report), speed_by_quality(report))
    return tuple(drawing for drawing in made if not drawing.empty)


def throughput_by_level(report: Report) -> Drawing:
    unit = _level_unit(report)
    lines = _lines(
        report,
        lambda point: Dot(
            point.level,
            point.output_throughput_tok_s,
            point.output_throughput_low_tok_s,
            point.output_throughput_high_tok_s,
        ),
    )
    repeated = any((point.repeats or 1) > 1 for point in report.points)
    return _plot(
        "Output throughput by load", lines, unit, "tok/s", levels=True, note="bars: repeats" if repeated else ""
    )


def throughput_by_speed(report: Report) -> Drawing:
    """The Pareto view: right and up is better."""
    per_gpu = bool(report.points) and all(
        point.output_throughput_per_gpu_tok_s is not None
        for point in report.points
        if point.output_throughput_tok_s is not None
    )
    lines = []
    for variant in report.variants:
        dots = tuple(
            Dot(
                point.output_speed_per_user_p50_tok_s,
                point.output_throughput_per_gpu_tok_s if per_gpu else point.output_throughput_tok_s,
                words=f"at {words.level(point.level)} {point.level_unit}",
            )
            for point in report.points_of(variant.id)
            if point.output_speed_per_user_p50_tok_s is not None
        )
        lines.append(Line(variant, dots))
    front = sorted(
        (point.output_speed_per_user_p50_tok_s, speed)
        for point in report.points
        if point.on_pareto_front
        and point.output_speed_per_user_p50_tok_s is not None
        and (speed := point.output_throughput_per_gpu_tok_s if per_gpu else point.output_throughput_tok_s) is not None
    )
    return _plot(
        "Throughput against speed per user",
        lines,
        "tok/s per user, median",
        "tok/s per GPU" if per_gpu else "tok/s",
        note="right and up is better, dotted: the best of all",
        front=front if len(front) > 1 else (),
    )


def ttft_by_level(report: Report) -> Drawing:
    lines = _lines(report, lambda point: Dot(point.level, point.ttft_p50_ms))
    return _plot("Time to first token by load", lines, _level_unit(report), "ms, median", levels=True, rising=True)


def speed_by_quality(report: Report) -> Drawing:
    """Highest throughput of each against its perplexity."""
    perplexity = {record.subject: record.perplexity for record in report.quality}
    lines = []
    for variant in report.variants:
        best = max(
            (p.output_throughput_tok_s for p in report.points_of(variant.id) if p.output_throughput_tok_s), default=None
        )
        found = perplexity.get(variant.id)
        if best is not None and found is not None:
            lines.append(Line(variant, (Dot(best, found.value, found.low, found.high),)))
    if len(lines) < 2:
        lines = []
    return _plot(
        "Speed against quality",
        lines,
        "tok/s, best level",
        "perplexity",
        from_zero=False,
        note="right and down is better",
    )


def _level_unit(report: Report) -> str:
    """What levels count: as the first point, which is of a run of ours where there is one."""
    return words.load_kind(report.points[0].level_unit) if report.points else ""


def _lines(report: Report, dot: Callable[[Point], Dot]) -> list[Line]:
    """Points whose level counts something else are left out: 4 requests a second are not 4 open requests."""
    unit = _level_unit(report)
    return [
        Line(
            variant,
            tuple(dot(point) for point in report.points_of(variant.id) if words.load_kind(point.level_unit) == unit),
        )
        for variant in report.variants
    ]


def _plot(
    title: str,
    lines: Sequence[Line],
    x_unit: str,
    y_unit: str,
    *,
    levels: bool = False,
    rising: bool = False,
    from_zero: bool = True,
    note: str = "",
    front: Sequence[tuple[float, float]] = (),
) -> Drawing:
    lines = [line for line in lines if any(dot.y is not None for dot in line.dots)]
    if not lines:
        return Drawing(title, "", WIDTH, HEIGHT, (), empty="not reported")
    beside = levels or len(lines) > _MOST_NAMED_INSIDE
    left, right, top, bottom = _LEFT, WIDTH - (_RIGHT if beside else 14), _TOP, HEIGHT - _BOTTOM
    xs = [dot.x for line in lines for dot in line.dots if dot.y is not None]
    ys = [v for line in lines for dot in line.dots for v in (dot.y, dot.low, dot.high) if v is not None]
    x_axis = axis_for(xs, left + 10, right - 10, ticks_at=sorted(set(xs)) if levels else None, from_zero=False)
    y_axis = axis_for(ys, bottom, top + 8, from_zero=from_zero, may_log=rising)
    items: list[Item] = [Box(left, top, right - left, bottom - top, "sunken")]
    items += _grid(x_axis, y_axis, left, right, top, bottom)
    scales = [name for name, axis in (("x", x_axis), ("y", y_axis)) if axis.log and not (name == "x" and levels)]
    items.append(Label(left, top - 9, y_unit + (", log scale" if "y" in scales else "")))
    if note:
        items.append(Label(right, top - 9, note, anchor="end"))
    items.append(Label(right, HEIGHT - 6, x_unit + (", log scale" if "x" in scales else ""), anchor="end"))
    if front:
        items.append(Stroke(tuple((x_axis.place(x), y_axis.place(y)) for x, y in front), "text3", 1.0, dotted=True))
    for line in lines:
        items += _line(line, x_axis, y_axis, x_unit, y_unit)
    if beside:
        items += _names(lines, x_axis, y_axis, right, top, bottom, joined=levels)
    else:
        items += _names_inside(lines, x_axis, y_axis, (left, top, right, bottom))
    return Drawing(title, _summary(lines, y_unit), WIDTH, HEIGHT, tuple(items))


def _grid(x_axis: Axis, y_axis: Axis, left: float, right: float, top: float, bottom: float) -> list[Item]:
    items: list[Item] = []
    for value in y_axis.ticks:
        y = y_axis.place(value)
        items.append(Stroke(((left, y), (right, y)), "line"))
        items.append(Label(left - 6, y + 4, y_axis.text(value), anchor="end", figures=True))
    items.append(Stroke(((left, top), (left, bottom), (right, bottom)), "line2"))
    edge = float("-inf")
    for value in x_axis.ticks:
        x, text = x_axis.place(value), x_axis.text(value)
        items.append(Stroke(((x, bottom), (x, bottom + 4)), "line2"))
        half = len(text) * _LETTER / 2 + 3
        if x - half > edge:
            items.append(Label(x, bottom + 17, text, anchor="middle", figures=True))
            edge = x + half
    return items


def _line(line: Line, x_axis: Axis, y_axis: Axis, x_unit: str, y_unit: str) -> list[Item]:
    tone, shape, filled = tone_of(line.variant.slot), shape_of(line.variant.slot), is_filled(line.variant.slot)
    items: list[Item] = []
    run: list[tuple[float, float]] = []
    for dot in (*line.dots, Dot(0, None)):
        if dot.y is not None:
            run.append((x_axis.place(dot.x), y_axis.place(dot.y)))
            continue
        # What is not reported is a gap, not a line drawn across it.
        if len(run) > 1:
            items.append(Stroke(tuple(run), tone, 1.5))
        run = []
    for dot in line.dots:
        if dot.y is None:
            continue
        x, y = x_axis.place(dot.x), y_axis.place(dot.y)
        if dot.low is not None and dot.high is not None and dot.high > dot.low:
            ends = y_axis.place(dot.low), y_axis.place(dot.high)
            items.append(Stroke(((x, ends[0]), (x, ends[1])), tone, 1.0))
            items += [Stroke(((x - 3, end), (x + 3, end)), tone, 1.0) for end in ends]
        where = f", {dot.words}" if dot.words else ""
        title = f"{line.variant.name}: {words.number(dot.y)} {y_unit} at {words.number(dot.x)} {x_unit}{where}"
        items.append(Mark(x, y, shape, tone, filled, title=title))
    return items


def _names(
    lines: Sequence[Line], x_axis: Axis, y_axis: Axis, right: float, top: float, bottom: float, *, joined: bool
) -> list[Item]:
    """Names beside the ends of their lines, moved apart where they would cover each other; `joined` by thin lines
    to where the lines end.
    """
    ends = []
    for line in lines:
        last = [dot for dot in line.dots if dot.y is not None][-1]
        assert last.y is not None
        ends.append((line, x_axis.place(last.x), y_axis.place(last.y)))
    places = spread_labels([y for _, _, y in ends], 15.0, top + 4, bottom - 4)
    items: list[Item] = []
    most = int((_RIGHT - 26) / _LETTER)
    for (line, x, y), place in zip(ends, places, strict=True):
        slot, name = line.variant.slot, line.variant.name
        short = name if len(name) <= most else name[: most - 1] + "\u2026"
        if joined:
            items.append(Stroke(((x + 6, y), (right + 4, place)), "line2", 0.75))
        items.append(Mark(right + 10, place, shape_of(slot), tone_of(slot), is_filled(slot), 8.0, name))
        items.append(Label(right + 20, place + 4, short, "text"))
    return items


def _names_inside(
    lines: Sequence[Line], x_axis: Axis, y_axis: Axis, frame: tuple[float, float, float, float]
) -> list[Item]:
    """Names at the ends of lines that end anywhere: at that side of the mark where they cover least."""
    taken: list[_Box] = []
    for line in lines:
        ends = [(x_axis.place(dot.x), y_axis.place(dot.y)) for dot in line.dots if dot.y is not None]
        taken += [(x - 6, y - 6, x + 6, y + 6) for x, y in ends]
        for dot in line.dots:
            if dot.low is not None and dot.high is not None:
                x = x_axis.place(dot.x)
                taken.append((x - 3, y_axis.place(dot.high), x + 3, y_axis.place(dot.low)))
        for (x, y), (after_x, after_y) in itertools.pairwise(ends):
            steps = [(x + (after_x - x) * part / 16, y + (after_y - y) * part / 16) for part in range(1, 16)]
            taken += [(at_x - 2, at_y - 2, at_x + 2, at_y + 2) for at_x, at_y in steps]
    items: list[Item] = []
    for line in lines:
        last = [dot for dot in line.dots if dot.y is not None][-1]
        assert last.y is not None
        x, y = x_axis.place(last.x), y_axis.place(last.y)
        name = (
            line.variant.name if len(line.variant.name) <= _MOST_INSIDE else line.variant.name[:_MOST_INSIDE] + "\u2026"
        )
        wide = len(name) * _LETTER + 4
        places = [
            (x + 9, y - 7, x + 9 + wide, y + 7),
            (x - wide / 2, y - 23, x + wide / 2, y - 9),
            (x - 9 - wide, y - 7, x - 9, y + 7),
            (x - wide / 2, y + 9, x + wide / 2, y + 23),
            (x + 6, y - 20, x + 6 + wide, y - 6),
            (x + 6, y + 7, x + 6 + wide, y + 21),
            (x - 6 - wide, y - 20, x - 6, y - 6),
            (x - 6 - wide, y + 7, x - 6, y + 21),
        ]
        best = min(places, key=lambda place: sum(_covers(place, other) for other in taken) + _outside(place, frame))
        taken.append(best)
        items.append(Label(best[0] + 2, best[3] - 3, name, "text"))
    return items


_Box = tuple[float, float, float, float]


def _covers(one: _Box, other: _Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    tall = min(one[3], other[3]) - max(one[1], other[1])
    return wide * tall if wide > 0 and tall > 0 else 0.0


def _outside(one: _Box, frame: _Box) -> float:
    """So much that a place inside is always taken before one that runs out of the picture."""
    over = max(0.0, frame[0] - one[0], frame[1] - one[1], one[2] - frame[2], one[3] - frame[3])
    return over * 1000


def _summary(lines: Sequence[Line], y_unit: str) -> str:
    parts = []
    for line in lines:
        there = [dot for dot in line.dots if dot.y is not None]
        values = ", ".join(words.number(dot.y) for dot in there)
        parts.append(f"{line.variant.name}: {values} {y_unit}")
    return "; ".join(parts) + "."
