"""Loads a Hugging Face folder for transformers' continuous batching, with a paged KV pool of known size."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.messages import Sampling
from workbench.workers.hosts.common import Limits, RequestError
from workbench.workers.protocol import Channel, WorkerError
from workbench.workers.pytorch.common import free_bytes, is_out_of_memory, out_of_memory, tensor_bytes
from workbench.workers.pytorch.load import HostSettings, from_library, load_model

_DEFAULT_CPU_KV_BYTES = 2**30
_WARM_UP_TOKENS = 8
_WARM_UP_SECONDS = 300.0
_OWN = ("max_tokens", "stop", "ignore_eos")
"""Fields of `Sampling` that every host of this kind takes."""
_DRAWN = ("temperature", "top_p", "top_k")


@dataclass
class Engine:
    """A loaded model and the library's manager, whose thread turns the iterations."""

    manager: Any
    tokenizer: Any
    device: Any
    settings: HostSettings
    limits: Limits
    kv_blocks: int
    kv_block_tokens: int
    kv_groups: int
    """Layer groups, each with blocks of its own: more than one where layers with and without a window are mixed."""
    weights_bytes: int
    kv_pool_bytes: int
    end_ids: frozenset[int]
    load_seconds: float
    model: Any
    quantization: str | None

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Tokens of a text."""
        return list(self.tokenizer.encode(text, add_special_tokens=add_special_tokens))

    def decode(self, ids: list[int]) -> str:
        """Text of tokens, special ones left out; incomplete characters show as U+FFFD."""
        return str(self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def blocks_for(self, tokens: int) -> int:
        """Blocks that a sequence of so many tokens comes to hold; the library takes one ahead."""
        return self.kv_groups * _blocks(tokens, self.kv_block_tokens)

    def kv_blocks_used(self) -> int:
        """Blocks held by requests now; those kept only for their prefix count as free, as they are given up."""
        return self.kv_blocks - int(self.manager.batch_processor.cache.get_num_free_blocks())

    def running(self) -> int:
        """Requests the library has begun."""
        return len(self.manager.batch_processor.scheduler.active_requests)

    def pending(self) -> bool:
        """Whether the library holds requests, begun or not."""
        return bool(self.manager.batch_processor.has_pending_requests())

    def add(self, number: str, ids: list[int], sampling: Sampling, max_tokens: int) -> None:
        """Hand a request to the library. Raises RequestError when it takes none any more."""
        ends = [-1] if sampling.ignore_eos else sorted(self.end_ids) or [-1]
        accepted = self.manager.add_request(
            ids,
            request_id=number,
            max_new_tokens=max_tokens,
            streaming=True,
            eos_token_id=ends,
            **self._drawn_by(sampling),
        )
        if accepted is None:
            raise RequestError("the engine takes no requests any more; load it again")

    def applied(self) -> dict[str, str]:
        """What is really in force, read from the loaded model and the library's manager, not from the settings."""
        processor, config = self.manager.batch_processor, self.manager.continuous_batching_config
        compute = str(self.model.dtype).removeprefix("torch.")
        found = {
            "device": _device_words(self.device),
            "compute_precision": compute,
            "weights_precision": self.quantization or compute,
            "kv_cache_precision": str(processor.cache.key_cache[0].dtype).removeprefix("torch."),
            "attention": str(self.model.config._attn_implementation),
            "scheduler": type(processor.scheduler).__name__,
            "prefix_caching": _on(processor.cache.use_prefix_sharing),
            "chunked_prefill": "on",
            "mode": self._mode(processor, config),
        }
        if self.device.type == "cpu":
            import torch

            found["threads"] = str(torch.get_num_threads())
        return found

    def _mode(self, processor: Any, config: Any) -> str:
        level = int(getattr(config, "default_compile_level", 0) or 0)
        compiled = level > 0 or bool(getattr(config, "use_default_compile_configs", False))
        graphs = config.use_cuda_graph
        words = f"compiled, level {level}" if level else "compiled" if compiled else "eager"
        return words + (", CUDA graphs" if (any(graphs) if isinstance(graphs, tuple) else graphs) else "")

    def sampling_names(self) -> tuple[str, ...]:
        """Fields of `Sampling` that this engine takes."""
        more = _DRAWN if self.settings.do_sample else ("logprobs",) if self.settings.logprobs else ()
        return tuple(name for name in Sampling.model_fields if name in (*_OWN, *more))

    def check(self, sampling: Sampling) -> None:
        """Raises RequestError for sampling settings that would change the answer and cannot be had here."""
        if sampling.repetition_penalty not in (None, 1.0):
            raise RequestError("this engine has no repetition penalty; leave it out")
        if sampling.logprobs and "logprobs" not in self.sampling_names():
            raise RequestError("this engine was loaded without log probabilities; switch logprobs on and do_sample off")
        if sampling.temperature == 0:
            return
        if not self.settings.do_sample:
            raise RequestError(
                f"this engine answers greedily and temperature is {sampling.temperature:g}; "
                "set it to 0 or load the engine with do_sample"
            )
        for name in ("min_p", "seed"):
            if getattr(sampling, name) not in (None, 0.0):
                raise RequestError(f"this engine has no sampling setting {name}; leave it out")

    def _drawn_by(self, sampling: Sampling) -> dict[str, Any]:
        if not self.settings.do_sample:
            return {}
        if sampling.temperature == 0:
            return {"temperature": 1.0, "top_k": 1, "top_p": 1.0}
        return {
            "temperature": float(sampling.temperature),
            "top_k": min(sampling.top_k or self.limits.vocabulary or 2**30, self.limits.vocabulary or 2**30),
            "top_p": 1.0 if sampling.top_p is None else float(sampling.top_p),
        }


