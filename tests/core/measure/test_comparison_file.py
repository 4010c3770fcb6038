"""A comparison's folder: all of it back, and what is damaged said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.core.measure.things import a_comparison, a_point, a_quality, a_subject
from workbench.core.answer import AnswerRecord
from workbench.core.errors import BadInputError
from workbench.core.measure.comparison import AnswerOf, Comparison
from workbench.core.measure.comparison_file import (
    load_comparison,
    load_comparison_head,
    write_answers,
    write_comparison_head,
    write_quality,
)
from workbench.core.measure.run_file import write_run


def _written(folder: Path) -> Comparison:
    made = a_comparison(
        (a_subject("s1", "A"), a_subject("s2", "B")), (a_point("s1", 1), a_point("s2", 1)), (a_quality("s1", 7.0),)
    )
    answers = (AnswerOf(subject="s1", prompt=0, record=AnswerRecord(reason="stop")),)
    write_comparison_head(folder, made.head)
    assert made.run is not None
    write_run(folder / "speed", made.run)
    write_quality(folder, made.quality)
    write_answers(folder, answers)
    return Comparison(made.head, made.run, made.quality, answers)


def test_all_of_it_comes_back(tmp_path: Path) -> None:
    made, found = _written(tmp_path), load_comparison(tmp_path)
    assert (found.head, found.quality, found.answers) == (made.head, made.quality, made.answers)
    assert found.run is not None and made.run is not None
    assert [point.subject for point in found.run.points] == ["s1", "s2"]
    assert found.run.points[0].requests[0].chunks[0].tokens == 1


def test_what_was_measured_so_far_is_enough(tmp_path: Path) -> None:
    made = a_comparison((a_subject("s1", "A"),), ())
    write_comparison_head(tmp_path, made.head)
    found = load_comparison(tmp_path)
    assert (found.run, found.quality, found.answers, found.head.notes) == (None, (), (), ())


def test_a_damaged_part_is_said_and_the_rest_is_there(tmp_path: Path) -> None:
    _written(tmp_path)
    (tmp_path / "quality.json").write_text("{", "utf-8")
    found = load_comparison(tmp_path)
    assert found.quality == ()
    assert len(found.answers) == 1
    assert any("quality.json is damaged" in note for note in found.head.notes)


def test_a_newer_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no comparison"):
        load_comparison_head(tmp_path)
    _written(tmp_path)
    data = json.loads((tmp_path / "comparison.json").read_text("utf-8"))
    (tmp_path / "comparison.json").write_text(json.dumps({**data, "schema_version": 99}), "utf-8")
    with pytest.raises(BadInputError, match="newer Engine Workbench"):
        load_comparison(tmp_path)
