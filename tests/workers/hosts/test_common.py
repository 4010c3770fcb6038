"""What every engine host shares, without an engine."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.messages import ChatTurn, Count, Finished, Generate, Sampling, Tokens, parse_message
from workbench.workers.hosts.common import (
    Limits,
    Outbox,
    Request,
    RequestError,
    StatsTimer,
    capped_max_tokens,
    counted,
    prompt_ids,
    resident_bytes,
    tokens_line,
)
from workbench.workers.hosts.text import ByteLevelDetokenizer, ChatTemplate, StopFinder
from workbench.workers.protocol import Channel

LIMITS = Limits(max_seq_len=100, kv_tokens=64, vocabulary=50)
PIECES = [bytes([byte]) for byte in range(256)]
TEMPLATE = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}", {})


def request(name: str = "r", **sampling: Any) -> Request:
    chosen = Sampling(**sampling)
    return Request(
        name=name,
        prompt_ids=[1, 2, 3],
        sampling=chosen,
        config=None,
        detokenizer=ByteLevelDetokenizer(PIECES),
        stops=StopFinder(chosen.stop),
        received_s=1.0,
    )


@given(
    st.text(max_size=40),
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40),
    st.lists(st.integers(0, 2**31), max_size=5),
    st.none() | st.lists(st.floats(-1e4, 0), max_size=5),
)
def test_lines_made_by_hand_are_what_the_schema_says(
    name: str, text: str, ids: list[int], logprobs: list[float] | None
) -> None:
    line = tokens_line(request(name), text, ids, logprobs, 12.5)
    assert line.endswith("\n") and line.count("\n") == 1
    assert parse_message(line) == Tokens(t=12.5, request=name, text=text, ids=ids, logprobs=logprobs)


def sent_by(fill: Any) -> list[Any]:
    """Messages that an outbox wrote."""
    out = io.BytesIO()
    outbox = Outbox(Channel(out, iter(())))
    fill(outbox)
    outbox.send()
    return [parse_message(line) for line in out.getvalue().splitlines()]


def test_an_answer_goes_out_with_its_end_after_it() -> None:
    one = request()

    def fill(outbox: Outbox) -> None:
        assert not outbox.tokens(one, list("hé".encode()), None, last=False)
        assert not outbox.tokens(one, [0xC3], None, last=True)
        outbox.finished(one, "length", timings={"ttft_ms": 2.0})
        outbox.refused("other", "no")

    first, second, end, refused = sent_by(fill)
    assert (first.text, first.ids) == ("hé", [104, 195, 169])
    assert (second.text, second.ids) == ("\ufffd", [195])
    assert isinstance(end, Finished) and end.reason == "length"
    assert end.usage is not None and (end.usage.input_tokens, end.usage.output_tokens) == (3, 4)
    assert {"ttft_ms", "host_ttft_ms", "host_latency_ms"} == set(end.timings), "no queue: no engine"
    assert (refused.request, refused.reason, refused.message) == ("other", "error", "no")


def test_a_stop_string_over_several_tokens_is_left_out_and_told() -> None:
    one = request(stop=("END",))

    def fill(outbox: Outbox) -> None:
        assert not outbox.tokens(one, list(b"a E"), None, last=False)
        assert outbox.tokens(one, list(b"ND b"), None, last=False)

    first, second = sent_by(fill)
    assert first.text == "a "
    assert (second.text, len(second.ids)) == ("", 4)


def encode(text: str, special: bool) -> list[int]:
    return [1] * special + [2] * len(text)


def ask(**fields: Any) -> list[int]:
    return prompt_ids(Generate(request="r", **fields), TEMPLATE, encode, LIMITS)


def test_special_tokens_are_added_to_prompts_and_not_to_conversations() -> None:
    assert ask(prompt="ab") == [1, 2, 2]
    assert ask(messages=(ChatTurn(role="user", content="ab"),)) == [2, 2]
    assert ask(ids=(3, 4)) == [3, 4]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "exactly one"),
        ({"prompt": "a", "ids": (1,)}, "prompt and ids"),
        ({"prompt": "a\0b"}, "NUL byte at character 1"),
        ({"messages": (ChatTurn(role="user", content=""),)}, "empty"),
        ({"messages": ()}, "conversation is empty"),
        ({"ids": ()}, "empty"),
        ({"ids": (1, 50)}, "token id 50 is not in the vocabulary of 50"),
        ({"ids": (-1,)}, "token id -1"),
        ({"ids": (1,) * 64}, "64 tokens and the KV pool holds 64"),
        ({"ids": (1,) * 100}, "100 tokens and the engine's longest sequence is 100"),
    ],
)
def test_bad_requests_are_refused_with_the_counts(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        ask(**fields)


def test_without_chunked_prefill_a_prompt_fits_one_iteration() -> None:
    limits = Limits(max_seq_len=100, kv_tokens=None, vocabulary=None, prompt_batch=10)
    with pytest.raises(RequestError, match="11 tokens and an iteration takes 10"):
        prompt_ids(Generate(request="r", ids=(1,) * 11), None, encode, limits)


def test_without_a_template_conversations_are_refused() -> None:
    command = Generate(request="r", messages=(ChatTurn(role="user", content="x"),))
    with pytest.raises(RequestError, match="no chat template"):
        prompt_ids(command, None, encode, LIMITS)


def test_an_answer_gets_what_room_there_is() -> None:
    assert capped_max_tokens(10, 50, LIMITS) == 10
    assert capped_max_tokens(1000, 50, LIMITS) == 14
    assert capped_max_tokens(1000, 50, Limits(max_seq_len=100, kv_tokens=None, vocabulary=None)) == 50


def test_the_timer_keeps_its_interval_and_can_be_off() -> None:
    timer = StatsTimer(60)
    assert timer.due() and not timer.due()
    timer.set(0)
    assert not timer.due() and not timer.on
    timer.set(1e-9)
    assert timer.due()


def test_memory_is_reported_on_linux() -> None:
    resident = resident_bytes()
    assert resident is not None and resident > 2**20


def test_json_of_a_hostile_name_stays_one_line() -> None:
    line = tokens_line(request('a"\n\\'), "x\u2028y", [1], None, 0.0)
    assert json.loads(line)["request"] == 'a"\n\\'


def test_a_count_tells_what_generate_would_do_with_the_prompt() -> None:
    def count(template: ChatTemplate | None = TEMPLATE, **fields: Any) -> tuple[int | None, int | None, str]:
        answer = counted(Count(request="c", **fields), template, encode, LIMITS)
        assert answer.request == "c"
        return answer.tokens, answer.limit, answer.problem

    assert count(prompt="abc") == (4, 63, ""), "the KV pool is the shorter limit"
    assert count(messages=(ChatTurn(role="user", content="abc"),)) == (3, 63, "")
    tokens, _, problem = count(prompt="x" * 70)
    assert tokens == 71 and "71 tokens" in problem and "KV pool holds 64" in problem
    assert count(messages=(ChatTurn(role="user", content=""),))[2].startswith("the prompt is empty")
    assert "NUL byte at character 1" in count(prompt="a\0b")[2]
    assert "no chat template" in count(None, messages=(ChatTurn(role="user", content="a"),))[2]
    raises = ChatTemplate("{{ raise_exception('roles must alternate') }}", {})
    assert "roles must alternate" in count(raises, messages=(ChatTurn(role="user", content="a"),))[2]
