"""Loads an ONNX engine folder into onnxruntime-genai, and computes answers with it one token a call.

Each answer has a Generator of its own, so a run of the model holds one sequence. The library's Engine API, which
batches requests, does not fit these folders (0.18): batches that requests may join need a graph with PagedAttention,
which ONNX Runtime has for CUDA alone, and with an ordinary graph it runs fixed batches of at most four. There prompts
shorter than the longest of their batch got wrong answers (three of four here), new requests wait for the whole batch,
prompts are not cut in pieces, and logits cannot be had.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.workers.common import first_line, read_json
from workbench.workers.hosts.common import Limits, RequestError, available_bytes
from workbench.workers.onnx.common import GENAI_FILE, load_cuda
from workbench.workers.onnxruntime.answering import Answering, Pace
from workbench.workers.onnxruntime.common import (
    CONTEXT_FILE,
    cannot_load,
    engine_facts,
    genai,
    is_out_of_memory,
    read_tokenizer,
)
from workbench.workers.onnxruntime.devices import (
    RTX_MODULE,
    RTX_PROVIDER,
    Place,
    choose,
    rtx_library,
)
from workbench.workers.onnxruntime.settings import HostSettings, Wish, sampling_names
from workbench.workers.protocol import WorkerError

_WARM_UP_TOKENS = 8
_CPU_SHARE = 0.8
"""Of the memory that is free once the engine is loaded, for KV caches."""


@dataclass
class Engine:
    """A loaded engine."""

    og: Any
    model: Any
    tokenizer: Any
    place: Place
    limits: Limits
    end_ids: frozenset[int]
    prefill_chunk: int
    """Most tokens of a prompt that are computed at a time; 0: all of them."""
    pace: Pace
    sampling: tuple[str, ...]
    kv_bytes_per_token: int
    kv_budget_bytes: int | None
    """What KV caches may hold together; None: no bound is known."""
    load_seconds: float = 0.0
    applied: dict[str, str] = field(default_factory=dict)
    """What is really in force."""

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Tokens of a text."""
        return list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: list[int]) -> str:
        """Text of tokens, special ones left out; incomplete characters show as U+FFFD."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))

    def reserve_bytes(self, tokens: int) -> int:
        """KV bytes of a sequence of so many tokens while it grows: the model writes a new cache beside the old."""
        return 2 * tokens * self.kv_bytes_per_token

    def start(self, prompt: Sequence[int], wish: Wish, *, logprobs: bool = False) -> Answering:
        """A generator for one request. Raises RequestError in the library's words."""
        try:
            params = self.og.GeneratorParams(self.model)
            params.set_search_options(max_length=len(prompt) + wish.most, **wish.options)
            generator = self.og.Generator(self.model, params)
        except (RuntimeError, ValueError, TypeError) as error:
            raise RequestError(f"the engine does not accept the request: {first_line(error)}") from error
        return Answering(generator, prompt, self.pace, logprobs)


def load_engine(folder: Path, settings: HostSettings) -> Engine:
    """Load the engine in `folder` and make its first tokens.

    Raises WorkerError: `bad-engine`, `missing-onnx-data`, `no-tokenizer`, `engine-load-failed`, `out-of-memory`,
    `bad-settings`, `import-failed`, and what `devices.choose` raises.
    """
    started = time.monotonic()
    facts = engine_facts(folder)
    config = read_json(folder / GENAI_FILE)
    place = choose(settings.device, facts, folder)
    longest = _longest(settings, facts, config)
    tokenizer = read_tokenizer(folder)
    og = genai()
    model = _open(og, folder, place, overlay_of(settings, place, longest), facts)
    chunk, widest = prompt_piece(settings.prefill_chunk, facts, place)
    vocabulary = config["model"].get("vocab_size")
    ends = config["model"].get("eos_token_id")
    engine = Engine(
        og=og,
        model=model,
        tokenizer=tokenizer,
        place=place,
        limits=Limits(longest, None, vocabulary if isinstance(vocabulary, int) else None, widest),
        end_ids=frozenset([ends] if isinstance(ends, int) else ends or ()),
        prefill_chunk=chunk,
        pace=Pace(chunk),
        sampling=sampling_names(og.GeneratorParams(model).get_search_options()),
        kv_bytes_per_token=0,
        kv_budget_bytes=None,
    )
    kv_precision = _warm_up(engine, longest, config, facts)
    engine.kv_budget_bytes = _budget(settings, place)
    engine.limits = _limits_with_kv(engine, settings)
    engine.applied = _applied(settings, place, facts, chunk, kv_precision)
    engine.load_seconds = time.monotonic() - started
    return engine


