"""What must hold at any moment, whoever was killed: nothing looks complete that is not, and no process is left."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from workbench.core.artifact import PARTIAL_SUFFIX, PROVENANCE_FILE, problems, read_provenance
from workbench.core.digest import file_sha256
from workbench.core.home import Home


def unsound(home: Home, *others: Path) -> list[str]:
    """Folders under their final name that are not whole, by size and by checksum."""
    found = []
    for kind in home.artifacts.iterdir():
        for folder in [*kind.iterdir(), *others]:
            if folder.name.endswith(PARTIAL_SUFFIX) or ".damaged-" in folder.name or not folder.exists():
                continue
            if not (folder / PROVENANCE_FILE).is_file():
                found.append(f"{folder} has no provenance")
                continue
            provenance = read_provenance(folder)
            found += [f"{folder}: {line}" for line in problems(folder, provenance)]
            found += [
                f"{folder / entry.path} has another checksum"
                for entry in provenance.files
                if file_sha256(folder / entry.path) != entry.sha256
            ]
    return found


def partial_folders(home: Home) -> list[Path]:
    return list(home.artifacts.rglob(f"*{PARTIAL_SUFFIX}"))


def processes_in(folder: Path) -> list[psutil.Process]:
    """Living processes that work in a job's folder: its supervisor, its worker, and their children."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(folder):
                found.append(process)
        except psutil.Error:
            continue
    return found


def orphans(folder: Path, seconds: float = 10.0) -> list[psutil.Process]:
    """Processes of the job that are still there after a while."""
    end = time.monotonic() + seconds
    while (left := processes_in(folder)) and time.monotonic() < end:
        time.sleep(0.05)
    return left
