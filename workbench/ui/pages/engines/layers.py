"""The view "Layers" of a compiled engine: its layers in a table, and beside it what they sum up to."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QComboBox, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.ui.bridge import Tasks
from workbench.ui.models.engines import EngineDetail
from workbench.ui.models.layers import EngineLayers, read_engine_layers
from workbench.ui.pages.engines.layer_facts import LayerFacts
from workbench.ui.pages.engines.layer_table import PROFILE, LayersFilter, LayersModel, LayersTable
from workbench.ui.widgets.basics import GAP, MARGIN, icon_button, label, row
from workbench.ui.widgets.editors import number_words
from workbench.ui.widgets.search_box import Choice, SearchBox

_ROOMY = 720
"""px from which the count has room beside the search."""
_HINT = "Name, type or node"
_NOTHING, _READING, _FAILED, _SHOWN = range(4)


class LayersPane(QWidget):
    """`bar` stands above it, beside the choice of the view. `copied` is sent with the number of rows."""

    copied = Signal(int)

    def __init__(self, tasks: Tasks) -> None:
        super().__init__()
        self._tasks = tasks
        self._wanted: EngineDetail | None = None
        self.layers: EngineLayers | None = None
        self.model = LayersModel()
        self.filter = LayersFilter(self.model)
        self.table = LayersTable(self.filter)
        self.facts = LayerFacts()
        self.search = SearchBox(_HINT, "Search the layers by name, type, precision, tensor or node")
        self.search.setMinimumWidth(96)
        self.search.setMaximumWidth(240)
        self.type, self.profile = _choice("Type"), _choice("Profile")
        self.count = label("", "text2")
        self.copy = icon_button("copy", "Copy the chosen layers, or all that are shown", self._copy)
        self.bar = row(self.search, self.type, self.profile, None, self.count, self.copy)
        self.bar.layout().setStretch(0, 100)
        self._lay_out()
        self.search.textChanged.connect(self._filter)
        for box in (self.type, self.profile):
            box.currentIndexChanged.connect(self._filter)

    def _lay_out(self) -> None:
        self.what = label("", "name", wrap=True, selectable=True)
        self.evidence = label("", "text2", wrap=True, selectable=True)
        self.fix = label("", wrap=True, selectable=True)
        self.failure = QWidget()
        words = QVBoxLayout(self.failure)
        words.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        words.setSpacing(GAP)
        for part in (self.what, self.evidence, self.fix):
            words.addWidget(part)
        words.addStretch(1)
        self.none_fit = label("No layer matches", "text2")
        self.none_fit.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.left = QStackedWidget()
        self.left.addWidget(self.table)
        self.left.addWidget(self.none_fit)
        parts = QSplitter(Qt.Orientation.Horizontal)
        parts.setHandleWidth(1)
        parts.setChildrenCollapsible(False)
        for widget, width, least in ((self.left, 720, 240), (self.facts, 290, 220)):
            widget.setMinimumWidth(least)
            parts.addWidget(widget)
            parts.setStretchFactor(parts.count() - 1, width)
        parts.setSizes([720, 290])
        reading = label("Reading the layers …", "text3")
        reading.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.stack = QStackedWidget()
        for widget in (QWidget(), reading, self.failure, parts):
            self.stack.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.stack)

    # -- what is shown

    def show_engine(self, detail: EngineDetail) -> None:
        """Read an engine's layers and show them; the same engine again is left as it stands."""
        if self._wanted is not None and _mark(self._wanted) == _mark(detail) and self.stack.currentIndex() != _NOTHING:
            return
        self._wanted = detail
        self.layers = None
        self.bar.setEnabled(False)
        self.count.setText("")
        self.stack.setCurrentIndex(_READING)
        read = partial(read_engine_layers, detail.row.path, detail.provenance)
        self._tasks.run(read, self._take, self._fail, key="engines.layers")

    def forget(self) -> None:
        """Show nothing, and want no answer that is still to come."""
        self._wanted = self.layers = None
        self._tasks.run(lambda: None, key="engines.layers")
        self.stack.setCurrentIndex(_NOTHING)

    def _take(self, found: EngineLayers) -> None:
        if self._wanted is None or self._wanted.row.path != found.folder:
            return
        self.layers = found
        self.model.take(found.rows)
        self.facts.show_layers(found)
        _fill(self.type, [one.name for one in found.by_type])
        _fill(self.profile, [one.name for one in found.profiles])
        several = len(found.profiles) > 1
        self.profile.setVisible(several)
        self.table.setColumnHidden(PROFILE, not several)
        self.bar.setEnabled(True)
        self.stack.setCurrentIndex(_SHOWN)
        self._filter()

    def _fail(self, failure: Failure) -> None:
        self.model.take(())
        self.what.setText(failure.what)
        self.evidence.setText(failure.evidence)
        self.fix.setText(failure.fix)
        self.failure.setAccessibleName(f"{failure.what} {failure.fix}")
        self.stack.setCurrentIndex(_FAILED)

    def _filter(self) -> None:
        profile = self.profile.currentData() or "" if self.profile.count() > 2 else ""
        self.filter.ask(text=self.search.text(), type_=self.type.currentData() or "", profile=profile)
        shown, every = self.filter.rowCount(), len(self.model.rows)
        words = f"{number_words(every)} layer{'' if every == 1 else 's'}"
        self.count.setText(words if shown == every else f"{number_words(shown)} of {words}")
        self.left.setCurrentIndex(1 if every and not shown else 0)
        self.copy.setEnabled(shown > 0)

    def _copy(self) -> None:
        rows = self.table.rows_to_copy()
        self.table.copy(rows)
        self.copied.emit(len(rows))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        roomy = event.size().width() >= _ROOMY
        self.count.setVisible(roomy)
        self.search.setPlaceholderText(_HINT if roomy else "Find")


def _mark(detail: EngineDetail) -> tuple[object, ...]:
    return detail.row.path, detail.provenance.key, detail.provenance.created_at, detail.missing_files


def _choice(name: str) -> Choice:
    box = Choice()
    box.setAccessibleName(f"Filter layers by {name.lower()}")
    box.addItem(name, "")
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumWidth(84)
    box.setMaximumWidth(150)
    return box


def _fill(box: QComboBox, values: list[str]) -> None:
    """Offer what is there; a choice that is still possible stays."""
    chosen = box.currentData()
    box.blockSignals(True)
    while box.count() > 1:
        box.removeItem(1)
    for value in values:
        box.addItem(value, value)
    box.setCurrentIndex(max(0, box.findData(chosen)))
    box.blockSignals(False)
