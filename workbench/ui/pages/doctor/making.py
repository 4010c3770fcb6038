"""Making a toolchain environment: starts the job, shows how far it is, and has its log shown live."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.core.home import Home
from workbench.jobs import client
from workbench.jobs.folder import JobFolder, find, job_ids, last_log_line
from workbench.toolchains.make_environment import environment_plan, free_name
from workbench.ui.bridge import Poll
from workbench.ui.session import Session
from workbench.ui.widgets.basics import GAP, button, label, restyle, row

LOOK_MS = 700
_NEWEST = 20


@dataclass(frozen=True)
class Making:
    """The job as it is now."""

    job: str
    status: str
    line: str
    """The last line of its log."""
    failure: Failure | None = None

    @property
    def finished(self) -> bool:
        return self.status in ("done", "failed", "cancelled", "interrupted")


def start_making(home: Home, toolchain: str, wheels: Path | None) -> str:
    """Start the job; its id. Raises BadInputError."""
    home.make()
    return client.start(home, environment_plan(home, toolchain, free_name(home, toolchain), wheels=wheels)).id


def running_making(home: Home) -> str:
    """The id of a job of this kind that runs already, also one that another window started; empty: none."""
    for job in reversed(job_ids(home.jobs)[-_NEWEST:]):
        folder = JobFolder(home.jobs / job)
        if folder.is_supervised() and any(step.worker == "environment" for step in folder.plan().steps):
            return job
    return ""


def look(home: Home, job: str) -> Making:
    """The job's state and last words."""
    folder = find(home.jobs, job)
    state = folder.state()
    return Making(job, state.status, last_log_line(folder.log_path, 160), state.failure)


class MakeEnvironment(QWidget):
    """Two buttons while nothing runs; then a line, Cancel and Open in Jobs. `followed` is called with a job's id when
    one is followed, and with whether it still runs; `made` when it is over."""

    def __init__(self, session: Session, made: Callable[[], None], followed: Callable[[str, bool], None]) -> None:
        super().__init__()
        self._session, self._made, self._followed = session, made, followed
        self._toolchain = self._offline = ""
        self.job = ""
        self._poll: Poll[Making] | None = None
        self.words = label("", "text2", wrap=True)
        self.make_button = button("Make an environment", self.make, icon_name="plus", primary=True)
        self.wheels_button = button(
            "From wheels", self.ask_wheels, icon_name="folder", name="Make it from a folder of wheels",
            tip="From a folder of wheels, where there is no network",
        )  # fmt: skip
        self.cancel_button = button("Cancel", self.cancel, icon_name="stop", name="Cancel the making")
        self.log_button = button("Open in Jobs", self.show_log, icon_name="jobs", name="Open the job in Jobs")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(self.words)
        layout.addWidget(row(self.make_button, self.wheels_button, self.cancel_button, self.log_button, None))
        self._show()

    def show_for(self, toolchain: str) -> None:
        """The toolchain or part whose environment would be made."""
        self._toolchain = toolchain
        self._show()

    def show_offline(self, why: str) -> None:
        """Why a package index cannot be had, in a sentence; empty when it can."""
        self._offline = why
        restyle(self.make_button, "primary", not why)
        restyle(self.wheels_button, "primary", bool(why))
        self._show()

    def _show(self, line: str = "") -> None:
        running = bool(self.job)
        for widget in (self.make_button, self.wheels_button):
            widget.setVisible(not running)
            widget.setEnabled(True)
        for widget in (self.cancel_button, self.log_button):
            widget.setVisible(running)
        if running:
            self.words.setText(line or "The job was started.")
        else:
            place = self._session.home.environments / (self._toolchain or "toolchain")
            first = f"{self._offline} Choose a folder of wheels. " if self._offline else ""
            self.words.setText(
                f"{first}Makes a virtual environment below {place} and installs the tested versions: several GB from "
                "the package index, or from a folder of wheels where there is no network. Nothing else is changed."
            )

    # -- the job

    def make(self, wheels: Path | None = None) -> None:
        """Start the job in the queue; without `wheels` from the package index that pip is set to."""
        self.make_button.setEnabled(False)
        self.wheels_button.setEnabled(False)
        home, toolchain = self._session.home, self._toolchain
        self._session.tasks.run(lambda: start_making(home, toolchain, wheels), self.follow, self._fail)

    def ask_wheels(self) -> None:
        """Choose a folder of wheels, then make the environment from it alone."""
        dialog = QFileDialog(self, "Folder of wheels")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda folder: self.make(Path(folder)))
        dialog.open()

    def look_for_running(self) -> None:
        """Follow a job of this kind that runs already."""
        home = self._session.home
        if not self.job:
            self._session.tasks.run(lambda: running_making(home), lambda job: self.follow(job) if job else None)

    def follow(self, job: str) -> None:
        if self.job:
            return
        self.job = job
        self._poll = Poll(self._session.tasks, partial(look, self._session.home, job), LOOK_MS, self)
        self._poll.answered.connect(self._take)
        self._poll.failed.connect(self._fail)
        self._poll.start()
        self._followed(job, True)
        self._show()

    def _take(self, now: Making) -> None:
        if now.job != self.job:
            return
        if not now.finished:
            self._show(f"{now.status.capitalize()}: {now.line}" if now.line else now.status.capitalize())
            return
        self._end()
        if now.failure is not None and now.status != "cancelled":
            self._session.notices.fail(now.failure)
        elif now.status == "done":
            self._session.notices.say("ok", "The environment was made.")
        self._made()

    def _fail(self, failure: Failure) -> None:
        self._end()
        self._session.notices.fail(failure)

    def _end(self) -> None:
        self.stop()
        job, self.job = self.job, ""
        if job:
            self._followed(job, False)
        self._show()

    def stop(self) -> None:
        """Look no more; the job goes on."""
        if self._poll is not None:
            self._poll.stop()
            self._poll = None

    def cancel(self) -> None:
        if self.job:
            folder = JobFolder(self._session.home.jobs / self.job)
            self._session.tasks.run(lambda: client.cancel(folder), None, self._session.notices.fail)

    def show_log(self) -> None:
        """Go to Jobs, where the job's log is live."""
        if self.job:
            self._session.events.show_page.emit("jobs")
            self._session.events.show_job.emit(self.job)
