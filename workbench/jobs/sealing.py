"""From a filled `.partial` folder to an artefact, and from an equal artefact elsewhere to a copy."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from workbench.core.artifact import (
    PARTIAL_SUFFIX,
    PROVENANCE_FILE,
    FileEntry,
    Provenance,
    complete_with_key,
    list_files,
    read_provenance,
    write_json,
)
from workbench.core.errors import BadInputError, StepFailedError, WorkbenchError
from workbench.core.plan import Output, Step

_CHUNK_BYTES = 4 << 20
LINK_FROM_BYTES = 16 << 20
Tick = Callable[[int, int], None]
"""Called with bytes done and in all; may raise to stop."""


def partial_of(output: Output, owner: str) -> Path:
    """The folder that a job fills before it gets its name: `NAME.OWNER.partial`, where `owner` tells jobs apart.

    Two jobs, of two homes or by two spellings of one path, must never share it, so nothing but the job itself ever
    clears it; see `owner_of`.
    """
    final = Path(output.path)
    return final.with_name(f"{final.name}.{owner}{PARTIAL_SUFFIX}")


def owner_of(job_folder: Path) -> str:
    """Eight hex digits that stand for one job of one home."""
    return hashlib.sha256(os.path.realpath(job_folder).encode()).hexdigest()[:8]


def find_equal(step: Step) -> tuple[Path, Provenance] | None:
    """A complete artefact of the step's key: at its own path, else at one of the others."""
    assert step.output is not None
    for path in (step.output.path, *step.output.alternates):
        provenance = complete_with_key(Path(path), step.key)
        if provenance is not None:
            return Path(path), provenance
    return None


def prepare_partial(output: Output, owner: str) -> Path:
    """An empty partial folder of this job's own. The final name must be free.

    A damaged artefact in the workbench's own store of artefacts is put aside; a folder that the person named never is.
    Raises BadInputError when something stands at the final name, StepFailedError when the folder cannot be made.
    """
    final, partial = Path(output.path), partial_of(output, owner)
    try:
        if not output.chosen:
            _put_aside_damaged(final)
            # The path's lane is held, and only this home writes here: what other jobs left behind is dead.
            for left in final.parent.glob(f"{glob.escape(final.name)}.????????{PARTIAL_SUFFIX}"):
                discard(left)
        if final.exists() or final.is_symlink():
            raise BadInputError(
                f"{final} is there already, and nothing that exists is overwritten.",
                evidence=what_stands_there(final),
                fix="Choose another --out.",
                code="output-exists",
            )
        discard(partial)
        partial.mkdir(parents=True)
    except OSError as error:
        raise explain_os_error(error, partial) from error
    return partial


def _put_aside_damaged(final: Path) -> None:
    """Rename an artefact that lost files, and its provenance with it, so that it can be made again."""
    if not final.is_dir():
        return
    aside = final.with_name(f"{final.name}.damaged-{secrets.token_hex(4)}")
    final.rename(aside)
    with contextlib.suppress(FileNotFoundError):
        (aside / PROVENANCE_FILE).rename(aside / f"damaged-{PROVENANCE_FILE}")


def what_stands_there(path: Path) -> str:
    """In words, what is at a path that should be free."""
    try:
        provenance = read_provenance(path)
        return f"it holds the {provenance.kind} {provenance.name!r} made with other settings or inputs"
    except WorkbenchError:
        return "it is not an artefact of the workbench" if path.is_dir() else "it is a file"


def discard(folder: Path) -> None:
    """Remove a folder and all in it; absent is fine. Raises OSError when something stays."""
    with contextlib.suppress(FileNotFoundError):
        # First the provenance: should this be interrupted, the rest must not look complete.
        (folder / PROVENANCE_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)


def hash_files(folder: Path, tick: Tick) -> tuple[FileEntry, ...]:
    """Size and SHA-256 of every file below. Raises StepFailedError when there is none."""
    paths = list_files(folder)
    if not paths:
        raise StepFailedError(
            "The step said that it was done, but its folder is empty.",
            evidence=str(folder),
            fix="This is a fault of the worker. The job's log has its output.",
            code="empty-output",
        )
    total, done = sum(path.stat().st_size for path in paths), 0
    entries = []
    for path in paths:
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as source:
            while chunk := source.read(_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                tick(done + size, total)
        done += size
        entries.append(FileEntry(path=path.relative_to(folder).as_posix(), bytes=size, sha256=digest.hexdigest()))
    return tuple(entries)


def seal(partial: Path, output: Output, provenance: Provenance) -> None:
    """Write the provenance, flush everything, give the folder its name. Raises StepFailedError, BadInputError."""
    final = Path(output.path)
    try:
        for entry in provenance.files:
            _flush(partial / entry.path)
        write_json(partial / PROVENANCE_FILE, provenance, durable=True)
        _flush(partial)
        # rename() replaces an empty folder only; anything else that came meanwhile stays.
        if final.exists() or final.is_symlink():
            raise FileExistsError(errno.EEXIST, "it appeared while the step ran", str(final))
        partial.rename(final)
        _flush(final.parent)
    except OSError as error:
        raise explain_os_error(error, final) from error


def copy_artifact(
    source: Path, provenance: Provenance, output: Output, owner: str, tick: Tick, *, link: bool = True
) -> None:
    """Bring an equal artefact to the folder that the person named.

    Large files are hard links where that works and `link` lets them be; small ones are copies, since those are what
    people edit in place.
    """
    partial = prepare_partial(output, owner)
    total, done = provenance.size_bytes, 0
    try:
        for entry in provenance.files:
            target = partial / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not link or entry.bytes < LINK_FROM_BYTES or not _linked(source / entry.path, target):
                with (source / entry.path).open("rb") as reader, target.open("wb") as writer:
                    while chunk := reader.read(_CHUNK_BYTES):
                        writer.write(chunk)
                        tick(done, total)
            done += entry.bytes
            tick(done, total)
        seal(partial, output, provenance)
    except OSError as error:
        raise explain_os_error(error, partial) from error
    finally:
        with contextlib.suppress(OSError):
            discard(partial)


def _linked(source: Path, target: Path) -> bool:
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def remove_artifact(folder: Path, provenance: Provenance, records: tuple[str, ...] = ()) -> list[str]:
    """Remove an artefact's own files and what is empty then; the names of files that are not its own, which stay.

    Raises OSError when something cannot be removed; the provenance goes first, so the rest never looks complete.
    """
    (folder / PROVENANCE_FILE).unlink(missing_ok=True)
    for name in (*(entry.path for entry in provenance.files), *records):
        (folder / name).unlink(missing_ok=True)
    for parent, _, _ in os.walk(folder, topdown=False):
        with contextlib.suppress(OSError):
            Path(parent).rmdir()
    return [str(path.relative_to(folder)) for path in list_files(folder)] if folder.exists() else []


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def explain_os_error(error: OSError, path: Path) -> WorkbenchError:
    """A file-system error in words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StepFailedError(
            "The disk is full.",
            evidence=str(error),
            fix=f"Free space for {path}, then retry: finished steps are reused.",
            code="disk-full",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadInputError(
            f"{path} may not be written.",
            evidence=str(error),
            fix="Choose another folder, or mend its owner and mode.",
            code="not-writable",
        )
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
        return BadInputError(
            f"{path} is there already, and nothing that exists is overwritten.",
            evidence=str(error),
            fix="Choose another --out.",
            code="output-exists",
        )
    return StepFailedError(f"{path} could not be written.", evidence=str(error), code="os-error")
