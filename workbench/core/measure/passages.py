"""Text for the perplexity: passages from the file that ships or from one's own, and its fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from workbench.core.errors import BadInputError
from workbench.core.measure.scores import Text

SHIPPED = "shipped text"
PASSAGE_CHARACTERS = 2000
"""A plain text is cut, at blank lines, into passages of at least so many characters."""
MOST_BYTES = 256 << 20


@dataclass(frozen=True)
class EvaluationText:
    """Passages and what they are from."""

    passages: tuple[Text, ...]
    source: str
    """`shipped text evaluation.jsonl, 4 of 32 passages, SHA-256 1a2b...`: file, and what of it is used."""


def shipped(source: str) -> bool:
    """Whether a source is the text that ships; a failed subject's, which is empty, speaks against nothing."""
    return not source or source.startswith(SHIPPED)


def read_evaluation(path: Path, most: int | None = None, *, ships: bool = False) -> EvaluationText:
    """Passages of a UTF-8 text file, or of a .jsonl file with a passage under `text` (and its `name`) in each line.

    `most`: so many of them, spread evenly. `ships`: it is the text that ships. Raises BadInputError with the line at
    fault.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _bad(path, f"{path.stat().st_size:,} bytes; at most {MOST_BYTES:,}")
        raw = path.read_bytes()
        content = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, str(error)) from error
    if "\x00" in content:
        raise _bad(path, "NUL bytes: it is binary, not text")
    passages = _lines(path, content) if path.suffix == ".jsonl" else _pieces(content)
    if not passages:
        raise _bad(path, "no text in it")
    every = len(passages)
    if most is not None and most < every:
        passages = [passages[index * every // most] for index in range(most)]
    digest = hashlib.sha256(raw).hexdigest()
    part = f", {len(passages)} of {every} passages" if len(passages) < every else ""
    name = f"{SHIPPED} {path.name}" if ships else path.name
    return EvaluationText(tuple(passages), f"{name}{part}, SHA-256 {digest}")


def _bad(path: Path, evidence: str) -> BadInputError:
    return BadInputError(
        "The text for the perplexity cannot be used.",
        evidence=f"{path}: {evidence}",
        fix="Give a UTF-8 text file, or a .jsonl file with a passage under `text` in each line.",
        code="bad-text",
    )


def _lines(path: Path, content: str) -> list[Text]:
    passages, names = [], set()
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            text = row["text"]
        except (ValueError, KeyError, TypeError) as error:
            raise _bad(path, f"line {number}: {line[:80]}") from error
        if not isinstance(text, str):
            raise _bad(path, f"line {number}: `text` is no text")
        if text.strip():
            name = str(row.get("name") or f"line {number}")
            if name in names:  # passages are paired by name
                name = f"{name}, line {number}"
            names.add(name)
            passages.append(Text(name=name, text=text))
    return passages


def _pieces(content: str) -> list[Text]:
    passages: list[Text] = []
    held: list[str] = []
    for part in content.replace("\r\n", "\n").split("\n\n"):
        if part.strip():
            held.append(part.strip("\n"))
        if sum(map(len, held)) >= PASSAGE_CHARACTERS:
            passages.append(Text(name=f"passage {len(passages) + 1}", text="\n\n".join(held)))
            held = []
    if held:
        passages.append(Text(name=f"passage {len(passages) + 1}", text="\n\n".join(held)))
    return passages
