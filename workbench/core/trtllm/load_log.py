"""What TensorRT-LLM's runtime says while it loads an engine: limits, memory, KV blocks, readiness."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from workbench.core.trtllm.log_lines import parse_line, split_lines

_GIB = 2**30
_UNIT_BYTES = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}
# Names of the runtime's limits -> names of the build's flags.
_LIMITS = {
    "maxNumSequences": "max_num_sequences",
    "maxBatchSize": "max_batch_size",
    "maxBeamWidth": "max_beam_width",
    "maxSequenceLen": "max_seq_len",
    "maxDraftLen": "max_draft_len",
    "maxNumTokens": "max_num_tokens",
    "maxInputLen": "max_input_len",
}
_N = r"(\d{1,18})"
_F = r"([\d.]{1,18})"
_VERSION = re.compile(r"Engine version (\S{1,80}) found in the config file")
_MPI = re.compile(rf"MPI size: {_N}, MPI local size: {_N}, rank: {_N}")
_LIMIT = re.compile(rf"TRTGptModel (max\w{{1,40}}): {_N}")
_POLICY = re.compile(r"Capacity Scheduler Policy: (\w{1,80})")
_CHUNKING = re.compile(r"Context Chunking Scheduler Policy: (\w{1,80})")
_WEIGHTS = re.compile(rf"Loaded engine size: {_N} MiB")
_CONTEXT = re.compile(rf"\[MemUsageChange\] Allocated {_F} MiB for execution context memory")
_BUFFERS = re.compile(rf"Allocated {_F} (\wB) GPU memory for (runtime buffers|decoder)")
_BEFORE_KV = re.compile(
    rf"Memory usage when calculating max tokens in paged kv cache: total: {_F} GiB, available: {_F} GiB"
)
_PRIMARY = re.compile(rf"(?:Number of blocks in KV cache )?primary pool: {_N}")
_SECONDARY = re.compile(rf"(?:Number of blocks in KV cache )?secondary pool: {_N}")
_BLOCKS = re.compile(
    rf"Max KV cache blocks per sequence: {_N} \[window size={_N}\], tokens per block={_N}, "
    rf"primary blocks={_N}, secondary blocks={_N}"
)
_BLOCK_TOKENS = re.compile(rf"Number of tokens per block: {_N}")
_POOL = re.compile(rf"Allocated {_F} GiB for max tokens in paged KV cache \({_N}\)")
_REDUCED = re.compile(rf"maxAttentionWindow and maxSequenceLen are too large.{{0,400}}reduced to {_N}")
_READY = re.compile(r"get signal from executor worker|Application startup complete|Uvicorn running on")


@dataclass
class EngineLoadLog:
    """State of an engine that loads, fed line by line; it never raises on any text. None is "not reported"."""

    engine_version: str | None = None
    """TensorRT-LLM that built the engine."""
    mpi_size: int | None = None
    limits: dict[str, int] = field(default_factory=dict)
    """In force, by the names of the build's flags."""
    scheduler_policy: str | None = None
    chunking_policy: str | None = None
    memory_gib: dict[str, float] = field(default_factory=dict)
    """weights, activations, runtime_buffers, decoder, gpu_total, gpu_available (before the KV pool), kv_pool."""
    kv_blocks_primary: int | None = None
    kv_blocks_secondary: int | None = None
    kv_block_tokens: int | None = None
    kv_tokens: int | None = None
    """Tokens that the KV pool holds."""
    reduced_seq_len: int | None = None
    """Set when the KV pool holds less than one full sequence."""
    ready: bool = False

    def feed(self, text: str) -> None:
        """Take raw output, one or more lines. Where a figure is said more than once the last one counts."""
        for line in split_lines(text):
            self._one(parse_line(line).text)

    def _one(self, text: str) -> None:
        if match := _VERSION.search(text):
            self.engine_version = match[1]
        elif match := _MPI.search(text):
            self.mpi_size = int(match[1])
        elif match := _LIMIT.search(text):
            if match[1] in _LIMITS:
                self.limits[_LIMITS[match[1]]] = int(match[2])
        elif match := _CHUNKING.search(text):
            self.chunking_policy = match[1]
        elif match := _POLICY.search(text):
            self.scheduler_policy = match[1]
        elif match := _BLOCKS.search(text):
            self.kv_block_tokens, self.kv_blocks_primary = int(match[3]), int(match[4])
            self.kv_blocks_secondary = int(match[5])
        elif match := _PRIMARY.search(text):
            self.kv_blocks_primary = int(match[1])
        elif match := _SECONDARY.search(text):
            self.kv_blocks_secondary = int(match[1])
        elif match := _BLOCK_TOKENS.search(text):
            self.kv_block_tokens = int(match[1])
        elif match := _REDUCED.search(text):
            self.reduced_seq_len = int(match[1])
        elif _READY.search(text):
            self.ready = True
        else:
            self._memory(text)

    def _memory(self, text: str) -> None:
        if match := _WEIGHTS.search(text):
            self._note("weights", match[1], 2**20)
        elif match := _CONTEXT.search(text):
            self._note("activations", match[1], 2**20)
        elif match := _BUFFERS.search(text):
            self._note(match[3].replace(" ", "_"), match[1], _UNIT_BYTES.get(match[2], 0))
        elif match := _BEFORE_KV.search(text):
            self._note("gpu_total", match[1], _GIB)
            self._note("gpu_available", match[2], _GIB)
        elif match := _POOL.search(text):
            self._note("kv_pool", match[1], _GIB)
            self.kv_tokens = int(match[2])

    def _note(self, name: str, value: str, unit_bytes: int) -> None:
        try:
            gib = float(value) * unit_bytes / _GIB
        except ValueError:
            return
        if unit_bytes:
            self.memory_gib[name] = gib
