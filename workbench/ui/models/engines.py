"""Engines as the window shows them: frozen rows read from the store in a background thread, and one in full."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import QFile

from workbench.core.artifact import (
    PROVENANCE_FILE,
    Provenance,
    StepRecord,
    problems,
    read_provenance,
    runs_here,
    verification,
)
from workbench.core.errors import BadInputError, WorkbenchError
from workbench.core.gpu import CATALOGUE
from workbench.core.home import Home
from workbench.core.provenance_diff import Difference, differences
from workbench.core.sharing import refuse_shared, root_of, shared_roots, silent_folders
from workbench.core.tensorrt_rtx.layer_words import target_words, targets_of_result
from workbench.jobs.folder import JobFolder, job_ids
from workbench.jobs.holding import held_artifact
from workbench.serve.using import refuse_served
from workbench.store.notes import Note, notes_path, read_notes
from workbench.store.store import Store, StoredArtifact
from workbench.store.upgrade import refuse_newer_store
from workbench.toolchains.gpus import detected_gpus

CONFIG_FILES = ("config.json", "engine.json", "generation_config.json")
_CONFIG_BYTES = 1 << 20
_NEWEST_JOBS = 20
FIRST_ROWS = 64
"""How many engines, newest first, are shown from the index while the folders are looked at."""
_TITLES = {
    "openvino": "OpenVINO",
    "tensorrt_llm": "TRT-LLM",
    "pytorch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "tensorrt_rtx": "TensorRT-RTX",
}
_MAIN_PACKAGES = {
    "openvino": ("openvino-genai", "openvino"),
    "tensorrt_llm": ("tensorrt_llm", "tensorrt-llm"),
    "pytorch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-genai"),
    "tensorrt_rtx": ("tensorrt_rtx", "tensorrt-rtx-cu13-libs", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx"),
}
"""By toolchain, whose version stands beside its title: the first that is known."""
ASKS_GPUS = frozenset(("tensorrt_llm", "pytorch", "onnxruntime", "tensorrt_rtx"))
"""Toolchains of engines that this machine's GPUs decide about."""
_DEVICES = {"cpu": "CPU", "cuda": "NVIDIA GPU", "auto": "CPU or GPU"}
_NO_NOTE = Note()
_LIMITS = ("max_batch_size", "max_num_tokens", "max_seq_len")


@dataclass(frozen=True)
class EngineRow:
    """One engine of the table. Numbers that nobody reported are None."""

    path: Path
    key: str
    name: str
    model: str
    weights: str
    kv: str
    toolchain: str
    toolchain_version: str
    built_for: str
    max_batch_size: int | None
    max_num_tokens: int | None
    max_seq_len: int | None
    size_bytes: int
    build_seconds: float
    created_at: float
    """Seconds since the epoch."""
    runs: bool
    remark: str
    """Why it does not run here, or what to know where it does."""
    missing: str
    """Why the folder is not whole; empty: it is."""
    preset_id: str
    model_path: str
    tags: tuple[str, ...] = ()
    shared: str = ""
    """The engine folder of the settings that it stands in, where it is not changed; empty: it is one's own."""
    built_for_more: str = ""
    """What `built_for` says in short, where there is more to say."""
    looked: bool = True
    """False: it is as the index remembers it, and its folder is still to be looked at."""

    @property
    def usable(self) -> bool:
        return self.runs and not self.missing


@dataclass(frozen=True)
class EngineRows:
    """All engines, newest first; `notice` is what the store had to say, `notes_problem` why notes are not shown."""

    rows: tuple[EngineRow, ...] = ()
    notice: str = ""
    notes_problem: str = ""
    complete: bool = True
    """False: the first of them, as the index remembers them."""

    @property
    def size_bytes(self) -> int:
        return sum(row.size_bytes for row in self.rows)


@dataclass(frozen=True)
class EngineDetail:
    """One engine in full."""

    row: EngineRow
    provenance: Provenance
    verified: StepRecord | None
    config: tuple[tuple[str, Any], ...]
    """Name of a file (or "preset") and its JSON value."""
    note: Note
    missing_files: tuple[str, ...] = ()


