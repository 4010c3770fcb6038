"""The Jobs page: what runs and ran, the chosen job's steps, cause and log, and the verbs cancel, retry, open, clear."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, QTimer, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication, QHideEvent, QKeyEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QSplitter, QStackedLayout, QVBoxLayout, QWidget

from workbench.core.errors import BadInputError
from workbench.core.failure_fixes import FailureFix
from workbench.core.home import Home
from workbench.jobs import client
from workbench.jobs.folder import JobFolder
from workbench.store.upgrade import refuse_newer_store
from workbench.ui.bridge import Poll
from workbench.ui.models.fixes import fixes_of, start_again
from workbench.ui.models.jobs import JobRow, JobRows, JobsReader, grouped
from workbench.ui.pages.base import Page
from workbench.ui.pages.jobs.detail import JobBar
from workbench.ui.pages.jobs.log_panel import LogPanel
from workbench.ui.pages.jobs.table import HEAD_HEIGHT, ROW_HEIGHT, JobsModel, JobsTable
from workbench.ui.session import Session
from workbench.ui.widgets.basics import GAP, MARGIN, EmptyState, button
from workbench.ui.widgets.cause_card import CauseCard

BUSY_MS, IDLE_MS = 400, 800
"""How often the jobs are looked at: while one is unfinished, and else (one may be started elsewhere)."""
_MORE_MS = 30
_LEAST_LOG = 140
"""Height in px that the log keeps when the table is fitted."""


class JobsPage(Page):
    """Reads the home's jobs as long as the window lives, so that badge and status line hold on every page."""

    name, title, icon_name = "jobs", "Jobs", "jobs"

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.jobs = JobRows()
        self._chosen = ""
        self._wanted = ""
        self._cleared_at = 0.0
        self._asked: set[str] = set()
        self._located: tuple[str, int] | None = None
        self._line: int | None = None
        self._first = True
        self._split_by_hand = False
        self._fitted = -1, 0
        self._model = JobsModel()
        self.table = JobsTable(self._model)
        self.bar = JobBar(self._do)
        self.card = CauseCard(
            self.show_in_log, lambda: self._do("retry"), self._copy_cause, self._retry_with, session.events.explain.emit
        )
        self.log = LogPanel(session)
        self._clear_button = button("Clear finished", self.clear_finished, tip="Take finished jobs out of this list")
        self._lay_out()
        self._add_actions()
        self.table.chosen.connect(self._choose)
        self.table.asked.connect(self._do)
        self.table.installEventFilter(self)
        session.events.show_job.connect(self.show_job)
        self._tick = QTimer(self)
        self._tick.setInterval(1000)
        self._tick.timeout.connect(self._second)
        self._reader = JobsReader(session.home.jobs)
        self._poll: Poll[JobRows] = Poll(session.tasks, self._reader.read, BUSY_MS, self)
        self._poll.answered.connect(self._take)
        self._poll.start()

    # -- parts

    def _lay_out(self) -> None:
        self.empty = EmptyState(
            "No build has run yet.",
            "Choose a preset and a model on the Build page. Its steps, progress and log will be shown here.",
            "Go to Build",
            lambda: self.session.events.show_page.emit("build"),
        )
        self.cleared = EmptyState(
            "Finished jobs are cleared from this list.",
            "They are still on disk; nothing was deleted.",
            "Show them again",
            self.show_cleared,
        )
        detail = QWidget()
        below = QVBoxLayout(detail)
        below.setContentsMargins(MARGIN, GAP, MARGIN, 12)
        below.setSpacing(GAP)
        below.addWidget(self.bar)
        below.addWidget(self.card)
        below.addWidget(self.log, 1)
        self.card.hide()
        self.splitter = QSplitter(Qt.Orientation.Vertical)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(1)
        self.splitter.addWidget(self.table)
        self.splitter.addWidget(detail)
        self.table.setMinimumHeight(HEAD_HEIGHT + ROW_HEIGHT)
        self.splitter.splitterMoved.connect(self._moved)
        detail.setMinimumHeight(240)
        self.splitter.setStretchFactor(0, 2)
        self.splitter.setStretchFactor(1, 3)
        self._stack = QStackedLayout(self)
        for part in (QWidget(), self.empty, self.cleared, self.splitter):
            self._stack.addWidget(part)

    def _add_actions(self) -> None:
        add = self.session.actions.add
        self._verbs = {
            verb: add(f"jobs.{verb}", words, partial(self._do, verb), icon_name=icon, group="Jobs:", enabled=False)
            for verb, words, icon in (
                ("cancel", "Cancel job", "stop"),
                ("retry", "Retry job from the failed step", "refresh"),
                ("folder", "Open the job's folder", "folder"),
            )
        }
        self._clear_action = add("jobs.clear", "Clear finished jobs from the list", self.clear_finished, group="Jobs:")
        self._back_action = add("jobs.show_cleared", "Show cleared jobs again", self.show_cleared, group="Jobs:")
        self._find_action = add(
            "jobs.find", "Search the log", self._find, key="Ctrl+F", icon_name="search", group="Jobs:", enabled=False
        )

    def header_widgets(self) -> list[QWidget]:
        return [self._clear_button]

    # -- what was read

    def _take(self, jobs: JobRows) -> None:
        before = {row.id: row for row in self.jobs.rows}
        self.jobs = jobs
        busy = any(not row.finished for row in jobs.rows)
        self._poll.set_interval(BUSY_MS if busy else IDLE_MS)
        if not jobs.complete:
            QTimer.singleShot(_MORE_MS, self._poll.now)
        if busy:
            self._tick.start()
        else:
            self._tick.stop()
        if not self._first:
            self._say_ends(before)
        self._first = False
        self._show_rows()
        running, queued = len(jobs.running), len(jobs.queued)
        self.badge_changed.emit(running)
        words = [f"{grouped(running)} running", f"{grouped(queued)} queued"]
        if jobs.unreadable:
            words.append(f"{grouped(jobs.unreadable)} cannot be read")
        self.say_subtitle(", ".join(words))
        self.session.events.jobs_changed.emit(jobs)

    def _say_ends(self, before: dict[str, JobRow]) -> None:
        """Notices for jobs that ended while another page is shown."""
        if self.isVisible():
            return
        for row in self.jobs.rows:
            old = before.get(row.id)
            if old is None or old.finished or not row.finished or row.status == "cancelled":
                continue
            go = self._go_to(row.id)
            if row.status == "done":
                self.session.notices.say("ok", f"{row.title} is done.", "", "Show", go)
            else:
                what = row.failure.what if row.failure else ""
                self.session.notices.say("warning", f"{row.title}: {row.status}.", what, "Show", go)

    def _go_to(self, job_id: str) -> Callable[[], None]:
        def go() -> None:
            self.show_job(job_id)
            self.session.events.show_page.emit(self.name)

        return go

    def _show_rows(self) -> None:
        cleared = self._cleared_at
        rows = tuple(row for row in self.jobs.rows if not row.finished or (row.finished_at or row.created_at) > cleared)
        self._model.set_rows(rows)
        self._stack.setCurrentIndex(3 if rows else 2 if self.jobs.rows else 1)
        can_clear = any(row.finished for row in rows)
        self._clear_button.setEnabled(can_clear)
        self._clear_action.setEnabled(can_clear)
        self._back_action.setEnabled(len(rows) < len(self.jobs.rows))
        if self._wanted and self.table.choose(self._wanted):
            self._wanted = ""
        elif rows and self._model.place_of(self.table.chosen_id()) < 0 and not self.table.choose(self._chosen):
            self.table.choose(max(rows, key=lambda row: (not row.finished, not row.waiting)).id)
        self._fit(len(rows))
        self._show_chosen()

    def _fit(self, count: int) -> None:
        """Give the table the room of its rows, until the person moves the split.

        At most two fifths of the page, and what the card below leaves of it beside a few lines of the log.
        """
        card = 0 if self.card.isHidden() else self.card.heightForWidth(self.width() - 2 * MARGIN) + GAP
        if not self._split_by_hand and (count, card) != self._fitted and self.height() > 300:
            self._fitted = count, card
            rest = self.bar.sizeHint().height() + card + _LEAST_LOG + 2 * GAP + 12
            wanted = min(HEAD_HEIGHT + min(count, 8) * ROW_HEIGHT + 2, self.height() * 2 // 5, self.height() - rest)
            wanted = max(wanted, self.table.minimumHeight())
            self.splitter.setSizes([wanted, self.height() - wanted])

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fitted = -1, 0
        self._fit(len(self._model.rows))

    def _moved(self) -> None:
        self._split_by_hand = True

    def _second(self) -> None:
        self._model.tick()
        self.bar.tick()

    # -- the chosen job

    @property
    def chosen(self) -> JobRow | None:
        """The job whose log is shown."""
        return self.jobs.row(self._chosen)

    def show_job(self, job_id: str) -> None:
        """Choose a job, at once or as soon as it is read."""
        row = self.jobs.row(job_id)
        if row is not None and row.finished and (row.finished_at or 0) <= self._cleared_at:
            self.show_cleared()
        if not self.table.choose(job_id):
            self._wanted = job_id
            self._poll.now()

    def _choose(self, job_id: str) -> None:
        if job_id != self._chosen:
            self._chosen = job_id
            self._located = None
            self._show_chosen()

    def _show_chosen(self) -> None:
        row = self.chosen
        self.card.show_job(row)
        self._fit(len(self._model.rows))
        self.bar.show_job(row, busy=row is not None and row.id in self._asked, explained=not self.card.isHidden())
        self.log.show_log(JobFolder(row.folder).log_path if row else None, live=row is not None and not row.finished)
        self._enable_verbs()
        failed = row is not None and row.failure is not None and row.status in ("failed", "interrupted")
        if row is not None and failed and self._located != (row.id, row.attempt):
            self._located = row.id, row.attempt
            self._find_fixes(row)
            self._locate(row)

    def _locate(self, row: JobRow) -> None:
        """Find the line of the log that shows the failure."""
        reader = self.log.reader
        if reader is None or row.failure is None:
            return
        evidence = row.failure.evidence
        self._line = None
        self.card.show_line(None)

        def find() -> int | None:
            while not reader.advance().complete:
                pass
            return reader.find_failure(evidence)

        def show(number: int | None) -> None:
            if self._chosen == row.id:
                self._line = number
                self.card.show_line(number)

        self.session.tasks.run(find, show, key="jobs.locate")

    def _find_fixes(self, row: JobRow) -> None:
        """Values whose change may mend the failure, from the job's own preset."""

        def show(fixes: tuple[FailureFix, ...]) -> None:
            if self._chosen == row.id:
                self.card.show_fixes(fixes)
                self._fit(len(self._model.rows))

        self.session.tasks.run(partial(fixes_of, JobFolder(row.folder)), show, key="jobs.fixes")

    def _retry_with(self, overrides: tuple[str, ...]) -> None:
        """A new job: the plan is made and checked again with the values changed; finished steps are reused."""
        row = self.chosen
        if row is None or row.id in self._asked:
            return
        self._asked.add(row.id)
        self._show_chosen()
        work = partial(start_again, self.session.home, self.session.host, JobFolder(row.folder), overrides)

        def started(job_id: str) -> None:
            self._answered(row.id)
            self.show_job(job_id)

        self.session.tasks.run(work, started, lambda failure: self._answered(row.id, failure))

    def show_in_log(self) -> None:
        """Bring the line that shows the failure into view."""
        if self._line is not None:
            self.log.go_to_line(self._line)
            self.log.view.setFocus()

    def _copy_cause(self) -> None:
        row = self.chosen
        if row is not None and row.failure is not None:
            QGuiApplication.clipboard().setText("\n".join([f"{row.title} ({row.id})", *row.failure.lines()]))
            self.session.notices.say("info", "Copied what happened.")

    # -- verbs

    def _do(self, verb: str, job_id: str = "") -> None:
        row = self.jobs.row(job_id or self._chosen)
        if row is None or (verb != "folder" and row.id in self._asked):
            return
        if verb == "folder":
            self._open_folder(row)
        elif (verb == "cancel" and not row.finished) or (verb == "retry" and row.can_retry):
            self._asked.add(row.id)
            self._show_chosen()
            folder = JobFolder(row.folder)
            home = self.session.home
            work: Callable[[], Any] = (lambda: _cancel(folder)) if verb == "cancel" else (lambda: _retry(home, folder))
            self.session.tasks.run(work, lambda _: self._answered(row.id), lambda f: self._answered(row.id, f))

    def _answered(self, job_id: str, failure: Any = None) -> None:
        self._asked.discard(job_id)
        if failure is not None:
            self.session.notices.fail(failure)
        self._poll.now()
        self._show_chosen()

    def _open_folder(self, row: JobRow) -> None:
        """What a finished job made, else the job's own folder."""
        folder = Path(row.artifacts[-1]) if row.status == "done" and row.artifacts else row.folder

        def opened(exists: bool) -> None:
            if not exists:
                self.session.notices.say("warning", "The folder is gone.", str(folder))
            elif not QDesktopServices.openUrl(QUrl.fromLocalFile(str(folder))):
                self.session.notices.say("warning", "No program here opens folders.", str(folder))

        self.session.tasks.run(folder.is_dir, opened)

    def clear_finished(self) -> None:
        """Take what is finished out of the list; nothing is deleted."""
        self._cleared_at = time.time()
        self._show_rows()

    def show_cleared(self) -> None:
        self._cleared_at = 0.0
        self._show_rows()

    def _enable_verbs(self) -> None:
        row = self.chosen if self.isVisible() else None
        free = row is not None and row.id not in self._asked
        self._verbs["cancel"].setEnabled(row is not None and free and not row.finished)
        self._verbs["retry"].setEnabled(row is not None and free and row.can_retry)
        self._verbs["folder"].setEnabled(row is not None)
        self._find_action.setEnabled(row is not None)

    def _find(self) -> None:
        self.log.field.setFocus()
        self.log.field.selectAll()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """In the table: Delete cancels, R retries, Enter opens the folder."""
        if watched is self.table and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            keys = {Qt.Key.Key_Delete: "cancel", Qt.Key.Key_R: "retry", Qt.Key.Key_Return: "folder"}
            if not event.modifiers() and (verb := keys.get(Qt.Key(event.key()))):
                self._do(verb)
                return True
        return super().eventFilter(watched, event)

    # -- between starts

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._enable_verbs()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._enable_verbs()

    def opened(self) -> None:
        self._poll.now()

    def state(self) -> dict[str, Any]:
        return {
            "cleared_at": self._cleared_at,
            "wrap": self.log.wrap.isChecked(),
            "sizes": self.splitter.sizes() if self._split_by_hand else [],
        }

    def restore(self, state: dict[str, Any]) -> None:
        cleared = state.get("cleared_at")
        self._cleared_at = float(cleared) if isinstance(cleared, int | float) else 0.0
        if state.get("wrap") is True:
            self.log.set_wrap(True)
        sizes = state.get("sizes")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(s, int) and s > 0 for s in sizes):
            self._split_by_hand = True
            self.splitter.setSizes(sizes)

    def close_page(self) -> None:
        self._poll.stop()
        self._tick.stop()
        self.log.close_panel()


def _retry(home: Home, folder: JobFolder) -> None:
    """Raises BlockedError with a store of a newer version, BadInputError when there is nothing to retry."""
    refuse_newer_store(home)
    client.retry(folder)


def _cancel(folder: JobFolder) -> None:
    """Raises BadInputError when nobody runs the job (any more)."""
    if not client.cancel(folder):
        status = folder.state().status
        raise BadInputError("The job is not running.", evidence=f"{folder.id} is {status}", code="job-not-running")
