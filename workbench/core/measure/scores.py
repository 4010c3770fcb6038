"""What score workers are asked and what they leave behind: the files between them and the quality figures."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.measure.quality import TokenChoice

QUESTIONS_FILE = "questions.json"
SCORES_FILE = "scores.json"
SEQUENCES_FILE = "sequences.json"
LOGPROBS_FILE = "logprobs.npy"
DIFFERENT_TOKENIZER = "different tokenizer"
UNKNOWN_TOKENIZER = "a tokenizer is not known"
NO_LOGPROBS = "no log-probs"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")


class Text(_Frozen):
    """A passage or a prompt."""

    name: str
    text: str


class ChoiceItem(_Frozen):
    """A question with answers to choose from: each is scored as what follows the context."""

    context: str
    choices: tuple[str, ...]


class GenerationItem(_Frozen):
    """A prompt that is answered freely, greedily."""

    prompt: str
    stop: tuple[str, ...] = ()
    max_tokens: int = 256


class TaskQuestions(_Frozen):
    """What a task asks; `choices` or `generations`, in the order of its questions."""

    name: str
    choices: tuple[ChoiceItem, ...] = ()
    generations: tuple[GenerationItem, ...] = ()


class Questions(_Frozen):
    """All that a subject is asked."""

    passages: tuple[Text, ...] = ()
    prompts: tuple[Text, ...] = ()
    tasks: tuple[TaskQuestions, ...] = ()
    window_tokens: int = 512
    answer_tokens: int = 32


class PassageIds(_Frozen):
    name: str
    ids: tuple[int, ...]
    bytes: int
    """UTF-8 bytes of what is predicted: without the first token where nothing stands before it."""


class PromptIds(_Frozen):
    """A prompt with the baseline's greedy answer."""

    name: str
    text: str
    ids: tuple[int, ...]
    prompt_tokens: int
    prompt_text: str = ""
    """As it was tokenized: with the chat template."""
    pieces: tuple[str, ...] = ()
    """Texts of the answer's tokens, for servers that take text alone."""

    @property
    def answer(self) -> tuple[int, ...]:
        return self.ids[self.prompt_tokens :]


class Sequences(_Frozen):
    """What the baseline leaves for the others to be scored on."""

    tokenizer: str
    """Digest; empty: not known."""
    vocabulary: int | None = None
    passages: tuple[PassageIds, ...] = ()
    prompts: tuple[PromptIds, ...] = ()


class PassageResult(_Frozen):
    name: str
    tokens: int
    """Predicted ones."""
    nll: float | None
    """Sum of negative log-likelihoods, nats; None: it was not a number."""
    bytes: int


class Difference(_Frozen):
    """The first position where the greedy tokens differ."""

    position: int
    baseline: TokenChoice
    variant: TokenChoice


class PromptResult(_Frozen):
    name: str
    text: str = ""
    agreed: tuple[bool, ...] = ()
    """By position of the answer."""
    kl_nats: tuple[float | None, ...] | None = None
    """By position; None for one: not a number. None for all: not reported."""
    difference: Difference | None = None


class ChoiceResult(_Frozen):
    """Log-likelihoods of a question's choices, nats."""

    logprobs: tuple[float | None, ...]
    tokens: tuple[int, ...]


class TaskResult(_Frozen):
    name: str
    choices: tuple[ChoiceResult, ...] = ()
    answers: tuple[str, ...] = ()
    """Of generations."""


class Scores(_Frozen):
    """What a score worker found."""

    tokenizer: str = ""
    vocabulary: int | None = None
    window_tokens: int | None = None
    """Longest context that passages were predicted from; None: not known."""
    settings: dict[str, str] = Field(default_factory=dict)
    """What the model was run with, as far as it says."""
    passages: tuple[PassageResult, ...] = ()
    prompts: tuple[PromptResult, ...] = ()
    tasks: tuple[TaskResult, ...] = ()
    not_reported: dict[str, str] = Field(default_factory=dict)
    """`perplexity`, `agreement`, `kl_nats`, `tasks` -> why not."""
    warnings: tuple[str, ...] = ()


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 over what a tokenizer makes of text: vocabulary, merges and added tokens of `tokenizer.json`, whatever
    else a tool has written into that file; else of the vocabulary file as it is. Empty: none there, or unreadable.
    """
    try:
        data = json.loads((folder / "tokenizer.json").read_bytes())
        model = data["model"]
        added = {entry["content"]: entry["id"] for entry in data.get("added_tokens") or []}
        vocabulary = model["vocab"]
        if isinstance(vocabulary, dict):
            vocabulary = {**vocabulary, **added}
        merges = [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in model.get("merges") or []]
        facts: list[Any] = [model.get("type"), vocabulary, merges, added]
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    for name in ("tokenizer.model", "vocab.json", "spiece.model", "vocab.txt"):
        try:
            return hashlib.sha256((folder / name).read_bytes()).hexdigest()
        except OSError:
            continue
    return ""
