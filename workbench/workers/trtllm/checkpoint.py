"""A TensorRT-LLM checkpoint folder, opened: config.json, quantization and rank files checked before any tensor."""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.workers.protocol import WorkerError
from workbench.workers.trtllm.dequant import ALGOS, FULL, bad
from workbench.workers.trtllm.engine_config import EngineConfig, engine_config

CONFIG, QUANT_CONFIG = "config.json", "quant_cfg.json"
_QUANT_KEYS = frozenset(
    [
        "quant_algo",
        "kv_cache_quant_algo",
        "group_size",
        "smoothquant_val",
        "clamp_val",
        "use_meta_recipe",
        "has_zero_point",
        "pre_quant_scale",
        "exclude_modules",
        "mamba_ssm_cache_dtype",
    ]
)
_ALGO_NAMES = frozenset(
    [
        "W8A16",
        "W4A16",
        "W4A16_AWQ",
        "W4A8_AWQ",
        "W8A16_GPTQ",
        "W4A16_GPTQ",
        "W8A8_SQ_PER_CHANNEL",
        "W8A8_SQ_PER_TENSOR_PLUGIN",
        "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN",
        "W8A8_SQ_PER_CHANNEL_PER_TENSOR_PLUGIN",
        "W8A8_SQ_PER_TENSOR_PER_TOKEN_PLUGIN",
        "W4A8_QSERVE_PER_GROUP",
        "W4A8_QSERVE_PER_CHANNEL",
        "FP8",
        "FP8_PER_CHANNEL_PER_TOKEN",
        "FP8_BLOCK_SCALES",
        "INT8",
        "MIXED_PRECISION",
        "NVFP4",
        "W4A8_NVFP4_FP8",
        "W4A8_MXFP4_FP8",
        "W4A8_MXFP4_MXFP8",
        "W4A16_MXFP4",
        "NO_QUANT",
    ]
)
_KV_ALGOS = (None, "FP8", "INT8", "NVFP4")
_NEVER_QUANTIZED = ("*lm_head", "*router", "*vocab_embedding", "*position_embedding", "*block_embedding")
"""What the engine leaves alone when config.json has no exclude_modules."""
_OTHER_VERSION = "Make the checkpoint again for TensorRT-LLM 1.2: layouts and names change between versions."


