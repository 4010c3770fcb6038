"""Beside the form: what will be measured, how long it takes at least, the command that does the same, and Start."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QVBoxLayout

from workbench.core.measure.load import Load
from workbench.ui.pages.benchmark.form import FormValues
from workbench.ui.pages.benchmark.repeat_words import command_text
from workbench.ui.widgets.basics import GAP, MARGIN, button, icon_button, label, row, rule, set_sign
from workbench.ui.widgets.editors import spaced
from workbench.ui.widgets.text_block import TextBlock

WIDTH = 344
_ANY = 16_777_215
"""Qt's word for no limit."""


def least_s(load: Load, engines: int) -> float | None:
    """Seconds that the points take at least; None where it is not known beforehand."""
    if load.duration_s is None:
        return None
    if load.requests is not None:
        return None
    return engines * len(load.levels) * load.repeats * (load.duration_s + load.warmup_s)


def time_words(seconds: float) -> str:
    """`40 s`, `26 min`, `2 h 10 min`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def plan_lines(values: FormValues, engines: int) -> list[str]:
    """What will be measured, a sentence each."""
    load = values.load
    points = engines * len(load.levels) * load.repeats
    order = ", taking turns" if values.alternated and engines > 1 else ", one after the other" if engines > 1 else ""
    least = least_s(load, engines)
    lines = [
        f"{engines} engine{'s' if engines != 1 else ''}{order}",
        values.workload.words,
        load.words,
        f"{points:,} point{'s' if points != 1 else ''}" + (f", {time_words(least)} at least" if least else ""),
    ]
    return [spaced(line) for line in lines]


class Plan(QFrame):
    """`started`: Start was pressed; `unload`: engines of the playground are to go first."""

    started = Signal()
    unload = Signal()
    copied = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        self._low = False
        self.setFixedWidth(WIDTH)
        self.lines = label("", "text2", wrap=True, selectable=True)
        self.lines.setAccessibleName("What will be measured")
        self.command = TextBlock("Command", 14)
        self.copy_button = icon_button("copy", "Copy the command", self._copy)
        self.problem = label("", "error", wrap=True)
        self.problem.setAccessibleName("What is missing")
        sign = label()
        set_sign(sign, "warn", "warn")
        self.loaded = label("", "small", wrap=True)
        self.unload_button = button("Unload", self.unload.emit, small=True, name="Unload the playground's engines")
        self.loaded_row = row(sign, self.loaded, self.unload_button)
        self.loaded_row.layout().setStretch(1, 1)
        self.loaded_row.layout().setAlignment(sign, Qt.AlignmentFlag.AlignTop)
        self.start = button("Start", self.started.emit, icon_name="play", primary=True, name="Start the benchmark")
        self.start.setMinimumHeight(34)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(GAP)
        layout.addWidget(label("What will be measured", "name"))
        layout.addWidget(self.lines)
        layout.addWidget(rule())
        self._command_head = row(label("Command that does the same", "heading"), None, self.copy_button)
        layout.addWidget(self._command_head)
        layout.addWidget(self.command)
        layout.addStretch(1)
        layout.addWidget(self.loaded_row)
        layout.addWidget(self.problem)
        layout.addWidget(self.start)
        self.show_loaded(())

    def set_low(self, low: bool) -> None:
        """Stand below the form, with little height: the command can be copied there and is not shown."""
        self._low = low
        self.setMinimumWidth(0 if low else WIDTH)
        self.setMaximumWidth(_ANY if low else WIDTH)
        self.command.setVisible(not low and bool(self.command.text()))

    def show_plan(self, lines: Sequence[str], command: tuple[str, ...]) -> None:
        """It can be started."""
        self.lines.setText("\n".join(lines))
        self.command.say(command_text(command))
        self.command.setVisible(not self._low)
        self._command_head.setVisible(True)
        self._say("")

    def show_problem(self, words: str) -> None:
        """It cannot be started, and why."""
        self.lines.setText("")
        self.command.say("")
        self.command.setVisible(False)
        self._command_head.setVisible(False)
        self._say(words)

    def show_loaded(self, names: Sequence[str]) -> None:
        """Engines that the playground holds: they take memory, and may answer while it is measured."""
        self.loaded_row.setVisible(bool(names))
        verb = "is" if len(names) == 1 else "are"
        self.loaded.setText(
            f"{' and '.join(names)} {verb} loaded in the playground, takes memory and may slow the engines down."
        )

    def _say(self, words: str) -> None:
        self.problem.setText(words)
        self.problem.setVisible(bool(words))
        self.start.setEnabled(not words)
        self.start.setToolTip(words)

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.command.text())
        self.copied.emit("The command is on the clipboard.")
