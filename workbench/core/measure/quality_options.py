"""What to score: texts, prompts, tasks, simulated precisions."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Simulated = Literal["fp8", "int8_sq", "int4_awq", "nvfp4"]
TaskKind = Literal["auto", "mmlu", "arc", "hellaswag", "gsm8k"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskOptions(_Frozen):
    """A file of questions, and how it is asked."""

    path: str
    kind: TaskKind = "auto"
    """auto: told by the file's own columns."""
    name: str = ""
    """Empty: the file's name."""
    limit: int | None = Field(default=None, ge=1)
    """So many questions, spread evenly over the file; None: all."""
    shots: int = Field(default=0, ge=0, le=32)
    """Solved examples in front, taken from the file's other questions."""


class LmEvalOptions(_Frozen):
    """lm-evaluation-harness against an endpoint."""

    tasks: tuple[str, ...]
    limit: int | None = Field(default=None, ge=1)
    shots: int | None = Field(default=None, ge=0)


class QualityOptions(_Frozen):
    """What is scored."""

    text: str = ""
    """Path of a text or JSONL file for the perplexity; empty: the text that ships."""
    passages: int | None = Field(default=None, ge=1)
    """So many of its passages; None: all."""
    window_tokens: int = Field(default=512, ge=16, le=32768)
    """Longest context that a token of the text is predicted from."""
    prompts: tuple[str, ...] = ()
    """What the baseline answers, for agreement and KL; empty: the prompts that ship."""
    max_prompts: int | None = Field(default=None, ge=1)
    answer_tokens: int = Field(default=32, ge=1, le=4096)
    """Longest answer to a prompt."""
    tasks: tuple[TaskOptions, ...] = ()
    lm_eval: LmEvalOptions | None = None
    simulate: tuple[Simulated, ...] = ()
    """Precisions whose quality is simulated by ModelOpt on the baseline's source model, without an engine."""
    calibration_samples: int = Field(default=32, ge=1)
    """Of a simulated precision."""

    @field_validator("simulate")
    @classmethod
    def _once(cls, value: tuple[Simulated, ...]) -> tuple[Simulated, ...]:
        """Each once: they are told apart by name."""
        return tuple(dict.fromkeys(value))


def simulated_id(precision: str) -> str:
    """The subject id of a simulated precision: `sim-fp8`."""
    return f"sim-{precision}"