def read_first_rows(home: Home) -> EngineRows:
    """The newest engines as the index remembers them: no folder is looked at and no driver is asked."""
    with Store.open(home.make()) as store:
        found, notice = store.remembered("engine", FIRST_ROWS), store.notice
    rows = tuple(replace(make_row(each, each.provenance.machine.cpu_identity, None), looked=False) for each in found)
    return EngineRows(rows, notice, complete=False)


def read_rows(home: Home, cpu_identity: str) -> EngineRows:
    """Sync the store and read every engine. Blocks on the disk: never call it on the GUI thread."""
    home.make()
    with Store.open(home) as store:
        store.sync()
        found, notice = store.artifacts("engine"), store.notice
    notes: dict[str, Note] = {}
    problem = ""
    try:
        notes = read_notes(home)
    except BadInputError as error:
        problem = str(error)
    here: tuple[tuple[int, int], ...] = ()
    if any(each.provenance.toolchain in ASKS_GPUS for each in found):
        here = tuple(gpu.compute_capability for gpu in detected_gpus())
    rows = tuple(
        make_row(each, cpu_identity, here, notes.get(each.provenance.key, _NO_NOTE).tags)
        for each in found
        # A folder that went is no engine; one that lost files is shown with what it lacks.
        if each.missing != "the folder is gone"
    )
    return EngineRows(rows, notice, problem)


def make_row(
    stored: StoredArtifact,
    cpu_identity: str,
    capabilities: tuple[tuple[int, int], ...] | None,
    tags: tuple[str, ...] = (),
) -> EngineRow:
    """The row of an engine, from its provenance alone; without `capabilities` nobody asked yet whether it runs here."""
    p = stored.provenance
    result = p.result
    runs, remark = (True, "") if capabilities is None else runs_here(p, cpu_identity, capabilities)
    limits = [_limit(p, name) for name in _LIMITS]
    versions = result.get("versions")
    if not isinstance(versions, dict):
        versions = p.steps[-1].versions if p.steps else {}
    return EngineRow(
        path=stored.path,
        key=p.key,
        name=p.name,
        model=p.model.name if p.model else "",
        weights=precision_words(p.precision),
        kv=_kv(p),
        toolchain=_TITLES.get(p.toolchain, p.toolchain),
        toolchain_version=_version(p.toolchain, versions),
        built_for=_built_for(p),
        built_for_more="\n".join(target_words(_targets(p))),
        max_batch_size=limits[0],
        max_num_tokens=limits[1],
        max_seq_len=limits[2],
        size_bytes=p.size_bytes,
        build_seconds=p.build_seconds,
        created_at=p.created_at,
        runs=runs,
        remark=remark,
        missing=stored.missing,
        shared=stored.shared,
        preset_id=p.preset_id,
        model_path=p.model.path if p.model else "",
        tags=tags,
    )


def precision_words(precision: str) -> str:
    """`int4_awq` -> `INT4 AWQ`: short, for a column."""
    return precision.upper().replace("_", " ")


def _version(toolchain: str, versions: dict[str, Any]) -> str:
    return next((str(versions[name]) for name in _MAIN_PACKAGES.get(toolchain, ()) if versions.get(name)), "")


def _limit(p: Provenance, name: str) -> int | None:
    for source in (p.result.get("limits"), p.preset.get("limits")):
        if isinstance(source, dict) and isinstance(source.get(name), int):
            return int(source[name])
    return None


def _kv(p: Provenance) -> str:
    made = p.result.get("kv_cache_precision") or p.result.get("kv_cache_quant_algo")
    if not made:
        asked = p.preset.get("precision")
        made = asked.get("kv_cache") if isinstance(asked, dict) else ""
    return "" if not made or made == "auto" else str(made).upper()


def _built_for(p: Provenance) -> str:
    gpu, ranks = p.result.get("gpu"), p.result.get("ranks")
    if isinstance(gpu, dict) and gpu.get("name"):
        name = str(gpu["name"]).removeprefix("NVIDIA ")
        return f"{ranks} \N{MULTIPLICATION SIGN} {name}" if isinstance(ranks, int) and ranks > 1 else name
    if targets := _targets(p):
        meant = CATALOGUE.get(str(p.preset.get("gpu") or ""))
        one = meant is not None and targets == [meant.capability]
        return f"{meant.name} ({targets[0]})" if one and meant is not None else ", ".join(targets)
    if p.toolchain == "onnxruntime":
        return _DEVICES.get(str(p.result.get("device")), "")
    return p.machine.cpu if p.toolchain == "openvino" else ""


