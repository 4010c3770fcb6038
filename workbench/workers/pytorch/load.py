"""Loads a Hugging Face folder with torch: device, dtype, attention, torchao. The host, verify and scoring share it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from workbench.workers.common import explain_import, first_line, read_json
from workbench.workers.hosts.settings import checked_settings
from workbench.workers.protocol import Channel, WorkerError
from workbench.workers.pytorch.common import choose_device, is_out_of_memory, out_of_memory


class HostSettings(BaseModel):
    """Runtime settings of a Hugging Face folder served by PyTorch; None leaves a value to the host."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`; None: the first GPU, else the CPU."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = None
    """What weights and KV cache are held in; `auto`: as the model's file says. None: that on a GPU, float32 on a
    CPU, where PyTorch is slow at the others."""
    quantization: Literal["int8", "fp8"] | None = None
    """Linear layers quantized by torchao once they are loaded: `int8` weights alone, `fp8` weights and activations."""
    attention: Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3"] = "sdpa"
    kv_cache_bytes: int | None = Field(default=None, gt=0)
    """Size of the KV pool; rounded down to whole blocks."""
    kv_blocks: int | None = Field(default=None, gt=0)
    """Size of the KV pool in blocks; wins over `kv_cache_bytes`."""
    kv_fraction: float = Field(default=0.6, gt=0.0, lt=1.0)
    """Of a GPU's memory that is free once the model is loaded; of a CPU's only where it is given. The rest is for
    activations: without a flash attention kernel all keys and values of a batch are copied and repeated for each
    layer."""
    kv_block_tokens: int = Field(default=32, ge=4)
    """Tokens of a KV block. Flash attention's decoding path wants 256."""
    max_batch_size: int = Field(default=64, gt=0)
    max_num_batched_tokens: int | None = Field(default=None, gt=0)
    """Tokens an iteration takes; longer prompts are split over iterations. None: 1024 on a GPU, 256 on a CPU."""
    max_seq_len: int | None = Field(default=None, gt=0)
    prefix_caching: bool = False
    cuda_graphs: bool | None = None
    """None: where the model is compiled for a GPU."""
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
    trust_remote_code: bool = False

    def graphs_on(self, device: str) -> bool:
        """Whether iterations are replayed from CUDA graphs."""
        return device == "cuda" and (self.compile_level > 0 if self.cuda_graphs is None else self.cuda_graphs)


def host_settings(given: dict[str, Any], channel: Channel) -> HostSettings:
    """Settings from the spec; unknown ones are logged. Raises WorkerError `bad-settings`."""
    return checked_settings(HostSettings, given, channel)


@dataclass(frozen=True)
class Loaded:
    """A model on its device, in evaluation mode."""

    model: Any
    tokenizer: Any
    device: Any
    quantization: str | None


def load_model(folder: Path, settings: HostSettings, *, attention: str = "") -> Loaded:
    """The model in `folder` as `settings` say. `attention` names another implementation, such as `paged|sdpa`.

    Raises WorkerError `bad-engine`, `bad-json`, `no-tokenizer`, `no-device`, `out-of-memory`, `bad-settings`.
    """
    if not (folder / "config.json").is_file():
        raise WorkerError(
            "the folder holds no Hugging Face model",
            code="bad-engine",
            cause=f"no config.json in {folder}",
            hint="Give the folder that holds config.json and the weights.",
        )
    read_json(folder / "config.json")
    try:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    device = choose_device(settings.device)
    _refuse_quantization(settings.quantization, device)
    if settings.num_threads is not None:
        torch.set_num_threads(settings.num_threads)
    dtype = settings.dtype or ("auto" if device.type == "cuda" else "float32")
    places: dict[str, Any] = {}
    if device.type == "cuda" and importlib.util.find_spec("accelerate"):
        places["device_map"] = {"": device}  # straight to the GPU, without a copy in host memory
    options = {"local_files_only": True, "trust_remote_code": settings.trust_remote_code}
    tokenizer = from_library(lambda: AutoTokenizer.from_pretrained(folder, **options), "the tokenizer", "no-tokenizer")
    model = from_library(
        lambda: (
            AutoModelForCausalLM.from_pretrained(
                folder, dtype=dtype, attn_implementation=attention or settings.attention, **options, **places
            )
            .to(device)
            .eval()
        ),
        "the model",
        "bad-engine",
    )
    if settings.quantization is not None:
        quantize_linears(model, settings.quantization)
    return Loaded(model, tokenizer, device, settings.quantization)


def from_library(make: Callable[[], Any], what: str, code: str) -> Any:
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


def _refuse_quantization(wanted: str | None, device: Any) -> None:
    """Raises WorkerError `bad-settings` where torchao's kernels would gain nothing, or are not there."""
    if wanted is None:
        return
    why = ""
    if device.type != "cuda":
        why = f"on a {device.type.upper()} it is no faster than the plain model"
    else:
        import torch

        major, minor = torch.cuda.get_device_capability(device)
        if wanted == "fp8" and (major, minor) < (8, 9):
            why = f"FP8 needs compute capability 8.9 or newer, this GPU has {major}.{minor}"
    if why:
        raise WorkerError(
            f"{wanted.upper()} by torchao has no use here",
            code="bad-settings",
            cause=why,
            hint="Load an engine in BF16, or FP32 on a CPU.",
        )
    if importlib.util.find_spec("torchao") is None:
        raise WorkerError(
            f"{wanted.upper()} needs torchao, which is not installed beside PyTorch",
            code="bad-settings",
            cause="no package torchao",
            hint="Run `pip install torchao` in the environment of the PyTorch toolchain.",
        )


def quantize_linears(model: Any, wanted: str) -> None:
    """The linear layers in place, the head left out: it decides the tokens and is a small part of the work."""

    def make() -> None:
        import torch
        from torchao.quantization import (
            Float8DynamicActivationFloat8WeightConfig,
            Int8WeightOnlyConfig,
            quantize_,
        )

        config = Int8WeightOnlyConfig() if wanted == "int8" else Float8DynamicActivationFloat8WeightConfig()
        head = model.get_output_embeddings()
        quantize_(
            model, config, filter_fn=lambda module, name: isinstance(module, torch.nn.Linear) and module is not head
        )

    try:
        make()
    except Exception as error:
        text = f"{type(error).__name__}: {first_line(error)}"
        if isinstance(error, MemoryError) or is_out_of_memory(text):
            raise out_of_memory(f"there is not enough memory to make {wanted.upper()} of the model", text) from error
        raise WorkerError(
            f"torchao cannot make {wanted.upper()} of the model",
            code="bad-settings",
            cause=text,
            hint="See that the versions of torchao and torch belong together, or load an engine in BF16.",
        ) from error
