"""Named, ordered migrations of the store. Applied names are kept in the file; a new one is added at the end."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable

Migration = Callable[[sqlite3.Connection], None]


def m001_artifacts(db: sqlite3.Connection) -> None:
    db.execute(
        """CREATE TABLE artifacts (
            path TEXT PRIMARY KEY, key TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
            toolchain TEXT NOT NULL, precision TEXT NOT NULL, created_at REAL NOT NULL, size_bytes INTEGER NOT NULL,
            provenance TEXT NOT NULL)"""
    )
    db.execute("CREATE INDEX artifacts_key ON artifacts (key)")
    db.execute("CREATE INDEX artifacts_kind ON artifacts (kind, created_at)")


def m002_digests(db: sqlite3.Connection) -> None:
    db.execute(
        """CREATE TABLE digests (
            path TEXT PRIMARY KEY, stamp TEXT NOT NULL, sha256 TEXT NOT NULL)"""
    )


def m003_jobs(db: sqlite3.Connection) -> None:
    db.execute(
        """CREATE TABLE jobs (
            id TEXT PRIMARY KEY, title TEXT NOT NULL, toolchain TEXT NOT NULL, status TEXT NOT NULL,
            created_at REAL NOT NULL, finished_at REAL, state TEXT NOT NULL)"""
    )
    db.execute("CREATE INDEX jobs_created ON jobs (created_at)")
    db.execute(
        """CREATE TABLE steps (
            job TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE, number INTEGER NOT NULL, id TEXT NOT NULL,
            kind TEXT NOT NULL, variant TEXT NOT NULL, status TEXT NOT NULL, seconds REAL, artifact TEXT NOT NULL,
            PRIMARY KEY (job, number))"""
    )


def m004_provenance_stamps(db: sqlite3.Connection) -> None:
    db.execute("ALTER TABLE artifacts ADD COLUMN stamp TEXT NOT NULL DEFAULT ''")


def m005_shared_roots(db: sqlite3.Connection) -> None:
    # The shared folder of the settings under which an artefact stands; empty: it is this user's own.
    db.execute("ALTER TABLE artifacts ADD COLUMN shared TEXT NOT NULL DEFAULT ''")


MIGRATIONS: tuple[Migration, ...] = (
    m001_artifacts,
    m002_digests,
    m003_jobs,
    m004_provenance_stamps,
    m005_shared_roots,
)
NAMES = tuple(migration.__name__ for migration in MIGRATIONS)


class NewerStoreError(Exception):
    """The file has migrations that this version does not know."""


def applied_names(db: sqlite3.Connection) -> tuple[str, ...]:
    """Names of the migrations that a file has had, in order; empty for a file with nothing in it."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'migrations'").fetchone() is None:
        return ()
    return tuple(sorted(str(row[0]) for row in db.execute("SELECT name FROM migrations")))


def migrate(db: sqlite3.Connection) -> list[str]:
    """Apply what is missing, each in a transaction of its own; names of those applied now.

    Raises NewerStoreError when the file is of a newer version.
    """
    db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at REAL NOT NULL)")
    applied = set(applied_names(db))
    if unknown := applied - set(NAMES):
        raise NewerStoreError(", ".join(sorted(unknown)))
    done = []
    for migration in MIGRATIONS:
        if migration.__name__ in applied:
            continue
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been first.
            if db.execute("SELECT 1 FROM migrations WHERE name = ?", (migration.__name__,)).fetchone() is None:
                migration(db)
                db.execute("INSERT INTO migrations VALUES (?, ?)", (migration.__name__, time.time()))
                done.append(migration.__name__)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    return done