@dataclass
class Checkpoint:
    """An opened checkpoint: config.json understood, every rank's file there and readable."""

    folder: Path
    config: EngineConfig
    tp: int
    pp: int
    files: list[Any]
    """Open safetensors files by rank."""
    names: list[set[str]]
    layer_counts: list[int]
    """Layers a pipeline stage."""
    quantization: dict[str, Any]
    layer_algos: dict[str, dict[str, Any]]
    """By name pattern, for MIXED_PRECISION."""

    @property
    def quant_algo(self) -> str | None:
        return self.quantization.get("quant_algo")

    @property
    def tied(self) -> bool:
        """Whether the last stage takes its output matrix from the embedding."""
        return "lm_head.weight" not in self.names[(self.pp - 1) * self.tp]

    def algo(self, module: str) -> tuple[str, int]:
        """(quant_algo or "", group size) of a linear layer by its name in the rank file."""
        name = self.quant_algo
        if name in (None, "NO_QUANT"):
            return FULL, 0
        group = int(self.quantization.get("group_size") or 128)
        if name == "MIXED_PRECISION":
            for pattern, own in self.layer_algos.items():
                if fnmatch.fnmatch(module, pattern):
                    return own.get("quant_algo") or FULL, int(own.get("group_size") or 128)
            return FULL, 0
        patterns = self.quantization.get("exclude_modules")
        patterns = _NEVER_QUANTIZED if patterns is None else patterns
        weight_only_head = module == "lm_head" and name in ("W8A16", "W4A16")
        if weight_only_head or any(fnmatch.fnmatchcase(module, str(pattern)) for pattern in patterns):
            return FULL, 0
        return str(name), group


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a checkpoint folder, with all that can be told from config.json, file names and headers checked.

    Raises WorkerError `bad-checkpoint` with words, or `not-readable` for architectures and algorithms that
    this reader does not know.
    """
    raw = _read_config(folder)
    config = engine_config(raw)
    mapping = raw.get("mapping") or {}
    tp, pp, cp = (_size(mapping, name) for name in ("tp_size", "pp_size", "cp_size"))
    world = _size(mapping, "world_size", tp * pp * cp)
    if cp != 1 or world != tp * pp:
        raise bad(
            "the parallel sizes in config.json do not fit together",
            CONFIG,
            f"world_size {world}, tp_size {tp}, pp_size {pp}, cp_size {cp}",
        )
    if _size(mapping, "moe_ep_size") > 1:
        raise WorkerError(
            "checkpoints whose experts are shared out over the ranks whole cannot be read back here",
            code="not-readable",
            cause=f"moe_ep_size = {mapping['moe_ep_size']}",
            hint="Leave this step out for such a checkpoint.",
        )
    _check_ranks(folder, tp * pp)
    files = [_open(folder / f"rank{rank}.safetensors") for rank in range(tp * pp)]
    names = [set(file.keys()) for file in files]
    quantization, layer_algos = _quantization(folder, raw)
    checkpoint = Checkpoint(folder, config, tp, pp, files, names, [], quantization, layer_algos)
    for stage in range(pp):
        counts = {_layers_in(names[stage * tp + rank]) for rank in range(tp)}
        if len(counts) != 1:
            raise bad("ranks of one pipeline stage hold different numbers of layers", f"stage {stage}", str(counts))
        checkpoint.layer_counts.append(counts.pop())
    expected = config.whole("num_hidden_layers")
    if sum(checkpoint.layer_counts) != expected:
        raise bad(
            "the rank files do not hold the number of layers that config.json names",
            "",
            f"{' + '.join(map(str, checkpoint.layer_counts))} layers by stage, num_hidden_layers {expected}",
            "Make the checkpoint again: config.json and the rank files come from different runs.",
        )
    return checkpoint


def _size(mapping: dict[str, Any], name: str, default: int = 1) -> int:
    value = mapping.get(name)
    if value is None or (name == "moe_ep_size" and value == -1):  # -1: TensorRT-LLM chooses 1
        return default
    if type(value) is not int or value < 1:
        raise bad("the parallel sizes in config.json are not whole numbers", CONFIG, f"{name} = {value!r}"[:200])
    return value


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        raw = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise bad("the checkpoint's config.json cannot be read", CONFIG, str(error)[:300]) from error
    if not isinstance(raw, dict):
        raise bad("the checkpoint's config.json is not a JSON object", CONFIG, type(raw).__name__)
    if "pretrained_config" in raw and "build_config" in raw:
        raise bad(
            "the folder is an engine, not a checkpoint",
            CONFIG,
            "it has pretrained_config and build_config",
            "Give the checkpoint that the engine was built from.",
        )
    if "model_type" in raw and "architecture" not in raw:
        unified = (folder / "hf_quant_config.json").is_file()
        raise bad(
            "the folder is "
            + ("a unified Hugging Face export" if unified else "a Hugging Face model")
            + ", not a TensorRT-LLM checkpoint",
            CONFIG,
            f"model_type = {raw['model_type']!r}, no architecture",
            "Convert or quantize it first.",
        )
    if ("version" in raw and "layers" in raw) or "builder_config" in raw or "tensor_parallel" in raw:
        raise bad(
            "the checkpoint is of an older TensorRT-LLM or AMMO version",
            CONFIG,
            f"keys: {', '.join(sorted(raw))[:200]}",
            _OTHER_VERSION,
        )
    if not isinstance(raw.get("mapping") or {}, dict):
        raise bad("`mapping` in config.json is not an object", CONFIG, repr(raw["mapping"])[:200])
    return raw


def _quantization(folder: Path, raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    given = {} if raw.get("quantization") is None else raw["quantization"]
    unknown = sorted(set(given) - _QUANT_KEYS) if isinstance(given, dict) else ["not an object"]
    if unknown:
        raise bad(
            "the checkpoint's quantization settings are those of another TensorRT-LLM version",
            CONFIG,
            f"not known to 1.2: {', '.join(unknown)}",
            _OTHER_VERSION,
        )
    algo, kv = given.get("quant_algo"), given.get("kv_cache_quant_algo")
    if (algo is not None and str(algo) not in _ALGO_NAMES) or kv not in _KV_ALGOS:
        raise bad(
            "config.json names a quantization that TensorRT-LLM 1.2 does not know",
            CONFIG,
            f"quant_algo = {algo!r}, kv_cache_quant_algo = {kv!r}",
            _OTHER_VERSION,
        )
    group, patterns = given.get("group_size"), given.get("exclude_modules")
    if not (group is None or (type(group) is int and group > 0)) or not (
        patterns is None or isinstance(patterns, list)
    ):
        raise bad(
            "the checkpoint's quantization settings cannot be read",
            CONFIG,
            f"group_size = {group!r}, exclude_modules = {patterns!r}"[:300],
        )
    layers: dict[str, dict[str, Any]] = {}
    if algo == "MIXED_PRECISION":
        try:
            mixed = json.loads((folder / QUANT_CONFIG).read_text(encoding="utf-8"))
            layers = {str(name): dict(own) for name, own in mixed["quantized_layers"].items()}
            for own in layers.values():
                int(own.get("group_size") or 128)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise bad(
                "the list of layers of a mixed-precision checkpoint cannot be read", QUANT_CONFIG, str(error)[:300]
            ) from error
    used = {algo} | {own.get("quant_algo") for own in layers.values()}
    beyond = sorted(str(one) for one in used if one not in (None, "NO_QUANT", "MIXED_PRECISION", *ALGOS))
    if beyond:
        raise WorkerError(
            "weights of this quantization cannot be read back here",
            code="not-readable",
            cause=f"quant_algo {', '.join(beyond)}; known: {', '.join(name for name in ALGOS if name)}",
            hint="Leave this step out for such a checkpoint.",
        )
    return given, layers


def _check_ranks(folder: Path, world: int) -> None:
    matches = (re.fullmatch(r"rank(\d+)\.safetensors", path.name) for path in folder.iterdir())
    there = sorted(int(match.group(1)) for match in matches if match)
    missing = [rank for rank in range(world) if rank not in there]
    if missing:
        raise bad(
            "a rank's file is missing from the checkpoint",
            "",
            f"{', '.join(f'rank{rank}.safetensors' for rank in missing)} of {world} not there",
            "Make the checkpoint again: the exporter stopped early, or files were left behind in copying.",
        )
    if there[-1] >= world:
        raise bad(
            "the folder holds more ranks than config.json names",
            "",
            f"rank{there[-1]}.safetensors with a world size of {world}",
            "Two checkpoints lie in one folder: make it again in an empty one.",
        )


def _open(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError) as error:
        raise bad(
            "a rank's file is not a whole safetensors file",
            path.name,
            f"{path.stat().st_size:,} bytes: {str(error)[:200]}",
            "Make the checkpoint again; a full disk leaves such files.",
        ) from error


def _layers_in(names: set[str]) -> int:
    numbers = {int(found.group(1)) for name in names if (found := re.match(r"transformer\.layers\.(\d+)\.", name))}
    return max(numbers) + 1 if numbers else 0
