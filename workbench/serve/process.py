"""The process of one server: the front door, what is behind it, and the only writer of the server's folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
import traceback
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.errors import CancelledError, Failure, WorkbenchError
from workbench.core.home import Home
from workbench.core.messages import Log, Message, Phase, Progress
from workbench.core.serving import ServeReading, ServeSpec, ServeState
from workbench.jobs.detach import go_apart
from workbench.jobs.engine import EngineClient, HostCommand
from workbench.serve.folder import ServingFolder
from workbench.serve.ports import bind, shown_url
from workbench.serve.readings import BoundedLines, bound_log, line_of

_STATE_S = 0.2
_READING_S = 1.0
_PROBLEMS = 50
_LOAD_S = 3600.0
_CLOSE_S = 12.0
_ACCESS_BYTES = 32 * 2**20


@dataclass
class _Behind:
    """What is loaded: an engine host, or the worker that runs another program."""

    client: EngineClient
    backend: Any
    forwards: bool


class Server:
    """Runs a server from its folder. All but loading happens in one event loop."""

    def __init__(self, folder: ServingFolder, key: str | None) -> None:
        self._folder = folder
        self._home = Home(folder.path.parent.parent)
        self._key = key
        self._spec: ServeSpec = folder.spec()
        self._state = ServeState(status="starting", step="starts", pid=os.getpid(), started_at=time.time())
        self._problems: deque[str] = deque(maxlen=_PROBLEMS)
        self._standing: tuple[str, ...] = ()
        """What is so as long as it runs."""
        self._written_at = 0.0
        self._later: asyncio.TimerHandle | None = None
        self._stop_loading = threading.Event()
        self._stopping: asyncio.Event
        self._now = False
        self._door: Any = None
        self._draining: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop
        self._access = BoundedLines(folder.access_path, most_lines=10**9, most_bytes=_ACCESS_BYTES)
        self._readings = BoundedLines(folder.readings_path)

    # -- the folder

    def _say(self, *, now: bool = False, **changes: Any) -> None:
        """The state changed; it is written at most five times a second, at once with `now`."""
        self._state = self._state.model_copy(update=changes)
        wait_s = _STATE_S - (time.monotonic() - self._written_at)
        if now or wait_s <= 0:
            self._write_state()
        elif self._later is None:
            self._later = self._loop.call_later(wait_s, self._write_state)

    def _write_state(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._written_at = time.monotonic()
        with contextlib.suppress(OSError):  # a full disk there must not end the server
            self._folder.write_state(self._state)

    def _problem(self, words: str) -> None:
        self._problems.append(f"{time.strftime('%H:%M:%S')} {words}"[:500])

    def _note_access(self, line: str) -> None:
        self._access.write(line.encode("utf-8", "replace"))

    # -- the life of it

    async def run(self) -> Failure | None:
        """Serve until asked to stop, or until what is behind is gone; why, None when it was asked."""
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._ask_to_stop, False)
        control = await self._listen_for_control()
        behind: _Behind | None = None
        ticking: asyncio.Task[None] | None = None
        failure: Failure | None = None
        try:
            from workbench.serve.door import FrontDoor

            spec = self._spec
            self._door = FrontDoor(
                model=spec.model,
                host=spec.host,
                limits=spec.limits,
                key=self._key,
                access=self._note_access,
                on_problem=self._problem,
            )
            listener = bind(spec.host, spec.port, listen=True)
            port = listener.getsockname()[1]
            await self._door.open(listener)
            self._say(now=True, url=f"{shown_url(spec.host, port)}/v1", step="loads the engine")
            ticking = self._loop.create_task(self._tick())
            behind = await self._load()
            self._door.attach(behind.backend)
            self._say(
                now=True,
                status="ready",
                step="",
                ready_at=time.time(),
                program=behind.backend.program,
                problems=self._all_problems(),
            )
            failure = await self._serve()
        except CancelledError:
            pass  # asked to stop while it loaded
        except WorkbenchError as error:
            failure = error.failure
        except Exception as error:
            traceback.print_exc()
            failure = _own_fault(error, self._folder)
        finally:
            failure = await self._end(behind, ticking, failure)
            control.close()
            with contextlib.suppress(OSError):
                (self._folder.path / ServingFolder.socket_name).unlink(missing_ok=True)
        return failure

    async def _load(self) -> _Behind:
        """Load in a thread: the loop answers 503 meanwhile, and hears a stop."""
        loading = self._loop.run_in_executor(None, self._start_behind)
        stopping = self._loop.create_task(self._stopping.wait())
        either: list[asyncio.Future[Any]] = [loading, stopping]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                self._stop_loading.set()
            client, url = await loading
        finally:
            stopping.cancel()
        if self._stopping.is_set():
            await self._loop.run_in_executor(None, client.close)
            raise CancelledError("Asked to stop while it loaded.", code="load-stopped")
        return self._backend(client, url)

    def _start_behind(self) -> tuple[EngineClient, str]:
        """In a thread: the engine's host, or the program; its URL where it is a program."""
        from workbench.serve.plans import plan_of, program_command

        plan = plan_of(self._home, Path(self._spec.engine), self._spec.overrides, os.environ)
        plan.check()
        self._from_thread(toolchain=plan.start.provenance.toolchain)
        if plan.has_own_server:
            made = program_command(self._home, plan, self._folder.path, self._spec.model)
            self._from_thread(argv=made.program.argv)
            return self._start_client(made.command), made.url
        return self._start_client(plan.host_command(self._home)), ""

    def _start_client(self, command: HostCommand) -> EngineClient:
        return EngineClient.start(
            command, self._folder.log_path, self._on_load, timeout_s=_LOAD_S, stop=self._stop_loading
        )

    def _backend(self, client: EngineClient, url: str) -> _Behind:
        from workbench.serve.engine_backend import EngineBackend
        from workbench.serve.forward import HttpForwarder

        if not url:
            return _Behind(client, EngineBackend(client), forwards=False)
        program = client.ready.settings.get("program", "trtllm-serve")
        if self._key is not None:
            # It has neither a key nor a socket file that rights could keep others from.
            self._standing = (
                f"{program} behind this door listens on {url.removeprefix('http://')} and knows no key: other users of "
                "this machine can ask it past the door.",
            )
        return _Behind(client, HttpForwarder(client, url, program), forwards=True)

    def _on_load(self, message: Message) -> None:
        """From the client's thread, while it loads."""
        if isinstance(message, Phase):
            self._from_thread(step=message.name)
        elif isinstance(message, Progress) and message.total:
            self._from_thread(step=f"loads the engine, {100 * message.done / message.total:.0f} %")
        elif isinstance(message, Log) and message.level == "warning":
            self._loop.call_soon_threadsafe(self._problem, message.text[:300])

    def _from_thread(self, **changes: Any) -> None:
        self._loop.call_soon_threadsafe(lambda: self._say(**changes))

    async def _serve(self) -> Failure | None:
        """Until asked to stop (None) or what is behind is gone (why)."""
        stopping = self._loop.create_task(self._stopping.wait())
        gone = self._loop.create_task(self._door.failed())
        try:
            await asyncio.wait([stopping, gone], return_when=asyncio.FIRST_COMPLETED)
            return gone.result() if gone.done() else None
        finally:
            for task in (stopping, gone):
                task.cancel()

    async def _end(
        self, behind: _Behind | None, ticking: asyncio.Task[None] | None, failure: Failure | None
    ) -> Failure | None:
        """Drain, end what is behind, and write how it ended. Never raises."""
        try:
            if self._door is not None and self._state.url:
                self._say(now=True, status="draining" if failure is None else self._state.status, step="drains")
                self._draining = self._loop.create_task(self._door.drain(now=self._now or failure is not None))
                await self._draining
            if behind is not None:
                if behind.forwards:
                    await behind.backend.close()
                await self._loop.run_in_executor(None, behind.client.close, _CLOSE_S)
        except Exception as error:
            traceback.print_exc()
            failure = failure or _own_fault(error, self._folder)
        if ticking is not None:
            ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticking
            self._read_once()
        self._readings.close()
        self._access.close()
        self._say(
            now=True,
            status="stopped" if failure is None else "failed",
            step="",
            ended_at=time.time(),
            failure=failure,
            problems=self._all_problems(),
        )
        return failure

    # -- readings

    async def _tick(self) -> None:
        """The state five times a second where it changes, a reading each second."""
        due = self._loop.time()
        while True:
            due += _READING_S
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            self._read_once()
            with contextlib.suppress(OSError):
                bound_log(self._folder.log_path)
                bound_log(self._folder.server_log_path)

    def _read_once(self) -> None:
        try:
            reading: ServeReading = self._door.reading()
            self._readings.write(line_of(reading))
            self._say(reading=reading, problems=self._all_problems())
        except Exception:  # a figure that cannot be told must not end the server
            traceback.print_exc()

    def _all_problems(self) -> tuple[str, ...]:
        """The last refusals and failures, and what of the folder could not be written."""
        unwritten = self._readings.problem or self._access.problem
        standing = (*self._standing, *([f"not all of its records could be written: {unwritten}"] if unwritten else ()))
        return (*list(self._problems)[len(standing) - _PROBLEMS :], *standing)

    # -- control

    async def _listen_for_control(self) -> asyncio.AbstractServer:
        """The control socket in the folder, reached through a directory handle: paths may be long."""
        path = self._folder.path / ServingFolder.socket_name
        path.unlink(missing_ok=True)
        handle = os.open(self._folder.path, os.O_DIRECTORY | os.O_CLOEXEC)
        mask = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(self._hear, f"/proc/self/fd/{handle}/{ServingFolder.socket_name}")
        finally:
            os.umask(mask)
            os.close(handle)

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError, ValueError):
            word = (await asyncio.wait_for(reader.readline(), 2.0)).strip()
            if word in (b"stop", b"stop-now"):
                self._ask_to_stop(word == b"stop-now")
                writer.write(b"ok\n")
                await asyncio.wait_for(writer.drain(), 2.0)
        writer.close()

    def _ask_to_stop(self, now: bool) -> None:
        """A second ask, or one with `now`, cuts the drain short."""
        again = self._stopping.is_set()
        self._now = self._now or now or again
        self._stopping.set()
        self._stop_loading.set()
        if self._now and self._draining is not None and not self._draining.done():
            self._cut = self._loop.create_task(self._door.drain(now=True))


def _own_fault(error: BaseException, folder: ServingFolder) -> Failure:
    return Failure(
        code="server-fault",
        what="The server stopped on a fault of the workbench itself.",
        evidence=f"{type(error).__name__}: {error}",
        fix=f"Please report it with {folder.server_log_path}.",
    )


def _read_key(handle: int) -> str | None:
    with os.fdopen(handle, "rb") as pipe:
        return pipe.read().decode("ascii") or None


def main(argv: list[str]) -> int:
    """Take the key from its pipe, detach, serve."""
    folder, lock, key = ServingFolder(Path(argv[0]).resolve()), int(argv[1]), _read_key(int(argv[2]))
    if not go_apart(folder.path, lock, folder.server_log_path):
        return 0
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        failure = asyncio.run(Server(folder, key).run())
    except Exception as error:
        traceback.print_exc()
        failure = error.failure if isinstance(error, WorkbenchError) else _own_fault(error, folder)
        folder.write_state(ServeState(status="failed", ended_at=time.time(), failure=failure))
    return 0 if failure is None else failure.exit_code
