"""Makes a Python environment for a toolchain: a virtual environment, its packages in the order of their lists, a look.

It is made in the folder where it stays, since environments cannot be moved. A file in it says what is done, so that a
failed or killed making goes on where it was; a cancelled one is taken away, and what was downloaded is kept.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from workbench.core.environment_record import EnvironmentRecord, digest_of, read_record, write_record
from workbench.core.errors import BadInputError
from workbench.core.messages import Error, Result, RubbishError, StepSpec, parse_message
from workbench.core.units import format_bytes
from workbench.core.wheels import Interpreter, Needed, needed_wheels, read_pins, requirement_lines, wheels_in
from workbench.workers.protocol import Channel, WorkerError, die_with_me, run_worker
from workbench.workers.wheel_fetch import (
    Source,
    begin_folder,
    clean_environ,
    fetch_wheels,
    refuse_full,
    run_pip,
    verify_wheels,
)

_MARKER = "pyvenv.cfg"
_QUIET = ("--no-input", "--disable-pip-version-check", "--progress-bar", "off")
_LOOK_SECONDS = 0.7


def _path(row: Mapping[str, Any], name: str) -> Path | None:
    return Path(str(row[name])) if row.get(name) else None


class _Making:
    """One run of the worker over its settings."""

    def __init__(self, settings: Mapping[str, Any], channel: Channel) -> None:
        self.channel = channel
        self.folder = Path(str(settings["folder"]))
        self.python = str(self.folder / "bin" / "python")
        self.base = str(settings.get("python") or sys.executable)
        given = settings.get("lists") or [{"file": settings["requirements"]}]
        self.lists = [(Path(str(row["file"])), _path(row, "lock"), _path(row, "constraints")) for row in given]
        self.wheels = Path(str(settings["wheels"])) if settings.get("wheels") else None
        self.downloads = Path(str(settings["downloads"])) if settings.get("downloads") else None
        self.source = Source(str(settings.get("index") or ""), tuple(settings.get("extra_indexes") or ()))
        self.packages = [str(name) for name in settings.get("packages") or ()]
        self.imports = bool(settings.get("imports", False))
        self.code = str(settings.get("code") or "")
        # Without a pip of its own in the environment: a system's Python often comes without ensurepip.
        self.own_pip = importlib.util.find_spec("pip") is not None
        self._interpreter: Interpreter | None = None
        self.record = EnvironmentRecord(
            toolchain=str(settings.get("toolchain") or ""),
            base=self.base,
            digest=digest_of([path for row in self.lists for path in row if path is not None]),
            source=str(self.wheels or "package index"),
            pid=os.getpid(),
        )
        self.of = 2 + sum(2 if self._fetches(lock) else 1 for _, lock, _ in self.lists)
        self.at = 0

    def _fetches(self, lock: Path | None) -> bool:
        """Whether the wheels of a list are fetched before they are installed: where all versions are known."""
        return self.wheels is None and lock is not None and self.downloads is not None

    @property
    def interpreter(self) -> Interpreter:
        """Version and C library of the environment's interpreter."""
        if self._interpreter is None:
            program = "import os, sys; print(*sys.version_info[:2], os.confstr('CS_GNU_LIBC_VERSION'))"
            done = subprocess.run(
                [self.python, "-I", "-c", program],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, env=clean_environ(), check=False,
            )  # fmt: skip
            found = re.fullmatch(r"(\d+) (\d+) glibc (\d+)\.(\d+)\s*", done.stdout)
            if found is None:
                raise WorkerError("The new environment does not answer.", code="not-made", cause=done.stderr[-500:])
            self._interpreter = Interpreter(f"{found[1]}.{found[2]}", (int(found[3]), int(found[4])))
        return self._interpreter

    # -- phases

    def phase(self, name: str) -> None:
        self.at += 1
        self.channel.phase(name, self.at, self.of)

    def done(self, name: str) -> None:
        self.record = self.record.model_copy(update={"done": (*self.record.done, name)})
        write_record(self.folder, self.record)

    def run(self) -> dict[str, Any]:
        self._begin()
        for number, (requirements, lock, constraints) in enumerate(self.lists, 1):
            self._install(number, requirements, lock, lock or constraints)
        self.phase("look at it")
        versions = self._mend(self._versions())
        if self.packages:
            self._look(versions)
        self.record = self.record.model_copy(update={"complete": True, "versions": versions, "pid": 0})
        write_record(self.folder, self.record.stamped())
        if self.downloads is not None and self.wheels is None:
            shutil.rmtree(self.downloads, ignore_errors=True)
        return {"folder": str(self.folder), "python": self.python, "versions": versions}

    def _begin(self) -> None:
        self.phase("make environment")
        before = read_record(self.folder)
        if before is not None and before.made_as(self.record) and Path(self.python).exists():
            self.record = before.model_copy(update={"pid": os.getpid(), "source": self.record.source})
            write_record(self.folder, self.record)
            self.channel.log(f"going on with what is there: {', '.join(before.done)}")
            return
        argv = [self.base, "-m", "venv", "--clear", *(["--without-pip"] if self.own_pip else []), str(self.folder)]
        if error := run_pip(argv, self.channel):
            raise WorkerError(
                "The environment could not be made.",
                code="not-made",
                cause=error,
                hint="The log has all that it said. On Debian and Ubuntu, Python's venv may be a package of its own.",
            )
        self.done("environment")

    def _install(self, number: int, requirements: Path, lock: Path | None, constraints: Path | None) -> None:
        wheels, name = self.wheels, f"list {number}"
        wanted = requirement_lines(requirements)
        pins = read_pins(lock, self.interpreter) if lock is not None else {}
        if self._fetches(lock):
            self.phase("download")
            assert self.downloads is not None
            if name not in self.record.done:
                begin_folder(self.downloads, self.channel)
                fetch_wheels(self.downloads, wanted, pins, self.interpreter, self.source, self.channel)
            wheels = self.downloads
        self.phase("install")
        if name in self.record.done:
            return
        needed = self._there(wheels, wanted, pins) if wheels is not None else None
        argv = [sys.executable, "-m", "pip", "--python", self.python] if self.own_pip else [self.python, "-m", "pip"]
        argv += ["install", *_QUIET]
        argv += ["--no-index", "--find-links", str(wheels)] if wheels is not None else self.source.argv
        argv += ["-c", str(constraints)] if constraints is not None else []
        with self._counting(len(needed.wheels) if needed is not None else None) as said:
            error = run_pip([*argv, "-r", str(requirements)], self.channel, said)
        if error:
            refuse_full(error)
            cuda = "No matching distribution" in error and "+cu" in error
            raise WorkerError(
                "The packages could not be installed.",
                code="not-made",
                cause=error,
                hint="PyTorch's builds for CUDA are on a package index of their own: give it by --extra-index."
                if cuda
                else "The log has all that it said. Without a network, give a folder that holds the wheels.",
            )
        self.done(name)

    def _there(self, wheels: Path, wanted: tuple[str, ...], pins: Mapping[str, str]) -> Needed:
        """The wheels that are needed, compared with their manifest."""
        needed = needed_wheels(wanted, pins, wheels_in(wheels), self.interpreter)
        if needed.missing:
            raise WorkerError(
                "The packages could not be installed: wheels are missing.",
                code="wheels-missing",
                cause=f"{wheels} lacks, for Python {self.interpreter.version}: {', '.join(needed.missing)}",
                hint="Fill the folder on a machine with a network: `workbench toolchain bundle NAME --out FOLDER "
                f"--python-version {self.interpreter.version}`.",
            )
        if self.wheels is not None:
            # All of their names: which one of several pip takes is pip's to say.
            names = {wheel.name for wheel in needed.wheels}
            verify_wheels([wheel for wheel in wheels_in(wheels) if wheel.name in names], wheels, self.channel)
        return needed

    @contextlib.contextmanager
    def _counting(self, total: int | None) -> Iterator[Any]:
        """Count packages while pip installs: it says nothing then, but each one's metadata is there when it is."""
        over = threading.Event()
        known = [total]

        def said(line: str) -> None:
            if line.startswith("Installing collected packages:"):
                known[0] = len(line.split(":", 1)[1].split(",")) + len(here())

        def here() -> list[Path]:
            return list(self.folder.glob("lib/python3*/site-packages/*.dist-info"))

        def count() -> None:
            while not over.wait(_LOOK_SECONDS):
                self.channel.progress(len(here()), known[0], "packages")

        counter = threading.Thread(target=count, daemon=True)
        counter.start()
        try:
            yield said
        finally:
            over.set()
            counter.join()

    # -- what was made

    def _pip(self, *words: str) -> list[str]:
        pip = [sys.executable, "-m", "pip", "--python", self.python] if self.own_pip else [self.python, "-m", "pip"]
        return [*pip, *words, "--disable-pip-version-check"]

    def _versions(self) -> dict[str, str]:
        done = subprocess.run(
            self._pip("list", "--format", "json"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=clean_environ(),
            preexec_fn=die_with_me(),
            check=False,
        )
        try:
            return {str(row["name"]): str(row["version"]) for row in json.loads(done.stdout)}
        except (ValueError, KeyError, TypeError) as error:
            raise WorkerError("The new environment does not answer.", code="not-made", cause=str(error)) from None

    def _mend(self, versions: dict[str, str]) -> dict[str, str]:
        """Without a torchvision of another build than torch's: with one every import of model classes fails."""
        local = {name: versions.get(name, "").partition("+")[2] for name in ("torch", "torchvision")}
        if versions.get("torchvision") and local["torch"] != local["torchvision"]:
            self.channel.log("torchvision was made for another build of torch: it is taken out, and nothing needs it")
            run_pip(self._pip("uninstall", "-y", "torchvision"), self.channel)
            return {name: version for name, version in versions.items() if name != "torchvision"}
        return versions

    def _look(self, versions: Mapping[str, str]) -> None:
        """Import what is needed, in the environment. Raises WorkerError with the first that fails."""
        installed = {re.sub(r"[-_.]+", "-", name).lower() for name in versions}
        lacking = [name for name in self.packages if name not in installed]
        if lacking:
            raise WorkerError(
                "The environment lacks packages that it is to hold.", code="not-made", cause=", ".join(lacking)
            )
        if not self.imports:
            return
        spec = StepSpec(worker="probe", settings={"packages": self.packages, "import": True})
        environ = {**clean_environ(), "PYTHONPATH": self.code}
        with subprocess.Popen(
            [self.python, "-m", "workbench.workers.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ,
            cwd="/",
            preexec_fn=die_with_me(),
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(spec.model_dump_json().encode() + b"\n")
                process.stdin.flush()
            messages = []
            for line in process.stdout:
                with contextlib.suppress(RubbishError):
                    messages.append(parse_message(line))
        found = next((each for each in messages if isinstance(each, Result)), None)
        if found is None:
            said = next((each.message for each in messages if isinstance(each, Error)), "it ended without an answer")
            raise WorkerError(
                "The new environment does not answer.",
                code="not-made",
                cause=said,
                hint="The end of the job's log has what it said. A retry looks again without installing anew.",
            )
        for name, problem in found.data["imports"].items():
            if problem:
                raise WorkerError(
                    f"The environment was made, but {name} cannot be imported in it.",
                    code="not-imported",
                    cause=str(problem),
                    hint=str((found.data.get("fixes") or {}).get(name) or "The log has all that was said. A retry of "
                    "the job looks again without installing anew."),
                )  # fmt: skip


def make(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Settings: folder; lists (rows of `file` and `lock`, where all versions are known, or `constraints`, where some
    are), or `requirements`, one list; wheels (a folder; empty: the package index), downloads (a folder; kept until it
    is made), index, extra_indexes, python (the base; empty: this one), packages and imports (to be looked at), code
    (the workers' files), toolchain.

    Result: folder, python, versions by distribution. The folder may hold what an earlier try left, and nothing else.
    """
    making = _Making(spec.settings, channel)
    folder = making.folder
    occupied = folder.exists() and any(folder.iterdir())
    if occupied and not (folder / _MARKER).is_file():
        raise WorkerError(
            "The folder for the environment holds something else.",
            code="output-exists",
            cause=str(folder),
            hint="Choose another name, or move it away.",
        )
    if making.wheels is not None and not any(making.wheels.glob("*.whl")):
        raise WorkerError("There are no wheels in the folder.", code="no-wheels", cause=str(making.wheels))
    before = read_record(folder)
    if before is not None and before.complete:  # by a job that was asked for the same while this one waited for it
        if not before.made_as(making.record):
            raise WorkerError(
                "There is an environment of that name, made of something else.",
                code="output-exists",
                cause=str(folder),
                hint="Choose another name, or uninstall that one.",
            )
        channel.log("it is there already, made from the same lists by the same interpreter")
        return {"folder": str(folder), "python": making.python, "versions": before.versions}
    os.umask(0o022)  # one for all users is read by all, and written by nobody else, whatever this user's mask is
    folder.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _stop)
    try:
        return making.run()
    except BadInputError as error:
        raise WorkerError(error.what, code=error.failure.code, cause=error.evidence, hint=error.fix) from None
    except _StoppedError:
        shutil.rmtree(folder, ignore_errors=True)
        kept = _kept(making.downloads)
        channel.log(f"the environment was taken away{kept}")
        raise WorkerError(f"The making was stopped{kept}.", code="cancelled") from None
    finally:
        if read_record(folder) is None:
            shutil.rmtree(folder, ignore_errors=True)


class _StoppedError(BaseException):
    """SIGTERM came: the job is being cancelled."""


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _StoppedError


def _kept(downloads: Path | None) -> str:
    size = 0
    if downloads is not None and downloads.is_dir():
        with contextlib.suppress(OSError):
            size = sum(path.stat().st_size for path in downloads.glob("*.whl"))
    return f"; {format_bytes(size)} of downloads are kept in {downloads}" if size else ""


if __name__ == "__main__":
    run_worker("environment", make)
