"""By clicks alone, with the real toolchains: a TensorRT-RTX engine for 8.9 built, cancelled, built again, looked into;
and the same model with ONNX Runtime, which answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QLineEdit
from pytestqt.qtbot import QtBot

from tests.ui.conftest import OpenWindow
from tests.ui.talk import WAIT_MS, playground, say
from tests.ui.test_first_engine import click, jobs_page, wait_for
from tests.workers.conftest import make_tiny_llama
from tests.workers.onnx.runs import interpreter
from workbench.core.home import Home
from workbench.core.preset import apply_overrides, find_preset, save_preset
from workbench.jobs.folder import JobFolder
from workbench.ui.monitor.kv_panel import KvPanel
from workbench.ui.pages.builder.page import BuildPage
from workbench.ui.pages.engines.page import EnginesPage
from workbench.ui.window import Window

pytestmark = pytest.mark.slow


@pytest.fixture
def window(open_window: OpenWindow, app_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Window:
    """With presets of one's own that leave verify out: what an engine is worth, the workers' tests ask."""
    for name in ("TENSORRT_RTX", "ONNXRUNTIME"):
        monkeypatch.setenv(f"WORKBENCH_{name}_PYTHON", interpreter())
    make_tiny_llama(tmp_path / "tiny")
    app_home.presets.mkdir(parents=True)
    for name, title in (("trtrtx-fp16", "Mine on RTX"), ("onnx-fp16", "Mine on ONNX Runtime")):
        preset = apply_overrides(find_preset(name), ["verify.enabled=false", f"title={title}"])
        save_preset(preset, app_home.presets / f"mine-{name}.toml")
    return open_window(size=(1600, 1000))


def build_page(qtbot: QtBot, window: Window) -> BuildPage:
    click(qtbot, window, "Build")  # the rail's; the page's own is off while there is no model
    page = window.page("build")
    assert isinstance(page, BuildPage)
    qtbot.waitUntil(lambda: page.form is not None and bool(page.gallery.cards.all_cards), timeout=WAIT_MS)
    return page


def choose(qtbot: QtBot, page: BuildPage, preset: str) -> None:
    """Search a preset by its title and take the one that is left."""
    page.gallery.search.clear()
    qtbot.mouseClick(page.gallery.search, Qt.MouseButton.LeftButton)
    qtbot.keyClicks(page.gallery.search, preset)
    qtbot.keyClick(page.gallery.search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: page.form is not None and page.form.base.title == preset, timeout=WAIT_MS)


def press(qtbot: QtBot, button: QAbstractButton) -> None:
    qtbot.waitUntil(button.isEnabled, timeout=WAIT_MS)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def test_an_rtx_engine_and_an_onnx_one_by_clicks(qtbot: QtBot, window: Window, tmp_path: Path) -> None:
    page = build_page(qtbot, window)
    field = page.model.edit
    assert isinstance(field, QLineEdit)
    qtbot.mouseClick(field, Qt.MouseButton.LeftButton)
    qtbot.keyClicks(field, str(tmp_path / "tiny"))
    qtbot.keyClick(field, Qt.Key.Key_Return)
    choose(qtbot, page, "Mine on RTX")
    for word in ("8.9", "this"):  # the one more, the other no more
        box = page.options.targets.boxes[word]
        qtbot.waitUntil(box.isVisible, timeout=WAIT_MS)
        page.frame.scroll.ensureWidgetVisible(box)
        qtbot.mouseClick(box, Qt.MouseButton.LeftButton)
    assert page.chosen.now is not None and page.chosen.now.build.flags["targets"] == ["8.9"]
    press(qtbot, page.bottom.build)

    jobs = jobs_page(window)

    def builds() -> bool:
        job = jobs.chosen
        assert job is None or not job.finished, f"{job and job.status}: {job and job.failure}"
        step = job.current if job is not None else None
        return step is not None and step.title == "Build" and step.status == "running"

    # At once: a tiny engine is compiled in two seconds.
    qtbot.waitUntil(builds, timeout=300_000)
    click(qtbot, window, "Cancel this job")
    cancelled = wait_for(qtbot, window, "tiny fp16", "cancelled")
    assert not list((window.session.home.artifacts / "engines").glob("*")), "nothing that looks finished stays"
    click(qtbot, window, "Retry this job")
    wait_for(qtbot, window, "tiny fp16", "done")
    ended = JobFolder(window.session.home.jobs / cancelled.id).state().steps[-1]
    assert ended.status == "done" and ended.share == 1.0 and ended.result["targets"] == ["8.9"]

    click(qtbot, window, "Engines")
    engines = window.page("engines")
    assert isinstance(engines, EnginesPage)
    qtbot.waitUntil(lambda: engines.detail is not None, timeout=WAIT_MS)
    row = engines.rows.rows[0]
    assert (row.toolchain, row.built_for, row.weights) == ("TensorRT-RTX", "8.9", "FP16") and row.toolchain_version
    click(qtbot, window, "Show the engine's layers")
    layers = engines.pane.layers
    qtbot.waitUntil(layers.table.isVisible, timeout=WAIT_MS)
    assert layers.layers is not None and layers.filter.rowCount() == len(layers.layers.rows) > 10
    assert [one.name for one in layers.layers.profiles] == ["prefill", "decode"]
    qtbot.keyClicks(layers.search, "gemm fp16")
    assert 0 < layers.filter.rowCount() < len(layers.layers.rows)

    page = build_page(qtbot, window)
    choose(qtbot, page, "Mine on ONNX Runtime")
    assert not page.options.targets.isVisible()
    press(qtbot, page.bottom.build)
    qtbot.waitUntil(lambda: len(jobs.jobs.rows) == 2, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: jobs.jobs.rows[0].finished, timeout=300_000)
    made = jobs.jobs.rows[0]
    assert made.status == "done", made.failure
    assert made.cells("convert")[0].status == "reused", "one ONNX folder for both toolchains"
    click(qtbot, window, "Engines")
    qtbot.waitUntil(lambda: len(engines.rows.rows) == 2 and engines.rows.complete, timeout=WAIT_MS)
    onnx = next(one for one in engines.rows.rows if one.toolchain == "ONNX Runtime")
    engines.show_engine(str(onnx.path))
    qtbot.waitUntil(lambda: engines.detail is not None and engines.detail.row.path == onnx.path, timeout=WAIT_MS)
    click(qtbot, window, "Load in playground")
    talk = playground(window)
    qtbot.waitUntil(lambda: talk.room.current is not None, timeout=WAIT_MS)
    talk.side.sampling.rows["max_tokens"].set_value(8)
    answer = say(qtbot, talk, "Are you there?").answer
    assert answer is not None and answer.failure is None and answer.output_tokens is not None
    assert answer.output_tokens > 0 and answer.ttft_ms is not None
    shown = talk.side.facts.values
    assert (shown["Toolchain"], shown["Device"]) == ("ONNX Runtime", "CPU")
    assert {shown[name] for name in ("KV blocks", "Tokens per block", "KV cache holds")} == {"not reported"}

    def notes() -> list[str]:
        board = window.monitor.board
        return [one.told.note for one in board.panels if isinstance(one, KvPanel)] if board is not None else []

    qtbot.waitUntil(lambda: notes() == ["not reported"], timeout=WAIT_MS)
