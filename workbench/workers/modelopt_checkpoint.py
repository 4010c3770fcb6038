"""What ModelOpt's exporter wrote, made a checkpoint to build of: config completed, rank files checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.core.trtllm_config import Completed, complete
from workbench.workers.modelopt_common import WEIGHT_ONLY, Job, copy_companions, in_words, tidy
from workbench.workers.openvino_common import announce, read_json, write_json
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
    shared = _give_last_stage_its_head(job, files)
    written = read_json(job.out / CONFIG)
    with in_words():
        completed = complete(written, source, share_embedding_table=shared)
    config = completed.config
    config["quantization"] = quantization(config.get("quantization") or {}, job)
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


def quantization(written: Mapping[str, Any], job: Job) -> dict[str, Any]:
    """The `quantization` table of config.json: weight-only algorithms named, and the KV cache as asked for."""
    table = dict(written)
    if job.precision in WEIGHT_ONLY:
        # An empty list would have the builder round the output layer and the embedding too.
        table |= {"quant_algo": WEIGHT_ONLY[job.precision], "exclude_modules": list(UNQUANTIZED)}
    if job.kv_cache.value not in ("fp8", "int8"):
        table["kv_cache_quant_algo"] = None
    elif table.get("kv_cache_quant_algo") != job.kv_cache.value.upper():
        raise WorkerError(
            f"ModelOpt wrote no scales for an {job.kv_cache.value.upper()} KV cache",
            code="quantize-failed",
            cause=f"kv_cache_quant_algo = {table.get('kv_cache_quant_algo')}",
            hint='Use kv_cache = "auto" for this model.',
        )
    if job.block and job.precision.value != "nvfp4":
        table["group_size"] = job.block
    return table


def check_scales(files: list[Path]) -> None:
    """Raise WorkerError `bad-scales` for a scaling factor that is NaN, infinite or negative."""
    from safetensors import safe_open

    for path in files:
        with safe_open(str(path), "pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 (no mapping)
                if not name.endswith(("scaling_factor", "scaling_factor_2", "per_channel_scale")):
                    continue
                values = tensors.get_tensor(name).float()
                low, high = float(values.min()), float(values.max())
                if not (math.isfinite(low) and math.isfinite(high)) or low < 0:
                    raise WorkerError(
                        "a quantization scale is not a number that can be used",
                        code="bad-scales",
                        cause=f"{name} in {path.name}: {low:g} to {high:g}",
                        hint="The model or the calibration text gave NaN or infinite values: try dtype = bf16, other "
                        "calibration text, or another precision.",
                    )


def _give_last_stage_its_head(job: Job, files: list[Path]) -> bool:
    """Write shared embeddings into the last pipeline stage as its output layer; whether no rank file has one.

    The exporter leaves it out for models that share them (Gemma), also where the stage that needs it does not hold
    the embedding; the builder then ends with a missing tensor.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    last = files[-job.tp :]
    with safe_open(str(last[0]), "pt") as tensors:
        if "lm_head.weight" in tensors.keys():  # noqa: SIM118 (no mapping)
            return False
    if job.pp == 1:
        return True
    for first, stage in zip(files[: job.tp], last, strict=True):
        with safe_open(str(first), "pt") as tensors:
            head = tensors.get_tensor("transformer.vocab_embedding.weight")
        save_file({**load_file(str(stage)), "lm_head.weight": head}, str(stage))
    return False


def _say(completed: Completed, job: Job, channel: Channel) -> None:
    for remark in (*job.remarks, *completed.remarks):
        channel.log(remark, "warning")
    if completed.added:
        channel.log(f"config.json: {len(completed.added)} fields added: {', '.join(sorted(completed.added))}")
    for correction in completed.corrected:
        channel.log(f"config.json corrected: {correction}")
    for name, value in completed.defaults.items():
        channel.log(f"config.json says nothing of {name}: the engine takes {value}", "warning")
