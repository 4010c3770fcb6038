"""What a PyTorch engine folder is: engine.json, which refers to a model folder and says how to load it. No weight is
copied, so a model folder that went, or holds other weights now, has to be noticed when the engine is loaded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.digest import deciding_files, model_digest
from workbench.core.errors import BadInputError
from workbench.workers.common import read_json
from workbench.workers.protocol import Channel, WorkerError

ENGINE_FILE = "engine.json"
ENGINE_SCHEMA = 1
TOOLCHAIN = "pytorch"
DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "bfloat16", "fp8": "bfloat16"}
"""Precision -> what weights are loaded in; torchao quantizes them after that."""
QUANTIZED = ("int8", "fp8")
_BUILD_AGAIN = "Build the engine again from where the model lies now: it takes seconds, since nothing is copied."


@dataclass(frozen=True)
class Reference:
    """A model folder and how it is loaded. `settings` are fields of the host's HostSettings."""

    model: Path
    settings: dict[str, Any]
    facts: dict[str, Any]
    """All of engine.json; empty for a model folder that was given as it is."""


def open_reference(folder: Path, channel: Channel) -> Reference:
    """What an engine folder refers to, checked to be there unchanged; a plain model folder refers to itself.

    A file with another time is read whole and compared by its digest. Raises WorkerError `bad-engine`, `bad-json`,
    `model-gone`, `model-changed`.
    """
    path = folder / ENGINE_FILE
    if not path.is_file():
        return Reference(folder, {}, {})
    facts = read_json(path)
    model = facts.get("model")
    schema = facts.get("schema_version")
    if facts.get("toolchain") != TOOLCHAIN or not isinstance(model, dict) or not isinstance(model.get("path"), str):
        raise WorkerError(
            "this is no PyTorch engine",
            code="bad-engine",
            cause=f"{path}: toolchain {facts.get('toolchain')!r}",
            hint="Give the folder of a PyTorch engine, or a Hugging Face model folder.",
        )
    if not isinstance(schema, int) or schema > ENGINE_SCHEMA:
        raise WorkerError(
            "the engine was made by a newer Engine Workbench",
            code="bad-engine",
            cause=f"{ENGINE_FILE} has schema {schema!r}, this version knows {ENGINE_SCHEMA}",
            hint="Update this program, or build the engine again with this one.",
        )
    settings = facts.get("settings")
    # Relative in a launch folder, which may stand anywhere.
    model_folder = folder / model["path"]
    _refuse_changed(model_folder, model, channel)
    return Reference(model_folder, dict(settings) if isinstance(settings, dict) else {}, facts)


def stamps_of(folder: Path) -> dict[str, dict[str, int]]:
    """Name -> bytes and time of the files that decide what a model answers. Raises OSError."""
    found = {}
    for name in deciding_files(folder):
        info = (folder / name).stat()
        found[name] = {"bytes": info.st_size, "mtime_ns": info.st_mtime_ns}
    return found


def _refuse_changed(folder: Path, model: dict[str, Any], channel: Channel) -> None:
    known = model.get("files")
    wanted: dict[str, Any] = known if isinstance(known, dict) else {}
    try:
        now = stamps_of(folder)
    except OSError as error:
        raise WorkerError(
            "the model folder that this engine refers to cannot be read",
            code="model-gone",
            cause=f"{folder}: {error.strerror or error}",
            hint=f"Put the folder back. {_BUILD_AGAIN}",
        ) from error
    gone, new = sorted(set(wanted) - set(now)), sorted(set(now) - set(wanted))
    other = sorted(name for name in set(wanted) & set(now) if wanted[name]["bytes"] != now[name]["bytes"])
    touched = sorted(name for name in set(wanted) & set(now) if wanted[name] != now[name])
    said = [f"{', '.join(names[:4])} {words}" for names, words in
            ((gone, "gone"), (new, "new"), (other, "of another size")) if names]  # fmt: skip
    if not said and touched:
        channel.log(f"{', '.join(touched[:4])} of the model have another time: reading them to compare", "warning")
        if _digest(folder) != model.get("digest"):
            said = [f"{', '.join(touched[:4])} written since, with another content"]
        else:
            channel.log("the model is the same")
    if said:
        raise WorkerError(
            "the model folder changed since the engine was built",
            code="model-changed",
            cause=f"{folder}: {'; '.join(said)}",
            hint=f"Put the old files back. {_BUILD_AGAIN}",
        )


def _digest(folder: Path) -> str:
    try:
        return model_digest(folder, lambda stamp: None, lambda stamp, digest: None)
    except BadInputError as error:
        raise WorkerError("the model cannot be read", code="model-gone", cause=error.evidence) from error


def shown_path(folder: Path) -> str:
    """The folder's own name and where it is, links followed, so that it is found from anywhere."""
    return os.path.realpath(folder)
