"""Workloads: lengths are hit, the same comes out again, and no prompt lies in the cache of another."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from workbench.bench.prompts_made import Drawn, shipped_texts, tolerance
from workbench.bench.workloads import make_prompts
from workbench.core.measure.workload import WORKLOADS, Lengths, Workload, fixed

TEMPLATE = 31
_PIECE = re.compile(r"\s?\w{1,5}|\s?[^\w\s]|\n")


def pieces(text: str) -> list[str]:
    """A stand-in for a tokenizer: words in pieces of five letters, signs apart, so that tokens and words differ."""
    return _PIECE.findall(text)


def count(text: str) -> int:
    return TEMPLATE + len(pieces(text))


def _texts(workload: Workload) -> list[str]:
    return [ask.messages[0].content if ask.messages else ask.text or "" for ask in make_prompts(workload, count).asks]


def _shared(one: str, other: str) -> int:
    pairs = zip(pieces(one), pieces(other), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


@pytest.mark.parametrize("name", sorted(WORKLOADS))
def test_shipped_workloads_have_their_lengths(name: str) -> None:
    workload = WORKLOADS[name].model_copy(update={"prompts": 25})
    made = make_prompts(workload, count)
    wanted = int(workload.input.mean or 0)
    for ask, told in zip(made.asks, made.input_tokens, strict=True):
        assert ask.messages and len(ask.messages) == 1 and ask.text is None
        assert count(ask.messages[0].content) == told
        assert abs(told - wanted) <= tolerance(wanted)
        assert ask.ignore_eos and ask.max_tokens == workload.output.mean and ask.seed is None
    assert made.notes == () and len({ask.messages for ask in made.asks}) == 25


def test_the_same_seed_makes_the_same_and_another_does_not() -> None:
    workload = Workload(prompts=8, output=Lengths(kind="uniform", low=10, high=90))
    one, again = make_prompts(workload, count), make_prompts(workload, count)
    assert one.asks == again.asks and one.sha256 == again.sha256
    other = make_prompts(workload.model_copy(update={"seed": 5}), count)
    assert other.sha256 != one.sha256
    longer = make_prompts(workload.model_copy(update={"output": fixed(99)}), count)
    assert [ask.messages for ask in longer.asks] == [ask.messages for ask in one.asks]
    assert longer.sha256 != one.sha256


@pytest.mark.parametrize("kind", ["chat", "rag", "summarise", "code"])
def test_no_prompt_begins_as_another_does(kind: str) -> None:
    texts = _texts(Workload(kind=kind, input=fixed(300), prompts=30))  # type: ignore[arg-type]
    assert max(_shared(one, other) for one, other in itertools.combinations(texts, 2)) < 10


def test_shared_prefixes_are_shared_within_a_group_alone() -> None:
    workload = Workload(kind="rag", input=fixed(400), shared_prefix_tokens=200, prefix_groups=3, prompts=12)
    texts = _texts(workload)
    for (i, one), (j, other) in itertools.combinations(enumerate(texts), 2):
        # The template's own tokens stand before the text and are shared by all.
        shared = _shared(one, other)
        assert (200 <= shared < 212) if i % 3 == j % 3 else shared < 10
    assert all(abs(count(text) - 400) <= tolerance(400) for text in texts)


def test_a_prompt_that_is_too_short_for_what_it_needs_is_said() -> None:
    made = make_prompts(Workload(input=fixed(20), prompts=3), count)
    assert all(told is not None and TEMPLATE < told <= TEMPLATE + 6 for told in made.input_tokens)
    assert len(made.notes) == 1 and "3 of 3 prompts" in made.notes[0] and "of 20" in made.notes[0]
    tight = make_prompts(Workload(input=fixed(40), prompts=10), count)
    assert tight.notes == ()


def test_without_a_counter_lengths_are_by_characters_and_said() -> None:
    for counter in (None, lambda _: None):
        made = make_prompts(Workload(input=fixed(500), prompts=5), counter)
        assert made.input_tokens == (None,) * 5 and "could not be counted" in made.notes[0]
        lengths = [len(ask.messages[0].content) for ask in made.asks if ask.messages]
        assert all(1900 < length < 2300 for length in lengths)


def test_prompts_are_asked_again_from_the_first_on_and_that_is_said() -> None:
    made = make_prompts(Workload(prompts=4), count)
    assert made(4) == made(0) and made(7) == made(3) and len(made) == 4
    assert made.note_for(4) == "" and "4 different prompts" in made.note_for(5)


def test_plain_text_and_sampling() -> None:
    made = make_prompts(Workload(prompts=2, chat=False, fixed_output=False, temperature=0.7, seed=9), count)
    first, second = made.asks
    assert first.messages is None and first.text and not first.ignore_eos
    assert (first.temperature, first.seed, second.seed) == (0.7, 9, 10)


def test_lengths_follow_their_distribution() -> None:
    def drawn(**fields: object) -> list[int]:
        draw = Drawn(Lengths.model_validate(fields), "seed")
        return [draw() for _ in range(4000)]

    uniform = drawn(kind="uniform", low=10, high=20)
    assert set(uniform) == set(range(10, 21))
    normal = drawn(kind="normal", mean=100, stdev=10, low=80, high=110)
    assert min(normal) == 80 and max(normal) == 110 and 96 < sum(normal) / 4000 < 101
    log = drawn(kind="lognormal", mean=500, stdev=300)
    mean = sum(log) / 4000
    assert 480 < mean < 520
    assert 260 < (sum((each - mean) ** 2 for each in log) / 4000) ** 0.5 < 350
    assert set(drawn(kind="values", values=(3, 7))) == {3, 7}
    assert set(drawn(kind="fixed", mean=64)) == {64}


def test_the_text_that_ships_is_whole() -> None:
    texts = shipped_texts()
    assert {"passage", "code", "opener", "question", "lookup", "summary", "change"} <= texts.parts.keys()
    every = [text for parts in texts.parts.values() for text in parts]
    assert len(set(every)) == len(every) and all(text == text.strip("\n") and text for text in every)
    assert len(texts.titles) == len(texts.parts["passage"]) >= 30


def test_own_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    rows = [
        {"prompt": "one"},
        "two",
        {"text": "three", "output_length": 7},
        {"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "four"}]},
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    made = make_prompts(Workload(kind="file", file=str(path), output=fixed(32)))
    assert [ask.max_tokens for ask in made.asks] == [32, 32, 7, 32]
    assert [len(ask.messages or ()) for ask in made.asks] == [1, 1, 1, 2]
    assert made(5) == made(1) and made.notes == ()
    plain = make_prompts(Workload(kind="file", file=str(path), chat=False))
    assert plain.asks[0].text == "one" and plain.asks[3].messages is not None
