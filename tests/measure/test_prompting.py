"""Prompts to several variants, together and one after the other, over the real way to an engine."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from workbench.core.home import Home
from workbench.core.measure.comparison import ComparisonHead
from workbench.core.measure.comparison_file import load_comparison
from workbench.core.measure.load import Load
from workbench.core.measure.record import Subject
from workbench.core.measure.workload import WORKLOADS
from workbench.core.messages import Sampling
from workbench.measure.events import AnswerText, Event, SubjectFailed
from workbench.measure.prompting import PromptRequest, ask_variants, room_for
from workbench.measure.subjects import Asked, describe

pytestmark = pytest.mark.slow


@pytest.fixture
def subjects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Home) -> tuple[Subject, ...]:
    python = make_interpreter(tmp_path / "python", tokens_per_s=200, kv_blocks=10, answer=["one", " two", " three"])
    monkeypatch.setenv(VARIABLE, str(python))
    found = [describe(home, Asked(make_engine_folder(tmp_path / name, name)), name)[0] for name in ("a", "b")]
    return tuple(found)


def request_of(home: Home, subjects: tuple[Subject, ...], **more: Any) -> PromptRequest:
    head = ComparisonHead(
        id="x", created_at=1.0, baseline=subjects[0].id, subjects=subjects, workload=WORKLOADS["demo"],
        load=Load(requests=1), prompts=("first", "second"), status="complete",
    )  # fmt: skip
    sampling = Sampling(max_tokens=8)
    return PromptRequest(subjects, ((0, "first"), (1, "second")), sampling, head, home.comparisons / "x", **more)


@pytest.mark.parametrize("together", [False, True])
def test_all_answers_come_and_are_kept(home: Home, subjects: tuple[Subject, ...], together: bool) -> None:
    heard: list[Event] = []
    request = request_of(home, subjects, together=together)
    head, answers = ask_variants(home, request, heard.append, threading.Event())
    assert {(one.subject, one.prompt) for one in answers} == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}
    assert all(one.record is not None and one.record.text.startswith("one two") for one in answers)
    assert {event.prompt for event in heard if isinstance(event, AnswerText)} == {0, 1}
    assert all(subject.kv_tokens == 320 for subject in head.subjects), "what the engine reports of itself is kept"
    again = load_comparison(request.folder)
    assert len(again.answers) == 4
    assert again.head.prompts == ("first", "second")


def test_one_that_cannot_be_loaded_is_said_and_the_other_answers(home: Home, subjects: tuple[Subject, ...]) -> None:
    broken = subjects[0].model_copy(update={"overrides": ("runtime.kv_cache_gib=8000",)})
    heard: list[Event] = []
    request = request_of(home, (broken, subjects[1]))
    _, answers = ask_variants(home, request, heard.append, threading.Event())
    failed = [one for one in answers if one.failure is not None]
    assert [one.subject for one in failed] == ["a", "a"]
    assert any(isinstance(event, SubjectFailed) and event.subject == "a" for event in heard)
    assert [one.record is not None for one in answers if one.subject == "b"] == [True, True]


def test_a_stop_keeps_the_answers_that_came(home: Home, subjects: tuple[Subject, ...]) -> None:
    stop = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, AnswerText):
            stop.set()

    request = request_of(home, subjects)
    _, answers = ask_variants(home, request, listen, stop)
    assert [one.subject for one in answers] == ["a"]
    assert len(load_comparison(request.folder).answers) == 1


def test_room_says_what_all_take_together(home: Home, subjects: tuple[Subject, ...]) -> None:
    found = room_for(home, subjects)
    assert found.fits is True
    assert "at least, of" in found.words
    much = tuple(one.model_copy(update={"overrides": ("runtime.kv_cache_gib=8000",)}) for one in subjects)
    none = room_for(home, much)
    assert none.fits is False
    assert "one after the other" in none.words
    assert room_for(home, ()).words == ""
