"""Other machines in the window: where a build runs, and what the doctor knows of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from tests.fakes.looks import keep_look
from tests.fakes.models import make_config_folder
from workbench.core.advice import Advice
from workbench.toolchains.targets import make_target, save_target
from workbench.ui.models.doctor import DoctorRow
from workbench.ui.pages.builder.advice_row import fix_button
from workbench.ui.pages.builder.page import BuildPage
from workbench.ui.pages.doctor import DoctorPage
from workbench.ui.session import Session

WAIT_MS = 60_000


@pytest.fixture
def doctor(session: Session, qtbot: QtBot) -> Iterator[DoctorPage]:
    made = DoctorPage(session)
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close_page()


@pytest.fixture
def build(session: Session, qtbot: QtBot) -> Iterator[BuildPage]:
    made = BuildPage(session)
    qtbot.addWidget(made)
    made.resize(1280, 800)
    made.show()
    yield made
    made.close_page()


def test_a_build_is_planned_for_the_machine_that_is_chosen(
    build: BuildPage, session: Session, qtbot: QtBot, tmp_path: Path
) -> None:
    box = make_target(name="box", kind="ssh", host="me@box", folder="/data/wb")
    save_target(session.home, box)
    keep_look(session.home, box, gpus=1)
    qtbot.waitUntil(lambda: build.form is not None, timeout=WAIT_MS)
    assert not build.bottom.where.isVisible(), "with no target there is nothing to choose"
    build.restore({"target": "box"})
    build.opened()
    qtbot.waitUntil(lambda: build.bottom.target == "box", timeout=WAIT_MS)
    assert build.bottom.where.isVisible() and build.state()["target"] == "box"
    build.build_with("llama-3.1-8b-fp8-h100", str(make_config_folder(tmp_path / "llama")))

    def planned() -> str:
        report = build.answer.report if build.answer is not None else None
        return report.planned_for if report is not None else ""

    qtbot.waitUntil(lambda: "of target box" in planned(), timeout=WAIT_MS)
    assert build.card.state.text() in ("can be built on box", "not on box")
    assert build.answer is not None and build.answer.build is not None
    assert build.answer.build.argv[-2:] == ("--target", "box")
    build.bottom.where.setCurrentIndex(0)
    qtbot.waitUntil(lambda: "not present here" in planned(), timeout=WAIT_MS)
    assert build.answer.build is not None and "--target" not in build.answer.build.argv


@pytest.mark.parametrize("code", ["no-such-host", "login-refused", "host-key-changed", "unreachable"])
def test_what_is_wrong_with_a_machine_leads_to_the_doctor_and_not_to_other_presets(code: str) -> None:
    assert fix_button(Advice(code=code, level="block", text="No.")) == ("Open Doctor", "doctor")


@pytest.mark.slow
def test_the_doctor_lists_targets_and_tests_one(doctor: DoctorPage, session: Session, qtbot: QtBot) -> None:
    save_target(session.home, make_target(name="me", kind="here", python={"default": sys.executable}))
    doctor.opened()

    def row() -> DoctorRow | None:
        entries = [e for e in doctor.model.entries if isinstance(e, DoctorRow) and e.target == "me"]
        return entries[0] if entries else None

    qtbot.waitUntil(lambda: row() is not None, timeout=WAIT_MS)
    before = row()
    assert before is not None and before.state == "none" and before.text == "never looked at"
    doctor.table.selectRow(doctor.model.entries.index(before))
    assert doctor.testing.isVisible()
    doctor.test_button.click()
    qtbot.waitUntil(lambda: (found := row()) is not None and found.state == "ok", timeout=WAIT_MS)
    qtbot.waitUntil(lambda: not doctor._looking, timeout=WAIT_MS)
    after = row()
    assert after is not None and "OpenVINO GenAI" in after.text and any("host" in line for line in after.details)
    assert doctor.pane.title.text() == "me"
