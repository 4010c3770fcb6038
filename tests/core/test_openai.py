"""What servers send, as they send it: vLLM, OpenAI, llama.cpp, trtllm-serve, and what is broken."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.endpoint import dialect_of
from workbench.core.messages import ChatTurn, Sampling, Usage
from workbench.core.openai import (
    MAX_EVENT_BYTES,
    EventReader,
    MalformedEventError,
    TokenCounter,
    apportion,
    error_body_words,
    finish_reason,
    left_out,
    read_event,
    request_body,
)

STREAM = (
    ': keep-alive\n\ndata: {"a":"für 東京"}\n\nevent: x\nid: 7\ndata: one\ndata: two\n\n'
    "\n\nretry: 10\n\ndata:tight\n\ndata: [DONE]\n\ndata: late\n\n"
).encode()
EVENTS = ['{"a":"für 東京"}'.encode(), b"one\ntwo", b"tight"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_are_the_same_wherever_the_stream_is_cut(cuts: list[int], end: bytes) -> None:
    data = STREAM.replace(b"\n", end)
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    reader, found = EventReader(), []
    for first, last in itertools.pairwise(places):
        found += reader.feed(data[first:last])
    assert found == EVENTS
    assert reader.done
    assert reader.feed(b"data: more\n\n") == []


def test_every_byte_by_itself() -> None:
    reader = EventReader()
    found = [event for byte in STREAM.replace(b"\n", b"\r\n") for event in reader.feed(bytes([byte]))]
    assert found == EVENTS


def test_a_stream_that_ends_without_an_empty_line_keeps_its_last_event() -> None:
    reader = EventReader()
    assert reader.feed(b"data: one\n\ndata: two\r\n") == [b"one"]
    assert reader.end() == [b"two"]
    assert reader.end() == []
    assert not reader.done
    last = EventReader()
    assert last.feed(b"data: [DONE]") == [] and last.end() == []
    assert last.done


def test_an_endless_event_is_dropped_and_the_next_one_is_read() -> None:
    reader = EventReader()
    assert reader.feed(b"data: " + b"x" * (MAX_EVENT_BYTES + 10)) == []
    assert reader.feed(b"y" * 100 + b"\n") == []
    assert reader.feed(b"\ndata: well\n\n") == [b"well"]
    assert reader.too_long == 1


def test_chat_events() -> None:
    head = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    role = read_event(head + '"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}')
    assert not role.says and role.model == "m"
    said = read_event(head + '"choices":[{"index":0,"delta":{"content":" a b"},"token_ids":[5,6]}],"usage":null}')
    assert (said.text, said.ids, said.says) == (" a b", (5, 6), True)
    entry = '{"token":"a","logprob":-0.25,"bytes":[97],"top_logprobs":[]}'
    logged = read_event(
        head + f'"choices":[{{"delta":{{"content":"aa"}},"logprobs":{{"content":[{entry},{entry}]}}}}]}}'
    )
    assert (logged.logprobs, logged.logprob_tokens) == ((-0.25, -0.25), 2)
    thought = read_event(head + '"choices":[{"delta":{"reasoning_content":"hm"}}]}')
    assert (thought.text, thought.thought, thought.says) == ("", "hm", True)
    last = read_event(head + '"choices":[{"delta":{},"finish_reason":"length"}]}')
    assert (last.finish, last.says) == ("length", False)
    usage = '"usage":{"prompt_tokens":9,"completion_tokens":4,"prompt_tokens_details":{"cached_tokens":8}}'
    end = read_event(head + '"choices":[],' + usage + "}")
    assert (end.usage, end.cached_tokens) == (Usage(input_tokens=9, output_tokens=4), 8)


def test_completion_events_and_whole_answers() -> None:
    streamed = read_event('{"choices":[{"text":" x","logprobs":{"tokens":[" x"],"token_logprobs":[null]}}]}')
    assert (streamed.text, streamed.logprobs, streamed.logprob_tokens) == (" x", None, 1)
    whole = read_event('{"choices":[{"message":{"role":"assistant","content":"all"},"finish_reason":"stop"}]}')
    assert (whole.text, whole.finish) == ("all", "stop")


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "{",
        "17",
        "[]",
        '"text"',
        "{}",
        '{"choices":17}',
        '{"choices":[17]}',
        '{"choices":[{"delta":[1]}]}',
        "[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_malformed_events_are_said_to_be_so(payload: str | bytes) -> None:
    with pytest.raises(MalformedEventError) as caught:
        read_event(payload)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ('{"error":{"message":"out of memory","type":"server_error","code":500}}', "out of memory"),
        ('{"object":"error","message":"too long","code":400}', "too long"),
        ('{"error":"plain"}', "plain"),
        ('{"error":{"code":1}}', "an error without words"),
    ],
)
def test_errors_that_come_as_events(payload: str, words: str) -> None:
    assert read_event(payload).error == words


def test_wrong_fields_are_not_believed() -> None:
    odd = read_event('{"choices":[{"delta":{"content":5},"token_ids":["a"],"finish_reason":1}],"usage":{"x":1}}')
    assert (odd.text, odd.ids, odd.finish, odd.usage) == ("", (), "", None)
    assert read_event('{"choices":[],"usage":{"prompt_tokens":true,"completion_tokens":1}}').usage is None
    assert read_event('{"choices":[],"usage":{"prompt_tokens":3}}').usage == Usage(input_tokens=3, output_tokens=0)


def test_bodies_hold_what_the_server_takes_by_its_own_names() -> None:
    sampling = Sampling(max_tokens=7, top_k=4, repetition_penalty=1.1, ignore_eos=True, logprobs=True, stop=("x",))
    turns = [ChatTurn(role="user", content="hi")]
    vllm = request_body("chat", "m", sampling, dialect_of("vllm"), messages=turns)
    assert vllm["messages"] == [{"role": "user", "content": "hi"}]
    assert (vllm["top_k"], vllm["ignore_eos"], vllm["logprobs"], vllm["return_token_ids"]) == (4, True, True, True)
    assert vllm["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    llamacpp = request_body("completions", "m", sampling, dialect_of("llamacpp"), prompt="hi")
    assert (llamacpp["repeat_penalty"], llamacpp["logprobs"], llamacpp["prompt"]) == (1.1, 1, "hi")
    assert "repetition_penalty" not in llamacpp and "return_token_ids" not in llamacpp
    plain = request_body("completions", "m", sampling, dialect_of("other"), ids=[1, 2], stream=False)
    assert plain["prompt"] == [1, 2]
    assert not {"top_k", "ignore_eos", "stream", "stream_options"} & set(plain)
    assert left_out(sampling, dialect_of("other")) == ("top_k", "repetition_penalty", "ignore_eos")
    assert left_out(sampling, dialect_of("vllm")) == ()


def test_openai_renamed_the_limit_for_chat_alone() -> None:
    dialect = dialect_of("openai")
    chat = request_body("chat", "m", Sampling(max_tokens=5), dialect, messages=[ChatTurn(role="user", content="x")])
    assert chat["max_completion_tokens"] == 5 and "max_tokens" not in chat
    plain = request_body("completions", "m", Sampling(max_tokens=5), dialect, prompt="x")
    assert plain["max_tokens"] == 5 and "max_completion_tokens" not in plain


@pytest.mark.parametrize(
    ("api", "given"),
    [
        ("chat", {"prompt": "x"}),
        ("completions", {"messages": [ChatTurn(role="user", content="x")]}),
        ("completions", {}),
        ("completions", {"prompt": "x", "ids": [1]}),
    ],
)
def test_the_wrong_kind_of_prompt_is_refused(api: str, given: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        request_body(api, "m", Sampling(), dialect_of("vllm"), **given)  # type: ignore[arg-type]


def _event(text: str = "", *, ids: list[int] | None = None, made: int | None = None, finish: str = "") -> str:
    choice = {"delta": {"content": text}, "token_ids": ids, "finish_reason": finish or None}
    usage = None if made is None else {"prompt_tokens": 3, "completion_tokens": made}
    return json.dumps({"choices": [choice], "usage": usage})


def _counted(*events: str) -> TokenCounter:
    counter = TokenCounter()
    for event in events:
        counter.take(read_event(event))
    return counter


END = '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7}}'


def test_tokens_are_counted_by_ids_first() -> None:
    counter = _counted(_event(), _event("a", ids=[1]), _event("bc", ids=[2, 3]), _event("", ids=[4], finish="stop"))
    assert (counter.counts, counter.exact, counter.source) == ([1, 2, 1], True, "engine ids")


def test_tokens_are_counted_by_usage_that_comes_with_every_event() -> None:
    # Two tokens with no text of their own, as within a character, and an end token.
    counter = _counted(
        _event(made=0), _event("a", made=1), _event("b", made=4), _event(made=5, finish="stop"), END.replace("7", "5")
    )
    assert (counter.counts, counter.exact, counter.source) == ([1, 3, 1], True, "server usage")
    assert counter.settle() == [1, 3, 1]


def test_tokens_that_only_the_end_counts_are_put_right_there() -> None:
    counter = _counted(_event("abc"), _event("d"), _event("efgh", finish="stop"))
    assert (counter.counts, counter.exact, counter.source) == ([1, 1, 1], False, None)
    assert counter.settle() == [1, 1, 1]
    counter.take(read_event(END))
    assert counter.source == "server usage"
    assert sum(counter.settle()) == 7 and len(counter.counts) == 3 and min(counter.counts) >= 1


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 200))
def test_apportioned_tokens_sum_up(weights: list[int], total: int) -> None:
    counts = apportion(weights, total)
    assert len(counts) == len(weights)
    assert sum(counts) == (total if weights else 0)
    assert all(count >= (1 if total >= len(weights) else 0) for count in counts)
    if weights and total:
        assert counts[0] >= 1  # the first response did carry a token: TTFT hangs on it


def test_finish_words() -> None:
    assert finish_reason("stop") == "stop"
    assert finish_reason("length") == "length"
    assert finish_reason("abort") == "abort"
    assert finish_reason("tool_calls") == "stop"
    assert finish_reason("", 5, 5) == "length"
    assert finish_reason("", 5, 4) == "stop"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error":{"message":"no\\n such  key","type":"t"}}', "no such key"),
        (b'{"detail":[{"loc":["body","top_k"],"msg":"not an int"}]}', "top_k: not an int"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b'{"object":"error","message":"m"}', "m"),
        (b'{"error":{"code":5}}', '{"error":{"code":5}}'),
        (b"<html><head><title>502 Bad Gateway</title></head>", "502 Bad Gateway"),
        (b"<!DOCTYPE html><p>", "an HTML page"),
        (b"plain\x00words", "plain words"),
        (b"", ""),
        (b"\xff\xff", "\ufffd\ufffd"),
    ],
)
def test_error_bodies_in_words(body: bytes, words: str) -> None:
    assert error_body_words(body) == words
