"""The safetensors files of a folder: which are loaded, whether they are whole, and what they add up to."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from workbench.core.intake.json import bad_model, read_json, shown
from workbench.core.intake.quantization import Quantized
from workbench.core.intake.safetensors_header import FLOAT_NAMES, Tensor, read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

_EMBEDDING = re.compile(
    r"(^|\.)(embed_tokens|tok_embeddings|word_embeddings|embed_in|wte|wpe|embed_positions|word_embeddings_layernorm)\."
)
_HEAD = re.compile(r"(^|\.)(lm_head|embed_out|output)\.(weight|qweight|weight_packed)$")
_NOT_TEXT = re.compile(r"(^|\.)(vision_tower|vision_model|visual|multi_modal_projector|audio_tower)\.")
_BUFFER = re.compile(r"\.(inv_freq|masked_bias)$")
_HELPER = re.compile(
    r"\.(scales|qzeros|g_idx|weight_scale|weight_scale_2|weight_scale_inv|weight_zero_point|weight_shape"
    r"|weight_g_idx|weight_global_scale|input_scale|input_global_scale|k_scale|v_scale|q_scale|pre_quant_scale"
    r"|activation_scale|absmax|quant_map|nested_absmax|nested_quant_map|SCB|weight_format|\w+_scales)$"
    r"|\.quant_state\.\w+$"
)
_OTHER_DTYPES = {
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "F8_E8M0": "fp8",
}


class WeightFacts(BaseModel):
    """Sums over the safetensors headers."""

    model_config = ConfigDict(frozen=True)

    files: tuple[str, ...]
    weight_bytes: int
    parameters: int | None
    """None: packed in a way that is not known here."""
    dtype: str | None
    has_head: bool
    input_channels: tuple[int, ...] | None


def weight_files(folder: Path, names: list[str]) -> dict[str, list[str] | None]:
    """File -> tensors that the index wants in it (None: whatever it holds), for the files that are loaded.

    Empty when there are no weights. Raises BadInputError for pickle, GGUF or foreign weights.
    """
    if SINGLE in names:
        return {SINGLE: None}
    if INDEX in names:
        return _indexed(folder)
    foreign = sorted(name for name in names if name.endswith(".safetensors") and not name.startswith("adapter_model"))
    if foreign:
        fix = "Download the repository again without leaving files out."
        what = f"{INDEX} is missing beside {foreign[0]}"
        if not re.search(r"-\d+-of-\d+\.safetensors$", foreign[0]):
            what = f"the weights are not named as transformers names them: {foreign[0]}"
            fix = f"Take the repository's {SINGLE} or {INDEX} with its shards."
        raise bad_model(what, ", ".join(foreign[:4]), fix)
    if any(name.startswith("adapter_model") or name == "adapter_config.json" for name in names):
        raise bad_model(
            "this folder holds a LoRA adapter, not a model",
            "adapter_config.json",
            "Merge it into its base model (PEFT's merge_and_unload) and save the result as safetensors.",
        )
    pickles = sorted(name for name in names if name.endswith(PICKLE_SUFFIXES) and name != "training_args.bin")
    if pickles:
        raise bad_model(
            "the folder holds pickle weights only, and loading a pickle file runs whatever code is in it",
            ", ".join(pickles[:4]) + (f" and {len(pickles) - 4} more" if len(pickles) > 4 else ""),
            "Use a safetensors revision of the model, or convert it where you trust it:"
            " AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW, safe_serialization=True).",
        )
    ggufs = sorted(name for name in names if name.lower().endswith(".gguf"))
    if ggufs:
        raise bad_model(
            "the folder holds GGUF weights, which are llama.cpp's format",
            ", ".join(ggufs[:4]),
            "Use the original safetensors folder that they were made from.",
        )
    return {}


def read_weights(
    folder: Path, names: list[str], quantized: Quantized | None, *, transposed: bool
) -> WeightFacts | None:
    """Check and sum the weights of a folder; None when there are none. Raises BadInputError."""
    wanted = weight_files(folder, names)
    if not wanted:
        return None
    totals = _Totals(quantized, transposed)
    size = 0
    for name, expected in wanted.items():
        if not (folder / name).exists():
            half = any(other.startswith(name) and other.endswith((".incomplete", ".part")) for other in names)
            raise bad_model(
                f"{name} is missing, though {INDEX} names it",
                f"{len(expected or ())} tensors should be in it"
                + ("; an unfinished download lies beside it" if half else ""),
                "Download the folder again; finished files are kept.",
            )
        tensors = read_header(folder / name)
        if expected is not None:
            absent = next((key for key in expected if key not in tensors), None)
            if absent is not None:
                raise bad_model(
                    f"{name} lacks a tensor that {INDEX} says is in it",
                    shown(absent),
                    "The shards and the index come from different versions: download the folder again.",
                )
        if not tensors and expected is None:
            raise bad_model(f"{name} holds no tensors", str(folder / name))
        size += sum(tensor.bytes for tensor in tensors.values())
        totals.add(tensors)
    return WeightFacts(
        files=tuple(wanted),
        weight_bytes=size,
        parameters=totals.parameters,
        dtype=totals.dtype(),
        has_head=totals.has_head,
        input_channels=tuple(sorted(totals.channels)) if totals.channels and totals.parameters else None,
    )


class _Totals:
    def __init__(self, quantized: Quantized | None, transposed: bool) -> None:
        self.quantized, self.transposed = quantized, transposed
        self.parameters: int | None = 0
        self.channels: set[int] = set()
        self.has_head = False
        self.by_dtype: Counter[str] = Counter()

    def add(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            if _BUFFER.search(name) or (name.endswith(".bias") and len(tensor.shape) == 4):
                continue  # rotary tables and causal masks that old exports keep
            if _HEAD.search(name):
                self.has_head = True
            if self.quantized is not None and _HELPER.search(name):
                continue
            self.by_dtype[tensor.dtype] += tensor.bytes
            count, width = self._unpacked(name, tensor)
            if count is None:
                self.parameters = None
            elif self.parameters is not None:
                self.parameters += count
            if width and not _EMBEDDING.search(name) and not _HEAD.search(name) and not _NOT_TEXT.search(name):
                self.channels.add(width)

    def _unpacked(self, name: str, tensor: Tensor) -> tuple[int | None, int | None]:
        """Parameters of a tensor and its input width, with packing undone; None: not known."""
        shape = tensor.shape
        two = len(shape) == 2 and not name.endswith(".bias")
        if self.quantized is None or tensor.dtype not in ("I32", "U8", "I16", "U32"):
            return tensor.elements, (shape[0] if self.transposed else shape[1]) if two else None
        bits = self.quantized.bits
        if name.endswith(".qweight") and bits and two:
            count = tensor.elements * 32 // bits
            # GPTQ packs input channels, AWQ output channels.
            return count, shape[0] if self.quantized.method == "awq" else shape[0] * 32 // bits
        if name.endswith(".weight_packed") and bits and two:
            per = (8 if tensor.dtype == "U8" else 32) // bits
            return tensor.elements * per, shape[1] * per
        if name.endswith("_blocks") and tensor.dtype == "U8":
            return tensor.elements * 2, None
        if name.endswith(".weight") and tensor.dtype == "U8":
            if self.quantized.method == "bitsandbytes":
                return tensor.elements * (2 if bits == 4 else 1), None
            if self.quantized.method == "modelopt" and bits == 4 and two:
                return tensor.elements * 2, shape[1] * 2
        return None, None

    def dtype(self) -> str | None:
        """The floating type with most bytes, or any type when there is none."""
        floats = {kind: size for kind, size in self.by_dtype.items() if kind in FLOAT_NAMES}
        known = floats or dict(self.by_dtype)
        if not known:
            return None
        top = max(known, key=lambda kind: known[kind])
        return FLOAT_NAMES.get(top) or _OTHER_DTYPES.get(top, top.lower())


def _indexed(folder: Path) -> dict[str, list[str] | None]:
    table = read_json(folder / INDEX).get("weight_map")
    if not isinstance(table, dict) or not table:
        raise bad_model(f"{INDEX} has no weight_map", shown(table))
    wanted: dict[str, list[str] | None] = {}
    for tensor, name in table.items():
        if not isinstance(name, str) or not name.endswith(".safetensors") or not name.isprintable() or len(name) > 255:
            raise bad_model(f"{INDEX} names a file that is not a safetensors file", shown(name))
        if "/" in name or "\\" in name:
            raise bad_model(f"{INDEX} names a file outside the folder", shown(name))
        keys = wanted.setdefault(name, [])
        assert keys is not None
        keys.append(tensor)
    return dict(sorted(wanted.items()))
