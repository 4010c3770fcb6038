"""Runs that were kept: open one, hold one against another, and write the report of one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QWidget

from workbench.core.errors import Failure
from workbench.ui.models.bench_against import Against
from workbench.ui.models.bench_apart import against_baseline, among_subjects, export
from workbench.ui.models.benching import Benching
from workbench.ui.pages.benchmark.result import AB, BASELINE, ResultView
from workbench.ui.pages.benchmark.results import ResultsDialog
from workbench.ui.session import Session
from workbench.ui.widgets.report_file import ask_report_file


class Keeping(QObject):
    """Asks over `parent`, works in tasks, and shows what is found in the result; `open_run` shows a kept run."""

    def __init__(
        self,
        session: Session,
        model: Benching,
        result: ResultView,
        open_run: Callable[[Path], None],
        parent: QWidget,
    ) -> None:
        super().__init__(parent)
        self._session, self._model, self._result, self._open, self._parent = session, model, result, open_run, parent
        self.results = ResultsDialog(session, parent)
        self._choosing = ""
        """What the list of results was opened for."""
        self.baseline: Path | None = None
        """The run that the shown one is held against."""
        self.results.chosen.connect(self.take)
        result.baseline.other.clicked.connect(lambda: self.ask_baseline())
        result.wants_ab.connect(self._compare_subjects)
        result.wants_baseline.connect(self._compare_baseline)

    @property
    def _folder(self) -> Path | None:
        """Of the run that is shown."""
        return self._model.view.folder if self._model.view is not None else None

    def ask_results(self) -> None:
        """The list of all runs."""
        if not self._model.running:
            self._choosing = "open"
            self.results.ask("All results", "Open", self._folder)

    def ask_baseline(self) -> None:
        """Choose the run that the shown one is held against."""
        if self._folder is not None and not self._model.running:
            self._choosing = "baseline"
            self.results.ask("The run to hold it against", "Choose", self.baseline, without=self._folder)

    def take(self, folder: Path) -> None:
        """A run was chosen, to be opened or to be held against."""
        if self._choosing == "baseline":
            self.baseline = folder
            self._result.show_pane(BASELINE)
        else:
            self._open(folder)

    def _compare_subjects(self) -> None:
        folder = self._folder
        if folder is not None and not self._model.running:
            self._result.ab.show_words("The intervals are being computed …")
            self._session.tasks.run(
                partial(among_subjects, folder),
                partial(self._show_against, AB, folder),
                partial(self._not_against, AB),
                key="bench.ab",
            )

    def _compare_baseline(self) -> None:
        folder, baseline = self._folder, self.baseline
        if folder is None or self._model.running:
            return
        if baseline is None:
            self._result.baseline.show_words("Choose the run that this one is held against.")
            self._result.baseline.other.setText("Choose a baseline…")
            self._result.baseline.other.show()
            self.ask_baseline()
            return
        self._result.baseline.other.setText("Another baseline…")
        self._result.baseline.show_words("The intervals are being computed …")
        self._session.tasks.run(
            partial(against_baseline, folder, baseline),
            partial(self._show_against, BASELINE, folder),
            partial(self._not_against, BASELINE),
            key="bench.baseline",
        )

    def _show_against(self, pane: str, folder: Path, found: Against) -> None:
        if folder == self._folder:
            shown = self._result.ab if pane == AB else self._result.baseline
            shown.show_against(found)
            shown.other.setVisible(pane == BASELINE)

    def _not_against(self, pane: str, failure: Failure) -> None:
        shown = self._result.ab if pane == AB else self._result.baseline
        shown.show_words(" ".join(part for part in (failure.what, failure.evidence, failure.fix) if part))
        shown.other.setVisible(pane == BASELINE)

    def ask_export(self, kind: str) -> None:
        """Choose a file, then write the report there."""
        view = self._model.view
        if view is None:
            return
        ask_report_file(self._parent, "Export the result", f"benchmark-{view.head.id}", kind, self.export)

    def export(self, path: Path) -> None:
        """Write the report of the shown run; its kind is the file's ending."""
        folder, notices = self._folder, self._session.notices
        if folder is not None:
            self._session.tasks.run(
                partial(export, folder, path),
                lambda _: notices.say("ok", "The result was exported.", str(path)),
                notices.fail,
            )
