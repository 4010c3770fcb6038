"""Exports of an engine in the window: made and checked in the background while a person types, then written once."""

from __future__ import annotations

import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PySide6.QtCore import QObject, QTimer, Signal

from workbench.core.deploy.export import Check, Export
from workbench.core.deploy.facts import read_engine_facts
from workbench.core.deploy.triton.baseline import subjects_of
from workbench.core.errors import Failure
from workbench.core.home import Home
from workbench.core.measure.run_file import load_head
from workbench.deploy.write import total_bytes, write_export
from workbench.measure.kept import Kept, kept_results
from workbench.ui.session import Session

_TYPING_MS = 250
_TELL_S = 0.1


@dataclass(frozen=True)
class FileRow:
    """One file of an export. `text` None: it is copied from `source`."""

    path: str
    bytes: int
    text: str | None = None
    source: Path | None = None
    executable: bool = False


@dataclass(frozen=True)
class ExportView:
    """An export before it is written, as it is shown."""

    export: Export
    files: tuple[FileRow, ...]
    total_bytes: int

    @property
    def failed(self) -> tuple[Check, ...]:
        return self.export.failed

    @property
    def said(self) -> tuple[Check, ...]:
        """Checks that did not hold and yet do not block."""
        return tuple(check for check in self.export.checks if not check.ok and not check.blocks)

    @property
    def state(self) -> tuple[str, str]:
        """Words and kind of chip."""
        checks, failed, said = len(self.export.checks), len(self.failed), len(self.said)
        if failed:
            return f"{failed} of {checks} check{'s' if checks > 1 else ''} failed", "err"
        if said:
            return f"{checks - said} of {checks} checks passed", "warn"
        if not checks:
            return "nothing was checked", "plain"
        return f"all {checks} checks passed" if checks > 1 else "1 check passed", "ok"


@dataclass(frozen=True)
class Written:
    """An export that was written."""

    folder: Path
    export: Export
    bytes: int

    @property
    def commands(self) -> tuple[str, ...]:
        """What to run next, as lines for a shell."""
        return (shlex.join(("cd", str(self.folder))), *(shlex.join(argv) for argv in self.export.commands))


def view_of(export: Export) -> ExportView:
    """Its files in the order of their paths."""
    files = [FileRow(one.path, len(one.text.encode()), one.text, None, one.executable) for one in export.texts]
    files += [FileRow(one.path, one.bytes, None, one.source) for one in export.copies]
    return ExportView(export, tuple(sorted(files, key=lambda file: file.path)), total_bytes(export))


def runs_of(home: Home, engine: Path) -> list[Kept]:
    """Kept benchmark runs that measured the engine, newest first. Reads a small file of each. Raises BadInputError."""
    facts = read_engine_facts(engine, allow_missing=True)
    return [
        kept for kept in kept_results(home, "bench") if not kept.problem and subjects_of(load_head(kept.folder), facts)
    ]


class Exporting(QObject):
    """One kind of export. `looked` gives an ExportView, `refused` a Failure of what cannot be exported at all;
    `progressed` bytes done and in all, `written` a Written, `failed` a Failure of writing."""

    looked = Signal(object)
    refused = Signal(object)
    running_changed = Signal(bool)
    progressed = Signal(object, object)
    written = Signal(object)
    failed = Signal(object)

    def __init__(self, session: Session, kind: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session, self.kind = session, kind
        self._make: Callable[[], Export] | None = None
        self._stop: threading.Event | None = None
        self.view: ExportView | None = None
        self.looking = False
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_TYPING_MS)
        self._timer.timeout.connect(self._look)

    @property
    def running(self) -> bool:
        return self._stop is not None

    def look(self, make: Callable[[], Export] | None, *, soon: bool = True) -> None:
        """Make and check it anew; `make` runs in the background. None: there is nothing to be made now."""
        self._make = make
        self.view = None
        self.looking = make is not None
        if make is None:
            self._timer.stop()
        elif soon:
            self._timer.start()
        else:
            self._look()

    def _look(self) -> None:
        make = self._make
        if make is not None:
            self._timer.stop()
            self._session.tasks.run(
                lambda: view_of(make()), partial(self._take, make), self._refuse, key=f"deploy.{self.kind}"
            )

    def _take(self, make: Callable[[], Export], view: ExportView) -> None:
        if make is self._make:
            self.view, self.looking = view, False
            self.looked.emit(view)

    def _refuse(self, failure: Failure) -> None:
        if self._make is not None:
            self.view, self.looking = None, False
            self.refused.emit(failure)

    def write(self, out: Path, *, link: bool) -> None:
        """Write what was looked at last."""
        view = self.view
        if view is None or self.running:
            return
        self._stop = stop = threading.Event()
        self.running_changed.emit(True)
        told = [0.0]

        def tell(done: int, of: int) -> None:
            now = time.monotonic()
            if done >= of or now - told[0] >= _TELL_S:
                told[0] = now
                self.progressed.emit(done, of)  # queued: it is another thread's

        def work() -> Written:
            folder = write_export(view.export, out, link=link, on_progress=tell, stop=stop)
            return Written(folder, view.export, view.total_bytes)

        self._session.tasks.run(work, self._done, self._fail)

    def cancel(self) -> None:
        """Stop writing; nothing of it is left."""
        if self._stop is not None:
            self._stop.set()

    def _done(self, result: Written) -> None:
        self._end()
        self.written.emit(result)

    def _fail(self, failure: Failure) -> None:
        self._end()
        self.failed.emit(failure)

    def _end(self) -> None:
        self._stop = None
        self.running_changed.emit(False)

    def close(self) -> None:
        """The window closes."""
        self._timer.stop()
        self.cancel()
