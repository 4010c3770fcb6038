"""The kept runs of one engine, to choose the one that alerts compare with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from PySide6.QtWidgets import QWidget

from workbench.ui.models.exporting import runs_of
from workbench.ui.pages.benchmark.results import ResultsDialog
from workbench.ui.session import Session
from workbench.ui.widgets.basics import EmptyState


class BaselineChoice(ResultsDialog):
    """`chosen` gives the folder of a run."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(
            session, parent, EmptyState("No run of this engine was kept.", "Measure it on the Benchmark page first.")
        )
        self.setObjectName("baseline-choice")

    def ask_for(self, engine: Path, now: str) -> None:
        """Choose among the runs of this engine; `now`: what the field says."""
        home = self._session.home
        self.find = partial(runs_of, home, engine)
        self.ask("The run that alerts compare with", "Choose", home.runs / now if now else None)
