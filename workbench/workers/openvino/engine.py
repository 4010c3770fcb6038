"""Loads an OpenVINO engine folder as a ContinuousBatchingPipeline with a KV pool of known size."""

from __future__ import annotations

import contextlib
import gc
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workbench.core.messages import Sampling
from workbench.core.units import format_bytes
from workbench.workers.common import explain_import, first_line, read_json
from workbench.workers.hosts.common import Limits, RequestError, available_bytes
from workbench.workers.hosts.settings import checked_settings
from workbench.workers.openvino.common import check_tokenizers
from workbench.workers.openvino.drafting import DraftSettings, configure, draft_facts, pipeline_properties
from workbench.workers.openvino.pipeline import KV_BLOCK_TOKENS, KV_PRECISIONS, standing_in
from workbench.workers.protocol import Channel, WorkerError

_WARM_UP_TOKENS = 96
_DEFAULT_KV_BYTES = 2**30
_INFERENCE_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class HostSettings(BaseModel):
    """Runtime settings of an OpenVINO engine; None leaves a value to the library."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kv_cache_bytes: int | None = Field(default=None, gt=0)
    """Size of the KV pool; rounded down to whole blocks."""
    kv_blocks: int | None = Field(default=None, gt=0)
    """Size of the KV pool in blocks; wins over `kv_cache_bytes`."""
    max_batch_size: int = Field(default=16, gt=0)
    max_num_batched_tokens: int = Field(default=256, gt=0)
    """Tokens an iteration takes. An abort is answered between iterations, so this also bounds how long that
    takes.
    """
    dynamic_split_fuse: bool = True
    """Chunked prefill: long prompts are split over iterations, beside other requests' decoding."""
    prefix_caching: bool = False
    kv_cache_precision: str | None = None
    """`auto` or None: as the engine was built."""
    inference_precision: str | None = None
    """What activations are computed in; `auto` or None: as the engine was built. OpenVINO's own choice on a
    CPU with bfloat16 is bfloat16, which small models feel."""
    max_seq_len: int | None = Field(default=None, gt=0)
    device: str | None = None
    num_threads: int | None = Field(default=None, gt=0)
    speculative: DraftSettings | None = None
    """None: no guesses."""


def host_settings(given: dict[str, Any], channel: Channel) -> HostSettings:
    """Settings from the spec; unknown ones are logged. Raises WorkerError `bad-settings`."""
    settings = checked_settings(HostSettings, given, channel)
    for name, value, words in (
        ("kv_cache_precision", settings.kv_cache_precision, KV_PRECISIONS),
        ("inference_precision", settings.inference_precision, _INFERENCE_PRECISIONS),
    ):
        if value not in (None, "auto") and value not in words:
            raise WorkerError(
                f"the engine's setting {name} cannot be used",
                code="bad-settings",
                cause=f"{name} = {value!r}",
                hint=f"Use auto or one of: {', '.join(words)}.",
            )
    return settings


@dataclass
class Engine:
    """A loaded engine."""

    pipeline: Any
    limits: Limits
    kv_blocks: int
    kv_block_tokens: int | None
    """None: the library contradicts what is known of it."""
    kv_block_bytes: int
    load_seconds: float
    applied: dict[str, str] = field(default_factory=dict)
    """What is really in force, as far as the library says it."""
    drafting: DraftSettings | None = None
    draft_kv_bytes: int | None = None
    """The draft's KV pool; None: there is none, or its size is not known."""

    @property
    def kv_pool_bytes(self) -> int:
        return self.kv_blocks * self.kv_block_bytes

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        """Tokens of a text, by the engine's own tokenizer."""
        encoded = self.pipeline.get_tokenizer().encode(text, add_special_tokens=add_special_tokens)
        ids: list[int] = encoded.input_ids.data[0].tolist() if encoded.input_ids.size else []
        return ids

    def decode(self, ids: list[int]) -> str:
        """Text of tokens, special ones left out; incomplete characters show as U+FFFD."""
        return str(self.pipeline.get_tokenizer().decode(ids))

    def add(self, number: int, ids: list[int], config: Any) -> Any:
        """Hand a request to the library; its handle. Raises RequestError in the library's words."""
        import numpy as np
        import openvino

        try:
            return self.pipeline.add_request(number, openvino.Tensor(np.array([ids], dtype=np.int64)), config)
        except (RuntimeError, TypeError, ValueError) as error:
            raise RequestError(f"the engine does not accept the request: {first_line(error)}") from error

    def kv_blocks_used(self) -> int:
        """Blocks in use in the last iteration; the library reports them in percent."""
        return round(self.pipeline.get_metrics().cache_usage * self.kv_blocks / 100)


