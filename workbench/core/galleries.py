"""Where presets, models and engines are looked for: the user's folders, those of the settings, and what ships."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from workbench.core.home import Home
from workbench.core.preset import gallery_folders
from workbench.core.reach import answering
from workbench.core.settings import GIT_PREFIXES, expand_folder, load_settings

_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_MOST_ENTRIES = 1000
"""Of one folder; a wrong one may hold millions."""
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


@dataclass(frozen=True)
class PresetRepository:
    """A Git repository of presets, as the settings name it, and the folder that it is kept in."""

    entry: str
    """As written in the settings."""
    address: str
    """What git is given: without `git+` and the branch."""
    branch: str
    """"" for the repository's own."""
    folder: Path


def preset_repository(home: Home, entry: str) -> PresetRepository | None:
    """The repository that an entry of folders.presets names; None when it is a folder."""
    if not entry.startswith(GIT_PREFIXES):
        return None
    address, branch = entry.removeprefix("git+"), ""
    # An @ before the last slash belongs to the address: git+ssh://git@host/team/presets.git@branch
    path_at = address.find("/", address.find("://") + 3)
    at = address.rfind("@")
    if path_at > 0 and at > path_at:
        address, branch = address[:at], address[at + 1 :]
    name = re.sub(r"[^\w.-]+", "-", address.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git"))[:40].strip(".-")
    digest = hashlib.sha256(entry.encode()).hexdigest()[:12]
    return PresetRepository(entry, address, branch, home.cache / "presets" / f"{name or 'presets'}-{digest}")


def preset_repositories(home: Home, environ: Mapping[str, str] | None = None) -> tuple[PresetRepository, ...]:
    """The Git repositories among the settings' preset folders, fetched or not."""
    found = (preset_repository(home, entry) for entry in load_settings(home, environ).values.folders.presets)
    return tuple(repository for repository in found if repository is not None)


def preset_folders(home: Home, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Where presets are, the first one wins: the user's, the settings' folders and repositories, the shipped ones.

    The presets of a repository are in its folder `presets` where it has one, else at its top. A folder that does not
    answer is left out.
    """
    found = [home.presets]
    named = [
        repository.folder if (repository := preset_repository(home, entry)) else expand_folder(entry)
        for entry in load_settings(home, environ).values.folders.presets
    ]
    for folder in answering(named):
        inner = folder / "presets"
        # Of os.path, which says no where this user may not look; pathlib raises.
        found.append(inner if os.path.exists(folder / ".git") and os.path.isdir(inner) else folder)  # noqa: PTH110, PTH112
    return tuple(dict.fromkeys([*found, *gallery_folders()]))


def commit_of(folder: Path) -> str:
    """The commit that a Git checkout stands at, read from its files; "" for other folders.

    Git itself refuses to look into folders of other users, and shared ones are.
    """
    with contextlib.suppress(OSError, ValueError):
        git = folder / ".git"
        if git.is_file():  # a worktree
            git = folder / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if _COMMIT.fullmatch(head):
            return head
        name = head.removeprefix("ref:").strip()
        common = git / "commondir"
        roots = [git, *([git / common.read_text(encoding="utf-8").strip()] if common.is_file() else [])]
        for root in roots:
            if (root / name).is_file():
                found = (root / name).read_text(encoding="utf-8").strip()
                return found if _COMMIT.fullmatch(found) else ""  # a HEAD may name any file
            packed = root / "packed-refs"
            for line in packed.read_text(encoding="utf-8").splitlines() if packed.is_file() else ():
                if line.endswith(f" {name}"):
                    return line.partition(" ")[0]
    return ""


def model_folders(home: Home, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Folders that hold shared model folders, by the settings."""
    return tuple(dict.fromkeys(expand_folder(text) for text in load_settings(home, environ).values.folders.models))


@dataclass(frozen=True)
class SharedModel:
    """A model folder below a shared one. `name` is what it can be asked for by."""

    name: str
    path: Path


def shared_models(home: Home, environ: Mapping[str, str] | None = None) -> tuple[SharedModel, ...]:
    """What the shared folders hold, by name; the first folder that has a name wins. Reads disks, maybe of a network;
    a folder that does not answer is left out.

    A folder counts that has a config.json: at NAME, at ORGANISATION/NAME, or in a Hugging Face cache.
    """
    found: dict[str, Path] = {}
    for root in answering(model_folders(home, environ)):
        for entry in islice(subfolders(root), _MOST_ENTRIES):
            if entry.name.startswith("models--"):
                if (snapshot := _snapshot_of(entry)) is not None:
                    found.setdefault(entry.name.removeprefix("models--").replace("--", "/"), snapshot)
            elif _is_model(entry):
                found.setdefault(entry.name, entry)
            else:
                for inner in islice(subfolders(entry), _MOST_ENTRIES):
                    if _is_model(inner):
                        found.setdefault(f"{entry.name}/{inner.name}", inner)
    return tuple(SharedModel(name, found[name]) for name in sorted(found, key=str.casefold))


def shared_model(home: Home, name: str, environ: Mapping[str, str] | None = None) -> Path | None:
    """The shared folder of that name; None when there is none, or when the name is the path of something here."""
    if not _MODEL_NAME.fullmatch(name) or os.path.lexists(name):
        return None
    for root in answering(model_folders(home, environ)):
        with contextlib.suppress(OSError):
            if (root / name / "config.json").is_file():
                return root / name
            if "/" in name and (snapshot := _snapshot_of(root / f"models--{name.replace('/', '--')}")) is not None:
                return snapshot
    return None


def _is_model(folder: Path) -> bool:
    with contextlib.suppress(OSError):  # another user's, closed to this one
        return (folder / "config.json").is_file()
    return False


def subfolders(folder: Path) -> Iterator[Path]:
    """Folders in a folder by name, without hidden ones; none where it cannot be read."""
    entries: list[os.DirEntry[str]] = []
    with contextlib.suppress(OSError):
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    for entry in entries:
        with contextlib.suppress(OSError):  # a link to where this user may not look; the others count
            if not entry.name.startswith(".") and entry.is_dir():
                yield Path(entry.path)


def _snapshot_of(cached: Path) -> Path | None:
    """The snapshot of a Hugging Face cache's folder that `main` names, else the newest one."""
    with contextlib.suppress(OSError, ValueError):
        commit = (cached / "refs" / "main").read_text(encoding="ascii").strip()
        if commit.isalnum() and (cached / "snapshots" / commit / "config.json").is_file():
            return cached / "snapshots" / commit
    with contextlib.suppress(OSError):
        made = [path for path in (cached / "snapshots").iterdir() if (path / "config.json").is_file()]
        return max(made, key=lambda path: path.stat().st_mtime, default=None)
    return None


def engine_folders(home: Home, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Folders of finished engines that several users share, by the settings."""
    return tuple(dict.fromkeys(expand_folder(text) for text in load_settings(home, environ).values.folders.engines))


def toolchain_folders(home: Home, environ: Mapping[str, str] | None = None) -> tuple[Path, ...]:
    """Folders with environments that the administrator made, by the settings."""
    return tuple(dict.fromkeys(expand_folder(text) for text in load_settings(home, environ).values.folders.toolchains))
