"""Worker `openvino.build`: checkpoint (IR folder) -> engine folder that is known to load on this CPU.

The engine folder is the IR with its tokenizers (hard links to the checkpoint's where that works), `engine.json` with
the engine's limits, and `cache/` with the compiled blob where this OpenVINO can load one again. OpenVINO 2026.4.1
writes a blob for paged attention on CPU and then cannot read it (the operation's head sizes are not in it): it
compiles and writes again at each load. So the blob's use is tried here, and a blob without use is not shipped.
"""

from __future__ import annotations

import gc
import shutil
import time
from pathlib import Path
from typing import Any

from workbench.workers.common import announce, input_folder, quiet_environment, read_json, take_files, write_json
from workbench.workers.openvino.common import MODEL_BIN, MODEL_XML, PACKAGES, check_tokenizers, read_ir
from workbench.workers.openvino.pipeline import (
    KV_BLOCK_TOKENS,
    KV_PRECISIONS,
    chat_ids,
    load_pipeline,
    standing_in,
    timed_answer,
)
from workbench.workers.openvino.weights import kv_shape, parameters_by_type
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker, versions_of

ENGINE_FILE = "engine.json"
ENGINE_SCHEMA = 1
CACHE_FOLDER = "cache"
PHASES = ("files", "compile", "reload", "describe")
_TRIAL_BLOCKS = 8


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with an engine made of `inputs.checkpoint`.

    Settings: `device` (default "CPU"), `kv_cache_precision` ("auto", "fp16", "bf16", "fp32", "int8").
    Raises WorkerError: `missing-input`, `bad-setting`, `bad-ir`, `no-tokenizer`, `import-failed`, `engine-load-failed`,
    `no-answer`.
    """
    source, out = input_folder(spec, "checkpoint"), Path(spec.output)
    device = str(spec.settings.get("device", "CPU"))
    properties = _properties(spec.settings)
    quiet_environment()
    started = time.monotonic()
    channel.phase("files", 1, len(PHASES))
    linked = _take_files(source, out, channel)
    model = read_ir(out)
    check_tokenizers(out)
    shape, parameters = kv_shape(model), parameters_by_type(model)
    if shape is None:
        raise WorkerError(
            "the model has no KV cache that could be paged",
            code="bad-ir",
            cause="no ReadValue of shape (batch, KV heads, tokens, head size)",
            hint="Only decoder models with ordinary attention can be built.",
        )
    vocabulary = model.output("logits").get_partial_shape()[2].get_length()
    del model

    channel.phase("compile", 2, len(PHASES))
    cached = properties | {"CACHE_DIR": CACHE_FOLDER, "CACHE_MODE": "OPTIMIZE_SIZE"}
    cold_seconds, _ = _trial(out, device, cached)
    blobs = _blobs(out)
    channel.phase("reload", 3, len(PHASES))
    warm_seconds, block_bytes = _trial(out, device, cached)
    cache = _judge_cache(out, blobs, cold_seconds, warm_seconds)
    channel.log(cache["why"])

    channel.phase("describe", 4, len(PHASES))
    config = read_json(out / "config.json")
    engine = {
        "schema_version": ENGINE_SCHEMA,
        "toolchain": "openvino",
        "device": device,
        "versions": versions_of(*PACKAGES[:3]),
        "properties": properties,
        "limits": {"max_seq_len": _max_seq_len(config)},
        "vocabulary": vocabulary,
        "layers": shape.layers,
        "kv_heads": shape.kv_heads,
        "head_size": shape.head_size,
        "kv_cache_precision": _kv_precision(out, device, properties),
        "kv_block_tokens": KV_BLOCK_TOKENS.get(device.split(".")[0]),
        "kv_block_bytes": block_bytes,
        "parameters_by_type": parameters,
        "chat_template": (out / "chat_template.jinja").is_file()
        or "chat_template" in read_json(out / "tokenizer_config.json"),
        "cache": cache,
    }
    write_json(out / ENGINE_FILE, engine)
    size = announce(channel, "engine", out)
    return {
        **{key: value for key, value in engine.items() if key != "schema_version"},
        "bytes": size,
        "files_linked": linked,
        "load_seconds": round(cold_seconds, 3),
        "seconds": round(time.monotonic() - started, 2),
    }


def _properties(settings: dict[str, Any]) -> dict[str, str]:
    wanted = str(settings.get("kv_cache_precision") or "auto")
    if wanted == "auto":
        return {}
    if wanted not in KV_PRECISIONS:
        raise WorkerError(
            f"OpenVINO has no KV cache in {wanted}",
            code="bad-setting",
            cause=f"kv_cache_precision = {wanted}",
            hint=f"Use auto or one of: {', '.join(KV_PRECISIONS)}.",
        )
    return {"KV_CACHE_PRECISION": KV_PRECISIONS[wanted]}


def _take_files(source: Path, out: Path, channel: Channel) -> bool:
    """Bring the checkpoint's files into the engine; whether all of them are links."""
    linked = take_files(source, out, channel)
    absent = [name for name in (MODEL_XML, MODEL_BIN) if not (out / name).is_file()]
    if absent:
        raise WorkerError(
            "the checkpoint holds no OpenVINO model",
            code="bad-ir",
            cause=f"{', '.join(absent)} not in {source}",
            hint="Run the step that makes it again.",
        )
    return linked


