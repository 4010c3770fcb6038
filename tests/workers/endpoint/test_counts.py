"""Tokens of a server's responses as the client counts them, whatever the server tells of them."""

from __future__ import annotations

import pytest

from tests.fakes.openai_server import Behaviour, OpenAIServer, serving
from tests.workers.endpoint.conftest import Start
from workbench.core.answer import AnswerRecord
from workbench.core.messages import ChatTurn, Finished, Sampling, Tokens
from workbench.jobs.engine import EngineClient

TURNS = [ChatTurn(role="user", content="how are you")]


@pytest.mark.parametrize(
    ("behaviour", "counts", "source"),
    [
        (Behaviour(ttft_s=0, itl_s=0.001, tokens_per_chunk=5), [5, 5, 2], "server usage"),
        (Behaviour(ttft_s=0, itl_s=0.001, tokens_per_chunk=5, ids=True), [5, 5, 2], "engine ids"),
        (Behaviour(ttft_s=0, itl_s=0.001, tokens_per_chunk=5, usage=False), [1, 1, 1], None),
        (Behaviour(ttft_s=0, itl_s=0.001, streams=False), [12], "server usage"),
    ],
    ids=["running-usage", "ids", "nothing", "whole"],
)
def test_counts(
    server: OpenAIServer, host: EngineClient, behaviour: Behaviour, counts: list[int], source: str | None
) -> None:
    server.behaviour = behaviour
    generation = host.submit(messages=TURNS, sampling=Sampling(max_tokens=12))
    answer = generation.result(10.0)
    assert [chunk.tokens for chunk in answer.chunks] == counts
    assert answer.output_tokens == sum(counts)
    assert answer.ttft_ms is not None
    assert (answer.itl_ms is None) is (len(counts) == 1)
    assert answer.count_source == source
    events = list(generation)
    assert [event.tokens for event in events if isinstance(event, Tokens)] == counts
    record = AnswerRecord.from_events(events, t0_s=answer.t0_s, chunks=answer.chunks, sampling=Sampling(max_tokens=12))
    assert (record.output_tokens, record.count_source) == (sum(counts), source or "engine ids")
    assert isinstance(events[-1], Finished)


def test_counts_that_come_at_the_end_put_the_guesses_right() -> None:
    from workbench.jobs.came import Came

    came = Came("r")
    for text in ("a", "bcd", ""):
        came.add(Tokens(request="r", text=text, count=1), 1.0)
    assert came.tokens == 3
    came.recount([2, 3, 0])
    assert ([chunk.tokens for chunk in came.chunks()], came.tokens, came.ids) == ([2, 3, 0], 5, ())
    assert came.since(1).tokens == 3
    came.recount([1])  # another number of responses than came: not believed
    assert came.tokens == 5


@pytest.mark.slow
def test_tokens_that_only_the_end_counts(start: Start) -> None:
    with serving(Behaviour(ttft_s=0, itl_s=0.001, tokens_per_chunk=5), metrics="") as server:
        answer = start(server.url).submit(messages=TURNS, sampling=Sampling(max_tokens=12)).result(10.0)
    assert answer.output_tokens == 12 and len(answer.chunks) == 3
    assert min(chunk.tokens for chunk in answer.chunks) >= 1
    assert answer.count_source == "server usage"
