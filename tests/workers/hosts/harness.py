"""What the tests of the engine hosts share: waiting for stats, failures in words, and the protocol without a client."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from workbench.core.errors import Failure, StepFailedError
from workbench.core.messages import (
    MAX_LINE_BYTES,
    ChatTurn,
    Finished,
    Ready,
    Stats,
    StepSpec,
    Tokens,
    parse_message,
)
from workbench.jobs.engine import Answer, EngineClient

ROOT = Path(__file__).parents[3]
LONG = {"max_tokens": 400, "ignore_eos": True}
"""A request that takes its time."""


def wait_for_stats(client: EngineClient, wanted: Callable[[Stats], bool], timeout_s: float = 10.0) -> Stats:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if client.stats is not None and wanted(client.stats):
            return client.stats
        time.sleep(0.01)
    raise AssertionError(f"the stats did not become what was wanted: {client.stats}")


def is_idle(stats: Stats) -> bool:
    # Where there are no blocks, None.
    return not stats.kv_blocks_used and stats.requests_active == 0 and stats.requests_queued == 0


def idle_processor_s(client: EngineClient, over_s: float) -> float:
    """Processor time that the host takes in `over_s` seconds without work, once it is idle."""
    wait_for_stats(client, is_idle)
    assert client.hello is not None
    process = psutil.Process(client.hello.pid)
    before = process.cpu_times()
    time.sleep(over_s)
    after = process.cpu_times()
    return (after.user + after.system) - (before.user + before.system)


def user(text: str) -> list[ChatTurn]:
    return [ChatTurn(role="user", content=text)]


def refused(client: EngineClient, **given: Any) -> str:
    """The words in which a request is refused."""
    answer: Answer = client.submit(**given).result(30)
    assert answer.reason == "error" and answer.failure is not None
    assert answer.output_tokens == 0
    return answer.failure.what


def failure_of(starting: contextlib.AbstractContextManager[EngineClient]) -> Failure:
    """Why a host does not start."""
    with pytest.raises(StepFailedError) as caught, starting:
        pass
    assert caught.value.failure.evidence
    return caught.value.failure


def files_of(folder: Path) -> list[tuple[str, int]]:
    """Names and times of all files, to see that none was touched."""
    return sorted((path.name, path.stat().st_mtime_ns) for path in folder.rglob("*"))


class Bare:
    """A host without the client, for what the client never does; `early`: lines sent along with the spec."""

    def __init__(
        self, argv: Sequence[str], spec: StepSpec, log: Path, env: Mapping[str, str] | None = None, early: bytes = b""
    ) -> None:
        self._errors = log.open("wb")
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            bufsize=0,
            env={**os.environ, **(env or {})},
        )
        self.send(spec.model_dump_json().encode() + b"\n" + early)
        self.until(lambda message: isinstance(message, Ready))

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        while data:
            data = data[self.process.stdin.write(data) :]

    def write(self, line: str | bytes) -> None:
        self.send((line if isinstance(line, bytes) else line.encode()) + b"\n")

    def command(self, **fields: Any) -> None:
        self.write(json.dumps(fields))

    def read(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return parse_message(line) if line else None

    def until(self, wanted: Callable[[Any], bool]) -> list[Any]:
        seen = []
        while (message := self.read()) is not None:
            seen.append(message)
            if wanted(message):
                return seen
        raise AssertionError(f"the host ended; last: {seen[-3:]}")

    def rest(self) -> list[Any]:
        seen = []
        while (message := self.read()) is not None:
            seen.append(message)
        return seen

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self._errors.close()


def ends(name: str) -> Callable[[Any], bool]:
    return lambda message: isinstance(message, Finished) and message.request == name


class BareProtocol:
    """The protocol as every host keeps it; a subclass stands beside a fixture `bare`."""

    @pytest.mark.slow
    def test_a_name_in_use_is_refused_and_the_first_goes_on(self, bare: Bare) -> None:
        bare.command(type="generate", request="twin", prompt="x", sampling=LONG)
        bare.command(type="generate", request="twin", prompt="y")
        first = bare.until(ends("twin"))[-1]
        assert first.reason == "error" and "its own name" in first.message
        assert bare.until(ends("twin"))[-1].reason == "length"

    @pytest.mark.slow
    def test_the_stats_interval_can_be_set_and_switched_off(self, bare: Bare) -> None:
        bare.command(type="stats_interval", seconds=0)
        bare.command(type="generate", request="a", prompt="x", sampling=LONG)
        assert not [message for message in bare.until(ends("a")) if isinstance(message, Stats)]
        bare.command(type="stats_interval", seconds=0.001)
        bare.command(type="generate", request="b", prompt="x", sampling=LONG)
        assert len([message for message in bare.until(ends("b")) if isinstance(message, Stats)]) > 20
        assert is_idle(bare.until(lambda message: isinstance(message, Stats) and is_idle(message))[-1])

    @pytest.mark.parametrize("way", ["shutdown", "end of file"])
    def test_the_end_aborts_all_and_takes_less_than_a_second(self, bare: Bare, way: str) -> None:
        for name in ("a", "b"):
            bare.command(type="generate", request=name, prompt="x", sampling=LONG)
        bare.until(lambda message: isinstance(message, Tokens))
        begin = time.monotonic()
        if way == "shutdown":
            bare.command(type="shutdown")
        else:
            assert bare.process.stdin is not None
            bare.process.stdin.close()
        seen = bare.rest()
        assert bare.process.wait(5) == 0
        assert time.monotonic() - begin < 1.0
        assert {m.request: m.reason for m in seen if isinstance(m, Finished)} == {"a": "abort", "b": "abort"}
        assert seen[-1].type == "result"

    def test_a_line_over_the_limit_ends_the_host_in_words(self, bare: Bare) -> None:
        with contextlib.suppress(BrokenPipeError):
            bare.write(b"x" * (MAX_LINE_BYTES + 1))
        seen = bare.rest()
        assert bare.process.wait(5) == 3
        assert seen[-1].code == "line-too-long"
        assert f"{MAX_LINE_BYTES:,}" in seen[-1].cause
