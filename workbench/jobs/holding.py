"""Holding an artefact's folder while it is removed or moved: no job may read or make it meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.jobs.lanes import Lane


@contextlib.contextmanager
def held_artifact(home: Home, folder: Path, key: str, timeout_seconds: float = 0.5) -> Iterator[None]:
    """Hold the lanes of an artefact. Raises BadInputError when a job is using it."""
    lanes = [Lane(home.lanes, name) for name in (f"path:{folder}", f"artifact:{key}")]
    try:
        if not all(lane.acquire(timeout_seconds=timeout_seconds) for lane in lanes):
            raise BadInputError(
                f"A job is using {folder}.", fix="Wait for it, or cancel it: `workbench jobs`.", code="in-use"
            )
        yield
    finally:
        for lane in lanes:
            lane.release()
