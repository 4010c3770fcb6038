"""Artefact folders (models, checkpoints, engines): provenance, completeness, "runs here?".

A folder is an artefact when it holds a provenance file that lists its files and all of them are there with their
sizes. The provenance is the last file written before the folder gets its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.plan import ArtifactKind, PlanModel
from workbench.core.tensorrt_rtx import targets as rtx_targets

PROVENANCE_FILE = "provenance.json"
PROVENANCE_SCHEMA = 1
PARTIAL_SUFFIX = ".partial"
VERIFY_FILE = "verify.json"
"""The record that verify leaves in what it looked at."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class FileEntry(_Frozen):
    path: str
    """Relative to the artefact's folder, with `/`."""
    bytes: int
    sha256: str


class StepRecord(_Frozen):
    """One step as it was run, enough to run it again."""

    id: str
    kind: str
    worker: str
    argv: tuple[str, ...]
    settings: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    seconds: float
    key: str
    result: dict[str, Any] = Field(default_factory=dict)


class Machine(_Frozen):
    """What it was made on."""

    cpu: str
    cpu_identity: str
    memory_bytes: int
    os: str
    gpus: tuple[str, ...] = ()
    driver: str = ""


class Provenance(_Frozen):
    schema_version: int = PROVENANCE_SCHEMA
    kind: ArtifactKind
    name: str
    key: str
    key_facts: dict[str, Any] = Field(default_factory=dict)
    created_at: float
    """Seconds since the epoch."""
    workbench: str
    """Version of the program that made it."""
    toolchain: str
    precision: str = ""
    preset_id: str = ""
    preset: dict[str, Any] = Field(default_factory=dict)
    """The whole preset of the first build; runtime settings are this engine's defaults at load."""
    model: PlanModel | None = None
    machine: Machine
    steps: tuple[StepRecord, ...]
    """From the source model to this folder; the last one made it."""
    files: tuple[FileEntry, ...]

    @property
    def size_bytes(self) -> int:
        return sum(entry.bytes for entry in self.files)

    @property
    def build_seconds(self) -> float:
        return sum(step.seconds for step in self.steps)

    @property
    def result(self) -> dict[str, Any]:
        """What the last step reported."""
        return self.steps[-1].result if self.steps else {}


class Record(_Frozen):
    """Result of a step that makes no folder of its own, kept inside the artefact it looked at (`verify.json`)."""

    key: str
    created_at: float
    step: StepRecord


def read_provenance(folder: Path) -> Provenance:
    """The provenance of an artefact folder.

    Raises BadInputError when there is none, it cannot be read, or it is of a newer schema.
    """
    path = folder / PROVENANCE_FILE
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise BadInputError(
            f"Not an artefact of the workbench: {folder}",
            evidence=f"there is no {PROVENANCE_FILE} in it" if folder.is_dir() else "there is no such folder",
            fix="`workbench engines` lists what was built.",
            code="no-provenance",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"The provenance cannot be read: {path}", evidence=str(error), code="bad-provenance"
        ) from error
    try:
        data = json.loads(text)
        version = data.get("schema_version") if isinstance(data, dict) else None
        if isinstance(version, int) and version > PROVENANCE_SCHEMA:
            raise BadInputError(
                f"{folder.name} was made by a newer Engine Workbench.",
                evidence=f"provenance schema {version}, this version knows {PROVENANCE_SCHEMA}",
                fix="Update this program, or build the engine again with this one.",
                code="newer-schema",
            )
        return Provenance.model_validate(data)
    except (ValueError, ValidationError, RecursionError) as error:
        first = str(error).splitlines()[0]
        raise BadInputError(
            f"The provenance is damaged: {path}",
            evidence=first,
            fix="Build it again; the earlier steps are reused.",
            code="bad-provenance",
        ) from error


