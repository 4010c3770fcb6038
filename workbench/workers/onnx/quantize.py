"""Worker `onnx.quantize`: an ONNX folder's linear layers to INT8, INT4, FP8 or NVFP4, with NVIDIA ModelOpt.

Scales and rounding are ModelOpt's, and so is what calibration text teaches; the graph is edited here, layer by layer.
The checked graph of the convert step is what is quantized, so nothing is exported twice.
Peak memory: the new weights, plus a few copies of the largest layer in float32. While calibration text runs (AWQ, FP8,
NVFP4): the source model in float32, or in BF16 where that does not fit; it is let go before the weights are made.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workbench.core.precision import Precision
from workbench.workers.common import announce, explain_import, first_line, input_folder, quiet_environment, write_json
from workbench.workers.onnx.calibrate import Calibrated, calibrate, value_of
from workbench.workers.onnx.common import (
    DATA_FILE,
    FACTS_FILE,
    MODEL_FILE,
    OPSET,
    PACKAGES,
    check_folder,
    copy_companions,
    read_facts,
    read_graph,
    save_model,
)
from workbench.workers.onnx.fp8 import fp8_tensors
from workbench.workers.onnx.int4 import choose_group_size, int4_groups
from workbench.workers.onnx.int8 import int8_channels
from workbench.workers.onnx.linears import FLOATS, Linear, Method, find_linears, replace_weights
from workbench.workers.onnx.logits import load_error
from workbench.workers.onnx.nvfp4 import BLOCK, DOMAIN, IR_VERSION, nvfp4_blocks
from workbench.workers.onnx.nvfp4 import OPSET as FP4_OPSET
from workbench.workers.onnx.weights import parameters_by_type
from workbench.workers.protocol import Channel, StepSpec, WorkerError, run_worker, versions_of

WEIGHTS = ("int8", "int4", "fp8", "nvfp4")
HALF_ALONE = ("fp8", "nvfp4")
_BITS = {"nvfp4": 4, "int4": 4, "uint4": 4, "int8": 8, "uint8": 8, "fp8": 8, "fp16": 16, "bf16": 16, "fp32": 32}


def work(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Fill `spec.output` with `inputs.checkpoint`, its linear layers quantized; embeddings, the output layer, routers
    and norms stay as they are, and so does what attention computes.

    Settings: `weights` ("int8", "int4", "fp8", "nvfp4"), `method` ("rtn", or "awq" for INT4), `group_size` ("auto" or
    a number; INT4), `compute` ("fp32" or "fp16": that of the checkpoint, where given), `calibration` {field, samples,
    length, batch_size, seed}, `trust_remote_code`. Inputs `model` (the Hugging Face folder) and `calibration` (text)
    are needed for AWQ, FP8 and NVFP4. The result is onnx.json's facts with what was quantized.
    Raises WorkerError: `missing-input`, `bad-setting`, `bad-onnx`, `missing-onnx-data`, `already-quantized`,
    `bad-group-size`, `bad-weights`, `quantize-failed`, `engine-load-failed`, `import-failed`, and those of `calibrate`.
    """
    source, out = input_folder(spec, "checkpoint"), Path(spec.output)
    settings = _Settings(spec.settings)
    model_folder = input_folder(spec, "model") if settings.needs_text else None
    quiet_environment()
    enter = _phases(channel, ["read", *(["calibration"] if settings.needs_text else []), "quantize", "save", "check"])
    started = time.monotonic()
    enter("read")
    facts, model = read_facts(source), check_folder(source)
    linears = _quantizable(model, facts, settings)
    group_size, why = None, ""
    if settings.weights == "int4":
        group_size, why = choose_group_size(settings.group_size, [linear.inputs for linear in linears])
        channel.log(f"group size {group_size}: {why}")
    _import()
    learned = None
    if model_folder is not None:
        enter("calibration")
        learned = calibrate(model_folder, spec, settings.precision, group_size, channel, trust=settings.trust)
        gc.collect()
    enter("quantize")
    channel.log(f"{len(linears)} linear layers, {sum(linear.count for linear in linears):,} weights to quantize")
    method = _method(settings, group_size, learned)
    _replace(model, source, linears, method, settings, channel)
    _set_versions(model, settings.weights)
    enter("save")
    size = save_model(model, out, source, lambda done, total: channel.progress(done, total, "bytes"))
    copy_companions(source, out)
    del model
    enter("check")
    bits = parameters_by_type(read_graph(out))
    if not bits.get(settings.weights):
        raise WorkerError(
            f"no weight is in {settings.weights.upper()} after all",
            code="quantize-failed",
            cause=f"parameters by type: {bits}",
            hint="Choose another precision for this model.",
        )
    loaded = _try(out, settings.weights)
    written = _facts(facts, settings, group_size, bits, model_versions=_versions(settings.weights))
    write_json(out / FACTS_FILE, written)
    channel.log(_in_words(linears, bits))
    result: dict[str, Any] = {
        **written,
        "quantized_layers": len(linears),
        "quantized_weights": sum(linear.count for linear in linears),
        "left": "embeddings, output layer, norms and attention's own products",
        "bits_per_weight": round(_mean_bits(bits), 3),
        "weight_bytes": size,
        "source_weight_bytes": sum(
            (source / name).stat().st_size for name in (MODEL_FILE, DATA_FILE) if (source / name).is_file()
        ),
        "ran_on_cpu": loaded,
        "bytes": announce(channel, "checkpoint", out),
        "seconds": round(time.monotonic() - started, 2),
    }
    if group_size is not None:
        result["why"] = why
    if learned is not None:
        result |= {"calibration": learned.text.report(), "calibration_compute": learned.compute}
    return result


