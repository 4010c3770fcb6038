"""One request of a point, from the moment it is due until it becomes a record."""

from __future__ import annotations

import asyncio

from workbench.bench.target import Ask, Ended, Heard
from workbench.core.measure.record import RequestEnd, RequestRecord


class Flight:
    """A request under way."""

    __slots__ = (
        "due_s",
        "ended",
        "ended_s",
        "heard",
        "number",
        "prompt",
        "sent_s",
        "started",
        "task",
        "wanted",
        "warmup",
        "why",
    )

    def __init__(self, number: int, ask: Ask, heard: Heard, due_s: float | None, warmup: bool) -> None:
        self.number = number
        self.prompt = ask.prompt
        self.wanted = ask.max_tokens
        self.heard = heard
        self.due_s = due_s
        """None in closed loop: due when it is sent."""
        self.sent_s = 0.0
        self.ended_s = 0.0
        self.warmup = warmup
        self.task: asyncio.Task[None] | None = None
        self.started = False
        """Its task runs. One that does not yet is not cancelled but told, for its end would never be noted."""
        self.why: RequestEnd | None = None
        """Given up by the load generator, and why."""
        self.ended: Ended | None = None

    def give_up(self, why: RequestEnd) -> None:
        if self.why is None and self.task is not None and not self.task.done():
            self.why = why
            if self.started:
                self.task.cancel()

    @property
    def t0_s(self) -> float:
        return self.sent_s if self.due_s is None else min(self.due_s, self.sent_s)

    def record(self, origin_s: float, timeout_s: float) -> RequestRecord:
        ended = self.ended
        end: RequestEnd = ended.end if ended is not None else self.why or "abort"
        error = ended.error if ended is not None else ""
        if end == "timeout":
            error = f"no end within {timeout_s:g} s"
        source = ended.count_source if ended is not None else None
        if ended is None and self.heard.counted:
            source = self.heard.source
        drafted = ended.drafted if ended is not None else None
        return RequestRecord(
            number=self.number,
            due_s=(self.sent_s if self.due_s is None else self.due_s) - origin_s,
            sent_s=self.sent_s - origin_s,
            chunks=self.heard.chunks(origin_s),
            end=end,
            ended_s=self.ended_s - origin_s,
            prompt=self.prompt,
            input_tokens=ended.input_tokens if ended is not None else None,
            wanted_tokens=self.wanted,
            reported_tokens=ended.output_tokens if ended is not None else None,
            count_source=source,
            warmup=self.warmup,
            error=error,
            malformed=ended.malformed if ended is not None else 0,
            draft_tokens=drafted.draft_tokens if drafted is not None else None,
            accepted_tokens=drafted.accepted_tokens if drafted is not None else None,
            draft_passes=drafted.passes if drafted is not None else None,
        )
