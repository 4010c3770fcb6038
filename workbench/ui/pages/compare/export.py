"""A comparison as a report file: HTML, PDF, JSON or CSV; the files are named by their ending."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from PySide6.QtWidgets import QFileDialog, QMenu, QPushButton, QWidget

from workbench.core.errors import BadInputError
from workbench.core.measure.comparison import Comparison
from workbench.core.report.build import report_of_comparison
from workbench.ui.models.comparing import Comparing
from workbench.ui.session import Session

KINDS = (
    ("html", "HTML, one file to read and print"),
    ("pdf", "PDF, one page"),
    ("json", "JSON, with schema and version"),
    ("csv", "CSV, one row a point"),
)


def write_report(comparison: Comparison, path: Path) -> Path:
    """Write a report; its kind is the file's ending. Blocks on the disk. Raises BadInputError."""
    report = report_of_comparison(comparison, created_at=time.time())
    kind = path.suffix.lower().lstrip(".")
    if kind == "pdf":
        from workbench.core.report.pdf import write_pdf

        data = write_pdf(report)
    elif kind == "json":
        from workbench.core.report.json_report import write_json

        data = write_json(report).encode()
    elif kind == "csv":
        from workbench.core.report.csv_report import write_csv

        data = write_csv(report).encode()
    else:
        from workbench.core.report.html import write_html

        data = write_html(report).encode()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise BadInputError(
            "The report could not be written.",
            evidence=f"{path}: {error.strerror or error}",
            fix="Check the folder's owner, mode and free space.",
            code="not-writable",
        ) from error
    return path


class Exporter:
    """The menu of the export button, and what it does."""

    def __init__(self, session: Session, model: Comparing, parent: QWidget) -> None:
        self._session, self._model, self._parent = session, model, parent

    def menu(self, button: QPushButton) -> QMenu:
        made = QMenu(button)
        for kind, words in KINDS:
            made.addAction(words, partial(self.ask, kind))
        return made

    def ask(self, kind: str) -> None:
        """Choose a file, then write it."""
        shown = self._model.shown
        if shown is None or not shown.measured:
            self._session.notices.say("warning", "There is nothing to export yet.", "Measure the variants first.")
            return
        name = f"comparison-{shown.head.id or 'new'}.{kind}"
        path, _ = QFileDialog.getSaveFileName(self._parent, "Export the comparison", name, f"*.{kind}")
        if path:
            self.write(Path(path) if Path(path).suffix else Path(f"{path}.{kind}"))

    def write(self, path: Path) -> None:
        """Write the variants that are shown."""
        shown = self._model.shown
        if shown is None:
            return
        notices = self._session.notices
        self._session.tasks.run(
            partial(write_report, shown.comparison, path),
            lambda done: notices.say("ok", "The comparison was exported.", str(done)),
            notices.fail,
        )
