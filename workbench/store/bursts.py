"""Bursts as they are kept: one JSON file each in the home, written when the last answer has ended."""

from __future__ import annotations

from pathlib import Path

from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.store.private_file import write_private

FOLDER = "bursts"


def keep_burst(home: Home, burst_id: str, text: str) -> Path:
    """Write a burst's JSON as `bursts/<id>.json` (an id begins with its time) and say where; a second time it is
    written anew.

    Raises BadInputError when it cannot be written.
    """
    path = home.root / FOLDER / f"{burst_id}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, text)
    except OSError as error:
        raise _not_written(path, error) from error
    return path


def export_burst(path: Path, text: str) -> Path:
    """Write a burst's JSON where a person wants it. Raises BadInputError when it cannot be written."""
    try:
        write_private(path, text)
    except OSError as error:
        raise _not_written(path, error) from error
    return path


def _not_written(path: Path, error: OSError) -> BadInputError:
    return BadInputError(
        "The burst could not be written.",
        evidence=f"{path}: {error.strerror or error}",
        fix="Check the folder's owner, mode and free space.",
        code="not-writable",
    )
