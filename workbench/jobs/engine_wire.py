"""The process and the pipes under an engine client: nothing a host does, or does not do, may block the
client.

Two threads: one starts the host, listens to it and reaps it; one writes commands, so that a host that does
not read holds up nobody.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.core.errors import Failure, StepFailedError
from workbench.core.messages import MAX_LINE_BYTES, Message, RubbishError, StepSpec, Tokens, parse_message
from workbench.jobs.outcome import Advice, count_oom_kills, explain, outcome_of_status

PARENT_VARIABLE = "WORKBENCH_PARENT_PID"
TITLE = "The engine host"
_ADVICE = Advice(
    again="Load the engine again.",
    with_less="Close other programs, or load a smaller engine or one with a smaller KV cache.",
    log="The engine's log",
)
_RUBBISH_LINES = 1000
_RUBBISH_BYTES = 2**20
_LOGGED_RUBBISH_LINES = 50
_UNREAD_BYTES = 64 * 2**20
"""Commands that may wait for a host that does not read."""
_READ_BYTES = 2**18
_TAIL_BYTES = 8192


class HostCommand(BaseModel):
    """How a host is started."""

    model_config = ConfigDict(frozen=True)

    argv: tuple[str, ...]
    env: dict[str, str] = Field(default_factory=dict)
    """Added to this process's environment."""
    cwd: str | None = None
    spec: StepSpec