def problems(folder: Path, provenance: Provenance) -> list[str]:
    """Why the folder is not complete; empty when all listed files are there with their sizes."""
    top = str(folder)
    # Of os.path, which says no where this user may not look; pathlib raises.
    found = [] if os.path.isfile(f"{top}/{PROVENANCE_FILE}") else [f"{PROVENANCE_FILE} is missing"]  # noqa: PTH113
    for entry in provenance.files:
        try:
            # A list of a thousand engines looks at tens of thousands of files, and pathlib takes twice as long.
            size = os.stat(f"{top}/{entry.path}").st_size  # noqa: PTH116
        except OSError:
            found.append(f"{entry.path} is missing")
            continue
        if size != entry.bytes:
            found.append(f"{entry.path} has {size:,} bytes, not {entry.bytes:,}")
    return found


def complete_with_key(folder: Path, key: str) -> Provenance | None:
    """The provenance if the folder is a complete artefact of that key, else None."""
    try:
        provenance = read_provenance(folder)
    except BadInputError:
        return None
    return provenance if provenance.key == key and not problems(folder, provenance) else None


def list_files(folder: Path) -> list[Path]:
    """All regular files below, sorted, without the provenance file at the top."""
    files = [
        Path(parent, name) for parent, _, names in os.walk(folder) for name in names if Path(parent, name).is_file()
    ]
    return sorted(path for path in files if path != folder / PROVENANCE_FILE)


def write_json(path: Path, model: BaseModel, *, durable: bool = False) -> None:
    """Write a model as JSON so that readers see the old file or the new one, never half of one.

    `durable` also flushes it to the disk before it gets its name.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with temporary.open("w", encoding="utf-8") as out:
            out.write(model.model_dump_json(indent=1))
            out.flush()
            if durable:
                os.fsync(out.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_record(path: Path) -> Record | None:
    """A step's record, None when there is none that can be read."""
    try:
        return Record.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def own_record(home: Home, folder: Path, name: str) -> Path:
    """Where a home keeps the record of an artefact that it must not write into: a shared one. Another one that is put
    in its place later has another record."""
    key = ""
    with contextlib.suppress(BadInputError):
        key = read_provenance(folder).key
    place = hashlib.sha256(os.fsencode(f"{os.path.realpath(folder)}\0{key}")).hexdigest()[:16]
    return home.root / "records" / f"{place}-{name}"


def verification(folder: Path, provenance: Provenance, home: Home | None = None) -> StepRecord | None:
    """What verify found of this folder, or of the checkpoint that it was built from; None: it was not run.

    With `home`, also what that home's own jobs found of it, where it is shared; the newer of both counts.
    """
    found = [read_record(folder / VERIFY_FILE), read_record(own_record(home, folder, VERIFY_FILE)) if home else None]
    own = [record for record in found if record is not None]
    if own:
        return max(own, key=lambda record: record.created_at).step
    return next((step for step in reversed(provenance.steps) if step.kind == "verify"), None)


def runs_here(
    provenance: Provenance, cpu_identity: str, capabilities: tuple[tuple[int, int], ...] = ()
) -> tuple[bool, str]:
    """Whether an engine runs on this machine, and the reason or remark in words (empty: it was made for it).

    `capabilities` are the compute capabilities of this machine's GPUs.
    """
    if provenance.kind != "engine":
        return False, f"a {provenance.kind} is not an engine"
    if provenance.toolchain == "openvino":
        if provenance.machine.cpu_identity != cpu_identity:
            return True, f"compiled for {provenance.machine.cpu}; it is compiled again here at first load"
        return True, ""
    if provenance.toolchain == "tensorrt_llm":
        return _runs_on(provenance, capabilities)
    if provenance.toolchain == "pytorch":
        return _loads_here(provenance, capabilities)
    if provenance.toolchain == "tensorrt_rtx":
        return _fits_rtx(provenance, capabilities)
    if provenance.toolchain == "onnxruntime":
        wants_gpu = provenance.result.get("device") == "cuda" and not capabilities
        return (False, "made for an NVIDIA GPU, and there is none here") if wants_gpu else (True, "")
    if provenance.toolchain == "endpoint":
        return True, ""
    return False, f"no toolchain here runs {provenance.toolchain} engines"


