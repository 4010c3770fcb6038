"""Model, filter, cells and editors of the table of build flags."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import (
    QAbstractItemModel,
    QAbstractTableModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QRectF,
    QSize,
    QSortFilterProxyModel,
    Qt,
)
from PySide6.QtGui import QFontMetrics, QPainter
from PySide6.QtWidgets import QComboBox, QLineEdit, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

from workbench.toolchains.flag_sheet import FlagProblem, FlagRow
from workbench.ui.icons import pixmap
from workbench.ui.models.flags import (
    FlagTable,
    details,
    matches,
    offered,
    problem_lines,
    shown_default,
    shown_value,
    value_from_text,
)
from workbench.ui.theme import SMALL, mono_font, text_font, theme

Index = QModelIndex | QPersistentModelIndex
TITLES = ("Flag", "Value", "Default", "What it does")
FLAG, VALUE, DEFAULT, HELP = range(4)
ROW_HEIGHT = 28
ROW_ROLE = Qt.ItemDataRole.UserRole + 1
PROBLEM_ROLE = Qt.ItemDataRole.UserRole + 2
_NOWHERE = QModelIndex()
_PAD, _DOT = 8, 6
_TO_DEFAULT = "\N{EN DASH}"
"""Stands in a list of choices for what the flag is without [build.flags], where that is not set."""


class FlagsModel(QAbstractTableModel):
    """Rows of a FlagTable; an edit makes a new one."""

    def __init__(self, table: FlagTable) -> None:
        super().__init__()
        self.table = table

    def take(self, table: FlagTable) -> None:
        same = [row.name for row in table.rows] == [row.name for row in self.table.rows]
        if not same:
            self.beginResetModel()
        self.table = table
        if not same:
            self.endResetModel()
        elif table.rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(table.rows) - 1, HELP))

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.table.rows)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(TITLES)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return TITLES[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        return None

    def flags(self, index: Index) -> Qt.ItemFlag:
        row = self.table.rows[index.row()]
        known = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemNeverHasChildren
        return known | Qt.ItemFlag.ItemIsEditable if index.column() == VALUE and not row.locked else known

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row = self.table.rows[index.row()]
        column = index.column()
        if role == ROW_ROLE:
            return row
        problem = self.table.by_flag.get(row.name)
        if role == PROBLEM_ROLE:
            return problem
        if role == Qt.ItemDataRole.DisplayRole:
            return (row.name, shown_value(row), shown_default(row), row.help)[column]
        if role == Qt.ItemDataRole.EditRole:
            return "" if row.value is None else shown_value(row)
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join([f"--{row.name}", *problem_lines(row, problem), *details(row)])
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return accessible(row, column, problem)
        return None

    def setData(self, index: Index, value: Any, role: int = Qt.ItemDataRole.EditRole) -> bool:
        row = self.table.rows[index.row()]
        if role != Qt.ItemDataRole.EditRole or index.column() != VALUE or row.locked:
            return False
        typed = value_from_text(row, str(value))
        if str(value).strip() != self.data(index, Qt.ItemDataRole.EditRole):
            self.take(self.table.with_value(row.name, typed))
        return True


def accessible(row: FlagRow, column: int, problem: FlagProblem | None) -> str:
    """A cell for a screen reader."""
    if column == FLAG:
        return row.name + (", changed" if row.changed else "")
    if column != VALUE:
        return shown_default(row) if column == DEFAULT else row.help
    words = [shown_value(row)]
    if row.set_by:
        words.append(f"set by {row.set_by}")
    if row.locked:
        words.append("cannot be changed here")
    if problem is not None:
        words.append(problem.what)
    return ", ".join(words)


class FlagsFilter(QSortFilterProxyModel):
    """Keeps rows that hold every word, and where asked only the changed ones (those with a problem too)."""

    def __init__(self, source: FlagsModel) -> None:
        super().__init__()
        self._words: list[str] = []
        self._only_changed = False
        self.setSourceModel(source)

    def ask(self, text: str, *, only_changed: bool) -> None:
        if (text.casefold().split(), only_changed) != (self._words, self._only_changed):
            self._words, self._only_changed = text.casefold().split(), only_changed
            self.invalidate()

    def filterAcceptsRow(self, source_row: int, source_parent: Index) -> bool:
        model = self.sourceModel()
        assert isinstance(model, FlagsModel)
        row = model.table.rows[source_row]
        if self._only_changed and not (row.changed or row.from_flags or row.name in model.table.by_flag):
            return False
        return matches(row, self._words)


class FlagCells(QStyledItemDelegate):
    """Draws a dot and bold type for what is changed, who set a value, red for what is wrong; makes the editors."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._mono, self._mono_bold, self._text = mono_font(12), mono_font(12, bold=True), text_font(12)
        self._small = text_font(SMALL)

    def sizeHint(self, option: QStyleOptionViewItem, index: Index) -> QSize:
        row: FlagRow = index.data(ROW_ROLE)
        width = QFontMetrics(self._mono_bold).horizontalAdvance(str(index.data())) + 2 * _PAD
        if index.column() == FLAG:
            width += _DOT + _PAD
        if index.column() == VALUE and (beside := beside_value(row)):
            width += QFontMetrics(self._small).horizontalAdvance(beside) + _PAD
        return QSize(width, ROW_HEIGHT)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        look = theme()
        row: FlagRow = index.data(ROW_ROLE)
        problem: FlagProblem | None = index.data(PROBLEM_ROLE)
        column = index.column()
        rect: QRect = option.rect  # type: ignore[attr-defined]
        state = option.state  # type: ignore[attr-defined]
        painter.save()
        if state & QStyle.StateFlag.State_Selected:
            painter.fillRect(rect, look.colour("accent_bg"))
        if problem is not None and column == VALUE:
            painter.fillRect(rect, look.colour("err_bg" if problem.blocks else "warn_bg"))
        if state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(look.colour("accent"))
            painter.drawRect(rect.adjusted(0, 0, -1, -2))
        painter.fillRect(QRect(rect.left(), rect.bottom(), rect.width(), 1), look.colour("line"))
        inner = rect.adjusted(_PAD, 0, -_PAD, 0)
        if column == FLAG:
            if row.changed:
                painter.setRenderHint(QPainter.RenderHint.Antialiasing)
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(look.colour("accent"))
                painter.drawEllipse(QRectF(inner.left(), rect.center().y() - _DOT / 2 + 0.5, _DOT, _DOT))
            inner.adjust(_DOT + _PAD, 0, 0, 0)
        elif column == VALUE and problem is not None:
            sign, token = ("error", "err") if problem.blocks else ("warn", "warn")
            scale = painter.device().devicePixelRatioF()
            painter.drawPixmap(inner.right() - 11, rect.center().y() - 5, pixmap(sign, token, 12, scale))
            inner.adjust(0, 0, -18, 0)
        painter.setFont(self._text if column == HELP else self._mono_bold if self._bold(row, column) else self._mono)
        painter.setPen(look.colour(self._token(row, column, problem)))
        middle = int((Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter).value)
        metrics = painter.fontMetrics()
        text = metrics.elidedText(str(index.data()), Qt.TextElideMode.ElideRight, inner.width())
        painter.drawText(inner, middle, text)
        if column == VALUE and (beside := beside_value(row)):
            inner.adjust(metrics.horizontalAdvance(text) + _PAD, 0, 0, 0)
            painter.setFont(self._small)
            painter.setPen(look.colour("text2" if state & QStyle.StateFlag.State_Selected else "text3"))
            painter.drawText(
                inner, middle, painter.fontMetrics().elidedText(beside, Qt.TextElideMode.ElideRight, inner.width())
            )
        painter.restore()

    @staticmethod
    def _bold(row: FlagRow, column: int) -> bool:
        return row.changed and column in (FLAG, VALUE)

    @staticmethod
    def _token(row: FlagRow, column: int, problem: FlagProblem | None) -> str:
        if column == VALUE and problem is not None:
            return "err" if problem.blocks else "text"
        if column in (DEFAULT, HELP):
            return "text2"
        if column == VALUE and (row.locked or not row.changed):
            return "text2"
        return "text"

    def createEditor(self, parent: QWidget, option: QStyleOptionViewItem, index: Index) -> QWidget:
        row: FlagRow = index.data(ROW_ROLE)
        choices = offered(row)
        editor: QWidget
        if choices:
            box = QComboBox(parent)
            if row.inherited is None:
                box.addItem(f"{_TO_DEFAULT} {row.default_words}", "")
            for choice in choices:
                box.addItem(choice, choice)
            box.setEditable(row.choices_open)
            box.activated.connect(lambda: self._done(box))
            editor = box
        else:
            line = QLineEdit(parent)
            line.setPlaceholderText(row.wants)
            editor = line
        editor.setFont(self._mono)
        # The sheet's padding and height are for forms, not for cells.
        editor.setStyleSheet("min-height: 0; padding: 0 5px; border-radius: 0;")
        editor.setAccessibleName(f"Value of {row.name}")
        return editor

    def _done(self, editor: QWidget) -> None:
        self.commitData.emit(editor)
        self.closeEditor.emit(editor)

    def setEditorData(self, editor: QWidget, index: Index) -> None:
        text = str(index.data(Qt.ItemDataRole.EditRole))
        if isinstance(editor, QComboBox):
            if text and editor.findData(text) < 0:
                editor.addItem(text, text)  # a value that is no choice stays until another is chosen
            editor.setCurrentIndex(max(0, editor.findData(text)))
        elif isinstance(editor, QLineEdit):
            editor.setText(text)

    def setModelData(self, editor: QWidget, model: QAbstractItemModel, index: Index) -> None:
        if isinstance(editor, QComboBox):
            at = editor.findText(editor.currentText())
            model.setData(index, editor.itemData(at) if at >= 0 else editor.currentText())
        elif isinstance(editor, QLineEdit):
            model.setData(index, editor.text())

    def updateEditorGeometry(self, editor: QWidget, option: QStyleOptionViewItem, index: Index) -> None:
        rect: QRect = option.rect  # type: ignore[attr-defined]
        editor.setGeometry(rect.adjusted(0, 0, 0, -1))


def beside_value(row: FlagRow) -> str:
    """Small words after a value: who set it, or the unit."""
    if row.set_by:
        return f"set by {row.set_by}"
    return row.unit if row.value is not None else ""
