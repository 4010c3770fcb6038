"""What may end a request from outside while it is answered: its client leaves, its time is over, the server stops."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Literal

Reason = Literal["gone", "timeout", "drain"]


class Leash:
    """A context around the answering of one request: the task in it is cancelled once, with the `reason` told here."""

    def __init__(self, receive: Callable[[], Awaitable[MutableMapping[str, Any]]], longest_s: float) -> None:
        self._receive = receive
        self._longest_s = longest_s
        self._task: asyncio.Task[Any] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.reason: Reason | None = None

    def __enter__(self) -> Leash:
        loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._watcher = loop.create_task(self._watch())
        self._timer = loop.call_later(self._longest_s, self.pull, "timeout")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()

    def pull(self, reason: Reason) -> None:
        """Cancel the request, unless it has ended."""
        if self._task is not None and self.reason is None:
            self.reason = reason
            self._task.cancel()

    def let_go(self) -> None:
        """Nothing ends the request from outside any more."""
        self._task = None
        if self._watcher is not None:
            self._watcher.cancel()
        if self._timer is not None:
            self._timer.cancel()

    async def _watch(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.pull("gone")
