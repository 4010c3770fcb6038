"""Worker `endpoint.score`: quality of what a server runs, as far as it tells log-probabilities.

Completions with `echo` and `logprobs` give the log-likelihood of a given text (vLLM, SGLang and others take them; most
hosted services do not). Where they do not, free answers are all that can be judged.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from workbench.core.measure.scores import (
    DIFFERENT_TOKENIZER,
    NO_LOGPROBS,
    SCORES_FILE,
    SEQUENCES_FILE,
    ChoiceItem,
    ChoiceResult,
    GenerationItem,
    PassageResult,
    PromptIds,
    PromptResult,
    Questions,
    Scores,
    Sequences,
    TaskQuestions,
    TaskResult,
    Text,
)
from workbench.workers.common import input_folder
from workbench.workers.endpoint.host import PACKAGES
from workbench.workers.endpoint.server import Server, open_spec, take_key
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker
from workbench.workers.scoring.score import PHASES, baseline_of, read_questions

AT_ONCE = 8
"""Requests that are open together: no load to speak of, and not one after the other."""
MATCHING = 0.9
"""Share of the baseline's answer tokens that a server must cut the same text into."""


@dataclass(frozen=True)
class Echo:
    """A text as the server sees it."""

    tokens: tuple[str, ...]
    logprobs: tuple[float | None, ...]
    """Nats; None for the first, which nothing predicts."""
    tops: tuple[str | None, ...]
    """The likeliest token at each place."""
    offsets: tuple[int, ...]
    """Where in the text each begins, in characters."""