def _targets(p: Provenance) -> list[str]:
    """Compute capabilities that a TensorRT-RTX engine was built for."""
    return list(targets_of_result(p.result)) if p.toolchain == "tensorrt_rtx" else []


def fingerprint(home: Home, known: tuple[Path, ...]) -> tuple[object, ...]:
    """Changes when engine folders appear, move, vanish or lose their provenance, when a job begins or ends, or a note
    is written: two `stat` calls an engine, and no file is read."""
    marks: list[object] = [_stamp(str(home.artifacts / "engines")), _stamp(str(home.jobs)), _stamp(notes_path(home))]
    for root in shared_roots(home):
        marks += [_stamp(root), _stamp(root / "engines")]
    # Not the states' own stamps: those change every second of a job, and its engines are all that counts here.
    marks += [JobFolder(home.jobs / job).is_supervised() for job in job_ids(home.jobs)[-_NEWEST_JOBS:]]
    silent = silent_folders(home)
    for path in known:
        if any(path.is_relative_to(folder) for folder in silent):
            continue  # a look would not come back
        marks.append(_stamp(f"{path}"))
        marks.append(_stamp(f"{path}/{PROVENANCE_FILE}"))
    return tuple(marks)


def _stamp(path: str | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - thousands of them, and pathlib is slower
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def read_detail(home: Home, row: EngineRow) -> EngineDetail:
    """Provenance, config files, record of verify and note of one engine. Raises BadInputError when it went."""
    provenance = read_provenance(row.path)
    config = []
    for name in CONFIG_FILES:
        path = row.path / name
        with contextlib.suppress(OSError, ValueError, RecursionError):
            if path.stat().st_size <= _CONFIG_BYTES:
                config.append((name, json.loads(path.read_text("utf-8"))))
    if provenance.preset:
        config.append((f"preset {provenance.preset_id}".strip(), provenance.preset))
    try:
        note = read_notes(home).get(provenance.key, Note())
    except BadInputError:
        note = Note()
    return EngineDetail(
        row,
        provenance,
        verification(row.path, provenance, home),
        tuple(config),
        note,
        tuple(problems(row.path, provenance)),
    )


def read_differences(first: Path, second: Path) -> tuple[Difference, ...]:
    """What differs between two engines. Raises BadInputError when one cannot be read."""
    return differences(read_provenance(first), read_provenance(second))


def add_folder(home: Home, folder: Path) -> str:
    """Make an engine folder from elsewhere known to the store; its name. Raises BadInputError."""
    provenance = read_provenance(folder)
    if provenance.kind != "engine":
        raise BadInputError(f"{folder} is a {provenance.kind}, not an engine.", code="not-an-engine")
    if lacking := problems(folder, provenance):
        raise BadInputError(f"The engine {folder} is not whole.", evidence="; ".join(lacking[:3]), code="broken-engine")
    with Store.open(home.make()) as store:
        store.add_artifact(folder, provenance, root_of(home, folder))
    return provenance.name


def move_to_trash(home: Home, row: EngineRow) -> str:
    """Put an engine's folder in the system's trash, or in the home's where there is none; says where, in words.

    Raises BadInputError when a job uses it, when it is being served, or when it cannot be moved, BlockedError for a
    shared one and with a store of a newer version.
    """
    refuse_shared(home, row.path, "moved")
    refuse_newer_store(home)
    try:
        with held_artifact(home, row.path, row.key):
            refuse_served(home, row.path)
            moved = QFile.moveToTrash(str(row.path))
            if moved[0] if isinstance(moved, tuple) else moved:
                place = "in the trash"
            else:
                aside = home.root / "trash" / f"{row.path.name}-{time.strftime('%Y%m%d-%H%M%S')}"
                aside.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                row.path.rename(aside)
                place = f"in {aside} (the system has no trash for that disk)"
    except OSError as error:
        raise BadInputError(
            f"{row.path} could not be put in the trash.",
            evidence=str(error),
            fix="Check the folder's owner and mode; `workbench engines rm` deletes it for good.",
            code="not-writable",
        ) from error
    with contextlib.suppress(WorkbenchError), Store.open(home) as store:
        store.forget_artifact(row.path)
    return place
