"""The engine of a chat on the command line: loaded with progress, asked, stopped, and loaded again."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from workbench.cli.chat_lines import Interrupts
from workbench.cli.context import Context
from workbench.core.answer import AnswerRecord, EngineRef
from workbench.core.conversation import Conversation
from workbench.core.errors import CancelledError, Failure, StepFailedError, WorkbenchError
from workbench.core.messages import Finished, Message, Phase, Progress, Ready, Sampling, Stats, Tokens
from workbench.core.units import format_duration
from workbench.jobs.engine import EngineClient, Event, Generation, HostCommand
from workbench.toolchains.room_check import held_bytes, refuse_without_room
from workbench.toolchains.running import EngineStart, engine_start

_STATS_S = 0.05
_LOOK_S = 0.05
"""How soon a Ctrl+C reaches the engine at the latest."""
_STOP_S = 10.0
"""An engine that has not stopped an answer by then is ended."""


class ChatEngine:
    """One engine folder, loaded or not. Methods are for the main thread."""

    def __init__(self, context: Context, path: Path, overrides: list[str], interrupts: Interrupts) -> None:
        self.path = path
        self.overrides = list(overrides)
        self.ref = EngineRef(name=path.name)
        self._context, self._interrupts = context, interrupts
        self._client: EngineClient | None = None
        self._start: EngineStart | None = None
        """Of the engine that was loaded last."""
        self._lock = threading.Lock()
        self._kv_most: int | None = None

    @property
    def ready(self) -> Ready | None:
        """What the host told when it was loaded; None while nothing is."""
        return self._client.ready if self._client is not None and self._client.failure is None else None

    @property
    def stats(self) -> Stats | None:
        return self._client.stats if self._client is not None else None

    def load(self, more: Sequence[str] = ()) -> None:
        """Load it, or load it again with `more` settings than before. What is loaded goes only when the settings are
        known to be good and there is room; when the new host fails all the same, the settings before are loaded again.

        Raises BadInputError, BlockedError, StepFailedError, and CancelledError after Ctrl+C.
        """
        before = self._start if self.ready is not None else None
        wanted = [*self.overrides, *more]
        start = engine_start(self._context.home, self.path, wanted, os.environ)
        given_back = 0
        if self._client is not None and before is not None and before.on_gpu == start.on_gpu:
            given_back = held_bytes(self._client.hello, self._client.stats, on_gpu=start.on_gpu)
        refuse_without_room(start, given_back_bytes=given_back)
        self.close()
        try:
            self._load(start)
        except CancelledError as error:
            if before is None:
                raise
            raise CancelledError(
                f"{error.what} No engine is loaded now; /reload loads it.", code=error.failure.code
            ) from error
        except WorkbenchError as error:
            if before is None:
                raise
            raise self._load_before(before, error.failure) from error
        self.overrides = wanted

    def _load_before(self, before: EngineStart, failure: Failure) -> StepFailedError:
        """Load what was loaded before a reload failed; the failure with what became of that."""
        try:
            self._load(before)
            fix = "The engine is loaded again with the settings before."
        except WorkbenchError as error:
            fix = f"With the settings before it could not be loaded again either ({error.what}); /reload tries again."
        return StepFailedError(failure.what, evidence=failure.evidence, fix=fix, code=failure.code)

    def _load(self, start: EngineStart) -> None:
        provenance = start.provenance
        self.ref = EngineRef(
            name=start.name,
            toolchain=start.toolchain_title,
            precision=provenance.precision,
            key=provenance.key,
        )
        command = HostCommand(
            argv=start.start.argv, env=start.start.env, cwd=str(self._context.home.root), spec=start.start.spec
        )
        with self._context.err.status("Loading the engine …") as status:

            def on_load(message: Message) -> None:
                if isinstance(message, Phase):
                    status.update(f"Loading the engine … {message.name}")
                elif isinstance(message, Progress) and message.total:
                    status.update(f"Loading the engine … {100 * message.done / message.total:.0f} %")

            log = self._context.home.logs / "engine-host.txt"
            stop = self._interrupts.event()
            self._client = EngineClient.start(command, log, on_load, on_stats=self._take_stats, stop=stop)
            self._start = start

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def words(self) -> str:
        """What is loaded, for the first line of a chat."""
        ready = self.ready
        if ready is None:
            return f"{self.ref.words}, not loaded"
        parts = [
            f"{self.ref.words} loaded" + (f" in {format_duration(ready.load_seconds)}" if ready.load_seconds else "")
        ]
        if (longest := ready.limits.get("max_seq_len")) is not None:
            parts.append(f"sequences of up to {longest:,} tokens")
        if ready.kv_blocks_total is not None:
            size = f" of {ready.kv_block_tokens} tokens" if ready.kv_block_tokens is not None else ""
            parts.append(f"{ready.kv_blocks_total:,} KV blocks{size}")
        return "; ".join(parts)

    def ask(self, conversation: Conversation, sampling: Sampling) -> Asked:
        """Send what is shown of a conversation. Raises BadInputError, StepFailedError when nothing is loaded."""
        if self._client is None:
            raise StepFailedError("No engine is loaded.", fix="/reload loads it.", code="not-loaded")
        if (gone := self._client.failure) is not None:
            raise StepFailedError(
                gone.what, evidence=gone.evidence, fix="/reload loads the engine again.", code=gone.code
            )
        raw = conversation.mode == "raw"
        with self._lock:
            self._kv_most = None
        self._interrupts.pressed = 0
        self._client.set_stats_interval(_STATS_S)
        generation = self._client.submit(
            messages=None if raw else conversation.messages(),
            prompt=conversation.prompt() if raw else None,
            sampling=sampling,
        )
        return Asked(self, self._client, generation, self._interrupts)

    def kv_used(self) -> int | None:
        """The most KV blocks in use since the last question; None when not reported.

        Nor are zeros: an answer needs a block, so it was over before the engine reported for the first time.
        """
        with self._lock:
            return self._kv_most or None

    def _take_stats(self, stats: Stats) -> None:
        if stats.kv_blocks_used is not None:
            with self._lock:
                self._kv_most = max(self._kv_most or 0, stats.kv_blocks_used)


class Asked:
    """An answer under way."""

    def __init__(
        self, engine: ChatEngine, client: EngineClient, generation: Generation, interrupts: Interrupts
    ) -> None:
        self._engine, self._client, self._generation, self._interrupts = engine, client, generation, interrupts
        self._events: list[Event] = []
        self.stuck = False
        """The engine did not stop when asked to, and was ended."""

    def texts(self) -> Iterator[str]:
        """New text as it comes, until the answer ends. Ctrl+C stops the answer; a second one ends an engine that
        does not stop.
        """
        asked_at: float | None = None
        while True:
            event = self._generation.event(len(self._events), _LOOK_S)
            if event is not None:
                self._events.append(event)
                if isinstance(event, Finished):
                    break
                if event.text:
                    yield event.text
            if self._interrupts.pressed and asked_at is None:
                asked_at = time.monotonic()
                self._generation.abort()
            waited = time.monotonic() - asked_at if asked_at is not None else 0.0
            if event is None and waited and not self.stuck and (self._interrupts.pressed > 1 or waited > _STOP_S):
                self.stuck = True
                self._client.close(grace_s=0.0)
        with contextlib.suppress(WorkbenchError):
            self._client.set_stats_interval(0)

    def record(self) -> AnswerRecord:
        """What came, with its timings; of an answer that is not over, as if it had been stopped."""
        failure: Failure | None = None
        over = bool(self._events) and isinstance(self._events[-1], Finished)
        if over:
            failure = self._generation.result(0.0).failure
        else:
            self._generation.abort()
        events = [event for event in self._events if isinstance(event, Tokens)]
        ended = [self._events[-1]] if over and not self.stuck else [Finished(request="", reason="abort")]
        return AnswerRecord.from_events(
            [*events, *ended],
            t0_s=self._generation.t0_s,
            chunks=self._generation.chunks,
            sampling=self._generation.sampling,
            engine=self._engine.ref,
            failure=None if self.stuck else failure,
            kv_blocks_used=self._engine.kv_used(),
            kv_blocks_total=self._client.ready.kv_blocks_total,
        )
