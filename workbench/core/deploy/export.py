"""An export before it is written: its files, what is copied beside them, and what was checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ExportKind = Literal["triton", "triton_llmapi", "launch"]


@dataclass(frozen=True)
class TextFile:
    """A file that the export writes."""

    path: str
    """Relative, with slashes."""
    text: str
    executable: bool = False


@dataclass(frozen=True)
class CopiedFile:
    """A file that is brought along as it is: an engine's rank, a tokenizer's vocabulary."""

    path: str
    """Relative, with slashes."""
    source: Path
    bytes: int


@dataclass(frozen=True)
class Check:
    """One thing that was looked at before anything is written."""

    name: str
    """What was checked, in words: `config.pbtxt of preprocessing parses`."""
    ok: bool
    found: str = ""
    """The value that shows it: `2 rank files for tp 2 x pp 1`."""
    fix: str = ""
    """What to do when it is not so."""
    blocks: bool = True
    """False: it is said, and the export is written all the same."""


@dataclass(frozen=True)
class Export:
    """A complete export, ready to be written."""

    kind: ExportKind
    name: str
    """For people, and the proposed folder name: `smollm2-135m-fp8-tp2-triton`."""
    texts: tuple[TextFile, ...]
    copies: tuple[CopiedFile, ...]
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    """What a person should know: what could not be checked here, what was left to be chosen."""
    commands: tuple[tuple[str, ...], ...] = ()
    """What to run next, in the export's folder, as argv."""

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.ok and check.blocks)

    @property
    def copied_bytes(self) -> int:
        return sum(one.bytes for one in self.copies)
