"""The dialog that loads engines, over real engine folders, the real room and hosts that load at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractButton, QAbstractItemView, QLineEdit, QPlainTextEdit
from pytestqt.qtbot import QtBot

from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.ui.test_engines import make_engine
from workbench.core.artifact import StepRecord
from workbench.core.home import Home
from workbench.ui.models.room import EngineRoom
from workbench.ui.pages.playground.engine.picker import EnginePicker, short_name
from workbench.ui.pages.playground.engine.rows import NAME, PRECISION, STATE
from workbench.ui.session import Session

WAIT_MS = 60_000
HUGE = 2**42
GPU = StepRecord(
    id="build", kind="build", worker="trtllm.build", argv=(), seconds=1.0, key="g",
    result={"gpu": {"name": "NVIDIA H100", "compute_capability": "1.0"}, "ranks": 2, "kv_cache_precision": "fp8"},
)  # fmt: skip


@pytest.fixture
def engines(app_home: Home) -> Path:
    return app_home.make().artifacts / "engines"


@pytest.fixture
def room(session: Session) -> Iterator[EngineRoom]:
    yield session.room
    session.close_room()
    session.telemetry.close()


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets how the next host behaves."""

    def use(**settings: Any) -> None:
        monkeypatch.setenv(VARIABLE, str(make_interpreter(tmp_path / "python", **settings)))

    use(tokens_per_s=200)
    return use


@pytest.fixture
def picker(session: Session, room: EngineRoom, qtbot: QtBot) -> Iterator[EnginePicker]:
    made = EnginePicker(session, room)
    qtbot.addWidget(made)
    yield made
    made.close()


def shown(picker: EnginePicker, qtbot: QtBot, count: int) -> None:
    picker.open()
    page = 2 if count else 1
    qtbot.waitUntil(
        lambda: picker._complete and picker.stack.currentIndex() == page and len(picker.model.rows) == count,
        timeout=WAIT_MS,
    )


def names(picker: EnginePicker) -> list[str]:
    return [picker.filter.index(row, NAME).data() for row in range(picker.filter.rowCount())]


def choose(picker: EnginePicker, name: str) -> None:
    assert picker.table.choose(lambda row: row.name == name)


def words(picker: EnginePicker) -> list[str]:
    """The buttons that can be pressed, from left to right."""
    row = (picker.unload, picker.close_button, picker.beside, picker.instead_of_other, picker.load)
    return [made.accessibleName() for made in row if made.isVisible() and made.isEnabled()]


def huge(engines: Path) -> None:
    folder = make_engine_folder(engines / "huge", "huge-fp16", weight_bytes=HUGE)
    os.truncate(folder / "openvino_model.bin", HUGE)


def test_with_nothing_built_it_offers_the_demo(picker: EnginePicker, app_home: Home, qtbot: QtBot) -> None:
    shown(picker, qtbot, 0)
    assert picker.empty.isVisible() and not picker.load.isVisible() and not picker.search.isVisible()
    assert picker.empty.button is not None and picker.focusWidget() is picker.empty.button
    with qtbot.waitSignal(picker._session.events.build_with) as asked:
        qtbot.keyClick(picker.empty.button, Qt.Key.Key_Return)
    assert asked.args == ["demo", ""] and not picker.isVisible()


def test_an_engine_that_cannot_run_here_says_why_and_is_not_loaded(
    picker: EnginePicker, engines: Path, qtbot: QtBot
) -> None:
    make_engine(engines, "gpu", "fp8", toolchain="tensorrt_llm", steps=(GPU,))
    make_engine(engines, "cpu", "int4_awq")
    (make_engine(engines, "broken") / "model.bin").write_text("")
    shown(picker, qtbot, 3)
    assert names(picker)[0] == "cpu", "those that run come first"
    assert picker.table.chosen().name == "cpu" and words(picker) == ["Close", "Load"]
    for name, said in (("gpu", "GPU"), ("broken", "model.bin has 0 bytes")):
        choose(picker, name)
        assert words(picker) == ["Close"] and said in picker.said.text()
        qtbot.keyClick(picker.search, Qt.Key.Key_Return)
        index = picker.filter.index(picker.table.currentIndex().row(), NAME)
        assert said in index.data(Qt.ItemDataRole.ToolTipRole)
        assert said in index.data(Qt.ItemDataRole.AccessibleTextRole)
    assert picker._room.loading is None and picker.isVisible()
    choose(picker, "gpu")
    assert picker.table.currentIndex().siblingAtColumn(PRECISION).data() == "FP8 weights, FP8 KV cache"


def test_typing_searches_at_once_and_arrows_move_in_the_table(
    picker: EnginePicker, engines: Path, qtbot: QtBot
) -> None:
    for name, precision in (("alpha", "int4"), ("beta", "int8"), ("gamma", "int8")):
        make_engine(engines, name, precision)
    shown(picker, qtbot, 3)
    assert picker.focusWidget() is picker.search
    qtbot.keyClicks(picker.search, "INT8 tiny")
    assert set(names(picker)) == {"beta", "gamma"} and picker.table.chosen().name == names(picker)[0]
    qtbot.keyClick(picker.search, Qt.Key.Key_Down)
    assert picker.table.chosen().name == names(picker)[1]
    picker.table.setFocus()
    qtbot.keyClicks(picker.table, "x")
    assert picker.search.text() == "INT8 tinyx" and picker.focusWidget() is picker.search
    assert names(picker) == [] and words(picker) == ["Close"]
    assert picker.said.text() == "No engine has these words."


