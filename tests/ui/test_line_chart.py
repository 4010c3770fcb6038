"""The shared chart: where dots stand, what its card says, and the crosshair by pointer and keyboard."""

from __future__ import annotations

import itertools

import pytest
from PySide6.QtCore import QPoint, Qt
from pytestqt.qtbot import QtBot

from workbench.ui.plots.card import card_of
from workbench.ui.plots.data import Chart, Dot, Line
from workbench.ui.plots.line_chart import LineChart
from workbench.ui.plots.scales import round_step, y_axis


def line(name: str, slot: int, values: tuple[float | None, ...], levels: tuple[float, ...] = (1, 2, 4, 8, 16)) -> Line:
    dots = tuple(
        Dot(x, y, detail="" if y is not None else "failed", key=x) for x, y in zip(levels, values, strict=True)
    )
    return Line(name, slot, dots, "at the end", name)


def chart(**changes: object) -> Chart:
    made: dict[str, object] = {
        "lines": (line("A", 0, (10, 20, 40, 80, 120)), line("B", 1, (15, 30, None, 90, 100))),
        "x_title": "users",
        "y_title": "tok/s",
        "card_title": lambda key: f"{key:g} users",
        **changes,
    }
    return Chart(**made)  # type: ignore[arg-type]


@pytest.fixture
def shown(qtbot: QtBot) -> LineChart:
    made = LineChart("Test chart")
    qtbot.addWidget(made)
    made.resize(900, 400)
    made.show_chart(chart())
    made.show()
    qtbot.waitExposed(made)
    return made


def test_doublings_stand_at_equal_distances_and_higher_values_higher(shown: LineChart) -> None:
    places = [shown.place_of(dot) for dot in shown.chart.lines[0].dots]
    gaps = [after.x() - before.x() for before, after in itertools.pairwise(places)]
    assert gaps == pytest.approx([gaps[0]] * 4)
    assert all(after.y() < before.y() for before, after in itertools.pairwise(places))
    assert all(shown.plot_rect.contains(place.toPoint()) for place in places)


def test_the_value_axis_starts_at_zero_and_ends_above_all_values_and_error_bars() -> None:
    made = chart(lines=(Line("A", 0, (Dot(1, 100, 90, 131),)),))
    axis = y_axis(made, 100.0, 0.0)
    assert axis.low == 0 and axis.high >= 131
    assert axis.place(0) == 100.0
    assert [round_step(value) for value in (0.9, 1.1, 2.2, 2.7, 4, 7)] == [1, 2, 2.5, 3, 5, 10]


def test_a_logarithmic_axis_holds_values_of_several_powers() -> None:
    made = chart(y_log=True, lines=(line("A", 0, (1.5, 20, 300, 4000, 50_000)),))
    axis = y_axis(made, 400.0, 0.0)
    assert axis.log and axis.low <= 1.5 and axis.high >= 50_000
    middle = axis.place(300) - axis.place(3000)
    assert middle == pytest.approx(axis.place(30) - axis.place(300))


def test_the_card_tells_what_is_missing(shown: LineChart) -> None:
    card = card_of(shown.chart, 4)
    assert card.title == "4 users"
    assert [dot.y if dot is not None else None for _, dot in card.rows] == [40, None]
    assert shown.chart.value_words(card.rows[1][1]) == "failed"  # type: ignore[arg-type]
    assert card_of(shown.chart, 64).rows[0][1] is None


def test_arrow_keys_move_the_crosshair_and_return_chooses(shown: LineChart, qtbot: QtBot) -> None:
    chosen: list[tuple[float, str]] = []
    shown.chosen.connect(lambda key, line: chosen.append((key, line)))
    for _ in range(2):
        qtbot.keyClick(shown, Qt.Key.Key_Right)
    assert shown.cross == 2
    qtbot.keyClick(shown, Qt.Key.Key_Left)
    qtbot.keyClick(shown, Qt.Key.Key_Left)
    assert shown.cross == 1
    qtbot.keyClick(shown, Qt.Key.Key_Return)
    assert chosen == [(1, "")]
    qtbot.keyClick(shown, Qt.Key.Key_Escape)
    assert shown.cross is None


def test_a_click_chooses_the_level_next_to_it(shown: LineChart, qtbot: QtBot) -> None:
    chosen: list[float] = []
    shown.chosen.connect(lambda key, _: chosen.append(key))
    place = shown.place_of(shown.chart.lines[0].dots[3]).toPoint()
    qtbot.mouseClick(shown, Qt.MouseButton.LeftButton, pos=QPoint(place.x() + 9, shown.plot_rect.top() + 5))
    assert chosen == [8]
    qtbot.mouseClick(shown, Qt.MouseButton.LeftButton, pos=QPoint(shown.width() - 2, 2))
    assert chosen == [8], "outside of the plot nothing is chosen"


def test_where_dots_share_no_level_the_nearest_one_is_meant(shown: LineChart, qtbot: QtBot) -> None:
    a = Line("A", 0, (Dot(100, 10, key=1), Dot(50, 80, key=8)), id="a")
    b = Line("B", 1, (Dot(90, 12, key=1), Dot(40, 99, key=8)), id="b")
    shown.show_chart(chart(lines=(a, b), x_kind="linear", nearest=True))
    chosen: list[tuple[float, str]] = []
    shown.chosen.connect(lambda key, line: chosen.append((key, line)))
    qtbot.mouseClick(shown, Qt.MouseButton.LeftButton, pos=shown.place_of(b.dots[1]).toPoint())
    assert chosen == [(8, "b")]


def test_all_values_are_told_to_those_who_do_not_see_it(shown: LineChart) -> None:
    said = shown.accessibleDescription()
    assert "A: 1 users: 10" in said and "4 users: failed" in said
    shown.show_chart(Chart(empty="Nothing was measured."))
    assert shown.accessibleDescription() == "Nothing was measured."
    assert not shown.grab().isNull()


def test_the_crosshair_goes_when_its_level_is_not_in_the_next_chart(shown: LineChart) -> None:
    shown.set_cross(16.0)
    shown.show_chart(chart(lines=(line("A", 0, (1, 2), (1, 16)),)))
    assert shown.cross == 16
    shown.show_chart(chart(lines=(line("A", 0, (1, 2), (1, 2)),)))
    assert shown.cross is None


def test_names_at_the_lines_ends_do_not_cover_each_other(qtbot: QtBot) -> None:
    made = LineChart()
    qtbot.addWidget(made)
    made.resize(800, 400)
    close = chart(lines=tuple(line(name, slot, (1, 2, 3, 4, 5.0 + slot / 100)) for slot, name in enumerate("ABC")))
    made.show_chart(close)
    image = made.grab().toImage()
    # Three names in the column right of the plot: so many separate groups of rows have ink.
    left = made.plot_rect.right() + 30
    ground = image.pixel(image.width() - 2, 2)
    rows = [any(image.pixel(x, y) != ground for x in range(left, left + 8)) for y in range(image.height())]
    names = sum(now and not before for before, now in zip([False, *rows], rows, strict=False))
    assert names == 6, "a name and a value for each of three lines"
