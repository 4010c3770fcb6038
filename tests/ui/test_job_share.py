"""A build whose worker says how much of the whole step is done, and what is left: as real percent, and as real time."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from tests.fakes.plans import scripted_step
from tests.ui.conftest import OpenWindow
from tests.ui.test_jobs import Other, open_page
from workbench.core.home import Home
from workbench.core.job import StepState
from workbench.core.plan import Plan, Step, StepEstimate
from workbench.core.units import Range
from workbench.jobs import client
from workbench.ui.models.jobs import StepRow
from workbench.ui.pages.jobs.page import JobsPage
from workbench.ui.pages.jobs.table import NOW, REMAINING, STEPS


def running(**facts: object) -> StepState:
    return StepState(
        id="build", kind="build", title="Build", variant="fp16", status="running", phase="build", phase_index=3,
        phase_of=5, **facts,  # type: ignore[arg-type]
    )  # fmt: skip


def test_the_share_of_the_whole_step_counts_and_not_that_of_its_phases() -> None:
    assert running(done=1.0, total=2.0).fraction == pytest.approx(0.5)
    assert running(share=0.07).fraction == 0.07, "phases are not of a length"
    assert StepState(id="b", kind="build", title="B", status="done", share=0.9).fraction == 1.0


def test_the_command_line_says_percent_and_time_left() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Typer asks Click for what newer ones call old
        from workbench.cli.follow import step_words
    state = running(share=0.436, ends_at=time.time() + 12.4)
    assert step_words(state).endswith("build (3 of 5) 43 %, about 12 s left")
    assert step_words(running(share=0.436)).endswith("build (3 of 5) 43 %")


def test_what_is_left_is_what_the_worker_says_else_its_speed_else_the_plan() -> None:
    now = 1000.0
    plan = StepRow("b", "build", "Build", "", "running", fraction=0.25, started_at=980.0, seconds=(40.0, 80.0))
    assert plan.left(now) == (30.0, 60.0)
    measured = StepRow("b", "build", "Build", "", "running", fraction=0.25, started_at=980.0, measured=True)
    assert measured.left(now) == (45.0, 75.0), "20 s for a quarter, and so 60 s for the rest, by a quarter more or less"
    early = StepRow("b", "build", "Build", "", "running", fraction=0.01, started_at=999.0, measured=True)
    assert early.left(now) is None, "too little to tell a speed from"
    told = StepRow("b", "build", "Build", "", "running", fraction=0.01, started_at=999.0, ends_at=1017.0)
    assert told.left(now) == (17.0, 17.0) and told.left(1020.0) == (0.0, 0.0)


@pytest.mark.slow
def test_the_page_shows_real_percent_and_time_left(open_window: OpenWindow, tmp_path: Path, qtbot: QtBot) -> None:
    window = open_window(Other, JobsPage)
    page = open_page(window)
    hold, home = tmp_path / "go", window.session.home
    job = client.start(home, plan_of(home, hold))

    def cell(column: int) -> str:
        return str(page.table.model().index(0, column).data()) if page.table.model().rowCount() else ""

    qtbot.waitUntil(lambda: "42" in cell(STEPS), timeout=20_000)
    assert "Build 42\u202f%" in cell(STEPS)
    assert cell(NOW) == "Build, 3 of 5, 42\u202f%", "a phase that begins takes nothing back"
    assert cell(REMAINING).removesuffix(" s").isdecimal() and 60 < int(cell(REMAINING).split()[0]) <= 90
    hold.touch()
    client.wait(job, 20)
    qtbot.waitUntil(lambda: "Build done" in cell(STEPS), timeout=20_000)


def plan_of(home: Home, hold: Path) -> Plan:
    actions: list[list[object]] = [
        ["phase", "parse", 2, 5], ["progress", 42, 100, "%", 90.0], ["phase", "build", 3, 5],
        ["wait_for", str(hold)], ["write", "engine.bin", "x"],
    ]  # fmt: skip
    seconds = StepEstimate(seconds=Range.seconds(400, 800, formula="a test", source="a test"))
    build = scripted_step(home, "build", actions, kind="build", salt=str(hold)).model_copy(update={"estimate": seconds})
    return Plan(title="Tiny", toolchain="tensorrt_rtx", steps=(Step(id="check", kind="check", title="Check"), build))
