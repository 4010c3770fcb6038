"""What the pages share: the home, background work, notices, actions, and settings that outlive the window."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QIODevice, QObject, QSaveFile, Signal

from workbench.core.errors import Failure
from workbench.core.home import Home
from workbench.core.host import HostSpec, read_host
from workbench.core.older_file import Step, keep_older, upgraded
from workbench.ui.actions import Actions
from workbench.ui.bridge import Tasks
from workbench.ui.notices import Notices

if TYPE_CHECKING:
    from workbench.telemetry.hub import Telemetry
    from workbench.ui.models.room import EngineRoom

STATE_FILE = "window.json"
STATE_SCHEMA = 1
STATE_STEPS: Mapping[int, Step] = {}
"""Schema -> what makes its table that of the next schema; one for each below STATE_SCHEMA that users may have."""


class State(QObject):
    """Geometry, page and forms between starts: one JSON file in the home, written whole.

    One of an older schema is brought to today's, after a copy of it was kept. A file that cannot be read, is of a
    newer version, or of one that nobody knows any more is put aside, `problem` says so, and the window starts as new.
    """

    def __init__(
        self,
        path: Path,
        parent: QObject | None = None,
        *,
        schema: int = STATE_SCHEMA,
        steps: Mapping[int, Step] = STATE_STEPS,
    ) -> None:
        super().__init__(parent)
        self._path = path
        self._schema = schema
        self._data: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._written = b""
        self.problem: Failure | None = None
        try:
            content = path.read_bytes()
            data = json.loads(content)
            if not isinstance(data, dict) or not isinstance(found := data.get("schema"), int):
                raise ValueError("it holds no schema number")
            known = upgraded(data, found, schema, steps) if found <= schema else None
            if known is None:
                self._put_aside("newer" if found > schema else "older", f"schema {found}, not {schema}")
            else:
                if found < schema:
                    with contextlib.suppress(OSError):  # where no copy can be made, nothing will be written either
                        keep_older(path, content, found)
                self._data = known
        except FileNotFoundError:
            pass
        except (OSError, ValueError, RecursionError) as error:
            self._put_aside("unreadable", str(error)[:200])

    def _put_aside(self, word: str, evidence: str) -> None:
        kept = self._path.with_suffix(f".{word}.json")
        try:
            self._path.replace(kept)
            fix = f"Nothing else was lost; the file is kept as {kept.name}."
        except OSError as error:
            fix = f"It cannot be moved away either ({error.strerror}): take it away by hand."
        of = "is of another version of the program" if word != "unreadable" else "cannot be read"
        what = f"The window starts as new: what it remembered, {self._path.name}, {of}."
        self.problem = Failure(code="bad-state", what=what, evidence=f"{self._path}: {evidence}", fix=fix, exit_code=2)

    def get(self, key: str, default: Any = None) -> Any:
        return self._data.get(key, default)

    def table(self, key: str) -> dict[str, Any]:
        """A value that is a table; empty when it is absent or is something else."""
        value = self._data.get(key)
        return value if isinstance(value, dict) else {}

    def put(self, key: str, value: Any) -> None:
        """Remember a JSON value; `save` writes it."""
        self._data[key] = value

    def snapshot(self) -> bytes:
        """The file's content as it would be now. Call it on the GUI thread."""
        return json.dumps({**self._data, "schema": self._schema}, indent=1).encode()

    def save(self, content: bytes | None = None) -> bool:
        """Write the file, in any thread; a kill or a full disk in the middle leaves the old one whole."""
        content = self.snapshot() if content is None else content
        with self._lock:
            if content == self._written:
                return True
            file = QSaveFile(str(self._path))
            if not file.open(QIODevice.OpenModeFlag.WriteOnly):
                return False
            if file.write(content) != len(content):
                file.cancelWriting()
            if not file.commit():
                return False
            self._written = content
            return True


class Events(QObject):
    """What one page tells the others."""

    jobs_changed = Signal(object)
    """Frozen snapshot of the jobs (ui.models.jobs.JobRows)."""
    engines_changed = Signal(object)
    show_job = Signal(str)
    """A job's id: go to Jobs and choose it."""
    show_page = Signal(str)
    build_with = Signal(str, str)
    """Preset id and model folder (either may be empty): go to Build with them."""
    doing = Signal(str)
    """What goes on beside the jobs, in words for the status line; empty: nothing."""
    serving = Signal(str)
    """What servers do, in words for the status line; empty: none runs."""
    show_moment = Signal(float)
    """Seconds of the telemetry's clock: the monitor shows them, with its crosshair there."""
    prompt_with = Signal(str)
    """An engine's folder: go to Playground and load it."""
    bench_with = Signal(object)
    """Engine folders (a sequence of Path): go to Benchmark with them."""
    compare_with = Signal(object)
    """Folders of engines, the baseline first: go to Compare with them."""
    deploy_with = Signal(str)
    """An engine's folder: go to Deploy with it."""
    show_help = Signal(str)
    """A place of the user guide, as `page.md#heading`."""
    explain = Signal(str)
    """A failure's code: the user guide at the section about it."""
    settings_changed = Signal(str)
    """A setting's key: it was changed, or what it names was fetched."""


@dataclass
class Session:
    """Made once by the application; pages get it and nothing global."""

    home: Home
    tasks: Tasks
    notices: Notices
    actions: Actions
    state: State
    events: Events = field(default_factory=Events)
    host: HostSpec = field(default_factory=read_host)
    measuring: str = ""
    """What is being measured now, in words; empty: nothing. Two measurements at once would falsify each other."""
    _room: EngineRoom | None = None
    _telemetry: Telemetry | None = None
    _telemetry_lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def refuse_measuring(self) -> Failure | None:
        """Why nothing can be measured now; None: nothing else is."""
        if not self.measuring:
            return None
        what = f"{self.measuring} is being measured: two at once would falsify each other."
        return Failure(code="busy", what=what, fix="Wait for its end, or stop it first.")

    @property
    def telemetry(self) -> Telemetry:
        """What is sampled, and what engines report. Made when first asked for, by any thread: it brings numpy, for
        which a start has no time. The window starts and closes it."""
        with self._telemetry_lock:
            if self._telemetry is None:
                from workbench.telemetry.hub import Telemetry

                self._telemetry = Telemetry()
            return self._telemetry

    @property
    def room(self) -> EngineRoom:
        """The engines that are loaded; for the GUI thread."""
        if self._room is None:
            from workbench.ui.models.room import EngineRoom

            self._room = EngineRoom(self.home, self.tasks, lambda: self.telemetry)
        return self._room

    def close_room(self) -> None:
        """End the hosts of the engines that are loaded."""
        if self._room is not None:
            self._room.close()

    @property
    def has_telemetry(self) -> bool:
        """Whether it was made; asking makes nothing."""
        return self._telemetry is not None

    def use_telemetry(self, telemetry: Telemetry) -> None:
        """Take this one, before anybody asked: with a clock or a driver of one's own."""
        self._telemetry = telemetry
