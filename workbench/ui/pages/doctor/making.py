"""Making a toolchain environment: starts the job, shows how far it is, and has its log shown live."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog, QVBoxLayout, QWidget

from workbench.core.errors import Failure, WorkbenchError
from workbench.core.home import Home
from workbench.core.settings import save_setting
from workbench.jobs import client
from workbench.jobs.folder import JobFolder, find, job_ids, last_log_line
from workbench.store.upgrade import refuse_newer_store
from workbench.toolchains.install.checks import Check
from workbench.toolchains.install.manage import uninstall
from workbench.toolchains.install.plan import (
    checks_without_python,
    install_checks,
    install_plan,
    plan_install,
    where_from,
)
from workbench.ui.bridge import Poll
from workbench.ui.pages.doctor.checks import CheckList
from workbench.ui.session import Session
from workbench.ui.widgets.basics import GAP, button, label, restyle, row
from workbench.ui.widgets.delete_question import DeleteQuestion

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


@dataclass(frozen=True)
class Prepared:
    """What would be made, and what was looked at for it."""

    toolchain: str
    wheels: Path | None
    checks: tuple[Check, ...]
    failure: Failure | None = None
    """Why not even that can be said."""
    source: Path | None = None
    """The folder of wheels that is installed from: the one that was chosen, else the settings' one."""


def prepare(home: Home, toolchain: str, wheels: Path | None) -> Prepared:
    """Look at this machine for an environment; seconds."""
    source = wheels
    try:
        source = where_from(home, os.environ, wheels).wheels
        install = plan_install(home, toolchain, wheels=wheels)
        return Prepared(toolchain, wheels, install_checks(install), source=source)
    except WorkbenchError as error:
        if error.failure.code != "no-python":
            return Prepared(toolchain, wheels, (), error.failure, source)
        return Prepared(
            toolchain, wheels, checks_without_python(home, toolchain, error.failure, wheels=wheels), None, source
        )


def start_making(home: Home, toolchain: str, wheels: Path | None) -> str:
    """Look, and start the job; its id. Raises BadInputError, BlockedError."""
    refuse_newer_store(home.make())
    install = plan_install(home, toolchain, wheels=wheels)
    return client.start(home, install_plan(install, home, install_checks(install))).id


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


def sentence(failure: Failure) -> str:
    return f"{failure.what.rstrip('.')}: {failure.evidence.rstrip('.')}." if failure.evidence else failure.what


