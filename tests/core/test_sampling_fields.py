"""Sampling as a person sets it: what is left out, what is wrong, and that every field is one of the protocol's."""

from __future__ import annotations

import pytest

from workbench.core.messages import Sampling
from workbench.core.sampling_fields import BY_NAME, FIELDS, SamplingError, to_sampling

STARTS = {field.name: int(field.start) if not field.decimals else field.start for field in FIELDS}


def test_every_field_is_one_that_the_protocol_has_and_starts_at_a_value_it_takes() -> None:
    assert set(BY_NAME) <= set(Sampling.model_fields)
    sampling = to_sampling(STARTS)
    assert sampling.temperature == BY_NAME["temperature"].start
    for field in FIELDS:
        assert field.low <= field.start <= field.high
        if field.neutral is not None:
            assert field.low <= field.neutral <= field.high


def test_what_changes_nothing_is_not_sent() -> None:
    sampling = to_sampling({**STARTS, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0})
    assert (sampling.top_p, sampling.top_k, sampling.min_p, sampling.repetition_penalty) == (None, None, None, None)
    sampling = to_sampling({**STARTS, "top_p": 0.5, "top_k": 7})
    assert (sampling.top_p, sampling.top_k) == (0.5, 7)


def test_what_the_engine_does_not_take_is_not_sent() -> None:
    values = {**STARTS, "min_p": 0.1, "top_k": 5, "logprobs": True}
    sampling = to_sampling(values, frozenset(("temperature", "max_tokens", "top_k")))
    assert (sampling.min_p, sampling.top_k, sampling.logprobs) == (None, 5, False)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("temperature", -0.1, "Temperature is from 0 to 10; -0.1 is not."),
        ("temperature", 99.0, "Temperature is from 0 to 10; 99 is not."),
        ("top_p", 1.4, "Top-p is above 0 and at most 1; 1.4 is not."),
        ("top_k", -3, "Top-k is 1 or more, or 0 for off; -3 is not."),
        ("min_p", 2.0, "Min-p is from 0 to 1; 2 is not."),
        ("repetition_penalty", -1.0, "Repetition penalty is above 0; -1 is not."),
        ("max_tokens", 0, "Max tokens is 1 or more; 0 is not."),
        ("seed", "twelve", "Seed cannot be twelve."),
    ],
)
def test_a_value_out_of_range_is_named_with_its_limit(name: str, value: object, words: str) -> None:
    with pytest.raises(SamplingError) as caught:
        to_sampling({**STARTS, name: value})
    assert caught.value.name == name and str(caught.value) == words
