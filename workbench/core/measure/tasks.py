"""Tasks: what a file of questions asks, and the score of the answers. Layouts are read by `task_files`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workbench.core.measure.estimate import Estimate
from workbench.core.measure.quality import TaskScore
from workbench.core.measure.quality_figures import Z_95, ratio_of_sums, share
from workbench.core.measure.scores import ChoiceResult, TaskQuestions, TaskResult

_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?|-?\.\d+")
_MARKED = re.compile(r"####\s*(-?\$?[\d.,]+)")


@dataclass(frozen=True)
class Task:
    """A task, ready to be asked and judged."""

    questions: TaskQuestions
    gold: tuple[int, ...] = ()
    """Of multiple choice: the right one's number, from 0."""
    answers: tuple[str, ...] = ()
    """Of free answers: the right one."""
    normalised: bool = False
    """Whether choices are of different lengths, so that acc_norm says something."""
    shots: int = 0
    source: str = ""

    @property
    def name(self) -> str:
        return self.questions.name


def task_scores(task: Task, result: TaskResult, baseline: TaskResult | None) -> tuple[TaskScore, ...]:
    """Its scores; with the baseline's result, the paired differences too. () when nothing was answered."""
    metrics: tuple[Literal["acc", "acc_norm", "exact_match"], ...] = ("exact_match",) if task.answers else ("acc",)
    if task.normalised and not task.answers:
        metrics = ("acc", "acc_norm")
    found = []
    for metric in metrics:
        right = _right(task, result, metric)
        if not right:
            continue
        value, stderr = ratio_of_sums((float(each), 1.0) for each in right)
        theirs = _right(task, baseline, metric) if baseline is not None else []
        found.append(
            TaskScore(
                name=task.name,
                metric=metric,
                score=share(value, stderr, len(right)),
                difference=_difference(right, theirs) if len(theirs) == len(right) else None,
                shots=task.shots,
                source=task.source,
            )
        )
    return tuple(found)


def _right(task: Task, result: TaskResult, metric: str) -> list[bool]:
    if metric == "exact_match":
        return [same_number(given, wanted) for given, wanted in zip(result.answers, task.answers, strict=False)]
    by_length = metric == "acc_norm"
    items = zip(result.choices, task.questions.choices, task.gold, strict=False)
    return [_chosen(scored, item.choices, by_length) == gold for scored, item, gold in items]


def _chosen(scored: ChoiceResult, choices: Sequence[str], by_length: bool) -> int | None:
    """The likeliest choice; by_length: a character of it, as lm-evaluation-harness's acc_norm does. None: one of the
    log-likelihoods is not a number, which counts as wrong."""
    values = []
    for logprob, choice in zip(scored.logprobs, choices, strict=False):
        if logprob is None:
            return None
        values.append(logprob / max(len(choice.strip()), 1) if by_length else logprob)
    return max(range(len(values)), key=values.__getitem__) if values else None


def _difference(ours: Sequence[bool], theirs: Sequence[bool]) -> Estimate:
    """Difference of paired shares, with the interval of Agresti and Min (Statistics in Medicine 24, 2005): half a
    question is added to each of the four cells, so that it is no point where few or no questions differ."""
    count = len(ours)
    mean, stderr = ratio_of_sums((float(a) - float(b), 1.0) for a, b in zip(ours, theirs, strict=True))
    gained = sum(a and not b for a, b in zip(ours, theirs, strict=True)) + 0.5
    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True)) + 0.5
    middle = (gained - lost) / (count + 2)
    half = Z_95 * math.sqrt(gained + lost - (gained - lost) ** 2 / (count + 2)) / (count + 2)
    return Estimate(value=mean, low=max(middle - half, -1.0), high=min(middle + half, 1.0), stderr=stderr, n=count)


def final_number(text: str) -> str | None:
    """The number behind `####`, else the last one in the text; without currency sign, thousands separators and
    trailing zeros. None: there is none."""
    marked = _MARKED.search(text)
    found = [marked.group(1)] if marked else _NUMBER.findall(text)
    if not found:
        return None
    plain = found[-1].replace("$", "").replace(",", "").rstrip(".")
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return plain or None


def same_number(given: str, wanted: str) -> bool:
    """Whether an answer ends in the number that is wanted."""
    number = final_number(given)
    return number is not None and number == final_number(wanted)
