"""Files of questions in the layouts of MMLU, ARC, HellaSwag and GSM8K, asked as lm-evaluation-harness asks them, but
for MMLU's subject, which its files do not name.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.core.errors import BadInputError
from workbench.core.home import expanded
from workbench.core.measure.quality_options import TaskOptions
from workbench.core.measure.scores import ChoiceItem, GenerationItem, TaskQuestions
from workbench.core.measure.tasks import Task

MOST_BYTES = 256 << 20
ANSWER_TOKENS = 256
_LETTERS = "ABCDEFGHIJ"
_LAYOUTS = {
    "mmlu": "MMLU: a .csv file with question, A, B, C, D, answer (a letter) in each row",
    "arc": 'ARC: a .jsonl file with {"question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}',
    "hellaswag": 'HellaSwag: a .jsonl file with {"ctx", "endings", "label"}',
    "gsm8k": 'GSM8K: a .jsonl file with {"question", "answer": "... #### 42"}',
}


@dataclass(frozen=True)
class _Row:
    """One question of any layout."""

    context: str
    choices: tuple[str, ...] = ()
    gold: int = 0
    answer: str = ""
    """Free answers: the whole right one."""

    @property
    def solved(self) -> str:
        """As an example in front of others."""
        return self.context + (self.choices[self.gold] if self.choices else f" {self.answer}")


class _WrongError(ValueError):
    """What is wrong with a row, in words."""


def read_task(options: TaskOptions) -> Task:
    """The task in a file. The first `shots` questions are the solved examples in front of all others and are not
    asked. Raises BadInputError with the row at fault."""
    path = expanded(options.path)
    rows_of_file, digest = _rows(path)
    kind = options.kind if options.kind != "auto" else _told(path, rows_of_file[0][1])
    name = options.name or path.stem
    read = _READERS[kind]
    rows: list[_Row] = []
    for number, raw in rows_of_file:
        try:
            rows.append(read(raw))
        except _WrongError as error:
            raise _bad(path, f"row {number}: {error}", kind) from error
        except KeyError as error:
            raise _bad(path, f"row {number}: it has no {error.args[0]!r}", kind) from error
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise _bad(path, f"row {number} is not of this layout: {str(raw)[:80]}", kind) from error
    if len(rows) <= options.shots:
        raise _bad(path, f"{len(rows)} questions, of which {options.shots} would be examples", kind)
    examples, asked = rows[: options.shots], rows[options.shots :]
    if options.limit is not None and options.limit < len(asked):
        asked = [asked[index * len(asked) // options.limit] for index in range(options.limit)]
    front = "".join(f"{example.solved}\n\n" for example in examples)
    if kind == "mmlu":
        front = "The following are multiple choice questions (with answers).\n\n" + front
    part = f", {len(asked)} of {len(rows)} questions" if len(asked) < len(rows) else ""
    source = f"{path.name}{part}, SHA-256 {digest}"
    if kind == "gsm8k":
        items = tuple(
            GenerationItem(prompt=front + row.context, stop=("Question:",), max_tokens=ANSWER_TOKENS) for row in asked
        )
        questions = TaskQuestions(name=name, generations=items)
        return Task(questions, answers=tuple(row.answer for row in asked), shots=options.shots, source=source)
    choices = tuple(ChoiceItem(context=front + row.context, choices=row.choices) for row in asked)
    return Task(
        TaskQuestions(name=name, choices=choices),
        gold=tuple(row.gold for row in asked),
        normalised=kind != "mmlu",
        shots=options.shots,
        source=source,
    )


def _bad(path: Path, evidence: str, kind: str = "") -> BadInputError:
    layout = _LAYOUTS.get(kind, "")
    return BadInputError(
        "The file of questions cannot be used.",
        evidence=f"{path}: {evidence}",
        fix=f"The layout is that of {layout}." if layout else "Layouts: " + "; ".join(_LAYOUTS.values()) + ".",
        code="bad-task",
    )


def _rows(path: Path) -> tuple[list[tuple[int, Any]], str]:
    """Rows with their numbers from 1, and the file's SHA-256."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _bad(path, f"{path.stat().st_size:,} bytes; at most {MOST_BYTES:,}")
        raw = path.read_bytes()
        content = raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(path, str(error)) from error
    rows: list[tuple[int, Any]] = []
    if path.suffix == ".csv":
        try:
            table = [(n, row) for n, row in enumerate(csv.reader(io.StringIO(content)), 1) if row]
        except csv.Error as error:
            raise _bad(path, str(error), "mmlu") from error
        if table and [cell.strip().lower() for cell in table[0][1]] == ["question", "a", "b", "c", "d", "answer"]:
            table = table[1:]
        rows = list(table)
    else:
        for number, line in enumerate(content.split("\n"), 1):
            if line.strip():
                try:
                    rows.append((number, json.loads(line)))
                except (ValueError, RecursionError) as error:
                    raise _bad(path, f"row {number} is no JSON: {line[:80]}") from error
    if not rows:
        raise _bad(path, "no question in it")
    return rows, hashlib.sha256(raw).hexdigest()


