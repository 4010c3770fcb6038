"""What an engine reports of itself, as a time series; what cannot be true is left out and noted."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.core.messages import Ready, Stats
from workbench.telemetry.drafts import DraftRates
from workbench.telemetry.series import Series

_BLOCKS = ("kv_blocks_used", "kv_blocks_free", "kv_blocks_reused", "kv_blocks_total", "kv_blocks_reused_since_load")
RATE_WINDOW_S = 1.0
"""Speeds are over the last second."""
MOST_GENERATION_TOK_S = 1e6
MOST_PREFILL_TOK_S = 1e8
"""A counter that runs faster is not counting tokens."""
_STATS_INTERVAL_S = 0.1
_LEAST_HOLD_S = 0.5
_LEAST_WINDOW_S = 0.2
_NOTES = 50


@dataclass(frozen=True)
class Mean:
    """Tokens a second since the engine was loaded."""

    busy_tok_s: float | None
    """Over the time in which requests were open; None when there was none."""
    all_tok_s: float | None
    """Over all the time since it was loaded."""


@dataclass(frozen=True)
class _Count:
    at: float
    tokens: int
    open: bool


class EngineTrack:
    """One loaded engine: `take` is called by the thread that hears its host, all else by any."""

    def __init__(
        self,
        id: str,
        name: str,
        toolchain: str,
        pid: int | None,
        ready: Ready | None,
        at: float,
        heard: Callable[[EngineTrack, float], None] | None = None,
    ) -> None:
        self.id = id
        self.name = name
        self.toolchain = toolchain
        self.pid = pid
        """Process id of its host; None when that is not known."""
        self.ready = ready
        self.attached_at = at
        self.detached_at: float | None = None
        self.series = Series()
        self.newest: Stats | None = None
        self.newest_at: float | None = None
        self.memory_bytes: dict[str, int] = {}
        """As it reports it: `weights`, `kv_pool`, `process` ..."""
        self._heard = heard
        self._lock = threading.Lock()
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self._counts: dict[str, deque[_Count]] = {"generation": deque(), "prefill": deque()}
        self._tokens = {"generation": 0, "prefill": 0}
        self._counted: dict[str, bool] = {"generation": False, "prefill": False}
        self._busy_s = 0.0
        self._open = False
        self._flowing = False
        self._drafts = DraftRates()

    # Writing

    def take(self, stats: Stats, at: float) -> None:
        """The host's `stats`, heard at monotonic `at`."""
        with self._lock:
            if self.detached_at is not None or (self.newest_at is not None and at <= self.newest_at):
                return
            row: dict[str, float | None] = {name: self._sound(name, getattr(stats, name, None)) for name in _BLOCKS}
            total = row["kv_blocks_total"]
            if total is None and self.ready is not None and self.ready.kv_blocks_total:
                total = row["kv_blocks_total"] = float(self.ready.kv_blocks_total)
            for name in ("kv_blocks_used", "kv_blocks_free"):
                value = row[name]
                if value is not None and total is not None and value > total:
                    self._note(f"{name} is {value:,.0f} of {total:,.0f} blocks")
                    row[name] = None
            row["requests_active"] = self._sound("requests_active", stats.requests_active)
            row["requests_queued"] = self._sound("requests_queued", stats.requests_queued)
            row["batch"] = self._sound("batch", getattr(stats, "batch", None))
            row["iteration_ms"] = self._sound("iteration_ms", stats.iteration_ms)
            was_open, before = self._open, self.newest_at
            self._open = bool((row["requests_active"] or 0) + (row["requests_queued"] or 0))
            tokens = sum(self._tokens.values())
            row["generation_tok_s"] = self._rate("generation", stats.generated_tokens, at, MOST_GENERATION_TOK_S)
            row["prefill_tok_s"] = self._rate("prefill", stats.context_tokens, at, MOST_PREFILL_TOK_S)
            row |= self._drafts.take(stats, at)
            if was_open or self._open or sum(self._tokens.values()) > tokens:
                since = at - (self.attached_at if before is None else before)
                # After a pause the first line tells of one interval of work, not of the pause.
                self._busy_s += since if was_open else min(since, _STATS_INTERVAL_S)
            self._flowing = bool(row["generation_tok_s"] or row["prefill_tok_s"])
            memory = {key: int(v) for key, v in stats.memory_bytes.items() if self._sound(key, v) is not None}
            self.memory_bytes = memory or self.memory_bytes
            self.newest, self.newest_at = stats, at
            self.series.add(at, row, self._hold(row["iteration_ms"]))
        if self._heard is not None:
            self._heard(self, at)

    def tick(self, at: float) -> None:
        """Called about once a second: an engine that went idle says nothing more, yet its speed falls to zero."""
        with self._lock:
            idle = self.newest_at is not None and not self._open and self._flowing
            if (
                not idle
                or self.newest_at is None
                or at - self.newest_at < RATE_WINDOW_S
                or self.detached_at is not None
            ):
                return
            row = {name: self.series.newest(name) for name in self.series.names}
            for name in ("generation_tok_s", "prefill_tok_s"):
                row[name] = None if row[name] is None else 0.0
            self._flowing = False
            self.series.add(at, row, math.inf)

    def detach(self, at: float) -> None:
        """The engine is gone."""
        with self._lock:
            self.detached_at = at
            self._open = False
            self.series.gap(at)

    # Reading

    @property
    def busy(self) -> bool:
        """Requests were open by the last `stats`."""
        return self._open

    @property
    def notes(self) -> tuple[str, ...]:
        """What it reported that cannot be, oldest first."""
        with self._lock:
            return tuple(self._notes)

    @property
    def drafts(self) -> bool:
        """Whether it reports guesses of speculative decoding."""
        return "acceptance" in self.series.names or "tokens_a_pass" in self.series.names

    @property
    def kv_used_share(self) -> float | None:
        """Of the KV pool, 0 to 1; None when not reported."""
        used, total = self.series.newest("kv_blocks_used"), self.series.newest("kv_blocks_total")
        return None if used is None or not total else min(used / total, 1.0)

    def silent_s(self, at: float) -> float:
        """For how long nothing was heard although requests are open; 0 when none are."""
        return max(at - self.newest_at, 0.0) if self._open and self.newest_at is not None else 0.0

    @property
    def generation_mean(self) -> Mean:
        return self._mean("generation")

    @property
    def prefill_mean(self) -> Mean:
        return self._mean("prefill")

    def mean(self, kind: str, now: float | None = None) -> Mean:
        """`generation` or `prefill`, since it was loaded until `now` (None: the last `stats`)."""
        return self._mean(kind, now)

    def _mean(self, kind: str, now: float | None = None) -> Mean:
        with self._lock:
            if not self._counted[kind] or self.newest_at is None:
                return Mean(None, None)
            tokens = self._tokens[kind]
            span = (self.newest_at if now is None else now) - self.attached_at
            return Mean(
                tokens / self._busy_s if self._busy_s > 0 else None,
                tokens / span if span > 0 else None,
            )

    # For a recording

    def record(self) -> dict[str, Any]:
        """All but the series."""
        with self._lock:
            return {
                "id": self.id,
                "name": self.name,
                "toolchain": self.toolchain,
                "pid": self.pid,
                "ready": None if self.ready is None else self.ready.model_dump(mode="json"),
                "attached_at": self.attached_at,
                "detached_at": self.detached_at,
                "newest": None if self.newest is None else self.newest.model_dump(mode="json"),
                "newest_at": self.newest_at,
                "memory_bytes": self.memory_bytes,
                "notes": list(self._notes),
                "busy_s": self._busy_s,
                "tokens": {kind: count for kind, count in self._tokens.items() if self._counted[kind]},
            }

    @classmethod
    def from_record(cls, data: Mapping[str, Any], series: Series) -> EngineTrack:
        """A track as it was. Raises KeyError, TypeError or ValueError for what `record` did not make."""
        ready = None if data["ready"] is None else Ready.model_validate(data["ready"])
        pid = None if data["pid"] is None else int(data["pid"])
        track = cls(str(data["id"]), str(data["name"]), str(data["toolchain"]), pid, ready, float(data["attached_at"]))
        track.series = series
        track.detached_at = None if data["detached_at"] is None else float(data["detached_at"])
        track.newest = None if data["newest"] is None else Stats.model_validate(data["newest"])
        track.newest_at = None if data["newest_at"] is None else float(data["newest_at"])
        track.memory_bytes = {str(key): int(size) for key, size in data["memory_bytes"].items()}
        track._notes.extend(str(note) for note in data["notes"])
        track._busy_s = float(data["busy_s"])
        for kind, count in data["tokens"].items():
            track._tokens[kind], track._counted[kind] = int(count), True
        return track

    # Inside, locked

    def _sound(self, name: str, value: float | None) -> float | None:
        if value is None:
            return None
        if not math.isfinite(value) or value < 0:
            self._note(f"{name} is {value:g}")
            return None
        return float(value)

    def _note(self, text: str) -> None:
        text = f"The engine reported what cannot be: {text}; it is not shown."
        if not self._notes or self._notes[-1] != text:
            self._notes.append(text)

    def _hold(self, iteration_ms: float | None) -> float:
        """When the next `stats` is due. While requests are open one comes after each iteration, however long."""
        if not self._open:
            return math.inf
        return max(_STATS_INTERVAL_S, _LEAST_HOLD_S, 2 * (iteration_ms or 0.0) / 1000)

    def _rate(self, kind: str, counter: int | None, at: float, most: float) -> float | None:
        """Tokens a second over the last second, from a counter that only grows."""
        counts = self._counts[kind]
        if counter is None or counter < 0:
            if counter is not None:
                self._note(f"{kind} counter is {counter:,}")
            return None
        last = counts[-1] if counts else None
        if last is None and not self._counted[kind]:
            last = _Count(self.attached_at, 0, False)
            if 0 < counter <= most * max(at - self.attached_at, _STATS_INTERVAL_S):
                counts.append(last)
        self._counted[kind] = True
        new = _Count(at, counter, self._open)
        if last is not None:
            step, seconds = counter - last.tokens, max(at - last.at, 1e-3)
            if step < 0 or step > most * seconds:
                way = "went back" if step < 0 else "jumped"
                self._note(f"{kind} counter {way} from {last.tokens:,} to {counter:,}")
                counts.clear()
                counts.append(new)
                return None
            self._tokens[kind] += step
        counts.append(new)
        start = at - RATE_WINDOW_S
        while len(counts) > 2 and counts[1].at <= start:
            counts.popleft()
        first = counts[0]
        if first.at > start:
            seconds = at - first.at
            if not self._open and counter == first.tokens:
                return 0.0  # it has nothing to do, and says so
            return (counter - first.tokens) / seconds if seconds >= _LEAST_WINDOW_S else None
        before = 0.0
        if len(counts) > 1 and first.open:  # the counter ran on between two lines; when idle it stood still
            second = counts[1]
            before = (second.tokens - first.tokens) * (start - first.at) / (second.at - first.at)
        return max(counter - first.tokens - before, 0.0) / RATE_WINDOW_S