def sampling_names() -> tuple[str, ...]:
    """Fields of `Sampling` that this version of the library takes; stop strings and seeds are the host's own."""
    import openvino_genai

    config = openvino_genai.GenerationConfig()
    own = ("max_tokens", "seed", "stop")
    return tuple(name for name in Sampling.model_fields if name in own or hasattr(config, name))


def generation_config(sampling: Sampling, max_tokens: int, drafting: DraftSettings | None = None) -> Any:
    """The library's configuration for one request; the model's end tokens are filled in when it is added.

    Settings left out are neutral (no top-k, top-p 1, no penalty) and not the model's own, so that they mean
    the same on every engine. Without a seed every request draws its own. Raises RequestError.
    """
    import secrets

    import openvino_genai

    config = openvino_genai.GenerationConfig()
    values: dict[str, Any] = {"max_new_tokens": max_tokens, "ignore_eos": sampling.ignore_eos}
    if sampling.logprobs:
        values["logprobs"] = 1
    if sampling.repetition_penalty is not None:
        values["repetition_penalty"] = sampling.repetition_penalty
    if sampling.temperature > 0:
        values["do_sample"] = True
        values["temperature"] = sampling.temperature
        values["rng_seed"] = secrets.randbits(32) if sampling.seed is None else sampling.seed
        for name in ("top_p", "top_k", "min_p"):
            if getattr(sampling, name) is not None:
                values[name] = getattr(sampling, name)
    for name, value in values.items():
        if not hasattr(config, name):
            raise RequestError(f"this version of OpenVINO GenAI has no sampling setting {name}; leave it out")
        try:
            setattr(config, name, value)
        except (TypeError, ValueError, OverflowError) as error:
            raise RequestError(f"the sampling setting {name} cannot be {value}") from error
    configure(config, drafting)
    return config


def load_engine(folder: Path, settings: HostSettings, channel: Channel, draft: Path | None = None) -> Engine:
    """Load the engine in `folder`, with the draft that guesses, and make its first tokens. Raises WorkerError."""
    started = time.monotonic()
    if not (folder / "openvino_model.xml").is_file():
        raise WorkerError(
            "the folder holds no OpenVINO engine",
            code="bad-engine",
            cause=f"no openvino_model.xml in {folder}",
            hint="Build the engine again.",
        )
    check_tokenizers(folder)
    channel.phase("load", 1, 2)
    facts = read_json(folder / "engine.json") if (folder / "engine.json").is_file() else {}
    config = text_config(read_json(folder / "config.json"))
    device = settings.device or str(facts.get("device") or "CPU")
    properties = properties_of(settings, facts)
    with _compiled_blobs(folder, facts) as cache:
        if cache is not None:
            properties |= {"CACHE_DIR": cache, "CACHE_MODE": "OPTIMIZE_SIZE"}
        pipeline, blocks, block_bytes = _open_with_kv_pool(
            folder, settings, device, properties, facts.get("kv_block_bytes"), draft
        )
    channel.phase("warm up", 2, 2)
    block_tokens = _warm_up(pipeline, blocks, KV_BLOCK_TOKENS.get(device.split(".")[0].upper()), settings.speculative)
    model_len = config.get("max_position_embeddings")
    # A draft guesses along the whole sequence, so that it must not be longer than its own positions either.
    draft_len = _draft_positions(draft)
    lengths = [n for n in (model_len, settings.max_seq_len, draft_len) if isinstance(n, int) and n > 0]
    kv_tokens = blocks * block_tokens if block_tokens else None
    if not lengths:
        lengths = [kv_tokens or blocks]
    vocabulary = config.get("vocab_size")
    limits = Limits(
        max_seq_len=min(lengths),
        kv_tokens=kv_tokens,
        vocabulary=vocabulary if isinstance(vocabulary, int) else None,
        prompt_batch=None if settings.dynamic_split_fuse else settings.max_num_batched_tokens,
    )
    applied = _applied(device, settings, properties, facts, config, block_tokens, block_bytes)
    drafting, draft_kv = settings.speculative, None
    if drafting is not None:
        applied |= {"speculative": drafting.mode, "draft_tokens": str(drafting.draft_tokens)}
        if draft is not None and drafting.mode == "draft_target":
            applied["draft"] = draft.name
            per_block = draft_facts(draft).get("kv_block_bytes")
            draft_kv = blocks * per_block if isinstance(per_block, int) else None
    seconds = time.monotonic() - started
    return Engine(pipeline, limits, blocks, block_tokens, block_bytes, seconds, applied, drafting, draft_kv)


