"""The supervisor of one job: `python -m workbench.jobs.supervisor JOB_FOLDER LOCK_FD`.

A detached process that runs the job's steps one after the other and writes its folder. It waits for nothing but
its own selector, so that a cancel is heard at any moment, and it is the only writer of the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import IO, Any

from workbench.core.errors import CancelledError, Failure, StepFailedError, WorkbenchError
from workbench.core.home import Home
from workbench.core.job import JobState, StepState
from workbench.core.messages import Message
from workbench.core.plan import Plan, Step
from workbench.jobs.detach import go_apart
from workbench.jobs.folder import JobFolder
from workbench.jobs.lanes import Lane, lanes_in_order
from workbench.jobs.sealing import explain_os_error
from workbench.jobs.steps import StepRunner, guards_of

_STATE_SECONDS = 0.2
_RESERVE = "reserve"
"""A file whose room is given up when the disk is full, so that the job can still say how it ended."""
_RESERVE_BYTES = 256 * 1024


class Supervisor:
    """Runs a job. `heartbeat` is the one place where it waits, writes and hears."""

    def __init__(self, folder: JobFolder, lanes: Path) -> None:
        self.folder = folder
        self.plan: Plan = folder.plan()
        self.state: JobState = folder.raw_state()
        self.lanes_folder = lanes
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.cancel_asked = False
        self.folder_error = ""
        """Why the job's own folder could not be written, the first time."""
        self._events: IO[bytes] = folder.events_path.open("ab", buffering=0)
        self._log: IO[bytes] = folder.log_path.open("ab", buffering=0)
        self._written_at = 0.0
        self._dirty = True
        self._control = self._listen()
        with contextlib.suppress(OSError):
            (folder.path / _RESERVE).write_bytes(b"\0" * _RESERVE_BYTES)

    # -- the folder

    def event(self, kind: str, step: str = "", **fields: Any) -> None:
        """Append one line to events.jsonl. `at` is seconds since the epoch."""
        line = {"type": kind, "at": time.time(), **({"step": step} if step else {}), **fields}
        self._append(self._events, json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    def pass_on(self, step: str, message: Message) -> None:
        """Append a worker's message as it came, with the step it belongs to."""
        data = message.model_dump(mode="json", exclude_none=True)
        kind = data.pop("type")
        self.event(kind, step, **{("artifact_kind" if k == "kind" else k): v for k, v in data.items()})

    def log(self, text: str) -> None:
        self._append(self._log, text.encode("utf-8", "replace") + b"\n")

    def _append(self, file: IO[bytes], data: bytes) -> None:
        """Write to a file of the job's folder. A full disk there must not end the job."""
        try:
            file.write(data)
        except OSError as error:
            self._folder_failed(error)

    def _folder_failed(self, error: OSError) -> None:
        if not self.folder_error:
            self.folder_error = str(error)
            (self.folder.path / _RESERVE).unlink(missing_ok=True)  # room for the last state

    def changed(self, *, now: bool = False) -> None:
        """The state changed; it is written at most five times a second, at once with `now`."""
        self._dirty = True
        if now or time.monotonic() - self._written_at >= _STATE_SECONDS:
            self._written_at, self._dirty = time.monotonic(), False
            try:
                self.folder.write_state(self.state)
            except OSError as error:
                self._folder_failed(error)
                with contextlib.suppress(OSError):
                    self.folder.write_state(self.state)

    # -- waiting and hearing

    def _listen(self) -> socket.socket:
        """The control socket in the job's folder, reached through a directory handle: paths may be long."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        handle = os.open(self.folder.path, os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            (self.folder.path / JobFolder.socket_name).unlink(missing_ok=True)
            listener.bind(f"/proc/self/fd/{handle}/{JobFolder.socket_name}")
        finally:
            os.close(handle)
        listener.listen(8)
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ, self._hear)
        return listener

    def _hear(self) -> None:
        with contextlib.suppress(OSError):
            peer, _ = self._control.accept()
            with peer:
                peer.settimeout(1.0)
                if peer.recv(64).strip() == b"cancel":
                    self.ask_to_cancel()
                    peer.sendall(b"ok\n")

    def ask_to_cancel(self) -> None:
        if not self.cancel_asked:
            self.cancel_asked = True
            self.event("cancel_asked")

    def heartbeat(self, seconds: float = 0.0) -> None:
        """Wait up to `seconds` for anything to happen and handle it. Raises CancelledError when asked to stop."""
        for key, _ in self.selector.select(seconds):
            if callable(key.data):
                key.data()
        if self._dirty:
            self.changed()
        if self.cancel_asked:
            raise CancelledError(
                "The job was cancelled.", fix=f"`workbench jobs retry {self.folder.id}` goes on from there."
            )

    # -- the job

    def run(self) -> None:
        """Run all steps. Never raises: what goes wrong is in the state."""
        self.state.status = "running"
        self.state.supervisor_pid = os.getpid()
        self.state.started_at = self.state.started_at or time.time()
        self.event("job", status="running", attempt=self.state.attempt, pid=os.getpid())
        self.changed(now=True)
        try:
            for step, state in zip(self.plan.steps, self.state.steps, strict=True):
                if not step.none_reason:
                    self._run_step(step, state)
            self._finish("done", None)
        except CancelledError as error:
            self._finish("cancelled", error.failure)
        except WorkbenchError as error:
            self._finish("failed", error.failure)
        except BaseException as error:
            traceback.print_exc()
            self._finish("failed", _own_fault(error, self.folder))

    def _run_step(self, step: Step, state: StepState) -> None:
        state.status = "waiting"
        state.started_at = time.time()
        self.event("step", step.id, status="waiting")
        self.changed(now=True)
        # Guards first, resources second, each in order of name: nobody who holds a resource waits for a guard, so
        # there is no circle, and a step that can be reused never waits for a busy GPU.
        guards = lanes_in_order(self.lanes_folder, guards_of(step, self.state))
        resources = lanes_in_order(self.lanes_folder, step.lanes)
        runner = StepRunner(self, step, state)
        try:
            try:
                self._take(guards, state)
                if not runner.reuse():
                    self._take(resources, state)
                    runner.run()
            except CancelledError as error:
                self._close_step(state, "cancelled", error.failure)
                raise
            except WorkbenchError as error:
                self._close_step(state, "failed", error.failure)
                raise
            except Exception as error:
                traceback.print_exc()
                failure = _own_fault(error, self.folder)
                self._close_step(state, "failed", failure)
                raise StepFailedError(
                    failure.what, evidence=failure.evidence, fix=failure.fix, code=failure.code
                ) from error
        finally:
            for lane in reversed([*guards, *resources]):
                lane.release()
        self._close_step(state, state.status, None)

    def _take(self, lanes: list[Lane], state: StepState) -> None:
        for lane in lanes:
            lane.take_ticket()
            while not lane.is_mine():
                if not state.note:
                    self.log(f"[{state.id}] waits for {lane.name}")
                state.note = f"waits for {lane.name}"
                self.changed()
                self.heartbeat(0.1)
        state.note = ""

    def _close_step(self, state: StepState, status: Any, failure: Failure | None) -> None:
        state.status = status
        state.failure = failure
        state.finished_at = time.time()
        self.event("step", state.id, status=status, note=state.note, artifact=state.artifact, **_failure_field(failure))
        self.changed(now=True)

    def _finish(self, status: Any, failure: Failure | None) -> None:
        if status == "failed" and failure is not None and self.folder_error:
            failure = failure.model_copy(
                update={"evidence": f"{failure.evidence}; the job's own folder failed: {self.folder_error}"}
            )
        self.state.status = status
        self.state.failure = failure
        self.state.finished_at = time.time()
        self.event("job", status=status, **_failure_field(failure))
        if failure is not None:
            self.log("\n".join(f"[job] {line}" for line in failure.lines()))
        self.changed(now=True)
        for name in (JobFolder.socket_name, _RESERVE):
            with contextlib.suppress(OSError):
                (self.folder.path / name).unlink(missing_ok=True)


def _failure_field(failure: Failure | None) -> dict[str, Any]:
    return {} if failure is None else {"failure": failure.model_dump()}


def _own_fault(error: BaseException, folder: JobFolder) -> Failure:
    if isinstance(error, OSError):
        return explain_os_error(error, folder.path).failure
    return Failure(
        code="supervisor-fault",
        what="The job stopped on a fault of the workbench itself.",
        evidence=f"{type(error).__name__}: {error}",
        fix=f"Please report it with {folder.supervisor_log_path}.",
    )


def main(argv: list[str]) -> int:
    """Detach, then run the job whose lock is inherited as an open file."""
    folder, lock = JobFolder(Path(argv[0]).resolve()), int(argv[1])
    if not go_apart(folder.path, lock, folder.supervisor_log_path):
        return 0
    supervisor = Supervisor(folder, Home(folder.path.parent.parent).lanes)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.ask_to_cancel())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    supervisor.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
