"""Who starts a run on the far side: its keeper at once, or a batch system when it has room."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from workbench.core.errors import Failure
from workbench.remote.far import Far


@dataclass(frozen=True)
class Request:
    """What is to run: `request.json` of the run's folder there (workers/keeper.py)."""

    argv: tuple[str, ...]
    spec: str
    """First line that the worker reads, its paths those of the far side."""
    env: dict[str, str] = field(default_factory=dict)
    title: str = ""
    owner: str = ""
    lease_s: float = 12 * 3600.0
    grace_s: float = 2.0
    """Between SIGTERM and SIGKILL there: all of a cancel must fit into the grace that a job gives the relay."""
    prune: tuple[tuple[str, float], ...] = ()
    """Folders there of whose content what was not used for so many days is taken away."""
    runs_days: float = 0.0
    """Runs beside it that are over, and at which nobody looked for so many days, are taken away; 0: they stay."""
    wrapped: bool = False
    """Another program stands between the keeper and the worker (srun, docker), which is then no child of it."""

    def to_json(self) -> dict[str, Any]:
        return {**self.__dict__, "argv": list(self.argv)}


@dataclass(frozen=True)
class Look:
    """What a batch system says of a run that has not ended by its keeper's word."""

    note: str = ""
    """How it stands, in words: `pending: Resources, for 3 min`; shown when it changes. Empty: nothing to say."""
    failure: Failure | None = None
    """It will not come to its end any more, and why."""


class Runner(Protocol):
    """How runs begin, end and are asked about. `run` is the run's folder there."""

    look_seconds: float
    """How often `look` is asked while a run waits or runs; 0: never."""

    def start(self, far: Far, run: str, request: Request) -> dict[str, Any]:
        """Begin the run unless it is there already. The keeper's status, with `started` true or false."""
        ...

    def look(self, far: Far, run: str, status: dict[str, Any]) -> Look:
        """Asked every `look_seconds` while the keeper's last word was `waiting` or `running`."""
        ...

    def ended(self, far: Far, run: str, status: dict[str, Any]) -> Look:
        """Asked once the keeper's word is `ended` (and the worker gave no result) or `lost`.

        A failure in it is told in place of ours; a note without one means that it begins again (requeued): follow on.
        Neither: our own words are used.
        """
        ...

    def stop(self, far: Far, run: str, seconds: float) -> dict[str, Any]:
        """End the run and all its processes, waiting `seconds` for it. The keeper's status; it may be `removed`."""
        ...


class KeeperRunner:
    """The keeper begins the run itself, at once."""

    look_seconds = 0.0

    def start(self, far: Far, run: str, request: Request) -> dict[str, Any]:
        return far.start(run, request.to_json())

    def look(self, far: Far, run: str, status: dict[str, Any]) -> Look:
        return Look()

    def ended(self, far: Far, run: str, status: dict[str, Any]) -> Look:
        return Look()

    def stop(self, far: Far, run: str, seconds: float) -> dict[str, Any]:
        return far.stop(run, seconds, remove=True)
