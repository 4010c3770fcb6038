"""The endpoint score worker against servers that echo log-probabilities and servers that do not."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.paths_server import Reply, answering
from tests.workers.conftest import RunWorker, result_of
from workbench.core.endpoint import ENDPOINT_FILE, EndpointSpec
from workbench.core.measure.scores import (
    DIFFERENT_TOKENIZER,
    NO_LOGPROBS,
    ChoiceItem,
    GenerationItem,
    PromptIds,
    Questions,
    Scores,
    Sequences,
    TaskQuestions,
    Text,
)

pytestmark = pytest.mark.slow
QUESTIONS = Questions(
    passages=(Text(name="one", text="abcdé"), Text(name="two", text="eee")),
    tasks=(
        TaskQuestions(name="choices", choices=(ChoiceItem(context="ab", choices=("e", "xy")),)),
        TaskQuestions(name="free", generations=(GenerationItem(prompt="2 + 3 =", stop=("\n",), max_tokens=8),)),
    ),
)
MODELS = Reply(json.dumps({"object": "list", "data": [{"id": "tiny", "object": "model"}]}))


def logprob_of(letter: str) -> float:
    return -1.0 if letter == "e" else -2.0


def completion(body: bytes, *, echoes: bool = True) -> Reply:
    """A model whose tokens are characters and that likes `e` best."""
    asked = json.loads(body)
    if not asked.get("echo"):
        return Reply(json.dumps({"choices": [{"text": " 5\nand more", "finish_reason": "stop"}]}))
    if not echoes:
        return Reply(json.dumps({"error": {"message": "echo is not supported"}}), status=400)
    tokens = [*asked["prompt"], "!"]
    logprobs: dict[str, Any] = {
        "tokens": tokens,
        "token_logprobs": [None, *(logprob_of(token) for token in tokens[1:])],
        "top_logprobs": [None, *({token: logprob_of(token), "e": -1.0} for token in tokens[1:])],
        "text_offset": list(range(len(tokens))),
    }
    return Reply(json.dumps({"choices": [{"text": "".join(tokens), "logprobs": logprobs}]}))


def score(run_worker: RunWorker, tmp_path: Path, pieces: tuple[str, ...], *, echoes: bool = True) -> Scores:
    prompt = PromptIds(
        name="p",
        text="q",
        ids=tuple(range(2 + len(pieces))),
        prompt_tokens=2,
        prompt_text="q:",
        pieces=pieces,
    )
    base, out, engine = tmp_path / "base", tmp_path / "out", tmp_path / "engine"
    for folder in (base, engine):
        folder.mkdir()
    (base / "sequences.json").write_text(Sequences(tokenizer="t", prompts=(prompt,)).model_dump_json(), "utf-8")
    (tmp_path / "questions.json").write_text(QUESTIONS.model_dump_json(), "utf-8")
    with answering({"/v1/models": MODELS, "/v1/completions": lambda body: completion(body, echoes=echoes)}) as server:
        spec = EndpointSpec(base_url=server.url, model="tiny", metrics_url="none")
        (engine / ENDPOINT_FILE).write_text(spec.model_dump_json(), "utf-8")
        inputs = {"engine": str(engine), "questions": str(tmp_path / "questions.json"), "baseline": str(base)}
        result_of(run_worker("endpoint.score", {"inputs": inputs, "output": str(out)}, timeout_s=60))
    return Scores.model_validate_json((out / "scores.json").read_text("utf-8"))


def test_a_server_that_echoes_is_scored(run_worker: RunWorker, tmp_path: Path) -> None:
    scores = score(run_worker, tmp_path, ("e", "e", "f", "e"))
    one, two = scores.passages
    assert (one.tokens, one.nll, one.bytes) == (4, pytest.approx(8.0), 5), "what nothing predicts is left out"
    assert (two.tokens, two.nll) == (2, pytest.approx(2.0))
    assert scores.prompts[0].agreed == (True, True, False, True)
    assert scores.prompts[0].kl_nats is None and scores.not_reported["kl_nats"]
    assert scores.tasks[0].choices[0].logprobs == pytest.approx((-1.0, -4.0))
    assert scores.tasks[1].answers == (" 5",)
    assert not math.isnan(sum(p.nll or 0 for p in scores.passages))


def test_one_that_cuts_the_text_otherwise_has_another_tokenizer(run_worker: RunWorker, tmp_path: Path) -> None:
    scores = score(run_worker, tmp_path, ("ee", "fe"))
    assert not scores.prompts and scores.not_reported["agreement"] == DIFFERENT_TOKENIZER
    assert scores.passages


def test_one_that_does_not_echo_answers_freely_alone(run_worker: RunWorker, tmp_path: Path) -> None:
    scores = score(run_worker, tmp_path, ("e",), echoes=False)
    assert not scores.passages and not scores.prompts
    assert scores.not_reported["perplexity"] == scores.not_reported["agreement"] == NO_LOGPROBS
    assert scores.not_reported["choices"] == NO_LOGPROBS
    assert scores.tasks[1].answers == (" 5",)
