"""The store: an index over job and artefact folders, and a cache of file digests.

The folders are the truth. `sync` reads what is new in them; a store that is damaged is put aside and made anew from
them, so losing it loses time only. A store of a newer version is read and never written. One object belongs to one
thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from workbench.core.artifact import PARTIAL_SUFFIX, PROVENANCE_FILE, Provenance, problems, read_provenance
from workbench.core.digest import FileStamp
from workbench.core.errors import BadInputError, BlockedError, Failure, WorkbenchError
from workbench.core.galleries import subfolders
from workbench.core.home import Home
from workbench.core.job import JobState
from workbench.core.reach import answering
from workbench.core.sharing import root_of, shared_roots, silent_folders
from workbench.store.migrations import NewerStoreError
from workbench.store.shared import artifacts_below
from workbench.store.upgrade import BackupError, bring_up_to_date, newer_failure, newer_store, open_to_read

T = TypeVar("T")


@dataclass(frozen=True)
class StoredArtifact:
    """An artefact folder as the index knows it; `missing` says why it is not usable (empty: it is)."""

    path: Path
    provenance: Provenance
    missing: str = ""
    shared: str = ""
    """The engine folder of the settings under which it stands; empty: it is this user's own."""


class Store:
    """Open it with `Store.open(home)`; `notice` is what a person should hear about the opening."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.notice = ""
        self.newer: Failure | None = None
        """Why it can only be read; None: it can be written."""
        self._db: sqlite3.Connection

    @classmethod
    def open(cls, home: Home) -> Store:
        """Open or make the store; a damaged file is kept aside and the index rebuilt, one of an older version is
        brought up to date after a copy of it was made, and one of a newer version is opened to be read (see `newer`).

        Raises BadInputError when the folder cannot be written.
        """
        store = cls(home)
        try:
            store._connect()
        except sqlite3.DatabaseError as error:
            store._recover(error)
        return store

    def _connect(self) -> None:
        self.newer = newer_store(self.home)
        try:
            if self.newer is not None:
                self._db, self.notice = open_to_read(self.home.database), f"{self.newer.what} {self.newer.fix}"
                return
            # Readable by its owner alone, also in a home that was there before with other rights.
            os.close(os.open(self.home.database, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(self.home.database, timeout=30.0, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self.notice = bring_up_to_date(self.home, self._db)
        except NewerStoreError as error:  # a newer program brought it up to date this very moment
            self._db.close()
            raise BlockedError.of(newer_failure(self.home, str(error))) from error
        except BackupError as error:
            self._db.close()
            raise BadInputError(
                "The store is of an older Engine Workbench, and no copy of it can be made before it is brought up to "
                "date. It was left as it is.",
                evidence=f"{self.home.root}: {error}",
                fix="Make room there, or mend the folder's owner and mode, then start again.",
                code="store-not-upgraded",
            ) from error
        except (sqlite3.OperationalError, OSError) as error:
            raise BadInputError(
                "The store cannot be opened.",
                evidence=f"{self.home.database}: {error}",
                fix="Check the folder's owner, mode and free space.",
                code="store-unavailable",
            ) from error

    def _recover(self, error: sqlite3.DatabaseError) -> None:
        with contextlib.suppress(Exception):
            self._db.close()
        with (self.home.root / "store.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(sqlite3.DatabaseError):
                self._connect()  # another process may have mended it meanwhile
                if self._db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok":
                    return
                self._db.close()
            aside = self.home.database.with_name(f"store-damaged-{time.strftime('%Y%m%d-%H%M%S')}.sqlite")
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self.home.database}{suffix}").rename(f"{aside}{suffix}")
            self._connect()
            counts = self._sync(everything=True)
        self.notice = (
            f"The store was damaged ({error}). It is kept as {aside.name}; a new one was made from the provenance "
            f"files: {counts['artifacts']} artefacts, {counts['jobs']} jobs."
        )

    def _run(self, work: Callable[[], T]) -> T:
        """Do something with the database; if it turns out to be damaged only now, recover and do it again."""
        try:
            return work()
        except sqlite3.DatabaseError as error:
            if self.newer is None:
                return self._again(work, error)
            raise BadInputError(
                "The store was written by a newer Engine Workbench, and this one cannot read it.",
                evidence=f"{self.home.database}: {error}",
                fix=self.newer.fix,
                code=self.newer.code,
            ) from error

    def _again(self, work: Callable[[], T], error: sqlite3.DatabaseError) -> T:
        if isinstance(error, sqlite3.OperationalError):
            raise error
        self._recover(error)
        return work()

    def refuse_newer(self) -> None:
        """Raise BlockedError `newer-store` when the store can only be read: nothing is built or changed then."""
        if self.newer is not None:
            raise BlockedError.of(self.newer)

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- artefacts

    def add_artifact(self, path: Path, provenance: Provenance, shared: str = "") -> None:
        """List a folder; `shared` is the settings' engine folder that it stands in.

        Raises BlockedError `newer-store`.
        """
        self.refuse_newer()
        row = (
            str(path),
            provenance.key,
            provenance.kind,
            provenance.name,
            provenance.toolchain,
            provenance.precision,
            provenance.created_at,
            provenance.size_bytes,
            provenance.model_dump_json(),
            _provenance_stamp(path),
            shared,
        )
        self._run(lambda: self._db.execute("INSERT OR REPLACE INTO artifacts VALUES (?,?,?,?,?,?,?,?,?,?,?)", row))

    def forget_artifact(self, path: Path) -> None:
        """Take a folder off the list. Raises BlockedError `newer-store`."""
        self.refuse_newer()
        self._run(lambda: self._db.execute("DELETE FROM artifacts WHERE path = ?", (str(path),)))

    def paths_with_key(self, key: str) -> tuple[str, ...]:
        """Folders where an artefact of that key was seen, one's own and newest first; whether it is whole is not looked
        at. Those in a shared folder that does not answer are left out."""
        rows = self._run(
            lambda: self._db.execute(
                "SELECT path, shared FROM artifacts WHERE key = ? ORDER BY shared != '', created_at DESC", (key,)
            ).fetchall()
        )
        there = _answering({shared for _, shared in rows})
        return tuple(path for path, shared in rows if shared in there)

    def artifacts(self, kind: str = "") -> list[StoredArtifact]:
        """All that the index knows, newest first, each looked at on the disk."""
        found = []
        remembered = self.remembered(kind)
        there = _answering({known.shared for known in remembered})
        for known in remembered:
            path, provenance = known.path, known.provenance
            if known.shared not in there:
                found.append(StoredArtifact(path, provenance, f"{known.shared} does not answer", known.shared))
                continue
            is_there = os.path.isdir(path)  # noqa: PTH112 - pathlib raises where this user may not look
            missing = "; ".join(problems(path, provenance)[:3]) if is_there else "the folder is gone"
            found.append(StoredArtifact(path, provenance, missing, known.shared))
        return found

    def remembered(self, kind: str = "", limit: int = -1) -> list[StoredArtifact]:
        """The newest `limit` (-1: all) as the index remembers them: no folder is looked at, `missing` says nothing."""
        rows = self._run(
            lambda: self._db.execute(
                "SELECT path, provenance, shared FROM artifacts WHERE ? IN ('', kind) ORDER BY created_at DESC LIMIT ?",
                (kind, limit),
            ).fetchall()
        )
        found = []
        for path, text, shared in rows:
            with contextlib.suppress(ValidationError):
                found.append(StoredArtifact(Path(path), Provenance.model_validate_json(text), shared=shared))
        return found

    # -- jobs

    def jobs(self, limit: int = 100) -> list[JobState]:
        """The newest jobs of the index, newest first. Unfinished ones are as they were at the last sync."""
        rows = self._run(
            lambda: self._db.execute("SELECT state FROM jobs ORDER BY created_at DESC LIMIT ?", (limit,)).fetchall()
        )
        return [JobState.model_validate_json(row[0]) for row in rows]

    def _add_job(self, state: JobState) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            db.execute("DELETE FROM jobs WHERE id = ?", (state.id,))
            db.execute(
                "INSERT INTO jobs VALUES (?,?,?,?,?,?,?)",
                (
                    state.id,
                    state.title,
                    state.toolchain,
                    state.status,
                    state.created_at,
                    state.finished_at,
                    state.model_dump_json(),
                ),
            )
            for number, step in enumerate(state.steps):
                seconds = step.finished_at - step.started_at if step.finished_at and step.started_at else None
                db.execute(
                    "INSERT INTO steps VALUES (?,?,?,?,?,?,?,?)",
                    (state.id, number, step.id, step.kind, step.variant, step.status, seconds, step.artifact),
                )
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise

    def sync(self, *, everything: bool = False) -> dict[str, int]:
        """Read what is new in the folders: jobs that are not final in the index, the artefacts they made, and those in
        the settings' engine folders. A newer version's store stays as it is."""
        if self.newer is not None:
            return {"jobs": 0, "artifacts": 0}
        return self._run(lambda: self._sync(everything))

    def _sync(self, everything: bool) -> dict[str, int]:
        final = set()
        if not everything:
            rows = self._db.execute("SELECT id FROM jobs WHERE status = 'done'")
            final = {row[0] for row in rows}
        folders: set[Path] = set()
        jobs = 0
        for entry in subfolders(self.home.jobs):
            if entry.name in final:
                continue
            with contextlib.suppress(OSError, ValidationError):
                state = JobState.model_validate_json((entry / "state.json").read_bytes())
                self._add_job(state)
                folders.update(Path(path) for path in state.artifacts)
                jobs += 1
        for kind in subfolders(self.home.artifacts):
            folders.update(subfolders(kind))
        silent, roots = silent_folders(self.home), shared_roots(self.home)
        for root in roots:
            folders.update(artifacts_below(root))
        named = {"", *(str(root) for root in roots)}
        if not silent:  # else what is not among the roots may be in one that does not answer
            self._forget_other_roots(sorted(named))
        rows = self._db.execute("SELECT path, stamp, shared FROM artifacts")
        known = {Path(row[0]): (row[1], row[2]) for row in rows if not silent or row[2] in named}
        folders = {each for each in folders if not any(each.is_relative_to(place) for place in silent)}
        artifacts = 0
        for folder in folders | set(known):
            # A folder may have been removed and another artefact built in its place.
            stamp, shared = _provenance_stamp(folder), root_of(self.home, folder, roots)
            same = known.get(folder) == (stamp, shared) and not everything
            if folder.name.endswith(PARTIAL_SUFFIX) or not stamp or same:
                continue
            with contextlib.suppress(WorkbenchError):
                self.add_artifact(folder, read_provenance(folder), shared)
                artifacts += 1
        return {"jobs": jobs, "artifacts": artifacts}

    def _forget_other_roots(self, roots: list[str]) -> None:
        """Folders that the settings no longer name are no longer listed, but for what this user's own jobs made."""
        rows = self._db.execute("SELECT path, shared FROM artifacts WHERE shared != ''").fetchall()
        gone = [(path,) for path, shared in rows if shared not in roots]
        if gone:  # else nothing is written, and nobody waits
            self._db.executemany(
                "DELETE FROM artifacts WHERE path = ? "
                "AND path NOT IN (SELECT artifact FROM steps WHERE status = 'done')",
                gone,
            )

    # -- digests of files

    def known_digest(self, stamp: FileStamp) -> str | None:
        """The SHA-256 of a file if it was taken of exactly this state of it."""
        row = self._run(
            lambda: self._db.execute(
                "SELECT stamp, sha256 FROM digests WHERE path = ?", (_stamp_path(stamp),)
            ).fetchone()
        )
        return str(row[1]) if row is not None and row[0] == _stamp_text(stamp) else None

    def remember_digest(self, stamp: FileStamp, sha256: str) -> None:
        """Keep a digest for later; a store that can only be read keeps none."""
        if self.newer is not None:
            return
        row = (_stamp_path(stamp), _stamp_text(stamp), sha256)
        self._run(lambda: self._db.execute("INSERT OR REPLACE INTO digests VALUES (?,?,?)", row))


def _answering(roots: set[str]) -> set[str]:
    """The shared folders that answer, and "" for one's own."""
    return {"", *map(str, answering(Path(root) for root in roots if root))}


def _provenance_stamp(folder: Path) -> str:
    """Tells one provenance file from another at the same path; empty when there is none."""
    try:
        found = (folder / PROVENANCE_FILE).stat()
    except OSError:
        return ""
    return f"{found.st_mtime_ns} {found.st_ino} {found.st_size}"


def _stamp_fields(stamp: FileStamp) -> dict[str, Any]:
    return stamp.model_dump(mode="json") if isinstance(stamp, BaseModel) else dict(vars(stamp))


def _stamp_path(stamp: FileStamp) -> str:
    return str(_stamp_fields(stamp)["path"])


def _stamp_text(stamp: FileStamp) -> str:
    return json.dumps({k: v for k, v in _stamp_fields(stamp).items() if k != "path"}, sort_keys=True)
