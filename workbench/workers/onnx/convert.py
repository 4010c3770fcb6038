"""Worker `onnx.convert`: Hugging Face folder -> ONNX folder, compared with its source model before it counts as made.

Memory: the model is loaded once in the target's type, and torch needs as much again while it exports (seen: 4.8 GB for
a target of 2.3 GB). It is released before the weights are gathered into one file, which goes piece by piece. The check
then loads the source model in float32 and ONNX Runtime one after the other, and keeps nothing but logits. So the peak
is the larger of twice the target's weights and once the source's in float32. On disk: the target once, and its largest
weight a second time.
"""

from __future__ import annotations

import gc
import shutil
import time
from pathlib import Path
from typing import Any

from workbench.workers.common import announce, input_folder, quiet_environment, read_json, write_json
from workbench.workers.models.tokenizer_files import check_tokenizer_files
from workbench.workers.onnx.checking import check_if_it_fits
from workbench.workers.onnx.common import (
    FACTS_FILE,
    FACTS_SCHEMA,
    MODEL_FILE,
    OPSET,
    PACKAGES,
    check_folder,
    read_graph,
    save_model,
)
from workbench.workers.onnx.export import lift_opset, release, trace, turn_weights
from workbench.workers.onnx.genai_config import write_genai_config
from workbench.workers.onnx.loading import TORCH_DTYPES, load_model
from workbench.workers.onnx.tokenizer import take_tokenizer
from workbench.workers.onnx.weights import kv_shape, parameters_by_type, vocabulary
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker, versions_of

PHASES = ("load", "export", "save", "check")
SCRATCH = ".export"


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with the ONNX folder of `inputs.model`.

    Settings: `dtype` ("fp32", "fp16" or "bf16") of weights and arithmetic, `trust_remote_code` (default false).
    Raises WorkerError: `missing-input`, `bad-setting`, `import-failed`, `no-tokenizer`, `no-weights`, `bad-model`,
    `needs-remote-code`, `unsupported-architecture`, `export-failed`, `bad-onnx`, `source-failed`,
    `engine-load-failed`, `convert-differs`.
    """
    model, out = input_folder(spec, "model"), Path(spec.output)
    dtype = str(spec.settings.get("dtype", "fp32"))
    trust = bool(spec.settings.get("trust_remote_code", False))
    if dtype not in TORCH_DTYPES:
        raise WorkerError(
            f"a model cannot be exported to ONNX in {dtype}",
            code="bad-setting",
            cause=f"dtype = {dtype}",
            hint=f"Use one of: {', '.join(TORCH_DTYPES)}.",
        )
    check_tokenizer_files(model)
    quiet_environment()
    started = time.monotonic()
    _export(model, out, dtype, trust, channel)
    facts = describe(out, dtype, dtype, None)
    write_genai_config(out, facts)

    channel.phase("check", 4, len(PHASES))
    facts["check"] = check_if_it_fits(out, model, dtype, trust, channel)
    write_json(out / FACTS_FILE, facts)
    size = announce(channel, "checkpoint", out)
    return {**facts, "bytes": size, "seconds": round(time.monotonic() - started, 2)}


def _export(model: Path, out: Path, dtype: str, trust: bool, channel: Channel) -> None:
    """model.onnx, its data, and the files beside them."""
    channel.phase("load", 1, len(PHASES))
    loaded = load_model(model, dtype, trust, channel)
    take_tokenizer(model, out, trust)
    channel.phase("export", 2, len(PHASES))
    scratch = out / SCRATCH
    scratch.mkdir()
    try:
        trace(loaded, scratch, dtype, _Traced(channel).tell)
        release(loaded)
        del loaded
        gc.collect()
        channel.phase("save", 3, len(PHASES))
        graph = read_graph(scratch)
        lift_opset(graph)
        turned = turn_weights(graph)
        (scratch / MODEL_FILE).unlink()

        def told(done: int, total: int) -> None:
            channel.progress(done, total, "bytes")

        save_model(graph, out, scratch, told, turned=turned, consume=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Traced:
    """Tells the layers that are traced, and that torch then works in silence."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._said = False

    def tell(self, done: int, total: int) -> None:
        self._channel.progress(done, total, "layers")
        if done == total and not self._said:
            self._said = True
            self._channel.log("all layers are traced; torch makes the graph of them, and says nothing until it is done")


def describe(folder: Path, precision: str, compute: str, quantizer: str | None) -> dict[str, Any]:
    """onnx.json's facts of a folder that holds the model and config.json; `check` is None.

    Raises WorkerError `bad-onnx`, `missing-onnx-data`, `bad-json`, and `export-failed` for a graph without a KV cache.
    """
    graph = check_folder(folder)
    shape = kv_shape(graph)
    if shape is None:
        raise WorkerError(
            "the exported model takes no KV cache, so it cannot be run token by token",
            code="export-failed",
            cause=f"inputs: {', '.join(given.name for given in graph.graph.input)[:300]}",
            hint="Only decoder models with ordinary attention can be converted.",
        )
    config = read_json(folder / "config.json")
    inner = config.get("text_config")
    text = {**config, **inner} if isinstance(inner, dict) else config
    length = next((text[name] for name in ("max_position_embeddings", "n_positions") if text.get(name)), None)
    optimum = versions_of("optimum-onnx").get("optimum-onnx")
    return {
        "schema_version": FACTS_SCHEMA,
        "precision": precision,
        "compute": compute,
        "opset": next((entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")), OPSET),
        "ir_version": int(graph.ir_version),
        "exporter": f"optimum-onnx {optimum}" if optimum else "optimum-onnx",
        "quantizer": quantizer,
        "layers": shape.layers,
        "kv_heads": shape.kv_heads,
        "head_size": shape.head_size,
        "vocabulary": vocabulary(graph) or text.get("vocab_size"),
        "max_seq_len": int(length) if length else None,
        "inputs": [given.name for given in graph.graph.input if not given.name.startswith("past_key_values.")],
        "parameters_by_type": parameters_by_type(graph),
        "check": None,
    }


if __name__ == "__main__":
    run_worker("onnx.convert", work, packages=PACKAGES)