def _device_words(device: Any) -> str:
    if device.type != "cuda":
        return str(device.type).upper()
    import torch

    return f"GPU {device.index}: {torch.cuda.get_device_name(device)}"


def _on(value: Any) -> str:
    return "on" if value else "off"


def _blocks(tokens: int, block_tokens: int) -> int:
    return (tokens + 1) // block_tokens + 1


def load_engine(folder: Path, settings: HostSettings, channel: Channel) -> Engine:
    """Load the model in `folder`, make its KV pool and its first tokens. Raises WorkerError."""
    started = time.monotonic()
    channel.phase("load", 1, 2)
    if settings.expandable_segments:
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    loaded = load_model(folder, settings, attention=f"paged|{settings.attention}")
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model, device = loaded.model, loaded.device
    _spare_attention_plans(settings, device)
    config = model.config.get_text_config()
    block_bytes, groups = _kv_block(config, settings.kv_block_tokens, model.dtype.itemsize)
    longest = min((n for n in (getattr(config, "max_position_embeddings", None), settings.max_seq_len) if n), default=0)
    blocks = _kv_blocks(settings, device, block_bytes, groups * _blocks(longest, settings.kv_block_tokens))
    kv_tokens = (blocks // groups) * settings.kv_block_tokens - 2  # the most that `_blocks` finds room for
    if kv_tokens < 4:
        raise WorkerError(
            "the KV pool is smaller than one sequence needs",
            code="bad-settings",
            cause=f"{blocks} blocks of {settings.kv_block_tokens} tokens",
            hint="Give the KV pool more memory.",
        )
    ends = model.generation_config.eos_token_id
    ends = config.eos_token_id if ends is None else ends
    end_ids = frozenset([ends] if isinstance(ends, int) else ends or ())
    channel.phase("warm up", 2, 2)
    manager = from_library(
        lambda: model.init_continuous_batching(
            generation_config=_generation_config(GenerationConfig, settings, end_ids),
            continuous_batching_config=_batching_config(ContinuousBatchingConfig, settings, device, blocks),
        ),
        "the model for continuous batching",
        "bad-engine",
    )
    from_library(manager.warmup, "the KV pool", "bad-engine")
    cache = manager.batch_processor.cache
    vocabulary = getattr(config, "vocab_size", None)
    lengths = [n for n in (getattr(config, "max_position_embeddings", None), settings.max_seq_len) if n]
    engine = Engine(
        manager=manager,
        tokenizer=loaded.tokenizer,
        device=device,
        settings=settings,
        limits=Limits(max_seq_len=min(lengths, default=kv_tokens), kv_tokens=kv_tokens, vocabulary=vocabulary),
        kv_blocks=blocks,
        kv_block_tokens=int(cache.block_size),
        kv_groups=groups,
        weights_bytes=tensor_bytes([*model.parameters(), *model.buffers()]),
        kv_pool_bytes=tensor_bytes([*cache.key_cache, *cache.value_cache]),
        end_ids=end_ids,
        load_seconds=0.0,
        model=model,
        quantization=loaded.quantization,
    )
    _first_tokens(engine)
    engine.load_seconds = time.monotonic() - started
    return engine


def _spare_attention_plans(settings: HostSettings, device: Any) -> None:
    """Keep PyTorch from cuDNN's attention, which builds a plan for each shape that it has not seen.

    In a batch whose lengths vary that is each iteration: an H200 took 74 ms for 8 requests of ever new lengths and
    27 ms where the lengths came again (PyTorch 2.11). CUDA graphs replay a few shapes, so there it may stay.
    """
    import torch

    if device.type == "cuda" and not settings.graphs_on(device.type):
        torch.backends.cuda.enable_cudnn_sdp(False)


def _kv_block(config: Any, block_tokens: int, element_bytes: int) -> tuple[int, int]:
    """Bytes of one block and the number of layer groups: keys and values of a group's layers for its tokens."""
    from transformers.generation.continuous_batching.cache import group_layers_by_attn_type

    groups, _ = group_layers_by_attn_type(config)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * len(groups[0]) * block_tokens * heads * head_dim * element_bytes, len(groups)


def _kv_blocks(settings: HostSettings, device: Any, block_bytes: int, sequence_blocks: int) -> int:
    """How many blocks the pool gets; `sequence_blocks`: what the longest sequence holds. Raises WorkerError when that
    cannot be had.
    """
    free = free_bytes(device)
    if device.type == "cuda" or "kv_fraction" in settings.model_fields_set:
        budget = settings.kv_cache_bytes or int((free or 0) * settings.kv_fraction)
    else:
        budget = settings.kv_cache_bytes or min(_DEFAULT_CPU_KV_BYTES, (free or 4 * _DEFAULT_CPU_KV_BYTES) // 4)
    blocks = settings.kv_blocks or budget // block_bytes
    asked = {"kv_blocks", "kv_cache_bytes", "kv_fraction"} & settings.model_fields_set
    if not asked and not settings.prefix_caching:
        # More than a full batch of the longest sequences would never be used, and a large pool costs each iteration.
        blocks = min(blocks, settings.max_batch_size * sequence_blocks)
    if blocks < 1:
        raise WorkerError(
            "the KV pool is smaller than one block",
            code="bad-settings",
            cause=f"kv_cache_bytes = {budget:,}, one block is {block_bytes:,} bytes",
            hint="Give the KV pool more memory.",
        )
    if free is not None and blocks * block_bytes > free:
        raise WorkerError(
            "the KV pool does not fit into the device's free memory",
            code="out-of-memory",
            cause=f"{blocks * block_bytes:,} bytes wanted, {free:,} bytes free",
            hint="Choose a smaller KV pool (kv_cache_bytes) or end other programs on the device.",
        )
    return int(blocks)


def _generation_config(make: Any, settings: HostSettings, end_ids: frozenset[int]) -> Any:
    """Neutral settings, not the model's own, so that they mean the same on every engine."""
    ends = sorted(end_ids) or [-1]
    if not settings.do_sample:
        return make(do_sample=False, eos_token_id=ends, pad_token_id=ends[0])
    # The library makes a processor only for what is not neutral here; every request then brings its own values.
    return make(do_sample=True, temperature=0.5, top_k=1, top_p=0.5, eos_token_id=ends, pad_token_id=ends[0])


def _batching_config(make: Any, settings: HostSettings, device: Any, blocks: int) -> Any:
    """The library's settings, as far as this version of it knows them."""
    known = {field.name for field in dataclasses.fields(make)}
    if settings.do_sample and "per_request_processors" not in known:
        raise WorkerError(
            "this version of transformers cannot draw tokens by each request's own settings",
            code="bad-settings",
            cause="do_sample is on and ContinuousBatchingConfig has no per_request_processors",
            hint="Switch do_sample off, or update transformers to 5.17 or newer.",
        )
    wanted = {
        "block_size": settings.kv_block_tokens,
        "num_blocks": blocks,
        "max_batch_tokens": settings.max_num_batched_tokens or (1024 if device.type == "cuda" else 256),
        "max_memory_percent": 0.98,
        "max_requests_per_batch": settings.max_batch_size,
        "max_blocks_per_request": None if settings.attention.startswith("flash") else 0,
        "allow_block_sharing": settings.prefix_caching,
        "use_async_batching": False,
        "use_cuda_graph": settings.graphs_on(device.type),
        # The host lets in only what fits to its end, so none of the pool need be kept back.
        "safety_margin": 0.0,
        "return_logprobs": settings.logprobs and not settings.do_sample,
        "per_request_processors": settings.do_sample,
    }
    if "default_compile_level" in known:
        wanted["default_compile_level"] = settings.compile_level
    else:
        wanted["use_default_compile_configs"] = settings.compile_level > 0  # before 5.11: on or off
    return make(**{name: value for name, value in wanted.items() if name in known})


def _first_tokens(engine: Engine) -> None:
    """Start the library's thread and make two tokens: an engine that cannot generate should not become ready."""
    manager = engine.manager
    prompt = [0] * min(_WARM_UP_TOKENS, (engine.limits.kv_tokens or 8) - 2, engine.limits.max_seq_len - 1)
    deadline = time.monotonic() + _WARM_UP_SECONDS
    error = ""
    # There before the thread starts: some versions want a first batch at once.
    engine.add("warm-up", prompt, Sampling(ignore_eos=True), 2)
    manager.start()
    while manager.is_running() and time.monotonic() < deadline:
        output = manager.get_result(timeout=0.2)
        if output is None:
            continue
        if output.is_finished():
            return
        if output.error:
            error = output.error
            break
    with contextlib.suppress(Exception):
        error = error or str(manager.background_thread_status.fatal_error or "")
    if is_out_of_memory(error):
        raise out_of_memory("there is not enough memory to make the first tokens", error)
    raise WorkerError(
        "the engine loads but cannot generate",
        code="bad-engine",
        cause=error or "no token came; the log has what the library printed",
        hint="Try other runtime settings (attention, dtype), or another version of transformers.",
    )
