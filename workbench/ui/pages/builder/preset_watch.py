"""Looks out for presets that are written by another program while the window is open."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QFileSystemWatcher, QObject, QTimer, Signal

_SETTLE_MS = 300
"""An editor writes in several moves; they count as one change."""


class PresetWatch(QObject):
    """Watches the person's folder of presets and the chosen preset's own file."""

    changed = Signal()

    def __init__(self, folder: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._folder, self._source = folder, ""
        self._watcher = QFileSystemWatcher(self)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE_MS)
        self._watcher.fileChanged.connect(lambda _: self._settle.start())
        self._watcher.directoryChanged.connect(lambda _: self._settle.start())
        self._settle.timeout.connect(self._say)

    def look(self, source: Path | None = None) -> None:
        """Watch `source` (the one before when it is None), and the folder once it is there."""
        self._source = str(source) if source is not None else self._source
        wanted = {str(self._folder)} if self._folder.is_dir() else set()
        if self._source:
            wanted.add(self._source)
        now = {*self._watcher.files(), *self._watcher.directories()}
        if now - wanted:
            self._watcher.removePaths(sorted(now - wanted))
        if wanted - now:
            self._watcher.addPaths(sorted(wanted - now))

    def stop(self) -> None:
        """Watch nothing more."""
        if paths := [*self._watcher.files(), *self._watcher.directories()]:
            self._watcher.removePaths(paths)
        self._settle.stop()

    def _say(self) -> None:
        self.look()  # a file that was replaced is another one; from now on, and then it is read
        self.changed.emit()
