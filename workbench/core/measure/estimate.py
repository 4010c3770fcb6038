"""A measured value with how sure it is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Estimate(BaseModel):
    """A value with its 95 % interval where one can be given; `n` is what it was made of (requests, positions ...)."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="null")

    value: float
    low: float | None = None
    high: float | None = None
    stderr: float | None = None
    n: int = 0

    @property
    def has_interval(self) -> bool:
        return self.low is not None and self.high is not None
