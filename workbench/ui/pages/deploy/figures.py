"""The figures of a server: percentiles as a small table, and what was counted since its start."""

from __future__ import annotations

from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from workbench.core.report import words
from workbench.core.serving import Percentiles, ServeReading
from workbench.ui.theme import SMALL
from workbench.ui.widgets.basics import GAP, figure, label

_ROWS = (
    ("ttft", "TTFT", 1, "Time to first token: from the request's last byte to the answer's first token"),
    ("itl", "Inter-token", 2, "Time between two tokens of an answer"),
    ("latency", "Whole answer", 0, "From the request's last byte to the answer's last token"),
    ("queue_wait", "In the queue", 1, "How long a request waited for a place at the engine"),
)
_COLUMNS = ("p50", "p90", "p99")
_HEAD, _LINE = 20, 22
"""px of the headings and of the lines, so that the tables' lines stand level side by side."""


class PercentileTable(QWidget):
    """Percentiles of the last requests in milliseconds; a dash where there are none yet."""

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(GAP * 2)
        grid.setVerticalSpacing(1)
        grid.setColumnStretch(0, 1)
        grid.setRowMinimumHeight(0, _HEAD)
        grid.addWidget(label("Last 5 minutes", "heading"), 0, 0)
        self.cells: dict[tuple[str, str], QLabel] = {}
        for place, name in enumerate(_COLUMNS, 1):
            head = figure(name, SMALL, "text3")
            grid.addWidget(head, 0, place)
        grid.addWidget(label("ms", "hint"), 0, len(_COLUMNS) + 1)
        for line, (key, title, _, tip) in enumerate(_ROWS, 1):
            name_label = label(title, "text2")
            name_label.setToolTip(tip)
            grid.addWidget(name_label, line, 0)
            for place, column in enumerate(_COLUMNS, 1):
                cell = figure(words.NOT_REPORTED)
                cell.setMinimumWidth(64)
                cell.setAccessibleName(f"{title} {column}, ms")
                cell.setMinimumHeight(_LINE)
                self.cells[key, column] = cell
                grid.addWidget(cell, line, place)
        self.count = label("", "hint", wrap=True)
        grid.addWidget(self.count, len(_ROWS) + 1, 0, 1, len(_COLUMNS) + 2)

    def show_reading(self, reading: ServeReading | None) -> None:
        """Show these; None: there are none."""
        for key, _, digits, _ in _ROWS:
            found = getattr(reading, key) if reading is not None else Percentiles()
            for column in _COLUMNS:
                value = getattr(found, column)
                shown = digits if value is None or value < 1000 else 0
                self.cells[key, column].setText(words.number(value, shown))
        n = reading.ttft.n if reading is not None else 0
        self.count.setText(f"of {words.number(n)} answers" if n else "No answer in the last 5 minutes.")


_COUNTS = (
    ("completed", "Answered", "Requests answered whole"),
    ("input_tokens", "Tokens in", "Of all prompts"),
    ("output_tokens", "Tokens out", "Of all answers"),
    ("connections", "Connections", "Open now"),
)


class CountsTable(QWidget):
    """What was counted since the start, and what was turned away, by status in words."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(GAP * 2)
        self._grid.setVerticalSpacing(1)
        self._grid.setColumnStretch(0, 1)
        self._grid.setRowMinimumHeight(0, _HEAD)
        self._grid.addWidget(label("Since the start", "heading"), 0, 0, 1, 2)
        self.values: dict[str, QLabel] = {}
        for line, (key, title, tip) in enumerate(_COUNTS, 1):
            name = label(title, "text2")
            name.setToolTip(tip)
            value = figure(words.NOT_REPORTED)
            value.setAccessibleName(title)
            value.setMinimumHeight(_LINE)
            self.values[key] = value
            self._grid.addWidget(name, line, 0)
            self._grid.addWidget(value, line, 1)
        self._grid.setRowStretch(len(_COUNTS) + 1, 1)

    def show_reading(self, reading: ServeReading | None, *, running: bool) -> None:
        """Show these; of one that ended nothing is open."""
        for key, made in self.values.items():
            value = getattr(reading, key) if reading is not None and (running or key != "connections") else None
            made.setText(words.number(value))


class RefusedTable(QWidget):
    """What was turned away and what failed, a line each: how often, the status, and why in words."""

    MOST = 5

    def __init__(self) -> None:
        super().__init__()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(GAP)
        grid.setVerticalSpacing(1)
        grid.setColumnStretch(2, 1)
        grid.setRowMinimumHeight(0, _HEAD)
        grid.addWidget(label("Turned away or failed", "heading"), 0, 0, 1, 3)
        self.none = label("None.", "text3")
        grid.addWidget(self.none, 1, 0, 1, 3)
        self._lines: list[tuple[QLabel, QLabel, QLabel]] = []
        for line in range(1, self.MOST + 1):
            parts = figure(), figure("", SMALL, "text3"), label("", "text2", wrap=True)
            parts[0].setMinimumHeight(_LINE)
            for place, part in enumerate(parts):
                part.hide()
                grid.addWidget(part, line, place)
            self._lines.append(parts)
        grid.setRowStretch(self.MOST + 1, 1)

    def show_refusals(self, found: list[tuple[str, str, int]]) -> None:
        """Status, words, count."""
        self.none.setVisible(not found)
        shown = found[: self.MOST]
        if len(found) > self.MOST:
            rest = found[self.MOST - 1 :]
            shown = [*found[: self.MOST - 1], ("…", "of other kinds", sum(one[2] for one in rest))]
        for place, parts in enumerate(self._lines):
            for part in parts:
                part.setVisible(place < len(shown))
            if place < len(shown):
                status, why, count = shown[place]
                parts[0].setText(words.number(count))
                parts[1].setText(status)
                parts[2].setText(why)
                parts[2].setAccessibleName(f"{count} times {status}: {why}")
