"""Engine folders that the settings name: what stands in them is used like one's own, and never changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from workbench.core.errors import BlockedError
from workbench.core.galleries import engine_folders
from workbench.core.home import Home
from workbench.core.reach import answering


def shared_roots(home: Home) -> tuple[Path, ...]:
    """The settings' engine folders that answer, without those of the home itself; links are followed."""
    own = home.root.resolve()
    roots = dict.fromkeys(Path(os.path.realpath(folder)) for folder in answering(engine_folders(home)))
    return tuple(root for root in roots if not root.is_relative_to(own))


def silent_folders(home: Home) -> tuple[Path, ...]:
    """The settings' engine folders that do not answer now, as on a network that is gone."""
    folders = engine_folders(home)
    there = answering(folders)
    return tuple(folder for folder in folders if folder not in there)


def root_of(home: Home, folder: Path, roots: Sequence[Path] | None = None) -> str:
    """The shared root under which an artefact stands, of `roots` where they are known; "" for this user's own."""
    roots = shared_roots(home) if roots is None else roots
    if not roots or folder.is_relative_to(home.root):
        return ""
    real = Path(os.path.realpath(folder))
    if real.is_relative_to(os.path.realpath(home.root)):
        return ""
    return next((str(root) for root in roots if real.is_relative_to(root)), "")


def refuse_shared(home: Home, folder: Path, wanted: str) -> None:
    """Raise BlockedError when a folder is a shared engine's; `wanted` is what was to be done, as in "removed"."""
    if root := root_of(home, folder):
        raise BlockedError(
            f"{folder.name} is a shared engine and is not {wanted} from here.",
            evidence=f"it stands in {root}, an engine folder of the settings",
            fix="Ask who keeps that folder, or take it out of your settings: `workbench settings get folders.engines`.",
            code="shared-engine",
        )
