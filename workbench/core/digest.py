"""The digest of a model folder: which files decide an output, and their sha256, hashed once a version."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from workbench.core.errors import BadInputError

if TYPE_CHECKING:
    from workbench.core.model import ModelSpec

CHUNK_BYTES = 4 * 2**20

DECIDING = (
    "config*.json", "generation_config.json", "hf_quant_config.json", "preprocessor_config.json",
    "tokenizer*", "chat_template*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.model",
    "*.tiktoken", "tekken.json", "*.py", "*.safetensors", "*.safetensors.index.json",
)  # fmt: skip
"""Names of the files that decide what a model answers, as patterns."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class FileStamp(BaseModel):
    """Identity of one version of a file; while it stays the same the content is taken to be the same."""

    model_config = ConfigDict(frozen=True)

    path: str
    """Resolved: links are followed."""
    bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int


def decides_output(name: str, siblings: frozenset[str] | None = None) -> bool:
    """Whether a file of a model folder decides outputs. `siblings` are the folder's names, if at hand.

    `consolidated*.safetensors` is the same model once more in another layout, where there are `model*` weights.
    """
    if name.startswith("consolidated") and name.endswith(".safetensors") and siblings is not None:
        return not any(fnmatchcase(other, "model*.safetensors*") for other in siblings)
    return any(fnmatchcase(name, pattern) for pattern in DECIDING)


def file_stamp(path: Path) -> FileStamp:
    """Stamp of the file that `path` leads to. Raises OSError."""
    real = Path(os.path.realpath(path))
    return _stamp(real, real.stat())


def file_sha256(path: Path, on_bytes: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file as 64 hex digits; `on_bytes` gets the length of each chunk read. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(CHUNK_BYTES)
        view = memoryview(buffer)
        while count := file.readinto(buffer):
            digest.update(view[:count])
            if on_bytes is not None:
                on_bytes(count)
    return digest.hexdigest()


def deciding_files(folder: Path) -> list[str]:
    """Sorted names, relative to the folder, of the files that decide outputs. Raises OSError."""
    names = frozenset(entry.name for entry in os.scandir(folder) if entry.is_file())
    found = [name for name in names if decides_output(name, names)]
    extra = folder / "additional_chat_templates"
    if extra.is_dir():
        found += [f"{extra.name}/{entry.name}" for entry in os.scandir(extra) if entry.is_file()]
    return sorted(found)


def model_digest(
    model: ModelSpec | str | Path,
    known: Callable[[FileStamp], str | None],
    remember: Callable[[FileStamp, str], None],
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """SHA-256 over the sorted (name, sha256) of the files that decide a model's outputs.

    `known` looks a stamp up among the digests that `remember` was given; `progress` gets (bytes done, in all).
    Large files of the Hugging Face cache are named by their sha256, which is taken as it is.
    Raises BadInputError when a file cannot be read or changes meanwhile.
    """
    folder = Path(model) if isinstance(model, str | Path) else model.path
    try:
        stamps = {name: file_stamp(folder / name) for name in deciding_files(folder)}
        if not stamps:
            raise BadInputError("the model folder holds no model files", evidence=str(folder), code="bad-model")
        total = sum(stamp.bytes for stamp in stamps.values())
        done = 0
        whole = hashlib.sha256()
        for name, stamp in stamps.items():
            content = _blob_name(stamp) or known(stamp)
            if content is None:
                content = _hash(stamp, done, total, progress)
                remember(stamp, content)
            done += stamp.bytes
            if progress is not None:
                progress(done, total)
            whole.update(f"{content}  {name}\n".encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise BadInputError(
            "a file of the model cannot be read",
            evidence=f"{error.filename or folder}: {error.strerror or error}",
            fix="Check the file's owner and mode, and the disk.",
            code="bad-model",
        ) from None
    return whole.hexdigest()


def _hash(stamp: FileStamp, done: int, total: int, progress: Callable[[int, int], None] | None) -> str:
    path = Path(stamp.path)
    changed = BadInputError(
        "a file of the model changed while it was being read",
        evidence=stamp.path,
        fix="Wait until the copy or download into the folder is done, then try again.",
        code="bad-model",
    )
    read = 0

    def count(size: int) -> None:
        nonlocal read
        read += size
        if read > stamp.bytes:
            raise changed
        if progress is not None:
            progress(done + read, total)

    content = file_sha256(path, count)
    if file_stamp(path) != stamp:
        raise changed
    return content


def _blob_name(stamp: FileStamp) -> str | None:
    """The sha256 that the Hugging Face cache has in a large file's name: models--X/blobs/<sha256>."""
    path = Path(stamp.path)
    if path.parent.name == "blobs" and path.parent.parent.name.startswith("models--"):
        return path.name if _SHA256.fullmatch(path.name) else None
    return None


def _stamp(path: Path, info: os.stat_result) -> FileStamp:
    if not stat.S_ISREG(info.st_mode):
        raise OSError(None, "not an ordinary file", str(path))
    return FileStamp(
        path=str(path),
        bytes=info.st_size,
        mtime_ns=info.st_mtime_ns,
        ctime_ns=info.st_ctime_ns,
        inode=info.st_ino,
        device=info.st_dev,
    )
