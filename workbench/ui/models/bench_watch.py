"""Engines that a benchmark holds, in the monitor: attached when they are loaded, detached when they are gone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.core.messages import Stats
from workbench.measure.subjects import Opened

if TYPE_CHECKING:
    from workbench.telemetry.hub import Telemetry


class BenchWatch:
    """Of one run; `take` and `close` are called by the thread that measures."""

    def __init__(self, telemetry: Callable[[], Telemetry], run: int) -> None:
        self._telemetry, self._run = telemetry, run
        self._numbers = itertools.count(1)
        self._held: dict[str, Opened] = {}

    def take(self, opened: Opened) -> None:
        """An engine was loaded. Its host reports as often as the measurement asked it to."""
        telemetry, client = self._telemetry(), opened.client
        self._drop(lambda one: one.client.failure is not None)
        name = f"bench-{self._run}-{next(self._numbers)}"
        pid = client.hello.pid if client.hello is not None and not opened.subject.url else None
        track = telemetry.attach_engine(name, opened.subject.name, opened.subject.toolchain_title, pid, client.ready)
        clock = telemetry.clock

        def heard(stats: Stats) -> None:
            track.take(stats, clock.now())

        client.on_stats = heard
        self._held[name] = opened
        telemetry.mark(f"benchmark: {opened.subject.name} loaded", "engine")

    def close(self) -> None:
        """The run is over, and its engines are gone."""
        if self._held:
            self._telemetry().mark("benchmark done", "engine")
        self._drop(lambda _: True)

    def _drop(self, gone: Callable[[Opened], bool]) -> None:
        for name in [name for name, one in self._held.items() if gone(one)]:
            self._telemetry().detach_engine(name)
            del self._held[name]
