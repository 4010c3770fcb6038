"""What stands below the table: one engine in full, the layers of one that is compiled, or what differs between two."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from workbench.core.provenance_diff import Difference
from workbench.store.notes import Note
from workbench.ui.bridge import Tasks
from workbench.ui.models.engines import EngineDetail, EngineRow
from workbench.ui.models.layers import WITH_LAYERS
from workbench.ui.pages.engines.compare import ComparePane
from workbench.ui.pages.engines.config import ConfigPane
from workbench.ui.pages.engines.files import FilesPane
from workbench.ui.pages.engines.layers import LayersPane
from workbench.ui.pages.engines.provenance import Elided, ProvenancePane
from workbench.ui.pages.engines.table import badge_words
from workbench.ui.theme import text_font
from workbench.ui.widgets.basics import GAP, GAP_SMALL, MARGIN, chip, column, label, row, rule, segments, set_chip

_NOTHING, _ONE, _TWO, _LAYERS = range(4)
_CHIP_FROM = 620
"""px from which the badge has room beside the name and the buttons."""


class DetailPane(QFrame):
    """`buttons` stand at the right of the name; `copy` beside the provenance's heading; `tasks` read layers."""

    def __init__(self, buttons: list[QWidget], copy: QWidget, save: Callable[[str, Note], None], tasks: Tasks) -> None:
        super().__init__()
        self.setProperty("surface", "bg")
        self.provenance, self.config, self.files = ProvenancePane(), ConfigPane(), FilesPane(save)
        self.compare = ComparePane()
        self.layers = LayersPane(tasks)
        self._detail: EngineDetail | None = None
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
        for widget in (self._hint, parts, self.compare, self.layers):
            self._stack.addWidget(widget)
        self._view_bar, self._view_rule = self._make_views(), rule()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        for widget in (rule(), bar, rule(), self._view_bar, self._view_rule):
            layout.addWidget(widget)
        layout.addWidget(self._stack, 1)
        self.show_nothing()

    def _make_views(self) -> QWidget:
        """The choice between an engine's details and its layers, with what the layers are searched by."""
        self.details_button, self.layers_button = QPushButton("Details"), QPushButton("Layers")
        self.details_button.setAccessibleName("Show the engine's details")
        self.layers_button.setAccessibleName("Show the engine's layers")
        self._views = QButtonGroup(self)
        for made in (self.details_button, self.layers_button):
            self._views.addButton(made)
        choice = segments((self.details_button, self.layers_button))
        self.details_button.setChecked(True)
        self._views.buttonClicked.connect(lambda _: self._show_view())
        bar = row(choice, self.layers.bar, margins=(MARGIN, 6, MARGIN, 6))
        bar.layout().setStretch(1, 1)
        return bar

    @property
    def shows(self) -> str:
        """What is shown: nothing, one, or two."""
        return ("nothing", "one", "two", "one")[self._stack.currentIndex()]

    @property
    def wants_layers(self) -> bool:
        """Whether the layers of engines that have a list of them are shown in place of their details."""
        return self.layers_button.isChecked()

    def want_layers(self, wanted: bool) -> None:
        (self.layers_button if wanted else self.details_button).setChecked(True)
        self._show_view()

    def _show_view(self) -> None:
        """Details or layers of the engine that is shown, as was chosen."""
        with_layers = self._detail is not None and self._detail.provenance.toolchain in WITH_LAYERS
        self._view_bar.setVisible(with_layers)
        self._view_rule.setVisible(with_layers)
        self.layers.bar.setVisible(with_layers and self.wants_layers)
        if with_layers and self.wants_layers and self._detail is not None:
            self._stack.setCurrentIndex(_LAYERS)
            self.layers.show_engine(self._detail)
        elif self._detail is not None:
            self._stack.setCurrentIndex(_ONE)

    def _leave(self) -> None:
        """No single engine is shown any more."""
        self.files.flush()
        if self._detail is not None:
            self.layers.forget()
        self._detail = None
        self._show_view()

    def show_nothing(self, words: str = "") -> None:
        self._leave()
        self._name.say(words)
        self._chip.hide()
        self._stack.setCurrentIndex(_NOTHING)

    def show_detail(self, detail: EngineDetail) -> None:
        self._name.say(detail.row.name)
        self._badge(detail.row)
        self.provenance.show_detail(detail)
        self.config.show_config(detail.config)
        self.files.show_detail(detail)
        self._detail = detail
        self._show_view()

    def show_differences(self, rows: tuple[Difference, ...], first: EngineRow, second: EngineRow) -> None:
        self._leave()
        names = (first.name, second.name)
        if first.name == second.name:
            names = (first.path.name, second.path.name)
        self._name.say(" and ".join(names))
        self._chip.hide()
        self.compare.show_differences(rows, names)
        self._stack.setCurrentIndex(_TWO)

    def _badge(self, shown: EngineRow) -> None:
        text, kind, reason = badge_words(shown)
        set_chip(self._chip, text, kind)
        self._chip.setToolTip(reason)
        self._chip.setAccessibleName(f"{text}: {reason}" if reason else text)
        self._chip.setVisible(self.width() >= _CHIP_FROM)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """With little room the badge, which the table above has too, gives way to the name."""
        super().resizeEvent(event)
        self._chip.setVisible(self._detail is not None and event.size().width() >= _CHIP_FROM)
