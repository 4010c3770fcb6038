"""Loads a Hugging Face folder for transformers' continuous batching, with a paged KV pool of known size."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.messages import Sampling
from workbench.workers.common import explain_import, first_line, read_json
from workbench.workers.hosts.common import Limits, RequestError
from workbench.workers.hosts.settings import checked_settings
from workbench.workers.protocol import Channel, WorkerError
from workbench.workers.pytorch.common import choose_device, free_bytes, is_out_of_memory, out_of_memory, tensor_bytes

_DEFAULT_CPU_KV_BYTES = 2**30
_WARM_UP_TOKENS = 8
_WARM_UP_SECONDS = 300.0
_OWN = ("max_tokens", "stop", "ignore_eos")
"""Fields of `Sampling` that every host of this kind takes."""
_DRAWN = ("temperature", "top_p", "top_k")


class HostSettings(BaseModel):
    """Runtime settings of a Hugging Face folder served by PyTorch; None leaves a value to the host."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`; None: the first GPU, else the CPU."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = None
    """What weights and KV cache are held in; `auto`: as the model's file says. None: that on a GPU, float32 on a
    CPU, where PyTorch is slow at the others."""
    attention: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"] = "sdpa"
    kv_cache_bytes: int | None = Field(default=None, gt=0)
    """Size of the KV pool; rounded down to whole blocks."""
    kv_blocks: int | None = Field(default=None, gt=0)
    """Size of the KV pool in blocks; wins over `kv_cache_bytes`."""
    kv_fraction: float = Field(default=0.6, gt=0.0, lt=1.0)
    """Of a GPU's memory that is free once the model is loaded. The rest is for activations: without a flash
    attention kernel all keys and values of a batch are copied and repeated for each layer."""
    kv_block_tokens: int = Field(default=32, ge=4)
    """Tokens of a KV block. Flash attention's decoding path wants 256."""
    max_batch_size: int = Field(default=64, gt=0)
    max_num_batched_tokens: int | None = Field(default=None, gt=0)
    """Tokens an iteration takes; longer prompts are split over iterations. None: 1024 on a GPU, 256 on a CPU."""
    max_seq_len: int | None = Field(default=None, gt=0)
    prefix_caching: bool = False
    cuda_graphs: bool = False
    compile_level: int = Field(default=0, ge=0, le=3)
    """transformers' default_compile_level; more is faster, and slower to load."""
    expandable_segments: bool = False
    """Let torch's allocator grow and shrink its blocks. Off, batches of ever new lengths leave it with memory that
    fits nothing, up to all there is on the GPU, before it tidies up."""
    do_sample: bool = False
    """Draw tokens by each request's temperature, top-p and top-k. Off, all answers are greedy."""
    logprobs: bool = True
    """Report log probabilities where a request asks for them. Not with `do_sample`, whose probabilities are those
    of the cut distribution."""
    num_threads: int | None = Field(default=None, gt=0)


def host_settings(given: dict[str, Any], channel: Channel) -> HostSettings:
    """Settings from the spec; unknown ones are logged. Raises WorkerError `bad-settings`."""
    return checked_settings(HostSettings, given, channel)


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


def _blocks(tokens: int, block_tokens: int) -> int:
    return (tokens + 1) // block_tokens + 1


def load_engine(folder: Path, settings: HostSettings, channel: Channel) -> Engine:
    """Load the model in `folder`, make its KV pool and its first tokens. Raises WorkerError."""
    started = time.monotonic()
    if not (folder / "config.json").is_file():
        raise WorkerError(
            "the folder holds no Hugging Face model",
            code="bad-engine",
            cause=f"no config.json in {folder}",
            hint="Give the folder that holds config.json and the weights.",
        )
    read_json(folder / "config.json")
    channel.phase("load", 1, 2)
    if settings.expandable_segments:
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, ContinuousBatchingConfig, GenerationConfig
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    device = choose_device(settings.device)
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    dtype = settings.dtype or ("auto" if device.type == "cuda" else "float32")
    places: dict[str, Any] = {}
    if device.type == "cuda" and importlib.util.find_spec("accelerate"):
        places["device_map"] = {"": device}  # straight to the GPU, without a copy in host memory
    tokenizer = _from_library(
        lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True), "the tokenizer", "no-tokenizer"
    )
    model = _from_library(
        lambda: (
            AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                attn_implementation=f"paged|{settings.attention}",
                local_files_only=True,
                **places,
            )
            .to(device)
            .eval()
        ),
        "the model",
        "bad-engine",
    )
    config = model.config.get_text_config()
    block_bytes, groups = _kv_block(config, settings.kv_block_tokens, model.dtype.itemsize)
    blocks = _kv_blocks(settings, device, block_bytes)
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
    manager = _from_library(
        lambda: model.init_continuous_batching(
            generation_config=_generation_config(GenerationConfig, settings, end_ids),
            continuous_batching_config=_batching_config(ContinuousBatchingConfig, settings, device, blocks),
        ),
        "the model for continuous batching",
        "bad-engine",
    )
    _from_library(manager.warmup, "the KV pool", "bad-engine")
    cache = manager.batch_processor.cache
    vocabulary = getattr(config, "vocab_size", None)
    lengths = [n for n in (getattr(config, "max_position_embeddings", None), settings.max_seq_len) if n]
    engine = Engine(
        manager=manager,
        tokenizer=tokenizer,
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
    )
    _first_tokens(engine)
    engine.load_seconds = time.monotonic() - started
    return engine


def _from_library(make: Callable[[], Any], what: str, code: str) -> Any:
    """What `make` gives; whatever the library raises becomes words, since it raises errors of every kind."""
    try:
        return make()
    except WorkerError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {first_line(error)}"
        if isinstance(error, MemoryError) or is_out_of_memory(text):
            raise out_of_memory(f"there is not enough memory for {what}", text) from error
        raise WorkerError(
            f"transformers cannot load {what}",
            code=code,
            cause=text,
            hint="Fetch the model again; a full disk or a broken copy leaves such files.",
        ) from error


def _kv_block(config: Any, block_tokens: int, element_bytes: int) -> tuple[int, int]:
    """Bytes of one block and the number of layer groups: keys and values of a group's layers for its tokens."""
    from transformers.generation.continuous_batching.cache import group_layers_by_attn_type

    groups, _ = group_layers_by_attn_type(config)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * len(groups[0]) * block_tokens * heads * head_dim * element_bytes, len(groups)


def _kv_blocks(settings: HostSettings, device: Any, block_bytes: int) -> int:
    """How many blocks the pool gets. Raises WorkerError when that cannot be had."""
    free = free_bytes(device)
    if device.type == "cuda":
        budget = settings.kv_cache_bytes or int((free or 0) * settings.kv_fraction)
    else:
        budget = settings.kv_cache_bytes or min(_DEFAULT_CPU_KV_BYTES, (free or 4 * _DEFAULT_CPU_KV_BYTES) // 4)
    blocks = settings.kv_blocks or budget // block_bytes
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
        "use_cuda_graph": settings.cuda_graphs,
        "default_compile_level": settings.compile_level,
        # The host lets in only what fits to its end, so none of the pool need be kept back.
        "safety_margin": 0.0,
        "return_logprobs": settings.logprobs and not settings.do_sample,
        "per_request_processors": settings.do_sample,
    }
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
