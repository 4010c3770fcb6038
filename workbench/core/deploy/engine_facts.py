"""Facts of an engine as data: what servers, exports and the scaling table share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from workbench.core.artifact import Provenance

_ENGINE_FILE = re.compile(
    r"(config\.json|quant_cfg\.json|rank\d+\.engine|rank\d+_managed_weights\.safetensors|lora/.+)"
)


@dataclass(frozen=True)
class EngineFile:
    """A file of an engine or of its tokenizer."""

    path: str
    """Relative, with slashes."""
    source: Path
    bytes: int


@dataclass(frozen=True)
class BuiltFor:
    """The GPU that a TensorRT-LLM engine was built on; it runs on no other compute capability."""

    name: str
    compute_capability: str
    """`9.0`; empty: not reported."""


@dataclass(frozen=True)
class Speculative:
    """What the engine was built for in speculative decoding."""

    mode: str
    """As trtllm-build names it: draft_tokens_external, medusa, lookahead_decoding, explicit_draft_tokens, eagle."""
    max_draft_len: int
    """Most draft tokens of a step."""


@dataclass(frozen=True)
class EngineFacts:
    """An engine as its folder describes it. None and "" are "not reported" or "does not apply"."""

    path: Path
    name: str
    """For people: `SmolLM2-135M-Instruct fp8`."""
    toolchain: str
    toolchain_version: str
    """Of tensorrt_llm, openvino, torch, onnxruntime or TensorRT-RTX, whichever runs it."""
    precision: str
    kv_cache: str
    """Precision of the KV cache: `fp8`, `int8`, or the dtype's name; empty: not reported."""
    tp: int
    pp: int
    cp: int
    world_size: int
    """Processes that run it, one GPU each: tp x pp x cp. 1 for engines of other toolchains."""
    ranks_present: tuple[int, ...]
    ranks_missing: tuple[int, ...]
    files: tuple[EngineFile, ...]
    """All of the folder, its notes and tokenizer too."""
    max_batch_size: int | None = None
    max_input_len: int | None = None
    max_seq_len: int | None = None
    max_num_tokens: int | None = None
    max_beam_width: int | None = None
    paged_context_fmha: bool | None = None
    tokens_per_block: int | None = None
    kv_cache_type: str = ""
    """`paged`, `continuous` or `disabled`."""
    speculative: Speculative | None = None
    vocab_size: int | None = None
    dtype: str = ""
    logits_dtype: str = ""
    """`float32` or `float16`: how the engine gives logits out."""
    architecture: str = ""
    model_name: str = ""
    model_path: str = ""
    """The Hugging Face folder that it was made from; it may be gone."""
    model_digest: str = ""
    tokenizer: Path | None = None
    """Folder of its tokenizer: the engine's own, else the model's."""
    tokenizer_files: tuple[EngineFile, ...] = ()
    gpu_built_for: BuiltFor | None = None
    targets: tuple[str, ...] = ()
    """Compute capabilities that a TensorRT-RTX engine was compiled for, such as 8.9; it runs on no other GPU."""
    on_gpu: bool = False
    """Whether it runs on GPUs, `world_size` of them."""
    gathers_context_logits: bool = False
    gathers_logits: bool = False
    """Logits of generated tokens were asked for at build."""
    trust_remote_code: bool = False
    provenance: Provenance | None = None
    """None: a folder that trtllm-build wrote by hand."""

    @property
    def gpus(self) -> int:
        """GPUs that it runs on; 0: the CPU."""
        return self.world_size if self.on_gpu else 0

    @property
    def size_bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def engine_files(self) -> tuple[EngineFile, ...]:
        """What the toolchain needs to load it: of TensorRT-LLM config.json and the ranks; of others the folder."""
        if self.toolchain != "tensorrt_llm":
            return self.files
        return tuple(file for file in self.files if _ENGINE_FILE.fullmatch(file.path))

    @property
    def slug(self) -> str:
        """The name as a file name: `smollm2-135m-instruct-fp8`, with `-tp2` and `-pp2` where it has several."""
        cut = "".join(f"-{name}{size}" for name, size in (("tp", self.tp), ("pp", self.pp)) if size > 1)
        return (re.sub(r"[^a-z0-9.]+", "-", self.name.lower()).strip("-.") or "engine")[:60] + cut

    @property
    def shape(self) -> str:
        """`tp 2 x pp 1`, with `x cp 2` where there is one."""
        return f"tp {self.tp} x pp {self.pp}" + (f" x cp {self.cp}" if self.cp > 1 else "")
