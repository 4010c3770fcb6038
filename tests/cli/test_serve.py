"""`workbench serve` as a person runs it; what answers behind the server is a fake endpoint."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Ran, start, workbench
from tests.fakes.file_keyring import BACKEND, VARIABLE
from tests.fakes.openai_server import Behaviour, serving
from tests.serve.test_process import ask
from workbench.core.home import Home
from workbench.serve import client
from workbench.toolchains.endpoint.folder import add_endpoint, new_spec

KEY = "ewb-hunter2"


@pytest.fixture
def engine(home: Home) -> Iterator[str]:
    with serving(Behaviour(ttft_s=0.0, itl_s=0.001)) as server:
        yield str(add_endpoint(home, "box", new_spec(base_url=server.url, model="mock")))
        for each in client.list_servings(home):
            client.stop(each.folder, now=True)


def line_with(process: subprocess.Popen[str], words: str, stream: str = "stderr") -> str:
    said = []
    for line in getattr(process, stream):
        said.append(line)
        if words in line:
            return line
    raise AssertionError(f"{words!r} was not said: {said}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_ends_it(home: Home, engine: str, number: signal.Signals) -> None:
    with start("serve", engine, "--port", "0", "--model", "mine", "--max-active", "2") as process:
        url = line_with(process, "Ctrl+C stops it").partition(" at ")[2].partition(" ")[0]
        assert ask(url, {"model": "mine", "prompt": "x", "max_tokens": 3})[0] == 200
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "Running answers end first" in err and "stopped after 1 answered requests" in out
    spec = client.list_servings(home)[0].spec
    assert spec.limits.active == 2 and spec.model == "mine"


@pytest.mark.slow
def test_detached_with_a_new_key_from_start_to_remove(home: Home, engine: str) -> None:
    began = workbench("serve", engine, "--port", "0", "--new-key", "--detach", "--json")
    assert began.code == 0, began.err
    key, url, name = began.json["key"], began.json["state"]["url"], began.json["id"]
    ready = workbench("serve", "status", name, "--wait")
    assert ready.code == 0 and f"{name}  ready" in ready.out and key not in ready.out
    assert "key: shown once, kept nowhere" in ready.out
    assert ask(url, {"model": "box", "prompt": "x", "max_tokens": 3})[0] == 401
    assert ask(url, {"model": "box", "prompt": "x", "max_tokens": 3}, key)[0] == 200
    kept = workbench("endpoint", "remove", "box", "--yes")
    assert kept.code == 2 and "box is being served" in kept.err and f"workbench serve stop {name}" in kept.err
    listed = workbench("serve", "--json")
    assert [(row["id"], row["state"]["status"]) for row in listed.json] == [(name, "ready")]
    stopped = workbench("serve", "stop", name[-4:])
    assert stopped.code == 0 and f"{name} stopped" in stopped.out
    log = workbench("serve", "log", "last", "--access")
    assert log.out.count("POST /v1/completions") == 2
    for path in home.serving.rglob("*"):
        assert path.is_dir() or key not in path.read_text(), path
    assert workbench("serve", "remove", name).out == f"removed {name}\n"
    assert not client.list_servings(home)


@pytest.mark.slow
def test_keys_from_the_keyring_and_from_a_variable(
    home: Home, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ring.json"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", BACKEND)
    absent = workbench("serve", engine, "--port", "0", "--api-key-keyring", "lab", "--detach")
    assert absent.code == 3 and "--new-key --api-key-keyring lab" in absent.err
    made = workbench("serve", engine, "--port", "0", "--new-key", "--api-key-keyring", "lab", "--detach", "--json")
    assert made.code == 0, made.err
    key = made.json["key"]
    assert key in (tmp_path / "ring.json").read_text()
    again = workbench("serve", engine, "--port", "0", "--api-key-keyring", "lab", "--detach", "--json")
    assert again.code == 0 and "key" not in again.json and key not in again.out + again.err
    folder = client.list_servings(home)[0].folder
    state = client.wait_ready(folder, 30)
    assert ask(state.url, {"model": "box", "prompt": "x", "max_tokens": 1}, key)[0] == 200


@pytest.mark.slow
def test_a_failure_while_it_loads_is_the_commands(home: Home) -> None:
    with serving() as gone:
        engine = add_endpoint(home, "gone", new_spec(base_url=gone.url, model="mock"))
    ran = workbench("serve", str(engine), "--port", "0", "--json")
    assert ran.code == 4, ran.err
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert [row["state"]["status"] for row in told] == ["starting", "failed"]
    assert "listens" in ran.err and "workbench serve log" in ran.err


@pytest.mark.slow
def test_bad_input_starts_nothing(home: Home, engine: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        asked = (
            ("--port", str(taken.getsockname()[1])),
            ("--host", "0.0.0.0"),
            ("--new-key", "--api-key-env", "A"),
            ("--api-key-env", KEY),
        )
        busy, open_to_all, both, pasted = all_at_once(*((engine, *words) for words in asked))
    assert busy.code == 2 and "is in use" in busy.err and f"pid {os.getpid()}" in busy.err
    assert open_to_all.code == 2 and "needs an API key" in open_to_all.err
    assert both.code == 2 and "Choose where the key is kept" in both.err
    assert pasted.code == 2 and KEY not in pasted.err and "--api-key-env takes the name" in pasted.err
    assert not home.serving.exists()


def all_at_once(*commands: tuple[str, ...]) -> list[Ran]:
    """Commands beside each other: their imports are most of their time."""
    running = [start("serve", *words) for words in commands]
    said = [process.communicate(timeout=120) for process in running]
    return [Ran(process.returncode, *texts) for process, texts in zip(running, said, strict=True)]


@pytest.mark.slow
def test_the_first_word_is_a_command_or_an_engine() -> None:
    engines = [("nosuch",), ("--port", "0", "nosuch"), ("--json", "nosuch"), ("start", "list")]
    *unknown, listed, shown = all_at_once(*engines, ("list", "--json"), ("nosuch", "--help"))
    for words, ran in zip(engines, unknown, strict=True):
        assert ran.code == 2 and "No engine is called" in ran.err, (words, ran.err)
    assert listed.code == 0 and listed.json == []
    assert "--max-active" in shown.out
