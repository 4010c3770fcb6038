"""Task files in the layouts of MMLU, ARC, HellaSwag and GSM8K, and their scores. The questions are made up here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.core.errors import BadInputError
from workbench.core.measure.quality_options import TaskOptions
from workbench.core.measure.scores import ChoiceResult, TaskResult
from workbench.core.measure.task_files import read_task
from workbench.core.measure.tasks import Task, final_number, task_scores

MMLU = 'What is 2 + 2?,3,4,5,6,B\n"A ""quoted"" one, with a comma",w,x,y,z,D\nThird?,a,b,c,d,A\n'
ARC = [
    {
        "id": "1",
        "question": {
            "stem": "Which floats?",
            "choices": [{"text": "a stone", "label": "A"}, {"text": "dry wood", "label": "B"}],
        },
        "answerKey": "B",
    },
    {"question": "Which sinks?", "choices": {"text": ["lead", "cork"], "label": ["1", "2"]}, "answerKey": "1"},
]
HELLASWAG = [
    {
        "activity_label": "Baking",
        "ctx_a": "A man opens an oven.",
        "ctx_b": "he",
        "ctx": "unused",
        "endings": ["takes out [header] a loaf.", "swims away."],
        "label": 0,
    }
]
GSM8K = [
    {"question": "3 bags of 4 apples?", "answer": "3 * 4 = 12\n#### 12"},
    {"question": "10 more?", "answer": "#### 1,022"},
]


def write(path: Path, rows: Any) -> str:
    path.write_text(rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


def test_mmlu_is_asked_by_letters(tmp_path: Path) -> None:
    task = read_task(TaskOptions(path=write(tmp_path / "algebra.csv", MMLU)))
    assert task.name == "algebra" and task.gold == (1, 3, 0) and not task.normalised
    item = task.questions.choices[0]
    assert item.choices == (" A", " B", " C", " D")
    assert item.context.endswith("What is 2 + 2?\nA. 3\nB. 4\nC. 5\nD. 6\nAnswer:")
    assert 'A "quoted" one, with a comma' in task.questions.choices[1].context


def test_a_header_is_no_question(tmp_path: Path) -> None:
    task = read_task(TaskOptions(path=write(tmp_path / "a.csv", "question,A,B,C,D,answer\n" + MMLU)))
    assert task.gold == (1, 3, 0)


def test_examples_stand_in_front_and_are_not_asked(tmp_path: Path) -> None:
    task = read_task(TaskOptions(path=write(tmp_path / "a.csv", MMLU), shots=1))
    assert task.gold == (3, 0) and task.shots == 1
    for item in task.questions.choices:
        assert "What is 2 + 2?\nA. 3\nB. 4\nC. 5\nD. 6\nAnswer: B\n\n" in item.context
    with pytest.raises(BadInputError, match="of which 3 would be examples"):
        read_task(TaskOptions(path=str(tmp_path / "a.csv"), shots=3))


def test_a_limit_takes_questions_from_all_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "".join(f"q{n},1,2,3,4,A\n" for n in range(10)))
    task = read_task(TaskOptions(path=path, limit=3))
    assert [item.context.split("\n")[2] for item in task.questions.choices] == ["q0", "q3", "q6"]
    assert "3 of 10 questions" in task.source


def test_arc_in_both_of_its_layouts(tmp_path: Path) -> None:
    task = read_task(TaskOptions(path=write(tmp_path / "arc.jsonl", ARC)))
    assert task.gold == (1, 0) and task.normalised
    assert task.questions.choices[0].context == "Question: Which floats?\nAnswer:"
    assert task.questions.choices[1].choices == (" lead", " cork")


def test_hellaswag_without_its_marks(tmp_path: Path) -> None:
    task = read_task(TaskOptions(path=write(tmp_path / "h.jsonl", HELLASWAG)))
    item = task.questions.choices[0]
    assert item.context == "Baking: A man opens an oven. He"
    assert item.choices == (" takes out a loaf.", " swims away.")


def test_gsm8k_is_answered_freely_and_judged_by_the_last_number(tmp_path: Path) -> None:
    task = read_task(TaskOptions(path=write(tmp_path / "g.jsonl", GSM8K)))
    assert task.questions.generations[0].prompt == "Question: 3 bags of 4 apples?\nAnswer:"
    assert task.questions.generations[0].stop == ("Question:",), "a blank line does not end the reckoning"
    result = TaskResult(name="g", answers=("That makes 12.", "It is 1023"))
    (score,) = task_scores(task, result, None)
    assert score.metric == "exact_match" and score.score.value == 0.5 and score.score.n == 2


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("so 3 and 4 make 12.", "12"),
        ("#### 1,022", "1022"),
        ("#### $5.50 and not 7", "5.5"),
        ("it costs $1,234.00", "1234"),
        ("-7", "-7"),
        ("none at all", None),
    ],
)
def test_the_final_number(text: str, number: str | None) -> None:
    assert final_number(text) == number


@pytest.mark.parametrize(
    ("name", "rows", "words"),
    [
        ("a.csv", "q,1,2,3,A\n", "row 1: 5 columns"),
        ("a.csv", "q,1,2,3,4,A\nq,1,2,3,4,E\n", "row 2: the answer is 'E'"),
        ("a.jsonl", '{"answerKey": "A"}\n', "row 1: it has no 'question'"),
        ("a.jsonl", [ARC[0], 7], "row 2 is not of this layout: 7"),
        ("a.jsonl", [{"ctx": " ", "endings": ["a", "b"], "label": 0}], "row 1: its context is empty"),
        ("a.jsonl", "not json\n", "row 1 is no JSON"),
        ("a.jsonl", [{**HELLASWAG[0], "label": ""}], "no label"),
        ("a.jsonl", [{"question": "q", "answer": "no number"}], "has no number"),
        ("a.jsonl", [{"text": "what"}], "none of the layouts"),
        ("a.jsonl", "", "no question in it"),
        ("a.jsonl", [{**ARC[0], "answerKey": "Z"}], "'Z' and none of A, B"),
    ],
)
def test_a_broken_file_is_refused_with_its_row(tmp_path: Path, name: str, rows: Any, words: str) -> None:
    with pytest.raises(BadInputError) as caught:
        read_task(TaskOptions(path=write(tmp_path / name, rows)))
    assert words in caught.value.evidence and "Layouts" in caught.value.fix + "Layouts" * ("layout" in caught.value.fix)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.jsonl", "b.jsonl"):
        with pytest.raises(BadInputError):
            read_task(TaskOptions(path=str(tmp_path / name)))


def _choices(tmp_path: Path) -> Task:
    return read_task(TaskOptions(path=write(tmp_path / "arc.jsonl", ARC)))


def test_acc_goes_by_likelihood_and_acc_norm_by_likelihood_a_character(tmp_path: Path) -> None:
    task = _choices(tmp_path)
    result = TaskResult(
        name="arc",
        choices=(
            ChoiceResult(logprobs=(-7.0, -7.5), tokens=(2, 2)),  # a stone, dry wood: the longer wins a character
            ChoiceResult(logprobs=(-1.0, -2.0), tokens=(1, 1)),
        ),
    )
    by_metric = {score.metric: score.score.value for score in task_scores(task, result, None)}
    assert by_metric == {"acc": 0.5, "acc_norm": 1.0}


def test_what_is_not_a_number_is_wrong_and_differences_are_paired(tmp_path: Path) -> None:
    task = _choices(tmp_path)
    good = ChoiceResult(logprobs=(-2.0, -1.0), tokens=(1, 1)), ChoiceResult(logprobs=(-1.0, -2.0), tokens=(1, 1))
    broken = TaskResult(name="arc", choices=(good[0], ChoiceResult(logprobs=(None, -9.0), tokens=(1, 1))))
    scores = task_scores(task, broken, TaskResult(name="arc", choices=good))
    assert scores[0].score.value == 0.5
    assert scores[0].difference is not None and scores[0].difference.value == -0.5
    same = task_scores(task, TaskResult(name="arc", choices=good), TaskResult(name="arc", choices=good))
    assert same[0].difference is not None and same[0].difference.value == 0.0
    assert same[0].difference.low < 0 < same[0].difference.high  # type: ignore[operator]


def test_the_interval_of_a_paired_difference_is_that_of_agresti_and_min(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "".join(f"q{n},1,2,3,4,A\n" for n in range(100)))
    task = read_task(TaskOptions(path=path))
    right, wrong = (ChoiceResult(logprobs=scores, tokens=(1,) * 4) for scores in ((0.0, -1, -1, -1), (-1, 0.0, -1, -1)))
    ours = TaskResult(name="a", choices=(right,) * 70 + (wrong,) * 30)
    theirs = TaskResult(name="a", choices=(right,) * 60 + (wrong,) * 10 + (right,) * 5 + (wrong,) * 25)
    (score,) = task_scores(task, ours, theirs)
    # 10 gained, 5 lost: (10.5 - 5.5) / 102 = 0.0490 with an error of sqrt(16 - 25 / 102) / 102 = 0.0389
    assert score.difference is not None and score.difference.value == pytest.approx(0.05)
    assert score.difference.low == pytest.approx(0.0490 - 1.96 * 0.0389, abs=1e-3)
    assert score.difference.high == pytest.approx(0.0490 + 1.96 * 0.0389, abs=1e-3)
