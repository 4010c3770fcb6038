"""An export before it is written: its checks, its files with their text, where it goes, and what came of it."""

from __future__ import annotations

import os
from pathlib import Path

from PySide6.QtCore import Qt, QUrl, Signal
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFrame,
    QLineEdit,
    QProgressBar,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from workbench.core.errors import Failure
from workbench.core.units import format_bytes
from workbench.ui.models.exporting import Exporting, ExportView, Written
from workbench.ui.pages.deploy.checks import CheckList
from workbench.ui.pages.deploy.files import FilesPane
from workbench.ui.pages.playground.engine.faces import FailureText
from workbench.ui.session import Session
from workbench.ui.theme import mono_font
from workbench.ui.widgets.basics import (
    GAP,
    MARGIN,
    button,
    chip,
    column,
    icon_button,
    label,
    row,
    rule,
    set_chip,
    set_sign,
)
from workbench.ui.widgets.elided_line import ElidedLine
from workbench.ui.widgets.text_block import TextBlock

_WORDS, _REFUSED, _SHOWN = range(3)


class ExportPane(QFrame):
    """Right of a form. `said` is sent with words of what was done."""

    said = Signal(str)
    folder_changed = Signal()
    """The field names another new folder."""

    def __init__(self, session: Session, model: Exporting) -> None:
        super().__init__()
        self.setProperty("surface", "panel")
        self._session, self.model = session, model
        self._typed = False
        """Whether a person chose the folder."""
        self._folder = Path.home()
        """Where exports go, less their name."""
        self._result: Written | None = None
        self._make_head()
        self._make_bottom()
        self.checks, self.files = CheckList(), FilesPane()
        self.words = label("", "text3", wrap=True)
        self.words.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self._refusal = FailureText()
        sign = label()
        set_sign(sign, "error", "err")
        refused = column(row(sign, label("This cannot be exported", "name"), None), self._refusal, None)
        refused.layout().setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        self.stack = QStackedWidget()
        for face in (self.words, refused, self._body()):
            self.stack.addWidget(face)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.stack, 1)
        layout.addWidget(rule())
        layout.addWidget(self.result_box)
        layout.addWidget(self.bottom)
        model.looked.connect(self._look)
        model.refused.connect(self.show_refused)
        model.running_changed.connect(self._show_running)
        model.progressed.connect(self._show_progress)
        model.written.connect(self._show_written)
        model.failed.connect(self._show_failed)
        self.show_words("Choose an engine first.")

    # -- parts

    def _make_head(self) -> None:
        self.name = ElidedLine("name")
        self.state_chip = chip("", "plain")
        self.size_words = label("", "text2")

    def _body(self) -> QWidget:
        head = row(self.name, self.state_chip, self.size_words, margins=(MARGIN, 12, MARGIN, 12))
        head.layout().setStretch(0, 1)
        above = column(label("Checked before it is written", "heading"), margins=(MARGIN, GAP, MARGIN, 0))
        checks = column(above, self.checks, gap=0)
        checks.layout().setStretch(1, 1)
        self.split = QSplitter(Qt.Orientation.Vertical)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(checks)
        self.split.addWidget(self.files)
        checks.setMinimumHeight(120)
        self.files.setMinimumHeight(160)
        self.split.setSizes([300, 420])
        made = column(head, rule(), self.split, gap=0)
        made.layout().setStretch(2, 1)
        return made

    def _make_bottom(self) -> None:
        self.folder = QLineEdit()
        self.folder.setFont(mono_font())
        self.folder.setAccessibleName("New folder of the export")
        self.folder.textEdited.connect(self._edit_folder)
        self.folder.textChanged.connect(lambda _: self.folder_changed.emit())
        name = label("New folder", "text2")
        name.setBuddy(self.folder)
        self.choose = icon_button("folder", "Choose where the folder goes", self._choose_folder, flat=False)
        self.link = QCheckBox("Link large files")
        self.link.setToolTip("Hard links to the engine's files instead of copies, where they are on the same disk")
        self.link.toggled.connect(lambda _: self.folder_changed.emit())
        self.export = button("Export", self.write, icon_name="export", primary=True)
        self.cancel = button("Cancel", self.model.cancel, icon_name="stop", name="Cancel the export")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setRange(0, 1000)
        self.progress.setAccessibleName("How much is written")
        self.why_not = label("", "error", wrap=True)
        self.why_not.hide()
        line = row(name, self.folder, self.choose, self.link, self.cancel, self.export)
        line.layout().setStretch(1, 1)
        self.bottom = column(self.progress, self.why_not, line, gap=GAP, margins=(MARGIN, 12, MARGIN, 12))
        self.progress.hide()
        self.cancel.hide()
        self.result_box = QFrame()
        self._result_title = label("", "name", wrap=True)
        self._result_sign = label()
        self._result_failure = FailureText()
        self.commands = TextBlock("What to run next", 8)
        self.copy = button("Copy", self._copy, icon_name="copy", small=True, name="Copy what to run next")
        self.reveal = button("Reveal", self._reveal, icon_name="folder", small=True, name="Open the export's folder")
        close = icon_button("close", "Put this away", self.result_box.hide)
        head = row(self._result_sign, self._result_title, self.copy, self.reveal, close)
        head.layout().setStretch(1, 1)
        inside = QVBoxLayout(self.result_box)
        inside.setContentsMargins(MARGIN, 10, MARGIN, 4)
        inside.setSpacing(GAP)
        for part in (head, self._result_failure, self.commands):
            inside.addWidget(part)
        self.result_box.hide()

    # -- what is shown

    def show_words(self, words: str) -> None:
        """There is nothing to export yet, and why."""
        self.words.setText(words)
        self.stack.setCurrentIndex(_WORDS)
        self._show_able(words)

    def show_looking(self) -> None:
        """It is being made anew: what was shown stays until then, and cannot be written."""
        if self.stack.currentIndex() != _SHOWN:
            self.show_words("Looking at the engine …")
        self._show_able("It is being checked.")

    def show_problem(self, words: str) -> None:
        """The form says what cannot be: what was shown stays, and cannot be written."""
        if self.stack.currentIndex() != _SHOWN:
            self.show_words(words)
        self._show_able(words)

    def show_refused(self, failure: Failure) -> None:
        """It cannot be exported at all."""
        self._refusal.show_failure(failure)
        self.stack.setCurrentIndex(_REFUSED)
        self._show_able(failure.what)

    def _look(self, view: ExportView) -> None:
        self.name.say(view.export.name)
        set_chip(self.state_chip, *view.state)
        count = len(view.files)
        self.size_words.setText(f"{count} files, {format_bytes(view.total_bytes)}")
        self.checks.show_checks(view.export.checks, view.export.notes)
        self.files.show_files(view.files)
        self.stack.setCurrentIndex(_SHOWN)
        if not self._typed:
            self.folder.setText(str(self._folder / view.export.name))
        failed = view.failed
        self._show_able(f"{failed[0].name}: {failed[0].found or 'it does not hold'}" if failed else "")

    def _show_able(self, why_not: str) -> None:
        able = not why_not and not self.model.running
        self.export.setEnabled(able)
        self.export.setToolTip(why_not)

    @property
    def refused(self) -> bool:
        """Whether it is said that this cannot be exported at all."""
        return self.stack.currentIndex() == _REFUSED

    # -- where it goes

    def _edit_folder(self, text: str) -> None:
        self._typed = bool(text.strip())

    def _choose_folder(self) -> None:
        dialog = QFileDialog(self, "Where the new folder goes", str(self._folder))
        dialog.setObjectName("export-folder")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self.put_into)
        dialog.open()

    def put_into(self, folder: str) -> None:
        """The export becomes a new folder inside this one."""
        self._folder = Path(folder)
        self._typed = False
        if self.model.view is not None:
            self.folder.setText(str(self._folder / self.model.view.export.name))

    @property
    def asked_out(self) -> str:
        """The new folder as it is named; the command line's word where it is not."""
        return self.folder.text().strip() or "FOLDER"

    @property
    def folder_for_all(self) -> str:
        return str(self._folder)

    # -- writing

    def write(self) -> None:
        """Write it where the field says."""
        text = self.folder.text().strip()
        if not text:
            self._say_why_not("Name the new folder.")
            self.folder.setFocus()
        elif self.export.isEnabled():
            self._say_why_not("")
            self.result_box.hide()
            self.model.write(Path(os.path.expanduser(text)), link=self.link.isChecked())  # noqa: PTH111

    def _say_why_not(self, words: str) -> None:
        self.why_not.setText(words)
        self.why_not.setVisible(bool(words))

    def _show_running(self, running: bool) -> None:
        self.progress.setVisible(running)
        self.progress.setValue(0)
        self.cancel.setVisible(running)
        for made in (self.folder, self.choose, self.link):
            made.setEnabled(not running)
        self._show_able("" if self.model.view is not None and not self.model.view.failed else self.export.toolTip())

    def _show_progress(self, done: int, of: int) -> None:
        self.progress.setValue(round(1000 * done / of) if of else 1000)
        self.progress.setAccessibleDescription(f"{format_bytes(done)} of {format_bytes(of)}")

    def _show_written(self, result: Written) -> None:
        self._result = result
        set_sign(self._result_sign, "check-circle", "ok")
        self._result_title.setText(f"Written to {result.folder}, {format_bytes(result.bytes)}. What to run next:")
        self.commands.say("\n".join(result.commands))
        self._show_result(failed=False)
        self.copy.setFocus()

    def _show_failed(self, failure: Failure) -> None:
        set_sign(self._result_sign, "error", "err")
        self._result_title.setText("It was not exported")
        self._result_failure.show_failure(failure)
        self._show_result(failed=True)

    def _show_result(self, *, failed: bool) -> None:
        self._result_failure.setVisible(failed)
        for made in (self.commands, self.copy, self.reveal):
            made.setVisible(not failed)
        self.result_box.show()

    def _copy(self) -> None:
        QGuiApplication.clipboard().setText(self.commands.text())
        self.said.emit("What to run next is on the clipboard.")

    def _reveal(self) -> None:
        result = self._result
        if result is not None and not QDesktopServices.openUrl(QUrl.fromLocalFile(str(result.folder))):
            self._session.notices.say("warning", "No program here opens folders.", str(result.folder))