class HostWords(Exception):
    """The client ends the host, for the reason in `failure`."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what)
        self.failure = failure


class HostProcess:
    """A host and its pipes.

    `on_message` gets every message with the monotonic time it was read; `on_quiet` the seconds since the last
    one, about once a second; either may raise HostWords to end the host. `on_end` is called once, last, with
    the words of whoever ended it (or None) and the exit in words.
    """

    def __init__(
        self,
        command: HostCommand,
        log_path: Path,
        on_message: Callable[[Message, float], None],
        on_quiet: Callable[[float], None],
        on_end: Callable[[Failure | None, Failure], None],
    ) -> None:
        self._command = command
        self._log_path = log_path
        self._on_message, self._on_quiet, self._on_end = on_message, on_quiet, on_end
        self._process: subprocess.Popen[bytes] | None = None
        self._words: Failure | None = None
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._unread_bytes = 0
        self._count_lock = threading.Lock()
        self._signal_lock = threading.Lock()
        self._started = threading.Event()
        self._over = threading.Event()
        self._pieces: list[bytes] = []
        self._piece_bytes = 0
        self._rubbish_lines = 0
        self._rubbish_bytes = 0
        self._log_start = 0
        self._notes: set[bytes] = set()
        self.heard_s = time.monotonic()

    # From any thread

    def start(self) -> None:
        """Start the host. How it went is told to `on_end` when it could not be started."""
        threading.Thread(target=self._keep, name="engine-host", daemon=True).start()
        self._started.wait()

    def send(self, line: bytes) -> None:
        """Queue a command line. Raises StepFailedError when too much waits for a host that does not read."""
        with self._count_lock:
            if self._unread_bytes + len(line) > _UNREAD_BYTES:
                raise StepFailedError(
                    "The engine host does not read its commands.",
                    evidence=f"{self._unread_bytes:,} bytes wait for it",
                    fix="Load the engine again.",
                    code="hung",
                )
            self._unread_bytes += len(line)
        self._outgoing.put(line)

    def send_end(self) -> None:
        """Close the host's standard input after what is queued."""
        self._outgoing.put(None)

    def end_with(self, words: HostWords) -> None:
        """Kill the host for a reason."""
        self._words = self._words or words.failure
        self._signal(signal.SIGKILL)

    def stop(self, grace_s: float) -> None:
        """Wait `grace_s` for the host to end, then SIGTERM to its group, then SIGKILL; returns when it is
        gone.
        """
        if not self._started.is_set() or self._over.wait(grace_s):
            return
        self._signal(signal.SIGTERM)
        if not self._over.wait(min(grace_s, 2.0)):
            self._signal(signal.SIGKILL)
            self._over.wait(10.0)

    def wait(self, timeout_s: float) -> bool:
        return self._over.wait(timeout_s)

    def note(self, text: str) -> None:
        """A line of the client's own in the raw log."""
        line = text.replace("\n", " ")[:2000].encode("utf-8", "replace")
        self._notes.add(line.strip())
        with contextlib.suppress(OSError), self._log_path.open("ab") as log:
            log.write(line + b"\n")

    def last_line_shown(self) -> str:
        """`; last output: ...`, or nothing when the host printed nothing."""
        lines = self._last_lines()
        return f"; last output: {lines}" if lines else ""

    # The listening thread

    def _keep(self) -> None:
        oom_kills = count_oom_kills()
        try:
            with self._log_path.open("ab") as log:
                self._log_start = log.tell()
                process = subprocess.Popen(
                    list(self._command.argv),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self._command.cwd,
                    env={
                        **os.environ,
                        **self._command.env,
                        PARENT_VARIABLE: str(os.getpid()),
                        "PYTHONUNBUFFERED": "1",
                    },
                    start_new_session=True,
                    bufsize=0,
                )
        except (OSError, ValueError, IndexError) as error:
            name = self._command.argv[0] if self._command.argv else "no program"
            self._over.set()
            self._started.set()
            self._on_end(
                Failure(
                    code="not-started",
                    what=f"{TITLE} could not be started.",
                    evidence=f"{name}: {error}",
                    fix="`workbench doctor` says which interpreters are found.",
                ),
                Failure(code="not-started", what=f"{TITLE} could not be started."),
            )
            return
        self._process = process
        self.send(self._command.spec.model_dump_json().encode() + b"\n")
        threading.Thread(target=self._write, args=(process,), name="engine-commands", daemon=True).start()
        self._started.set()
        try:
            self._listen(process)
        except HostWords as words:
            self.end_with(words)
        finally:
            self._reap(process, oom_kills)

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        out = process.stdout.fileno()
        os.set_blocking(out, False)
        exit_handle = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(out, select.POLLIN)
            poll.register(exit_handle, select.POLLIN)
            while True:
                ready = {handle for handle, _ in poll.poll(1000)}
                if out in ready and not self._read(out):
                    poll.unregister(out)  # it closed its output; its exit is awaited below
                    if not select.select([exit_handle], [], [], 5.0)[0]:
                        raise HostWords(
                            Failure(code="no-output", what=f"{TITLE} closed its protocol stream and lives on.")
                        )
                if exit_handle in ready or out not in ready:
                    if select.select([exit_handle], [], [], 0)[0]:
                        self._drain(out)
                        return
                    self._on_quiet(time.monotonic() - self.heard_s)
        finally:
            os.close(exit_handle)

    def _drain(self, out: int) -> None:
        """What a host that is gone left in the pipe; its children may hold the pipe open, so no end of file
        is awaited.
        """
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline and select.select([out], [], [], 0)[0]:
            if not self._read(out):
                return

    def _read(self, out: int) -> bool:
        """Read once and hand on whole lines. False at end of file."""
        try:
            data = os.read(out, _READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        now = self.heard_s = time.monotonic()
        *lines, rest = data.split(b"\n")
        if lines:
            if self._pieces:
                lines[0] = b"".join([*self._pieces, lines[0]])
                self._pieces.clear()
                self._piece_bytes = 0
            for line in lines:
                self._line(line, now)
        if rest:
            self._pieces.append(rest)
            self._piece_bytes += len(rest)
            if self._piece_bytes > MAX_LINE_BYTES:
                raise self._too_long(self._piece_bytes)
        return True

    def _line(self, line: bytes, now_s: float) -> None:
        if len(line) > MAX_LINE_BYTES:
            raise self._too_long(len(line))
        if not line.strip():
            return
        if b'"type":"tokens"' in line:
            # Nine lines in ten; three times as fast as finding out the type, and strict all the same.
            with contextlib.suppress(ValidationError):
                self._on_message(Tokens.model_validate_json(line), now_s)
                return
        try:
            message = parse_message(line)
        except RubbishError as error:
            self._rubbish(line, error)
            return
        self._on_message(message, now_s)

    def _rubbish(self, line: bytes, error: RubbishError) -> None:
        self._rubbish_lines += 1
        self._rubbish_bytes += len(line)
        if self._rubbish_lines <= _LOGGED_RUBBISH_LINES:
            self.note(f"[client] not a message on the protocol stream: {error}")
        if self._rubbish_lines > _RUBBISH_LINES or self._rubbish_bytes > _RUBBISH_BYTES:
            raise HostWords(
                Failure(
                    code="rubbish",
                    what=f"{TITLE} prints lines that are not messages on its protocol stream and was ended.",
                    evidence=f"{self._rubbish_lines:,} lines, {self._rubbish_bytes:,} bytes; last: {error}",
                    fix="This is a fault of the host or of what starts it; its log has the first lines.",
                )
            )

    @staticmethod
    def _too_long(size: int) -> HostWords:
        return HostWords(
            Failure(
                code="line-too-long",
                what=f"{TITLE} sent a line that is too long and was ended.",
                evidence=f"{size:,} bytes or more; the limit is {MAX_LINE_BYTES:,}",
                fix="This is a fault of the host; its log may say more.",
            )
        )

    def _reap(self, process: subprocess.Popen[bytes], oom_kills: int) -> None:
        # Until it is reaped the zombie keeps its number, so the group is still this one.
        self._signal(signal.SIGKILL)
        with self._signal_lock:
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._outgoing.put(None)
        outcome = outcome_of_status(process.returncode, count_oom_kills() - oom_kills)
        try:
            self._on_end(self._words, explain(outcome, TITLE, self._last_lines(), _ADVICE))
        finally:
            self._over.set()

    def _signal(self, number: int) -> None:
        with self._signal_lock:
            process = self._process
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)

    def _last_lines(self, count: int = 3) -> str:
        """The last lines the host itself printed, joined by ` / `."""
        try:
            with self._log_path.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                lines = [line.strip() for line in log.read().splitlines()]
        except OSError:
            return ""
        own = [line for line in lines if line and line not in self._notes]
        return " / ".join(line.decode("utf-8", "replace")[:300] for line in own[-count:])

    # The writing thread

    def _write(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        handle = process.stdin.fileno()
        with contextlib.suppress(OSError):
            while (line := self._outgoing.get()) is not None:
                view = memoryview(line)
                while view:
                    view = view[os.write(handle, view) :]
                with self._count_lock:
                    self._unread_bytes -= len(line)
        with contextlib.suppress(OSError):
            process.stdin.close()
