"""Throughput against the load, and against the speed of each user, one line a variant."""

from __future__ import annotations

from PySide6.QtWidgets import QGridLayout, QVBoxLayout, QWidget

from workbench.core.measure.figures import PointFigures
from workbench.core.measure.matrix import level_words
from workbench.core.measure.matrix_values import throughput
from workbench.core.measure.pareto import front, pareto_points
from workbench.core.report.words import number
from workbench.ui.models.comparison_view import Shown
from workbench.ui.plots.data import Chart, Dot, Line
from workbench.ui.plots.line_chart import LineChart
from workbench.ui.widgets.basics import GAP_LARGE, MARGIN, label, row, surface


def _by_variant(shown: Shown) -> list[tuple[str, int, str, list[PointFigures]]]:
    found = []
    for variant in shown.variants:
        points = [one for one in shown.figures if one.subject == variant.id]
        if points:
            found.append((variant.subject.name, variant.slot, variant.id, points))
    return found


def _range(point: PointFigures) -> tuple[float | None, float | None, str]:
    """Least and most of the repeats, and half of what is between them in words."""
    values = [one.output_tok_s for one in point.repeats if one.output_tok_s is not None]
    if len(values) < 2:
        return None, None, ""
    return min(values), max(values), f"±{number((max(values) - min(values)) / 2)}"


def throughput_chart(shown: Shown) -> Chart:
    """Output tokens a second of all users, over the levels."""
    load = shown.head.load
    lines = []
    for name, slot, subject, points in _by_variant(shown):
        dots = []
        for point in points:
            low, high, spread = _range(point)
            value = throughput(point) if point.completed else None
            why = spread if value is not None else "no request completed"
            dots.append(Dot(point.level, value, low, high, detail=why, key=point.level))
        top = next((dot.y for dot in reversed(dots) if dot.y is not None), None)
        lines.append(Line(name, slot, tuple(dots), f"{number(top, 0)} tok/s" if top is not None else "", subject))
    repeats = f", min to max of {load.repeats}" if load.repeats > 1 else ""
    return Chart(
        tuple(lines),
        x_title="users at once" if load.arrival == "closed" else load.unit,
        y_title="tok/s, all users: more is better ↑",
        card_title=lambda level: level_words(load.arrival, level),
        card_note=f"tok/s{repeats}",
        empty="No speed was measured yet.",
    )


def user_speed_chart(shown: Shown) -> Chart:
    """Throughput over what each user gets, with the Pareto front: nothing measured is better in both."""
    load = shown.head.load
    lines = []
    same = [point.model_copy(update={"output_tok_s": throughput(point)}) for point in shown.figures]
    for name, slot, subject, points in _by_variant(shown):
        dots = []
        for point in points:
            speed = point.per_user_tok_s.p50 if point.per_user_tok_s is not None else None
            all_users = throughput(point)
            if speed is None or all_users is None or not point.completed:
                continue
            shown_words = f"{number(all_users, 0)} at {number(speed)} a user"
            dots.append(Dot(speed, all_users, shown=shown_words, key=point.level, name=f"{point.level:g}"))
        lines.append(Line(name, slot, tuple(dots), id=subject))
    return Chart(
        tuple(lines),
        x_title="tok/s of each user (median of 1 / inter-token): more is better →",
        y_title="tok/s, all users: more is better ↑",
        x_kind="linear",
        card_title=lambda level: level_words(load.arrival, level),
        card_note="tok/s",
        names_dots=True,
        nearest=True,
        front=tuple((point.per_user_tok_s, point.per_gpu_tok_s) for point in front(pareto_points(same))),
        empty="No speed was measured yet.",
    )


class CurvesTab(QWidget):
    def __init__(self) -> None:
        super().__init__()
        self.throughput = LineChart("Throughput against the number of users")
        self.by_speed = LineChart("Throughput against the speed of each user")
        layout = QGridLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(GAP_LARGE)
        for number_, (title, note, chart) in enumerate(
            (
                ("Throughput against the load", "median of the repeats; bars: the least and the most", self.throughput),
                ("Throughput against the speed of each user", "dashed: the Pareto front", self.by_speed),
            )
        ):
            card = surface("card")
            inside = QVBoxLayout(card)
            inside.setContentsMargins(16, 12, 16, 12)
            inside.addWidget(row(label(title, "name"), None, label(note, "hint")))
            inside.addWidget(chart, 1)
            layout.addWidget(card, number_, 0)

    def show_shown(self, shown: Shown) -> None:
        self.throughput.show_chart(throughput_chart(shown))
        self.by_speed.show_chart(user_speed_chart(shown))
