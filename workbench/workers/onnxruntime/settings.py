"""Runtime settings of an ONNX Runtime engine, and a request's sampling in onnxruntime-genai's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.messages import Sampling
from workbench.workers.hosts.common import RequestError
from workbench.workers.onnxruntime.devices import Wanted

MOST_SEED = 2**31 - 1
_COLDEST = 1e-6
"""Temperatures below are greedy: the library divides by them in float32."""
_OWN = ("max_tokens", "stop", "ignore_eos", "logprobs")
"""What the host does itself."""
_THEIRS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "seed": "random_seed",
}
"""Fields of `Sampling` -> the library's search options."""


class HostSettings(BaseModel):
    """Runtime settings; None leaves a value to the library."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    device: Wanted = "auto"
    max_batch_size: int = Field(default=16, gt=0)
    """Requests that are open together, each with a KV cache of its own."""
    max_seq_len: int | None = Field(default=None, gt=0)
    num_threads: int | None = Field(default=None, gt=0)
    prefill_chunk: int = Field(default=256, ge=0)
    """Most tokens of a prompt that are computed before other requests have their turn and an abort its answer; fewer
    where they take longer than a quarter of a second. 0: all of them, however long it takes."""
    kv_cache_bytes: int | None = Field(default=None, gt=0)
    """What KV caches of open requests may hold together. None: four fifths of the memory that is free on a CPU, no
    bound on a GPU, whose memory the library does not report."""


@dataclass(frozen=True)
class Wish:
    """What a request asks for, in the library's words."""

    options: Mapping[str, Any]
    most: int
    """Tokens of the answer."""


def sampling_names(options: Iterable[str]) -> tuple[str, ...]:
    """Fields of `Sampling` that can be had where the library has these search options."""
    known = set(options)
    return tuple(name for name in Sampling.model_fields if name in _OWN or _THEIRS.get(name) in known)


def wish(sampling: Sampling, most: int, names: Iterable[str], vocabulary: int | None) -> Wish:
    """Search options of one request. Raises RequestError.

    Settings left out are neutral (no top-k, where the library's own default is 50; top-p 1; no penalty), so that they
    mean the same on every engine. Without a seed every request draws its own.
    """
    options: dict[str, Any] = {"do_sample": False}
    if sampling.repetition_penalty is not None:
        options["repetition_penalty"] = float(sampling.repetition_penalty)
    if sampling.temperature > _COLDEST:
        if sampling.min_p and "min_p" not in set(names):
            raise RequestError("onnxruntime-genai has no sampling setting min_p; leave it out")
        seed = -1 if sampling.seed is None else sampling.seed
        if sampling.seed is not None and not 0 <= seed <= MOST_SEED:
            raise RequestError(f"the sampling setting seed cannot be {seed}; it is from 0 to {MOST_SEED:,}")
        top_k = 0 if sampling.top_k is None else sampling.top_k
        options |= {
            "do_sample": True,
            "temperature": float(sampling.temperature),
            "top_p": 1.0 if sampling.top_p is None else float(sampling.top_p),
            "top_k": top_k if vocabulary is None else min(top_k, vocabulary),
            "random_seed": seed,
        }
        if sampling.min_p:
            options["min_p"] = float(sampling.min_p)
    return Wish(options, most)
