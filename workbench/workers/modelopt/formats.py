"""Precisions as ModelOpt's quantization configs, in the form that the installed version wants.

Up to 0.37 or so `quant_cfg` is a dict by quantizer pattern; today it is a list in which later entries win.
"""

from __future__ import annotations

import copy
from typing import Any

from workbench.core.precision import Precision
from workbench.workers.protocol import WorkerError

_PRESETS = {
    Precision.FP8: "FP8_DEFAULT_CFG",
    Precision.FP8_ROWWISE: "FP8_PER_CHANNEL_PER_TOKEN_CFG",
    Precision.INT8_SQ: "INT8_SMOOTHQUANT_CFG",
    Precision.INT4_AWQ: "INT4_AWQ_CFG",
    Precision.W4A8_AWQ: "W4A8_AWQ_BETA_CFG",
    Precision.NVFP4: "NVFP4_DEFAULT_CFG",
}
AUTO_WITH: dict[Precision, tuple[Precision, ...]] = {
    Precision.FP8: (Precision.FP8,),
    Precision.INT4_AWQ: (Precision.INT4_AWQ, Precision.FP8),
    Precision.W4A8_AWQ: (Precision.W4A8_AWQ, Precision.FP8),
    Precision.NVFP4: (Precision.NVFP4, Precision.FP8),
}
"""Formats that auto-quantize chooses among, layer by layer, beside leaving a layer alone."""
_WEIGHTS, _KV = "*weight_quantizer", "*[kv]_bmm_quantizer"
_KV_BITS: dict[str, Any] = {"fp8": (4, 3), "int8": 8}
PASSES = {Precision.INT4_AWQ: 2, Precision.W4A8_AWQ: 2}
"""Times ModelOpt runs the calibration text through the model; 1 where not named. AWQ: once for the activations'
ranges, once to search the scales."""


def passes(precision: Precision) -> int:
    """How many times the calibration text is run."""
    return PASSES.get(precision, 1)


def quant_config(mtq: Any, precision: Precision, kv_cache: str, block: int | None, engine: str) -> dict[str, Any]:
    """The config for `mtq.quantize`. `engine`: TensorRT-LLM's class, `llama` or `gemma` ...

    Raises WorkerError `unsupported` when the installed ModelOpt has no such format.
    """
    name = _PRESETS.get(precision)
    if name is None:
        config: dict[str, Any] = {"quant_cfg": _nothing(mtq), "algorithm": "max"}
    else:
        preset = getattr(mtq, name, None)
        if preset is None:
            raise WorkerError(
                f"the installed ModelOpt does not know {precision.title}",
                code="unsupported",
                cause=f"modelopt.torch.quantization has no {name}",
                hint="Install nvidia-modelopt 0.37 or newer.",
            )
        config = copy.deepcopy(preset)
    if block and precision in (Precision.INT4_AWQ, Precision.W4A8_AWQ):
        weights = _weights_of(config)
        first = weights[0] if isinstance(weights, list) else weights
        first["block_sizes"][-1] = block
    if engine == "gemma":
        # As TensorRT-LLM's own quantize does for Gemma: with the usual search, scales overflow or answers suffer.
        if precision is Precision.INT8_SQ:
            config["algorithm"] = {"method": "smoothquant", "alpha": 0.5}
        elif precision is Precision.W4A8_AWQ:
            config["algorithm"] = {"method": "awq_lite", "alpha_step": 1}
    if kv_cache in _KV_BITS:
        add_kv(config, kv_cache)
    return config


def kv_only(mtq: Any, kv_cache: str) -> dict[str, Any]:
    """A config that quantizes the KV cache and nothing else."""
    config = {"quant_cfg": _nothing(mtq), "algorithm": "max"}
    add_kv(config, kv_cache)
    return config


def add_kv(config: dict[str, Any], kv_cache: str) -> None:
    """Have `config` quantize keys and values, one scale a layer."""
    cells = {"num_bits": _KV_BITS[kv_cache], "axis": None}
    if isinstance(config["quant_cfg"], list):
        config["quant_cfg"].append({"quantizer_name": _KV, "cfg": cells})
    else:
        config["quant_cfg"][_KV] = {**cells, "enable": True}


def _nothing(mtq: Any) -> Any:
    if isinstance(mtq.FP8_DEFAULT_CFG["quant_cfg"], list):
        return [{"quantizer_name": "*", "enable": False}]
    return {"default": {"enable": False}}


def _weights_of(config: dict[str, Any]) -> Any:
    entries = config["quant_cfg"]
    if isinstance(entries, list):
        return next(entry["cfg"] for entry in entries if entry.get("quantizer_name") == _WEIGHTS)
    return entries[_WEIGHTS]
