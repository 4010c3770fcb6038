"""Conversations as they are kept: one JSON file each in the home, for its owner's eyes alone."""

from __future__ import annotations

import re
import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from workbench.core.conversation import Conversation, Mode
from workbench.core.errors import BadInputError, WorkbenchError
from workbench.core.home import Home
from workbench.store.private_file import write_private

FOLDER = "conversations"
_Stamp = tuple[int, int] | None
"""When a file was written, in ns since the epoch, and its bytes; None: there is none."""
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class Kept:
    """A conversation as a list shows it."""

    id: str
    path: Path
    title: str
    changed_at: float
    """When its newest turn was made, seconds since the epoch; of a damaged file, when that was written."""
    mode: Mode = "chat"
    turns: int = 0
    engine: str = ""
    """Name of the engine that answered last."""
    problem: str = ""
    """Why the file cannot be read; empty: it can."""


class Conversations:
    """The conversations of a home. Any thread may call it; nothing is written before the first `save`."""

    def __init__(self, home: Home) -> None:
        self.folder = home.root / FOLDER
        self._lock = threading.Lock()
        self._known: dict[Path, tuple[_Stamp, Kept]] = {}
        self._own: dict[Path, _Stamp] = {}

    def fresh(self, mode: Mode = "chat", system: str = "") -> Conversation:
        """A new, empty conversation with an id that no other has; it is not kept before it is saved."""
        now = time.time()
        stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
        return Conversation(id=f"{stamp}-{secrets.token_hex(4)}", mode=mode, created_at=now).with_system(system)

    def path(self, conversation_id: str) -> Path:
        """Where it is kept. Raises BadInputError for an id that is no file name."""
        if not _ID.fullmatch(conversation_id):
            raise BadInputError(f"Not the id of a conversation: {conversation_id[:80]!r}", code="no-such-conversation")
        return self.folder / f"{conversation_id}.json"

    def save(self, conversation: Conversation) -> Path:
        """Keep it: readers see the old file or the new one, whole. What another program wrote there since it was
        loaded or saved here is kept beside it, as a conversation of its own.

        Raises BadInputError when it cannot be written.
        """
        path = self.path(conversation.id)
        text = conversation.to_json()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._lock:
                there = _stamp(path)
                if there is not None and there != self._own.get(path):
                    path.rename(self.path(f"{conversation.id[:48]}-{secrets.token_hex(3)}"))
                write_private(path, text)
                self._own[path] = _stamp(path)
        except OSError as error:
            raise BadInputError(
                "The conversation could not be kept.",
                evidence=f"{path}: {error.strerror or error}",
                fix="Check the folder's owner, mode and free space.",
                code="not-writable",
            ) from error
        return path

    def load(self, conversation_id: str) -> Conversation:
        """Raises BadInputError when it is not there, is damaged, or is of a newer program."""
        path = self.path(conversation_id)
        stamp = _stamp(path)
        found = self._load(path)
        with self._lock:
            self._own[path] = stamp
        return found

    def _load(self, path: Path) -> Conversation:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise BadInputError(
                f"No conversation {path.stem!r} can be read.",
                evidence=f"{path}: {error.strerror or error}",
                code="no-such-conversation",
            ) from error
        found = Conversation.from_json(data, name=str(path))
        # A file that was copied or renamed is another conversation: saving it must not change the first.
        return found if found.id == path.stem else found.model_copy(update={"id": path.stem})

    def find(self, wanted: str = "last") -> Conversation:
        """By id, by a part that only one id has, or `last`. Raises BadInputError."""
        kept = self.list()
        if wanted == "last":
            hits = [entry for entry in kept if not entry.problem][:1]
        else:
            hits = [entry for entry in kept if entry.id == wanted] or [entry for entry in kept if wanted in entry.id]
        if len(hits) != 1:
            raise BadInputError(
                f"{wanted!r} fits {len(hits)} conversations." if hits else f"There is no conversation {wanted!r}.",
                evidence=", ".join(f"{entry.id} ({entry.title})" for entry in (hits or kept)[:5])
                or "none was kept yet",
                code="no-such-conversation",
            )
        return self.load(hits[0].id)

    def list(self) -> tuple[Kept, ...]:
        """All of them, newest first; damaged files with their problem. Files that did not change are not read again."""
        try:
            paths = [path for path in self.folder.glob("*.json") if _ID.fullmatch(path.stem)]
        except OSError:
            paths = []
        found: dict[Path, tuple[_Stamp, Kept]] = {}
        with self._lock:
            for path in paths:
                stamp = _stamp(path)
                if stamp is not None:
                    known = self._known.get(path)
                    found[path] = known if known and known[0] == stamp else (stamp, self._read(path, stamp[0] / 1e9))
            self._known = found
        return tuple(sorted((entry for _, entry in found.values()), key=lambda e: (-e.changed_at, e.id)))

    def delete(self, conversation_id: str) -> None:
        """Remove its file; nothing happens when there is none. Raises BadInputError when it cannot be removed."""
        path = self.path(conversation_id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise BadInputError(
                "The conversation could not be removed.", evidence=f"{path}: {error.strerror}", code="not-writable"
            ) from error

    def _read(self, path: Path, written_at: float) -> Kept:
        try:
            found = self._load(path)
        except WorkbenchError as error:
            problem = f"{error.what} {error.evidence}".strip()
            return Kept(path.stem, path, path.name, written_at, problem=problem)
        engine = next((t.answer.engine.name for t in reversed(found.turns) if t.answer and t.answer.engine), "")
        return Kept(found.id, path, found.shown_title, found.changed_at, found.mode, len(found.turns), engine)


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
