"""Host memory, disk and time of the TensorRT-LLM steps, as wide ranges with their sources."""

from __future__ import annotations

from workbench.core.estimate import weight_bytes
from workbench.core.model import ModelSpec
from workbench.core.plan import StepEstimate, StepKind
from workbench.core.units import Range, format_bytes

_GIB = 2**30
_RULE = "rule of thumb, not measured for this model"
_REPORTED = "reported builds (Gemma-2-9B at BF16: host peak 40 GB, 2.2 x its checkpoint; 47 s)"


def gpu_step_estimate(
    model: ModelSpec,
    step: StepKind,
    precision: str,
    *,
    group_size: int | None = None,
    ranks: int = 1,
    workers: int = 1,
    on_gpu: bool = True,
) -> StepEstimate:
    """Of convert, quantize, verify (a checkpoint's) or build; `workers` ranks are built at once."""
    goal = weight_bytes(model, precision, group_size=group_size, untied=True)
    source = model.weight_bytes or 2 * model.parameters
    billions = model.parameters / 1e9
    if step == "build":
        at_once = min(workers, ranks) / ranks
        memory = Range.bytes(
            2.0 * _GIB + 1.1 * goal.low * at_once,
            6.0 * _GIB + 2.3 * goal.high * at_once,
            formula=f"2 to 6 GiB of libraries + 1.1 to 2.3 x {goal} of checkpoint"
            + (f" x {min(workers, ranks)} of {ranks} ranks at once" if ranks > 1 else ""),
            source=_REPORTED,
        )
        seconds = Range.seconds(
            (20 + 2 * billions / workers),
            (300 + 60 * billions / at_once / max(ranks, 1)) * max(ranks // workers, 1),
            formula=f"20 to 300 s + 2 to 60 s a billion parameters, {ranks} ranks, {workers} at once",
            source=_REPORTED,
        )
        return StepEstimate(seconds=seconds, host_memory_bytes=memory, disk_bytes=_disk(model, goal, "engine"))
    low, high, fast, slow = {
        "convert": (1.0, 1.7, 1.0, 20.0),
        "quantize": (0.3 if on_gpu else 1.2, 2.3 if on_gpu else 2.8, 4.0 if on_gpu else 60.0, 120.0),
        "verify": (1.5, 4.5, 2.0, 400.0),
    }[step if step in ("convert", "quantize") else "verify"]
    if step == "quantize" and not on_gpu:
        slow = 6000.0 if "awq" in precision else 1500.0
    memory = Range.bytes(
        0.6 * _GIB + low * source,
        3.0 * _GIB + high * source,
        formula=f"0.6 to 3 GiB of libraries + {low:g} to {high:g} x {format_bytes(source)} of model",
        source=_RULE,
    )
    seconds = Range.seconds(
        8 + fast * billions,
        90 + slow * billions,
        formula=f"8 to 90 s of loading + {fast:g} to {slow:g} s a billion parameters x {billions:.2f}",
        source=_RULE,
    )
    disk = None if step == "verify" else _disk(model, goal, "checkpoint")
    return StepEstimate(seconds=seconds, host_memory_bytes=memory, disk_bytes=disk)


def _disk(model: ModelSpec, goal: Range, what: str) -> Range:
    tokenizer = sum(size for file, size in model.files if file in model.tokenizer_files)
    return Range.bytes(
        0.97 * goal.low,
        1.1 * goal.high + tokenizer + 64 * 2**20,
        formula=f"{what} of {goal}, up to 10 % and 64 MiB more, {format_bytes(tokenizer)} of tokenizer",
        source="arithmetic on the model's shapes",
    )
