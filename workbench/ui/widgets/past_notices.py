"""What was said before: the last notices with their times, to be read again and copied."""

from __future__ import annotations

import time
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QHeaderView, QTableView, QVBoxLayout, QWidget

from workbench.ui.icons import icon
from workbench.ui.notices import Notice, Notices
from workbench.ui.shell.strip import ICONS
from workbench.ui.theme import SMALL, mono_font, theme
from workbench.ui.widgets.basics import GAP, MARGIN, EmptyState, button, label, row, rule

SHOWN = 50
_SIZE = (640, 460)
_TITLES = ("Time", "Notice")
_WORDS = {"info": "note", "ok": "done", "warning": "warning", "error": "error"}
_NOWHERE = QModelIndex()
Index = QModelIndex | QPersistentModelIndex


def notice_text(notice: Notice) -> str:
    """A notice as text to be copied: time, what, detail."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(notice.at))
    times = f" ({notice.times} times)" if notice.times > 1 else ""
    lines = [f"{when} {_WORDS[notice.level]}: {notice.text}{times}", *notice.detail.splitlines()]
    return "\n  ".join(lines)


class PastModel(QAbstractTableModel):
    """The last `SHOWN` notices, newest first."""

    def __init__(self) -> None:
        super().__init__()
        self.notices: tuple[Notice, ...] = ()

    def take(self, kept: tuple[Notice, ...]) -> None:
        self.beginResetModel()
        self.notices = kept[::-1][:SHOWN]
        self.endResetModel()

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.notices)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(_TITLES)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _TITLES[section]
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        notice, column = self.notices[index.row()], index.column()
        times = f" ({notice.times} times)" if notice.times > 1 else ""
        if role == Qt.ItemDataRole.DisplayRole:
            return (time.strftime("%H:%M:%S", time.localtime(notice.at)), notice.text + times)[column]
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return icon(*ICONS[notice.level], 16)
        if role == Qt.ItemDataRole.FontRole and column == 0:
            return mono_font(SMALL)
        if role == Qt.ItemDataRole.ForegroundRole and column == 0:
            return theme().colour("text2")
        if role == Qt.ItemDataRole.ToolTipRole:
            return notice_text(notice)
        if role == Qt.ItemDataRole.AccessibleTextRole and column == 0:
            return notice_text(notice).replace("\n", " ")
        return None


class PastNotices(QDialog):
    """A list, and the chosen notice in full under it. Escape closes."""

    def __init__(self, notices: Notices, parent: QWidget) -> None:
        super().__init__(parent)
        self._notices = notices
        self.setWindowTitle("Past notices")
        self.setObjectName("past-notices")
        self.resize(*_SIZE)
        self.model = PastModel()
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setAccessibleName("Past notices, newest first")
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTabKeyNavigation(False)
        self.table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QTableView.SelectionMode.ExtendedSelection)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.table.verticalHeader().setDefaultSectionSize(28)
        self.table.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        self.table.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        self.empty = EmptyState("Nothing was said since the window was opened.")
        self.detail = label("", "text2", wrap=True, selectable=True)
        self.detail.setAccessibleName("The chosen notice in full")
        self.do_button = button("", self._do)
        self.copy_button = button("Copy", self.copy, icon_name="copy", tip="Copy the chosen notices, or all")
        self.close_button = button("Close", self.close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, MARGIN)
        layout.setSpacing(GAP)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.empty, 1)
        layout.addWidget(rule())
        edge = (MARGIN, 0, MARGIN, 0)
        foot = row(self.detail, margins=edge)
        layout.addWidget(foot)
        layout.addWidget(row(self.do_button, None, self.copy_button, self.close_button, margins=edge))
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._show_chosen())
        notices.said.connect(lambda _: self.refresh() if self.isVisible() else None)

    def open_fresh(self) -> None:
        """Show what was said until now; the newest is chosen."""
        self.refresh()
        self.show()
        self.raise_()
        self.table.setFocus()

    def refresh(self) -> None:
        """Look at the notices again; the choice stays with its notices."""
        before = self.chosen()
        self.model.take(self._notices.kept)
        some = bool(self.model.notices)
        self.table.setVisible(some)
        self.empty.setVisible(not some)
        self.copy_button.setEnabled(some)
        again = [n for n, notice in enumerate(self.model.notices) if any(notice is one for one in before)]
        if some:
            self.table.selectRow(again[0] if again else 0)
        self._show_chosen()

    def chosen(self) -> list[Notice]:
        """The chosen notices, newest first."""
        rows = sorted(index.row() for index in self.table.selectionModel().selectedRows())
        return [self.model.notices[number] for number in rows if number < len(self.model.notices)]

    def copy(self) -> None:
        """The chosen notices as text; all when none is chosen."""
        some = self.chosen() or list(self.model.notices)
        QGuiApplication.clipboard().setText("\n".join(notice_text(notice) for notice in some))

    def _show_chosen(self) -> None:
        chosen = self.chosen()
        one = chosen[0] if len(chosen) == 1 else None
        self.detail.setText(notice_text(one) if one else f"{len(chosen)} notices chosen" if chosen else "")
        can = one is not None and bool(one.button) and one.do is not None
        self.do_button.setVisible(can)
        if can and one is not None:
            self.do_button.setText(one.button)
            self.do_button.setAccessibleName(one.button)

    def _do(self) -> None:
        chosen = self.chosen()
        if len(chosen) == 1 and (do := chosen[0].do) is not None:
            self.close()
            do()
