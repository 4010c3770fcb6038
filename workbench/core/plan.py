"""Plans: what a job will do, as data. Toolchains make the steps; the supervisor runs them; nothing here does either."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from workbench.core.units import Range

PLAN_SCHEMA = 1

StepKind = Literal["fetch", "check", "convert", "quantize", "build", "verify"]
STEP_KINDS: tuple[StepKind, ...] = ("fetch", "check", "convert", "quantize", "build", "verify")
ArtifactKind = Literal["model", "checkpoint", "engine"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class StepInput(_Frozen):
    """Where a step's input comes from: a folder that exists, or the artefact of an earlier step."""

    role: str
    path: str = ""
    step: str = ""

    @model_validator(mode="after")
    def _one_source(self) -> StepInput:
        if bool(self.path) == bool(self.step):
            raise ValueError("an input is either a path or an earlier step")
        return self


class Output(_Frozen):
    """The folder that a step makes. It is filled as `path`.partial and renamed when complete."""

    kind: ArtifactKind
    path: str
    name: str
    """For people: `SmolLM2-135M-Instruct int8`."""
    precision: str = ""
    chosen: bool = False
    """The person named this folder (`--out`): an equal artefact elsewhere is copied here, not used in place."""
    alternates: tuple[str, ...] = ()
    """Other folders where an artefact of the same key was seen when the plan was made."""


class StepEstimate(_Frozen):
    seconds: Range | None = None
    host_memory_bytes: Range | None = None
    disk_bytes: Range | None = None


class Step(_Frozen):
    """One worker run. All that decides its output is in `key_facts`, and `key` is their hash."""

    id: str
    kind: StepKind
    title: str
    variant: str = ""
    """Precision that this step belongs to; empty for steps that all variants share."""
    none_reason: str = ""
    """Not empty: this plan does not need the step, and why. It is shown as "none", not left out."""
    note: str = ""
    """What was chosen for the step and why, for people: "ModelOpt: it needs no GPU"."""
    worker: str = ""
    argv: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    settings: dict[str, Any] = Field(default_factory=dict)
    inputs: tuple[StepInput, ...] = ()
    output: Output | None = None
    record: str = ""
    """For a step that makes no folder: the file name under which its result is kept inside the first input."""
    lanes: tuple[str, ...] = ()
    key: str = ""
    key_facts: dict[str, Any] = Field(default_factory=dict)
    estimate: StepEstimate = StepEstimate()


class FileMark(_Frozen):
    """A source file as it was when the plan was made; the check step refuses to go on if it changed since."""

    path: str
    bytes: int
    mtime_ns: int


class PlanModel(_Frozen):
    """What a provenance needs to say of the source model."""

    name: str
    path: str
    architecture: str
    digest: str
    parameters: int
    weight_bytes: int


class Plan(_Frozen):
    schema_version: int = PLAN_SCHEMA
    title: str
    toolchain: str
    toolchain_versions: dict[str, str] = Field(default_factory=dict)
    preset_id: str = ""
    preset: dict[str, Any] = Field(default_factory=dict)
    model: PlanModel | None = None
    source_files: tuple[FileMark, ...] = ()
    anyway: bool = False
    """Estimates may object: the person said to build all the same."""
    target: str = ""
    """The target that the steps run on; empty: this machine."""
    machine: dict[str, Any] = Field(default_factory=dict)
    """That target's machine, as the provenance of what is made there tells it (fields of artifact.Machine)."""
    steps: tuple[Step, ...]

    @model_validator(mode="after")
    def _steps_in_order(self) -> Plan:
        seen: set[str] = set()
        for step in self.steps:
            if step.id in seen:
                raise ValueError(f"two steps are called {step.id}")
            for source in step.inputs:
                if source.step and source.step not in seen:
                    raise ValueError(f"{step.id} wants the artefact of {source.step}, which does not come before it")
            seen.add(step.id)
        return self

    def step(self, step_id: str) -> Step:
        """The step of that id. Raises KeyError."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    @property
    def last_output(self) -> Output | None:
        """The folder of the last artefact made."""
        made = [step.output for step in self.steps if step.output and not step.none_reason]
        return made[-1] if made else None


def cache_key(facts: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of all that decides a step's output (64 hex digits)."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def folder_name(*parts: str, key: str = "") -> str:
    """A folder name from words: letters, digits, dot, dash and underscore only, 80 characters, then 12 of the key."""
    words = "-".join(part for part in parts if part)
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in words).strip("-.")[:80]
    return f"{clean or 'unnamed'}-{key[:12]}" if key else clean or "unnamed"