class _Settings:
    def __init__(self, given: dict[str, Any]) -> None:
        self.weights = _one_of(given, "weights", WEIGHTS, "int8")
        self.method = _one_of(given, "method", ("rtn", "awq"), "rtn")
        self.compute = _one_of(given, "compute", ("", "fp32", "fp16"), "")
        self.group_size = given.get("group_size", "auto")
        self.trust = bool(given.get("trust_remote_code", False))
        if self.method == "awq" and self.weights != "int4":
            raise WorkerError(
                "AWQ is a way to make INT4 weights",
                code="bad-setting",
                cause=f"weights = {self.weights}, method = awq",
                hint="Use method rtn, or weights int4.",
            )

    @property
    def needs_text(self) -> bool:
        return self.method == "awq" or self.weights in HALF_ALONE

    @property
    def precision(self) -> Precision:
        return Precision.INT4_AWQ if self.method == "awq" else Precision(self.weights)


def _one_of(given: dict[str, Any], key: str, allowed: tuple[str, ...], default: str) -> str:
    value = str(given.get(key) or default)
    if value not in allowed:
        raise WorkerError(
            f"{key} cannot be {value[:40]}",
            code="bad-setting",
            cause=f"{key} = {value[:40]}",
            hint=f"Use one of: {', '.join(filter(None, allowed))}.",
        )
    return value


def _quantizable(model: Any, facts: dict[str, Any], settings: _Settings) -> list[Linear]:
    """The layers to quantize of a checkpoint that can be. Raises WorkerError `already-quantized`, `bad-setting`,
    `bad-group-size`, `quantize-failed`, `bad-onnx`."""
    dequantized = next((node.name for node in model.graph.node if node.op_type == "DequantizeLinear"), None)
    if facts.get("quantizer") or dequantized is not None:
        raise WorkerError(
            "the ONNX checkpoint is quantized already",
            code="already-quantized",
            cause=f"precision = {facts.get('precision')}, quantizer = {facts.get('quantizer') or dequantized}",
            hint="Start from the checkpoint that the convert step made.",
        )
    compute = str(facts.get("compute") or facts.get("precision"))
    if compute not in FLOATS.values() or (settings.compute and compute != settings.compute):
        raise WorkerError(
            f"a checkpoint in {compute.upper()} cannot be quantized here"
            if compute not in FLOATS.values()
            else "the checkpoint's float type is not the one asked for",
            code="bad-setting",
            cause=f"the checkpoint computes in {compute}, compute = {settings.compute or 'not given'}",
            hint=f"Convert the model with dtype = {settings.compute or 'fp16'} first.",
        )
    if settings.weights in HALF_ALONE and compute != "fp16":
        raise WorkerError(
            f"{settings.precision.title} products are computed into FP16 here",
            code="bad-setting",
            cause=f"the checkpoint computes in {compute}",
            hint="Convert the model with dtype = fp16 first.",
        )
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < OPSET:
        raise WorkerError(
            "the ONNX model is of an opset without small element types",
            code="bad-onnx",
            cause=f"opset {opset}, {OPSET} or newer is needed",
            hint="Run the convert step again.",
        )
    linears = find_linears(model)
    if not linears:
        raise WorkerError(
            "the ONNX model has no linear layer whose weight is stored in it",
            code="quantize-failed",
            cause=f"{len(model.graph.node):,} operators, none is a MatMul or Gemm by a float weight of two axes",
            hint="This architecture cannot be quantized here: build it in its own float type.",
        )
    odd = next((linear for linear in linears if linear.inputs % BLOCK), None)
    if settings.weights == "nvfp4" and odd is not None:
        raise WorkerError(
            f"this model's channels do not fit NVFP4's blocks of {BLOCK}",
            code="bad-group-size",
            cause=f"{odd.module} has {odd.inputs} input channels",
            hint="Use fp8 or int8.",
        )
    return linears