def _told(path: Path, row: Any) -> str:
    """The layout, told by the first row. Raises BadInputError."""
    if isinstance(row, list):
        return "mmlu"
    if isinstance(row, dict):
        if "endings" in row:
            return "hellaswag"
        if "answerKey" in row:
            return "arc"
        if "question" in row and "answer" in row:
            return "gsm8k" if isinstance(row["answer"], str) and "choices" not in row else "mmlu"
    keys = ", ".join(map(str, row))[:120] if isinstance(row, dict) else type(row).__name__
    raise _bad(path, f"its first row has {keys}, which is none of the layouts")


def _mmlu(row: Any) -> _Row:
    if isinstance(row, Mapping):
        question, choices, answer = str(row["question"]), [str(each) for each in row["choices"]], row["answer"]
    else:
        if len(row) != 6:
            raise _WrongError(f"{len(row)} columns; question, four choices and the answer are 6")
        question, choices, answer = row[0], list(row[1:5]), row[5]
    gold = answer if isinstance(answer, int) else _LETTERS.find(str(answer).strip().upper() or "?")
    if not 0 <= gold < len(choices):
        raise _WrongError(f"the answer is {answer!r} and none of {', '.join(_LETTERS[: len(choices)])}")
    letters = _LETTERS[: len(choices)]
    listed = "".join(f"\n{letter}. {text}" for letter, text in zip(letters, choices, strict=True))
    return _Row(f"{question.strip()}{listed}\nAnswer:", tuple(f" {letter}" for letter in letters), gold)


def _arc(row: Mapping[str, Any]) -> _Row:
    question = row["question"]
    if isinstance(question, Mapping):
        stem, given = str(question["stem"]), [(str(c["label"]), str(c["text"])) for c in question["choices"]]
    else:
        stem = str(question)
        given = list(zip(map(str, row["choices"]["label"]), map(str, row["choices"]["text"]), strict=True))
    labels = [label for label, _ in given]
    key = str(row["answerKey"])
    if key not in labels:
        raise _WrongError(f"answerKey is {key!r} and none of {', '.join(labels)}")
    return _Row(f"Question: {stem}\nAnswer:", tuple(f" {text}" for _, text in given), labels.index(key))


def _hellaswag(row: Mapping[str, Any]) -> _Row:
    if str(row.get("label", "")) == "":
        raise _WrongError("it has no label: questions of the test split cannot be judged")
    label, endings = int(row["label"]), [str(each) for each in row["endings"]]
    if not 0 <= label < len(endings):
        raise _WrongError(f"label {label} of {len(endings)} endings")
    apart = "ctx_a" in row and "ctx_b" in row
    begun = f"{row['ctx_a']} {str(row['ctx_b']).capitalize()}" if apart else str(row["ctx"])
    if not begun.strip():
        raise _WrongError("its context is empty")
    activity = f"{row['activity_label']}: " if row.get("activity_label") else ""
    return _Row(_plain(activity + begun), tuple(f" {_plain(each)}" for each in endings), label)


def _plain(text: str) -> str:
    """Without WikiHow's marks, as lm-evaluation-harness takes them out."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ").strip()


def _gsm8k(row: Mapping[str, Any]) -> _Row:
    question, answer = str(row["question"]), str(row["answer"])
    if not re.search(r"\d", answer):
        raise _WrongError(f"the answer has no number: {answer[:60]!r}")
    return _Row(f"Question: {question}\nAnswer:", answer=answer)


_READERS: dict[str, Callable[[Any], _Row]] = {
    "mmlu": _mmlu,
    "arc": _arc,
    "hellaswag": _hellaswag,
    "gsm8k": _gsm8k,
}
