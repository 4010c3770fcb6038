"""Worker `pytorch.build`: an engine folder that refers to a model folder and says how to load it. Nothing is copied."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.model import ModelSpec, read_model
from workbench.workers.common import announce, input_folder, quiet_environment, write_json
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker, versions_of
from workbench.workers.pytorch.common import PACKAGES
from workbench.workers.pytorch.load import HostSettings, host_settings
from workbench.workers.pytorch.reference import (
    DTYPES,
    ENGINE_FILE,
    ENGINE_SCHEMA,
    QUANTIZED,
    TOOLCHAIN,
    shown_path,
    stamps_of,
)

COMPILE_LEVEL = 1
"""transformers' level for `compiled`: the higher ones try kernels for minutes at each load."""
_ELEMENT_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Write engine.json into `spec.output` for `inputs.model`.

    Settings: `precision` (fp32, bf16, fp16, int8, fp8), `model_digest`, `mode` ("eager", "compiled"), `device` ("auto",
    "cpu", "cuda"), `attention`, `sampling`, `trust_remote_code`. Raises WorkerError `missing-input`, `bad-settings`,
    `bad-model`.
    """
    folder, out = input_folder(spec, "model"), Path(spec.output)
    quiet_environment()
    started = time.monotonic()
    channel.phase("refer", 1, 1)
    precision = str(spec.settings.get("precision", ""))
    if precision not in DTYPES:
        raise WorkerError(
            "the PyTorch toolchain has no such precision",
            code="bad-settings",
            cause=f"precision = {precision!r}",
            hint=f"Use one of: {', '.join(DTYPES)}.",
        )
    wanted = _settings(spec.settings, precision)
    settings = host_settings(wanted, channel)
    try:
        model = read_model(folder, trust_remote_code=settings.trust_remote_code)
        files = stamps_of(folder)
    except BadInputError as error:
        raise WorkerError(error.what, code="bad-model", cause=error.evidence, hint=error.fix) from error
    except OSError as error:
        raise WorkerError("the model folder cannot be read", code="bad-model", cause=str(error)) from error
    engine = {
        "schema_version": ENGINE_SCHEMA,
        "toolchain": TOOLCHAIN,
        "model": {"path": shown_path(folder), "digest": str(spec.settings.get("model_digest", "")), "files": files},
        "precision": precision,
        "settings": wanted,
        **_facts(model, settings, str(spec.settings.get("mode", "eager"))),
        "versions": versions_of(*PACKAGES),
    }
    write_json(out / ENGINE_FILE, engine)
    size = announce(channel, "engine", out)
    told = {key: value for key, value in engine.items() if key not in ("schema_version", "model", "settings")}
    return {**told, "model_path": shown_path(folder), "bytes": size, "seconds": round(time.monotonic() - started, 2)}


def _settings(given: dict[str, Any], precision: str) -> dict[str, Any]:
    """What of the host's settings an engine fixes."""
    device = str(given.get("device") or "auto")
    wanted: dict[str, Any] = {"dtype": DTYPES[precision]}
    if precision in QUANTIZED:
        wanted["quantization"] = precision
    if device != "auto":
        wanted["device"] = device
    if given.get("mode") == "compiled":
        wanted["compile_level"] = COMPILE_LEVEL
    if given.get("attention"):
        wanted["attention"] = str(given["attention"])
    if given.get("sampling"):
        wanted["do_sample"] = True
    if given.get("trust_remote_code"):
        wanted["trust_remote_code"] = True
    return wanted


def _facts(model: ModelSpec, settings: HostSettings, mode: str) -> dict[str, Any]:
    """What lists and estimates show of the engine, from the model's own files."""
    dtype = str(settings.dtype)
    entries = 2 * model.layers * model.kv_heads * model.head_size
    weights = model.parameters * _ELEMENT_BYTES[dtype]
    return {
        "mode": mode,
        "device": settings.device or "auto",
        "compute_precision": dtype,
        "kv_cache_precision": {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[dtype],
        "kv_block_tokens": settings.kv_block_tokens,
        "kv_block_bytes": entries * _ELEMENT_BYTES[dtype] * settings.kv_block_tokens,
        "weights_bytes": weights // 2 if settings.quantization else weights,
        "limits": {} if model.max_positions is None else {"max_seq_len": model.max_positions},
        "vocabulary": model.vocab_size,
        "layers": model.layers,
        "kv_heads": model.kv_heads,
        "head_size": model.head_size,
        "chat_template": model.has_chat_template,
    }


if __name__ == "__main__":
    run_worker("pytorch.build", work, packages=PACKAGES)
