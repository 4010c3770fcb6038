"""The self-test of the installation, from the Doctor page: its checks as they end, and the report to copy or save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, QTimer
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QFileDialog, QHeaderView, QScrollArea, QTableView, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.ui.icons import icon
from workbench.ui.models.self_test import SelfTestRow, SelfTestRun, SelfTestView, save_report
from workbench.ui.session import Session
from workbench.ui.theme import SMALL, mono_font, theme
from workbench.ui.widgets.basics import GAP, MARGIN, button, label, row, rule

_SIZE = (820, 660)
_LOOK_MS = 150
_ROW_PX, _DETAIL_PX = 24, 84
_TITLES = ("Check", "What was seen", "Seconds")
_SIGNS = {
    "waiting": ("dash", "text3"), "running": ("play", "accent"), "ok": ("check-circle", "ok"),
    "failed": ("error", "err"), "not run": ("dash", "text3"),
}  # fmt: skip
_ABOUT = (
    "Tries the installed program itself: its files, the window, workers, the store, and a tiny engine where OpenVINO "
    "is. It takes up to a minute, works in a folder of its own and takes that away again."
)
_CHOOSE = "Choose a check to read it in full."
_NOWHERE = QModelIndex()
Index = QModelIndex | QPersistentModelIndex


class ChecksModel(QAbstractTableModel):
    """The checks in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[SelfTestRow, ...] = ()

    def take(self, rows: tuple[SelfTestRow, ...]) -> None:
        if len(rows) != len(self.rows):
            self.beginResetModel()
            self.rows = rows
            self.endResetModel()
        elif rows != self.rows:
            self.rows = rows
            self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(_TITLES) - 1))

    def rowCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = _NOWHERE) -> int:
        return 0 if parent.isValid() else len(_TITLES)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return _TITLES[section]
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.TextAlignmentRole and section == 2:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        found, column = self.rows[index.row()], index.column()
        if role == Qt.ItemDataRole.DisplayRole:
            seconds = "" if found.seconds is None else f"{found.seconds:.1f}"
            return (found.title, found.words or ("…" if found.state == "running" else ""), seconds)[column]
        if role == Qt.ItemDataRole.DecorationRole and column == 0:
            return icon(*_SIGNS[found.state], 14)
        if role == Qt.ItemDataRole.FontRole and column == 2:
            return mono_font(SMALL)
        if role == Qt.ItemDataRole.TextAlignmentRole and column == 2:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ForegroundRole:
            return theme().colour("err" if found.state == "failed" and column == 1 else "text2" if column else "text")
        if role == Qt.ItemDataRole.ToolTipRole:
            return found.words
        if role == Qt.ItemDataRole.AccessibleTextRole and column == 0:
            return f"{found.title}: {found.state}. {found.words}"
        return None


