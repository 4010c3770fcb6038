"""A failed job offers another value; the button plans anew with it and starts that job."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from tests.fakes.hf_folders import write_model
from tests.fakes.plans import scripted_step
from tests.ui.conftest import OpenWindow
from workbench.core.home import Home
from workbench.core.plan import Plan, PlanModel, Step
from workbench.core.preset import apply_overrides, find_preset, gallery_folders
from workbench.jobs import client
from workbench.jobs.folder import JobFolder, job_ids
from workbench.ui.pages.jobs import JobsPage
from workbench.ui.window import Window


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    return open_window(JobsPage)


def failing_plan(home: Home, model: Path, code: str) -> Plan:
    """A plan of the cpu-int4-awq preset whose quantize step fails with `code`."""
    preset = apply_overrides(find_preset("cpu-int4-awq", gallery_folders()), ["calibration.batch_size=8"])
    quantize = scripted_step(home, "quantize", [["error", "The host ran out of memory.", code]], kind="quantize")
    return Plan(
        title="Tiny int4",
        toolchain="openvino",
        preset_id="cpu-int4-awq",
        preset=preset.to_data(),
        model=PlanModel(
            name="tiny", path=str(model), architecture="LlamaForCausalLM", digest="0" * 64, parameters=1, weight_bytes=2
        ),
        steps=(Step(id="check", kind="check", title="Check"), quantize.model_copy(update={"variant": "int4"})),
    )


@pytest.mark.slow
def test_the_button_of_a_value_starts_a_job_that_has_it(window: Window, qtbot: QtBot, tmp_path: Path) -> None:
    page = window.page("jobs")
    assert isinstance(page, JobsPage)
    home = window.session.home
    model = write_model(tmp_path / "tiny")
    job = client.start(home, failing_plan(home, model, "out-of-memory"))
    qtbot.waitUntil(lambda: page.card.fix_buttons[0].isVisible(), timeout=20_000)
    first = page.card.fix_buttons[0]
    assert first.text() == first.accessibleName() == "Retry with calibration batch size 1"
    assert "--set calibration.batch_size=1" in first.toolTip()
    first.click()
    qtbot.waitUntil(lambda: len(job_ids(home.jobs)) == 2 or bool(window.session.notices.kept), timeout=30_000)
    assert not window.session.notices.kept, window.session.notices.kept[-1]
    (new_id,) = [job_id for job_id in job_ids(home.jobs) if job_id != job.id]
    new = JobFolder(home.jobs / new_id).plan()
    assert new.preset["calibration"]["batch_size"] == 1 and new.preset_id == "cpu-int4-awq"
    assert new.model is not None and new.model.path == str(model) and new.steps[-1].kind == "quantize"
    assert new.steps[-1].worker != "scripted", "the toolchain planned it"
    assert JobFolder(home.jobs / job.id).plan().preset["calibration"]["batch_size"] == 8, "the old one is untouched"
    qtbot.waitUntil(lambda: page.table.chosen_id() == new_id, timeout=10_000)
    client.cancel(JobFolder(home.jobs / new_id))


@pytest.mark.slow
def test_no_button_where_no_value_is_known_and_a_lost_model_is_said(
    window: Window, qtbot: QtBot, tmp_path: Path
) -> None:
    page = window.page("jobs")
    assert isinstance(page, JobsPage)
    home = window.session.home
    client.start(home, failing_plan(home, tmp_path / "gone", "planned"))
    qtbot.waitUntil(page.card.isVisible, timeout=20_000)
    qtbot.waitUntil(lambda: window.session.tasks.busy == 0, timeout=10_000)
    assert not any(made.isVisible() for made in page.card.fix_buttons) and page.card.retry.isVisible()
    second = client.start(home, failing_plan(home, tmp_path / "gone", "out-of-memory"))
    qtbot.waitUntil(lambda: page.jobs.row(second.id) is not None, timeout=20_000)
    page.show_job(second.id)
    qtbot.waitUntil(lambda: page.card.fix_buttons[0].isVisible(), timeout=20_000)
    page.card.fix_buttons[0].click()
    qtbot.waitUntil(lambda: bool(window.session.notices.kept), timeout=20_000)
    said = window.session.notices.kept[-1]
    assert said.level == "error" and str(tmp_path / "gone") in said.text + said.detail
    assert len(job_ids(home.jobs)) == 2
    qtbot.waitUntil(lambda: page.card.retry.isEnabled(), timeout=5000)
