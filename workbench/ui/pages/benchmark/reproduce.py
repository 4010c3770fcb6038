"""The drawer beside a result: all that is needed to measure one of its points again."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from workbench.core.measure.record import Subject
from workbench.ui.models.bench_view import RunView
from workbench.ui.pages.benchmark.repeat_words import (
    all_text,
    command_text,
    config_lines,
    environment_rows,
    hash_rows,
    point_command,
    point_words,
    short_hash,
)
from workbench.ui.widgets.basics import GAP, MARGIN, button, column, icon_button, label, row, rule
from workbench.ui.widgets.cause_card import breakable
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.text_block import TextBlock

WIDTH = 384
_NAMES = 104
_ANY = 16_777_215
"""Qt's word for no limit."""


class Reproduce(QFrame):
    """Shows one point, or all levels of a subject. `closed`: its cross was pressed; `again`: measure it again."""

    closed = Signal()
    again = Signal(object, object)
    """Subject and level (None: all levels)."""
    copied = Signal(str)
    """What was copied, in words."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        self.set_wide(False)
        self.setAccessibleName("Reproduce")
        self._view: RunView | None = None
        self._subject: Subject | None = None
        self._level: float | None = None
        self.about = ElidedLine("hint")
        self.copy_all = button("Copy all", self._copy_all, icon_name="copy", small=True)
        self.close_button = icon_button("close", "Close the drawer", self.closed.emit)
        self.copy_command = icon_button("copy", "Copy the command", self._copy_command)
        self.command, self.config = TextBlock("Command"), TextBlock("Configuration", 24)
        self.config_of = label("", "hint")
        self.again_button = button("Run this point again", self._again, icon_name="refresh")
        self._rows = QWidget()
        self._grid = QGridLayout(self._rows)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(GAP)
        self._grid.setVerticalSpacing(4)
        self._grid.setColumnMinimumWidth(0, _NAMES)
        self._grid.setColumnStretch(1, 1)
        self._lay_out()

    def _lay_out(self) -> None:
        title = column(label("Reproduce", "name"), self.about, gap=0)
        head = row(title, self.copy_all, self.close_button, margins=(MARGIN, GAP, GAP, GAP))
        head.layout().setStretch(0, 1)
        inside = column(
            row(label("Command", "name"), None, self.copy_command),
            self.command,
            GAP,
            row(label("Configuration", "name"), None, self.config_of),
            self.config,
            GAP,
            label("Environment", "name"),
            self._rows,
            None,
            gap=GAP,
            margins=(MARGIN, GAP, MARGIN, MARGIN),
        )
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setWidget(inside)
        inside.setAutoFillBackground(False)
        area.viewport().setAutoFillBackground(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(head)
        layout.addWidget(rule())
        layout.addWidget(area, 1)
        layout.addWidget(rule())
        foot = QHBoxLayout()
        foot.setContentsMargins(MARGIN, 12, MARGIN, 12)
        foot.addWidget(self.again_button)
        layout.addLayout(foot)

    def show_point(self, view: RunView, subject: Subject, level: float | None) -> None:
        """Show what repeats this point."""
        self._view, self._subject, self._level = view, subject, level
        self.about.say(point_words(view, subject, level))
        self.command.say(command_text(point_command(view.head, subject, level)))
        lines = config_lines(view.head, subject)
        self.config.say("\n".join(f"{name}: {value}".rstrip() for name, value in lines))
        self.config_of.setText(view.head.workload.name)
        one = view.point(subject.id, level) if level is not None else None
        rows = list(environment_rows(view.head, subject, one))
        hashes = [(name, short_hash(value), value) for name, value in hash_rows(view.head, subject)]
        self._fill([(name, value, value) for name, value in rows], hashes)
        self.again_button.setText("Run this point again" if level is not None else "Run these levels again")

    def set_wide(self, wide: bool) -> None:
        """Take all the width that there is, or stand beside the result."""
        self.setMinimumWidth(WIDTH)
        self.setMaximumWidth(_ANY if wide else WIDTH)

    def set_running(self, running: bool) -> None:
        """While a run goes on nothing else is measured."""
        self.again_button.setEnabled(not running)
        self.again_button.setToolTip("A run is under way." if running else "")

    def _fill(self, rows: Sequence[tuple[str, str, str]], more: Sequence[tuple[str, str, str]]) -> None:
        while (item := self._grid.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        place = 0
        for group in (rows, more):
            if place and group:
                self._grid.addWidget(rule(), place, 0, 1, 2)
                place += 1
            for name, value, whole in group:
                name_label = label(name, "text3")
                name_label.setAlignment(Qt.AlignmentFlag.AlignTop)
                told = label(breakable(value), wrap=True, selectable=True)
                told.setFocusPolicy(Qt.FocusPolicy.NoFocus)
                told.setMinimumWidth(80)
                told.setAccessibleName(f"{name}: {value}")
                if whole != value:
                    told.setToolTip(whole)
                self._grid.addWidget(name_label, place, 0)
                self._grid.addWidget(told, place, 1)
                place += 1

    def _again(self) -> None:
        if self._subject is not None:
            self.again.emit(self._subject, self._level)

    def _copy_command(self) -> None:
        QGuiApplication.clipboard().setText(self.command.text())
        self.copied.emit("The command is on the clipboard.")

    def _copy_all(self) -> None:
        if self._view is not None and self._subject is not None:
            QGuiApplication.clipboard().setText(all_text(self._view, self._subject, self._level))
            self.copied.emit("Command, configuration and environment are on the clipboard.")
