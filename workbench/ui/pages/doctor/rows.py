"""The list of what was looked at, under the headings of its groups."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, QRect, Qt
from PySide6.QtGui import QFontMetrics, QPainter
from PySide6.QtWidgets import QHeaderView, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QTableView, QWidget

from workbench.ui.icons import pixmap
from workbench.ui.models.doctor import GROUPS, DoctorRow
from workbench.ui.theme import SMALL, mono_font, text_font, theme

Index = QModelIndex | QPersistentModelIndex
SIGNS = {"ok": ("check-circle", "ok"), "warn": ("warn", "warn"), "err": ("error", "err"), "none": ("dash", "text3")}
WORDS = {"ok": "fine", "warn": "warning", "err": "problem", "none": "not here"}
_HEADING, _LOW, _HIGH = 34, 38, 52
_NOWHERE = QModelIndex()


class DoctorModel(QAbstractTableModel):
    """Rows of a group follow its heading; headings (plain strings) cannot be chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[str | DoctorRow] = []

    def take(self, rows: tuple[DoctorRow, ...]) -> None:
        self.beginResetModel()
        self.entries = []
        for group in GROUPS:
            members = [row for row in rows if row.group == group]
            if members:
                self.entries += [group, *members]
        self.endResetModel()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.entries)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else 1

    def flags(self, index: Index) -> Qt.ItemFlag:
        if isinstance(self.entries[index.row()], str):
            return Qt.ItemFlag.NoItemFlags
        return Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        entry = self.entries[index.row()]
        if role == Qt.ItemDataRole.UserRole:
            return entry
        if role == Qt.ItemDataRole.DisplayRole:
            return entry if isinstance(entry, str) else entry.name
        if isinstance(entry, str):
            return None
        if role == Qt.ItemDataRole.AccessibleTextRole:
            return f"{entry.name}: {WORDS[entry.state]}, {entry.text}"
        if role == Qt.ItemDataRole.ToolTipRole:
            return "\n".join(text for text in (entry.text, entry.place) if text)
        return None


class _Painter(QStyledItemDelegate):
    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: Index) -> None:
        entry: str | DoctorRow = index.data(Qt.ItemDataRole.UserRole)
        rect: QRect = option.rect  # type: ignore[attr-defined]
        look = theme()
        painter.save()
        if isinstance(entry, str):
            painter.setFont(text_font(SMALL, bold=True))
            painter.setPen(look.colour("text2"))
            painter.drawText(rect.adjusted(16, 6, -8, 0), _left(), entry)
        else:
            self._paint_row(painter, rect, entry, bool(option.state & QStyle.StateFlag.State_Selected))  # type: ignore[attr-defined]
        painter.fillRect(QRect(rect.left(), rect.bottom(), rect.width(), 1), look.colour("line"))
        painter.restore()

    def _paint_row(self, painter: QPainter, rect: QRect, row: DoctorRow, chosen: bool) -> None:
        look = theme()
        if chosen:
            painter.fillRect(rect, look.colour("accent_bg"))
            painter.fillRect(QRect(rect.left(), rect.top(), 2, rect.height()), look.colour("accent"))
        sign, colour = SIGNS[row.state]
        scale = painter.device().devicePixelRatioF()
        painter.drawPixmap(rect.left() + 16, rect.center().y() - 8, pixmap(sign, colour, 16, scale))
        name_width = min(190, rect.width() // 3)
        name = rect.adjusted(42, 0, 0, 0)
        name.setWidth(name_width - 12)
        font = text_font()
        painter.setFont(font)
        painter.setPen(look.colour("text2" if row.state == "none" else "text"))
        painter.drawText(name, _left(), _cut(font, row.name, name.width()))
        rest = rect.adjusted(42 + name_width, 0, -8, 0)
        painter.setPen(look.colour("text2"))
        if not row.place:
            painter.drawText(rest, _left(), _cut(font, row.text, rest.width()))
            return
        half = rect.height() // 2
        painter.drawText(rest.adjusted(0, 4, 0, -half), _left(), _cut(font, row.text, rest.width()))
        small = mono_font(SMALL)
        painter.setFont(small)
        painter.setPen(look.colour("text3"))
        painter.drawText(rest.adjusted(0, half, 0, -4), _left(), _cut(small, row.place, rest.width(), middle=True))


def _left() -> int:
    return int((Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter).value)


def _cut(font: Any, text: str, width: int, *, middle: bool = False) -> str:
    mode = Qt.TextElideMode.ElideMiddle if middle else Qt.TextElideMode.ElideRight
    return QFontMetrics(font).elidedText(text, mode, width)


class DoctorTable(QTableView):
    def __init__(self, model: DoctorModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setModel(model)
        self.setItemDelegate(_Painter(self))
        self.setAccessibleName("What was looked at")
        self.setShowGrid(False)
        self.setTabKeyNavigation(False)
        self.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        self.horizontalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.verticalHeader().hide()
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.setMinimumWidth(320)

    def chosen(self) -> DoctorRow | None:
        rows = self.selectionModel().selectedRows()
        entry = rows[0].data(Qt.ItemDataRole.UserRole) if rows else None
        return entry if isinstance(entry, DoctorRow) else None

    def fit(self) -> None:
        """Rows with a folder are two lines high."""
        model = self.model()
        for number in range(model.rowCount()):
            entry = model.index(number, 0).data(Qt.ItemDataRole.UserRole)
            high = _HEADING if isinstance(entry, str) else _HIGH if entry.place else _LOW
            self.setRowHeight(number, high)
