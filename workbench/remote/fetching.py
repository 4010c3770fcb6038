"""What a run made, brought here and compared with what is there."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.core.errors import StepFailedError
from workbench.core.units import format_bytes
from workbench.remote.paths import Names, final_name, plain

if TYPE_CHECKING:
    from workbench.remote.session import Session

_REWRITTEN_BYTES = 16 << 20


def fetch_output(session: Session, target: Path) -> None:
    """Fill `target` with the run's output and take the run away.

    Raises StepFailedError when a file is not the same; what was made stays there then.
    """
    # The next step wants it there: equal files are then linked and not sent back.
    place = f"{session.base}/made/{plain(Path(final_name(session.spec.output)).name)}"
    try:
        _fetch(session, target, f"{session.run}/output")
    except StepFailedError:
        if session.line.patiently(lambda: session.far.status(session.run))["state"] != "none":
            raise
        _fetch(session, target, place)  # another job followed the same run, and was first
    else:
        session.line.patiently(lambda: session.far.ask("keep", session.run, "--to", place, seconds=600.0))
    name_as_here(target, session.names)


def _fetch(session: Session, target: Path, far_output: str) -> None:
    line, wire = session.line, session.wire
    wanted = line.patiently(lambda: session.far.digest(far_output))
    total = sum(size for size, _ in wanted.values())
    began = time.monotonic()
    line.patiently(
        lambda: session.transport.fetch(far_output, target, lambda done, _: wire.progress(min(done, total), total))
    )
    wire.progress(total, total)
    compare(target, wanted, session.transport.title)
    wire.log(f"{format_bytes(total)} fetched from {session.transport.title} in {time.monotonic() - began:.1f} s")


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