class MakeEnvironment(QWidget):
    """What was looked at and the buttons while nothing runs; then a line, Cancel and Open in Jobs. `followed` is called
    with a job's id when one is followed, and with whether it still runs; `made` when it is over, or one is removed."""

    def __init__(self, session: Session, made: Callable[[], None], followed: Callable[[str, bool], None]) -> None:
        super().__init__()
        self._session, self._made, self._followed = session, made, followed
        self._toolchain = self._offline = self._environment = self._usable = ""
        self.wheels: Path | None = None
        self._source: Path | None = None
        self.job = ""
        self._poll: Poll[Making] | None = None
        self._question = DeleteQuestion(self)
        self.words = label("", "text2", wrap=True)
        self.looked = CheckList()
        self.looked.hide()
        self.make_button = button(
            "Install…", self.make_here, icon_name="plus", primary=True, name="Install an environment",
            tip="Make an environment with the tested versions",
        )  # fmt: skip
        self.wheels_button = button(
            "Wheels…", self.ask_wheels, icon_name="folder", name="Choose a folder of wheels",
            tip="Install from a folder of wheels, where there is no network",
        )  # fmt: skip
        self.index_button = button(
            "Not from wheels", self.forget_wheels, icon_name="close", name="Install without this folder of wheels",
            tip="From where the settings say, else from the package index",
        )  # fmt: skip
        self.remove_button = button("Uninstall…", self.ask_remove, icon_name="trash", name="Uninstall this environment")
        self.use_button = button(
            "Use this one", self.use_it, icon_name="check", name="Use this environment",
            tip="Builds and engines run in it; kept in the settings",
        )  # fmt: skip
        self.cancel_button = button("Cancel", self.cancel, icon_name="stop", name="Cancel the making")
        self.log_button = button("Open in Jobs", self.show_log, icon_name="jobs", name="Open the job in Jobs")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(GAP)
        layout.addWidget(self.words)
        layout.addWidget(row(self.make_button, self.wheels_button, self.index_button, None))
        layout.addWidget(row(self.use_button, self.remove_button, self.cancel_button, self.log_button, None))
        layout.addWidget(self.looked)
        self._show()

    def show_for(self, toolchain: str, environment: str = "", usable: str = "") -> None:
        """The toolchain or part that would be installed, the environment of it that could be uninstalled, and the
        interpreter that could be used instead of the one that is."""
        fresh = toolchain != self._toolchain
        self._toolchain, self._environment, self._usable = toolchain, environment, usable
        if fresh:
            self.wheels = None
            self._look()
        self._show()

    def show_offline(self, why: str) -> None:
        """Why a package index cannot be had, in a sentence; empty when it can."""
        self._offline = why
        self._show()

    def _show(self, line: str = "") -> None:
        running = bool(self.job)
        source = self.wheels or self._source
        restyle(self.make_button, "primary", not self._offline or source is not None)
        restyle(self.wheels_button, "primary", bool(self._offline) and source is None)
        for widget in (self.make_button, self.wheels_button):
            widget.setVisible(not running)
            widget.setEnabled(True)
        self.make_button.setEnabled(not self.looked.blocked)
        self.index_button.setVisible(not running and self.wheels is not None)
        self.remove_button.setVisible(not running and bool(self._environment))
        self.use_button.setVisible(not running and bool(self._usable))
        self.looked.setVisible(not running and bool(self.looked.checks))
        for widget in (self.cancel_button, self.log_button):
            widget.setVisible(running)
        if running:
            self.words.setText(line or "The job was started.")
        else:
            place = self._session.home.environments / (self._toolchain or "toolchain")
            said = f"Installs the tested versions in an environment of its own below {place}, "
            if source is not None:
                named = "" if self.wheels is not None else ", as the settings say"
                said += f"from the wheels in {source}, without a network{named}."
            elif self._offline:
                said = f"{self._offline} Choose a folder of wheels. {said}from that folder."
            else:
                said += "from the package index or from a folder of wheels."
            self.words.setText(f"{said} Several can be side by side. Nothing else is changed.")

    # -- what is there for it

    def _look(self) -> None:
        """Look at the machine again for what is shown."""
        self.looked.take(())
        self._source = None
        home, toolchain, wheels = self._session.home, self._toolchain, self.wheels
        if toolchain:
            self._session.tasks.run(
                lambda: prepare(home, toolchain, wheels), self._looked_at, lambda failure: None, key="install-checks"
            )

    def _looked_at(self, found: Prepared) -> None:
        if (found.toolchain, found.wheels) != (self._toolchain, self.wheels):
            return
        failure = found.failure
        checks = found.checks
        if failure is not None:
            checks = (Check("Python", "blocked", sentence(failure), failure.fix),)
        self.looked.take(checks)
        self._source = found.source
        self._show()

    def use_it(self) -> None:
        """Name the interpreter in the settings; refused in words where the administrator has locked that."""
        home, key, python = self._session.home, f"toolchains.{self._toolchain}.python", self._usable

        def done(_: object) -> None:
            self._session.notices.say("ok", f"{python} is used from now on.")
            self._made()

        self._session.tasks.run(lambda: save_setting(home, os.environ, key, python), done, self._session.notices.fail)

    def ask_remove(self) -> None:
        """Ask, and take the environment away."""
        toolchain, name = self._toolchain, self._environment
        folder = self._session.home.environments / toolchain / name
        self._question.ask(
            "Uninstall the environment?", f"Uninstall {name}?", f"{folder} is removed. Engines built with it stay.",
            "Uninstall", lambda: self.remove(toolchain, name),
        )  # fmt: skip

    def remove(self, toolchain: str, name: str) -> None:
        """Take an environment away; refused in words while something runs in it."""
        home = self._session.home
        self.remove_button.setEnabled(False)
        self._session.tasks.run(lambda: uninstall(home, toolchain, name), self._removed, self._not_removed)

    def _removed(self, folder: Path) -> None:
        self.remove_button.setEnabled(True)
        self._session.notices.say("ok", f"Removed {folder}.")
        self._environment = ""
        self._show()
        self._made()

    def _not_removed(self, failure: Failure) -> None:
        self.remove_button.setEnabled(True)
        self._session.notices.fail(failure)

    def use_wheels(self, folder: Path | None) -> None:
        """Install from this folder, None: from the package index; what is there for it is looked at."""
        self.wheels = folder
        self.show_offline(self._offline)
        self._look()

    def forget_wheels(self) -> None:
        self.use_wheels(None)

    def make_here(self) -> None:
        """Start the job from what is chosen."""
        self.make(self.wheels)

    # -- the job

    def make(self, wheels: Path | None = None) -> None:
        """Start the job in the queue; without `wheels` from the package index that pip is set to."""
        self.make_button.setEnabled(False)
        self.wheels_button.setEnabled(False)
        home, toolchain = self._session.home, self._toolchain
        self._session.tasks.run(lambda: start_making(home, toolchain, wheels), self.follow, self._fail)

    def ask_wheels(self) -> None:
        """Choose the folder of wheels that is installed from."""
        dialog = QFileDialog(self, "Folder of wheels")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(lambda folder: self.use_wheels(Path(folder)))
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
            self._look()
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
