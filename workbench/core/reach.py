"""Folders of a network that is gone: looking into one can wait for ever, so that is done beside, and not waited for."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PATIENCE_S = 3.0
"""A folder that is mounted when it is first looked into takes a second or two."""


@dataclass
class _Look:
    """One look into a folder, by a thread that nobody has to wait for."""

    thread: threading.Thread
    began: float = field(default_factory=time.monotonic)


_looks: dict[str, _Look] = {}
_guard = threading.Lock()


def answering(folders: Iterable[Path], seconds: float = PATIENCE_S) -> tuple[Path, ...]:
    """Those that let themselves be looked into, or say why not, within that time for all together.

    One that does not answer is not looked into again before its answer came, so it costs the time once.
    """
    wanted = tuple(dict.fromkeys(folders))
    looks = [_look_at(str(folder)) for folder in wanted]
    for look in looks:
        look.thread.join(max(look.began + seconds - time.monotonic(), 0.0))
    return tuple(folder for folder, look in zip(wanted, looks, strict=True) if not look.thread.is_alive())


def _look_at(folder: str) -> _Look:
    with _guard:
        known = _looks.get(folder)
        if known is not None and known.thread.is_alive():
            return known
        for name in [name for name, look in _looks.items() if not look.thread.is_alive()]:
            del _looks[name]
        thread = threading.Thread(target=_scan, args=(folder,), name=f"look into {folder}", daemon=True)
        thread.start()
        _looks[folder] = _Look(thread)
        return _looks[folder]


def _scan(folder: str) -> None:
    with contextlib.suppress(OSError, ValueError), os.scandir(folder) as entries:
        next(entries, None)
