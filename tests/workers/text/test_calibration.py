"""Calibration files: what is read, what is drawn, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from workbench.workers.protocol import WorkerError
from workbench.workers.text.calibration import Calibration, calibration_from, draw_ids, read_texts

SHIPPED = Path(__file__).resolve().parents[3] / "resources" / "calibration.jsonl"


def letters(text: str) -> list[int]:
    return [ord(letter) for letter in text]


def test_the_shipped_text_is_long_enough_and_has_no_line_twice() -> None:
    texts = read_texts(SHIPPED, "text")
    assert len(texts) >= 32
    assert len(set(texts)) == len(texts)
    assert min(map(len, texts)) > 100


def test_paragraphs_of_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes(b"one\ntwo\r\n\r\nthree\n\n\n\nfour\n")
    assert read_texts(path, "text") == ["one\ntwo", "three", "four"]


def test_the_seed_decides_the_draw_and_length_cuts_it() -> None:
    first = draw_ids(Calibration(SHIPPED, samples=5, length=20, seed=1), letters)
    again = draw_ids(Calibration(SHIPPED, samples=5, length=20, seed=1), letters)
    other = draw_ids(Calibration(SHIPPED, samples=5, length=20, seed=2), letters)
    assert first == again != other
    assert [len(ids) for ids in first] == [20] * 5


def test_the_line_at_fault_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_text('{"text": "fine"}\n{"txt": "typo"}\n')
    with pytest.raises(WorkerError) as caught:
        read_texts(path, "text")
    assert "line 2" in caught.value.message and caught.value.code == "bad-calibration"


@pytest.mark.parametrize("content", ["", "ab\n\ncd"])
def test_texts_that_are_too_short_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "c.txt"
    path.write_text(content)
    with pytest.raises(WorkerError, match="long enough"):
        draw_ids(Calibration(path), letters)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WorkerError, match="cannot be read"):
        read_texts(path, "text")


@pytest.mark.parametrize("settings", [{"samples": "many"}, {"samples": 0}, {"length": 3}])
def test_settings_that_cannot_be(settings: dict[str, Any]) -> None:
    with pytest.raises(WorkerError) as caught:
        calibration_from(settings, str(SHIPPED))
    assert caught.value.code == "bad-setting"
