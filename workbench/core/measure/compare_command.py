"""The command line that measures a comparison again."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.core.measure.command import load_arguments
from workbench.core.measure.comparison import Price
from workbench.core.measure.load import Load
from workbench.core.measure.quality_options import QualityOptions
from workbench.core.measure.workload import Workload
from workbench.core.messages import Sampling

_ANSWERS = Sampling()
"""How the command line has the answers drawn: greedy."""


def compare_command(
    engines: Sequence[str],
    workload: Workload,
    load: Load,
    *,
    overrides: Sequence[Sequence[str]] = (),
    quality: QualityOptions | None = None,
    speed: bool = True,
    prompts: Sequence[str] = (),
    sampling: Sampling = _ANSWERS,
    price: Price | None = None,
    alternated: bool = False,
) -> tuple[str, ...]:
    """`workbench compare ...` that measures the same again, the first engine as the baseline.

    `overrides`: runtime settings of each engine. Empty where the command line has no way to say it: settings that are
    not the same for all, a task with options of its own, or answers that are not drawn as it draws them.
    """
    settings = {tuple(each) for each in overrides} or {()}
    limits = {task.limit for task in quality.tasks} if quality is not None else set()
    if len(settings) > 1 or len(limits) > 1:
        return ()
    seed = None if sampling.temperature else sampling.seed  # which a greedy answer does not hear of
    if prompts and sampling != _ANSWERS.model_copy(update={"seed": seed}):
        return ()
    if quality is not None and quality != QualityOptions(
        text=quality.text,
        tasks=tuple(task.model_copy(update={"shots": 0, "kind": "auto", "name": ""}) for task in quality.tasks),
        lm_eval=quality.lm_eval.model_copy(update={"shots": None}) if quality.lm_eval is not None else None,
        simulate=quality.simulate,
    ):
        return ()
    found = ["workbench", "compare", *engines, *load_arguments(workload, load)]
    if not speed:
        found.append("--no-speeds")
    found += _quality_arguments(quality)
    for prompt in prompts:
        found += ["--prompt", prompt]
    if price is not None:
        found += ["--price", f"{price.per_hour:g}"]
        if price.currency != "USD":
            found += ["--currency", price.currency]
    if alternated:
        found.append("--ab")
    for setting in next(iter(settings)):
        found += ["--set", setting]
    return tuple(found)


def _quality_arguments(quality: QualityOptions | None) -> list[str]:
    if quality is None:
        return ["--no-quality"]
    found: list[str] = []
    if quality.text:
        found += ["--text", quality.text]
    for task in quality.tasks:
        found += ["--task", task.path]
    limit = next((task.limit for task in quality.tasks if task.limit is not None), None)
    if quality.lm_eval is not None:
        found += ["--lm-eval", ",".join(quality.lm_eval.tasks)]
        limit = limit or quality.lm_eval.limit
    if limit is not None:
        found += ["--task-limit", str(limit)]
    if quality.simulate:
        found += ["--simulate", ",".join(quality.simulate)]
    return found