def _draft_positions(draft: Path | None) -> int | None:
    """Longest sequence of the draft; None: there is none, or it does not say."""
    if draft is None or not (draft / "config.json").is_file():
        return None
    found = text_config(read_json(draft / "config.json")).get("max_position_embeddings")
    return found if isinstance(found, int) else None


def _applied(
    device: str,
    settings: HostSettings,
    properties: dict[str, Any],
    facts: dict[str, Any],
    config: dict[str, Any],
    block_tokens: int | None,
    block_bytes: int,
) -> dict[str, str]:
    """The pipeline tells none of its properties: the KV precision is told by the size of its blocks, the rest by the
    plugin's own defaults where nothing else was given, and by the scheduler's settings, which it takes as they are."""
    found = {
        "device": device,
        "prefix_caching": "on" if settings.prefix_caching else "off",
        "chunked_prefill": "on" if settings.dynamic_split_fuse else "off",
    }
    for name, key in (("compute_precision", "INFERENCE_PRECISION_HINT"), ("threads", "INFERENCE_NUM_THREADS")):
        value = properties.get(key) or _plugin_default(device, key)
        if value and value != "0":
            found[name] = value if isinstance(value, str) else str(value)
    hinted = str(properties.get("KV_CACHE_PRECISION") or facts.get("kv_cache_precision") or "")
    kv = kv_precision_of(block_bytes, block_tokens, config, hinted)
    if kv is not None:
        found["kv_cache_precision"] = kv
    return found


def kv_precision_of(block_bytes: int, block_tokens: int | None, config: dict[str, Any], hinted: str) -> str | None:
    """KV precision by the bytes that a block has an element: `fp32`, `fp16` or `bf16`, `int8`; None: not to be told.

    `hinted` decides between the two of 16 bits. Blocks of 8 bits hold scales as well, so they have a little more.
    """
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    hidden = config.get("hidden_size")
    if not (block_tokens and isinstance(layers, int) and isinstance(heads, int) and isinstance(hidden, int)):
        return None
    kv_heads = config.get("num_key_value_heads") or heads
    head_size = config.get("head_dim") or hidden // heads
    size = block_bytes / (2 * layers * kv_heads * head_size * block_tokens)
    if size == 2.0:
        return "bf16" if hinted in ("bf16", "bfloat16") else "fp16"
    if size == 4.0:
        return "fp32"
    return "int8" if 1.0 <= size < 1.5 else None


def _plugin_default(device: str, name: str) -> str | None:
    try:
        import openvino

        value = openvino.Core().get_property(device, name)
    except (ImportError, RuntimeError):
        return None
    return str(value.to_string() if hasattr(value, "to_string") else value)


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    nested = config.get("text_config")
    return {**config, **nested} if isinstance(nested, dict) else config


def properties_of(settings: HostSettings, facts: dict[str, Any]) -> dict[str, Any]:
    """Properties for the plugin: the engine's own (engine.json), with the settings over them."""
    built = facts.get("properties")
    properties: dict[str, Any] = dict(built) if isinstance(built, dict) else {}
    if settings.kv_cache_precision not in (None, "auto"):
        properties["KV_CACHE_PRECISION"] = KV_PRECISIONS[str(settings.kv_cache_precision)]
    if settings.inference_precision not in (None, "auto"):
        properties["INFERENCE_PRECISION_HINT"] = _INFERENCE_PRECISIONS[str(settings.inference_precision)]
    if settings.num_threads is not None:
        properties["INFERENCE_NUM_THREADS"] = settings.num_threads
    return properties


@contextlib.contextmanager
def _compiled_blobs(folder: Path, facts: dict[str, Any]) -> Iterator[str | None]:
    """A folder of links to the engine's compiled blobs, or None where it has none that work.

    Links, since OpenVINO writes a new blob beside the old ones when settings differ, and loading must not
    write into a finished artefact.
    """
    cache = facts.get("cache")
    if not isinstance(cache, dict) or not cache.get("usable"):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="workbench-blobs-") as links:
        for blob in sorted((folder / str(cache.get("folder") or "cache")).glob("*")):
            (Path(links) / blob.name).symlink_to(blob.resolve())
        yield links


