"""Scoring over a bigram model whose probabilities are known, so that every figure can be computed by hand."""

from __future__ import annotations

import io
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.core.measure.quality_figures import agreement, kl_nats, perplexity
from workbench.core.measure.scores import (
    DIFFERENT_TOKENIZER,
    LOGPROBS_FILE,
    ChoiceItem,
    GenerationItem,
    Questions,
    Scores,
    Sequences,
    TaskQuestions,
    Text,
)
from workbench.workers.protocol import Channel
from workbench.workers.scoring.model import SteppedModel, chunk_positions
from workbench.workers.scoring.score import Scoring

LETTERS = "abcdefgh"
END = len(LETTERS)


class Bigram(SteppedModel):
    """The next letter depends on the last one alone: a row of `table` of logits; a token is a letter."""

    vocabulary: int | None = END + 1
    end_ids = frozenset([END])

    def __init__(self, table: Any) -> None:
        self.table = np.asarray(table, dtype=np.float32)
        self.settings: dict[str, str] = {}
        self.fed: list[int] = []

    def encode(self, text: str) -> list[int]:
        return [LETTERS.index(letter) for letter in text]

    chat = encode

    def decode(self, ids: Sequence[int]) -> str:
        return "".join("." if token == END else LETTERS[token] for token in ids)

    def _begin(self) -> None:
        self.fed = []

    def _feed(self, ids: Sequence[int]) -> Any:
        self.fed += ids
        return self.table[list(ids)]


class Silent(Bigram):
    """Gives tokens and no logits."""

    no_logits = "it gives none"


def table(seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(END + 1, END + 1)).astype(np.float32) * 2


QUESTIONS = Questions(
    passages=(Text(name="one", text="abcabcabdh" * 9), Text(name="two", text="hgfedcba")),
    prompts=(Text(name="p", text="ab"), Text(name="q", text="hhh")),
    answer_tokens=6,
    window_tokens=16,
)


def run(
    model: Any, out: Path, baseline: Path | None = None, tokenizer: str = "t", questions: Any = QUESTIONS
) -> Scores:
    out.mkdir()
    channel = Channel(io.BytesIO(), iter(()))
    known = None
    if baseline is not None:
        known = Sequences.model_validate_json((baseline / "sequences.json").read_text()), baseline
    Scoring(model, questions, known, out, tokenizer, channel).run()
    return Scores.model_validate_json((out / "scores.json").read_text())


def log_p(logits: Any) -> Any:
    return logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=-1, keepdims=True))


def test_perplexity_is_that_of_every_token_but_the_first(tmp_path: Path) -> None:
    logits = table(1)
    scores = run(Bigram(logits), tmp_path / "s")
    wanted, count = 0.0, 0
    for passage in QUESTIONS.passages:
        ids = Bigram(logits).encode(passage.text)
        wanted -= sum(log_p(logits)[a, b] for a, b in itertools.pairwise(ids))
        count += len(ids) - 1
    found = perplexity(scores.passages)
    assert found is not None and found.n == count
    assert found.value == pytest.approx(math.exp(wanted / count), rel=1e-6)
    assert [p.bytes for p in scores.passages] == [89, 7]


def test_the_baseline_agrees_with_itself_and_kl_is_zero(tmp_path: Path) -> None:
    model = Bigram(table(1))
    run(model, tmp_path / "b")
    again = run(model, tmp_path / "v", tmp_path / "b")
    assert agreement(again.prompts).value == 1.0  # type: ignore[union-attr]
    assert kl_nats(again.prompts).value == pytest.approx(0.0, abs=1e-7)  # type: ignore[union-attr]
    assert all(prompt.difference is None for prompt in again.prompts)


def test_agreement_kl_and_the_first_difference_are_those_on_the_baselines_own_tokens(tmp_path: Path) -> None:
    ours, theirs = table(1), table(2)
    run(Bigram(ours), tmp_path / "b")
    scores = run(Bigram(theirs), tmp_path / "v", tmp_path / "b")
    sequences = Sequences.model_validate_json((tmp_path / "b" / "sequences.json").read_text())
    p, q = log_p(ours), log_p(theirs)
    for prompt, result in zip(sequences.prompts, scores.prompts, strict=True):
        before = prompt.ids[prompt.prompt_tokens - 1 : -1]
        assert list(prompt.answer) == [int(ours[token].argmax()) for token in before]
        assert list(result.agreed) == [int(theirs[t].argmax()) == int(ours[t].argmax()) for t in before]
        wanted = [float((np.exp(p[t]) * (p[t] - q[t])).sum()) for t in before]
        assert result.kl_nats == pytest.approx(wanted, abs=1e-5)
        if all(result.agreed):
            assert result.difference is None
            continue
        assert result.difference is not None
        at = result.difference.position
        assert at == result.agreed.index(False)
        assert result.difference.baseline.text == Bigram(ours).decode([int(ours[before[at]].argmax())])
        assert result.difference.variant.probability == pytest.approx(float(np.exp(q[before[at]].max())), abs=1e-5)
    assert any(not all(result.agreed) for result in scores.prompts)


