"""What a relay is asked to do: its command line, read."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from workbench.core.errors import BadInputError
from workbench.core.home_choice import home_from
from workbench.core.target import Target
from workbench.remote.here import HereTransport
from workbench.remote.runner import KeeperRunner, Runner
from workbench.remote.ssh import SshTransport
from workbench.remote.transport import Transport

PATIENCE_VARIABLE = "WORKBENCH_REMOTE_PATIENCE_SECONDS"
PATIENCE_SECONDS = 1800.0
"""How long a connection that was cut is tried again."""
WAIT_VARIABLE = "WORKBENCH_REMOTE_WAIT_SECONDS"
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0


@dataclass(frozen=True)
class Order:
    """See `relay.py` for the words."""

    target: Target
    module: str
    code: Path
    python: str = ""
    env: tuple[tuple[str, str], ...] = ()
    paths: tuple[Path, ...] = ()
    room_bytes: int = 0
    gpus: int | None = None
    lease_s: float = 12 * 3600.0
    title: str = ""
    host: bool = False

    @property
    def keeper_python(self) -> str:
        return self.target.python.get("default") or self.python or "python3"

    @property
    def worker_python(self) -> str:
        return self.python or self.keeper_python

    @property
    def base(self) -> str:
        """The workbench's folder there."""
        if self.target.folder:
            return self.target.folder.rstrip("/")
        if self.target.shared or self.target.kind == "here":
            return str(home_from(os.environ).root / "far")
        raise BadInputError(
            f"The target {self.target.name} names no folder.",
            evidence="folder is empty, and the home is not shared",
            fix="Name a folder there that has room, such as /scratch/you/workbench.",
            code="bad-target",
        )


def read_order(words: list[str]) -> Order:
    """The command line of a relay. Raises BadInputError for a target that is none."""
    parser = argparse.ArgumentParser("workbench.remote.relay")
    parser.add_argument("--target", required=True)
    parser.add_argument("--module", required=True)
    parser.add_argument("--code", required=True, type=Path)
    parser.add_argument("--python", default="")
    parser.add_argument("--env", action="append", default=[])
    parser.add_argument("--path", action="append", default=[], type=Path)
    parser.add_argument("--room", type=int, default=0)
    parser.add_argument("--gpus", type=int)
    parser.add_argument("--lease", type=float, default=12.0)
    parser.add_argument("--title", default="")
    parser.add_argument("--host", action="store_true")
    given = parser.parse_args(words)
    return Order(
        target=read_target(given.target),
        module=given.module,
        code=given.code,
        python=given.python,
        env=tuple((name, value) for name, _, value in (text.partition("=") for text in given.env)),
        paths=tuple(given.path),
        room_bytes=given.room,
        gpus=given.gpus,
        lease_s=given.lease * 3600.0,
        title=given.title or given.module,
        host=given.host,
    )


def read_target(text: str) -> Target:
    try:
        return Target.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise BadInputError(
            "The target cannot be read.",
            evidence=f"{'.'.join(map(str, first['loc']))}: {first['msg']}",
            code="bad-target",
        ) from None


def transport_of(target: Target) -> Transport:
    """The way to a target. Raises BadInputError for a kind that is no machine of its own."""
    if target.kind == "ssh" or (target.kind == "slurm" and target.host):
        return SshTransport(target)
    if target.kind in ("slurm", "here"):
        return HereTransport(target)
    raise BadInputError(
        f"{target.name} is a {target.kind}, and workers are started in it without a relay.", code="bad-target"
    )


def runner_of(order: Order) -> Runner:
    """Who starts runs on the target."""
    if order.target.kind == "slurm":
        from workbench.remote.slurm import SlurmRunner

        target = order.target
        if target.gpus is None and order.gpus is not None:
            target = target.model_copy(update={"gpus": order.gpus})
        return SlurmRunner(target)
    return KeeperRunner()


def seconds_of(variable: str, otherwise: float) -> float:
    try:
        return float(os.environ.get(variable, otherwise))
    except ValueError:
        return otherwise
