"""The score step over any model: perplexity, the baseline's answers, agreement and KL on them, tasks.

The baseline writes its answers (`sequences.json`) and its log-probabilities (`logprobs.npy`, one row an answer token);
every other subject is run over the very same tokens, position by position, and only the figures are kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.core.measure.quality import TokenChoice
from workbench.core.measure.scores import (
    DIFFERENT_TOKENIZER,
    LOGPROBS_FILE,
    SCORES_FILE,
    SEQUENCES_FILE,
    UNKNOWN_TOKENIZER,
    ChoiceItem,
    ChoiceResult,
    Difference,
    PassageIds,
    PassageResult,
    PromptIds,
    PromptResult,
    Questions,
    Scores,
    Sequences,
    TaskQuestions,
    TaskResult,
)
from workbench.workers.common import read_json
from workbench.workers.protocol import Channel, StepSpec, WorkerError
from workbench.workers.scoring.model import ScoredModel
from workbench.workers.scoring.numbers import kl_nats, log_softmax, nll_of, top_two

PHASES = ("load", "text", "prompts", "tasks")


def read_questions(spec: StepSpec) -> Questions:
    """The file given as input `questions`. Raises WorkerError `bad-setting`."""
    given = Path(spec.inputs.get("questions", ""))
    try:
        return Questions.model_validate_json(given.read_bytes())
    except (OSError, ValueError) as error:
        raise WorkerError(
            "the questions to score cannot be read", code="bad-setting", cause=f"{given}: {str(error)[:300]}"
        ) from error


def baseline_of(spec: StepSpec) -> tuple[Sequences, Path] | None:
    """What the baseline left in the folder given as input `baseline`; None: this subject is the baseline."""
    given = spec.inputs.get("baseline", "")
    if not given:
        return None
    folder = Path(given)
    return Sequences.model_validate(read_json(folder / SEQUENCES_FILE)), folder


class Scoring:
    """One subject's scoring: what is asked, of which model, and where it goes."""

    def __init__(
        self,
        model: ScoredModel,
        questions: Questions,
        baseline: tuple[Sequences, Path] | None,
        out: Path,
        tokenizer: str,
        channel: Channel,
    ) -> None:
        self.model, self.questions, self.out, self.channel = model, questions, out, channel
        self.tokenizer = tokenizer
        self.sequences, self._baseline_folder = baseline or (None, None)
        self.warnings: list[str] = []
        self.not_reported: dict[str, str] = {}

    @property
    def same_tokenizer(self) -> bool:
        """Whether the baseline's tokens mean the same here."""
        return self.sequences is not None and bool(self.tokenizer) and self.sequences.tokenizer == self.tokenizer

    @property
    def window(self) -> int:
        """Longest context of a token of the text."""
        return min(self.questions.window_tokens, self.model.max_seq_len or self.questions.window_tokens)

    def run(self) -> dict[str, Any]:
        """Score all; the step's result. Writes `scores.json` and, for the baseline, what the others need."""
        if self.sequences is not None and not self.same_tokenizer:
            known = self.tokenizer and self.sequences.tokenizer
            why = DIFFERENT_TOKENIZER if known else UNKNOWN_TOKENIZER
            self.not_reported |= {"agreement": why, "kl_nats": why}
        logits = not self.model.no_logits
        if not logits:
            names = ("perplexity", "bits_per_byte", "perplexity_ratio", "kl_nats")
            self.not_reported = {**dict.fromkeys(names, self.model.no_logits), **self.not_reported}
        self.channel.phase("text", 2, len(PHASES))
        passage_ids = self._passage_ids()
        passages = tuple(self._each(passage_ids, self._passage, "passages")) if logits else ()
        self.channel.phase("prompts", 3, len(PHASES))
        prompts: tuple[PromptResult, ...] = ()
        if self.sequences is None:
            prompts = self._answer_prompts(passage_ids)
        elif self.same_tokenizer:
            prompts = self._compare_prompts(self.sequences)
        self.channel.phase("tasks", 4, len(PHASES))
        tasks = tuple(self._task(task) for task in self.questions.tasks)
        scores = Scores(
            tokenizer=self.tokenizer,
            vocabulary=self.model.vocabulary,
            window_tokens=self.window,
            settings=self.model.settings,
            passages=passages,
            prompts=prompts,
            tasks=tasks,
            not_reported=self.not_reported,
            warnings=tuple(self.warnings),
        )
        (self.out / SCORES_FILE).write_text(scores.model_dump_json(), "utf-8")
        return {"passages": len(passages), "prompts": len(prompts), "tasks": len(tasks)}

    def _each(self, items: Sequence[Any], do: Any, unit: str) -> list[Any]:
        done = []
        for item in items:
            done.append(do(item))
            self.channel.progress(len(done), len(items), unit)
        return done

    # Perplexity

    def _passage_ids(self) -> list[PassageIds]:
        if self.sequences is not None and self.same_tokenizer:
            return list(self.sequences.passages)
        found = []
        for passage in self.questions.passages:
            ids = self.model.encode(passage.text)
            if len(ids) < 2:
                continue
            first = self.model.decode(ids[:1])
            # A token in front that is no part of the text predicts all of it.
            seen = first if first and passage.text.startswith(first) else ""
            size = len(passage.text.encode()) - len(seen.encode())
            found.append(PassageIds(name=passage.name, ids=tuple(ids), bytes=size))
        return found

    def _passage(self, passage: PassageIds) -> PassageResult:
        """Each token but the first, once, from the tokens before it: at most a window of them, at least half."""
        import numpy as np

        window, ids, total, scored = self.window, passage.ids, 0.0, 1
        while scored < len(ids):
            begin = 0 if scored == 1 else scored - window // 2
            end = min(begin + window, len(ids))
            targets = np.asarray(ids[scored:end])
            at = 0
            for rows in self.model.rows(ids[begin : end - 1], scored - 1 - begin):
                total += float(nll_of(rows, targets[at : at + len(rows)]).sum())
                at += len(rows)
            scored = end
        return PassageResult(
            name=passage.name,
            tokens=len(ids) - 1,
            nll=total if math.isfinite(total) else None,
            bytes=passage.bytes,
        )

    # Prompts: the baseline's side

    def _answer_prompts(self, passages: list[PassageIds]) -> tuple[PromptResult, ...]:
        most = self.model.max_seq_len
        asked = []
        for prompt in self.questions.prompts:
            ids = self.model.chat(prompt.text)
            if not ids or (most is not None and len(ids) + self.questions.answer_tokens > most):
                self._warn_once(f"prompt {prompt.name} of {len(ids):,} tokens does not fit with its answer: left out")
                continue
            asked.append((prompt, ids))
        total = len(asked)
        answers = self.model.answers(
            [ids for _, ids in asked],
            self.questions.answer_tokens,
            lambda done: self.channel.progress(done, total, "answers"),
        )
        answered = [
            PromptIds(
                name=prompt.name,
                text=prompt.text,
                ids=(*ids, *answer),
                prompt_tokens=len(ids),
                prompt_text=self.model.decode(ids),
                pieces=tuple(self.model.decode([token]) for token in answer),
            )
            for (prompt, ids), answer in zip(asked, answers, strict=True)
        ]
        if not self.model.no_logits:
            self._write_logprobs(answered)
        sequences = Sequences(
            tokenizer=self.tokenizer,
            vocabulary=self.model.vocabulary,
            passages=tuple(passages),
            prompts=tuple(answered),
        )
        (self.out / SEQUENCES_FILE).write_text(sequences.model_dump_json(), "utf-8")
        return tuple(
            PromptResult(
                name=one.name,
                text=one.text,
                agreed=(True,) * len(one.answer),
                kl_nats=None if self.model.no_logits else (0.0,) * len(one.answer),
            )
            for one in answered
        )

    def _write_logprobs(self, answered: Sequence[PromptIds]) -> None:
        """By teacher forcing as the others are run, and not from the answering itself: chunks round otherwise."""
        import numpy as np

        positions, begun = sum(len(one.answer) for one in answered), False
        # Written and not mapped: a full disk is then an error and not a signal that ends the process.
        with (self.out / LOGPROBS_FILE).open("wb") as file:
            for prompt in answered:
                for rows in self.model.rows(prompt.ids[:-1], prompt.prompt_tokens - 1):
                    if not begun:
                        header = {"descr": "<f4", "fortran_order": False, "shape": (positions, int(rows.shape[-1]))}
                        np.lib.format.write_array_header_1_0(file, header)
                        begun = True
                    file.write(np.ascontiguousarray(log_softmax(rows), dtype="<f4").tobytes())
        if not begun:
            (self.out / LOGPROBS_FILE).unlink()

    # Prompts: the others' side

    def _compare_prompts(self, sequences: Sequences) -> tuple[PromptResult, ...]:
        import numpy as np

        assert self._baseline_folder is not None
        path = self._baseline_folder / LOGPROBS_FILE
        stored = None
        if not self.model.no_logits:
            stored = np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None
            if stored is None:
                self.not_reported["kl_nats"] = "the baseline gives no log-probs"
        found, row, most = [], 0, self.model.max_seq_len
        for number, prompt in enumerate(sequences.prompts, 1):
            theirs = None if stored is None else stored[row : row + len(prompt.answer)]
            row += len(prompt.answer)
            if most is not None and len(prompt.ids) > most:
                self._warn_once(f"prompt {prompt.name} of {len(prompt.ids):,} tokens with its answer: left out")
            else:
                found.append(self._compare(prompt, theirs))
            self.channel.progress(number, len(sequences.prompts), "prompts")
        return tuple(found)

    def _compare(self, prompt: PromptIds, baseline: Any) -> PromptResult:
        if self.model.no_logits:
            said = self.model.next_tokens(prompt.ids[:-1], prompt.prompt_tokens - 1)
            agreed_without = tuple(a == b for a, b in zip(said, prompt.answer, strict=True))
            return PromptResult(name=prompt.name, text=prompt.text, agreed=agreed_without)
        return self._compare_logits(prompt, baseline)

    def _compare_logits(self, prompt: PromptIds, baseline: Any) -> PromptResult:
        import numpy as np

        agreed: list[bool] = []
        divergence: list[float | None] = []
        difference, at = None, 0
        for rows in self.model.rows(prompt.ids[:-1], prompt.prompt_tokens - 1):
            ours = log_softmax(rows)
            theirs = None if baseline is None else np.asarray(baseline[at : at + len(rows)])
            choices = prompt.answer if theirs is None else theirs.argmax(axis=-1)
            for index in range(len(rows)):
                wanted = int(choices[at + index] if theirs is None else choices[index])
                agrees = bool(np.isfinite(rows[index]).any()) and int(rows[index].argmax()) == wanted
                agreed.append(agrees and not np.isnan(rows[index]).any())
                if not agreed[-1] and difference is None and theirs is not None:
                    difference = self._difference(at + index, theirs[index], ours[index])
            if theirs is not None:
                divergence += [float(kl) if math.isfinite(kl) else None for kl in kl_nats(theirs, ours)]
            at += len(rows)
        return PromptResult(
            name=prompt.name,
            text=prompt.text,
            agreed=tuple(agreed),
            kl_nats=tuple(divergence) if baseline is not None else None,
            difference=difference,
        )

    def _difference(self, position: int, baseline: Any, variant: Any) -> Difference:
        return Difference(position=position, baseline=self._choice(baseline), variant=self._choice(variant))

    def _choice(self, log_p: Any) -> TokenChoice:
        pair = top_two(log_p)
        if not pair:
            return TokenChoice(text="not a number", probability=0.0)
        (first, p_first), (second, p_second) = pair
        return TokenChoice(
            text=self.model.decode([first]),
            probability=p_first,
            runner_up=self.model.decode([second]),
            runner_up_probability=p_second,
        )

    # Tasks

    def _task(self, task: TaskQuestions) -> TaskResult:
        choices: tuple[ChoiceResult, ...] = ()
        if task.choices and self.model.no_logits:
            self.not_reported[task.name] = self.model.no_logits
        else:
            choices = tuple(self._each(task.choices, self._choices, "questions"))
        answers = []
        for item in task.generations:
            answers.append(self._generate(item.prompt, item.stop, item.max_tokens))
            self.channel.progress(len(answers), len(task.generations), "answers")
        return TaskResult(name=task.name, choices=choices, answers=tuple(answers))

    def _choices(self, item: ChoiceItem) -> ChoiceResult:
        """Log-likelihood of each choice after the context. Where all choices are the same but for their last token,
        one pass gives them all."""
        rows_of: dict[tuple[int, ...], Any] = {}
        sums: list[float | None] = []
        counts: list[int] = []
        context = self.model.encode(item.context)
        for choice in item.choices:
            whole = self.model.encode(item.context + choice)
            # A tokenizer may melt the context's last token into the choice: then one more token is the choice's.
            shared = len(context)
            while shared > 1 and whole[:shared] != context[:shared]:
                shared -= 1
            shared = min(max(shared, 1), len(whole) - 1)
            if self.model.max_seq_len is not None and len(whole) > self.model.max_seq_len:
                cut = len(whole) - self.model.max_seq_len
                whole, shared = whole[cut:], max(shared - cut, 1)
                self._warn_once("questions longer than the model's context lost their beginning")
            total = self._continuation(tuple(whole), shared, rows_of)
            sums.append(total if math.isfinite(total) else None)
            counts.append(len(whole) - shared)
        return ChoiceResult(logprobs=tuple(sums), tokens=tuple(counts))

    def _continuation(self, whole: tuple[int, ...], shared: int, rows_of: dict[tuple[int, ...], Any]) -> float:
        import numpy as np

        prefix, targets = whole[:-1], np.asarray(whole[shared:])
        if len(targets) == 1:
            if prefix not in rows_of:
                rows_of[prefix] = log_softmax(next(iter(self.model.rows(prefix, len(prefix) - 1))))[0]
            return float(rows_of[prefix][targets[0]])
        total, at = 0.0, 0
        for rows in self.model.rows(prefix, shared - 1):
            total -= float(nll_of(rows, targets[at : at + len(rows)]).sum())
            at += len(rows)
        return total

    def _generate(self, prompt: str, stop: Sequence[str], most: int) -> str:
        ids = self.model.encode(prompt)
        if self.model.max_seq_len is not None and len(ids) + most > self.model.max_seq_len:
            ids = ids[-max(self.model.max_seq_len - most, 1) :]
            self._warn_once("questions longer than the model's context lost their beginning")

        def enough(answer: list[int]) -> bool:
            # A look at the last tokens alone: the stop strings are short.
            tail = self.model.decode(answer[-16:])
            return any(text in tail for text in stop)

        answer = self.model.greedy(ids, most, enough if stop else None)
        if answer and answer[-1] in self.model.end_ids:
            answer = answer[:-1]
        text = self.model.decode(answer)
        for mark in stop:
            text = text.split(mark, 1)[0]
        return text

    def _warn_once(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


def score(model: ScoredModel, spec: StepSpec, questions: Questions, tokenizer: str, channel: Channel) -> dict[str, Any]:
    """Score a loaded model as the spec asks; fills `spec.output`."""
    if not spec.output:
        raise WorkerError("the score step was given no folder to write to", code="bad-setting")
    return Scoring(model, questions, baseline_of(spec), Path(spec.output), tokenizer, channel).run()
