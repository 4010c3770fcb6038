"""Collects the wheels of a toolchain in a folder, for machines without a network. Goes on with what is there."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.messages import StepSpec
from workbench.core.wheels import Interpreter, read_pins, requirement_lines, wheels_in
from workbench.workers.protocol import Channel, WorkerError, run_worker
from workbench.workers.wheel_fetch import (
    FETCHING,
    Source,
    begin_folder,
    fetch_wheels,
    refuse_full,
    run_pip,
    write_manifest,
)


def bundle(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Settings: out (a folder), lists (rows of `file` and `lock`, where all versions are known, or `constraints`),
    more (packages beside them, without what these want), python_version, python (an interpreter of that version; for
    lists without a lock), index, extra_indexes, toolchain.

    Result: folder, wheels, bytes.
    """
    settings = spec.settings
    out = Path(str(settings["out"]))
    interpreter = Interpreter(str(settings["python_version"]))
    source = Source(str(settings.get("index") or ""), tuple(settings.get("extra_indexes") or ()))
    signal.signal(signal.SIGTERM, _stop)
    lists = list(settings["lists"])
    of = len(lists) + 1
    try:
        begin_folder(out, channel)
        facts = {
            "toolchain": str(settings.get("toolchain") or ""),
            "python_version": interpreter.version,
            "platform": "linux-x86_64",
            "complete": False,
        }
        write_manifest(out, facts)
        for number, row in enumerate(lists, 1):
            channel.phase("download", number, of)
            wanted = requirement_lines(Path(str(row["file"])))
            if row.get("lock"):
                pins = read_pins(Path(str(row["lock"])), interpreter)
                fetch_wheels(out, wanted, pins, interpreter, source, channel)
            else:
                _resolve(row, out, str(settings.get("python") or ""), source, channel)
        if more := tuple(settings.get("more") or ()):
            fetch_wheels(out, more, {}, interpreter, source, channel, alone=True)
        channel.phase("note hashes", of, of)
        write_manifest(out, {**facts, "complete": True, "made_at": int(time.time())})
    except BadInputError as error:
        raise WorkerError(error.what, code=error.failure.code, cause=error.evidence, hint=error.fix) from None
    except OSError as error:
        raise WorkerError(
            "The folder for the wheels cannot be written.",
            code="not-written",
            cause=str(error),
            hint="Check its owner, mode and free space, or give another one by --out. What is there is kept.",
        ) from None
    wheels = wheels_in(out)
    size = sum(wheel.path.stat().st_size for wheel in wheels)
    return {"folder": str(out), "wheels": len(wheels), "bytes": size}


def _resolve(row: dict[str, Any], out: Path, python: str, source: Source, channel: Channel) -> None:
    """By pip's own resolver, which must run in an interpreter of the right version."""
    fetching = out / FETCHING
    shutil.rmtree(fetching, ignore_errors=True)
    argv = [sys.executable, "-m", "pip", *(["--python", python] if python else []), "wheel", "--no-input"]
    argv += ["--disable-pip-version-check", "--progress-bar", "off", "-w", str(fetching), "--find-links", str(out)]
    if row.get("constraints"):
        argv += ["-c", str(row["constraints"])]
    error = run_pip([*argv, *source.argv, "-r", str(row["file"])], channel)
    refuse_full(error)
    if error:
        raise WorkerError(
            "The wheels could not be fetched.",
            code="download-failed",
            cause=error,
            hint="The log has all that pip said. `--extra-index` names further package indexes.",
        )
    for path in fetching.glob("*.whl"):
        path.replace(out / path.name)
    shutil.rmtree(fetching, ignore_errors=True)


def _stop(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise WorkerError("The collecting was stopped; the wheels that are there are kept.", code="cancelled")


if __name__ == "__main__":
    run_worker("bundle", bundle)
