"""Reading streams: the short cut for events that differ in their text alone agrees with full parsing, always."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.bench.stream import Pattern, Stream
from workbench.bench.target import Heard
from workbench.core.openai import MAX_EVENT_BYTES, EventReader, MalformedEventError, TokenCounter, read_event


class Connection:
    status = 200
    content_type = "text/event-stream"

    def end_soon(self) -> None:
        pass

    def abandon(self, why: str) -> None:
        raise AssertionError(why)


def event(text: Any, ascii_only: bool = False, **more: Any) -> bytes:
    whole = {"id": "c-1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return json.dumps(whole | more, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def heard_of(payloads: list[bytes], cuts: int = 0) -> tuple[list[int], Stream]:
    heard = Heard()
    stream = Stream(heard, Connection())
    body = b"".join(b"data: " + payload + b"\n\n" for payload in payloads)
    step = cuts or len(body) or 1
    for number, place in enumerate(range(0, len(body), step)):
        stream.hear(body[place : place + step], float(number))
    stream.end()
    return list(heard.counts), stream


def parsed_of(payloads: list[bytes]) -> tuple[list[int], str, int]:
    counter, finish, malformed = TokenCounter(), "", 0
    events = EventReader()
    for payload in events.feed(b"".join(b"data: " + payload + b"\n\n" for payload in payloads)):
        try:
            delta = read_event(payload)
        except MalformedEventError:
            malformed += 1
            continue
        counter.take(delta)
        finish = delta.finish or finish
    return counter.counts, finish, malformed


TEXT = st.one_of(
    st.sampled_from(["", " a", '"', "\\", "\n", '\\"', "}", '"}', 'x","y":"', " Stück", "\u2028", "é", "\x7f"]),
    st.text(max_size=6).filter(lambda text: text.isprintable() or not text),
)
EVENTS = st.one_of(
    TEXT.map(event),
    TEXT.map(lambda text: event(text, ascii_only=True)),
    st.just(event(None)),
    st.just(event("x", usage={"prompt_tokens": 1, "completion_tokens": 2})),
    st.just(event("", choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])),
    st.just(
        event(" a", choices=[{"index": 0, "delta": {"content": " a"}, "finish_reason": None, "token_ids": [5, 6]}])
    ),
    st.sampled_from([b"{", b"17", b'{"choices": 3}', event("x")[:-1], event("x")[1:], b"[DONE", event("x") + b" "]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, max_size=12), st.integers(0, 40))
def test_the_short_cut_never_changes_what_is_counted(payloads: list[bytes], cuts: int) -> None:
    counts, stream = heard_of(payloads, cuts)
    assert (counts, stream.finish, stream.malformed) == parsed_of(payloads)


def test_the_short_cut_is_taken() -> None:
    pattern = Pattern()
    assert pattern.text_length(event(" one")) == -1
    pattern.learn(event(" one"), read_event(event(" one")))
    assert pattern.text_length(event(" two or so")) == len(" two or so")
    assert pattern.text_length(event("")) == 0
    assert pattern.text_length(event('"')) == -1
    assert pattern.text_length(event("x", id="c-2")) == -1


def test_a_text_that_stands_twice_in_an_event_is_not_mistaken() -> None:
    odd = json.dumps({"choices": [{"delta": {"content": "m"}, "finish_reason": None}], "model": "m"}).encode()
    pattern = Pattern()
    pattern.learn(odd, read_event(odd))
    assert pattern.text_length(odd) == -1, "the model's name is not the text"


def test_an_event_that_is_too_long_is_passed_over_and_counted() -> None:
    counts, stream = heard_of([event("a"), event("x" * (MAX_EVENT_BYTES + (2 << 20))), event("b")], cuts=1 << 20)
    assert (counts, stream.malformed) == ([1, 1], 1)
