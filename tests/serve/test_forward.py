"""Passing requests on to a program behind the front door, held against a server of known answers and faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.fakes.openai_server import Behaviour, OpenAIServer
from workbench.core.errors import Failure, StepFailedError
from workbench.core.messages import Ready, Stats
from workbench.serve.backend import Passed
from workbench.serve.forward import ForwardedAnswer, HttpForwarder

FAST = Behaviour(ttft_s=0.0, itl_s=0.001)


class Worker:
    """What a forwarder asks of the client that keeps the program alive."""

    def __init__(self) -> None:
        self.ready = Ready(limits={"max_seq_len": 256}, kv_blocks_total=100)
        self.stats: Stats | None = None
        self.failure: Failure | None = None
        self.on_end: Callable[[Failure], None] | None = None


@asynccontextmanager
async def program(behaviour: Behaviour = FAST) -> AsyncIterator[tuple[OpenAIServer, HttpForwarder, Worker]]:
    server, worker = OpenAIServer(behaviour), Worker()
    await server.start()
    forwarder = HttpForwarder(worker, server.url.removesuffix("/v1"), "trtllm-serve 1.2.1")  # type: ignore[arg-type]
    try:
        yield server, forwarder, worker
    finally:
        await forwarder.close()
        await server.stop()


def body_of(stream: bool, tokens: int = 5) -> bytes:
    asked: dict[str, Any] = {"model": "mock", "prompt": "x", "max_tokens": tokens, "stream": stream}
    if stream:
        asked["stream_options"] = {"include_usage": True}
    return json.dumps(asked).encode()


async def all_of(answer: ForwardedAnswer) -> list[Passed]:
    found = []
    while (passed := await answer.next()) is not None:
        found.append(passed)
    return found


@pytest.mark.parametrize("behaviour", [FAST, Behaviour(ttft_s=0, itl_s=0.001, split_writes=True, crlf=True)])
def test_a_stream_comes_back_unchanged_and_counted(behaviour: Behaviour) -> None:
    async def run() -> None:
        async with program(behaviour) as (server, forwarder, _):
            answer = await forwarder.forward("/v1/completions", body_of(True), stream=True)
            assert (answer.status, answer.content_type) == (200, "text/event-stream")
            passed = await all_of(answer)
            text = b"".join(each.data for each in passed).decode()
            assert text.rstrip().endswith("data: [DONE]")
            assert sum(each.tokens for each in passed) == 5
            usages = [each.usage for each in passed if each.usage is not None]
            assert [usage.output_tokens for usage in usages] == [5]
            assert [each.finish for each in passed if each.finish] == ["length"]
            # The same connection serves the next one, and its body was not touched.
            await all_of(await forwarder.forward("/v1/completions", body_of(True), stream=True))
            assert server.connections == 1
            assert server.served[0].body == json.loads(body_of(True))
            assert server.served[0].path == "/v1/completions"

    asyncio.run(run())


def test_an_answer_in_one_piece_tells_its_usage() -> None:
    async def run() -> None:
        async with program() as (_, forwarder, _worker):
            answer = await forwarder.forward("/v1/chat/completions", body_of(False), stream=False)
            passed = await all_of(answer)
            whole = json.loads(b"".join(each.data for each in passed))
            assert answer.content_type == "application/json"
            assert whole["usage"]["completion_tokens"] == 5
            told = [each.usage for each in passed if each.usage is not None]
            assert len(told) == 1 and told[0].output_tokens == 5

    asyncio.run(run())


def test_a_refusal_is_passed_on_with_its_status() -> None:
    async def run() -> None:
        async with program(Behaviour(status=400, body=b'{"error": {"message": "no"}}')) as (_, forwarder, _worker):
            answer = await forwarder.forward("/v1/completions", body_of(True), stream=True)
            passed = await all_of(answer)
            assert answer.status == 400
            assert b"".join(each.data for each in passed) == b'{"error": {"message": "no"}}'
            assert sum(each.tokens for each in passed) == 0

    asyncio.run(run())


def test_an_abort_ends_the_request_in_the_program() -> None:
    async def run() -> None:
        async with program(Behaviour(ttft_s=0.0, itl_s=0.02)) as (server, forwarder, _):
            answer = await forwarder.forward("/v1/completions", body_of(True, 500), stream=True)
            await answer.next()
            assert server.active == 1
            answer.abort()
            answer.abort()
            for _ in range(100):
                if server.active == 0:
                    break
                await asyncio.sleep(0.01)
            assert server.active == 0 and server.served[0].aborted

            waiting = asyncio.create_task(forwarder.forward("/v1/completions", body_of(False, 500), stream=False))
            while server.active == 0:
                await asyncio.sleep(0.005)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            for _ in range(100):
                if server.active == 0:
                    break
                await asyncio.sleep(0.01)
            assert server.active == 0

    asyncio.run(run())


def test_a_program_that_breaks_off_is_said() -> None:
    async def run() -> None:
        async with program(Behaviour(ttft_s=0, itl_s=0.001, drop_after=3)) as (_, forwarder, _worker):
            answer = await forwarder.forward("/v1/completions", body_of(True, 20), stream=True)
            with pytest.raises(StepFailedError, match=r"trtllm-serve 1\.2\.1 broke off"):
                await all_of(answer)
            assert await answer.next() is None

    asyncio.run(run())


def test_a_program_that_is_gone_is_said_in_its_own_words() -> None:
    async def run() -> None:
        async with program() as (server, forwarder, worker):
            await server.stop()
            with pytest.raises(StepFailedError, match="broke off"):
                await forwarder.forward("/v1/completions", body_of(True), stream=True)
            told: list[Failure] = []
            forwarder.when_failed(told.append)
            assert worker.on_end is not None
            worker.on_end(Failure(code="gpu-lost", what="The GPU is lost."))
            await asyncio.sleep(0.01)
            assert [failure.code for failure in told] == ["gpu-lost"]
            with pytest.raises(StepFailedError, match="The GPU is lost"):
                await forwarder.forward("/v1/completions", body_of(True), stream=True)
            forwarder.when_failed(told.append)
            assert len(told) == 2

    asyncio.run(run())


def test_an_idle_connection_that_the_program_closed_is_not_the_clients_fault() -> None:
    async def run() -> None:
        async with program() as (server, forwarder, _):
            await all_of(await forwarder.forward("/v1/completions", body_of(True), stream=True))
            port = server.port
            await server.stop()
            await server.start(port, reuse=True)
            assert len(await all_of(await forwarder.forward("/v1/completions", body_of(True), stream=True))) >= 1

    asyncio.run(run())


def test_the_kv_share_is_of_the_pool() -> None:
    async def run() -> None:
        async with program() as (_, forwarder, worker):
            assert forwarder.kv_share() is None and forwarder.max_seq_len == 256
            worker.stats = Stats(kv_blocks_used=25)
            assert forwarder.kv_share() == 0.25

    asyncio.run(run())
