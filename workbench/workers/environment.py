"""Makes a Python environment for a toolchain: `python -m venv`, then `pip install -r` into it.

It is made in the folder where it stays, since environments cannot be moved; a failure takes it away again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from workbench.core.messages import StepSpec
from workbench.workers.protocol import Channel, WorkerError, die_with_me, run_worker

_OUTSIDE = ("PYTHONPATH", "PYTHONHOME", "PIP_REQUIRE_VIRTUALENV", "PIP_USER", "PIP_TARGET")
"""Variables of the workbench's own interpreter that would put packages, or find them, in another place."""
_MARKER = "pyvenv.cfg"


def make(spec: StepSpec, channel: Channel) -> dict[str, Any]:
    """Settings: folder, requirements (a file), wheels (a folder; empty: the configured package index), python.

    Result: folder, python, versions by distribution. The folder may hold what an earlier try left, and nothing else.
    """
    folder, requirements = Path(str(spec.settings["folder"])), Path(str(spec.settings["requirements"]))
    wheels = str(spec.settings.get("wheels") or "")
    base = str(spec.settings.get("python") or sys.executable)
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARKER).is_file():
        raise WorkerError(
            "The folder for the environment holds something else.",
            code="output-exists",
            cause=str(folder),
            hint="Choose another name, or move it away.",
        )
    if wheels and not any(Path(wheels).glob("*.whl")):
        raise WorkerError("There are no wheels in the folder.", code="no-wheels", cause=wheels)
    folder.parent.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _stop)  # a cancelled job leaves no half of an environment
    channel.phase("make environment", 1, 3)
    try:
        _run([base, "-m", "venv", "--clear", str(folder)], "The environment could not be made.", channel)
        python = str(folder / "bin" / "python")
        channel.phase("install", 2, 3)
        _run(_install(python, requirements, wheels), "The packages could not be installed.", channel)
        channel.phase("look at it", 3, 3)
        versions = _versions(python)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return {"folder": str(folder), "python": python, "versions": versions}


def _stop(number: int, frame: FrameType | None) -> None:
    raise WorkerError("The making was stopped.", code="cancelled")


def _install(python: str, requirements: Path, wheels: str) -> list[str]:
    argv = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    if wheels:
        argv += ["--no-index", "--find-links", wheels]
    return [*argv, "-r", str(requirements)]


def _run(argv: list[str], failed: str, channel: Channel) -> None:
    """Run a program whose output goes to the job's log. Raises WorkerError."""
    channel.log("$ " + " ".join(argv))
    environ = {name: value for name, value in os.environ.items() if name not in _OUTSIDE}
    with subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environ,
        preexec_fn=die_with_me(),
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        errors = ""
        for line in process.stdout:
            text = line.rstrip()
            if text:
                print(text, file=sys.stderr, flush=True)
            if text.startswith("ERROR:") and not errors:
                errors = text
    if process.returncode != 0:
        raise WorkerError(
            failed,
            code="not-made",
            cause=errors or f"{argv[0]} ended with {process.returncode}",
            hint="The log has all that it said. Without a network, give a folder that holds the wheels.",
        )


def _versions(python: str) -> dict[str, str]:
    done = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in _OUTSIDE},
        preexec_fn=die_with_me(),
        check=False,
    )
    try:
        return {str(row["name"]): str(row["version"]) for row in json.loads(done.stdout)}
    except (ValueError, KeyError, TypeError) as error:
        raise WorkerError("The new environment does not answer.", code="not-made", cause=str(error)) from None


if __name__ == "__main__":
    run_worker("environment", make)
