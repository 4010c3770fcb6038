"""What a run made, brought here and compared with what is there."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import StepFailedError
from workbench.core.units import format_bytes
from workbench.remote.far import Far
from workbench.remote.line import Line
from workbench.remote.paths import Names, final_name, plain
from workbench.remote.transport import Transport
from workbench.remote.wire import Wire

_REWRITTEN_BYTES = 16 << 20


@dataclass(frozen=True)
class FarRun:
    """A run that ended well, and the ways to it."""

    base: str
    run: str
    """Its folder there."""
    line: Line
    far: Far
    transport: Transport
    wire: Wire
    names: Names


def fetch_output(ended: FarRun, target: Path) -> None:
    """Fill `target`, the partial folder here, with the run's output and take the run away.

    Raises StepFailedError when a file is not the same; what was made stays there then.
    """
    # The next step wants it there: equal files are then linked and not sent back.
    place = f"{ended.base}/made/{plain(Path(final_name(str(target))).name)}"
    try:
        _fetch(ended, target, f"{ended.run}/output")
    except StepFailedError:
        if ended.line.patiently(lambda: ended.far.status(ended.run))["state"] != "none":
            raise
        _fetch(ended, target, place)  # another job followed the same run, and was first
    else:
        ended.line.patiently(lambda: ended.far.ask("keep", ended.run, "--to", place, seconds=600.0))
    name_as_here(target, ended.names)


def _fetch(ended: FarRun, target: Path, far_output: str) -> None:
    line, wire = ended.line, ended.wire
    wanted = line.patiently(lambda: ended.far.digest(far_output))
    total = sum(size for size, _ in wanted.values())
    began = time.monotonic()
    line.patiently(
        lambda: ended.transport.fetch(far_output, target, lambda moved, _: wire.progress(min(moved, total), total))
    )
    wire.progress(total, total)
    compare(target, wanted, ended.transport.title)
    wire.log(f"{format_bytes(total)} fetched from {ended.transport.title} in {time.monotonic() - began:.1f} s")


def compare(folder: Path, wanted: dict[str, tuple[int, str]], place: str) -> None:
    """Raises StepFailedError unless `folder` holds exactly the wanted files."""
    here = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    wrong = [f"{name} is missing" for name in sorted(set(wanted) - here)]
    wrong += [f"{name} is not there" for name in sorted(here - set(wanted))]
    for name, (size, checksum) in wanted.items():
        if name in here and ((folder / name).stat().st_size != size or _sha256(folder / name) != checksum):
            wrong.append(f"{name} differs")
    if wrong:
        raise StepFailedError(
            f"What came from {place} is not what was made there.",
            evidence="; ".join(wrong[:5]),
            fix="Retry: the run's output is still there and is fetched again.",
            code="not-equal",
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while data := source.read(4 << 20):
            digest.update(data)
    return digest.hexdigest()


def name_as_here(folder: Path, names: Names) -> None:
    """Paths that a worker wrote into its JSON files are called as they are here."""
    for path in folder.rglob("*.json"):
        if not path.is_symlink() and path.stat().st_size <= _REWRITTEN_BYTES:
            text = path.read_bytes()
            if any(far.encode() in text for _, far in names.pairs):
                path.write_bytes(names.to_local(text.decode("utf-8")).encode())