def test_one_that_does_not_fit_is_refused_in_the_dialog(
    picker: EnginePicker, engines: Path, room: EngineRoom, qtbot: QtBot
) -> None:
    huge(engines)
    make_engine_folder(engines / "small", "small-int8")
    shown(picker, qtbot, 2)
    qtbot.keyClicks(picker.search, "huge")
    qtbot.keyClick(picker.search, Qt.Key.Key_Return)
    assert room.loading is not None and picker.loading.title.text() == "Loading huge-fp16"
    qtbot.waitUntil(lambda: picker.failure_box.isVisible(), timeout=WAIT_MS)
    assert picker.isVisible() and picker.failure_name.text() == "huge-fp16 could not be loaded"
    assert "4 TiB" in picker.failure.what.text() and "are free" in picker.failure.what.text()
    assert "weights 4 TiB" in picker.failure.evidence.toPlainText() and "KV pool" in picker.failure.fix.text()
    for text in (picker.failure.what, picker.failure.fix, picker.failure.evidence):
        assert text.textInteractionFlags() & Qt.TextInteractionFlag.TextSelectableByMouse
    assert words(picker) == ["Close", "Load"] and not picker.loading.isVisible()
    picker.close()
    picker.open()
    assert not picker.failure_box.isVisible(), "what was refused before is not said of now"


@pytest.mark.slow
def test_load_swap_beside_choose_and_unload(
    picker: EnginePicker, engines: Path, room: EngineRoom, qtbot: QtBot, interpreter: Callable[..., None]
) -> None:
    for name in ("one", "two", "three"):
        make_engine_folder(engines / name, name)
    shown(picker, qtbot, 3)

    def load(name: str, made: QAbstractButton) -> None:
        choose(picker, name)
        qtbot.mouseClick(made, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not picker.isVisible(), timeout=WAIT_MS)
        assert room.current is not None and room.current.name == name

    def loaded() -> set[str]:
        return {one.name for one in room.engines}

    load("one", picker.load)
    shown(picker, qtbot, 3)
    assert names(picker)[0] == "one" and picker.table.chosen().name == "one"
    assert picker.filter.index(0, STATE).data() == "in use"
    assert words(picker) == ["Unload one", "Close", "Talk to one"]
    choose(picker, "two")
    assert words(picker) == ["Unload one", "Close", "Load beside one", "Load in place of one"]
    assert picker.load.isDefault()
    load("two", picker.load)
    assert loaded() == {"two"}
    shown(picker, qtbot, 3)
    load("three", picker.beside)
    assert loaded() == {"two", "three"}
    shown(picker, qtbot, 3)
    states = {picker.filter.index(at, NAME).data(): picker.filter.index(at, STATE).data() for at in range(2)}
    assert states == {"three": "in use", "two": "loaded"}
    choose(picker, "one")
    assert words(picker) == ["Unload three", "Close", "Load in place of two", "Load in place of three"]
    load("one", picker.instead_of_other)
    assert loaded() == {"one", "three"}
    shown(picker, qtbot, 3)
    choose(picker, "three")
    qtbot.keyClick(picker.search, Qt.Key.Key_Return)
    assert room.current is not None and room.current.name == "three" and not picker.isVisible()
    shown(picker, qtbot, 3)
    for name in ("three", "one"):
        choose(picker, name)
        qtbot.mouseClick(picker.unload, Qt.MouseButton.LeftButton)
    assert room.engines == () and picker.isVisible() and words(picker) == ["Close", "Load"]


@pytest.mark.slow
def test_loading_is_shown_stopped_and_goes_on_without_the_dialog(
    picker: EnginePicker, engines: Path, room: EngineRoom, qtbot: QtBot, interpreter: Callable[..., None]
) -> None:
    interpreter(never_ready=True, load_lines=['{"type": "progress", "t": 0, "done": 1, "total": 4}'])
    make_engine_folder(engines / "one", "one")
    shown(picker, qtbot, 1)
    qtbot.keyClick(picker.search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: picker.loading.words.text() == "Load, 25 %", timeout=WAIT_MS)
    assert picker.loading.bar.value() == 250 and picker.filter.index(0, STATE).data() == "loading"
    assert words(picker) == ["Close"]
    qtbot.keyClick(picker.search, Qt.Key.Key_Escape)
    assert not picker.isVisible() and room.loading is not None
    shown(picker, qtbot, 1)
    assert picker.loading.isVisible()
    qtbot.mouseClick(picker.loading.stop_button, Qt.MouseButton.LeftButton)
    assert room.loading is None and not picker.loading.isVisible() and words(picker) == ["Close", "Load"]
    assert not picker.failure_box.isVisible()


@pytest.mark.slow
def test_a_host_that_fails_says_why_in_the_dialog(
    picker: EnginePicker, engines: Path, qtbot: QtBot, interpreter: Callable[..., None]
) -> None:
    interpreter(fail_load="The engine is of another kind.")
    make_engine_folder(engines / "one", "one")
    shown(picker, qtbot, 1)
    qtbot.keyClick(picker.search, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: picker.failure_box.isVisible(), timeout=WAIT_MS)
    assert picker.failure.what.text() == "The engine is of another kind."
    assert picker.failure.evidence.toPlainText() == "the cause" and picker.failure.fix.text() == "the hint"


def test_every_control_has_a_name_and_long_names_fit(picker: EnginePicker, engines: Path, qtbot: QtBot) -> None:
    make_engine(engines, "a" * 120)
    shown(picker, qtbot, 1)
    assert len(short_name("a" * 120)) <= 24 and short_name("short") == "short"
    picker.failure_box.show()
    picker.loading.show()
    for kind in (QAbstractButton, QAbstractItemView, QLineEdit, QPlainTextEdit):
        for widget in picker.findChildren(kind):
            if widget.isVisible() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
                assert widget.accessibleName(), widget
    assert picker.minimumSizeHint().width() <= 1000
