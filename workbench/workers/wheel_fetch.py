"""Fetching wheels with pip into a folder, a few at a time, so that what is there stays there when it is stopped.

The folder is one that `pip install --no-index --find-links` takes; manifest.json in it has the sha256 of each wheel.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from workbench.core.errors import BadInputError
from workbench.core.toml_words import PASSWORD
from workbench.core.units import format_bytes
from workbench.core.wheels import Interpreter, Needed, Wheel, needed_wheels, wants_of, wheels_in
from workbench.workers.protocol import Channel, WorkerError, die_with_me

MANIFEST = "manifest.json"
FETCHING = ".fetching"
OUTSIDE = ("PYTHONPATH", "PYTHONHOME", "PIP_REQUIRE_VIRTUALENV", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
"""Variables of the workbench's own interpreter that would put packages, or find them, in another place."""
_AT_ONCE = 6
_LARGE = ("torch", "torchvision", "nvidia-", "openvino", "triton", "tensorrt", "cuda-")
"""Names of packages that are fetched alone: hundreds of megabytes are not lost with another's failure."""
_QUIET = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")


@dataclass(frozen=True)
class Source:
    """Where pip gets packages; all empty: as pip itself is set."""

    index: str = ""
    extra_indexes: tuple[str, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        given = ("--index-url", self.index) if self.index else ()
        return (*given, *(word for index in self.extra_indexes for word in ("--extra-index-url", index)))


def begin_folder(folder: Path, channel: Channel) -> None:
    """A folder for wheels, which may have some: what is damaged, or not whole yet, is taken away. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / FETCHING, ignore_errors=True)
    _drop_damaged(folder, channel)


def fetch_wheels(
    folder: Path, wanted: Sequence[str], pins: Mapping[str, str], interpreter: Interpreter, source: Source,
    channel: Channel, *, alone: bool = False,
) -> Needed:  # fmt: skip
    """Fill a folder that was begun until nothing is missing; with `alone` without what the packages want themselves.

    Raises WorkerError that says what cannot be had.
    """
    before: tuple[str, ...] = ()
    wants = _nothing if alone else wants_of
    while True:
        needed = needed_wheels(wanted, pins, wheels_in(folder), interpreter, wants)
        done = len(needed.wheels)
        channel.progress(done, done + len(needed.missing) if needed.missing else done, "packages")
        if not needed.missing:
            return needed
        if needed.missing == before:
            raise WorkerError(
                f"What pip fetched does not fit Python {interpreter.version}.",
                code="download-failed",
                cause=", ".join(needed.missing),
                hint="Name another package index by --index, or another version of Python.",
            )
        before = needed.missing
        channel.log(f"{done} packages ({format_bytes(needed.bytes)}) are there, {len(needed.missing)} more are known")
        for names in _groups(needed.missing):
            _fetch(folder, names, interpreter, source, channel)
            done += len(names)
            channel.progress(done, len(needed.wheels) + len(needed.missing), "packages")
            write_manifest(folder)


def _nothing(wheel: Wheel) -> tuple[Requirement, ...]:
    return ()


def _groups(missing: Iterable[str]) -> list[list[str]]:
    """Large packages alone, the others in handfuls."""
    large = [[name] for name in missing if name.startswith(_LARGE)]
    small = [name for name in missing if not name.startswith(_LARGE)]
    return [small[at : at + _AT_ONCE] for at in range(0, len(small), _AT_ONCE)] + large


def _fetch(folder: Path, names: list[str], interpreter: Interpreter, source: Source, channel: Channel) -> None:
    major, minor = interpreter.numbers
    where = ["--python-version", interpreter.version, "--implementation", "cp"]
    for abi in (f"cp{major}{minor}", "abi3", "none"):
        where += ["--abi", abi]
    for platform in interpreter.platforms:
        where += ["--platform", platform]
    before = {wheel.path for wheel in wheels_in(folder)}
    # A folder of its own, so that a wheel is seen under its name when it is whole.
    fetching = folder / FETCHING
    argv = [sys.executable, "-m", "pip", "download", *_QUIET, "--no-deps", "--only-binary", ":all:", "-d"]
    error = run_pip([*argv, str(fetching), *where, *source.argv, *names], channel)
    if error and len(names) > 1:
        for name in names:
            _fetch(folder, [name], interpreter, source, channel)
        return
    if error and "No matching distribution" in error:
        error = _build(fetching, names[0], interpreter, source, channel) or error
        error = "" if any(fetching.glob("*.whl")) else error
    for path in fetching.glob("*.whl"):
        path.replace(folder / path.name)
    refuse_full(error)
    if error or not {wheel.path for wheel in wheels_in(folder)} - before:
        raise WorkerError(
            f"{names[0]} could not be fetched for Python {interpreter.version}.",
            code="download-failed",
            cause=error or "pip ended without a word, and no wheel is there",
            hint="What was fetched is kept: try again with the network there. `--index` names another package index.",
        )


def refuse_full(error: str) -> None:
    """Raises WorkerError where it is the disk that pip complains of."""
    if "No space left" in error:
        hint = "Free space, then retry: what is there is kept."
        raise WorkerError("The disk is full.", code="disk-full", cause=error, hint=hint)


def _build(fetching: Path, name: str, interpreter: Interpreter, source: Source, channel: Channel) -> str:
    """A package that is given as source alone is made a wheel here; only one that fits is kept. pip's error, if any."""
    channel.log(f"{name} is not there as a wheel: trying to make one")
    argv = [sys.executable, "-m", "pip", "wheel", *_QUIET, "--no-deps", "-w", str(fetching), *source.argv, name]
    error = run_pip(argv, channel)
    for wheel in wheels_in(fetching) if fetching.is_dir() else ():
        if not wheel.tags & interpreter.tags():
            wheel.path.unlink()
            error = f"{wheel.path.name}, made from its source here, does not fit Python {interpreter.version}"
    return error


def run_pip(argv: Sequence[str], channel: Channel, said: Callable[[str], None] = lambda line: None) -> str:
    """Run pip, its output going to the job's log; its first error, "" when it succeeds."""
    channel.log("$ " + " ".join(_shown(argv)))
    errors: list[str] = []
    last = ""
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=clean_environ(),
        preexec_fn=die_with_me(),
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.rstrip()
            if text:
                print(text, file=sys.stderr, flush=True)
                said(text)
                last = text
            if text.startswith("ERROR:"):
                errors.append(text)
    if process.returncode == 0:
        return ""
    # pip's last error names the package; the ones before it list versions.
    best = next((line for line in errors if "No matching distribution" in line), errors[0] if errors else "")
    if best == "ERROR: Exception:":  # pip's own crash, as when a download fills the disk: a traceback follows
        best = last
    return best or f"{Path(argv[0]).name} ended with {process.returncode}"


def _shown(argv: Sequence[str]) -> list[str]:
    """As it may stand in a log: without passwords in addresses, and without the long list of platforms."""
    shown: list[str] = []
    for number, word in enumerate(argv):
        before = argv[number - 1] if number else ""
        if word == "--platform" or before == "--platform":
            continue
        shown.append(PASSWORD.sub("(not shown)@", word))
    return shown


def clean_environ() -> dict[str, str]:
    """The environment without what would lead pip astray."""
    return {name: value for name, value in os.environ.items() if name not in OUTSIDE}


# --- the manifest ---


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The folder's manifest; empty when there is none. Raises WorkerError when it cannot be read."""
    try:
        found = json.loads((folder / MANIFEST).read_text("utf-8"))
        return {"wheels": {str(k): {**v} for k, v in found["wheels"].items()}}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WorkerError(
            "The manifest of the wheels cannot be read.",
            code="bad-manifest",
            cause=f"{folder / MANIFEST}: {error}",
            hint="Copy the whole folder again, or run `workbench toolchain bundle` for it again.",
        ) from None


def write_manifest(folder: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Hashes of all wheels. One that is noted keeps its hash, whatever has become of its file since."""
    known: dict[str, Any] = {}
    told: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, KeyError):
        told = json.loads((folder / MANIFEST).read_text("utf-8"))
        known = dict(told["wheels"])
    rows = {}
    for wheel in wheels_in(folder):
        fresh = known.get(wheel.path.name)
        rows[wheel.path.name] = fresh or {"bytes": wheel.path.stat().st_size, "sha256": sha256_of(wheel.path)}
    kept = {name: value for name, value in told.items() if name not in ("wheels", "schema")}
    text = json.dumps({"schema": 1, **kept, **(facts or {}), "wheels": rows}, indent=1, sort_keys=True) + "\n"
    temporary = folder / f".{MANIFEST}.new"
    temporary.write_text(text, "utf-8")
    temporary.replace(folder / MANIFEST)


def verify_wheels(wheels: Iterable[Wheel], folder: Path, channel: Channel) -> int:
    """Compare wheels with the manifest; how many were compared. Raises WorkerError that names what is damaged, or what
    the manifest does not have: it was put there later, and nothing tells whether it is whole."""
    rows = read_manifest(folder).get("wheels", {})
    if not rows:
        channel.log("the folder has no manifest: its wheels are not compared with what was fetched", "warning")
        return 0
    wheels = list(wheels)
    for number, wheel in enumerate(wheels, 1):
        row = rows.get(wheel.path.name)
        if row is None:
            raise WorkerError(
                f"A wheel is not in the manifest of its folder: {wheel.path.name}.",
                code="bad-wheel",
                cause=f"{wheel.path} was put there after the wheels were collected",
                hint="Take it out, or run `workbench toolchain bundle` for this folder, which notes it.",
            )
        if sha256_of(wheel.path) != row.get("sha256"):
            raise WorkerError(
                f"A wheel is damaged: {wheel.path.name}.",
                code="bad-wheel",
                cause=f"{wheel.path} has another sha256 than the manifest of its folder says",
                hint="Copy it again from where the bundle was made, or run `workbench toolchain bundle` there again.",
            )
        channel.progress(number, len(wheels), "wheels")
    return len(wheels)


def _drop_damaged(folder: Path, channel: Channel) -> None:
    """Take away wheels that differ from the manifest, so that they are fetched again."""
    try:
        rows = read_manifest(folder).get("wheels", {})
    except WorkerError:
        (folder / MANIFEST).unlink(missing_ok=True)
        rows = {}
    for wheel in wheels_in(folder):
        row = rows.get(wheel.path.name)
        try:
            damaged = row is not None and sha256_of(wheel.path) != row.get("sha256")
            if row is None:  # fetched and not noted any more: it got its name when it was whole
                wants_of(wheel)
        except BadInputError:
            damaged = True
        if damaged:
            channel.log(f"{wheel.path.name} is damaged and is fetched again", "warning")
            wheel.path.unlink()
    write_manifest(folder)
