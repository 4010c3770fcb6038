"""What happens to a store of another version: an older one is copied aside and brought up to date, a newer one is left
as it is and only read."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from workbench.core.errors import BlockedError, Failure
from workbench.core.home import Home
from workbench.store.migrations import NAMES, NewerStoreError, applied_names, migrate

BACKUPS = "backups"
KEPT_BACKUPS = 2
NEWER = "newer-store"


class BackupError(Exception):
    """The store could not be copied aside, so it was left as it is."""


def bring_up_to_date(home: Home, db: sqlite3.Connection) -> str:
    """Apply what is missing to an open store, after a copy of it as it was; what a person should hear ("": nothing).

    Raises NewerStoreError, BackupError, sqlite3.Error; the file is then as it was, or between two migrations.
    """
    before = applied_names(db)
    if before == NAMES:
        return ""
    if not before:
        migrate(db)
        return ""
    if unknown := set(before) - set(NAMES):
        raise NewerStoreError(", ".join(sorted(unknown)))
    with (home.root / "store-upgrade.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = applied_names(db)  # another process may have been first
        if before == NAMES:
            return ""
        try:
            kept = back_up(home, db, before[-1])
        except (OSError, sqlite3.OperationalError) as error:
            raise BackupError(str(error)) from error
        migrate(db)
    return (
        f"The store was of an older Engine Workbench ({before[-1]}) and was brought up to date ({NAMES[-1]}); as it "
        f"was before it is kept as {kept.relative_to(home.root)}."
    )


def back_up(home: Home, db: sqlite3.Connection, version: str) -> Path:
    """Copy an open store to `backups/store-VERSION-TIME.sqlite`, whole or not at all, and keep the newest two.

    Raises OSError, sqlite3.Error.
    """
    folder = home.root / BACKUPS
    folder.mkdir(mode=0o700, exist_ok=True)
    now = time.time()
    stamp = f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now))}{int(now * 1000) % 1000:03d}"
    path = folder / f"store-{version}-{stamp}.sqlite"
    growing = folder / f".{path.name}.{os.getpid()}.new"
    for left in folder.glob(".store-*.new"):  # of a process that was killed: the lock is held
        left.unlink(missing_ok=True)
    try:
        os.close(os.open(growing, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(growing)) as copy:
            db.backup(copy)
            # One file that any tool opens: no log beside it.
            copy.execute("PRAGMA journal_mode = DELETE")
        handle = os.open(growing, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        growing.replace(path)
    except BaseException:
        growing.unlink(missing_ok=True)
        raise
    # This one stays whatever the clock said before, and so does what a person put there under another name.
    made = [each for each in folder.glob(f"store-*-{'[0-9]' * 8}-{'[0-9]' * 9}.sqlite") if each != path]
    for old in sorted(made, key=lambda each: each.name.rsplit("-", 2)[1:])[: 1 - KEPT_BACKUPS]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a store so that nothing of it can be changed. Raises sqlite3.OperationalError."""
    place = f"file:{quote(str(path))}"
    db = sqlite3.connect(f"{place}?mode=ro", uri=True, timeout=30.0, isolation_level=None)
    try:
        db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    except sqlite3.OperationalError:
        db.close()
        # In a folder that may not be written, the log's index cannot be made: take the file as it stands.
        db = sqlite3.connect(f"{place}?immutable=1", uri=True, isolation_level=None)
    return db


def newer_store(home: Home) -> Failure | None:
    """Why this version may only read the home's store; None: there is none yet, or it is not of a newer version."""
    try:
        if home.database.stat().st_size == 0:
            return None
        with contextlib.closing(open_to_read(home.database)) as db:
            unknown = sorted(set(applied_names(db)) - set(NAMES))
    except (OSError, sqlite3.Error):
        return None  # whoever opens it says what is wrong
    return newer_failure(home, ", ".join(unknown)) if unknown else None


def refuse_newer_store(home: Home) -> None:
    """Raise BlockedError `newer-store` when this version may only read the home's store: no job is begun then."""
    failure = newer_store(home)
    if failure is not None:
        raise BlockedError.of(failure)


def newer_failure(home: Home, unknown: str) -> Failure:
    return Failure(
        code=NEWER,
        what="The store was written by a newer Engine Workbench: it is opened to be read, and nothing is built or "
        "changed.",
        evidence=f"{home.database}: {unknown}",
        fix="Update this program, or set WORKBENCH_HOME to another folder.",
        exit_code=3,
    )
