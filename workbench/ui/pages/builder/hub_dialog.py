"""Search for a model by its name on the Hugging Face Hub; choosing one puts its name into the model field."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from workbench.core.errors import Failure
from workbench.toolchains.hub import FoundModel, search_models
from workbench.ui.session import Session
from workbench.ui.widgets.basics import GAP, MARGIN, button, label, row
from workbench.ui.widgets.editors import number_words
from workbench.ui.widgets.search_box import SearchBox


class HubDialog(QDialog):
    """`chosen` is sent with a repository's name."""

    chosen = Signal(str)

    def __init__(self, session: Session, words: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._session = session
        self.setWindowTitle("Search Hugging Face")
        self.setModal(True)
        self.resize(640, 440)
        self.field = SearchBox("Words of a model's name", "Words of a model's name")
        self.field.setText(words)
        self.find = button("Search", self.search)
        self.table = QTableWidget(0, 3)
        self.table.setAccessibleName("Models found")
        self.table.setHorizontalHeaderLabels(["Model", "Downloads, 30 days", "Likes"])
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)
        self.table.verticalHeader().hide()
        heads = self.table.horizontalHeader()
        heads.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            heads.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.said = label("", "text2", wrap=True)
        self.take = button("Use this model", self._take, primary=True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(GAP)
        layout.addWidget(row(self.field, self.find))
        layout.addWidget(self.table, 1)
        layout.addWidget(self.said)
        layout.addWidget(row(None, button("Cancel", self.reject), self.take))
        self.field.returnPressed.connect(self.search)
        self.table.itemSelectionChanged.connect(self._show_choice)
        self.table.cellActivated.connect(lambda *_: self._take())
        self.take.setAutoDefault(False)  # Return in the field searches
        self._show_choice()
        self.said.setText("Text-generation models, those with most downloads first.")

    def search(self) -> None:
        """Ask the Hub, off the GUI thread; the last question counts."""
        words = self.field.text().strip()
        if not words:
            self.said.setText("Type some words of the model's name first.")
            return
        self.said.setText("Searching …")
        home = self._session.home
        self._session.tasks.run(lambda: search_models(home, words), self._show, self._fail, key="hub")

    def _show(self, found: Sequence[FoundModel]) -> None:
        self.table.setRowCount(len(found))
        for at, model in enumerate(found):
            name = QTableWidgetItem(model.id + ("  (asks for consent)" if model.gated else ""))
            name.setData(Qt.ItemDataRole.UserRole, model.id)
            cells = [name]
            for value in (model.downloads, model.likes):
                cell = QTableWidgetItem("not reported" if value is None else number_words(value))
                cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                cells.append(cell)
            for column, cell in enumerate(cells):
                self.table.setItem(at, column, cell)
        self.said.setText(f"{len(found)} found." if found else "No text-generation model has these words in its name.")
        if found:
            self.table.selectRow(0)
            self.table.setFocus()
        self._show_choice()

    def _fail(self, failure: Failure) -> None:
        self.table.setRowCount(0)
        self.said.setText("\n".join(failure.lines()))
        self._show_choice()

    @property
    def model_id(self) -> str:
        """The chosen repository; "" when none is."""
        rows = self.table.selectionModel().selectedRows()
        item = self.table.item(rows[0].row(), 0) if rows else None
        return str(item.data(Qt.ItemDataRole.UserRole)) if item is not None else ""

    def _show_choice(self) -> None:
        self.take.setEnabled(bool(self.model_id))

    def _take(self) -> None:
        if name := self.model_id:
            self.accept()
            self.chosen.emit(name)