class Scoring:
    """One endpoint's scoring."""

    def __init__(self, server: Server, questions: Questions, baseline: Sequences | None, channel: Channel) -> None:
        self._server, self._questions, self._baseline, self._channel = server, questions, baseline, channel
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._missing: dict[str, str] = {}
        self._warnings: list[str] = []

    async def run(self) -> Scores:
        questions = self._questions
        self._channel.phase("text", 2, len(PHASES))
        texts = [passage.text for passage in questions.passages]
        echoes = await self._echoes_there(texts[0] if texts else "The quick brown fox jumps over the dog.")
        passages: list[PassageResult] = []
        if echoes:
            passages = await self._all(questions.passages, self._passage, "passages")
        else:
            names = ("perplexity", "bits_per_byte", "perplexity_ratio", "agreement")
            self._missing |= dict.fromkeys(names, NO_LOGPROBS)
        self._missing["kl_nats"] = NO_LOGPROBS if not echoes else "the server gives the likeliest tokens alone"
        self._missing.setdefault("perplexity_ratio", "the server's tokenizer is not known")
        self._channel.phase("prompts", 3, len(PHASES))
        prompts: list[PromptResult] = []
        if echoes and self._baseline is not None:
            prompts = await self._prompts(self._baseline.prompts)
        elif self._baseline is None:
            self._missing["agreement"] = "an endpoint gives text alone, which others cannot be held against by token"
        self._channel.phase("tasks", 4, len(PHASES))
        tasks = [await self._task(task, echoes) for task in questions.tasks]
        return Scores(
            settings=self._server.applied(),
            passages=tuple(passages),
            prompts=tuple(prompts),
            tasks=tuple(tasks),
            not_reported=self._missing,
            warnings=tuple(self._warnings),
        )

    async def _all(self, items: Sequence[Any], do: Callable[[Any], Awaitable[Any]], unit: str) -> list[Any]:
        done = 0

        async def one(item: Any) -> Any:
            nonlocal done
            async with self._gate:
                found = await do(item)
            done += 1
            self._channel.progress(done, len(items), unit)
            return found

        return list(await asyncio.gather(*(one(item) for item in items)))

    # What the server is asked

    async def _post(self, body: dict[str, Any]) -> dict[str, Any] | str:
        """The first choice of a completion, or why there is none."""
        if self._server.spec.api == "triton":
            return "Triton's generate tells no log-probabilities of a prompt"
        url = self._server.spec.completions_url
        body = {"model": self._server.spec.model, "temperature": 0, **body}
        try:
            response = await self._server.client.post(url, json=body)
        except (httpx.HTTPError, OSError) as error:
            return self._server.network_failure(error, url).what
        if not response.is_success:
            return self._server.status_failure(response, response.content, url).what
        try:
            choice = response.json()["choices"][0]
        except (ValueError, KeyError, IndexError, TypeError):
            return "the answer is no completion"
        return choice if isinstance(choice, dict) else "the answer is no completion"

    async def _echo(self, text: str) -> Echo | None:
        """None: the server does not tell."""
        choice = await self._post({"prompt": text, "max_tokens": 1, "echo": True, "logprobs": 1})
        if isinstance(choice, str):
            self._channel.log(self._server.hide(choice), "warning")
            return None
        given = choice.get("logprobs")
        try:
            tokens, logprobs, offsets = given["tokens"], given["token_logprobs"], given["text_offset"]
            tops = given.get("top_logprobs") or [None] * len(tokens)
            rows = [
                (str(token), None if logprob is None else float(logprob), _likeliest(top), int(at))
                for token, logprob, top, at in zip(tokens, logprobs, tops, offsets, strict=True)
                if at < len(text)
            ]
        except (TypeError, KeyError, ValueError, AttributeError):
            return None
        # Some servers take `echo` and leave the prompt's log-probabilities out.
        if len(rows) < 2 or any(row[1] is None for row in rows[1:]) or rows[0][3] != 0:
            return None
        return Echo(
            tuple(row[0] for row in rows),
            tuple(row[1] for row in rows),
            tuple(row[2] for row in rows),
            tuple(row[3] for row in rows),
        )

    async def _echoes_there(self, text: str) -> bool:
        return await self._echo(text) is not None

    async def _need(self, text: str) -> Echo:
        echo = await self._echo(text)
        if echo is None:
            raise WorkerError(
                "the server stopped giving log-probabilities of a given text",
                code="no-logprobs",
                cause=f"{len(text):,} characters",
                hint="A text longer than the model's context ends so; see the log.",
            )
        return echo

    # Judging

    async def _passage(self, passage: Text) -> PassageResult:
        echo = await self._need(passage.text)
        first = 0 if echo.logprobs[0] is not None else 1
        nll = -sum(logprob or 0.0 for logprob in echo.logprobs[first:])
        seen = passage.text[: echo.offsets[1]] if first else ""
        return PassageResult(
            name=passage.name,
            tokens=len(echo.tokens) - first,
            nll=nll if math.isfinite(nll) else None,
            bytes=len(passage.text.encode()) - len(seen.encode()),
        )

    async def _prompts(self, prompts: Sequence[PromptIds]) -> list[PromptResult]:
        found = await self._all([one for one in prompts if one.pieces], self._prompt, "prompts")
        if any(result is None for result in found):
            self._missing["agreement"] = DIFFERENT_TOKENIZER
            return []
        return found

    async def _prompt(self, prompt: PromptIds) -> PromptResult | None:
        echo = await self._need(prompt.prompt_text + "".join(prompt.pieces))
        begin = next((n for n, at in enumerate(echo.offsets) if at >= len(prompt.prompt_text)), len(echo.tokens))
        agreed = []
        for piece, token, top in zip(prompt.pieces, echo.tokens[begin:], echo.tops[begin:], strict=False):
            if piece != token:
                break
            agreed.append(top == piece)
        if len(agreed) < MATCHING * len(prompt.pieces):
            return None
        return PromptResult(name=prompt.name, text=prompt.text, agreed=tuple(agreed))

    async def _task(self, task: TaskQuestions, echoes: bool) -> TaskResult:
        choices: list[ChoiceResult] = []
        if task.choices and not echoes:
            self._missing[task.name] = NO_LOGPROBS
        elif task.choices:
            choices = await self._all(task.choices, self._choices, "questions")
        answers = await self._all(task.generations, self._answer, "answers")
        return TaskResult(name=task.name, choices=tuple(choices), answers=tuple(answers))

    async def _choices(self, item: ChoiceItem) -> ChoiceResult:
        sums: list[float | None] = []
        counts = []
        for choice in item.choices:
            echo = await self._need(item.context + choice)
            # A token that reaches from the context into the choice counts as the choice's.
            ends = [*echo.offsets[1:], len(item.context + choice)]
            own = [logprob for logprob, end in zip(echo.logprobs, ends, strict=True) if end > len(item.context)]
            total = sum(logprob or 0.0 for logprob in own)
            sums.append(total if math.isfinite(total) else None)
            counts.append(len(own))
        return ChoiceResult(logprobs=tuple(sums), tokens=tuple(counts))

    async def _answer(self, item: GenerationItem) -> str:
        stop = {"stop": list(item.stop)[:4]} if item.stop else {}
        choice = await self._post({"prompt": item.prompt, "max_tokens": item.max_tokens, **stop})
        if isinstance(choice, str):
            raise WorkerError("the server did not answer a question", code="no-answer", cause=self._server.hide(choice))
        text = str(choice.get("text") or "")
        for mark in item.stop:
            text = text.split(mark, 1)[0]
        return text


def _likeliest(top: Any) -> str | None:
    if not isinstance(top, dict) or not top:
        return None
    return str(max(top, key=lambda token: float(top[token])))


async def _run(server: Server, spec: StepSpec, channel: Channel) -> dict[str, Any]:
    questions, baseline = read_questions(spec), baseline_of(spec)
    await server.open()
    scores = await Scoring(server, questions, baseline[0] if baseline else None, channel).run()
    out = Path(spec.output)
    (out / SCORES_FILE).write_text(scores.model_dump_json(), "utf-8")
    if baseline is None:
        (out / SEQUENCES_FILE).write_text(Sequences(tokenizer="").model_dump_json(), "utf-8")
    await server.client.aclose()
    return {"passages": len(scores.passages), "prompts": len(scores.prompts), "tasks": len(scores.tasks)}


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Score the server that `inputs.engine` describes on `inputs.questions`; `inputs.baseline` as for the other score
    workers. Fills `spec.output`."""
    endpoint = open_spec(input_folder(spec, "engine"))
    channel.phase("load", 1, len(PHASES))
    return asyncio.run(_run(Server(endpoint, take_key(endpoint), channel), spec, channel))


if __name__ == "__main__":
    run_worker("endpoint.score", work, packages=PACKAGES)
