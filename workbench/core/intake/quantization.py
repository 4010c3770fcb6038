"""Whether a folder's weights are already quantized, and how, from config.json or hf_quant_config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from workbench.core.intake.json import bad_model, read_json, shown


class Quantized(BaseModel):
    """How a folder's weights are already quantized."""

    model_config = ConfigDict(frozen=True)

    method: str
    """`gptq`, `awq`, `fp8`, `compressed-tensors`, `bitsandbytes`, `modelopt` ..., as config.json names it."""
    bits: int | None = None
    group_size: int | None = None
    """None: not grouped, or not reported."""
    detail: str = ""


def read_quantization(folder: Path, names: list[str], config: dict[str, Any]) -> Quantized | None:
    """From config.json's quantization_config, else ModelOpt's hf_quant_config.json; None: not quantized."""
    table = config.get("quantization_config")
    if table is None and isinstance(config.get("text_config"), dict):
        table = config["text_config"].get("quantization_config")
    if table is None:
        table = config.get("compression_config")
    if table is not None and not isinstance(table, dict):
        raise bad_model("quantization_config in config.json is not a table", shown(table))
    if isinstance(table, dict) and table:
        return _from_table(table)
    if "hf_quant_config.json" in names:
        outer = read_json(folder / "hf_quant_config.json")
        inner = outer.get("quantization")
        if isinstance(inner, dict) and inner.get("quant_algo"):
            producer = outer.get("producer")
            return _modelopt(inner, producer.get("version") if isinstance(producer, dict) else None)
    return None


def _from_table(table: dict[str, Any]) -> Quantized:
    method = table.get("quant_method")
    if not isinstance(method, str):
        if table.get("load_in_4bit") is True or table.get("load_in_8bit") is True:
            method = "bitsandbytes"
        elif table.get("quant_algo"):
            return _modelopt(table, None)
        else:
            method = "unknown"
    bits, group, words = _int(table.get("bits")), _int(table.get("group_size")), []
    if method == "modelopt":
        return _modelopt(table, None)
    if method == "bitsandbytes":
        bits = 4 if table.get("load_in_4bit") is True else 8
        words.append(str(table.get("bnb_4bit_quant_type") or "") if bits == 4 else "int8")
    elif method == "fp8":
        bits = bits or 8
        block = table.get("weight_block_size")
        if isinstance(block, list) and block:
            group = _int(block[-1])
            words.append(f"blocks of {shown(block)}")
    elif method == "mxfp4":
        bits, group = 4, 32
    elif method == "compressed-tensors":
        words.append(shown(table["format"]).strip("'") if table.get("format") else "")
        weights = _first_weights(table)
        bits, group = _int(weights.get("num_bits")), _int(weights.get("group_size"))
        words.append(shown(weights["type"]).strip("'") if weights.get("type") else "")
    elif method in ("awq", "gptq"):
        bits = bits or _int(table.get("w_bit")) or (4 if method == "awq" else None)
        group = group or _int(table.get("q_group_size"))
        words.append("desc_act" if table.get("desc_act") is True else "")
        words.append("symmetric" if table.get("sym") is True else "")
        words.append(str(table.get("version") or "") if method == "awq" else "")
    return Quantized(method=method[:40], bits=bits, group_size=group, detail=" ".join(w[:60] for w in words if w))


def _modelopt(table: dict[str, Any], version: Any) -> Quantized:
    algorithm = table.get("quant_algo")
    name = algorithm if isinstance(algorithm, str) else "unknown"
    upper = name.upper()
    bits = 4 if ("4" in upper and "W4" in upper) or "FP4" in upper or "INT4" in upper else 8
    kv = table.get("kv_cache_quant_algo")
    words = [
        name[:40],
        f"KV cache {kv[:20]}" if isinstance(kv, str) else "",
        f"version {version[:20]}" if isinstance(version, str) else "",
    ]
    group = _int(table.get("group_size")) or (16 if "NVFP4" in upper else None)
    return Quantized(method="modelopt", bits=bits, group_size=group, detail=" ".join(word for word in words if word))


def _first_weights(table: dict[str, Any]) -> dict[str, Any]:
    groups = table.get("config_groups")
    for group in groups.values() if isinstance(groups, dict) else ():
        if isinstance(group, dict) and isinstance(group.get("weights"), dict):
            return dict(group["weights"])
    return {}


def _int(value: Any) -> int | None:
    """A positive whole number, else None: -1 is "one group a channel" in GPTQ and AWQ."""
    return value if type(value) is int and 0 < value <= 2**20 else None
