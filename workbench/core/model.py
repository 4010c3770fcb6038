"""A Hugging Face folder -> ModelSpec, from config.json and safetensors headers alone: no torch."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.core.errors import BadInputError
from workbench.core.intake.config import Experts, Facts, RopeScaling, read_facts
from workbench.core.intake.json import bad_model, read_json
from workbench.core.intake.parameters import count_parameters, input_channels
from workbench.core.intake.quantization import Quantized, read_quantization
from workbench.core.intake.safetensors_header import lfs_pointer
from workbench.core.intake.weights import WeightFacts, read_weights

__all__ = ["Experts", "ModelSpec", "Quantized", "RopeScaling", "read_model"]

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt", "spiece.model",
    "sentencepiece.bpe.model", "tekken.json", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
_WHOLE_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
    "tekken.json",
)  # fmt: skip

_BYTES = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}


class ModelSpec(BaseModel):
    """What is known of a model before anything is loaded. Sizes are in entries unless the name says bytes."""

    model_config = ConfigDict(frozen=True)

    path: Path
    name: str
    architecture: str
    """First of config.json's `architectures`, such as `LlamaForCausalLM`."""
    model_type: str
    layers: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_size: int
    vocab_size: int
    max_positions: int | None
    """Longest sequence in tokens; None: not reported (ALiBi)."""
    tied_embeddings: bool
    rope_theta: float | None
    """None: the family has no rotary positions."""
    rope_scaling: RopeScaling | None
    sliding_window: int | None
    """Tokens that a sliding layer keeps; None: all layers keep all."""
    sliding_layers: int
    """Layers with the sliding window; 0 when there is none."""
    latent_kv_size: int | None
    """Entries a token and layer that multi-head latent attention can cache instead of keys and values."""
    dtype: str
    """`bf16`, `fp16`, `fp32`, `fp8` ...: the floating type with most bytes."""
    parameters: int
    """With packed weights unpacked; embeddings counted once when they are tied."""
    weight_bytes: int
    """As stored; without weights, parameters x bytes of the dtype."""
    experts: Experts | None
    quantization: Quantized | None
    tokenizer_files: tuple[str, ...]
    has_tokenizer: bool
    has_chat_template: bool
    custom_code: bool
    weights_present: bool
    parameters_source: Literal["safetensors headers", "computed from config.json"]
    files: tuple[tuple[str, int], ...]
    """(name, bytes) of the folder's own files, sorted."""
    input_channels: tuple[int, ...]
    """Distinct input widths of the linear weights, sorted; quantization groups must divide them."""


def read_model(
    path: str | Path,
    *,
    require_weights: bool = True,
    require_tokenizer: bool = True,
    trust_remote_code: bool = False,
) -> ModelSpec:
    """Read and check a model folder. Raises BadInputError, whose words name the file and the way out."""
    try:
        return _read(Path(path), require_weights, require_tokenizer, trust_remote_code)
    except OSError as error:
        raise bad_model(
            "the model folder cannot be read",
            f"{error.filename or path}: {error.strerror or error}",
            "Check the owner and mode of the folder and its files, and the disk.",
        ) from None
    except (ValidationError, ValueError, OverflowError) as error:
        raise bad_model("the model folder holds a value that cannot be used", _first_line(error)) from None


def _read(folder: Path, require_weights: bool, require_tokenizer: bool, trust_remote_code: bool) -> ModelSpec:
    files = _list(folder)
    names = [name for name, _ in files]
    outer = _read_config(folder, names)
    if outer.get("auto_map") and not trust_remote_code:
        raise BadInputError(
            "the model wants to run code of its own from its folder, which is off unless you ask for it",
            evidence=f"auto_map in {folder / 'config.json'}",
            fix="If you trust the model's authors and have read that code, put `trust_remote_code = true`"
            " into the [model] table of the preset.",
            code="custom-code",
        )
    facts = read_facts(outer, trust_remote_code=trust_remote_code)
    quantized = read_quantization(folder, names, outer)
    weights = read_weights(folder, names, quantized, transposed=facts.family.transposed)
    if weights is None and require_weights:
        half = [name for name in names if name.endswith((".incomplete", ".part", ".tmp"))]
        raise bad_model(
            "the model folder has no weights",
            f"no model.safetensors and no model.safetensors.index.json in {folder}"
            + (f"; an unfinished download: {half[0]}" if half else ""),
            "Download the folder again with its *.safetensors files.",
        )
    tokenizer_files = tuple(
        name for name in names if name in TOKENIZER_FILES or name.endswith((".tiktoken", ".bpe.model"))
    )
    has_tokenizer = _has_tokenizer(folder, names)
    if require_tokenizer and not has_tokenizer:
        raise bad_model(
            "the model folder has no tokenizer",
            f"no tokenizer.json, tokenizer.model, or vocab.json with merges.txt in {folder}",
            "Copy the tokenizer files of the model's repository into the folder.",
        )
    return _spec(folder, files, facts, quantized, weights, tokenizer_files, has_tokenizer)


