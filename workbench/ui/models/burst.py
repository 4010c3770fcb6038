"""The burst that is under way: looked at five times a second while it runs, kept when it ends."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from workbench.core.answer import EngineRef
from workbench.core.errors import Failure, WorkbenchError
from workbench.core.messages import Sampling
from workbench.jobs.burst import Burst, BurstRow, BurstSummary, Prompt
from workbench.store.bursts import export_burst, keep_burst
from workbench.ui.models.loading import LoadedEngine
from workbench.ui.session import Session

LOOK_MS = 200
_log = logging.getLogger("workbench.ui")


@dataclass(frozen=True)
class BurstSnapshot:
    """A burst as it is shown."""

    id: str
    source: str
    """Where its prompts are from, in words."""
    given: int
    """Prompts that there were; those over the number of rows were not sent."""
    max_tokens: int
    engine: str
    rows: tuple[BurstRow, ...]
    summary: BurstSummary
    running: bool
    kept: Path | None = None
    """Where it is kept, once it is."""

    @property
    def title(self) -> str:
        return f"Burst \u00d7{self.summary.total}"


class BurstModel(QObject):
    """One burst at a time; methods are for the GUI thread and never wait.

    Signals: `changed` (BurstSnapshot, or None when it was put away), `ended` (BurstSnapshot: all answers have ended),
    `refused` (Failure: nothing was sent).
    """

    changed = Signal(object)
    ended = Signal(object)
    refused = Signal(object)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._burst: Burst | None = None
        self._engine = ""
        self._running = False
        self._kept: Path | None = None
        self._unkept: list[Burst] = []
        """Those that have ended and are not written yet."""
        self.snapshot: BurstSnapshot | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(LOOK_MS)
        self._timer.timeout.connect(self.look)

    @property
    def running(self) -> bool:
        return self._running

    def start(
        self,
        engine: LoadedEngine,
        prompts: Sequence[str | Prompt],
        count: int,
        *,
        sampling: Sampling | None = None,
        system: str = "",
        chat: bool = True,
        source: str = "this message",
    ) -> bool:
        """Send `count` requests; whether they are on their way. A burst that still runs is not replaced."""
        if self._running:
            fix = "Stop it first, or wait for its end."
            self.refused.emit(Failure(code="burst-runs", what="A burst is under way.", fix=fix))
            return False
        facts = engine.facts
        ref = EngineRef(name=engine.name, toolchain=facts.toolchain_title, precision=facts.precision, key=facts.key)
        try:
            burst = Burst(engine.client, prompts, count, sampling, system, chat, source, ref)
        except WorkbenchError as error:
            self.refused.emit(error.failure)
            return False
        self._burst, self._engine, self._running, self._kept = burst, engine.name, True, None
        self._session.telemetry.mark(f"burst \u00d7{count}", "burst")
        self._session.tasks.run(burst.start, None, self._session.notices.fail)
        self._timer.start()
        self.look()
        return True

    def stop(self) -> None:
        """Abort what is open; what came stays."""
        if self._burst is not None and self._running:
            self._burst.stop()

    def clear(self) -> None:
        """Put an ended burst away; it stays in the home."""
        if not self._running and self._burst is not None:
            self._burst = self.snapshot = None
            self.changed.emit(None)

    def look(self) -> None:
        """Show what has come."""
        burst = self._burst
        if burst is None:
            return
        self._show(burst)
        if self._running and self.snapshot is not None and self.snapshot.summary.ended:
            self._running = False
            self._timer.stop()
            self._unkept.append(burst)
            self._session.telemetry.mark("burst done", "burst")
            self._session.tasks.run(
                partial(self._keep, burst), partial(self._say_kept, burst), self._session.notices.fail
            )
            self._show(burst)
            self.ended.emit(self.snapshot)

    def export(self, path: Path) -> None:
        """Write the burst, with its raw timings, as JSON; of one that runs, what has come."""
        burst = self._burst
        if burst is not None:
            said = partial(self._session.notices.say, "ok", "The burst was exported.", str(path))
            self._session.tasks.run(
                lambda: export_burst(path, burst.to_json()), lambda _: said(), self._session.notices.fail
            )

    def close(self) -> None:
        """The window closes: end what runs and write it, since nothing that took time may be lost."""
        self._timer.stop()
        if self._running and self._burst is not None:
            self._burst.stop()
            self._unkept.append(self._burst)
        self._running = False
        for burst in self._unkept:
            try:
                self._keep(burst)
            except WorkbenchError as error:
                _log.error("the burst is lost: %s", error)
        self._unkept.clear()

    def _show(self, burst: Burst) -> None:
        rows = burst.rows()
        self.snapshot = BurstSnapshot(
            burst.id,
            burst.source,
            burst.given,
            burst.sampling.max_tokens,
            self._engine,
            rows,
            burst.summary(rows),
            self._running,
            self._kept,
        )
        self.changed.emit(self.snapshot)

    def _keep(self, burst: Burst) -> Path:
        return keep_burst(self._session.home, burst.id, burst.to_json())

    def _say_kept(self, burst: Burst, path: Path) -> None:
        if burst in self._unkept:
            self._unkept.remove(burst)
        if burst is self._burst:
            self._kept = path
            self._show(burst)
