"""Takes an engine that was built elsewhere among one's own: checked against its own checksums, then copied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from workbench.core.artifact import (
    PROVENANCE_FILE,
    FileEntry,
    Provenance,
    complete_with_key,
    problems,
    read_provenance,
)
from workbench.core.digest import file_sha256
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.plan import Output, folder_name
from workbench.jobs.holding import held_artifact
from workbench.jobs.sealing import copy_artifact

Progress = Callable[[int, int], None]
"""Bytes done and in all."""

_IN_A_LAUNCH_FOLDER = "engine"


def engine_within(folder: Path) -> Path:
    """The engine's folder: `folder` itself, or the one inside a launch folder."""
    inside = folder / _IN_A_LAUNCH_FOLDER
    return inside if not (folder / PROVENANCE_FILE).is_file() and (inside / PROVENANCE_FILE).is_file() else folder


def take_engine(home: Home, folder: Path, *, link: bool = False, on_progress: Progress | None = None) -> Path:
    """Copy the engine of `folder`, an engine's or a launch folder, among the home's; where it is now. One that is
    there already is only named.

    `link`: large files are hard links where they are on the same disk. Raises BadInputError: no engine, a file that
    differs from the sums that its build noted, a model that it refers to and that is not here; StepFailedError when the
    disk does not take it.
    """
    engine = engine_within(folder.absolute())
    provenance = read_provenance(engine)
    _refuse(engine, provenance)
    tell = on_progress or (lambda done, total: None)
    target = home.artifacts / "engines" / folder_name(provenance.name, key=provenance.key)
    if complete_with_key(target, provenance.key) is not None:
        return target
    _check_sums(engine, provenance, tell)
    made = Output(kind="engine", path=str(target), name=provenance.name, precision=provenance.precision, chosen=False)
    target.parent.mkdir(parents=True, exist_ok=True)
    with held_artifact(home, target, provenance.key):
        copy_artifact(engine, provenance, made, "taken000", tell, link=link)
    return target


def _refuse(engine: Path, provenance: Provenance) -> None:
    if provenance.kind != "engine":
        raise BadInputError(
            f"{engine} is a {provenance.kind}, not an engine.",
            fix="Give the folder of an engine, or a launch folder.",
            code="not-an-engine",
        )
    # It comes from somebody else: nothing of what it says may lead out of its folder, or of ours.
    strange = [entry.path for entry in provenance.files if not _stays_inside(entry.path)]
    if strange or not provenance.key.isalnum():
        raise BadInputError(
            f"The provenance is damaged: {engine / PROVENANCE_FILE}",
            evidence=f"file {strange[0][:80]!r}" if strange else f"key {provenance.key[:40]!r}",
            fix="Copy it again from where it was built.",
            code="bad-provenance",
        )
    if lacking := problems(engine, provenance):
        raise _broken(engine, "; ".join(lacking[:4]))
    model = provenance.model
    if provenance.toolchain == "pytorch" and (model is None or not Path(model.path).is_absolute()):
        raise BadInputError(
            f"{provenance.name} refers to a model folder beside it and holds no weights of its own.",
            evidence=f"model {model.path if model is not None else 'not named'}",
            fix="Build it here from that model folder: `workbench build pytorch-bf16 --model FOLDER` takes seconds.",
            code="no-model",
        )


def _stays_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path


def _check_sums(engine: Path, provenance: Provenance, tell: Progress) -> None:
    """Raises BadInputError for the first file that is not what the build wrote."""
    done, total = 0, provenance.size_bytes
    for entry in provenance.files:
        if entry.sha256 and file_sha256(engine / entry.path) != entry.sha256:
            raise _broken(engine, _differs(entry))
        done += entry.bytes
        tell(done, total)


def _differs(entry: FileEntry) -> str:
    return f"{entry.path} is not what the build wrote: its SHA-256 is not {entry.sha256[:16]}…"


def _broken(engine: Path, evidence: str) -> BadInputError:
    return BadInputError(
        f"The engine {engine} is not whole.",
        evidence=evidence,
        fix="Copy it again from where it was built.",
        code="broken-engine",
    )
