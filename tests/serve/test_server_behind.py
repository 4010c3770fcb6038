"""What stands on either side of the front door: a program that requests are passed on to, and our own endpoint host as
a client.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.openai_server import Behaviour, OpenAIServer, serving
from tests.serve.running import MODEL, Running, running, wait_for
from tests.workers.endpoint.conftest import start_host
from workbench.core.endpoint import EndpointSpec, KeySource
from workbench.core.messages import Sampling
from workbench.core.server_metrics import parse_prometheus
from workbench.serve.forward import HttpForwarder

COMPLETIONS = "/v1/completions"
KEY = "wb-0123456789abcdef"


@contextlib.contextmanager
def before(folder: Path, program: OpenAIServer) -> Iterator[Running]:
    """A front door before the program."""
    with running(folder, attach=False) as server:

        async def attach() -> HttpForwarder:
            forwarder = HttpForwarder(server.client, program.url.removesuffix("/v1"), "trtllm-serve 1.2.1")
            server.door.attach(forwarder)
            return forwarder

        forwarder = server.call(attach)
        try:
            yield server
        finally:
            server.call(forwarder.close)


def counted(server: Running, name: str) -> float:
    text = server.ask("/metrics")[2].decode()
    return sum(reading.value for reading in parse_prometheus(text) if reading.name == name)


def test_a_program_behind_the_door_answers_through_it_and_is_counted(tmp_path: Path) -> None:
    behaviour = Behaviour(ttft_s=0.01, itl_s=0.002, natural_tokens=8)
    with serving(behaviour, models=(MODEL,)) as program, before(tmp_path, program) as server:
        body: dict[str, Any] = {"model": MODEL, "prompt": "hi", "max_tokens": 8, "extra": {"kept": [1]}}
        status, headers, data = server.ask(COMPLETIONS, body)
        assert status == 200 and headers["content-type"].startswith("application/json")
        assert json.loads(data)["usage"]["completion_tokens"] == 8
        streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
        status, headers, data = server.ask(COMPLETIONS, streamed)
        assert status == 200 and headers["content-type"].startswith("text/event-stream")
        assert data.endswith(b"data: [DONE]\n\n")
        assert counted(server, "workbench_generation_tokens_total") == 16
        assert counted(server, "workbench_time_to_first_token_seconds_count") == 1, "a whole answer has no first token"
        assert counted(server, "workbench_inter_token_latency_seconds_count") >= 5
        reading = server.call(server.door.reading)
        assert (reading.completed, reading.output_tokens, reading.active) == (2, 16, 0)
        assert json.loads(server.ask("/v1/models")[2])["data"][0]["owned_by"] == "tensorrt_llm"
        # What the door itself refuses does not reach the program.
        assert server.ask(COMPLETIONS, {**body, "model": "other"})[0] == 404
        assert server.ask(COMPLETIONS, b"{")[0] == 400
        assert server.ask(f"{COMPLETIONS}%0a", body)[0] == 404
        assert server.ask(f"{COMPLETIONS}%0d%0aX-Own:%201", body)[0] == 404
        assert len(program.served) == 2
        assert program.served[0].body["extra"] == {"kept": [1]}


def test_what_the_program_refuses_and_what_it_breaks_off_are_told(tmp_path: Path) -> None:
    with serving(Behaviour(status=422), models=(MODEL,)) as program, before(tmp_path, program) as server:
        body = {"prompt": "hi", "max_tokens": 50, "stream": True}
        assert server.ask(COMPLETIONS, body)[0] == 422
        program.behaviour = Behaviour(status=503)
        assert server.ask(COMPLETIONS, body)[0] == 503
        program.behaviour = Behaviour(ttft_s=0, itl_s=0.001, drop_after=3)
        status, _, data = server.ask(COMPLETIONS, body)
        assert status == 200 and b'"code": "engine_gone"' in data and b"[DONE]" not in data
        reading = server.call(server.door.reading)
        assert (reading.refused, reading.failed, reading.completed, reading.active) == ({"422": 1}, 2, 0, 0)


def test_a_client_that_goes_away_ends_its_request_in_the_program(tmp_path: Path) -> None:
    with serving(Behaviour(ttft_s=0, itl_s=0.05), models=(MODEL,)) as program:
        with before(tmp_path, program) as server:
            body = {"prompt": "hi", "max_tokens": 500, "stream": True}
            connection = server.connect(server.raw(COMPLETIONS, body))
            assert wait_for(lambda: len(program.served) == 1 and program.served[0].tokens > 1)
            connection.close()
            assert wait_for(lambda: program.served[0].aborted)
            assert wait_for(lambda: server.call(server.door.reading).aborted == 1)


@pytest.mark.slow
def test_our_own_endpoint_knows_our_server_and_sees_its_cache(tmp_path: Path) -> None:
    with running(tmp_path, key=KEY, tokens_per_s=20, kv_blocks=10) as server:
        spec = EndpointSpec(base_url=server.url, model=MODEL, api="completions", key=KeySource(source="env", name="K"))
        logs: list[str] = []
        with start_host(tmp_path / "endpoint", spec, logs, K=KEY) as client:
            client.set_stats_interval(0.1)
            assert client.ready.limits["max_seq_len"] == 100
            generation = client.submit(prompt="hi", sampling=Sampling(max_tokens=20))
            assert wait_for(lambda: client.stats is not None and client.stats.kv_share == pytest.approx(0.1))
            assert client.stats is not None and client.stats.requests_active == 1
            answer = generation.result(10).raise_for_failure()
            assert (answer.ids, answer.count_source) == (tuple(range(20)), "engine ids")
        assert any("Engine Workbench" in line for line in logs), logs
