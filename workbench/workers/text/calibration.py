"""Calibration text for data-aware quantization: read from a file, drawn by seed, cut to a length in tokens."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.workers.protocol import WorkerError

MIN_TOKENS = 8
"""Shorter samples say nothing about a layer's inputs."""


@dataclass(frozen=True)
class Calibration:
    """Settings under `calibration`."""

    file: Path
    field: str = "text"
    samples: int = 32
    length: int = 256
    """Tokens a sample at most."""
    seed: int = 0


def calibration_from(settings: dict[str, Any], given_file: str) -> Calibration:
    """The settings as a Calibration; `given_file` (the step's input) is used when they name no file.

    Raises WorkerError `bad-setting`.
    """
    file = settings.get("file") or given_file
    if not file:
        raise WorkerError(
            "data-aware quantization needs a calibration file and none is given",
            code="bad-setting",
            hint="Set calibration.file in the preset, or turn data_aware and awq off.",
        )
    try:
        chosen = Calibration(
            file=Path(str(file)),
            field=str(settings.get("field") or "text"),
            samples=int(settings.get("samples", 32)),
            length=int(settings.get("length", 256)),
            seed=int(settings.get("seed", 0)),
        )
    except (TypeError, ValueError) as error:
        raise WorkerError("a calibration setting is not a number", code="bad-setting", cause=str(error)) from error
    if chosen.samples < 1 or chosen.length < MIN_TOKENS:
        raise WorkerError(
            "the calibration settings ask for too little",
            code="bad-setting",
            cause=f"samples = {chosen.samples}, length = {chosen.length}",
            hint=f"Use at least 1 sample and a length of {MIN_TOKENS} tokens.",
        )
    return chosen


def read_texts(path: Path, field: str) -> list[str]:
    """All texts of a .jsonl file (key `field`) or of a text file (paragraphs between blank lines).

    Raises WorkerError `bad-calibration` with the line at fault.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WorkerError(
            "the calibration file cannot be read",
            code="bad-calibration",
            cause=f"{path.name}: {error}",
            hint="Give a UTF-8 text file or a .jsonl file.",
        ) from error
    if path.suffix == ".jsonl":
        rows = [(number, line) for number, line in enumerate(content.split("\n"), 1) if line.strip()]
        texts = [_text_of(line, number, path, field) for number, line in rows]
    else:
        texts = [part.strip() for part in content.replace("\r\n", "\n").split("\n\n")]
    return [text for text in texts if text]


def _text_of(line: str, number: int, path: Path, field: str) -> str:
    try:
        row = json.loads(line)
        return str(row[field])
    except (ValueError, KeyError, TypeError) as error:
        raise WorkerError(
            f"line {number} of the calibration file has no text under `{field}`",
            code="bad-calibration",
            cause=f"{path.name}:{number}: {line[:120]}",
            hint="Each line is a JSON object; calibration.field names the key that holds the text.",
        ) from error


def draw_ids(settings: Calibration, encode: Callable[[str], list[int]]) -> list[list[int]]:
    """Token ids of up to `samples` texts, drawn by seed, each of MIN_TOKENS to `length` tokens.

    Raises WorkerError `bad-calibration` when no text is long enough.
    """
    texts = read_texts(settings.file, settings.field)
    random.Random(settings.seed).shuffle(texts)  # noqa: S311 (a draw that must repeat, not a secret)
    drawn: list[list[int]] = []
    for text in texts:
        ids = encode(text)[: settings.length]
        if len(ids) >= MIN_TOKENS:
            drawn.append(ids)
        if len(drawn) == settings.samples:
            break
    if not drawn:
        raise WorkerError(
            "the calibration file holds no text that is long enough",
            code="bad-calibration",
            cause=f"{len(texts)} texts, none of {MIN_TOKENS} tokens or more",
            hint="Give ordinary text: some dozens of paragraphs like those the model will see.",
        )
    return drawn
