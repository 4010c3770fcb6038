"""Optimisation profiles: between which shapes an engine runs, and for which it is made best.

Prefill takes a prompt on whatever is remembered, decode one token. Each has kernels, and so laid-out weights, of its
own. `one` is a profile for both, made best for single tokens, since most passes are those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.workers.protocol import WorkerError

PREFILL, DECODE, ONE = "prefill", "decode", "one"
NAMES = {"prefill+decode": (PREFILL, DECODE), "one": (ONE,)}
"""Profile names by the setting; prefill comes first, as a runtime that knows of one profile takes the first."""

Shapes = dict[str, dict[str, list[int]]]
"""Input -> min, opt, max."""


@dataclass(frozen=True)
class Limits:
    """What an engine is built for. Lengths in tokens."""

    max_batch_size: int
    max_seq_len: int
    opt_prompt: int


@dataclass(frozen=True)
class Input:
    """An input of the network; -1 is a dimension that the runtime chooses."""

    name: str
    shape: tuple[int, ...]


def inputs_of(network: Any) -> list[Input]:
    """Inputs of a parsed network."""
    found = (network.get_input(index) for index in range(network.num_inputs))
    return [Input(tensor.name, tuple(tensor.shape)) for tensor in found]


def check_limits(limits: Limits, facts: Mapping[str, Any]) -> None:
    """Raises WorkerError `profile-too-long` and `profile-refused` for limits that the model or sense rules out."""
    positions = facts.get("max_seq_len")
    if isinstance(positions, int) and limits.max_seq_len > positions:
        raise WorkerError(
            f"the engine is to take {limits.max_seq_len} tokens, and the model has {positions} positions",
            code="profile-too-long",
            cause=f"max_seq_len = {limits.max_seq_len}, the model's own limit is {positions}",
            hint=f"Set limits.max_seq_len to {positions} or less.",
        )
    if limits.max_seq_len < 2 or limits.max_batch_size < 1 or not 1 <= limits.opt_prompt <= limits.max_seq_len:
        raise WorkerError(
            "the engine's limits contradict one another",
            code="profile-refused",
            cause=f"max_seq_len = {limits.max_seq_len}, opt_prompt = {limits.opt_prompt}, "
            f"max_batch_size = {limits.max_batch_size}",
            hint="A prompt is from 1 to limits.max_seq_len tokens, a sequence from 2.",
        )


def shapes_of(name: str, inputs: Iterable[Input], limits: Limits) -> Shapes:
    """Shapes of profile `name` for each input.

    Each input's largest shape is its own: prompt and memory never both reach the limit at once, and so the attention
    mask stays within it. Raises WorkerError `profile-refused` for an input whose shape cannot be filled.
    """
    most = limits.max_seq_len
    prompt, past = {
        PREFILL: ((1, limits.opt_prompt, most), (0, 0, most - 1)),
        DECODE: ((1, 1, 1), (1, min(limits.opt_prompt, most - 1), most - 1)),
        ONE: ((1, 1, most), (0, min(limits.opt_prompt, most - 1), most - 1)),
    }[name]
    total = tuple(min(new + old, most) for new, old in zip(prompt, past, strict=True))
    batch = (1, 1, limits.max_batch_size)
    found: Shapes = {}
    for one in inputs:
        lengths = past if one.name.startswith("past") else total if one.name == "attention_mask" else prompt
        found[one.name] = {
            which: _filled(name, one, batch[place], lengths[place]) for place, which in enumerate(("min", "opt", "max"))
        }
    return found


def _filled(profile: str, given: Input, batch: int, length: int) -> list[int]:
    """The shape with its open dimensions filled: the first is the batch's, the other one is a length."""
    filled = []
    for place, size in enumerate(given.shape):
        wanted = batch if place == 0 else length
        if size < 0 and place and sum(one < 0 for one in given.shape[1:]) > 1:
            raise _refused(profile, given, "it has more than one length that is open")
        if size >= 0 and (place == 0 or len(given.shape) == 2) and size != wanted:
            raise _refused(profile, given, f"dimension {place} is always {size}, the profile needs {wanted}")
        filled.append(wanted if size < 0 else size)
    return filled


def _refused(profile: str, given: Input, why: str) -> WorkerError:
    return WorkerError(
        f"the model's input {given.name} does not take the shapes of the profile {profile}",
        code="profile-refused",
        cause=f"{given.name} has the shape {list(given.shape)}: {why}",
        hint="Lower limits.max_batch_size or limits.max_seq_len, or run the convert step again for open lengths.",
    )


def add_profiles(builder: Any, config: Any, profiles: Iterable[tuple[str, Shapes]]) -> None:
    """Set the profiles in the builder's configuration. Raises WorkerError `profile-refused`."""
    for name, shapes in profiles:
        profile = builder.create_optimization_profile()
        try:
            for one, shape in shapes.items():
                profile.set_shape(one, shape["min"], shape["opt"], shape["max"])
            index = config.add_optimization_profile(profile)
        except (RuntimeError, ValueError) as error:
            raise _not_taken(name, str(error)) from error
        if index < 0:
            raise _not_taken(name, "the builder's log says why")


def _not_taken(name: str, why: str) -> WorkerError:
    return WorkerError(
        f"TensorRT-RTX does not take the optimisation profile {name}",
        code="profile-refused",
        cause=why[:400],
        hint="Lower limits.max_seq_len, limits.max_batch_size or build.flags.opt_prompt.",
    )
