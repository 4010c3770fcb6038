"""One host, many kinds of answers: whole, broken, slow, refused."""

from __future__ import annotations

import threading
import time

import pytest

from tests.fakes.openai_server import WORDS, Behaviour, OpenAIServer
from tests.workers.endpoint.conftest import FAST
from workbench.core.messages import ChatTurn, Sampling, Tokens
from workbench.jobs.engine import EngineClient
from workbench.jobs.generation import Answer

TURNS = [ChatTurn(role="user", content="how are you")]


def text_of(tokens: int) -> str:
    return "".join(WORDS[i % len(WORDS)] for i in range(tokens))


def ask(host: EngineClient, tokens: int = 12, *, chat: bool = True, **sampling: object) -> Answer:
    settings = Sampling.model_validate({"max_tokens": tokens, **sampling})
    if chat:
        return host.submit(messages=TURNS, sampling=settings).result(10.0)
    return host.submit(prompt="how are you", sampling=settings).result(10.0)


def test_ready_tells_what_is_there(host: EngineClient) -> None:
    ready = host.ready
    assert ready.limits == {"max_seq_len": 8192}
    assert ready.settings["server"] == "vLLM", "known by the names of its metrics"
    assert ready.settings["model"] == "mock"
    assert ready.sampling is not None and {"top_k", "ignore_eos", "seed"} <= set(ready.sampling)


@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize(
    "behaviour",
    [
        FAST,
        Behaviour(ttft_s=0, itl_s=0.001, crlf=True),
        Behaviour(ttft_s=0, itl_s=0.001, malformed_every=3, comments_every=2),
        Behaviour(ttft_s=0, itl_s=0.001, done=False),
        Behaviour(ttft_s=0, itl_s=0.001, close=True),
        Behaviour(ttft_s=0, itl_s=0.001, usage=False),
        Behaviour(ttft_s=0, itl_s=0.001, tokens_per_chunk=5),
        Behaviour(ttft_s=0, itl_s=0.001, ids=True, tokens_per_chunk=5),
        Behaviour(ttft_s=0, itl_s=0.001, streams=False),
    ],
    ids=["plain", "crlf", "malformed", "no-done", "close", "no-usage", "chunks", "ids", "no-stream"],
)
def test_answers_come_whole(server: OpenAIServer, host: EngineClient, behaviour: Behaviour, chat: bool) -> None:
    server.behaviour = behaviour
    answer = ask(host, chat=chat)
    assert answer.failure is None
    assert answer.text == text_of(12)
    assert answer.reason == "length"
    assert answer.usage is None if not behaviour.usage else answer.usage is not None
    if answer.usage is not None:
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (3, 12)
    assert answer.ids == (tuple(range(1, 13)) if behaviour.ids else ())


def test_an_answer_that_ends_by_itself(server: OpenAIServer, host: EngineClient) -> None:
    server.behaviour = Behaviour(ttft_s=0, itl_s=0.001, natural_tokens=4)
    assert ask(host).reason == "stop"
    assert ask(host, ignore_eos=True).reason == "length"


def test_settings_reach_the_server_by_its_names(server: OpenAIServer, host: EngineClient) -> None:
    ask(host, 3, top_k=5, min_p=0.1, seed=7, stop=("END",), temperature=0.5)
    body = server.served[-1].body
    assert {name: body[name] for name in ("top_k", "min_p", "seed", "stop", "temperature", "max_tokens")} == {
        "top_k": 5,
        "min_p": 0.1,
        "seed": 7,
        "stop": ["END"],
        "temperature": 0.5,
        "max_tokens": 3,
    }
    assert "top_p" not in body and "ignore_eos" not in body


def test_logprobs(server: OpenAIServer, host: EngineClient) -> None:
    server.behaviour = Behaviour(ttft_s=0, itl_s=0.001, ids=True)
    answer = ask(host, 4, logprobs=True)
    assert answer.logprobs == (-0.5,) * 4
    assert ask(host, 4).logprobs is None