def _loads_here(provenance: Provenance, capabilities: tuple[tuple[int, int], ...]) -> tuple[bool, str]:
    """A PyTorch engine refers to a model folder, and may want a GPU of a kind."""
    model = provenance.model
    if model is not None and not Path(model.path).is_dir():
        return False, f"refers to {model.path}, which is not there"
    if provenance.result.get("device") == "cuda" and not capabilities:
        return False, "made for an NVIDIA GPU, and there is none here"
    least = {"int8": (8, 0), "fp8": (8, 9)}.get(provenance.precision)
    if least is None or any(each >= least for each in capabilities):
        return True, ""
    wanted = f"needs a GPU of compute capability {least[0]}.{least[1]} or newer"
    here = ", ".join(sorted({f"{major}.{minor}" for major, minor in capabilities}))
    return False, f"{wanted}; here: {here}" if here else f"{wanted}, and there is none here"


_NOT_ON_CPU = {
    "bf16": "ONNX Runtime's CPU kernels have no BF16",
    "nvfp4": "ONNX Runtime has no NVFP4 on a CPU",
}


def _fits_rtx(provenance: Provenance, capabilities: tuple[tuple[int, int], ...]) -> tuple[bool, str]:
    """A TensorRT-RTX engine runs on the compute capabilities that it was built for; its ONNX model on any CPU."""
    told = provenance.result.get("targets")
    targets = [str(each) for each in told] if isinstance(told, list | tuple) else []
    words = " and ".join(filter(None, (", ".join(targets[:-1]), *targets[-1:]))) or "GPUs that are not reported"
    if not capabilities and provenance.precision in _NOT_ON_CPU:
        reason = _NOT_ON_CPU[provenance.precision]
        return False, f"no GPU here, and {reason}; the compiled engine is for {words}"
    if not capabilities:
        return True, f"no GPU here: ONNX Runtime runs its ONNX model on the CPU; the compiled engine is for {words}"
    fitting = [each for each in capabilities if f"{each[0]}.{each[1]}" in targets]
    reasons = [rtx_targets.provider_refuses(each).rstrip(".") for each in fitting]
    if "" in reasons:
        return True, ""
    if fitting and provenance.precision in _NOT_ON_CPU:
        return False, reasons[0]
    if fitting:
        return True, f"{reasons[0]}: its ONNX model runs instead"
    unsupported = [reason for each in capabilities if (reason := rtx_targets.refused(each))]
    if len(unsupported) == len(capabilities):
        return False, unsupported[0].split(";")[0].rstrip(".")
    here = ", ".join(sorted({f"{major}.{minor}" for major, minor in capabilities}))
    return False, f"built for compute capability {words}; here: {here}"


def _runs_on(provenance: Provenance, capabilities: tuple[tuple[int, int], ...]) -> tuple[bool, str]:
    """TensorRT engines run on the compute capability that they were built on, one GPU a rank."""
    gpu, ranks = provenance.result.get("gpu"), provenance.result.get("ranks")
    facts: dict[str, Any] = gpu if isinstance(gpu, dict) else {}
    built_on = str(facts.get("compute_capability") or "")
    wanted = ranks if isinstance(ranks, int) else 1
    if not capabilities:
        return False, "no NVIDIA GPU here" + (f"; built on {facts['name']}" if facts.get("name") else "")
    fitting = [each for each in capabilities if not built_on or built_on == f"{each[0]}.{each[1]}"]
    if len(fitting) < wanted:
        here = ", ".join(sorted({f"{major}.{minor}" for major, minor in capabilities}))
        asked = f"{wanted} GPU{'s' if wanted > 1 else ''}" + (f" of compute capability {built_on}" if built_on else "")
        return False, f"needs {asked}; here: {len(capabilities)} of {here}"
    return True, "" if built_on else "the GPU that it was built on is not reported"