def _spec(
    folder: Path,
    files: list[tuple[str, int]],
    facts: Facts,
    quantized: Quantized | None,
    weights: WeightFacts | None,
    tokenizer_files: tuple[str, ...],
    has_tokenizer: bool,
) -> ModelSpec:
    tied = facts.tied_embeddings
    if tied is None:
        tied = not weights.has_head if weights else facts.family.tied
    facts = facts.model_copy(update={"tied_embeddings": tied})
    counted = weights.parameters if weights else None
    parameters = counted or count_parameters(facts)
    dtype = (weights.dtype if weights else None) or facts.dtype or "fp32"
    channels = input_channels(facts)
    if weights and weights.input_channels:
        channels = weights.input_channels
        if facts.experts:  # experts may be stored as one 3-D tensor a layer
            channels = tuple(sorted({*channels, facts.experts.intermediate_size}))
    return ModelSpec(
        path=folder,
        name=_name(folder),
        **{field: getattr(facts, field) for field in _COPIED},
        tied_embeddings=tied,
        dtype=dtype,
        parameters=parameters,
        weight_bytes=weights.weight_bytes if weights else parameters * _BYTES.get(dtype, 2),
        quantization=quantized,
        tokenizer_files=tokenizer_files,
        has_tokenizer=has_tokenizer,
        has_chat_template=_has_chat_template(folder, tokenizer_files),
        weights_present=weights is not None,
        parameters_source="safetensors headers" if counted else "computed from config.json",
        files=tuple(files),
        input_channels=channels,
    )


_COPIED = (
    "architecture", "model_type", "layers", "hidden_size", "intermediate_size", "heads", "kv_heads",
    "head_size", "vocab_size", "max_positions", "rope_theta", "rope_scaling", "sliding_window", "sliding_layers",
    "latent_kv_size", "experts", "custom_code",
)  # fmt: skip


def _list(folder: Path) -> list[tuple[str, int]]:
    """The folder's own files with their sizes; links that lead nowhere are left out."""
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        near = folder.parent
        while not near.exists() and near != near.parent:
            near = near.parent
        raise bad_model(
            "the model folder does not exist",
            str(folder),
            f"Check the path: {near} is there, the rest of it is not.",
        ) from None
    if not stat.S_ISDIR(mode):
        hint = "Give the folder that the file is in." if folder.suffix != ".gguf" else (
            "GGUF is llama.cpp's format: use the model's original safetensors folder."
        )  # fmt: skip
        raise bad_model("the model must be a folder, and this is a file", str(folder), hint)
    found: list[tuple[str, int]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                info = entry.stat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(info.st_mode) and _printable(entry.name):
                found.append((entry.name, info.st_size))
    if not found:
        raise bad_model(
            "the model folder is empty",
            str(folder),
            "Give the folder that holds config.json (in the Hugging Face cache: snapshots/REVISION).",
        )
    return sorted(found)


def _read_config(folder: Path, names: list[str]) -> dict[str, Any]:
    if "config.json" in names:
        return read_json(folder / "config.json")
    if "params.json" in names:
        hint = "This is the original layout, not Hugging Face's: take the repository's Hugging Face files."
    elif any(name.lower().endswith(".gguf") for name in names):
        hint = "GGUF is llama.cpp's format: use the model's original safetensors folder."
    elif "openvino_model.xml" in names or any(name.endswith(".engine") for name in names):
        hint = "This looks like a built engine: give the model folder it was made from."
    else:
        below = sorted(entry.parent.name for entry in folder.glob("*/config.json"))[:1]
        hint = f"There is one in {folder / below[0]}." if below else "Give a Hugging Face model folder."
    raise bad_model("the folder has no config.json, so it is no Hugging Face model", str(folder), hint)


def _has_tokenizer(folder: Path, names: list[str]) -> bool:
    for name in names:
        if name in _WHOLE_TOKENIZERS or name.endswith(".tiktoken"):
            _check_tokenizer(folder / name)
            return True
    return "vocab.json" in names and "merges.txt" in names


def _check_tokenizer(path: Path) -> None:
    """A cheap look at both ends: tokenizer.json may be 30 MB, and a cut one is the failure that happens."""
    with path.open("rb") as file:
        start = file.read(64)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 64))
        end = file.read()
    if start.startswith(b"version https://git-lfs"):
        raise lfs_pointer(path.name)
    if not size:
        raise bad_model(f"{path.name} is empty", str(path))
    if path.suffix == ".json" and not (start.lstrip().startswith(b"{") and end.rstrip().endswith(b"}")):
        raise bad_model(f"{path.name} is truncated or is not JSON", f"{size:,} bytes: {path}")


def _has_chat_template(folder: Path, tokenizer_files: tuple[str, ...]) -> bool:
    if "chat_template.jinja" in tokenizer_files or "chat_template.json" in tokenizer_files:
        return True
    if "tokenizer_config.json" not in tokenizer_files:
        return False
    return bool(read_json(folder / "tokenizer_config.json").get("chat_template"))


def _name(folder: Path) -> str:
    """The folder's name; in the Hugging Face cache (models--OWNER--NAME/snapshots/REVISION) NAME."""
    whole = folder.absolute()
    if whole.parent.name == "snapshots" and whole.parent.parent.name.startswith("models--"):
        return whole.parent.parent.name.split("--")[-1]
    return folder.resolve().name


def _printable(name: str) -> bool:
    return not any(0xD800 <= ord(letter) <= 0xDFFF for letter in name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
