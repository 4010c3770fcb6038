"""Notes and tags that a person gives to engines: one file in the home, outside the artefacts' hashed files.

They are kept by the artefact's key, so that an engine that is moved, or stands in two places, keeps them.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.core.artifact import write_json
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.store.private_file import locked

NOTES_FILE = "engine-notes.json"
NOTES_SCHEMA = 1


class Note(BaseModel):
    """What a person wrote of one engine."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    text: str = ""
    tags: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not self.text.strip() and not self.tags


class _NotesFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = NOTES_SCHEMA
    notes: dict[str, Note] = Field(default_factory=dict)


def notes_path(home: Home) -> Path:
    return home.root / NOTES_FILE


def read_notes(home: Home) -> dict[str, Note]:
    """Notes by artefact key; empty when there are none. Raises BadInputError for a file that cannot be read."""
    path = notes_path(home)
    try:
        found = _NotesFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise _unreadable(path, str(error).splitlines()[0]) from error
    if found.schema_version > NOTES_SCHEMA:
        raise _unreadable(path, f"schema {found.schema_version}, this version knows {NOTES_SCHEMA}")
    return dict(found.notes)


def write_note(home: Home, key: str, note: Note) -> None:
    """Keep a note; an empty one is taken away. Other programs may write others meanwhile.

    Raises BadInputError when the file is damaged (it is left as it is) or cannot be written.
    """
    tags = tuple(dict.fromkeys(tag.strip() for tag in note.tags if tag.strip()))
    note = Note(text=note.text, tags=tags)
    try:
        with locked(home.root / "engine-notes.lock"):
            notes = read_notes(home)
            if note.empty:
                notes.pop(key, None)
            else:
                notes[key] = note
            write_json(notes_path(home), _NotesFile(notes=notes), durable=True)
    except OSError as error:
        raise BadInputError(
            "The note could not be kept.",
            evidence=f"{notes_path(home)}: {error}",
            fix="Check the folder's owner, mode and free space.",
            code="not-writable",
        ) from error


def _unreadable(path: Path, evidence: str) -> BadInputError:
    return BadInputError(
        "The notes of the engines cannot be read.",
        evidence=f"{path}: {evidence}",
        fix="Mend the file, or move it away; nothing else depends on it.",
        code="bad-notes",
    )
