"""Relays as jobs start them: a process, its messages as they come, and the scripted worker at the far end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from workbench.core.home import Home
from workbench.core.messages import StepSpec
from workbench.core.target import Target
from workbench.toolchains.code import staged_root

ROOT = Path(__file__).resolve().parents[2]
MODULE = "tests.fakes.scripted_worker"


def worker_code(home: Home, folder: Path) -> Path:
    """The workers' files with the scripted worker among them."""
    shutil.copytree(staged_root(home), folder)
    (folder / "tests" / "fakes").mkdir(parents=True)
    for name in ("__init__.py", "fakes/__init__.py", "fakes/scripted_worker.py", "fakes/host.py"):
        shutil.copy(ROOT / "tests" / name, folder / "tests" / name)
    return folder


class Relay:
    """A started relay. Ends when it is left as a context."""

    def __init__(self, target: Target, code: Path, spec: StepSpec, *options: str, module: str = MODULE) -> None:
        self.messages: list[dict[str, Any]] = []
        self.raw = b""
        given = ("--target", target.model_dump_json(), "--module", module, "--code", str(code), "--title", "Scripted")
        environ = {
            **os.environ,
            "WORKBENCH_REMOTE_WAIT_SECONDS": "0.2",
            "WORKBENCH_REMOTE_PATIENCE_SECONDS": "20",
            "PYTHONPATH": str(ROOT),
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "workbench.remote.relay", *given, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            start_new_session=True,
            bufsize=0,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(spec.model_dump_json().encode() + b"\n")
        self._readers = [threading.Thread(target=self._read), threading.Thread(target=self._read_raw)]
        for reader in self._readers:
            reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as out:
            rest = b""
            while data := out.read(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                self.messages.extend(json.loads(line) for line in lines)

    def _read_raw(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as out:
            while data := out.read(1 << 16):
                self.raw += data

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.end()

    def end(self, seconds: float = 60.0) -> int:
        """Wait for it; the exit code."""
        code = self.process.wait(seconds)
        assert self.process.stdin is not None
        self.process.stdin.close()
        for reader in self._readers:
            reader.join(10)
            assert not reader.is_alive()
        return code

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in list(self.messages) if message["type"] == kind]

    def logs(self) -> list[str]:
        return [message["text"] for message in self.of("log")]

    def phases(self) -> list[str]:
        return [message["name"] for message in self.of("phase")]

    def error(self) -> dict[str, Any]:
        assert len(self.of("error")) == 1, (self.messages, self.raw)
        return self.of("error")[0]


def wait_until(true: Callable[[], object], seconds: float = 30.0, words: Callable[[], object] = lambda: "") -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, words()
        time.sleep(0.02)


def scripted(*actions: list[Any], output: Path | None = None, **inputs: Path) -> StepSpec:
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    return StepSpec(
        worker="scripted",
        settings={"actions": list(actions)},
        inputs={role: str(path) for role, path in inputs.items()},
        output=str(output) if output else "",
    )


def processes_below(folder: str) -> list[psutil.Process]:
    """Processes whose working folder or words name something below a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.cwd().startswith(folder) or any(word.startswith(folder) for word in process.cmdline()):
                found.append(process)
    return found
