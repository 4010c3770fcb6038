"""A folder that does not answer costs its time once, and is back when it answers."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from workbench.core.galleries import preset_folders, shared_model, shared_models
from workbench.core.home import Home
from workbench.core.reach import answering
from workbench.ui.models.settings import read_settings

_held: dict[str, threading.Event] = {}


def _hold(event: str, values: tuple[object, ...]) -> None:
    """Python's own word that a folder is about to be looked into: here it waits, as on a network that is gone."""
    if _held and event == "os.scandir" and str(values[0]) in _held:
        _held[str(values[0])].wait(20)


sys.addaudithook(_hold)


def test_one_that_hangs_is_left_out_and_asked_once(tmp_path: Path) -> None:
    good, gone, silent = tmp_path / "good", tmp_path / "gone", tmp_path / "silent"
    good.mkdir()
    silent.mkdir()
    assert answering((good, gone, silent, good)) == (good, gone, silent)
    _held[str(silent)] = threading.Event()
    try:
        before = threading.active_count()
        assert answering((good, gone, silent), 0.2) == (good, gone)
        began = time.monotonic()
        assert all(answering((silent,), 0.2) == () for _ in range(50))
        assert time.monotonic() - began < 0.15 and threading.active_count() <= before + 1
    finally:
        _held.pop(str(silent)).set()
    deadline = time.monotonic() + 5
    while answering((silent,)) != (silent,):
        assert time.monotonic() < deadline


def test_a_look_that_another_thread_has_just_begun_is_waited_for(tmp_path: Path) -> None:
    _held[str(tmp_path)] = threading.Event()
    threading.Timer(0.2, _held[str(tmp_path)].set).start()
    found: list[tuple[Path, ...]] = []
    threads = [threading.Thread(target=lambda: found.append(answering((tmp_path,)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    del _held[str(tmp_path)]
    assert found == [(tmp_path,)] * 3


@pytest.mark.slow
def test_models_of_one_that_hangs_are_left_out(home: Home, tmp_path: Path) -> None:
    for name in ("good", "silent"):
        (tmp_path / name / f"model-{name}").mkdir(parents=True)
        (tmp_path / name / f"model-{name}" / "config.json").write_text("{}")
    folders = f'["{tmp_path / "silent"}", "{tmp_path / "good"}"]'
    (home.root / "settings.toml").write_text(f"[folders]\nmodels = {folders}\npresets = {folders}\n")
    _held[str(tmp_path / "silent")] = threading.Event()
    try:
        answering((tmp_path / "silent",), 0.01)
        time.sleep(0.05)
        assert [model.name for model in shared_models(home, {})] == ["model-good"]
        assert shared_model(home, "model-good", {}) == tmp_path / "good" / "model-good"
        assert shared_model(home, "model-silent", {}) is None
        assert tmp_path / "silent" not in preset_folders(home, {}) and tmp_path / "good" in preset_folders(home, {})
        notes = {entry.text: entry.note for entry in read_settings(home).row("folders.models").entries}
        assert notes[str(tmp_path / "silent")] == "does not answer"
    finally:
        _held.pop(str(tmp_path / "silent")).set()
