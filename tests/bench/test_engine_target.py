"""Engine hosts under load: a real client of a real host process, which answers by a clock and has no engine."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.made import measure
from workbench.bench.drive import run_point
from workbench.bench.engine_target import EngineTarget
from workbench.bench.loop import run_blocking
from workbench.bench.progress import Progress
from workbench.bench.target import Ask
from workbench.core import metrics
from workbench.core.measure.load import Load
from workbench.core.measure.record import PointRecord
from workbench.core.messages import ChatTurn, StepSpec
from workbench.jobs.engine import EngineClient, HostCommand

HOST = Path(__file__).parents[1] / "fakes" / "host.py"
Starter = Callable[..., EngineClient]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    started: list[EngineClient] = []

    def one(**settings: Any) -> EngineClient:
        command = HostCommand(argv=(sys.executable, str(HOST)), spec=StepSpec(worker="fake.host", settings=settings))
        started.append(EngineClient.start(command, tmp_path / "host.log", timeout_s=30))
        return started[-1]

    yield one
    for client in started:
        client.close()


def test_requests_go_through_and_are_timed_by_the_clients_reader(start: Starter) -> None:
    point = measure(EngineTarget(start(tokens_per_s=200)), Load(requests=6), 3, tokens=10)
    assert [request.end for request in point.requests] == ["length"] * 6
    for request in point.requests:
        assert metrics.output_tokens(request.chunks) == 10 == request.reported_tokens
        assert request.count_source == "engine ids" and (request.input_tokens or 0) > 0
        itl = metrics.itl_ms(request.chunks)
        assert itl is not None and 4 < itl < 12
        assert request.sent_s <= request.chunks[0].t_s <= request.chunks[-1].t_s <= request.ended_s


def test_tokens_show_while_they_come(start: Starter) -> None:
    seen: list[Progress] = []
    measure(EngineTarget(start(tokens_per_s=100)), Load(requests=1), tokens=36, on_progress=seen.append)
    assert 0 < seen[0].tokens < 36 and seen[0].open == 1


def test_a_share_is_cancelled_half_way_and_the_host_is_rid_of_it(start: Starter) -> None:
    client = start(tokens_per_s=100)
    point = measure(EngineTarget(client), Load(requests=2, cancel_share=1.0), tokens=20)
    assert [request.end for request in point.requests] == ["cancelled"] * 2
    assert all(10 <= metrics.output_tokens(request.chunks) < 20 for request in point.requests)
    assert {request.count_source for request in point.requests} == {"engine ids"}
    assert client.failure is None


def test_a_time_out_aborts_the_request_in_the_host(start: Starter) -> None:
    point = measure(EngineTarget(start(tokens_per_s=50)), Load(requests=1, timeout_s=0.1), tokens=90)
    assert point.requests[0].end == "timeout"
    assert 1 <= metrics.output_tokens(point.requests[0].chunks) < 30


def test_a_host_that_dies_ends_the_point_and_says_why(start: Starter) -> None:
    point = measure(EngineTarget(start(die_after=3, tokens_per_s=100)), Load(requests=500), 2, tokens=20)
    assert point.end == "failed"
    assert point.failure is not None and point.failure.what
    assert len(point.requests) < 10
    came = [metrics.output_tokens(request.chunks) for request in point.requests]
    assert 2 <= max(came) <= 3, "what came is kept"


def test_a_request_that_cannot_be_sent_fails_in_words_and_the_others_go_on(start: Starter) -> None:
    client = start()

    def asks(number: int) -> Ask:
        half = "\ud83d" if number == 1 else "hello"
        return Ask(number, 4, messages=(ChatTurn(role="user", content=half),), ignore_eos=True)

    async def work() -> PointRecord:
        return await run_point(EngineTarget(client), Load(requests=3), 1.0, 0, asks)

    point = run_blocking(work)
    assert [request.end for request in point.requests] == ["length", "error", "length"]
    assert "not valid Unicode" in point.requests[1].error
    assert point.end == "complete"
