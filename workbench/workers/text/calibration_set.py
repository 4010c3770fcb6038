"""Calibration text as batches of token ids, with what a person wants to know of it before an hour is spent.

Batches hold no padding: a padded position would enter the ranges that the quantizers learn. So samples of like length
go together and are cut to the shortest of their batch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.workers.protocol import WorkerError
from workbench.workers.text.calibration import MIN_TOKENS, read_texts

FEWEST_BATCHES = 32
"""Below this, ranges rest on too little text: warned about."""
TEXT_KINDS = (".jsonl", ".txt", ".md", ".text")
PREVIEW_CHARACTERS = 160
_SHINGLE = 8
"""Words in a row that two texts must share to count as overlapping."""
_BINS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class SetSettings:
    """Settings under `calibration`."""

    field: str = "text"
    samples: int = 512
    length: int = 512
    """Tokens a sample at most."""
    batch_size: int = 4
    seed: int = 1234


@dataclass(frozen=True)
class CalibrationSet:
    """Samples ready to be run."""

    batches: list[list[list[int]]]
    """Token ids: batch, sample, position; all samples of a batch have one length."""
    samples: int
    tokens: int
    """After cutting: what the model is run on."""
    histogram: list[tuple[int, int]]
    """(longest length in tokens of the bin, samples in it), before cutting, over the whole source."""
    preview: list[str]
    warnings: list[str]

    def report(self) -> dict[str, Any]:
        """What goes into the step's result."""
        return {
            "samples": self.samples,
            "batches": len(self.batches),
            "tokens": self.tokens,
            "length_histogram": [list(each) for each in self.histogram],
            "preview": self.preview,
            "warnings": self.warnings,
        }


def settings_from(given: dict[str, Any]) -> SetSettings:
    """Checked settings. Raises WorkerError `bad-setting`."""
    plain = SetSettings()
    try:
        chosen = SetSettings(
            field=str(given.get("field") or plain.field),
            samples=int(given.get("samples", plain.samples)),
            length=int(given.get("length", plain.length)),
            batch_size=int(given.get("batch_size", plain.batch_size)),
            seed=int(given.get("seed", plain.seed)),
        )
    except (TypeError, ValueError) as error:
        raise WorkerError("a calibration setting is not a number", code="bad-setting", cause=str(error)) from error
    if chosen.samples < 1 or chosen.length < MIN_TOKENS or chosen.batch_size < 1:
        raise WorkerError(
            "the calibration settings ask for too little",
            code="bad-setting",
            cause=f"samples = {chosen.samples}, length = {chosen.length}, batch_size = {chosen.batch_size}",
            hint=f"Use at least 1 sample, a length of {MIN_TOKENS} tokens and a batch size of 1.",
        )
    return chosen


def calibration_texts(path: Path, field: str) -> list[str]:
    """All texts of a .jsonl, text or Parquet file, or of all such files of a folder, in the order of their names.

    Raises WorkerError `bad-calibration` with the file and line at fault.
    """
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in (*TEXT_KINDS, ".parquet"))
        if not files:
            raise WorkerError(
                "the calibration folder holds no file that can be read",
                code="bad-calibration",
                cause=f"no {', '.join(TEXT_KINDS)} or .parquet file in {path}",
                hint="Give a folder with at least one such file.",
            )
        return [text for file in files for text in calibration_texts(file, field)]
    texts = _parquet_texts(path, field) if path.suffix == ".parquet" else read_texts(path, field)
    if not texts:
        raise WorkerError(
            "the calibration file is empty",
            code="bad-calibration",
            cause=str(path),
            hint="Give some hundred paragraphs of text like that which the model will see.",
        )
    if any("\x00" in text for text in texts):
        raise WorkerError(
            "the calibration file is binary, not text",
            code="bad-calibration",
            cause=f"NUL bytes in {path.name}",
            hint="Give a UTF-8 text file, a .jsonl file or a .parquet file.",
        )
    return texts


