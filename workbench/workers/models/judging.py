"""What the verify workers share: prompts to compare on, the floors of quality, and the judgement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.core.precision import Precision
from workbench.workers.common import read_json
from workbench.workers.models.quality import Comparison
from workbench.workers.protocol import WorkerError


def read_prompts(given: Any) -> list[tuple[str, str]]:
    """(name, text) of each prompt, from a list of texts or a prompt file. Raises WorkerError `bad-setting`."""
    rows = read_json(Path(given)).get("prompts") if isinstance(given, str) and given else given
    prompts = []
    for number, row in enumerate(rows if isinstance(rows, list) else [], 1):
        name, text = (row.get("name"), row.get("text")) if isinstance(row, dict) else (None, row)
        if not isinstance(text, str) or not text.strip():
            raise WorkerError(
                f"prompt {number} has no text",
                code="bad-setting",
                cause=str(row)[:200],
                hint="Give text for each.",
            )
        prompts.append((str(name or f"prompt-{number}"), text))
    if not prompts:
        raise WorkerError(
            "there are no prompts to verify with",
            code="bad-setting",
            cause=f"prompts = {str(given)[:200]}",
            hint="Give a prompt file with a list `prompts`, or a list of texts.",
        )
    return prompts


def floors(settings: dict[str, Any]) -> tuple[float, float]:
    """(min_agreement, max_kl): as given, else the precision's. Raises WorkerError `bad-setting`."""
    try:
        precision = Precision(str(settings.get("precision", "fp16")))
    except ValueError as error:
        raise WorkerError("verify was given an unknown precision", code="bad-setting", cause=str(error)) from error
    agreement, kl = settings.get("min_agreement"), settings.get("max_kl")
    return (
        precision.default_min_agreement if agreement is None else float(agreement),
        precision.default_max_kl if kl is None else float(kl),
    )


def judge(
    comparison: Comparison, min_agreement: float, max_kl: float, *, model: str, nan_hint: str, far_hint: str
) -> None:
    """Raises WorkerError `verify-failed`, with the figures, for an engine below a floor or with values that are not
    numbers. `model`: what it was compared with, in words; the hints say what to do.
    """
    agreement, kl = comparison.agreement, comparison.kl_nats
    figures = (
        f"agreement {agreement:.4f} (at least {min_agreement:g}), KL {kl:.4f} nats (at most {max_kl:g}), "
        f"worst prompt: {comparison.worst(1)[0].name}"
    )
    if math.isnan(kl):
        raise WorkerError(
            "the engine's logits hold values that are not numbers", code="verify-failed", cause=figures, hint=nan_hint
        )
    if agreement < min_agreement or kl > max_kl:
        raise WorkerError(f"the engine is too far from {model}", code="verify-failed", cause=figures, hint=far_hint)


def refuse_blank(text: str, ids: Sequence[int], source_ids: Sequence[int]) -> str:
    """What to say of an answer without a visible character; "" for any other.

    `ids` are the engine's greedy answer to a prompt, `source_ids` the source model's. Raises WorkerError
    `verify-failed`, unless the source model says the same: some models, small ones with random weights among them, have
    nothing else to say.
    """
    if text.strip():
        return ""
    common = min(len(ids), len(source_ids))
    if common and list(ids[:common]) == list(source_ids[:common]):
        return "the answer has no visible character; the source model's has none either"
    raise WorkerError(
        "the engine's answer is empty",
        code="verify-failed",
        cause=f"{len(ids)} tokens: {list(ids[:8])}; the source model's: {list(source_ids[:8])}",
        hint="Build it again from the model; see whether another precision answers.",
    )
