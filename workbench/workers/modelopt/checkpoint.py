"""What ModelOpt's exporter wrote, made a checkpoint to build of: config completed, rank files checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.core.trtllm.config import Completed, complete
from workbench.workers.common import announce, read_json, write_json
from workbench.workers.modelopt.common import HEAD, WEIGHT_ONLY, Job, copy_companions, in_words, tidy
from workbench.workers.protocol import Channel, WorkerError

CONFIG = "config.json"
LAYERS = "quant_cfg.json"
"""Algorithm of each layer, for mixed precision."""
UNQUANTIZED = ("*lm_head", "*router", "*vocab_embedding", "*position_embedding", "*block_embedding",
               "*shared_expert_gate")  # fmt: skip
"""What the engine's builder leaves at full precision when it rounds weights itself: its own default list."""


def finish(job: Job, source: Mapping[str, Any], channel: Channel) -> dict[str, Any]:
    """Complete config.json from `source` (transformers' config as a dict), check the rank files, copy the tokenizer.

    Returns what goes into the step's result. Raises WorkerError: `bad-checkpoint`, `bad-scales`, `not-expressible`.
    """
    files = rank_files(job.out, job.ranks)
    shared = _shares_embeddings(files[-1])
    written = read_json(job.out / CONFIG)
    with in_words():
        completed = complete(written, source, share_embedding_table=shared)
    config = completed.config
    config["quantization"] = quantization(config.get("quantization") or {}, job, _plain_head(files[-1]))
    write_json(job.out / CONFIG, config)
    if config["quantization"].get("quant_algo") != "MIXED_PRECISION":
        (job.out / LAYERS).unlink(missing_ok=True)  # an empty list of layers at full precision
    check_scales(files)
    companions = copy_companions(job.model, job.out)
    tidy(job.out)
    _say(completed, job, channel)
    weight_bytes = sum(path.stat().st_size for path in files)
    return {
        "precision": job.precision.value,
        "dtype": job.dtype,
        "quant_algo": config["quantization"].get("quant_algo"),
        "kv_cache_quant_algo": config["quantization"].get("kv_cache_quant_algo"),
        "tp": job.tp,
        "pp": job.pp,
        "ranks": job.ranks,
        "bytes": announce(channel, "checkpoint", job.out),
        "weight_bytes": weight_bytes,
        "source_weight_bytes": job.spec.weight_bytes,
        "config_added": completed.added,
        "config_corrected": [str(each) for each in completed.corrected],
        "engine_defaults": completed.defaults,
        "remarks": [*job.remarks, *completed.remarks],
        "companions": companions,
        **({"group_size": job.block, "why": job.block_why} if job.block else {}),
    }


def rank_files(folder: Path, ranks: int) -> list[Path]:
    """rank0.safetensors to the last. Raises WorkerError `bad-checkpoint` that names the missing ones."""
    files = [folder / f"rank{rank}.safetensors" for rank in range(ranks)]
    absent = [path.name for path in files if not path.is_file()]
    if absent or not (folder / CONFIG).is_file():
        raise WorkerError(
            "the checkpoint is not complete",
            code="bad-checkpoint",
            cause=f"missing: {', '.join(absent or [CONFIG])}",
            hint="Run the step again; a full disk leaves such folders.",
        )
    return files


def quantization(written: Mapping[str, Any], job: Job, plain_head: bool) -> dict[str, Any]:
    """The `quantization` table of config.json: weight-only algorithms named, and the KV cache as asked for.

    `plain_head`: the output layer is at full precision, which the builder has to be told of.
    """
    table = dict(written)
    excluded = table.get("exclude_modules") or []
    if plain_head and table.get("quant_algo") and "exclude_modules" in table and "lm_head" not in excluded:
        table["exclude_modules"] = [*excluded, "lm_head"]
    if job.precision in WEIGHT_ONLY:
        # An empty list would have the builder round the output layer and the embedding too.
        table |= {"quant_algo": WEIGHT_ONLY[job.precision], "exclude_modules": list(UNQUANTIZED)}
    excluded = table.get("exclude_modules")
    if isinstance(excluded, list) and not any(each in ("lm_head", "*lm_head") for each in excluded):
        # With shared embeddings and pipeline stages ModelOpt does not list it, and the builder would want its scales.
        table["exclude_modules"] = [*excluded, "lm_head"]
    if job.kv_cache.value not in ("fp8", "int8"):
        table["kv_cache_quant_algo"] = None
    elif table.get("kv_cache_quant_algo") != job.kv_cache.value.upper():
        raise WorkerError(
            f"ModelOpt wrote no scales for an {job.kv_cache.value.upper()} KV cache",
            code="quantize-failed",
            cause=f"kv_cache_quant_algo = {table.get('kv_cache_quant_algo')}",
            hint='Use kv_cache = "auto" for this model.',
        )
    if job.block and job.precision.value != "nvfp4" and table.get("quant_algo") != "MIXED_PRECISION":
        table["group_size"] = job.block
    return table


def check_scales(files: list[Path], framework: str = "pt") -> None:
    """Raise WorkerError `bad-scales` for a scaling factor that is NaN, infinite or negative.

    `framework` reads the files: "pt", or "numpy" where there is no torch, which lacks BF16 and FP8.
    """
    from safetensors import safe_open

    for path in files:
        with safe_open(str(path), framework) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                if not name.endswith(("scaling_factor", "scaling_factor_2", "per_channel_scale")):
                    continue
                values = tensors.get_tensor(name)
                values = values.float() if framework == "pt" else values
                low, high = float(values.min()), float(values.max())
                if not (math.isfinite(low) and math.isfinite(high)) or low < 0:
                    raise WorkerError(
                        "a quantization scale is not a number that can be used",
                        code="bad-scales",
                        cause=f"{name} in {path.name}: {low:g} to {high:g}",
                        hint="The model or the calibration text gave NaN or infinite values: try dtype = bf16, other "
                        "calibration text, or another precision.",
                    )


def _shares_embeddings(last: Path) -> bool:
    """Whether the last rank's file has no output layer of its own."""
    from safetensors import safe_open

    with safe_open(str(last), "pt") as tensors:
        return HEAD not in tensors.keys()  # noqa: SIM118 (no mapping)


def _plain_head(last: Path) -> bool:
    """Whether the output layer (of the last rank, or the embedding it is shared with) is not quantized."""
    from safetensors import safe_open

    with safe_open(str(last), "pt") as tensors:
        return not any(name.startswith("lm_head.") and "scal" in name for name in tensors.keys())  # noqa: SIM118


def _say(completed: Completed, job: Job, channel: Channel) -> None:
    for remark in (*job.remarks, *completed.remarks):
        channel.log(remark, "warning")
    if completed.added:
        channel.log(f"config.json: {len(completed.added)} fields added: {', '.join(sorted(completed.added))}")
    for correction in completed.corrected:
        channel.log(f"config.json corrected: {correction}")
    for name, value in completed.defaults.items():
        channel.log(f"config.json says nothing of {name}: the engine takes {value}", "warning")
