"""What the pages share: the home, background work, notices, actions, and settings that outlive the window."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PySide6.QtCore import QIODevice, QObject, QSaveFile, Signal

from workbench.core.home import Home
from workbench.core.host import HostSpec, read_host
from workbench.ui.actions import Actions
from workbench.ui.bridge import Tasks
from workbench.ui.notices import Notices

STATE_FILE = "window.json"
STATE_SCHEMA = 1


class State(QObject):
    """Geometry, page and forms between starts: one JSON file in the home, written whole.

    A file that cannot be read is put aside and the window starts as new.
    """

    def __init__(self, path: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._path = path
        self._data: dict[str, Any] = {}
        try:
            data = json.loads(path.read_text("utf-8"))
            if isinstance(data, dict) and data.get("schema") == STATE_SCHEMA:
                self._data = data
        except FileNotFoundError:
            pass
        except (OSError, ValueError):
            path.rename(path.with_suffix(".unreadable.json"))

    def get(self, key: str, default: Any = None) -> Any:
        return self._data.get(key, default)

    def put(self, key: str, value: Any) -> None:
        """Remember a JSON value; `save` writes it."""
        self._data[key] = value

    def save(self) -> bool:
        """Write the file; a kill in the middle leaves the old one whole."""
        file = QSaveFile(str(self._path))
        if not file.open(QIODevice.OpenModeFlag.WriteOnly):
            return False
        file.write(json.dumps({**self._data, "schema": STATE_SCHEMA}, indent=1).encode())
        return file.commit()


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
