"""A dialog around a list: search it, choose one; what can be done with it is the subclass's."""

from __future__ import annotations

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QDialog, QStackedWidget, QVBoxLayout, QWidget

from workbench.ui.widgets.basics import MARGIN, EmptyState
from workbench.ui.widgets.list_table import ListTable, RowFilter, SearchKeys
from workbench.ui.widgets.search_box import SearchBox
from workbench.ui.widgets.table_parts import RowsModel

_NOTHING_YET, _EMPTY, _LIST = range(3)


class ListDialog(QDialog):
    """Nothing is shown before `show_list` says whether there is something."""

    def __init__(self, title: str, name: str, size: tuple[int, int], parent: QWidget | None) -> None:
        super().__init__(parent)
        self.setWindowTitle(title)
        self.setObjectName(name)
        self.setModal(True)
        self.resize(*size)

    def make_list(self, rows: RowsModel, empty: EmptyState, *, name: str, hint: str, search_name: str) -> None:
        """Make `search`, `filter`, `table` and `stack`; `name` is the table's for those who hear it."""
        self.filter = RowFilter(self)
        self.filter.setSourceModel(rows)
        self.search = SearchBox(hint, search_name)
        self.table = ListTable(self.filter, name)
        self._keys = SearchKeys(self.search, self.table)
        self.empty = empty
        self.stack = QStackedWidget()
        for face in (QWidget(), self.empty, self.table):
            self.stack.addWidget(face)
        self.search.textChanged.connect(self._search)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._show_choice())
        self.filter.modelReset.connect(self._show_choice)

    def lay_out(self, *parts: QWidget) -> None:
        """The list, and the parts below it."""
        layout = QVBoxLayout(self)
        layout.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        layout.setSpacing(12)
        layout.addWidget(self.search)
        layout.addWidget(self.stack, 1)
        for part in parts:
            layout.addWidget(part)

    def show_list(self, some: bool, otherwise: QWidget) -> None:
        """Show the list, or that it is empty: `otherwise` has the focus then."""
        before = self.stack.currentIndex()
        self.stack.setCurrentIndex(_LIST if some else _EMPTY)
        self.search.setVisible(some)
        if not some:
            otherwise.setFocus()
        elif before != _LIST:
            self.search.setFocus()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        if not event.spontaneous():
            self.search.clear()
            self.search.setFocus()
            self._shown()

    def _search(self, text: str) -> None:
        self.filter.search(text)
        if self.table.chosen() is None:
            self._choose_one()
        self._show_choice()

    def _shown(self) -> None:
        """The dialog was opened."""

    def _choose_one(self) -> None:
        """Choose a row where none is chosen."""
        self.table.selectRow(0)

    def _show_choice(self) -> None:
        """Another row was chosen, or none."""
