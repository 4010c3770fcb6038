"""Answers held against each other: by token where ids mean the same, else by word; where they part, what is shared."""

from __future__ import annotations

import math

import pytest

from tests.fakes.comparisons import answer
from workbench.core.answer import AnswerRecord, Piece
from workbench.core.measure.answer_diff import AnswerDiff, answer_diff


def held(base: list[str], mine: list[str], *, same: bool = True) -> AnswerDiff:
    return answer_diff(answer(base), answer(mine), same_tokenizer=same)


def text_of(diff: AnswerDiff) -> str:
    return "".join(span.text for span in diff.spans)


def record(*pieces: Piece) -> AnswerRecord:
    return AnswerRecord(reason="stop", pieces=pieces)


def test_equal_answers_are_one_span_and_share_all() -> None:
    found = held(["a", "b", "c"], ["a", "b", "c"])
    assert found.identical
    assert found.unit == "token"
    assert found.shared == 1.0
    assert found.marks == (False, False, False)
    assert [span.text for span in found.spans] == ["a b c"]
    assert found.choice is None
    assert found.baseline_choice is None


def test_one_word_otherwise_is_framed_alone_and_the_rest_is_shared() -> None:
    found = held(["the", "gas", "gets", "hot", "now"], ["the", "gas", "turns", "hot", "now"])
    assert (found.first, found.total, found.baseline_total) == (2, 5, 5)
    assert found.shared == pytest.approx(0.8)
    assert [(span.text, span.differs, span.first) for span in found.spans] == [
        ("the gas", False, False),
        (" turns", True, True),
        (" hot now", False, False),
    ]
    assert found.baseline_choice is not None
    assert found.choice is not None
    assert (found.baseline_choice.text, found.choice.text) == (" gets", " turns")


def test_what_is_left_out_is_marked_before_what_follows_it() -> None:
    found = held(["a", "b", "c", "d"], ["a", "d"])
    assert found.first == 1
    assert found.marks == (False, False)
    assert [(span.text, span.left_out) for span in found.spans] == [("a", False), (" d", True)]
    assert found.shared == 0.5


def test_an_answer_that_ends_early_parts_where_it_ends() -> None:
    found = held(["a", "b", "c"], ["a", "b"])
    assert (found.first, found.total) == (2, 2)
    assert found.choice is None, "it had ended"
    assert found.baseline_choice is not None
    assert found.spans[-1].left_out


def test_one_that_goes_on_has_only_its_tail_tinted() -> None:
    found = held(["a", "b"], ["a", "b", "c", "d"])
    assert (found.first, found.baseline_choice) == (2, None)
    assert found.marks == (False, False, True, True)


@pytest.mark.parametrize(("base", "mine"), [([], []), ([], ["a"]), (["a"], [])])
def test_empty_answers(base: list[str], mine: list[str]) -> None:
    found = held(base, mine)
    assert found.identical == (base == mine)
    assert found.shared == (1.0 if base == mine else 0.0)
    assert found.first == (None if base == mine else 0)


def test_probabilities_are_those_at_the_first_difference() -> None:
    base, mine = answer(["a", "b"], logprob=math.log(0.6)), answer(["a", "c"], logprob=math.log(0.25))
    found = answer_diff(base, mine, same_tokenizer=True)
    assert found.baseline_choice is not None
    assert found.choice is not None
    assert found.baseline_choice.probability == pytest.approx(0.6)
    assert found.choice.probability == pytest.approx(0.25)
    silent = answer_diff(answer(["a", "b"], logprob=None), answer(["a", "c"], logprob=None), same_tokenizer=True)
    assert silent.choice is not None
    assert silent.choice.probability is None, "not reported is not 0"


def test_other_tokenizers_are_compared_by_word() -> None:
    found = held(["a", "b", "c"], ["a", "x", "c"], same=False)
    assert found.unit == "word"
    assert (found.first, found.total) == (1, 3)
    assert text_of(found) == "a x c"
    assert found.choice is not None
    assert found.choice.probability is None


def test_without_ids_words_are_compared_even_of_one_tokenizer() -> None:
    base = record(Piece(0.1, 2, "one two"), Piece(0.2, 1, " three"))
    mine = record(Piece(0.1, 1, "one"), Piece(0.2, 2, " two three\n"))
    found = answer_diff(base, mine, same_tokenizer=True)
    assert found.unit == "word"
    assert text_of(found) == "one two three\n"
    assert found.first is None or found.first >= 3, "only the end of the line is more"


def test_several_tokens_in_one_piece_are_tinted_together_and_counted_each() -> None:
    base = record(Piece(0.1, 2, "ab", (1, 2)), Piece(0.2, 1, "c", (3,)))
    mine = record(Piece(0.1, 2, "aX", (1, 9)), Piece(0.2, 1, "c", (3,)))
    found = answer_diff(base, mine, same_tokenizer=True)
    assert (found.first, found.marks) == (1, (False, True, False))
    assert [(span.text, span.differs) for span in found.spans] == [("aX", True), ("c", False)]
    assert found.shared == pytest.approx(2 / 3)


def test_equal_texts_of_other_ids_differ() -> None:
    base = record(Piece(0.1, 1, "same", (1,)))
    found = answer_diff(base, record(Piece(0.1, 1, "same", (2,))), same_tokenizer=True)
    assert found.first == 0


def test_text_behind_its_token_belongs_to_it() -> None:
    """A letter of several bytes comes once its last token has."""
    base = record(Piece(0.1, 1, "a", (1,)), Piece(0.2, 1, "", (2,)), Piece(0.3, 0, "\u00e9"))
    found = answer_diff(base, base, same_tokenizer=True)
    assert found.identical
    assert text_of(found) == "a\u00e9"
    assert found.total == 2
