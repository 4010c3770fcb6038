"""Workloads: what is asked of an engine, as lengths and a kind of text. How fast it is asked is the load's part."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

WorkloadKind = Literal["chat", "rag", "summarise", "code", "file", "trace"]
LengthKind = Literal["fixed", "uniform", "normal", "lognormal", "values"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Lengths(_Frozen):
    """How long inputs or outputs are, in tokens: a distribution."""

    kind: LengthKind = "fixed"
    mean: float | None = Field(default=None, ge=1)
    """Of fixed: the length itself; of lognormal: the mean of the lengths, not of their logarithms."""
    stdev: float = Field(default=0.0, ge=0)
    low: int = Field(default=1, ge=1)
    """Shortest; the other kinds are cut to it as well."""
    high: int | None = Field(default=None, ge=1)
    """Longest; required for uniform."""
    values: tuple[int, ...] = ()
    """Of kind values: drawn from with equal chance."""

    @model_validator(mode="after")
    def _complete(self) -> Lengths:
        if self.kind in ("fixed", "normal", "lognormal") and self.mean is None:
            raise ValueError(f"{self.kind} lengths need a mean")
        if self.kind == "uniform" and self.high is None:
            raise ValueError("uniform lengths need low and high")
        if self.high is not None and self.high < self.low:
            raise ValueError(f"the longest ({self.high}) is shorter than the shortest ({self.low})")
        if self.kind == "values" and (not self.values or min(self.values) < 1):
            raise ValueError("lengths by values need one value at least, all of 1 or more")
        return self

    @property
    def words(self) -> str:
        """`512`, `128 to 1,024`, `512 ± 64`, `lognormal, mean 512 ± 300`, `from 7 values`."""
        if self.kind == "fixed":
            return f"{self.mean:,.0f}"
        if self.kind == "uniform":
            return f"{self.low:,} to {self.high:,}"
        if self.kind == "values":
            return f"from {len(self.values):,} values"
        spread = f"{self.mean:,.0f} ± {self.stdev:,.0f}"
        return spread if self.kind == "normal" else f"lognormal, mean {spread}"


def fixed(tokens: int) -> Lengths:
    return Lengths(kind="fixed", mean=tokens)


class Workload(_Frozen):
    """What is asked. Equal workloads with equal seeds ask the same of every engine with the same tokenizer."""

    name: str = "chat"
    kind: WorkloadKind = "chat"
    input: Lengths = Lengths(kind="fixed", mean=512)
    """Whole prompt, chat template and shared prefix included."""
    output: Lengths = Lengths(kind="fixed", mean=256)
    fixed_output: bool = True
    """Answers go on to their length whatever the model wants to say (`ignore_eos`): the fair way to compare speed."""
    shared_prefix_tokens: int = Field(default=0, ge=0)
    """So many first tokens are the same in all requests of a group."""
    prefix_groups: int = Field(default=1, ge=1, le=10_000)
    chat: bool = True
    """Sent as a message with the chat template, else as plain text."""
    file: str = ""
    """Of kind file or trace: its path."""
    prompts: int = Field(default=240, ge=1, le=100_000)
    """Distinct prompts; they are asked again from the first on when a run needs more."""
    seed: int = Field(default=1234, ge=0, le=2**31 - 1)
    temperature: float = Field(default=0.0, ge=0.0, le=10.0)

    @model_validator(mode="after")
    def _file_given(self) -> Workload:
        if self.kind in ("file", "trace") and not self.file:
            raise ValueError(f"a workload of kind {self.kind} needs a file")
        return self

    @property
    def words(self) -> str:
        """`chat, 512 tokens in, 256 out (fixed)`."""
        if self.kind in ("file", "trace"):
            return f"{self.kind} {self.file}"
        out = f"{self.output.words} out" + (" (fixed)" if self.fixed_output else " at most")
        shared = f", {self.shared_prefix_tokens:,} shared" if self.shared_prefix_tokens else ""
        return f"{self.name}, {self.input.words} tokens in{shared}, {out}"


WORKLOADS: dict[str, Workload] = {
    "demo": Workload(name="demo", kind="chat", input=fixed(64), output=fixed(32)),
    "chat": Workload(name="chat", kind="chat", input=fixed(512), output=fixed(256)),
    "rag": Workload(name="rag", kind="rag", input=fixed(3072), output=fixed(256), shared_prefix_tokens=256),
    "summarise": Workload(name="summarise", kind="summarise", input=fixed(2048), output=fixed(128)),
    "code": Workload(name="code", kind="code", input=fixed(1024), output=fixed(512)),
}
"""The shipped ones. The lengths are round numbers of our own choice, near what serving benchmarks use."""
