"""A server's folder: the one truth that its process writes and every reader follows."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from workbench.core.artifact import write_json
from workbench.core.errors import BadInputError, Failure
from workbench.core.serving import SERVING_SCHEMA, ServeSpec, ServeState
from workbench.jobs.folder import last_log_line
from workbench.jobs.lanes import is_locked

ENDED = ("stopped", "failed", "lost")
"""Statuses after which nothing comes any more."""


@dataclass(frozen=True)
class ServingFolder:
    """`spec.json`, `state.json`, `readings.jsonl`, `access.log`, `log.txt`, and a lock that the server holds while it
    lives.
    """

    path: Path

    socket_name = "control.sock"

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def spec_path(self) -> Path:
        return self.path / "spec.json"

    @property
    def state_path(self) -> Path:
        return self.path / "state.json"

    @property
    def readings_path(self) -> Path:
        return self.path / "readings.jsonl"

    @property
    def access_path(self) -> Path:
        """One line a request; no prompt text."""
        return self.path / "access.log"

    @property
    def log_path(self) -> Path:
        """Raw output of the engine's host or of the program behind the front door."""
        return self.path / "log.txt"

    @property
    def server_log_path(self) -> Path:
        """What the server's own process printed, which is nothing unless it has a fault."""
        return self.path / "server.log"

    @property
    def lock_path(self) -> Path:
        return self.path / "server.lock"

    def spec(self) -> ServeSpec:
        """Raises BadInputError when it is missing, damaged, or of a newer version."""
        try:
            found = ServeSpec.model_validate_json(self.spec_path.read_bytes())
            if found.schema_version > SERVING_SCHEMA:
                raise BadInputError(
                    f"The server {self.id} was started by a newer Engine Workbench.",
                    evidence=f"schema {found.schema_version}, this version knows {SERVING_SCHEMA}",
                    fix="Update this program.",
                    code="newer-schema",
                )
            return found
        except (OSError, ValidationError) as error:
            raise _damaged(self.spec_path, error) from error

    def raw_state(self) -> ServeState:
        """What state.json says, without asking whether the server still lives. Raises BadInputError."""
        try:
            return ServeState.model_validate_json(self.state_path.read_bytes())
        except (OSError, ValidationError) as error:
            raise _damaged(self.state_path, error) from error

    def state(self) -> ServeState:
        """The state as it really is: a server whose process is gone without a word is lost. Raises BadInputError."""
        state = self.raw_state()
        if state.status in ENDED or self.is_running():
            return state
        # It may have ended between the two looks.
        state = self.raw_state()
        return (
            state
            if state.status in ENDED
            else lost(state, self.state_path.stat().st_mtime, last_log_line(self.server_log_path))
        )

    def is_running(self) -> bool:
        """Whether its process lives: the kernel frees its lock with it."""
        return is_locked(self.lock_path)

    def write_state(self, state: ServeState) -> None:
        write_json(self.state_path, state)


@dataclass(frozen=True)
class Serving:
    """A server as a list shows it."""

    folder: ServingFolder
    spec: ServeSpec
    state: ServeState

    @property
    def id(self) -> str:
        return self.folder.id

    @property
    def running(self) -> bool:
        return self.state.status not in ENDED


def lost(state: ServeState, last_seen: float, last_line: str = "") -> ServeState:
    """The state of a server whose process is gone; `last_seen` in seconds since the epoch, `last_line` it printed."""
    return state.model_copy(
        update={
            "status": "lost",
            "step": "",
            "ended_at": last_seen,
            "failure": Failure(
                code="lost",
                what="The server's process is gone and did not say why.",
                evidence=f"it was {state.status}" + "".join(f", {text}" for text in (state.step, last_line) if text),
                fix="It was killed, or this machine was restarted. Start it again.",
            ),
        }
    )


def create(servings: Path, spec: ServeSpec) -> ServingFolder:
    """Make the folder of a new server, complete before it gets its name; the name is the spec's id."""
    building = servings / f".{spec.id}.new"
    try:
        building.mkdir(parents=True, mode=0o700)
        folder = ServingFolder(building)
        write_json(folder.spec_path, spec)
        folder.write_state(ServeState())
        for path in (folder.readings_path, folder.access_path, folder.log_path, folder.lock_path):
            path.touch(mode=0o600)
        building.rename(servings / spec.id)
    except OSError as error:
        raise BadInputError(
            f"No server's folder can be made under {servings}",
            evidence=str(error),
            fix="Free space there, or set WORKBENCH_HOME to another folder.",
            code="home-not-writable",
        ) from error
    return ServingFolder(servings / spec.id)


def new_id(now: float) -> str:
    """`20261121-193012417-3fa9`, unique and in order of time; `now` in seconds since the epoch."""
    # UTC with milliseconds: names sort by time, also within a second and when the clock is put back for winter.
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return f"{stamp}{int(now * 1000) % 1000:03d}-{secrets.token_hex(2)}"


def serving_ids(servings: Path) -> list[str]:
    """Ids of all servers, oldest first."""
    with contextlib.suppress(OSError):
        return sorted(e.name for e in os.scandir(servings) if not e.name.startswith(".") and e.is_dir())
    return []


def find(servings: Path, wanted: str) -> ServingFolder:
    """A server by id, by a unique start or end of it, by its port while it runs, or `last`. Raises BadInputError."""
    ids = serving_ids(servings)
    if wanted == "last" and ids:
        return ServingFolder(servings / ids[-1])
    hits = [wanted] if wanted in ids else _on_port(servings, ids, wanted)
    hits = hits or [i for i in ids if wanted and (i.startswith(wanted) or i.endswith(wanted))]
    if len(hits) == 1:
        return ServingFolder(servings / hits[0])
    raise BadInputError(
        f"No server is called {wanted[:80]!r}." if not hits else f"{wanted!r} fits {len(hits)} servers.",
        evidence=", ".join((hits or ids)[-5:]) or "none was started yet",
        fix="`workbench serve list` lists them; the last four characters of an id or its port are enough.",
        code="no-such-server",
    )


def _on_port(servings: Path, ids: list[str], wanted: str) -> list[str]:
    """Running servers on a port, such as `8000`."""
    if not wanted.isdigit():
        return []
    hits = []
    for each in ids:
        folder = ServingFolder(servings / each)
        with contextlib.suppress(BadInputError):
            if folder.is_running() and f":{wanted}/" in folder.raw_state().url:
                hits.append(each)
    return hits


def _damaged(path: Path, error: Exception) -> BadInputError:
    return BadInputError(
        f"The server's file cannot be read: {path}",
        evidence=str(error).splitlines()[0],
        fix="Start the server again.",
        code="bad-server",
    )
