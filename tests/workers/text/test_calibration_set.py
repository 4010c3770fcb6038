"""Calibration text: the shipped set, and what a person is told of a file of their own before an hour is spent."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from workbench.core.data import resource
from workbench.workers.modelopt.quantize import evaluation_texts
from workbench.workers.protocol import WorkerError
from workbench.workers.text.calibration import MIN_TOKENS
from workbench.workers.text.calibration_set import (
    FEWEST_BATCHES,
    SetSettings,
    calibration_texts,
    load_set,
    overlap,
    settings_from,
)

WORDS = [f"word{number}" for number in range(400)]


def encode(text: str) -> list[int]:
    """A token a word: enough to count by."""
    return [len(word) for word in text.split()]


def sample(words: int, start: int = 0) -> str:
    return " ".join(WORDS[start : start + words])


def jsonl(path: Path, texts: list[Any], field: str = "text") -> Path:
    path.write_text("".join(json.dumps({field: text}) + "\n" for text in texts), encoding="utf-8")
    return path


def refused(path: Path, field: str = "text") -> WorkerError:
    with pytest.raises(WorkerError) as caught:
        load_set(path, SetSettings(field=field), encode)
    assert caught.value.code == "bad-calibration"
    assert caught.value.hint
    return caught.value


@pytest.fixture(scope="module")
def shipped() -> list[dict[str, str]]:
    lines = resource("calibration_512.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_shipped_set_holds_512_samples_of_each_kind_of_text(shipped: list[dict[str, str]]) -> None:
    kinds = Counter(row["kind"] for row in shipped)

    assert len(shipped) >= 512
    assert set(kinds) == {"prose", "dialogue", "code", "list"}
    assert min(kinds.values()) >= 60
    assert resource("calibration_512.jsonl").stat().st_size < 1_500_000


def test_no_shipped_sample_is_there_twice_or_too_short(shipped: list[dict[str, str]]) -> None:
    flat = [" ".join(row["text"].split()) for row in shipped]

    assert len(set(flat)) == len(flat)
    assert len({text[:120] for text in flat}) == len(flat), "nor begins like another"
    assert min(len(text.split()) for text in flat) >= 3 * MIN_TOKENS


def test_shipped_samples_are_150_to_600_tokens_on_average(shipped: list[dict[str, str]]) -> None:
    # Words, numbers and single marks: a fifth to a quarter fewer than a tokenizer of 50,000 entries makes.
    pieces = [len(re.findall(r"\w+|[^\w\s]", row["text"])) for row in shipped]

    assert 150 <= sum(pieces) / len(pieces) <= 600


def test_the_shipped_set_shares_nothing_with_the_prompts_that_engines_are_judged_on(
    shipped: list[dict[str, str]],
) -> None:
    judged = evaluation_texts(str(resource("verify_prompts.json")))

    assert len(judged) > 12
    assert overlap([row["text"] for row in shipped], judged) == 0
    assert overlap(judged, judged) > 0, "the measure itself finds an overlap where there is one"


def test_every_source_of_the_shipped_set_has_its_licence_noted(shipped: list[dict[str, str]]) -> None:
    note = resource("calibration_512.md").read_text(encoding="utf-8")
    counted = Counter(row["source"] for row in shipped)

    for source, count in counted.items():
        assert re.search(rf"^\| `{source}` \| {count} \|", note, re.M), f"{source}: {count} samples"


def test_the_shipped_set_loads_without_a_warning() -> None:
    found = load_set(resource("calibration_512.jsonl"), SetSettings(), encode)

    assert (found.samples, len(found.batches), found.warnings) == (512, 128, [])


def test_a_draw_repeats_with_its_seed_and_changes_with_another(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "set.jsonl", [sample(20, start) for start in range(300)])

    def drawn(seed: int) -> list[str]:
        return load_set(path, SetSettings(samples=40, seed=seed), encode).preview

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_batches_hold_no_padding_and_the_cut_is_the_length(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "set.jsonl", [sample(10 + 3 * number) for number in range(100)])

    found = load_set(path, SetSettings(samples=100, length=64, batch_size=4), encode)

    assert all(len({len(ids) for ids in batch}) == 1 for batch in found.batches)
    assert max(len(ids) for batch in found.batches for ids in batch) == 64
    assert found.tokens == sum(len(ids) for batch in found.batches for ids in batch)
    assert sum(count for _, count in found.histogram) == 100
    assert found.histogram[0] == (16, 3), "10, 13 and 16 tokens"


def test_fewer_batches_than_needed_are_warned_about_with_the_number_that_would_do(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "set.jsonl", [sample(20, start) for start in range(64)])

    few = load_set(path, SetSettings(samples=64, batch_size=4), encode)
    enough = load_set(path, SetSettings(samples=64, batch_size=2), encode)

    assert few.warnings == [
        f"16 calibration batches of 4 are few: use {FEWEST_BATCHES} or more (samples = 128), or a smaller batch_size"
    ]
    assert enough.warnings == []


def test_too_few_samples_are_said_with_both_numbers(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "set.jsonl", [sample(20, start) for start in range(40)])

    found = load_set(path, SetSettings(samples=512, batch_size=1), encode)

    assert found.warnings == ["the calibration set holds 40 samples of the 512 asked for"]


def test_text_that_is_judged_on_as_well_is_warned_about(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "set.jsonl", [sample(20, 20 * number) for number in range(10)])

    found = load_set(path, SetSettings(samples=10, batch_size=1), encode, evaluation=[sample(12, 64).upper()])

    assert "1 of the 10 calibration samples share text with the evaluation text" in found.warnings[-1]


def test_eight_words_in_a_row_are_an_overlap_and_seven_are_not() -> None:
    assert overlap([sample(30)], [sample(8, 5)]) == 1
    assert overlap([sample(30)], [sample(7, 5)]) == 0


def test_text_files_folders_and_other_fields_are_read(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("One paragraph\nof two lines.\n\nAnother.\n")
    jsonl(tmp_path / "a.jsonl", ["first", "second"], field="prompt")
    (tmp_path / "notes.csv").write_text("not read")

    assert calibration_texts(tmp_path / "b.txt", "prompt") == ["One paragraph\nof two lines.", "Another."]
    assert calibration_texts(tmp_path, "prompt")[:2] == ["first", "second"]
    assert len(calibration_texts(tmp_path, "prompt")) == 4


@pytest.mark.parametrize("name", ["empty.txt", "empty.jsonl", "blank.txt"])
def test_an_empty_file_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("\n\n  \n" if name == "blank.txt" else "")

    assert "empty" in refused(tmp_path / name).message


@pytest.mark.parametrize("name", ["model.bin", "text.jsonl", "text.txt"])
@pytest.mark.parametrize("data", [b"\x80\x04\x95\xff\xfe\x00\x01" * 50, b"some text\x00\x00\x00 and more of it" * 9])
def test_a_binary_file_says_so(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)

    refused(tmp_path / name)


def test_lines_without_the_field_are_named_by_number(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "set.jsonl", [sample(20)], field="content")

    error = refused(path)

    assert "line 1" in error.message and "`text`" in error.message
    assert "set.jsonl:1" in error.cause


def test_text_that_is_too_short_throughout_says_how_short(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "set.jsonl", ["too short"] * 30)

    assert f"30 texts, none of {MIN_TOKENS} tokens" in refused(path).cause


def test_a_folder_with_nothing_to_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.pkl").write_bytes(b"\x80\x04.")

    assert "no file that can be read" in refused(tmp_path).message


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set.parquet").write_bytes(b"PAR1 this is not one")

    refused(tmp_path / "set.parquet")


def test_parquet_columns_are_read_and_missing_ones_named(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "set.parquet"
    parquet.write_table(arrow.table({"body": [sample(20), None, " "]}), path)

    assert calibration_texts(path, "body") == [sample(20)]
    assert "columns: body" in refused(path).cause


@pytest.mark.parametrize(
    "given", [{"samples": 0}, {"length": 2}, {"batch_size": 0}, {"samples": "many"}, {"length": None}]
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(WorkerError) as caught:
        settings_from(given)
    assert caught.value.code == "bad-setting"