def test_token_ids_can_be_sent(server: OpenAIServer, host: EngineClient) -> None:
    answer = host.submit(ids=[1, 2, 3], sampling=Sampling(max_tokens=2)).result(10.0)
    assert answer.failure is None
    assert server.served[-1].body["prompt"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("behaviour", "word", "text"),
    [
        (Behaviour(ttft_s=0, itl_s=0.001, drop_after=5), "broke off", text_of(5)),
        (Behaviour(ttft_s=0, itl_s=0.001, error_after=5), "the engine gave up", text_of(5)),
        (Behaviour(ttft_s=0, itl_s=0.001, drop_after=1, close=True), "broke off", text_of(1)),
        (Behaviour(status=400), "refuses the request", ""),
        (Behaviour(status=404), "does not know", ""),
        (Behaviour(status=429), "no more requests", ""),
        (Behaviour(status=500), "The server failed", ""),
        (Behaviour(status=503, body=b"<html><title>warming up</title></html>"), "warming up", ""),
        (Behaviour(status=302, headers=(("Location", "http://else.where/"),)), "http://else.where/", ""),
        (Behaviour(not_openai=True), "no OpenAI-compatible API", ""),
    ],
    ids=["drop", "error-event", "drop-close", "400", "404", "429", "500", "503", "302", "html"],
)
def test_failures_in_words_and_what_came_stays(
    server: OpenAIServer, host: EngineClient, behaviour: Behaviour, word: str, text: str
) -> None:
    server.behaviour = behaviour
    answer = ask(host)
    assert answer.reason == "error"
    assert answer.failure is not None and word in answer.failure.what
    assert answer.text == text
    server.behaviour = FAST
    assert ask(host).failure is None, "the next request is served"


@pytest.mark.slow
@pytest.mark.parametrize(("hang_after", "word"), [(3, "fell silent"), (None, "too slow")])
def test_a_server_that_falls_silent(
    server: OpenAIServer, host: EngineClient, hang_after: int | None, word: str
) -> None:
    server.behaviour = Behaviour(ttft_s=0.0 if hang_after else 5.0, itl_s=0.001, hang_after=hang_after)
    answer = ask(host)
    assert answer.failure is not None and word in answer.failure.what
    assert "nothing came for 1 s" in answer.failure.what


def test_an_empty_conversation_is_refused(host: EngineClient) -> None:
    answer = host.submit(messages=[], sampling=Sampling(max_tokens=1)).result(10.0)
    assert answer.failure is not None and "the conversation is empty" in answer.failure.what


def test_abort_ends_it_there_as_well(server: OpenAIServer, host: EngineClient) -> None:
    server.behaviour = Behaviour(ttft_s=0, itl_s=0.01)
    generation = host.submit(messages=TURNS, sampling=Sampling(max_tokens=2000))
    event = generation.event(2, 5.0)
    assert isinstance(event, Tokens)
    generation.abort()
    answer = generation.result(5.0)
    assert answer.reason == "abort" and answer.failure is None and answer.text
    ends = time.monotonic() + 5
    while not server.served[-1].aborted and time.monotonic() < ends:
        time.sleep(0.01)
    assert server.served[-1].aborted


def test_abort_before_the_first_turn(server: OpenAIServer, host: EngineClient) -> None:
    server.behaviour = Behaviour(ttft_s=1.0)
    generations = [host.submit(messages=TURNS) for _ in range(20)]
    for generation in generations:
        generation.abort()
    assert {generation.result(5.0).reason for generation in generations} == {"abort"}


def test_many_at_once(server: OpenAIServer, host: EngineClient) -> None:
    answers = [host.submit(messages=TURNS, sampling=Sampling(max_tokens=5)) for _ in range(100)]
    assert {answer.result(20.0).text for answer in answers} == {text_of(5)}


def test_stats_are_those_of_the_server(server: OpenAIServer, host: EngineClient) -> None:
    server.behaviour = Behaviour(ttft_s=0, itl_s=0.02)
    host.set_stats_interval(0.25)
    seen = threading.Event()
    host.on_stats = lambda stats: seen.set() if stats.requests_active == 2 else None
    both = [host.submit(messages=TURNS, sampling=Sampling(max_tokens=60)) for _ in range(2)]
    try:
        assert seen.wait(5.0)
    finally:
        host.on_stats = None
        for one in both:
            one.abort()


def test_counting_is_not_reported_where_the_server_does_not_count(host: EngineClient) -> None:
    counted = host.count(prompt="a b c").result(5.0)
    assert (counted.tokens, counted.limit, counted.problem) == (None, 8191, "")
