"""What the tables of the window have in common: headings, whole rows, and the ground that a row is drawn on."""

from __future__ import annotations

from typing import Any, ClassVar

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRect, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QHeaderView, QStyle, QStyleOptionViewItem, QTableView

from workbench.ui.theme import theme

Index = QModelIndex | QPersistentModelIndex
NOT_REPORTED = "not reported"
NONE = "\N{EN DASH}"
"""Stands in a cell for what was not reported."""
_NOWHERE = QModelIndex()


def side(right: bool) -> Qt.AlignmentFlag:
    """Where a cell's text stands: figures at the right."""
    return (Qt.AlignmentFlag.AlignRight if right else Qt.AlignmentFlag.AlignLeft) | Qt.AlignmentFlag.AlignVCenter


class RowsModel(QAbstractTableModel):
    """Things in rows under headings; a subclass gives `headings`, replaces `rows` and says what a cell holds."""

    headings: ClassVar[tuple[tuple[str, bool, str], ...]] = ()
    """Title, whether it is a figure that stands at the right, tool tip of the heading."""
    rows: tuple[Any, ...] = ()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.headings)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        title, right, tip = self.headings[section]
        if role == Qt.ItemDataRole.DisplayRole:
            return title
        if role == Qt.ItemDataRole.ToolTipRole:
            return tip or None
        return side(right) if role == Qt.ItemDataRole.TextAlignmentRole else None

    def said(self, column: int, text: str) -> str:
        """A cell for those who hear it."""
        return f"{self.headings[column][0]}: {NOT_REPORTED if text == NONE else text}"

    def all_changed(self) -> None:
        """Announce that any cell may have changed, and no row came or went."""
        if self.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self.rows) - 1, len(self.headings) - 1))


def whole_rows(view: QTableView, row_height: int) -> None:
    """Rows of one height that are chosen as a whole, without a grid or numbers; Tab leaves the table."""
    view.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
    view.setShowGrid(False)
    view.setWordWrap(False)
    view.setTabKeyNavigation(False)
    rows = view.verticalHeader()
    rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    rows.setDefaultSectionSize(row_height)
    rows.hide()
    view.horizontalHeader().setHighlightSections(False)


def still_head(view: QTableView, height: int) -> None:
    """Headings that only say what stands below: they are no buttons, and the owner gives their widths."""
    head = view.horizontalHeader()
    head.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
    head.setFixedHeight(height)
    head.setSectionsClickable(False)
    head.setFocusPolicy(Qt.FocusPolicy.NoFocus)


def paint_ground(painter: QPainter, option: QStyleOptionViewItem, index: Index) -> QRect:
    """Draw a cell's part of its row, the chosen row with a bar at its left; the cell's place."""
    rect: QRect = option.rect
    look = theme()
    if option.state & QStyle.StateFlag.State_Selected:
        painter.fillRect(rect, look.colour("accent_bg"))
        if index.column() == 0:
            painter.fillRect(QRect(rect.left(), rect.top(), 2, rect.height()), look.colour("accent"))
    painter.fillRect(QRect(rect.left(), rect.bottom(), rect.width(), 1), look.colour("line"))
    return rect
