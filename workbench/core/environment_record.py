"""What an environment's folder says of itself: who made it from what, and how far that is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

RECORD_FILE = "workbench-environment.json"


class EnvironmentRecord(BaseModel):
    """Kept as RECORD_FILE in the environment's folder."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = 1
    toolchain: str = ""
    base: str = ""
    """The interpreter that it was made by."""
    digest: str = ""
    """Of the lists of requirements that it is made from."""
    source: str = ""
    """Where its packages come from: a folder of wheels, or `package index`."""
    done: tuple[str, ...] = ()
    """Phases that need not be done again: `environment`, `list 1`, ..."""
    complete: bool = False
    versions: dict[str, str] = Field(default_factory=dict)
    made_at: float = 0.0
    """Seconds since the epoch; 0: not made yet."""
    pid: int = 0
    """Process that makes it, while it is being made."""

    def made_as(self, other: EnvironmentRecord) -> bool:
        """Whether it is made by the same interpreter from the same lists, so that its phases count."""
        return (self.toolchain, self.base, self.digest) == (other.toolchain, other.base, other.digest)

    def stamped(self) -> EnvironmentRecord:
        """The same, made now."""
        return self.model_copy(update={"made_at": time.time()})


def read_record(folder: Path) -> EnvironmentRecord | None:
    """None where there is none that can be read: an environment of the workbench's first version has none."""
    try:
        return EnvironmentRecord.model_validate_json((folder / RECORD_FILE).read_text("utf-8"))
    except (OSError, ValueError, ValidationError):
        return None


def write_record(folder: Path, record: EnvironmentRecord) -> None:
    """Whole or not at all. Raises OSError."""
    temporary = folder / f".{RECORD_FILE}.new"
    temporary.write_text(record.model_dump_json(indent=1) + "\n", "utf-8")
    temporary.replace(folder / RECORD_FILE)


def digest_of(files: Iterable[Path]) -> str:
    """SHA-256 over the files' contents; a file that cannot be read counts as empty."""
    digest = hashlib.sha256()
    for path in files:
        try:
            digest.update(path.read_bytes())
        except OSError:
            digest.update(b"")
        digest.update(b"\0")
    return digest.hexdigest()
