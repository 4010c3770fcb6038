"""Load: how fast and how long requests are sent. A run is a workload under a load."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Arrival = Literal["closed", "constant", "poisson", "trace"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Limits(_Frozen):
    """What a request must meet to count as goodput; None: no limit."""

    ttft_ms: float | None = Field(default=None, gt=0)
    itl_ms: float | None = Field(default=None, gt=0)
    latency_ms: float | None = Field(default=None, gt=0)

    @property
    def any(self) -> bool:
        return any(value is not None for value in (self.ttft_ms, self.itl_ms, self.latency_ms))


class Load(_Frozen):
    """How a workload is sent, at each of its levels."""

    arrival: Arrival = "closed"
    """closed: so many requests are always open; constant, poisson: requests a second, whatever the engine does;
    trace: at the times that the trace says."""
    levels: tuple[float, ...] = (1.0,)
    """Of closed: concurrency; of constant and poisson: requests a second; of trace: how many times faster."""
    duration_s: float | None = Field(default=None, gt=0)
    """Measured time of a point; None: by the number of requests."""
    requests: int | None = Field(default=None, ge=1)
    """Measured requests of a point. With both, whichever comes first."""
    warmup_s: float = Field(default=0.0, ge=0)
    warmup_requests: int = Field(default=0, ge=0)
    """Left out of all figures. With both, both must be over."""
    repeats: int = Field(default=1, ge=1, le=100)
    timeout_s: float = Field(default=600.0, gt=0)
    """A request that takes longer is given up and counted as failed."""
    cancel_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of requests that are aborted half-way, as people do."""
    limits: Limits = Limits()
    stop_saturated: bool = True
    """A sweep ends when a level brings less than 3 % more throughput than the one before and TTFT has doubled, or,
    open loop, when what is completed falls below 90 % of what was asked for."""
    drain_s: float = Field(default=30.0, ge=0)
    """How long requests that were begun in the measured time may go on after it."""
    seed: int = Field(default=1234, ge=0, le=2**31 - 1)

    @model_validator(mode="after")
    def _sound(self) -> Load:
        if not self.levels or min(self.levels) <= 0:
            raise ValueError("a load needs one level at least, all above 0")
        if self.arrival == "closed" and any(level != int(level) for level in self.levels):
            raise ValueError("concurrency is a whole number")
        if self.duration_s is None and self.requests is None and self.arrival != "trace":
            raise ValueError("say how long a point is measured: duration_s or requests")
        return self

    @property
    def unit(self) -> str:
        """What a level counts."""
        return {"closed": "concurrent requests", "trace": "times the trace's speed"}.get(
            self.arrival, "requests a second"
        )

    @property
    def words(self) -> str:
        """`1, 8, 32 concurrent requests, 60 s each after 10 s of warm-up, 3 repeats`."""
        levels = ", ".join(f"{level:g}" for level in self.levels)
        parts = [
            f"{self.duration_s:g} s" if self.duration_s is not None else "",
            _requests(self.requests) if self.requests is not None else "",
        ]
        each = " or ".join(part for part in parts if part) or "the whole trace"
        warm = [
            f"{self.warmup_s:g} s" if self.warmup_s else "",
            _requests(self.warmup_requests) if self.warmup_requests else "",
        ]
        after = " and ".join(part for part in warm if part)
        kind = f" ({self.arrival})" if self.arrival in ("constant", "poisson") else ""
        unit = self.unit.replace("requests", "request", 1) if self.levels == (1,) else self.unit
        return (
            f"{levels} {unit}{kind}, {each} each"
            + (f" after {after} of warm-up" if after else "")
            + (f", {self.repeats} repeats" if self.repeats > 1 else "")
        )


def _requests(count: int) -> str:
    return f"{count:,} request{'s' if count != 1 else ''}"
