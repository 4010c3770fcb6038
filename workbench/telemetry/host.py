"""The host's memory and CPU, and what the engines' processes hold of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from workbench.core.host import read_host

_FAMILY_AGAIN_S = 2.0
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class HostReading:
    """The host at one moment. None is "not reported"."""

    total_bytes: int
    """Installed, or the control group's limit where that is smaller."""
    used_bytes: int
    """Not to be had without taking it from somebody."""
    cache_bytes: int | None
    """Files that the kernel keeps and gives up when memory is wanted; without what counts as used."""
    swap_used_bytes: int | None
    cpu_percent: float | None
    """Of all cores, since the last reading; None the first time."""
    own_bytes: int
    """Resident memory of this process."""
    processes: dict[int, int] = field(default_factory=dict)
    """Watched process -> resident bytes of it and its children; one that ended is absent."""
    families: dict[int, tuple[int, ...]] = field(default_factory=dict)
    """Watched process -> itself and its children."""


class HostSource:
    """Reads when asked. To be used from one thread at a time; `watch` from any."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._process = psutil.Process()
        self._watched: frozenset[int] = frozenset()
        self._families: dict[int, list[psutil.Process]] = {}
        self._family_at = float("-inf")
        self._limit: int | None = None
        limit = read_host().memory_total_bytes
        if limit < psutil.virtual_memory().total:
            self._limit = limit
        self._cpu_begun = False

    def watch(self, pids: Iterable[int]) -> None:
        """Processes to count; replaces those before."""
        self._watched = frozenset(pids)

    def read(self) -> HostReading:
        """One reading: below a millisecond, some more every two seconds while processes are watched."""
        memory = psutil.virtual_memory()
        total, used, cache = memory.total, memory.total - memory.available, getattr(memory, "cached", None)
        if self._limit is not None:
            total, (used, cache) = self._limit, _group_use(used, cache, self._limit)
        swap: int | None = None
        with contextlib.suppress(OSError, RuntimeError):
            swap = int(psutil.swap_memory().used)
        cpu = psutil.cpu_percent(None)
        begun, self._cpu_begun = self._cpu_begun, True
        watched = self._watched
        self._look_for_children(watched)
        sizes: dict[int, int] = {}
        families: dict[int, tuple[int, ...]] = {}
        for pid in watched:
            family = self._families.get(pid, [])
            held = [size for process in family if (size := _resident(process)) is not None]
            if held:
                sizes[pid] = sum(held)
                families[pid] = tuple(process.pid for process in family)
        return HostReading(
            total_bytes=int(total),
            used_bytes=int(min(used, total)),
            cache_bytes=None if cache is None else max(min(int(cache), int(total - used)), 0),
            swap_used_bytes=swap,
            cpu_percent=float(cpu) if begun else None,
            own_bytes=int(self._process.memory_info().rss),
            processes=sizes,
            families=families,
        )

    def _look_for_children(self, watched: frozenset[int]) -> None:
        now = self._now()
        if watched == self._families.keys() and now - self._family_at < _FAMILY_AGAIN_S:
            return
        self._family_at = now
        families: dict[int, list[psutil.Process]] = {}
        for pid in watched:
            families[pid] = []
            with contextlib.suppress(psutil.Error, OSError):
                process = psutil.Process(pid)
                families[pid] = [process]
                families[pid] += process.children(recursive=True)
        self._families = families


def _resident(process: psutil.Process) -> int | None:
    try:
        return int(process.memory_info().rss)
    except (psutil.Error, OSError):
        return None


def _group_use(used: int, cache: int | None, limit: int) -> tuple[int, int | None]:
    """Use and file cache of this control group; the machine's where the group does not say."""
    try:
        current = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
        stat = dict(
            line.split(" ", 1) for line in (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines() if line
        )
        files = int(stat.get("inactive_file", 0)) + int(stat.get("active_file", 0))
    except (OSError, ValueError):
        return min(used, limit), cache
    return max(min(current, limit) - files, 0), files
