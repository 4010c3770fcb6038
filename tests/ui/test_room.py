"""Engines in the window: loaded, swapped, two at once, refused with the arithmetic, and lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from pytestqt.qtbot import QtBot

from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.toolchains.test_room_check import pytorch_start
from workbench.core.errors import Failure
from workbench.core.gpu import GpuSpec, find_gpu
from workbench.core.home import Home
from workbench.core.messages import Sampling
from workbench.ui.models.loading import facts_of
from workbench.ui.models.room import EngineRoom
from workbench.ui.session import Session

WAIT_MS = 60_000


@pytest.fixture
def room(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineRoom]:
    session.home.make()
    monkeypatch.setenv(VARIABLE, str(make_interpreter(tmp_path / "python", tokens_per_s=200)))
    yield session.room
    session.close_room()
    session.telemetry.close()


def load(qtbot: QtBot, room: EngineRoom, path: Path, **given: str) -> str:
    count = len(room.engines) - bool(given)
    room.load(path, **given)
    assert room.loading is not None
    qtbot.waitUntil(lambda: room.loading is None, timeout=WAIT_MS)
    assert len(room.engines) == count + 1
    assert room.current is not None
    return room.current.id


@pytest.mark.parametrize(("gpus", "on_gpu"), [((), False), ((find_gpu("H100 SXM"),), True)])
def test_the_window_knows_where_a_pytorch_engine_is_loaded(
    gpus: tuple[GpuSpec, ...], on_gpu: bool, app_home: Home, tmp_path: Path
) -> None:
    assert facts_of(pytorch_start(tmp_path, app_home, gpus, 1000), ()).on_gpu == on_gpu


def alive(room: EngineRoom, engine_id: str) -> psutil.Process:
    engine = room.engine(engine_id)
    assert engine is not None and engine.client.hello is not None
    return psutil.Process(engine.client.hello.pid)


@pytest.mark.slow
def test_two_engines_are_loaded_and_one_is_swapped(qtbot: QtBot, room: EngineRoom, tmp_path: Path) -> None:
    one = load(qtbot, room, make_engine_folder(tmp_path / "one", "one-int8"))
    two = load(qtbot, room, make_engine_folder(tmp_path / "two", "two-int8"))
    assert [engine.name for engine in room.engines] == ["one-int8", "two-int8"]
    room.choose(one)
    assert room.current is not None and room.current.id == one
    answers = [engine.client.submit(prompt="hi", sampling=Sampling(max_tokens=3)).result(10) for engine in room.engines]
    assert [answer.output_tokens for answer in answers] == [3, 3]

    refused: list[tuple[str, Failure]] = []
    room.failed.connect(lambda name, failure: refused.append((name, failure)))
    room.load(tmp_path / "one")
    assert room.loading is None and refused[0][1].code == "room-full"

    first = alive(room, one)
    three = load(qtbot, room, tmp_path / "one", instead_of=one)
    assert {engine.id for engine in room.engines} == {two, three}
    qtbot.waitUntil(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE, timeout=10_000)
    words = [event.text for event in room._telemetry().events(0, float("inf"))]
    assert "one-int8 loaded" in words and "one-int8 unloaded" in words


@pytest.mark.slow
def test_an_engine_without_room_is_refused_before_it_is_started(qtbot: QtBot, room: EngineRoom, tmp_path: Path) -> None:
    huge = make_engine_folder(tmp_path / "huge", "huge-fp16", weight_bytes=2**50)
    with qtbot.waitSignal(room.failed, timeout=WAIT_MS) as caught:
        room.load(huge)
    name, failure = caught.args
    assert name == "huge-fp16" and failure.code == "no-room"
    assert "1 PiB" in failure.what and "are free" in failure.what and "weights 1 PiB" in failure.evidence
    assert room.engines == () and room.loading is None


@pytest.mark.slow
def test_a_swap_that_does_not_fit_leaves_the_engine_that_is_there(
    qtbot: QtBot, room: EngineRoom, tmp_path: Path
) -> None:
    there = load(qtbot, room, make_engine_folder(tmp_path / "one", "one-int8"))
    huge = make_engine_folder(tmp_path / "huge", "huge-fp16", weight_bytes=2**50)
    with qtbot.waitSignal(room.failed, timeout=WAIT_MS) as caught:
        room.load(huge, instead_of=there)
    assert caught.args[0] == "huge-fp16" and caught.args[1].code == "no-room"
    assert [engine.id for engine in room.engines] == [there] and alive(room, there).is_running()


@pytest.mark.slow
def test_a_host_that_dies_is_told_and_can_be_loaded_again(qtbot: QtBot, room: EngineRoom, tmp_path: Path) -> None:
    folder = make_engine_folder(tmp_path / "one", "one-int8")
    engine_id = load(qtbot, room, folder)
    with qtbot.waitSignal(room.died, timeout=WAIT_MS) as caught:
        os.kill(alive(room, engine_id).pid, signal.SIGKILL)
    assert caught.args[0].id == engine_id and "killed" in caught.args[1].what.lower()
    assert room.engines == () and room.current is None
    assert load(qtbot, room, folder) != engine_id


@pytest.mark.slow
def test_loading_is_stopped_and_leaves_no_host(
    qtbot: QtBot, room: EngineRoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(make_interpreter(tmp_path / "slow-python", never_ready=True)))
    folder = make_engine_folder(tmp_path / "one", "one-int8")
    room.load(folder)
    qtbot.waitUntil(lambda: room.loading is not None and room.loading.step.words == "load", timeout=WAIT_MS)
    hosts = [child for child in psutil.Process().children() if "host.py" in " ".join(child.cmdline())]
    assert len(hosts) == 1
    room.stop_loading()
    assert room.loading is None and room.engines == ()
    psutil.wait_procs(hosts, timeout=10)
    assert not hosts[0].is_running()


@pytest.mark.slow
def test_a_setting_that_the_engine_has_built_in_is_refused(qtbot: QtBot, room: EngineRoom, tmp_path: Path) -> None:
    with qtbot.waitSignal(room.failed, timeout=WAIT_MS) as caught:
        room.load(make_engine_folder(tmp_path / "one"), ("precision.weights=int4",))
    assert caught.args[1].code == "not-runtime"
