"""A newcomer's way by clicks alone, with the real toolchain: the demo engine built, cancelled, retried, talked to."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QLineEdit, QPlainTextEdit
from pytestqt.qtbot import QtBot

from tests.ui.conftest import OpenWindow
from tests.ui.demo_talk import talk
from workbench.jobs.folder import JobFolder
from workbench.ui.models.jobs import JobRow
from workbench.ui.pages.builder.page import BuildPage
from workbench.ui.pages.engines.page import EnginesPage
from workbench.ui.pages.jobs.page import JobsPage
from workbench.ui.window import Window

pytestmark = pytest.mark.slow

MOST_MS = 600_000


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    return open_window(size=(1600, 1000))


def click(qtbot: QtBot, window: Window, name: str) -> None:
    """Click the one visible, enabled button of this accessible name or text, as soon as there is one."""

    def found() -> list[QAbstractButton]:
        return [
            b
            for b in window.findChildren(QAbstractButton)
            if b.isVisible() and b.isEnabled() and name in (b.accessibleName(), b.text())
        ]

    qtbot.waitUntil(lambda: len(found()) == 1, timeout=30_000)
    qtbot.mouseClick(found()[0], Qt.MouseButton.LeftButton)


def jobs_page(window: Window) -> JobsPage:
    made = window.page("jobs")
    assert isinstance(made, JobsPage)
    return made


def wait_for(qtbot: QtBot, window: Window, title: str, *statuses: str) -> JobRow:
    """The newest job of that title, once it is in one of these states."""

    def row() -> JobRow | None:
        return next((r for r in jobs_page(window).jobs.rows if title in r.title), None)

    def there() -> bool:
        now = row()
        if now is not None and now.finished and now.status not in statuses:
            raise AssertionError(f"{now.title} is {now.status}: {now.failure}")
        return now is not None and now.status in statuses

    qtbot.waitUntil(there, timeout=MOST_MS)
    found = row()
    assert found is not None
    return found


def it_is_good_and_small(window: Window, job: JobRow) -> None:
    """What the demo's steps measured: figures of the real model, where those of tiny ones say nothing."""
    state = JobFolder(window.session.home.jobs / job.id).state()
    of = {step.kind: step.result for step in state.steps}
    assert "Paris" in of["verify"]["answer"] and of["verify"]["positions"] > 300
    assert of["verify"]["agreement"] >= 0.9 and of["verify"]["kl_nats"] <= 0.05
    assert of["quantize"]["bytes"] <= 0.6 * of["convert"]["bytes"]


@pytest.mark.early
def test_the_demo_engine_by_clicks(qtbot: QtBot, window: Window) -> None:
    click(qtbot, window, "Build")  # the rail's; the page's own is off while there is no model
    click(qtbot, window, "Build the demo engine")
    wait_for(qtbot, window, "SmolLM2-135M-Instruct int8", "running")
    page = jobs_page(window)
    qtbot.waitUntil(page.isVisible, timeout=10_000)
    qtbot.waitUntil(lambda: page.chosen is not None and "int8" in page.chosen.title, timeout=10_000)
    qtbot.waitUntil(
        lambda: page.chosen is not None and page.chosen.current is not None and page.chosen.current.title == "Convert",
        timeout=60_000,
    )
    click(qtbot, window, "Cancel this job")
    wait_for(qtbot, window, "SmolLM2-135M-Instruct int8", "cancelled")
    click(qtbot, window, "Retry this job")
    wait_for(qtbot, window, "SmolLM2-135M-Instruct int8", "running", "done")
    it_is_good_and_small(window, wait_for(qtbot, window, "SmolLM2-135M-Instruct int8", "done"))

    click(qtbot, window, "Engines")
    engines = window.page("engines")
    assert isinstance(engines, EnginesPage)
    qtbot.waitUntil(lambda: len(engines.rows.rows) == 1, timeout=20_000)
    assert engines.rows.rows[0].weights.lower().startswith("int8")
    talk(qtbot, window, click)

    # A failure that is planted: no INT8 engine agrees with its source at every position and with no divergence.
    click(qtbot, window, "Build")
    build = window.page("build")
    assert isinstance(build, BuildPage)
    assert build.form is not None and build.model.model and build.form.base.id == "demo"
    click(qtbot, window, "More: show or hide")
    # One prompt is enough for that.
    for name, text in (("min_agreement", "1"), ("max_kl", "0"), ("prompts", "Tell me about the sea.")):
        edit = build.form.rows["verify", name].editor.focusProxy()
        assert isinstance(edit, (QLineEdit, QPlainTextEdit))
        build.frame.scroll.ensureWidgetVisible(edit)
        qtbot.mouseClick(edit, Qt.MouseButton.LeftButton)
        qtbot.keyClicks(edit, text)
    qtbot.waitUntil(build.bottom.build.isEnabled, timeout=10_000)
    qtbot.mouseClick(build.bottom.build, Qt.MouseButton.LeftButton)
    failed = wait_for(qtbot, window, "SmolLM2-135M-Instruct int8", "failed")
    assert failed.failure is not None
    qtbot.waitUntil(lambda: page.card.isVisible(), timeout=10_000)
    shown = page.card.accessibleDescription()
    assert failed.failure.what in shown and failed.failure.evidence and failed.failure.fix in shown
    assert page.card.retry.isVisible() and page.card.in_log.isVisible()