def _open_with_kv_pool(
    folder: Path,
    settings: HostSettings,
    device: str,
    properties: dict[str, Any],
    block_bytes: int | None,
    draft: Path | None,
) -> tuple[Any, int, int]:
    """The pipeline, its number of KV blocks and the bytes of one.

    `block_bytes` is what the engine was built with (None: not known). The library tells the true size once it
    is loaded; where that gives another number of blocks, the engine is loaded a second time.
    """
    free = available_bytes()
    budget = settings.kv_cache_bytes or min(_DEFAULT_KV_BYTES, (free or 4 * _DEFAULT_KV_BYTES) // 4)
    blocks = settings.kv_blocks or (max(1, budget // block_bytes) if block_bytes else 1)
    wanted = settings.kv_blocks * (block_bytes or 0) if settings.kv_blocks else budget
    draft_block = draft_facts(draft).get("kv_block_bytes") if draft is not None else None
    if block_bytes and isinstance(draft_block, int):
        wanted += wanted // block_bytes * draft_block  # the draft's pool has as many blocks
    if free is not None and wanted > free:
        raise WorkerError(
            "the KV pool does not fit into this machine's free memory",
            code="out-of-memory",
            cause=f"{format_bytes(wanted)} wanted, {format_bytes(free)} available",
            hint="Choose a smaller KV pool (kv_cache_bytes) or close other programs.",
        )
    pipeline = _open(folder, settings, device, properties, blocks, draft)
    true_bytes = _block_bytes(pipeline, blocks)
    if settings.kv_blocks is not None:
        return pipeline, blocks, true_bytes
    fitting = budget // true_bytes
    if fitting < 1:
        raise WorkerError(
            "the KV pool is smaller than one block",
            code="bad-settings",
            cause=f"kv_cache_bytes is {format_bytes(budget)}, one block is {format_bytes(true_bytes)}",
            hint="Give the KV pool more memory.",
        )
    if fitting != blocks:
        del pipeline
        gc.collect()
        pipeline, blocks = _open(folder, settings, device, properties, fitting, draft), fitting
    return pipeline, blocks, true_bytes


def _open(
    folder: Path, settings: HostSettings, device: str, properties: dict[str, Any], blocks: int, draft: Path | None
) -> Any:
    try:
        import openvino_genai
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.num_kv_blocks = blocks
    scheduler.max_num_seqs = settings.max_batch_size
    scheduler.max_num_batched_tokens = settings.max_num_batched_tokens
    scheduler.dynamic_split_fuse = settings.dynamic_split_fuse
    scheduler.enable_prefix_caching = settings.prefix_caching
    more = pipeline_properties(settings.speculative, draft, scheduler, device)
    try:
        with standing_in(folder) as here:
            return openvino_genai.ContinuousBatchingPipeline(here, scheduler, device, {**properties, **more})
    except (RuntimeError, ValueError, TypeError) as error:
        if "Tokenizers for draft and main models are different" in str(error):
            raise WorkerError(
                "the draft has another tokenizer than the engine, so its guesses mean nothing to it",
                code="bad-draft",
                cause=f"{draft}",
                hint="Choose a draft of the same family, or set speculative.mode to none.",
            ) from error
        raise WorkerError(
            "OpenVINO GenAI cannot load the engine",
            code="bad-engine",
            cause=first_line(error),
            hint="Build the engine again; a full disk or a broken copy leaves such files.",
        ) from error


def _block_bytes(pipeline: Any, blocks: int) -> int:
    """Bytes of one block: an iteration without requests makes the library report its pool."""
    pipeline.step()
    pool = int(pipeline.get_metrics().cache_size_in_bytes)
    if pool <= 0:
        raise WorkerError(
            "OpenVINO GenAI reports no KV pool", code="bad-engine", cause=f"{pool} bytes for {blocks} blocks"
        )
    return pool // blocks


def _warm_up(pipeline: Any, blocks: int, block_tokens: int | None, drafting: DraftSettings | None = None) -> int | None:
    """Make two tokens: kernels are made on first use, and an engine that cannot generate should not become
    ready.

    Returns the tokens a block holds when the pool's use by a prompt of known length bears it out, else None.
    """
    import numpy as np
    import openvino
    import openvino_genai

    tokens = min(_WARM_UP_TOKENS, max(1, (blocks - 1) * (block_tokens or 1)))
    config = openvino_genai.GenerationConfig()
    config.max_new_tokens = 2
    config.ignore_eos = True
    configure(config, drafting)
    used = 0
    try:
        prompt = openvino.Tensor(np.zeros((1, tokens), dtype=np.int64))
        handle = pipeline.add_request(0, prompt, config)
        while pipeline.has_non_finished_requests():
            pipeline.step()
            used = used or round(pipeline.get_metrics().cache_usage * blocks / 100)
        del handle  # a handle that goes away stops its request, so it is kept until here
        pipeline.step()  # without requests: the library counts its blocks again, and none is in use
    except RuntimeError as error:
        raise WorkerError(
            "the engine loads but cannot generate",
            code="bad-engine",
            cause=first_line(error),
            hint="Build it again.",
        ) from error
    if block_tokens is None or not (used - 1) * block_tokens < tokens <= used * block_tokens:
        return None
    return block_tokens