def _trial(out: Path, device: str, properties: dict[str, Any]) -> tuple[float, int | None]:
    """Load the pipeline and let it say one token: seconds to load, and bytes of a KV block (None: not reported)."""
    begin = time.monotonic()
    pipeline = load_pipeline(out, device, _TRIAL_BLOCKS, properties)
    seconds = time.monotonic() - begin
    timed_answer(pipeline, chat_ids(pipeline, "Hi"), 2)
    cache_bytes = getattr(pipeline.get_metrics(), "kv_cache_size_in_bytes", None) or getattr(
        pipeline.get_metrics(), "cache_size_in_bytes", None
    )
    del pipeline
    gc.collect()
    return seconds, cache_bytes // _TRIAL_BLOCKS if cache_bytes else None


def _blobs(out: Path) -> dict[str, tuple[int, int]]:
    """Blob name -> (bytes, modified), to see whether a later load writes again."""
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in (out / CACHE_FOLDER).glob("*.blob")}


def _judge_cache(
    out: Path, first: dict[str, tuple[int, int]], cold_seconds: float, warm_seconds: float
) -> dict[str, Any]:
    """What became of the compiled blob: kept when the second load read it, else removed, and why."""
    facts = {
        "cold_load_seconds": round(cold_seconds, 3),
        "warm_load_seconds": round(warm_seconds, 3),
        "blob_bytes": sum(size for size, _ in first.values()),
    }
    usable = bool(first) and _blobs(out) == first
    if usable:
        why = f"the compiled blob loads in {warm_seconds:.2f} s (compiling took {cold_seconds:.2f} s)"
    else:
        shutil.rmtree(out / CACHE_FOLDER, ignore_errors=True)
        why = (
            "OpenVINO wrote no compiled blob for this device; the model is compiled at each load"
            if not first
            else "this OpenVINO release cannot load its own compiled blob of a paged-attention model and compiled it "
            "again, so the engine ships without one"
        )
        why += f" ({warm_seconds:.2f} s)"
    return {"usable": usable, "folder": CACHE_FOLDER if usable else "", "why": why, **facts}


def _kv_precision(out: Path, device: str, properties: dict[str, str]) -> str | None:
    """The KV cache's precision in the workbench's words, as the compiled model reports it; None: not reported."""
    import openvino

    with standing_in(out) as here:
        compiled = openvino.Core().compile_model(f"{here}/{MODEL_XML}", device, properties)
    try:
        name = compiled.get_property("KV_CACHE_PRECISION").get_type_name()
    except RuntimeError:
        return None
    return {theirs: ours for ours, theirs in KV_PRECISIONS.items()}.get(name, name)


def _max_seq_len(config: dict[str, Any]) -> int | None:
    """Longest sequence that the model's configuration allows; None: not reported."""
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    found = text.get("max_position_embeddings") if text else None
    return int(found) if found else None


if __name__ == "__main__":
    run_worker("openvino.build", work, packages=PACKAGES)
