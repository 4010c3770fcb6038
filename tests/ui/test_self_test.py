"""The self-test in the window: its checks come one by one, its report can be had, and closing ends it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import psutil
import pytest
from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from tests.ui.sweep import cut_off, nameless
from workbench.ui.models.self_test import SelfTestRun
from workbench.ui.pages.doctor import DoctorPage
from workbench.ui.pages.doctor.self_test import SelfTestDialog
from workbench.ui.session import Session

WAIT_MS = 120_000
CHECKS = ("python", "data", "presets", "worker")


@pytest.mark.slow
def test_the_checks_come_one_by_one_and_the_report_can_be_had(session: Session, qtbot: QtBot, tmp_path: Path) -> None:
    page = DoctorPage(session)
    qtbot.addWidget(page)
    page.self_test_dialog = SelfTestDialog(session, page, ("--only", ",".join(CHECKS)))
    dialog = page.self_test_dialog
    header = page.header_widgets()
    page.self_test_button.click()
    assert page.self_test_button in header and dialog.isVisible() and dialog.view.running
    assert not dialog.copy_button.isEnabled() and not dialog.again_button.isVisible()
    states: set[str] = set()
    for changed in (dialog.model.dataChanged, dialog.model.modelReset):
        changed.connect(lambda *_: states.update(row.state for row in dialog.model.rows))
    qtbot.waitUntil(lambda: not dialog.view.running, timeout=WAIT_MS)
    assert {"waiting", "running", "ok"} <= states, "it was seen at work"
    assert [row.name for row in dialog.view.rows] == list(CHECKS)
    assert dialog.view.ok and "passed" in dialog.verdict.text(), dialog.view.text
    dialog.copy_button.click()
    assert QGuiApplication.clipboard().text() == dialog.view.text
    assert dialog.view.text.startswith("Engine Workbench ")
    dialog.table.selectRow(0)
    assert dialog.view.rows[0].words in dialog.detail.text()
    for name in ("report.txt", "report.json"):
        dialog.save(tmp_path / name)
        qtbot.waitUntil((tmp_path / name).is_file, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not session.tasks.busy, timeout=WAIT_MS)
    assert json.loads((tmp_path / "report.json").read_text())["workbench"] in (tmp_path / "report.txt").read_text()
    assert not [*nameless(dialog), *cut_off(dialog)]
    assert dialog.height() <= 600 and dialog.width() <= 960
    dialog.close_button.click()
    assert not dialog.isVisible()
    page.close_page()


@pytest.mark.slow
def test_closing_it_ends_what_runs_and_it_can_be_run_again(
    session: Session, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    page = DoctorPage(session)
    qtbot.addWidget(page)
    dialog = page.self_test_dialog = SelfTestDialog(session, page, ("--quick",))
    dialog.open_fresh()
    qtbot.waitUntil(lambda: any(row.state == "running" for row in dialog.model.rows), timeout=WAIT_MS)
    run = dialog.run
    assert run is not None and run._process is not None
    child = psutil.Process(run._process.pid)
    below = child.children(recursive=True)
    page.close_page()
    assert not dialog.isVisible() and dialog.run is None
    qtbot.waitUntil(lambda: not session.tasks.busy, timeout=WAIT_MS)
    _, alive = psutil.wait_procs([child, *below], timeout=10)
    assert not list((tmp_path / "tmp").iterdir()), "its folder is taken away"
    assert not alive and run.cancelled and not run.view.running and not run.view.text
    dialog.open_fresh()
    qtbot.waitUntil(lambda: bool(dialog.model.rows), timeout=WAIT_MS)
    dialog.stop_button.click()
    qtbot.waitUntil(lambda: not dialog.view.running, timeout=WAIT_MS)
    assert dialog.verdict.text() == "The self-test was stopped." and dialog.again_button.isVisible()
    assert "stopped" in {row.words for row in dialog.view.rows}
    dialog.close()


def test_one_that_was_cancelled_before_it_began_starts_nothing(session: Session) -> None:
    run = SelfTestRun(session.home)
    run.cancel()
    began = time.monotonic()
    assert not run.work().running and time.monotonic() - began < 1 and run._process is None
