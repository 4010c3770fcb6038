"""One worker process: its own process group, JSON lines in and out, raw output straight into the log file."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from workbench.core.errors import BadInputError, StepFailedError
from workbench.core.messages import MAX_LINE_BYTES, Hello, Message, RubbishError, StepSpec, parse_message
from workbench.jobs.outcome import Outcome, count_oom_kills, outcome_of_status

PARENT_VARIABLE = "WORKBENCH_PARENT_PID"
_BANNER_LINES = 50
"""Lines that are no messages and may come before `hello`: ssh and container tools print banners."""


class WorkerProcess:
    """A started worker. The thread that makes it must outlive it: the kernel's death signal follows that thread.

    Raises BadInputError when the program cannot be started at all.
    """

    def __init__(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: Path, spec: StepSpec, log_path: Path, title: str
    ) -> None:
        self.title = title
        self._rest = b""
        self._greeted = False
        self._banner_lines = 0
        self._oom_kills_before = count_oom_kills()
        self._cpu_seconds = 0.0
        self._alive_at = time.monotonic()
        try:
            with log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=cwd,
                    env={**os.environ, **env, PARENT_VARIABLE: str(os.getpid()), "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,
                )
        except OSError as error:
            raise BadInputError(
                f"{title} could not be started.",
                evidence=f"{argv[0] if argv else 'no program'}: {error}",
                fix="`workbench doctor` says which interpreters are found.",
                code="not-started",
            ) from error
        assert self._process.stdin is not None and self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        os.set_blocking(self._stdout.fileno(), False)
        self.pid = self._process.pid
        self.exit_handle = os.pidfd_open(self.pid)
        # A worker that dies before it reads shows by its exit, not by a broken pipe here.
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(spec.model_dump_json().encode() + b"\n")
            self._stdin.flush()

    @property
    def output_handle(self) -> int:
        return self._stdout.fileno()

    def read(self) -> Iterator[Message | str]:
        """Messages that have come, never waiting; a string is a line that is no message, before `hello`.

        Raises StepFailedError when the stream cannot be trusted: rubbish after `hello`, or a line over the limit.
        """
        while True:
            try:
                chunk = os.read(self.output_handle, 1 << 20)
            except (BlockingIOError, InterruptedError):
                break
            if not chunk:
                break
            self._alive_at = time.monotonic()
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                if len(line) > MAX_LINE_BYTES:
                    raise self._too_long(len(line))
                if line.strip():
                    yield self._parse(line)
            if len(self._rest) > MAX_LINE_BYTES:
                raise self._too_long(len(self._rest))

    def _too_long(self, size: int) -> StepFailedError:
        return StepFailedError(
            f"{self.title} sent a line that is too long.",
            evidence=f"{size:,} bytes or more; the limit is {MAX_LINE_BYTES:,}",
            fix="This is a fault of the worker. The job's log has its output.",
            code="line-too-long",
        )

    def _parse(self, line: bytes) -> Message | str:
        try:
            message = parse_message(line)
        except RubbishError as error:
            self._banner_lines += 1
            if self._greeted or self._banner_lines > _BANNER_LINES:
                raise StepFailedError(
                    f"{self.title} printed something that is not a message on its protocol stream.",
                    evidence=str(error),
                    fix="This is a fault of the worker or of what starts it. The job's log has its output.",
                    code="rubbish",
                ) from error
            return line.decode("utf-8", "replace")
        self._greeted = self._greeted or isinstance(message, Hello)
        return message

    def idle_seconds(self) -> float:
        """How long neither a message came nor the worker or its children used processor time or did I/O."""
        used = 0.0
        with contextlib.suppress(psutil.Error):
            me = psutil.Process(self.pid)
            for process in [me, *me.children(recursive=True)]:
                with contextlib.suppress(psutil.Error, AttributeError):
                    times, counters = process.cpu_times(), process.io_counters()
                    used += times.user + times.system + (counters.read_chars + counters.write_chars) / 1e6
        # Waking up now and then is not work: a stuck runtime's heartbeat thread uses a few milliseconds.
        if abs(used - self._cpu_seconds) > 0.2:
            self._cpu_seconds, self._alive_at = used, time.monotonic()
        return time.monotonic() - self._alive_at

    def has_ended(self) -> bool:
        """Whether the process itself is over; its children may still live until `end()`."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def ask_to_stop(self) -> None:
        """SIGTERM to the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)

    def end(self) -> Outcome:
        """Kill whatever is left of the group, reap it, and say how the worker ended. Idempotent."""
        if self._process.returncode is None:
            # The zombie keeps its number until it is reaped, so the group cannot be somebody else's.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            os.close(self.exit_handle)
            with contextlib.suppress(OSError):
                self._stdin.close()
            self._stdout.close()
        return outcome_of_status(self._process.returncode, count_oom_kills() - self._oom_kills_before)


def kill_orphans(rounds: int = 100) -> None:
    """End whatever a worker left outside its own group: as the subreaper, this process is its parent now.

    Children of a killed process come here only once it is dead, so it takes more than one look.
    """
    for _ in range(rounds):
        children = psutil.Process().children(recursive=True)
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.send_signal(signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not children:
            return
        time.sleep(0.01)
