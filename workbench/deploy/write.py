"""Writes an export: everything into NAME.partial, checksums last, then the name. Nothing that exists is overwritten."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from workbench.core.artifact import PARTIAL_SUFFIX
from workbench.core.deploy.export import CopiedFile, Export
from workbench.core.errors import BadInputError, BlockedError, CancelledError, StepFailedError
from workbench.core.units import format_bytes

SUMS_FILE = "SHA256SUMS"
"""Of all files; `sha256sum -c SHA256SUMS` in the folder checks them."""

Progress = Callable[[int, int], None]
"""Bytes done and in all."""

_MARK = ".engine-workbench-export"
"""Stands in a partial folder: one without it is somebody else's and is left alone."""
_NOT_THERE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)
_CHUNK = 8 * 2**20
_FLUSHED_FROM = 2**20
"""Smaller files do not wait for the disk one by one: hundreds of them would take seconds."""
_LINKED_FROM = 2**20
"""Smaller files are copied always: they take no room, and people edit them in place, which would change both."""
_MARGIN = 64 * 2**20


def write_export(
    export: Export,
    out: Path,
    *,
    link: bool = False,
    on_progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """Write the export as the new folder `out`; the folder.

    `link`: large files are hard links where they are on the same disk. Raises BadInputError for a folder that is
    there, BlockedError for checks that failed or too little room, StepFailedError when the disk does not take it,
    CancelledError.
    """
    out = out.expanduser().absolute()
    refuse_failed(export)
    _refuse_place(export, out)
    _refuse_paths(export)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot(out.parent, error) from error
    _refuse_read_only(out.parent)
    _refuse_without_room(export, out, link)
    partial = out.with_name(out.name + PARTIAL_SUFFIX)
    with _held(partial, out):
        try:
            sums = _Writer(export, partial, link, on_progress, stop).write()
            _text(partial / SUMS_FILE, "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)), 0o644)
            if os.path.lexists(out):
                raise _exists(out)
            partial.rename(out)
            (out / _MARK).unlink()
        except OSError as error:
            raise _cannot(out, error) from error
    return out


def refuse_failed(export: Export) -> None:
    """Raise BlockedError with all checks that failed."""
    failed = export.failed
    if not failed:
        return
    seen = "; ".join(f"{check.name}: {check.found}" if check.found else check.name for check in failed)
    raise BlockedError(
        f"{export.name} cannot be exported: {len(failed)} check{'s' if len(failed) > 1 else ''} failed.",
        evidence=seen,
        fix=" ".join(dict.fromkeys(check.fix for check in failed if check.fix)),
        code="checks-failed",
    )


def total_bytes(export: Export) -> int:
    """What is written in all, less the checksums."""
    return export.copied_bytes + sum(len(text.text.encode()) for text in export.texts)


class _Writer:
    def __init__(
        self, export: Export, folder: Path, link: bool, on_progress: Progress | None, stop: threading.Event | None
    ) -> None:
        self._export, self._folder, self._link = export, folder, link
        self._tell, self._stop = on_progress, stop
        self._done, self._total = 0, total_bytes(export)

    def write(self) -> dict[str, str]:
        """Write all files; path -> sha256."""
        sums = {}
        for text in self._export.texts:
            sums[text.path] = _text(self._at(text.path), text.text, 0o755 if text.executable else 0o644)
            self._add(len(text.text.encode()))
        for copied in self._export.copies:
            sums[copied.path] = self._copy(copied)
        return sums

    def _at(self, path: str) -> Path:
        at = self._folder / path
        at.parent.mkdir(parents=True, exist_ok=True)
        return at

    def _copy(self, copied: CopiedFile) -> str:
        """One file, its hash taken on the way."""
        at, digest, size = self._at(copied.path), hashlib.sha256(), 0
        linked = self._link and copied.bytes >= _LINKED_FROM and _linked(copied.source, at)
        with contextlib.ExitStack() as files:
            source = files.enter_context(copied.source.open("rb"))
            target = None if linked else files.enter_context(at.open("xb"))
            while data := source.read(_CHUNK):
                digest.update(data)
                size += len(data)
                if target is not None:
                    target.write(data)
                self._add(len(data))
            if target is not None and size >= _FLUSHED_FROM:
                target.flush()
                os.fsync(target.fileno())
        if not linked:
            at.chmod(0o755 if os.access(copied.source, os.X_OK) else 0o644)
            times = copied.source.stat()
            os.utime(at, ns=(times.st_atime_ns, times.st_mtime_ns))
        if size != copied.bytes:
            raise StepFailedError(
                f"{copied.source.name} changed while it was exported.",
                evidence=f"{size:,} bytes read, {copied.bytes:,} when it was looked at",
                fix="Export again when nothing writes to the engine's folder.",
                code="source-changed",
            )
        return digest.hexdigest()

    def _add(self, size: int) -> None:
        if self._stop is not None and self._stop.is_set():
            raise CancelledError("The export was cancelled; nothing of it is left.", code="export-cancelled")
        self._done += size
        if self._tell is not None:
            self._tell(self._done, self._total)


def _text(path: Path, text: str, mode: int) -> str:
    data = text.encode()
    with path.open("xb") as file:
        file.write(data)
    path.chmod(mode)
    return hashlib.sha256(data).hexdigest()


def _linked(source: Path, at: Path) -> bool:
    try:
        os.link(source.resolve(), at)
    except OSError:  # another disk, or one without links: it is copied
        return False
    return True


@contextlib.contextmanager
def _held(partial: Path, out: Path) -> Iterator[None]:
    """The partial folder, empty and locked; it is gone at the end unless it got its name."""
    try:
        partial.mkdir(exist_ok=True)
        handle = os.open(partial, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise _cannot(partial, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadInputError(
                f"{out.name} is being written by somebody else.",
                evidence=f"{partial} is locked",
                fix="Wait for it, or choose another folder.",
                code="export-busy",
            ) from error
        left = list(partial.iterdir())
        if left and not (partial / _MARK).exists():
            raise BadInputError(
                f"There is a folder in the way: {partial}",
                evidence=f"it holds {left[0].name}, and is no export that was interrupted",
                fix="Move it, or choose another folder.",
                code="folder-exists",
            )
        _empty(partial)
        try:
            (partial / _MARK).write_bytes(b"")
            yield
        finally:
            if (partial / _MARK).exists():  # else it has its name, and a folder here is another writer's
                shutil.rmtree(partial, ignore_errors=True)
    finally:
        os.close(handle)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _refuse_place(export: Export, out: Path) -> None:
    if os.path.lexists(out):
        raise _exists(out)
    sources = {copied.source.absolute().parent for copied in export.copies}
    inside = next((parent for parent in out.parents if parent in sources), None)
    if inside is not None:
        raise BadInputError(
            "The export would lie inside what it is made of.",
            evidence=f"{out} is in {inside}",
            fix="Choose a folder elsewhere.",
            code="bad-folder",
        )


def _refuse_paths(export: Export) -> None:
    """Names go into shell scripts' reach and into a list by lines."""
    seen: set[str] = {SUMS_FILE, _MARK}
    for path in [*(text.path for text in export.texts), *(copied.path for copied in export.copies)]:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or not path.isprintable() or path in seen:
            raise BadInputError(
                "A file of the export has a name that cannot be written.",
                evidence=repr(path)[:200],
                fix="Rename it in the engine's folder.",
                code="bad-file-name",
            )
        seen.add(path)


def _refuse_read_only(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
        raise _cannot(folder, OSError(number, os.strerror(number), str(folder)))


def _refuse_without_room(export: Export, out: Path, link: bool) -> None:
    try:
        free, disk = shutil.disk_usage(out.parent).free, out.parent.stat().st_dev
        needed = sum(
            one.bytes
            for one in export.copies
            if not link or one.bytes < _LINKED_FROM or one.source.stat().st_dev != disk
        )
    except OSError as error:
        raise _cannot(out.parent, error) from error
    if needed and free < needed + _MARGIN:
        raise BlockedError(
            "The disk has no room for the export.",
            evidence=f"{format_bytes(needed)} to write and {format_bytes(_MARGIN)} to spare, {format_bytes(free)} free "
            f"at {out.parent}",
            fix="Make room, or choose a folder on another disk.",
            code="no-disk-space",
        )


def _exists(out: Path) -> BadInputError:
    return BadInputError(
        f"There is something of that name already: {out}",
        evidence="exports do not overwrite",
        fix="Choose another folder, or remove that one first.",
        code="folder-exists",
    )


def _cannot(place: Path, error: OSError) -> StepFailedError | BadInputError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StepFailedError(
            "The disk is full; the export was not written.",
            evidence=f"{error.strerror}: {error.filename or place}",
            fix="Make room, or choose a folder on another disk.",
            code="disk-full",
        )
    if error.errno in _NOT_THERE:
        return BadInputError(
            f"The export cannot be written to {place}",
            evidence=f"{error.strerror}: {error.filename or place}",
            fix="Choose a folder that you may write to.",
            code="cannot-write",
        )
    return StepFailedError(
        f"The export cannot be written to {place}",
        evidence=f"{error.strerror or error}: {error.filename or place}",
        fix="Look at the disk and the engine's folder, then export again.",
        code="cannot-write",
    )