class SelfTestDialog(QDialog):
    """Begins when it is opened. Closing it stops the test."""

    def __init__(self, session: Session, parent: QWidget, options: tuple[str, ...] = ()) -> None:
        super().__init__(parent)
        self._session, self._page, self._options = session, parent, options
        self.setWindowTitle("Self-test")
        self.setObjectName("self-test")
        self.resize(*_SIZE)
        self.run: SelfTestRun | None = None
        self.view = SelfTestView()
        self.model = ChecksModel()
        self.verdict = label("", "name", wrap=True)
        self.about = label(_ABOUT, "text2", wrap=True)
        self.table = self._make_table()
        self.detail = label("", "text2", wrap=True, selectable=True)
        self.detail.setAccessibleName("The chosen check in full")
        self.detail.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.detail.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        scroll = QScrollArea()
        scroll.setWidget(self.detail)
        scroll.setWidgetResizable(True)
        scroll.setFixedHeight(_DETAIL_PX)
        scroll.setAccessibleName("The chosen check in full, to scroll")
        self.again_button = button("Run again", self.begin, icon_name="refresh")
        self.stop_button = button("Stop", self.stop, icon_name="stop", name="Stop the self-test")
        self.copy_button = button("Copy report", self.copy, icon_name="copy")
        self.save_button = button("Save report…", self.ask_where, icon_name="save", name="Save the report")
        self.close_button = button("Close", self.close)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, MARGIN, 0, MARGIN)
        layout.setSpacing(GAP)
        edge = (MARGIN, 0, MARGIN, 0)
        head = QVBoxLayout()
        head.setContentsMargins(*edge)
        head.addWidget(self.verdict)
        head.addWidget(self.about)
        layout.addLayout(head)
        layout.addWidget(row(self.table, margins=edge), 1)
        layout.addWidget(rule())
        layout.addWidget(scroll)
        layout.addWidget(rule())
        buttons = (self.again_button, self.stop_button, None, self.copy_button, self.save_button, self.close_button)
        layout.addWidget(row(*buttons, margins=edge))
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_MS)
        self._timer.timeout.connect(self._look)
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._show_chosen())
        self._show()

    def _make_table(self) -> QTableView:
        table = QTableView()
        table.setModel(self.model)
        table.setAccessibleName("Checks of the self-test")
        table.setShowGrid(False)
        table.setProperty("padded", True)
        table.setWordWrap(False)
        table.setTabKeyNavigation(False)
        table.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        table.verticalHeader().hide()
        table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        table.verticalHeader().setDefaultSectionSize(_ROW_PX)
        header = table.horizontalHeader()
        header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
        return table

    # -- running

    def open_fresh(self) -> None:
        """Show it, and begin unless it runs or its report is still to be read."""
        if self.run is None and (window := self._page.window()) is not self:
            self.resize(_SIZE[0], min(_SIZE[1], window.height()))
        self.show()
        self.raise_()
        if self.run is None:
            self.begin()

    def begin(self) -> None:
        """Run it (again)."""
        if self.view.running:
            return
        run = self.run = SelfTestRun(self._session.home, self._options)
        self.view = run.view
        self.model.take(())
        self._show()
        self._timer.start()
        self._session.tasks.run(
            run.work, lambda view: self._finish(run, view), lambda failure: self._fail(run, failure)
        )

    def stop(self) -> None:
        if self.run is not None and self.view.running:
            self.stop_button.setEnabled(False)
            self._session.tasks.run(self.run.cancel)

    def _look(self) -> None:
        if self.run is not None and self.run.view is not self.view:
            self.view = self.run.view
            self._show()

    def _finish(self, run: SelfTestRun, view: SelfTestView) -> None:
        if run is not self.run:
            return  # closed meanwhile
        self._timer.stop()
        self.view = view
        self._show()
        failed = [number for number, found in enumerate(view.rows) if found.state == "failed"]
        if failed:
            self.table.selectRow(failed[0])

    def _fail(self, run: SelfTestRun, failure: Failure) -> None:
        if run is not self.run:
            return
        self._finish(run, run.view)
        self.verdict.setText(failure.what)
        self._session.notices.fail(failure)

    # -- showing

    def _show(self) -> None:
        view = self.view
        self.model.take(view.rows)
        done = sum(found.state not in ("waiting", "running") for found in view.rows)
        if view.running:
            self.verdict.setText(f"Testing … {done} of {len(view.rows)}" if view.rows else "Beginning …")
        else:
            stopped = "The self-test was stopped." if view.rows else "Not run yet."
            self.verdict.setText(view.verdict or stopped)
        self.stop_button.setVisible(view.running)
        self.stop_button.setEnabled(view.running)
        self.again_button.setVisible(not view.running)
        for each in (self.copy_button, self.save_button):
            each.setEnabled(bool(view.text))
        self._show_chosen()

    def _show_chosen(self) -> None:
        rows = self.table.selectionModel().selectedRows()
        found = self.model.rows[rows[0].row()] if rows and rows[0].row() < len(self.model.rows) else None
        self.detail.setText("\n".join(filter(None, (found.words, found.detail))) if found is not None else _CHOOSE)

    # -- the report

    def copy(self) -> None:
        """The report as text, as `workbench self-test` prints it."""
        if self.view.text:
            QGuiApplication.clipboard().setText(self.view.text)
            self._session.notices.say("ok", "The self-test's report is on the clipboard.")

    def ask_where(self) -> None:
        """Ask for a file, and save the report there."""
        chosen, _ = QFileDialog.getSaveFileName(
            self, "Save the self-test's report", "self-test.txt", "Text (*.txt);;JSON (*.json)"
        )
        if chosen:
            self.save(Path(chosen))

    def save(self, path: Path) -> None:
        """Write the report in the background."""
        view = self.view
        self._session.tasks.run(lambda: save_report(path, view), self._saved, self._session.notices.fail)

    def _saved(self, path: Path) -> None:
        self._session.notices.say("ok", f"The self-test's report is in {path}.")

    def reject(self) -> None:
        """Escape and Close come here."""
        self.end()
        super().reject()

    def end(self) -> None:
        """Stop what runs: the dialog or the window goes. A signal is sent, and not waited for."""
        self._timer.stop()
        if self.run is not None and self.view.running:
            self.run.cancel()
            self.run, self.view = None, SelfTestView()
