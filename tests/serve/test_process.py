"""A server as a process of its own: started, followed, stopped, killed. What answers behind it is a fake endpoint."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fakes.openai_server import Behaviour, OpenAIServer, serving
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.serving import ServeLimits, ServeSpec
from workbench.serve import client
from workbench.serve.client import ServeRequest
from workbench.serve.folder import ServingFolder, find
from workbench.toolchains.endpoint.folder import add_endpoint, new_spec

FAST = Behaviour(ttft_s=0.0, itl_s=0.001)
KEY = "ewb-a-key-of-the-test"


@pytest.fixture
def behind() -> Iterator[OpenAIServer]:
    with serving(FAST) as server:
        yield server


@pytest.fixture
def engine(home: Home, behind: OpenAIServer) -> Path:
    return add_endpoint(home, "box", new_spec(base_url=behind.url, model="mock"))


def spec_of(home: Home, engine: Path, key: str | None = None, **changes: Any) -> ServeSpec:
    return client.prepare(home, ServeRequest(engine, port=0, **changes), has_key=key is not None)


def ask(url: str, body: dict[str, Any], key: str = "", timeout: float = 20.0) -> tuple[int, dict[str, Any]]:
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(f"{url}/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def lives(process: psutil.Process) -> bool:
    """Whether it runs; one that has ended and that nobody has reaped yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_from_start_to_stop(home: Home, engine: Path) -> None:
    spec = spec_of(home, engine, KEY, model="mine", key_source="env", key_name="SERVE_KEY")
    os.environ["SERVE_KEY"] = KEY
    try:
        folder = client.start(home, spec, KEY)
    finally:
        del os.environ["SERVE_KEY"]
    state = client.wait_ready(folder, 30)
    assert state.status == "ready", state.failure
    assert state.url.startswith("http://127.0.0.1:") and state.url.endswith("/v1")
    assert (state.toolchain, state.program) == ("endpoint", "engine host")
    body = {"model": "mine", "prompt": "hello", "max_tokens": 5}
    status, answer = ask(state.url, body, KEY)
    assert status == 200 and answer["usage"]["completion_tokens"] == 5, answer
    assert ask(state.url, body)[0] == 401
    assert ask(state.url, body, "ewb-another")[0] == 401

    # The key is nowhere but in the server's memory.
    family = [psutil.Process(state.pid), psutil.Process(state.pid).parent(), *psutil.Process(state.pid).children()]
    assert len(family) >= 3
    for process in filter(None, family):
        assert KEY not in " ".join(process.cmdline()) and KEY not in str(process.environ())
    until = time.monotonic() + 10
    while not (client.read_readings(folder) and client.read_readings(folder)[-1].requests == 3):
        assert time.monotonic() < until, client.read_readings(folder)
        time.sleep(0.05)
    reading = client.read_readings(folder)[-1]
    assert (reading.completed, reading.refused, reading.output_tokens) == (1, {"401": 2}, 5)
    assert client.read_readings(folder, since=reading.at) == []

    assert [each.id for each in client.list_servings(home) if each.running] == [folder.id]
    assert find(home.serving, state.url.rpartition(":")[2].removesuffix("/v1")) == folder
    with pytest.raises(BadInputError, match="runs"):
        client.remove(folder)
    time.sleep(0.3)
    told = folder.state().reading
    assert told is not None and told.at >= reading.at
    assert client.stop(folder)
    ended = client.wait_ended(folder, 20)
    assert ended.status == "stopped" and ended.failure is None and ended.ended_at is not None
    assert not any(lives(process) for process in filter(None, family))
    access = folder.access_path.read_text()
    assert access.count("POST /v1/completions") == 3 and "hello" not in access
    assert not (folder.path / ServingFolder.socket_name).exists()
    for path in folder.path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path
    assert folder.path.stat().st_mode & 0o077 == 0
    assert not client.stop(folder)
    client.remove(folder)
    assert client.list_servings(home) == []


