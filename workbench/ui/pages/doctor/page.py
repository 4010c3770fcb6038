"""Doctor: the machine, the toolchains and the store, looked at in the background; each problem with its fix."""

from __future__ import annotations

import time
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QScrollArea, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from workbench.core.errors import Failure
from workbench.jobs.folder import JobFolder
from workbench.toolchains.install.recipes import can_install
from workbench.ui.models.doctor import DoctorRow, DoctorRows, look_at_target, read_doctor
from workbench.ui.pages.base import Page
from workbench.ui.pages.doctor.making import MakeEnvironment
from workbench.ui.pages.doctor.pane import DoctorPane
from workbench.ui.pages.doctor.rows import SIGNS, DoctorModel, DoctorTable
from workbench.ui.pages.doctor.self_test import SelfTestDialog
from workbench.ui.pages.jobs.log_panel import LogPanel
from workbench.ui.session import Session
from workbench.ui.widgets.basics import GAP, GAP_LARGE, MARGIN, button, column, icon_button, label, row, rule, set_sign
from workbench.ui.widgets.elided_line import ElidedLine

_NARROW_PX = 660
STALE_SECONDS = 60.0
"""An older report is made anew when the page is opened."""


class DoctorPage(Page):
    name, title, icon_name = "doctor", "Doctor", "doctor"

    def __init__(self, session: Session, parent: QWidget | None = None) -> None:
        super().__init__(session, parent)
        self.found = DoctorRows()
        self._looking = False
        self.model = DoctorModel()
        self.table = DoctorTable(self.model)
        self.import_button = button(
            "Check imports", lambda: self.check(imports=True), icon_name="play", small=True,
            tip="Import every toolchain's packages: takes seconds to minutes",
        )  # fmt: skip
        self.import_words = label("", "hint", wrap=True)
        self.test_button = button(
            "Test", self.test_target, icon_name="play", small=True, name="Test this target",
            tip="Log in and look: interpreters, GPUs, disk",
        )  # fmt: skip
        self.testing = self._left(self.test_button)
        self.importing = column(self.import_words, self._left(self.import_button), gap=GAP)
        self.making = MakeEnvironment(session, self.check, self._show_making)
        self.log = LogPanel(session)
        self.log_words = label("", "name")
        self.pane = DoctorPane(column(self.making, self.importing, self.testing, gap=GAP))
        self.self_test_dialog: SelfTestDialog | None = None
        self._lay_out()
        self.table.selectionModel().selectionChanged.connect(lambda *_: self._choose())
        actions = session.actions
        actions.add("doctor.check", "Check this machine again", self.check, icon_name="refresh", group="Doctor:")
        actions.add(
            "doctor.imports", "Check that the toolchains import", lambda: self.check(imports=True), icon_name="play",
            group="Doctor:",
        )  # fmt: skip
        actions.add(
            "doctor.self_test", "Test this installation", self.self_test, icon_name="check-circle", group="Doctor:"
        )
        actions.add("doctor.copy", "Copy the doctor's report", self.copy_report, icon_name="copy", group="Doctor:")

    # -- frame

    def _left(self, widget: QWidget) -> QWidget:
        line = QWidget()
        layout = QHBoxLayout(line)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(widget)
        layout.addStretch(1)
        return line

    def _lay_out(self) -> None:
        bar = QFrame()
        line = QHBoxLayout(bar)
        line.setContentsMargins(MARGIN, GAP, MARGIN, GAP)
        line.setSpacing(GAP)
        self._counts: dict[str, QLabel] = {}
        for state in ("err", "warn", "ok"):
            sign = QLabel()
            set_sign(sign, *SIGNS[state])
            self._counts[state] = label("")
            line.addWidget(sign)
            line.addWidget(self._counts[state])
            line.addSpacing(GAP_LARGE)
        self.usable = ElidedLine("text2")
        self.usable.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        line.addWidget(self.usable, 1)
        self.pane_scroll = scroll = QScrollArea()
        scroll.setAccessibleName("What is chosen, in full")
        scroll.setWidgetResizable(True)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self.pane)
        scroll.setMinimumWidth(320)
        self.split = QSplitter(Qt.Orientation.Horizontal)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(self.table)
        self.split.addWidget(scroll)
        self.split.setSizes([600, 560])
        self.log_cancel = button("Cancel", self.making.cancel, icon_name="stop", small=True, name="Cancel the making")
        head = row(self.log_words, None, self.log_cancel, icon_button("close", "Close this log", self.close_log))
        self.log_box = column(head, self.log, gap=GAP, margins=(MARGIN, GAP, MARGIN, 12))
        self.log_box.layout().setStretch(1, 1)
        self.log_box.setMinimumHeight(160)
        self.log_box.hide()
        self.across = QSplitter(Qt.Orientation.Vertical)
        self.across.setHandleWidth(1)
        self.across.setChildrenCollapsible(False)
        self.across.addWidget(self.split)
        self.across.addWidget(self.log_box)
        self.across.setStretchFactor(0, 3)
        self.across.setStretchFactor(1, 2)
        full = column(bar, rule(), self.across, gap=0)
        full.layout().setStretch(2, 1)
        self.waiting = label("Looking at this machine …", "text2")
        self.waiting.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.stack = QStackedWidget()
        self.stack.addWidget(self.waiting)
        self.stack.addWidget(full)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.stack)

    def header_widgets(self) -> list[QWidget]:
        if not hasattr(self, "_header"):
            self.again_button = button("Check again", self.check, icon_name="refresh")
            self.copy_button = button("Copy report", self.copy_report, icon_name="copy")
            self.self_test_button = button(
                "Self-test", self.self_test, icon_name="check-circle", name="Test this installation",
                tip="Try the installed program itself: up to a minute, and a report to send",
            )  # fmt: skip
            self._header: list[QWidget] = [self.self_test_button, self.again_button, self.copy_button]
        return self._header

    def opened(self) -> None:
        if time.time() - self.found.checked_at > STALE_SECONDS:
            self.check()
        self.making.look_for_running()

    def close_page(self) -> None:
        self.making.stop()
        self.log.close_panel()
        if self.self_test_dialog is not None:
            self.self_test_dialog.close()

    # -- the log of what is being made

    def _show_making(self, job: str, running: bool) -> None:
        """The job's log, live while it runs; it stays to be read until it is closed."""
        self.log_words.setText("Environment being made" if running else "Log of the environment that was made last")
        self.log_cancel.setVisible(running)
        self.log_box.show()
        self.log.show_log(JobFolder(self.session.home.jobs / job).log_path, live=running)

    def close_log(self) -> None:
        """Hide the log; what is being made goes on."""
        self.log_box.hide()
        self.log.show_log(None, live=False)

    def state(self) -> dict[str, Any]:
        return {"split": self.split.sizes()}

    def restore(self, state: dict[str, Any]) -> None:
        sizes = state.get("split")
        if isinstance(sizes, list) and len(sizes) == 2 and all(isinstance(one, int) and one > 0 for one in sizes):
            self.split.setSizes(sizes)

    # -- looking

    def check(self, *, imports: bool = False) -> None:
        """Look at everything again; with `imports` also import what the toolchains need."""
        if self._looking:
            return
        self._looking = True
        self.import_button.setEnabled(False)
        self.say_subtitle("importing the toolchains …" if imports else "looking …")
        self.import_words.setText("Importing …" if imports else self.import_words.text())
        home = self.session.home
        self.session.tasks.run(lambda: read_doctor(home, imports=imports), self._take, self._fail)

    def _take(self, found: DoctorRows) -> None:
        chosen = self.table.chosen()
        self._looking = False
        self.found = found
        self.model.take(found.rows)
        self.table.fit()
        self.stack.setCurrentIndex(1)
        self.import_button.setEnabled(True)
        self.say_subtitle(f"checked at {time.strftime('%H:%M:%S', time.localtime(found.checked_at))}")
        problems, warnings = found.count("err"), found.count("warn")
        self._counts["err"].setText(f"{problems} problem{'' if problems == 1 else 's'}")
        self._counts["warn"].setText(f"{warnings} warning{'' if warnings == 1 else 's'}")
        self._counts["ok"].setText(f"{found.count('ok')} fine")
        names = ", ".join(found.usable)
        self.usable.say(f"Usable here: {names}" if names else "No toolchain can be used here")
        self.import_words.setText(
            "Imported just now." if found.imported else "Versions are read without importing; an import shows more."
        )
        self.badge_changed.emit(problems)
        self.making.show_offline(found.offline)
        self._select(chosen)
        self._choose()

    def _fail(self, failure: Failure) -> None:
        self._looking = False
        self.import_button.setEnabled(True)
        self.say_subtitle("could not look")
        self.waiting.setText(failure.what)
        self.session.notices.fail(failure)

    def _select(self, before: DoctorRow | None) -> None:
        """The same row again, else the first problem, else the first toolchain."""

        def rank(entry: DoctorRow) -> int:
            if before is not None and (entry.name, entry.place) == (before.name, before.place):
                return 0
            return {"err": 1, "warn": 2}.get(entry.state, 3 if entry.group == "Toolchains" else 4)

        rows = [(rank(e), number) for number, e in enumerate(self.model.entries) if isinstance(e, DoctorRow)]
        if rows:
            self.table.selectRow(min(rows)[1])

    def _choose(self) -> None:
        chosen = self.table.chosen()
        self.pane.show_row(chosen)
        self.pane_scroll.verticalScrollBar().setValue(0)
        self.importing.setVisible(chosen is not None and bool(chosen.packages))
        self.testing.setVisible(chosen is not None and bool(chosen.target))
        makes = chosen is not None and can_install(chosen.toolchain)
        self.making.setVisible(makes or bool(self.making.job))
        if chosen is not None and makes:
            self.making.show_for(chosen.toolchain, chosen.environment, self._other_usable(chosen))

    def _other_usable(self, chosen: DoctorRow) -> str:
        """Its interpreter, where it could be used and another one is; empty: neither."""
        usable = [row for row in self.found.rows if row.toolchain == chosen.toolchain and row.state == "ok"]
        other = chosen.state == "ok" and usable[:1] != [chosen] and " " not in chosen.place
        return chosen.place if other else ""

    def resizeEvent(self, event: QResizeEvent) -> None:
        """One above the other where there is no room side by side."""
        super().resizeEvent(event)
        narrow = self.width() < _NARROW_PX
        self.split.setOrientation(Qt.Orientation.Vertical if narrow else Qt.Orientation.Horizontal)

    def test_target(self) -> None:
        """Look at the chosen target now, and then at everything again."""
        chosen = self.table.chosen()
        if chosen is None or not chosen.target or self._looking:
            return
        self._looking = True
        self.test_button.setEnabled(False)
        self.say_subtitle(f"looking at {chosen.target} …")
        home, name = self.session.home, chosen.target
        self.session.tasks.run(lambda: look_at_target(home, name), lambda _: self._tested(), self._test_failed)

    def _tested(self) -> None:
        self._looking = False
        self.test_button.setEnabled(True)
        self.check()

    def _test_failed(self, failure: Failure) -> None:
        self._tested()
        self.session.notices.fail(failure)

    def self_test(self) -> None:
        """Test the installed program, as `workbench self-test` does."""
        if self.self_test_dialog is None:
            self.self_test_dialog = SelfTestDialog(self.session, self)
        self.self_test_dialog.open_fresh()

    def copy_report(self) -> None:
        """The whole report as text, as `workbench doctor` prints it."""
        if self.found.report:
            QGuiApplication.clipboard().setText(self.found.report)
            self.session.notices.say("ok", "The report is on the clipboard.")
