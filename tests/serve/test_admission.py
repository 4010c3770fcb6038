"""The queue before the engine, rolling figures, and requests of any shape."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.serving import ServeLimits
from workbench.serve.admission import Admission, QueueFullError
from workbench.serve.metrics import Meter
from workbench.serve.openai_api import ApiError, parse_request
from workbench.serve.rolling import Rate, Rolling


def test_seats_go_in_order_of_arrival() -> None:
    async def play() -> list[int]:
        admission = Admission(ServeLimits(active=2, queue=10))
        order: list[int] = []

        async def one(number: int) -> None:
            await admission.enter()
            order.append(number)
            await asyncio.sleep(0)
            assert admission.active <= 2
            admission.leave()

        await asyncio.gather(*(one(number) for number in range(12)))
        assert (admission.active, admission.queued) == (0, 0)
        return order

    assert asyncio.run(play()) == list(range(12))


def test_one_that_leaves_the_queue_takes_no_seat_with_it() -> None:
    async def play() -> None:
        admission = Admission(ServeLimits(active=1, queue=3))
        await admission.enter()
        waiting = [asyncio.ensure_future(admission.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError):
            await admission.enter()
        waiting[0].cancel()
        await asyncio.sleep(0)
        assert admission.queued == 2
        # It is given the seat and goes away in the same turn of the loop.
        admission.leave()
        waiting[1].cancel()
        await asyncio.gather(*waiting[:2], return_exceptions=True)
        await asyncio.wait_for(waiting[2], 1)
        admission.leave()
        assert (admission.active, admission.queued) == (0, 0)

    asyncio.run(play())


def test_emptying_the_queue_tells_everybody() -> None:
    async def play() -> None:
        admission = Admission(ServeLimits(active=1, queue=3))
        await admission.enter()
        waiting = [asyncio.ensure_future(admission.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        admission.send_all_away("it ends")
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(each) for each in found] == ["it ends"] * 3
        assert (admission.active, admission.queued) == (1, 0)

    asyncio.run(play())


def test_percentiles_are_of_the_window_alone() -> None:
    rolling = Rolling(window_s=10, most=1000)
    assert rolling.percentiles(0.0).p50 is None
    for number in range(50):
        rolling.add(1000.0, at_s=0.0)
        rolling.add(float(number), at_s=20.0)
    found = rolling.percentiles(25.0)
    assert (found.n, found.p50, found.p99) == (50, 24.5, None)
    for number in range(2000):  # more than are kept
        rolling.add(float(number % 100), at_s=26.0)
    found = rolling.percentiles(26.0)
    assert (found.n, found.p50) == (1000, 49.5)
    assert found.p99 == pytest.approx(98.01, abs=0.1)


def test_a_speed_is_over_the_last_seconds() -> None:
    rate = Rate(5.0)
    now = rate._began_s
    assert rate.per_s(now + 0.5) is None
    for tenth in range(100):
        rate.add(7, at_s=now + tenth / 10)
    assert rate.per_s(now + 10) == pytest.approx(70, rel=0.03)
    assert rate.per_s(now + 30) == 0


def test_answers_in_one_piece_have_a_speed_too() -> None:
    meter = Meter("m")
    meter._token_rate._began_s -= 10
    for seconds, tokens in ((10.0, 1000), (2.0, 100)):
        timed = meter.begin(time.monotonic() - seconds)
        meter.took_seat(timed, 0.0)
        meter.settle(timed, 5, tokens)
    reading = meter.reading(0.0, active=0, queued=0, connections=0, kv_share=None)
    assert reading.output_tokens == 1100
    assert reading.output_tok_s == pytest.approx((500 + 100) / 5, rel=0.02)


def test_a_count_that_is_looked_at_once_a_second_gives_its_speed() -> None:
    rate = Rate(5.0)
    now = rate._began_s
    for second in range(20):
        rate.add_since(100, now + second, now + second + 1)
        if second >= 1:
            for late in (0.0, 0.01, 0.02):
                assert rate.per_s(now + second + 1 + late) == pytest.approx(100, rel=0.02)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = (
    "prompt messages max_tokens max_completion_tokens temperature top_p top_k min_p repetition_penalty seed stop n "
    "best_of stream stream_options logprobs top_logprobs echo response_format tools logit_bias presence_penalty"
)
FIELDS = st.sampled_from(NAMES.split())
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "tool"]), "content": st.text(max_size=3) | JSON}
)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(["chat", "completions"]), body=st.dictionaries(FIELDS, JSON), turns=st.lists(TURN))
def test_any_body_is_a_request_or_is_refused_in_words(kind: Any, body: dict[str, Any], turns: list[Any]) -> None:
    body = {"messages": turns, "prompt": "x", **body}
    try:
        asked = parse_request(kind, body, max_seq_len=100, takes=None)
    except ApiError as error:
        assert error.status == 400 and error.message and b'"error"' in error.body
    else:
        assert 1 <= asked.sampling.max_tokens <= 100
        assert (asked.messages is None) == (kind == "completions")