@pytest.mark.slow
def test_a_drain_lets_answers_end_and_a_second_ask_does_not(home: Home, engine: Path, behind: OpenAIServer) -> None:
    behind.behaviour = Behaviour(ttft_s=0.05, itl_s=0.1)
    folder = client.start(home, spec_of(home, engine, limits=ServeLimits(drain_s=60)))
    url = client.wait_ready(folder, 30).url
    model = folder.spec().model
    answers: list[tuple[int, dict[str, Any]]] = []

    def long(tokens: int) -> None:
        answers.append(ask(url, {"model": model, "prompt": "x", "max_tokens": tokens}))

    threads = [threading.Thread(target=long, args=(tokens,)) for tokens in (10, 400)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 10
    while behind.active < 2:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert client.stop(folder)
    while folder.state().status != "draining":
        assert time.monotonic() < until
        time.sleep(0.02)
    assert ask(url, {"model": model, "prompt": "x", "max_tokens": 1})[0] == 503
    threads[0].join(20)
    assert [(status, answer["usage"]["completion_tokens"]) for status, answer in answers] == [(200, 10)]
    assert client.stop(folder, now=True)
    assert client.wait_ended(folder, 20).status == "stopped"
    threads[1].join(20)
    assert len(answers) == 2 and [one.aborted for one in behind.served if one.wanted == 400] == [True]


@pytest.mark.slow
def test_an_engine_that_is_gone_ends_the_server_in_words(home: Home, engine: Path) -> None:
    folder = client.start(home, spec_of(home, engine))
    state = client.wait_ready(folder, 30)
    host = next(
        each for each in psutil.Process(state.pid).children() if "workbench.workers" in " ".join(each.cmdline())
    )
    host.kill()
    ended = client.wait_ended(folder, 20)
    assert ended.status == "failed" and ended.failure is not None
    assert "engine host" in ended.failure.what.lower() and ended.failure.fix


@pytest.mark.slow
def test_a_killed_server_is_lost_and_leaves_nothing(home: Home, engine: Path) -> None:
    folder = client.start(home, spec_of(home, engine))
    state = client.wait_ready(folder, 30)
    assert state.pid is not None
    left = psutil.Process(state.pid).children(recursive=True)
    assert left
    os.kill(state.pid, signal.SIGKILL)
    ended = client.wait_ended(folder, 20)
    assert ended.status == "lost" and ended.failure is not None and "Start it again" in ended.failure.fix
    assert not any(lives(each) for each in left)
    client.remove(folder)


@pytest.mark.slow
def test_what_fails_while_it_loads_is_said(home: Home, tmp_path: Path) -> None:
    with serving(FAST) as gone:
        engine = add_endpoint(home, "gone", new_spec(base_url=gone.url, model="mock"))
    folder = client.start(home, spec_of(home, engine))
    state = client.wait_ended(folder, 30)
    assert state.status == "failed" and state.failure is not None
    assert "listens" in state.failure.what + state.failure.evidence
    assert state.url, "it listened before anything was loaded"


@pytest.mark.slow
def test_stopped_while_it_loads(home: Home) -> None:
    with socket.socket() as silent:  # takes connections and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        engine = add_endpoint(home, "silent", new_spec(base_url=url, model="mock"))
        folder = client.start(home, spec_of(home, engine))
        until = time.monotonic() + 20
        while not folder.state().step.startswith(("loads", "connect", "check", "load", "ask")):
            assert time.monotonic() < until, folder.state()
            time.sleep(0.05)
        base = folder.state().url.removesuffix("/v1")
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            urllib.request.urlopen(f"{base}/health", timeout=10)
        refused.value.close()
        assert client.stop(folder)
        ended = client.wait_ended(folder, 20)
    assert ended.status == "stopped" and ended.failure is None and ended.ready_at is None


def test_a_port_in_use_is_said_with_who_and_the_next_one(home: Home, engine: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with pytest.raises(BadInputError) as caught:
            client.prepare(home, ServeRequest(engine, port=port), has_key=False)
        assert caught.value.failure.code == "port-in-use"
        assert f"pid {os.getpid()}" in caught.value.evidence
        free = int(caught.value.fix.partition("--port ")[2].partition(",")[0])
        assert free > port
        client.prepare(home, ServeRequest(engine, port=free), has_key=False)
    assert not home.serving.exists()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"host": "0.0.0.0"}, "key-needed"),
        ({"host": "192.0.2.1"}, "key-needed"),
        ({"host": "no.such.host.invalid"}, "key-needed"),
        ({"model": "a\nb"}, "bad-model-name"),
        ({"overrides": ("runtime.nonsense=1",)}, ""),
    ],
)
def test_bad_requests_start_nothing(home: Home, engine: Path, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        client.prepare(home, ServeRequest(engine, port=0, **changes), has_key=False)
    assert not code or caught.value.failure.code == code
    assert caught.value.fix
    assert not home.serving.exists()


def test_a_key_that_cannot_be_one_starts_nothing(home: Home, engine: Path) -> None:
    for key in ("short", "with a space in it", "\u00fcml\u00e4ut-key"):
        with pytest.raises(BadInputError) as caught:
            client.start(home, spec_of(home, engine, key), key)
        assert caught.value.failure.code == "bad-key" and key not in str(caught.value.evidence)
    assert not home.serving.exists()


def test_addresses_that_are_not_here(home: Home, engine: Path) -> None:
    for host in ("192.0.2.1", "no.such.host.invalid"):
        with pytest.raises(BadInputError) as caught:
            client.prepare(home, ServeRequest(engine, host=host, port=0), has_key=True)
        assert caught.value.failure.code == "bad-host"


def test_paths_are_kept_as_another_folder_finds_them(home: Home, engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(engine.parent)
    assert spec_of(home, Path(engine.name)).engine == str(engine)


def test_no_engine_is_said(home: Home, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="Not an artefact"):
        client.prepare(home, ServeRequest(tmp_path, port=0), has_key=False)