def overlay_of(settings: HostSettings, place: Place, longest: int) -> dict[str, Any]:
    """What is laid over genai_config.json. Shapes of the TensorRT-RTX provider go by `context_length`, so that is the
    engine's own; the cache grows with its sequence, as these graphs do it."""
    session: dict[str, Any] = {}
    if settings.num_threads is not None:
        session["intra_op_num_threads"] = settings.num_threads
    decoder: dict[str, Any] = {"session_options": session} if session else {}
    if place.device == "rtx":
        decoder["filename"] = CONTEXT_FILE
    model: dict[str, Any] = {"context_length": longest}
    if decoder:
        model["decoder"] = decoder
    return {"model": model, "search": {"max_length": longest, "past_present_share_buffer": False}}


def prompt_piece(wanted: int, facts: Mapping[str, Any], place: Place) -> tuple[int, int | None]:
    """(tokens of a prompt that are computed at a time, longest prompt where it cannot be cut).

    A compiled engine takes only shapes of its profiles. With one profile that takes several tokens behind a cache a
    prompt can be cut; with several it cannot, whatever they take: see `provider_options`.
    """
    profiles = facts.get("profiles")
    if place.device != "rtx" or not isinstance(profiles, list) or not profiles:
        return wanted, None
    shapes = profiles[0].get("shapes") or {}
    widest = int(shapes["input_ids"]["max"][1]) if "input_ids" in shapes else 0
    behind = max((int(one["max"][2]) for name, one in shapes.items() if name.startswith("past_key_values")), default=0)
    if len(profiles) == 1 and widest > 1 and behind > 0:
        return min(wanted or widest, widest), None
    return 0, widest or None


def provider_options(facts: Mapping[str, Any], place: Place) -> dict[str, str]:
    """Options of the TensorRT-RTX provider for an engine with these facts; none for other places.

    With `nv_multi_profile_enable` onnxruntime-genai asks for profile 0 in the first run of a sequence and for profile
    1 in every later one, so the whole prompt is one run; without it profile 0 would compute single tokens too. An
    engine that can stream its weights does so only when it is given a budget; -1 is TensorRT-RTX's own choice.
    Sources: IsMultiProfileEnabled and State::Run of onnxruntime-genai 0.18; tensorrt_rtx_provider_options.h of the
    provider 0.5.0.
    """
    if place.device != "rtx":
        return {}
    profiles = facts.get("profiles")
    found = {"nv_multi_profile_enable": "1"} if isinstance(profiles, list) and len(profiles) > 1 else {}
    return found | ({"nv_weight_streaming_budget": "-1"} if facts.get("weight_streaming") is True else {})


def _open(og: Any, folder: Path, place: Place, overlay: Mapping[str, Any], facts: Mapping[str, Any]) -> Any:
    try:
        if place.device != "cpu":
            load_cuda()
        if place.device == "rtx":
            _register_rtx(og, place)
        config = og.Config(str(folder))
        config.clear_providers()
        if place.genai_name:
            config.append_provider(place.genai_name)
        for name, value in provider_options(facts, place).items():
            config.set_provider_option(place.genai_name, name, value)
        config.overlay(json.dumps(overlay))
        return og.Model(config)
    except (RuntimeError, ValueError, OSError, ImportError) as error:
        raise cannot_load(error, dict(facts), place.words) from error


def _register_rtx(og: Any, place: Place) -> None:
    """Make the provider's library known, and this GPU the only one: the provider would take all."""
    import importlib

    if place.gpu is not None and place.gpu.uuid:
        os.environ["CUDA_VISIBLE_DEVICES"] = place.gpu.uuid
    importlib.import_module(RTX_MODULE)  # loads the libraries that the provider's needs
    og.register_execution_provider_library(RTX_PROVIDER, str(rtx_library()))