def _method(settings: _Settings, group_size: int | None, learned: Calibrated | None) -> Method:
    def of(module: str) -> Any:
        assert learned is not None
        return value_of(learned, module)

    if settings.weights == "int4":
        return int4_groups(group_size or 0, of if learned is not None else None)
    return {"int8": int8_channels, "fp8": fp8_tensors(of), "nvfp4": nvfp4_blocks(of)}[settings.weights]


def _replace(
    model: Any, source: Path, linears: list[Linear], method: Method, settings: _Settings, channel: Channel
) -> None:
    try:
        replace_weights(model, source, linears, method, lambda done, total: channel.progress(done, total, "weights"))
    except (MemoryError, OSError, WorkerError):
        raise
    except ImportError as error:
        raise explain_import(error) from error
    except Exception as error:
        raise WorkerError(
            f"ModelOpt could not quantize the weights to {settings.weights.upper()}",
            code="quantize-failed",
            cause=f"{type(error).__name__}: {first_line(error)}",
            hint="Try another precision. The job's log has the full text.",
        ) from error


def _set_versions(model: Any, weights: str) -> None:
    if weights != "nvfp4":
        return
    for each in model.opset_import:
        if each.domain in ("", "ai.onnx"):
            each.version = max(each.version, FP4_OPSET)
    model.ir_version = max(model.ir_version, IR_VERSION)
    own = model.opset_import.add()
    own.domain, own.version = DOMAIN, 1


def _versions(weights: str) -> dict[str, int]:
    return {"opset": FP4_OPSET, "ir_version": IR_VERSION} if weights == "nvfp4" else {}


def _facts(
    facts: dict[str, Any],
    settings: _Settings,
    group_size: int | None,
    bits: dict[str, int],
    model_versions: dict[str, int],
) -> dict[str, Any]:
    written = {
        **facts,
        **model_versions,
        "precision": settings.weights,
        "compute": facts.get("compute") or facts["precision"],
        "quantizer": f"nvidia-modelopt {versions_of('nvidia-modelopt').get('nvidia-modelopt', 'unknown')}",
        "method": settings.method,
        "parameters_by_type": bits,
    }
    return written | ({"group_size": group_size} if group_size is not None else {})


def _try(out: Path, weights: str) -> bool | None:
    """Load the result in ONNX Runtime on the CPU without optimisations, which is quick and light, and feed it a few
    tokens; None where it lacks the operators. Raises WorkerError `engine-load-failed`, `quantize-failed`."""
    if weights == "nvfp4":
        return None
    import numpy as np

    try:
        import onnxruntime
    except (ImportError, RuntimeError) as error:
        raise explain_import(error) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(out / MODEL_FILE), options, providers=["CPUExecutionProvider"])
        ids = np.ones((1, 4), dtype=np.int64)
        feed: dict[str, Any] = {"input_ids": ids, "attention_mask": ids, "position_ids": np.arange(4)[None, :]}
        for given in session.get_inputs():
            if given.name.startswith("past_key_values."):
                shape = [size if isinstance(size, int) else 0 if "past" in size else 1 for size in given.shape]
                feed[given.name] = np.zeros(shape, np.float16 if given.type == "tensor(float16)" else np.float32)
        names = {given.name for given in session.get_inputs()}
        logits = session.run(["logits"], {name: value for name, value in feed.items() if name in names})[0]
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime's own classes have no base of their own
        raise load_error(error, read_graph(out)) from error
    if not np.isfinite(logits).all():
        raise WorkerError(
            "the quantized model's logits are not numbers",
            code="quantize-failed",
            cause=f"{int((~np.isfinite(logits)).sum()):,} of {logits.size:,} logits are NaN or infinite",
            hint="FP16 ends at 65,504: convert with dtype = fp32, or use another precision.",
        )
    return True


def _in_words(linears: list[Linear], bits: dict[str, int]) -> str:
    parts = ", ".join(f"{count:,} {name.upper()}" for name, count in bits.items())
    return f"{len(linears)} layers quantized; weights by type: {parts}; {_mean_bits(bits):.2f} bits a weight"


def _mean_bits(parameters: dict[str, int]) -> float:
    """Mean bits a weight, scales left out."""
    return sum(count * _BITS[name] for name, count in parameters.items()) / max(1, sum(parameters.values()))


def _phases(channel: Channel, names: list[str]) -> Callable[[str], None]:
    return lambda name: channel.phase(name, names.index(name) + 1, len(names))


def _import() -> None:
    """Import ModelOpt without its warnings. Raises WorkerError `import-failed`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import modelopt.torch.quantization  # noqa: F401
            import onnx  # noqa: F401
        except (ImportError, RuntimeError) as error:
            raise explain_import(error) from error


if __name__ == "__main__":
    run_worker("onnx.quantize", work, packages=PACKAGES)
