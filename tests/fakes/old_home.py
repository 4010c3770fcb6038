"""Homes as older versions left them, from the samples in tests/data/old."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

from workbench.core.artifact import PROVENANCE_FILE, Provenance
from workbench.core.home import Home

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "old"
HOME = "@HOME@"


def versions() -> list[str]:
    """The versions of which samples are kept, the oldest first."""
    return sorted(path.name for path in SAMPLES.iterdir() if (path / "home").is_dir())


def store_samples() -> list[Path]:
    """Stores as SQL, one after each migration that a released version had."""
    return sorted(SAMPLES.glob("*/store-m[0-9][0-9][0-9].sql"))


def old_store(home: Home, sample: Path) -> None:
    """Make the home's store from a sample."""
    home.make()
    with contextlib.closing(sqlite3.connect(home.database)) as db:
        db.executescript(sample.read_text("utf-8").replace(HOME, str(home.root)))
        db.execute("PRAGMA journal_mode = WAL")


def old_home(root: Path, version: str, *, store: bool = True) -> Home:
    """A home of that version with all that it keeps; weights are as long as they were and hold nothing."""
    source = SAMPLES / version / "home"
    for path in sorted(source.rglob("*")):
        if path.is_file():
            target = root / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".gz":
                shutil.copyfile(path, target)
            else:
                target.write_text(path.read_text("utf-8").replace(HOME, str(root)), "utf-8")
    home = Home(root).make()
    for record in home.artifacts.glob(f"*/*/{PROVENANCE_FILE}"):
        for entry in Provenance.model_validate_json(record.read_bytes()).files:
            file = record.parent / entry.path
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("wb") as empty:
                    empty.truncate(entry.bytes)
    if store:
        old_store(home, sorted((SAMPLES / version).glob("store-m*.sql"))[-1])
    return home
