"""How close a variant is to its source model: agreement and KL divergence from logits, in numpy.

Definitions are those of the project's metrics: agreement = share of positions where the greedy token equals the
baseline's on the baseline's own prefix; KL divergence of next-token distributions, baseline || variant, in nats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CHUNK_POSITIONS = 64
"""Positions handled at a time: 64 x a vocabulary of 150,000 x 8 bytes is 77 MB."""


def log_softmax(logits: Any) -> Any:
    """Natural log of softmax over the last axis, in float64, shifted by the maximum so that nothing overflows."""
    import numpy as np

    wide = np.asarray(logits, dtype=np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def kl_divergence_nats(baseline: Any, variant: Any) -> Any:
    """KL(baseline || variant) for each position: sum over the vocabulary of p * (log p - log q).

    `baseline` and `variant` are logits of shape (positions, vocabulary); returns shape (positions,).
    NaN in either gives NaN. Raises ValueError when the shapes differ.
    """
    import numpy as np

    if np.shape(baseline) != np.shape(variant):
        raise ValueError(f"logits of shapes {np.shape(baseline)} and {np.shape(variant)} cannot be compared")
    log_p, log_q = log_softmax(baseline), log_softmax(variant)
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=-1)


@dataclass
class PromptQuality:
    """One prompt's comparison."""

    name: str
    positions: int
    agreed: int
    kl_sum_nats: float
    """NaN when either side's logits hold a NaN or infinity."""

    @property
    def agreement(self) -> float:
        return self.agreed / self.positions

    @property
    def kl_nats(self) -> float:
        return self.kl_sum_nats / self.positions


@dataclass
class Comparison:
    """All prompts together; every position weighs the same."""

    prompts: list[PromptQuality] = field(default_factory=list)

    def add(self, name: str, baseline: Any, variant: Any) -> PromptQuality:
        """Compare logits of shape (positions, vocabulary), position by position.

        Raises ValueError when the shapes differ or there is no position.
        """
        import numpy as np

        if np.shape(baseline) != np.shape(variant):
            raise ValueError(f"logits of shapes {np.shape(baseline)} and {np.shape(variant)} cannot be compared")
        positions = int(np.shape(baseline)[0])
        if positions == 0:
            raise ValueError(f"no position to compare in {name}")
        agreed, kl_sum = 0, 0.0
        for start in range(0, positions, CHUNK_POSITIONS):
            ours = np.asarray(variant[start : start + CHUNK_POSITIONS], dtype=np.float64)
            theirs = np.asarray(baseline[start : start + CHUNK_POSITIONS], dtype=np.float64)
            if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
                kl_sum = float("nan")
                continue
            agreed += int((ours.argmax(axis=-1) == theirs.argmax(axis=-1)).sum())
            kl_sum += float(kl_divergence_nats(theirs, ours).sum())
        quality = PromptQuality(name, positions, agreed, kl_sum)
        self.prompts.append(quality)
        return quality

    @property
    def positions(self) -> int:
        return sum(prompt.positions for prompt in self.prompts)

    @property
    def agreement(self) -> float:
        """Share of all positions, 0 to 1. Raises ZeroDivisionError before anything was added."""
        return sum(prompt.agreed for prompt in self.prompts) / self.positions

    @property
    def kl_nats(self) -> float:
        """Mean over all positions; NaN when any prompt has one."""
        return sum(prompt.kl_sum_nats for prompt in self.prompts) / self.positions

    def figures(self) -> dict[str, Any]:
        """As a step's result keeps them: agreement, kl_nats, positions, and the worst prompts."""
        return {
            "agreement": round(self.agreement, 5),
            "kl_nats": round(self.kl_nats, 6),
            "positions": self.positions,
            "worst": [
                {"prompt": worst.name, "agreement": round(worst.agreement, 4), "kl_nats": round(worst.kl_nats, 5)}
                for worst in self.worst()
            ],
        }

    def worst(self, count: int = 3) -> list[PromptQuality]:
        """The prompts that agree least, NaN first, then by KL."""
        return sorted(self.prompts, key=lambda p: (p.kl_nats == p.kl_nats, p.agreement, -p.kl_nats))[:count]
