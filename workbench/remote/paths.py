"""Where files stand on the far side, and which name stands for which here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workbench.core.messages import StepSpec

_PARTIAL = re.compile(r"(\.[0-9a-f]{8})?\.partial$")
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")
REFERRING = ("engine.json",)
"""Files by which an engine refers to another folder: a PyTorch engine to the model that it is."""
_MARKS = ("config.json", "provenance.json", "engine.json", "openvino_model.xml")
"""A folder that a setting names is sent when it holds one of these: a model, a checkpoint or an engine."""
LEFT_OUT = (".git", ".cache", "__pycache__")
"""Folders within a model's that no worker reads."""
CACHES = ("timing_cache",)
"""Settings that name a folder which workers keep for each other: it is the far side's own."""


@dataclass(frozen=True)
class Sent:
    """A folder or a file that the far side needs."""

    source: Path
    far: str
    """The folder there that holds it; of a file, the folder that the file stands in."""
    bytes: int

    @property
    def far_path(self) -> str:
        return self.far if self.source.is_dir() else f"{self.far}/{self.source.name}"


@dataclass
class Names:
    """Local path <-> far path, both ways."""

    pairs: list[tuple[str, str]] = field(default_factory=list)

    def add(self, local: str, far: str) -> None:
        self.pairs.append((local.rstrip("/"), far.rstrip("/")))
        self.pairs.sort(key=lambda pair: -len(pair[1]))

    def to_far(self, text: str) -> str:
        """A path here as it is called there; any other text as it is."""
        for local, far in sorted(self.pairs, key=lambda pair: -len(pair[0])):
            if text.rstrip("/") == local:
                return far
            if text.startswith(local + "/"):
                return far + text[len(local) :]
        return text

    def to_local(self, text: str) -> str:
        """A text in which paths there are called as they are here."""
        for local, far in self.pairs:
            text = text.replace(far, local)
        return text

    def line_to_local(self, line: bytes) -> bytes:
        """A message's line with the paths in its strings as they are called here."""
        if not any(far.encode() in line for _, far in self.pairs):
            return line
        return json.dumps(_walk(json.loads(line), self.to_local), ensure_ascii=False).encode() + b"\n"


def _walk(value: Any, change: Any) -> Any:
    """JSON data with every string changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_walk(item, change) for item in value]
    if isinstance(value, dict):
        return {_walk(key, change): _walk(item, change) for key, item in value.items()}
    return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)


def needed(spec: StepSpec, more: tuple[Path, ...]) -> list[Path]:
    """Folders and files here that a worker with this spec reads."""
    found = {Path(path): None for path in spec.inputs.values() if path}
    for path in list(found):
        for name in REFERRING:
            with contextlib.suppress(OSError, ValueError):
                found.update(_named(json.loads((path / name).read_bytes())))
    found.update(_named(spec.settings))
    found.update(dict.fromkeys(more))
    return list(found)


def _named(data: Any) -> dict[Path, None]:
    """Files, and folders of models and engines, whose absolute paths are among the strings in `data`."""
    found: dict[Path, None] = {}
    for text in _strings(data):
        if text.startswith("/") and len(text) < 4096 and not re.search(r"[\n\0]", text):
            with contextlib.suppress(OSError):  # a name that is too long for one
                path = Path(text)
                if path.is_file() or any((path / mark).is_file() for mark in _MARKS):
                    found[path] = None
    return found


def final_name(output: str) -> str:
    """The path that the folder being made will get: a job's own mark and `.partial` taken off."""
    return _PARTIAL.sub("", output)


def identity(path: Path) -> tuple[str, int]:
    """What stands for a folder's or file's content, and its bytes.

    An artefact's provenance names its files by checksum. Of other folders, names, sizes and times of the files.
    """
    files = walk(path)[0]
    size = sum(stat.st_size for _, stat in files)
    provenance = path / "provenance.json"
    if path.is_dir() and provenance.is_file():
        return hashlib.sha256(provenance.read_bytes()).hexdigest(), size
    marks = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]
    return hashlib.sha256(json.dumps([str(path), marks]).encode()).hexdigest(), size


def walk(path: Path) -> tuple[list[tuple[str, os.stat_result]], list[str]]:
    """Files below a folder, or the file itself, by relative path; and links within it that are not followed.

    Those lead to nothing, or back to a folder that they stand in.
    """
    if path.is_file():
        return [(path.name, path.stat())], []
    found: list[tuple[str, os.stat_result]] = []
    not_followed: list[str] = []
    for parent, folders, names in os.walk(path, followlinks=True):
        for name in sorted(set(folders) - set(LEFT_OUT)):
            place = Path(parent) / name
            if place.is_symlink() and Path(os.path.realpath(parent)).is_relative_to(os.path.realpath(place)):
                not_followed.append(os.path.relpath(place, path))
        folders[:] = [
            name
            for name in sorted(set(folders) - set(LEFT_OUT))
            if os.path.relpath(Path(parent) / name, path) not in not_followed
        ]
        for name in sorted(names):
            relative = os.path.relpath(Path(parent) / name, path)
            try:
                found.append((relative, (Path(parent) / name).stat()))
            except OSError:
                not_followed.append(relative)
    return found, not_followed


def code_identity(code: Path) -> str:
    """SHA-256 over the workers' files."""
    digest = hashlib.sha256()
    for path in sorted(code.rglob("*.py")):
        digest.update(path.relative_to(code).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def plain(name: str) -> str:
    """A name that is safe on any shell and file system."""
    return _PLAIN.sub("-", name)[:80].strip("-.") or "x"


def far_place(base: str, path: Path, mark: str) -> str:
    """The folder there for an input."""
    return f"{base}/inputs/{plain(path.name)}-{mark[:12]}"
