"""What is asked of every subject: one's own text is held against what an engine was calibrated with."""

from __future__ import annotations

from pathlib import Path

from workbench.core.data import resource
from workbench.core.measure.passages import shipped
from workbench.core.measure.quality_options import QualityOptions
from workbench.measure.quality_material import overlap_words, read_material

SENTENCE = "One, two three four five six seven eight nine ten eleven twelve thirteen; fourteen!"


def own(tmp_path: Path, text: str) -> QualityOptions:
    path = tmp_path / "own.txt"
    path.write_text(text, "utf-8")
    return QualityOptions(text=str(path))


def test_ones_own_text_is_held_against_the_calibration_text(tmp_path: Path) -> None:
    text = read_material(own(tmp_path, f"A text of mine. {SENTENCE}")).text
    assert not shipped(text.source)
    seen = tmp_path / "seen.jsonl"
    seen.write_text('{"text": "before that ' + SENTENCE.lower().replace(",", " -") + ' and after"}\n', "utf-8")
    (words,) = overlap_words([seen], text)
    assert words.startswith("1 of 1 passages share 13 words in a row")
    assert overlap_words([resource("calibration.jsonl")], text) == ()


def test_a_calibration_text_that_is_gone_is_said(tmp_path: Path) -> None:
    text = read_material(QualityOptions(passages=2)).text
    (words,) = overlap_words([tmp_path / "gone.jsonl"], text)
    assert "gone.jsonl) cannot be read any more" in words and "not known" in words


def test_a_precision_that_is_named_twice_is_simulated_once() -> None:
    assert QualityOptions(simulate=("fp8", "nvfp4", "fp8")).simulate == ("fp8", "nvfp4")
