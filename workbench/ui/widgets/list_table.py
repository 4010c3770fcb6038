"""A table to choose one row of, and its search field: arrow keys move in the table, letters go to the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import (
    QCoreApplication,
    QEvent,
    QObject,
    QSize,
    QSortFilterProxyModel,
    Qt,
)
from PySide6.QtGui import QColor, QFont, QFontMetrics, QKeyEvent, QPainter, QResizeEvent
from PySide6.QtWidgets import (
    QHeaderView,
    QLineEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QWidget,
)

from workbench.ui.icons import pixmap
from workbench.ui.theme import text_font, theme
from workbench.ui.widgets.table_parts import Index, paint_ground, whole_rows

ROW_ROLE = Qt.ItemDataRole.UserRole + 1
SORT_ROLE = Qt.ItemDataRole.UserRole + 2
TOKEN_ROLE = Qt.ItemDataRole.UserRole + 3
"""The token of a cell's colour; "text" when there is none."""
SIGN_ROLE = Qt.ItemDataRole.UserRole + 4
"""Name of an icon before a cell's text."""
SEARCH_ROLE = Qt.ItemDataRole.UserRole + 5
"""Of the first column: the text of a row that is searched."""
ROW_HEIGHT = 32
_PAD = 8
_SIGN = 12
_MEASURED_ROWS = 60
_WIDEST = 230
_MOVES = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)
_NO_KEYS = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.AltModifier | Qt.KeyboardModifier.MetaModifier


class RowFilter(QSortFilterProxyModel):
    """Keeps the rows that hold every word of the search; sorted by SORT_ROLE once a heading is clicked."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._words: list[str] = []
        self.setSortRole(SORT_ROLE)

    def search(self, text: str) -> None:
        words = text.casefold().split()
        if words != self._words:
            self._words = words
            self.invalidate()

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        if not self._words:
            return True
        model = self.sourceModel()
        text = str(model.data(model.index(source_row, 0), SEARCH_ROLE)).casefold()
        return all(word in text for word in self._words)


class _Cells(QStyledItemDelegate):
    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        metrics = QFontMetrics(_font(index))
        sign = _SIGN + 6 if index.data(SIGN_ROLE) else 0
        width = metrics.horizontalAdvance(str(index.data() or "")) + 2 * _PAD + sign + 2
        return QSize(min(width, _WIDEST), ROW_HEIGHT)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        look = theme()
        painter.save()
        rect = paint_ground(painter, option, index)
        inner = rect.adjusted(_PAD, 0, -_PAD, 0)
        token = str(index.data(TOKEN_ROLE) or "text")
        if sign := index.data(SIGN_ROLE):
            scale = painter.device().devicePixelRatioF()
            painter.drawPixmap(inner.left(), inner.center().y() - _SIGN // 2, pixmap(sign, token, _SIGN, scale))
            inner.adjust(_SIGN + 6, 0, 0, 0)
        font = _font(index)
        painter.setFont(font)
        painter.setPen(QColor(look.colour(token)))
        text = QFontMetrics(font).elidedText(
            str(index.data() or ""), Qt.TextElideMode.ElideRight, max(0, inner.width())
        )
        painter.drawText(inner, int(_alignment(index)), text)
        painter.restore()

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        editor.setGeometry(option.rect.adjusted(0, 1, 0, -2))  # type: ignore[attr-defined]


def _font(index: Index) -> QFont:
    font = index.data(Qt.ItemDataRole.FontRole)
    return font if isinstance(font, QFont) else text_font()


def _alignment(index: Index) -> int:
    found = index.data(Qt.ItemDataRole.TextAlignmentRole)
    return int(getattr(found, "value", found) or (Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter).value)


class ListTable(QTableView):
    """Whole rows, one at a time; the first column takes what room is left."""

    def __init__(self, model: QSortFilterProxyModel, name: str) -> None:
        super().__init__()
        self.setModel(model)
        self.setItemDelegate(_Cells(self))
        self.setAccessibleName(name)
        whole_rows(self, ROW_HEIGHT)
        self.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.setEditTriggers(QTableView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        header = self.horizontalHeader()
        header.setSortIndicatorClearable(True)
        header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        header.setResizeContentsPrecision(_MEASURED_ROWS)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.setSortingEnabled(True)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if (rows := self.selectionModel().selectedRows()) and self.state() != self.State.EditingState:
            self.scrollTo(rows[0])

    def chosen(self) -> Any:
        """What the model gives as ROW_ROLE of the chosen row; None when none is."""
        rows = self.selectionModel().selectedRows()
        return rows[0].data(ROW_ROLE) if rows else None

    def choose(self, fits: Callable[[Any], bool]) -> bool:
        """Choose the first row that fits; whether there is one."""
        model = self.model()
        for number in range(model.rowCount()):
            index = model.index(number, 0)
            if fits(index.data(ROW_ROLE)):
                self.selectRow(number)
                self.scrollTo(index)
                return True
        return False


class SearchKeys(QObject):
    """Makes a field and a table one: nobody has to leave the one to use the other."""

    def __init__(self, field: QLineEdit, table: QTableView) -> None:
        super().__init__(table)
        self._field, self._table = field, table
        field.installEventFilter(self)
        table.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        if watched is self._field and event.key() in _MOVES:
            QCoreApplication.sendEvent(self._table, event)
            return True
        typed = event.text()
        if watched is self._table and typed and typed.isprintable() and not event.modifiers() & _NO_KEYS:
            self._field.setFocus()
            QCoreApplication.sendEvent(self._field, event)
            return True
        return False
