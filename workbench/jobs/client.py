"""Start, follow, cancel and retry jobs. Everything goes through the job's folder, so any process may do it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.job import JobState, reset_for_retry
from workbench.core.plan import Plan
from workbench.jobs.detach import lock_file, start_apart
from workbench.jobs.folder import EventTail, JobFolder, create, job_ids, last_log_line


def start(home: Home, plan: Plan) -> JobFolder:
    """Make the job's folder and its supervisor. The job goes on whatever becomes of this process."""
    folder = create(home.jobs, plan, time.time())
    _supervise(folder, fresh=True)
    return folder


def retry(folder: JobFolder) -> JobState:
    """Run a job again from the step that did not succeed. Raises BadInputError when there is nothing to retry."""
    state = folder.state()
    if state.status == "done":
        raise BadInputError(f"Job {folder.id} is done; there is nothing to retry.", code="job-done")
    folder.plan()
    _supervise(folder, fresh=False)
    return folder.state()


def _supervise(folder: JobFolder, *, fresh: bool) -> None:
    """Start the supervisor with the job's lock already held: there is no moment at which nobody holds it."""
    lock = os.open(folder.lock_path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if not lock_file(lock):
            raise BadInputError(
                f"Job {folder.id} is being run already.",
                fix=f"`workbench jobs log -f {folder.id}` follows it.",
                code="job-running",
            )
        if not fresh:
            folder.write_state(reset_for_retry(folder.raw_state()))
        start_apart(
            "workbench.jobs.supervisor", [str(folder.path), str(lock)], [lock], folder.path, "The job's supervisor"
        )
    finally:
        os.close(lock)


def cancel(folder: JobFolder) -> bool:
    """Ask the job to stop. False when nobody runs it (any more)."""
    if not folder.is_supervised():
        return False
    handle = os.open(folder.path, os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(5.0)
            for _ in range(100):  # a supervisor that has just been started does not listen yet
                try:
                    control.connect(f"/proc/self/fd/{handle}/{JobFolder.socket_name}")
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    if not folder.is_supervised():
                        return False
                    time.sleep(0.05)
            control.sendall(b"cancel\n")
            with contextlib.suppress(OSError):
                control.recv(16)
            return True
    except OSError:
        return False
    finally:
        os.close(handle)


def follow(
    folder: JobFolder, tail: EventTail, poll_seconds: float = 0.1
) -> Iterator[tuple[JobState, list[dict[str, Any]]]]:
    """The job's state and the events that `tail` has not given yet, until the job is over."""
    while True:
        state = folder.state()
        yield state, list(tail.read())
        if state.finished:
            return
        time.sleep(poll_seconds)


def wait(folder: JobFolder, timeout_seconds: float | None = None) -> JobState:
    """The final state of a job. Raises TimeoutError."""
    end = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while True:
        state = folder.state()
        if state.finished and not folder.is_supervised():
            return state
        if end is not None and time.monotonic() > end:
            raise TimeoutError(f"job {folder.id} is still {state.status}: {last_log_line(folder.log_path)}")
        time.sleep(0.05)


def all_jobs(home: Home) -> list[JobState]:
    """States of all jobs that can be read, oldest first."""
    states = []
    for job_id in job_ids(home.jobs):
        with contextlib.suppress(BadInputError):
            states.append(JobFolder(home.jobs / job_id).state())
    return states