def _longest(settings: HostSettings, facts: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """Longest sequence in tokens: the least that the model, the build and the settings say."""
    model = config.get("model")
    limits = facts.get("limits")
    said = (
        model.get("context_length") if isinstance(model, dict) else None,
        limits.get("max_seq_len") if isinstance(limits, dict) else None,
        settings.max_seq_len,
    )
    lengths = [length for length in said if isinstance(length, int) and length > 0]
    if not lengths or not isinstance(model, dict):
        raise WorkerError(
            "the engine does not say how long a sequence may be",
            code="bad-engine",
            cause=f"no model.context_length in {GENAI_FILE}",
            hint="Build the engine again.",
        )
    return min(lengths)


def _warm_up(engine: Engine, longest: int, config: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Make two tokens: an engine that cannot generate should not become ready. Notes the KV bytes of a token; returns
    the cache's precision."""
    tokens = max(1, min(_WARM_UP_TOKENS, longest - 2))
    try:
        answering = engine.start([0] * tokens, Wish({"do_sample": False}, 2))
        while answering.step() is None:
            pass
        engine.kv_bytes_per_token, precision = _kv_of(answering, config["model"]["decoder"], facts, tokens)
        answering.step()
    except (RuntimeError, RequestError) as error:
        if is_out_of_memory(str(error)):
            raise cannot_load(error, {}, engine.place.words) from error
        raise WorkerError(
            "the engine loads but cannot generate",
            code="bad-engine",
            cause=first_line(error),
            hint="Build it again.",
        ) from error
    return precision


def _kv_of(answering: Answering, decoder: Mapping[str, Any], facts: Mapping[str, Any], tokens: int) -> tuple[int, str]:
    """(bytes of a token, precision) of the KV cache, by what the model wrote for `tokens` tokens; by the configuration
    for BF16, of which the library makes no arrays."""
    layers = int(decoder["num_hidden_layers"])
    if facts.get("compute") == "bf16":
        return 2 * 2 * layers * int(decoder["num_key_value_heads"]) * int(decoder["head_size"]), "bf16"
    names = (decoder["outputs"]["present_key_names"], decoder["outputs"]["present_value_names"])
    written = [answering.output(name.replace("%d", str(layer))) for name in names for layer in range(layers)]
    kind = str(written[0].dtype)
    return sum(each.nbytes for each in written) // tokens, {"float32": "fp32", "float16": "fp16"}.get(kind, kind)


def _budget(settings: HostSettings, place: Place) -> int | None:
    free = available_bytes() if place.device == "cpu" else None
    if settings.kv_cache_bytes is None:
        return None if free is None else int(free * _CPU_SHARE)
    if free is not None and settings.kv_cache_bytes > free:
        raise WorkerError(
            "the KV cache does not fit into this machine's free memory",
            code="out-of-memory",
            cause=f"kv_cache_bytes = {settings.kv_cache_bytes:,}, {free:,} bytes are free",
            hint="Choose less for kv_cache_bytes or close other programs.",
        )
    return settings.kv_cache_bytes


def _limits_with_kv(engine: Engine, settings: HostSettings) -> Limits:
    """The limits, with what the longest sequence of all finds room for where that is less than it may have."""
    limits = engine.limits
    if engine.kv_budget_bytes is None:
        return limits
    tokens = engine.kv_budget_bytes // engine.reserve_bytes(1)
    if tokens < 2:
        raise WorkerError(
            "the KV cache is smaller than two tokens need",
            code="bad-settings",
            cause=f"kv_cache_bytes = {settings.kv_cache_bytes or engine.kv_budget_bytes:,}, a token takes "
            f"{engine.reserve_bytes(1):,} bytes while its sequence grows",
            hint="Give it more memory.",
        )
    if tokens >= limits.max_seq_len:
        return limits
    return Limits(limits.max_seq_len, tokens, limits.vocabulary, limits.prompt_batch)


def _applied(
    settings: HostSettings, place: Place, facts: Mapping[str, Any], chunk: int, kv_precision: str
) -> dict[str, str]:
    found = {
        "device": place.words,
        "execution_provider": place.provider,
        "model_file": CONTEXT_FILE if place.device == "rtx" else "model.onnx",
        "kv_cache_precision": kv_precision,
        "batching": "one sequence a run, taken in turn",
        "prefix_caching": "off",
        "chunked_prefill": "on" if chunk else "off",
    }
    for name, key in (("compute_precision", "compute"), ("weights_precision", "precision")):
        if facts.get(key):
            found[name] = str(facts[key])
    if chunk:
        found["prefill_chunk"] = str(chunk)
    if settings.num_threads is not None:
        found["threads"] = str(settings.num_threads)
    if place.remark:
        found["remark"] = place.remark
    return found
