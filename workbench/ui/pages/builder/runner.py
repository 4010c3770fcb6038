"""Starting what the Build page asks for: reading the model with progress, planning, and the job; the demo in one go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

from PySide6.QtCore import QObject, Qt, Signal

from workbench.core.errors import Failure
from workbench.ui.models.builds import Started, fetched_folder, start_build, start_demo_fetch, start_download
from workbench.ui.models.jobs import JobRows
from workbench.ui.models.preflight import Preflights, Question
from workbench.ui.session import Session


class Runner(QObject):
    """At most one build is being started at a time; a fetch that was begun is watched until its folder is there."""

    reading = Signal(object, object)
    """(bytes read, in all); (None, None) when that is over."""
    started = Signal(str)
    """A job's id."""
    failed = Signal(object)
    """Failure: nothing was started."""
    fetched = Signal(str, bool, str)
    """A model folder that a fetch made, whether it was the demo's, and the repository that was asked for."""
    _read = Signal(object, object)

    def __init__(self, session: Session, preflights: Preflights, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session, self._preflights = session, preflights
        self._stop: threading.Event | None = None
        self._fetches: dict[str, tuple[bool, str]] = {}
        self._read.connect(self._show_reading, Qt.ConnectionType.QueuedConnection)
        session.events.jobs_changed.connect(self._look_at_fetches)

    @property
    def busy(self) -> bool:
        """Whether a build is being started."""
        return self._stop is not None

    def build(self, question: Question, *, anyway: bool = False) -> None:
        """Start a job; `started` or `failed` tells."""
        if self.busy:
            return
        stop = self._stop = threading.Event()

        def progress(done: int, total: int) -> None:
            self._read.emit(done, total)

        self.reading.emit(0, None)
        home, preflights = self._session.home, self._preflights
        self._session.tasks.run(
            lambda: start_build(home, preflights, question, progress, stop, anyway=anyway),
            self._built,
            self._not_built,
        )

    def stop(self) -> None:
        """Give up reading the model's files."""
        if self._stop is not None:
            self._stop.set()

    def fetch_demo(self) -> None:
        """Fetch the demo model where it is not here; `fetched` gives its folder."""
        self._fetch(lambda: start_demo_fetch(self._session.home), True, "")

    def download(self, repository: str, revision: str | None) -> None:
        """Download a repository by a job; `fetched` gives its folder."""
        self._fetch(lambda: start_download(self._session.home, repository, revision), False, repository)

    def _fetch(self, start: Callable[[], Started], is_demo: bool, asked: str) -> None:
        def begun(started: Started) -> None:
            if started.folder:
                self.fetched.emit(started.folder, is_demo, asked)
                return
            self._fetches[started.job_id] = is_demo, asked
            self.started.emit(started.job_id)

        self._session.tasks.run(start, begun, self.failed.emit)

    def _look_at_fetches(self, jobs: JobRows) -> None:
        for job_id in list(self._fetches):
            row = jobs.row(job_id)
            if row is None or not row.finished:
                continue
            is_demo, asked = self._fetches.pop(job_id)
            if row.status == "done":
                self._session.tasks.run(partial(fetched_folder, row.folder), partial(self._say_fetched, is_demo, asked))

    def _say_fetched(self, is_demo: bool, asked: str, folder: str) -> None:
        if folder:
            self.fetched.emit(folder, is_demo, asked)

    def _show_reading(self, done: int, total: int) -> None:
        if self.busy:
            self.reading.emit(done, total)

    def _built(self, started: Started) -> None:
        self._stop = None
        self.reading.emit(None, None)
        self.started.emit(started.job_id)

    def _not_built(self, failure: Failure) -> None:
        self._stop = None
        self.reading.emit(None, None)
        self.failed.emit(failure)
