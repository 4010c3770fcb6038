"""What is asked of every subject: passages, prompts and tasks, read once, with what can be said against them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workbench.core.artifact import Provenance
from workbench.core.data import resource
from workbench.core.errors import BadInputError
from workbench.core.home import expanded
from workbench.core.measure.overlap import shared
from workbench.core.measure.passages import EvaluationText, read_evaluation
from workbench.core.measure.quality_options import QualityOptions
from workbench.core.measure.scores import Questions, Text
from workbench.core.measure.task_files import read_task
from workbench.core.measure.tasks import Task

EVALUATION_FILE = "evaluation.jsonl"
PROMPTS_FILE = "verify_prompts.json"


@dataclass(frozen=True)
class Material:
    """All that is asked."""

    text: EvaluationText
    questions: Questions
    tasks: tuple[Task, ...]


def read_material(options: QualityOptions) -> Material:
    """Read what the options name. Raises BadInputError."""
    path = expanded(options.text) if options.text else resource(EVALUATION_FILE)
    text = read_evaluation(path, options.passages, ships=not options.text)
    tasks = _distinct([read_task(each) for each in options.tasks])
    for number, prompt in enumerate(options.prompts, 1):
        if not prompt.strip():
            raise BadInputError(
                f"Prompt {number} to compare answers on is empty.", fix="Leave it out.", code="no-prompt"
            )
    prompts = [Text(name=f"prompt-{n}", text=prompt) for n, prompt in enumerate(options.prompts, 1)]
    questions = Questions(
        passages=text.passages,
        prompts=tuple((prompts or shipped_prompts())[: options.max_prompts]),
        tasks=tuple(task.questions for task in tasks),
        window_tokens=options.window_tokens,
        answer_tokens=options.answer_tokens,
    )
    return Material(text, questions, tuple(tasks))


def shipped_prompts() -> list[Text]:
    """The prompts that the baseline answers unless one's own are given."""
    rows = json.loads(resource(PROMPTS_FILE).read_text("utf-8"))["prompts"]
    return [Text(name=str(row["name"]), text=str(row["text"])) for row in rows]


def _distinct(tasks: list[Task]) -> list[Task]:
    names: set[str] = set()
    for task in tasks:
        if task.name in names:
            raise BadInputError(
                f"Two tasks are called {task.name}.", evidence=task.source, fix="Name one.", code="same-task"
            )
        names.add(task.name)
    return tasks


def calibrated_with(provenance: Provenance, text: EvaluationText) -> tuple[str, ...]:
    """A warning when the engine was calibrated with text that it is judged on now, or when that cannot be told."""
    return overlap_words(
        [Path(step.inputs["calibration"]) for step in provenance.steps if "calibration" in step.inputs], text
    )


def overlap_words(files: Sequence[Path], text: EvaluationText) -> tuple[str, ...]:
    """Warnings when the text shares words with the files, or when one of them cannot be read."""
    found: set[int] = set()
    unread: list[str] = []
    for file in files:
        try:
            calibration = read_evaluation(file).passages
        except BadInputError:
            unread.append(str(file))
            continue
        found |= set(shared([one.text for one in text.passages], (one.text for one in calibration)))
    words = []
    if found:
        words.append(
            f"{len(found)} of {len(text.passages)} passages share 13 words in a row with the text that it was "
            "calibrated with: its perplexity looks better than it is"
        )
    if unread:
        words.append(
            f"the text that it was calibrated with ({', '.join(unread)}) cannot be read any more: whether it shares "
            "passages with the text of the perplexity is not known"
        )
    return tuple(words)
