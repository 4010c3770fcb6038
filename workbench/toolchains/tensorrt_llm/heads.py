"""Engines with trained heads (Medusa, EAGLE): what their checkpoint can be made of, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workbench.core.advice import Advice
from workbench.core.digest import file_sha256
from workbench.core.home import expanded
from workbench.core.model import ModelSpec
from workbench.core.precision import Precision
from workbench.core.preset import Preset
from workbench.core.speculative import draft_len
from workbench.toolchains.base import Environment
from workbench.toolchains.tensorrt_llm.routes import Route

_FAMILIES = {
    "medusa": ("LlamaForCausalLM", "MixtralForCausalLM", "Qwen2ForCausalLM"),
    "eagle": ("LlamaForCausalLM",),
}
"""What the scripts in TensorRT-LLM's examples take."""
_NO_HEADS = ("speculative.mode=lookahead", "speculative.draft=none")


def takes_heads(preset: Preset) -> bool:
    """Whether the checkpoint holds trained heads beside the model."""
    return preset.speculative.mode in ("medusa", "eagle")


def heads_route(preset: Preset, environment: Environment) -> Route:
    """TensorRT-LLM's interpreter: what its examples' scripts import is in no other."""
    why = f"the script in TensorRT-LLM's examples, which alone makes checkpoints with {preset.speculative.mode} heads"
    return Route("tensorrt_llm", environment, why, "no reference model here has heads to compare with")


def heads_folder(preset: Preset) -> Path:
    """speculative.draft, from the preset's own folder; an empty path where it is not named."""
    return expanded(preset.draft_path or Path())


def heads_settings(preset: Preset, dtype: str) -> dict[str, Any]:
    """Settings of the trtllm.heads worker."""
    table = preset.speculative
    return {
        "mode": table.mode,
        "dtype": dtype,
        "tp": preset.parallel.tp,
        "pp": preset.parallel.pp,
        "draft_tokens": draft_len(table),
        "heads": table.heads,
    }


def heads_mark(folder: Path) -> str:
    """What stands for the heads in a cache key: config.json's digest, names and sizes of all files. Weights of a GiB
    are not read for a plan.
    """
    config = folder / "config.json"
    if not config.is_file():
        return ""
    files = sorted((path.name, path.stat().st_size) for path in folder.iterdir() if path.is_file())
    return f"{file_sha256(config)} {files}"


def heads_cannot_be_made(preset: Preset, model: ModelSpec, precision: Precision) -> Iterator[Advice]:
    """What the converter would refuse, told before it is started."""
    if not takes_heads(preset):
        return
    table, mode = preset.speculative, preset.speculative.mode
    if precision not in (Precision.BF16, Precision.FP16):
        yield Advice(
            code="heads-precision",
            level="block",
            text=f"A checkpoint with {mode} heads is made at 16 bits: ModelOpt's exporter knows no heads, and "
            "TensorRT-LLM's script quantizes nothing that is made here.",
            arithmetic=f"precision.weights = {precision}",
            fix="Set precision.weights to bf16, or use lookahead, which needs no heads.",
            overrides=("precision.weights=bf16", "precision.kv_cache=auto"),
        )
    elif preset.precision.kv_cache.bits == 8:
        yield Advice(
            code="heads-kv-cache",
            level="block",
            text=f"A checkpoint with {mode} heads gets no 8-bit KV cache: its scales need calibration.",
            arithmetic=f"precision.kv_cache = {preset.precision.kv_cache}",
            fix="Set precision.kv_cache to auto.",
            overrides=("precision.kv_cache=auto",),
        )
    if model.architecture not in _FAMILIES[mode]:
        yield Advice(
            code="heads-model",
            level="block",
            text=f"TensorRT-LLM's converter of {mode} heads does not know {model.architecture[:60]}.",
            arithmetic=f"it knows {', '.join(name.removesuffix('ForCausalLM') for name in _FAMILIES[mode])}",
            fix="Use lookahead, which needs no heads.",
            overrides=_NO_HEADS,
        )
    if mode == "eagle" and preset.parallel.pp > 1:
        yield Advice(
            code="heads-pipeline",
            level="block",
            text="EAGLE has no pipeline parallelism in TensorRT-LLM.",
            arithmetic=f"parallel.pp = {preset.parallel.pp}",
            fix="Use tensor parallelism.",
            overrides=("parallel.pp=1",),
        )
    if table.draft is not None and not (heads_folder(preset) / "config.json").is_file():
        yield Advice(
            code="no-heads",
            level="block",
            text=f"The folder of {mode} heads is not there, or holds no config.json.",
            arithmetic=str(heads_folder(preset)),
            fix="Download the heads trained for this model, and name their folder in speculative.draft.",
        )
