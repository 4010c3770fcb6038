"""The self-test as the window sees it: a program of its own, whose lines become rows."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from workbench.core.errors import BadInputError, StepFailedError
from workbench.core.home import HOME_VARIABLE, Home
from workbench.toolchains.code import package_root

RowState = Literal["waiting", "running", "ok", "failed", "not run"]


@dataclass(frozen=True)
class SelfTestRow:
    name: str
    title: str
    state: RowState = "waiting"
    words: str = ""
    seconds: float | None = None
    detail: str = ""
    """Evidence and fix of a failure, in lines."""


@dataclass(frozen=True)
class SelfTestView:
    rows: tuple[SelfTestRow, ...] = ()
    running: bool = False
    ok: bool | None = None
    """None: it did not come to its end."""
    text: str = ""
    """The report for people; empty until the end."""
    data: str = ""
    """The same as JSON."""

    @property
    def verdict(self) -> str:
        """The report's last line."""
        return self.text.splitlines()[-1] if self.text else ""


class SelfTestRun:
    """One run. `work` is for a thread; `view` may be read from any, `cancel` called from any."""

    def __init__(self, home: Home, options: tuple[str, ...] = ()) -> None:
        self._home = home
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self.cancelled = False
        self.view = SelfTestView(running=True)

    def work(self) -> SelfTestView:
        """Run it to its end; the last view. Raises StepFailedError when it cannot be started or says nothing."""
        with tempfile.TemporaryFile() as errors:
            with self._lock:
                if self.cancelled:
                    return self._ended()
                self._process = self._start(errors.fileno())
            assert self._process.stdout is not None
            with self._process as process, self._process.stdout as lines:
                for line in lines:
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        self._take(json.loads(line))
                status = process.wait()
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip().splitlines()
        if not self.view.text and not self.cancelled:
            self._ended()
            raise StepFailedError(
                "The self-test broke off.",
                evidence=said[-1] if said else f"exit status {status}",
                fix="Run `workbench self-test` in a terminal to see more.",
                code="self-test",
            )
        return self._ended()

    def _start(self, errors: int) -> subprocess.Popen[bytes]:
        paths = [str(package_root()), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = {
            **os.environ,
            HOME_VARIABLE: str(self._home.root),
            "PYTHONPATH": os.pathsep.join(paths),
        }
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "workbench", "self-test", "--events", *self._options],
                cwd="/",  # `-m` looks in the working folder first
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        except OSError as error:
            raise StepFailedError(
                "The self-test cannot be started.", evidence=str(error), code="not-started"
            ) from error

    def cancel(self) -> None:
        """Have it end, which takes a moment: it takes away what it made."""
        with self._lock:
            self.cancelled = True
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)

    def _ended(self) -> SelfTestView:
        rows = tuple(
            replace(row, state="not run", words="stopped") if row.state in ("waiting", "running") else row
            for row in self.view.rows
        )
        self.view = replace(self.view, rows=rows, running=False)
        return self.view

    def _take(self, event: dict[str, Any]) -> None:
        view = self.view
        if "checks" in event:
            view = replace(view, rows=tuple(SelfTestRow(name, title) for name, title in event["checks"]))
        elif "began" in event:
            view = replace(view, rows=tuple(
                replace(row, state="running") if row.name == event["began"] else row for row in view.rows
            ))  # fmt: skip
        elif "ended" in event:
            found = event["ended"]
            view = replace(view, rows=tuple(_row(found) if row.name == found["name"] else row for row in view.rows))
        elif "report" in event:
            report = event["report"]
            view = replace(
                view,
                text=event["text"],
                data=json.dumps(report, indent=2, ensure_ascii=False),
                ok=not any(found["status"] == "failed" for found in report["findings"]),
            )
        self.view = view


def _row(found: dict[str, Any]) -> SelfTestRow:
    failure = found.get("failure") or {}
    lines = [*failure.get("evidence", "").splitlines(), *([failure["fix"]] if failure.get("fix") else [])]
    return SelfTestRow(
        found["name"], found["title"], found["status"], found["words"], found["seconds"], "\n".join(lines)
    )


def save_report(path: Path, view: SelfTestView) -> Path:
    """Write the report: JSON for a name that ends so, else text. Raises BadInputError."""
    try:
        path.write_text((view.data if path.suffix == ".json" else view.text) + "\n", "utf-8")
    except OSError as error:
        raise BadInputError(
            "The report could not be written.", evidence=str(error), fix="Choose another file."
        ) from error
    return path
