"""What stands below the table: one engine in full, or what differs between two."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from workbench.core.provenance_diff import Difference
from workbench.store.notes import Note
from workbench.ui.models.engines import EngineDetail, EngineRow
from workbench.ui.pages.engines.compare import ComparePane
from workbench.ui.pages.engines.config import ConfigPane
from workbench.ui.pages.engines.files import FilesPane
from workbench.ui.pages.engines.provenance import Elided, ProvenancePane
from workbench.ui.pages.engines.table import badge_words
from workbench.ui.theme import text_font
from workbench.ui.widgets.basics import GAP, GAP_SMALL, MARGIN, chip, column, label, row, rule, set_chip


class DetailPane(QFrame):
    """`buttons` stand at the right of the name; `copy` beside the provenance's heading."""

    def __init__(self, buttons: list[QWidget], copy: QWidget, save: Callable[[str, Note], None]) -> None:
        super().__init__()
        self.setProperty("surface", "bg")
        self.provenance, self.config, self.files = ProvenancePane(), ConfigPane(), FilesPane(save)
        self.compare = ComparePane()
        self._name = Elided("", "name", text_font(bold=True))
        self._chip = chip("", "ok")
        bar = QFrame()
        line = QHBoxLayout(bar)
        line.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        line.setSpacing(GAP)
        line.addWidget(self._name, 1)
        line.addWidget(self._chip)
        for button in buttons:
            line.addWidget(button)
        head = row(label("Provenance", "heading"), None, copy, margins=(MARGIN, GAP, GAP, 0))
        left = column(head, self.provenance, gap=GAP_SMALL)
        parts = QSplitter(Qt.Orientation.Horizontal)
        parts.setHandleWidth(1)
        parts.setChildrenCollapsible(False)
        # All three fit beside the monitor in the smallest window.
        for widget, width, least in ((left, 460, 204), (self.config, 280, 160), (self.files, 270, 160)):
            widget.setMinimumWidth(least)
            parts.addWidget(widget)
            parts.setStretchFactor(parts.count() - 1, width)
        parts.setSizes([460, 280, 270])
        self._hint = label("Choose an engine to see where it came from; choose two to see what differs.", "text3")
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._stack = QStackedWidget()
        for widget in (self._hint, parts, self.compare):
            self._stack.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for widget in (rule(), bar, rule()):
            layout.addWidget(widget)
        layout.addWidget(self._stack, 1)
        self.show_nothing()

    @property
    def shows(self) -> str:
        """What is shown: nothing, one, or two."""
        return ("nothing", "one", "two")[self._stack.currentIndex()]

    def show_nothing(self, words: str = "") -> None:
        self.files.flush()
        self._name.say(words)
        self._chip.hide()
        self._stack.setCurrentIndex(0)

    def show_detail(self, detail: EngineDetail) -> None:
        self._name.say(detail.row.name)
        self._badge(detail.row)
        self.provenance.show_detail(detail)
        self.config.show_config(detail.config)
        self.files.show_detail(detail)
        self._stack.setCurrentIndex(1)

    def show_differences(self, rows: tuple[Difference, ...], first: EngineRow, second: EngineRow) -> None:
        self.files.flush()
        names = (first.name, second.name)
        if first.name == second.name:
            names = (first.path.name, second.path.name)
        self._name.say(" and ".join(names))
        self._chip.hide()
        self.compare.show_differences(rows, names)
        self._stack.setCurrentIndex(2)

    def _badge(self, shown: EngineRow) -> None:
        text, kind, reason = badge_words(shown)
        set_chip(self._chip, text, kind)
        self._chip.setToolTip(reason)
        self._chip.setAccessibleName(f"{text}: {reason}" if reason else text)
        self._chip.show()
