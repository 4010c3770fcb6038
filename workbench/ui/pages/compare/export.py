"""A comparison as a report file: HTML, PDF, JSON or CSV; the files are named by their ending."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtWidgets import QMenu, QPushButton, QWidget

from workbench.core.measure.comparison import Comparison
from workbench.measure.kept import report_of, write_report
from workbench.ui.models.comparing import Comparing
from workbench.ui.session import Session
from workbench.ui.widgets.report_file import ask_report_file, report_menu


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Write a report; its kind is the file's ending. Blocks on the disk. Raises BadInputError."""
    write_report(report_of(comparison), path)
    return path


class Exporter:
    """The menu of the export button, and what it does."""

    def __init__(self, session: Session, model: Comparing, parent: QWidget) -> None:
        self._session, self._model, self._parent = session, model, parent

    def menu(self, button: QPushButton) -> QMenu:
        return report_menu(button, self.ask)

    def ask(self, kind: str) -> None:
        """Choose a file, then write it."""
        shown = self._model.shown
        if shown is None or not shown.measured:
            self._session.notices.say("warning", "There is nothing to export yet.", "Measure the variants first.")
            return
        ask_report_file(self._parent, "Export the comparison", f"comparison-{shown.head.id or 'new'}", kind, self.write)

    def write(self, path: Path) -> None:
        """Write the variants that are shown."""
        shown = self._model.shown
        if shown is None:
            return
        notices = self._session.notices
        self._session.tasks.run(
            partial(write_comparison, shown.comparison, path),
            lambda done: notices.say("ok", "The comparison was exported.", str(done)),
            notices.fail,
        )