def test_another_tokenizer_has_its_own_perplexity_and_no_agreement(tmp_path: Path) -> None:
    run(Bigram(table(1)), tmp_path / "b")
    scores = run(Bigram(table(1)), tmp_path / "v", tmp_path / "b", tokenizer="other")
    assert scores.not_reported["agreement"] == scores.not_reported["kl_nats"] == DIFFERENT_TOKENIZER
    assert not scores.prompts and perplexity(scores.passages) is not None


def test_a_model_without_logits_is_judged_by_its_tokens(tmp_path: Path) -> None:
    ours, theirs = table(1), table(2)
    run(Bigram(ours), tmp_path / "b")
    scores = run(Silent(theirs), tmp_path / "v", tmp_path / "b")
    full = run(Bigram(theirs), tmp_path / "w", tmp_path / "b")
    assert [p.agreed for p in scores.prompts] == [p.agreed for p in full.prompts]
    assert not scores.passages and scores.not_reported["perplexity"] == "it gives none"
    as_baseline = run(Silent(ours), tmp_path / "sb")
    assert not (tmp_path / "sb" / LOGPROBS_FILE).exists() and as_baseline.prompts[0].kl_nats is None
    against = run(Bigram(theirs), tmp_path / "x", tmp_path / "sb")
    assert against.not_reported["kl_nats"] == "the baseline gives no log-probs"
    assert [p.agreed for p in against.prompts] == [p.agreed for p in full.prompts]


def test_logits_that_are_not_numbers_are_counted_and_stop_nothing(tmp_path: Path) -> None:
    broken = table(2)
    broken[0] = np.nan
    run(Bigram(table(1)), tmp_path / "b")
    scores = run(Bigram(broken), tmp_path / "v", tmp_path / "b")
    assert scores.passages[0].nll is None
    assert json.loads((tmp_path / "v" / "scores.json").read_text())["passages"][0]["nll"] is None
    sequences = Sequences.model_validate_json((tmp_path / "b" / "sequences.json").read_text())
    before = [t for p in sequences.prompts for t in p.ids[p.prompt_tokens - 1 : -1]]
    lost = [kl is None for p in scores.prompts for kl in p.kl_nats or ()]
    assert lost == [token == 0 for token in before]


def test_choices_are_scored_after_their_context(tmp_path: Path) -> None:
    logits = table(3)
    item = ChoiceItem(context="abc", choices=("d", "e", "fg"))
    task = TaskQuestions(
        name="t", choices=(item,), generations=(GenerationItem(prompt="a", stop=("h",), max_tokens=9),)
    )
    scores = run(Bigram(logits), tmp_path / "s", questions=QUESTIONS.model_copy(update={"tasks": (task,)}))
    p = log_p(logits)
    c, d, e, f, g = (LETTERS.index(letter) for letter in "cdefg")
    result = scores.tasks[0].choices[0]
    assert result.logprobs == pytest.approx((p[c, d], p[c, e], p[c, f] + p[f, g]), abs=1e-5)
    assert result.tokens == (1, 1, 2)
    assert "h" not in scores.tasks[0].answers[0] and "." not in scores.tasks[0].answers[0]


def test_logits_are_held_for_a_bounded_number_of_positions() -> None:
    assert chunk_positions(49_152) * 49_152 * 4 <= 64 << 20
    assert chunk_positions(150_000) * 150_000 * 4 <= 64 << 20
    assert chunk_positions(100) == 512


def test_a_prompt_that_does_not_fit_is_left_out_and_said(tmp_path: Path) -> None:
    model = Bigram(table(1))
    model.max_seq_len = 8
    scores = run(model, tmp_path / "s")
    assert [prompt.name for prompt in scores.prompts] == ["p"]
    assert any("prompt q of 3 tokens" in warning for warning in scores.warnings)


def test_a_prompt_that_the_baseline_holds_and_another_does_not_is_left_out_there(tmp_path: Path) -> None:
    questions = QUESTIONS.model_copy(
        update={"prompts": (Text(name="long", text="abcdabcd"), Text(name="q", text="hh"))}
    )
    run(Bigram(table(1)), tmp_path / "b", questions=questions)
    short = Bigram(table(2))
    short.max_seq_len = 9
    scores = run(short, tmp_path / "v", tmp_path / "b", questions=questions)
    whole = run(Bigram(table(2)), tmp_path / "w", tmp_path / "b", questions=questions)
    assert [prompt.name for prompt in scores.prompts] == ["q"] and "prompt long" in scores.warnings[0]
    assert scores.prompts[0] == whole.prompts[1], "the baseline's rows of what is left out are passed over"
    assert (scores.window_tokens, whole.window_tokens) == (9, 16)


def test_the_baselines_log_probabilities_are_a_row_a_token(tmp_path: Path) -> None:
    logits = table(1)
    run(Bigram(logits), tmp_path / "s")
    stored = np.load(tmp_path / "s" / LOGPROBS_FILE, allow_pickle=False)
    sequences = Sequences.model_validate_json((tmp_path / "s" / "sequences.json").read_text())
    before = [token for p in sequences.prompts for token in p.ids[p.prompt_tokens - 1 : -1]]
    assert stored.dtype == np.float32 and stored.shape == (len(before), END + 1)
    assert np.allclose(stored, log_p(logits)[before], atol=1e-5)