def load_set(
    path: Path,
    settings: SetSettings,
    encode: Callable[[str], list[int]],
    *,
    evaluation: Iterable[str] = (),
    fewest_batches: int = FEWEST_BATCHES,
) -> CalibrationSet:
    """Draw samples by seed and lay them out in batches; fewer than `fewest_batches` are warned about.

    `encode` turns a text into token ids; `evaluation` is the text that the engine will be judged on: what the set
    shares with it is warned about, since agreement measured on it would flatter.
    Raises WorkerError `bad-calibration`.
    """
    texts = calibration_texts(path, settings.field)
    drawing = random.Random(settings.seed)  # noqa: S311 (a draw that must repeat, not a secret)
    drawing.shuffle(texts)
    drawn: list[tuple[list[int], str]] = []
    lengths: list[int] = []
    for text in texts:
        ids = encode(text)
        lengths.append(len(ids))
        if len(ids) >= MIN_TOKENS:
            drawn.append((ids[: settings.length], text))
        if len(drawn) == settings.samples:
            break
    if not drawn:
        raise WorkerError(
            "the calibration file holds no text that is long enough",
            code="bad-calibration",
            cause=f"{len(texts)} texts, none of {MIN_TOKENS} tokens or more",
            hint="Give ordinary text: some hundred paragraphs like those the model will see.",
        )
    batches = _batches([ids for ids, _ in drawn], settings.batch_size, drawing)
    warnings = []
    if len(drawn) < settings.samples:
        warnings.append(f"the calibration set holds {len(drawn)} samples of the {settings.samples} asked for")
    if len(batches) < fewest_batches:
        warnings.append(
            f"{len(batches)} calibration batches of {settings.batch_size} are few: use {fewest_batches} or more "
            f"(samples = {fewest_batches * settings.batch_size}), or a smaller batch_size"
        )
    shared = overlap([text for _, text in drawn], evaluation)
    if shared:
        warnings.append(
            f"{shared} of the {len(drawn)} calibration samples share text with the evaluation text: results on it "
            "will look better than they are"
        )
    return CalibrationSet(
        batches=batches,
        samples=len(drawn),
        tokens=sum(len(ids) for batch in batches for ids in batch),
        histogram=_histogram(lengths),
        preview=[" ".join(text.split())[:PREVIEW_CHARACTERS] for _, text in drawn[:3]],
        warnings=warnings,
    )


def overlap(texts: Iterable[str], evaluation: Iterable[str]) -> int:
    """How many of `texts` share eight words in a row, case and spacing aside, with any text of `evaluation`."""
    known = {shingle for text in evaluation for shingle in _shingles(text)}
    if not known:
        return 0
    return sum(1 for text in texts if not known.isdisjoint(_shingles(text)))


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[at : at + _SHINGLE]) for at in range(len(words) - _SHINGLE + 1)}


def _batches(samples: list[list[int]], size: int, drawing: random.Random) -> list[list[list[int]]]:
    ordered = sorted(samples, key=len)
    batches = []
    for at in range(0, len(ordered), size):
        batch = ordered[at : at + size]
        shortest = len(batch[0])
        batches.append([ids[:shortest] for ids in batch])
    drawing.shuffle(batches)
    return batches


def _histogram(lengths: list[int]) -> list[tuple[int, int]]:
    counts: dict[int, int] = {}
    for length in lengths:
        edge = next((edge for edge in _BINS if length <= edge), max(_BINS) * 2)
        counts[edge] = counts.get(edge, 0) + 1
    return sorted(counts.items())


def _parquet_texts(path: Path, field: str) -> list[str]:
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise WorkerError(
            "reading a Parquet file needs pyarrow, which this environment does not have",
            code="bad-calibration",
            cause=str(path),
            hint="Install pyarrow there, or give the texts as a .jsonl file.",
        ) from error
    try:
        file = parquet.ParquetFile(path)
        names = file.schema_arrow.names
        if field not in names:
            raise WorkerError(
                f"the Parquet file has no column `{field}`",
                code="bad-calibration",
                cause=f"columns: {', '.join(names)[:200]}",
                hint="Set calibration.field to the column that holds the text.",
            )
        column = file.read(columns=[field]).column(field).to_pylist()
    except (OSError, ValueError) as error:
        raise WorkerError(
            "the Parquet file cannot be read", code="bad-calibration", cause=f"{path.name}: {str(error)[:200]}"
        ) from error
    return [str(text).strip() for text in column if text is not None and str(text).strip()]
