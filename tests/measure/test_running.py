"""Runs and comparisons from end to end, over the real way to an engine; only the host itself is a fake one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.interpreter import VARIABLE, make_engine_folder, make_interpreter
from tests.fakes.openai_server import Behaviour, serving
from workbench.core.errors import BadInputError
from workbench.core.home import Home
from workbench.core.measure.comparison_file import load_comparison
from workbench.core.measure.load import Load
from workbench.core.measure.run_file import load_run
from workbench.core.measure.workload import Workload, fixed
from workbench.core.messages import Sampling
from workbench.measure.comparing import CompareRequest, run_compare
from workbench.measure.events import (
    AnswerText,
    Event,
    Noted,
    PointBegan,
    PointDone,
    PointProgress,
    RunBegan,
    SubjectFailed,
    SubjectKnown,
)
from workbench.measure.running import RunRequest, run_bench
from workbench.measure.subjects import Asked
from workbench.toolchains.endpoint.folder import add_endpoint, new_spec

pytestmark = pytest.mark.slow

WORKLOAD = Workload(name="t", input=fixed(20), output=fixed(6), prompts=3, chat=False)


class Heard(list[Event]):
    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: Home) -> Any:
    """Makes an engine folder a name; `settings` are the fake host's, the same for all."""

    def make(*names: str, **settings: Any) -> tuple[Asked, ...]:
        interpreter = make_interpreter(tmp_path / "python", **{"kv_blocks": 10, **settings})
        monkeypatch.setenv(VARIABLE, str(interpreter))
        return tuple(Asked(make_engine_folder(tmp_path / name, name)) for name in names)

    return make


def _load(**more: Any) -> Load:
    return Load(**{"levels": (1.0, 2.0), "requests": 4, "warmup_requests": 1, **more})


def test_a_run_is_measured_kept_and_read_again(home: Home, engines: Any) -> None:
    heard = Heard()
    run = run_bench(
        home, RunRequest(engines("a", "b", tokens_per_s=400), WORKLOAD, _load()), heard.append, threading.Event()
    )
    assert run.head.status == "complete"
    assert [(point.subject, point.level) for point in run.points] == [("s1", 1), ("s1", 2), ("s2", 1), ("s2", 2)]
    for point in run.points:
        assert len(point.measured) == 4
        assert all(request.completed and len(request.chunks) == 6 for request in point.measured)
    folder = heard.of(RunBegan)[0].folder
    assert folder.parent == home.runs
    again = load_run(folder)
    assert again.head == run.head
    assert len(again.points) == 4
    assert {subject.kv_tokens for subject in again.head.subjects} == {320}
    assert len({subject.name for subject in again.head.subjects}) == 2, "two of one kind are told apart"
    assert [event.number for event in heard.of(PointBegan)] == [1, 2, 3, 4]
    assert heard.of(PointBegan)[0].of == 4
    assert run.head.prompts_sha256


def test_alternated_subjects_take_turns_and_stay_loaded(home: Home, engines: Any) -> None:
    heard = Heard()
    request = RunRequest(engines("a", "b"), WORKLOAD, _load(levels=(1.0,), repeats=3), alternated=True)
    run = run_bench(home, request, heard.append, threading.Event())
    assert [point.subject for point in run.points] == ["s1", "s2", "s2", "s1", "s1", "s2"]
    assert len(heard.of(SubjectKnown)) == 2


def test_a_run_that_is_stopped_keeps_what_was_measured(home: Home, engines: Any) -> None:
    stop, heard = threading.Event(), Heard()

    def listen(event: Event) -> None:
        heard.append(event)
        if isinstance(event, PointProgress) and event.level == 2 and event.progress.done >= 1:
            stop.set()

    request = RunRequest(engines("a", tokens_per_s=50), WORKLOAD, _load(requests=40, levels=(1.0, 2.0), duration_s=1.5))
    run = run_bench(home, request, listen, stop)
    assert run.head.status == "stopped"
    assert [point.end for point in run.points] == ["complete", "stopped"]
    assert any(request.completed for request in run.points[1].measured)
    assert load_run(heard.of(RunBegan)[0].folder).head.status == "stopped"


def test_an_engine_that_cannot_be_loaded_is_told_and_the_others_go_on(home: Home, engines: Any, tmp_path: Path) -> None:
    good, bad = engines("a", "b")
    bad = Asked(bad.path, ("runtime.kv_blocks=7",))
    make_interpreter(tmp_path / "python", kv_blocks=7, fail_with_blocks=7)
    heard = Heard()
    run = run_bench(home, RunRequest((bad,), WORKLOAD, _load()), heard.append, threading.Event())
    assert run.head.status == "failed"
    assert heard.of(SubjectFailed)[0].failure.what == "the pool is no good"
    assert run.head.subjects[0].failure is not None
    make_interpreter(tmp_path / "python", kv_blocks=10)
    broken = Asked(make_engine_folder(tmp_path / "c", "c"), ("runtime.kv_cache_gib=1e9",))
    with pytest.raises(BadInputError):
        run_bench(home, RunRequest((good, broken), WORKLOAD, _load()), heard.append, threading.Event())


def test_an_engine_that_dies_in_the_middle_leaves_its_points(home: Home, engines: Any) -> None:
    heard = Heard()
    request = RunRequest(engines("a", die_after=60), WORKLOAD, _load(requests=8))
    run = run_bench(home, request, heard.append, threading.Event())
    assert heard.of(SubjectFailed)
    assert run.points[-1].end == "failed"
    assert sum(request.completed for point in run.points for request in point.requests) >= 5


def test_settings_that_were_not_applied_are_told_of_the_subject(home: Home, engines: Any) -> None:
    (asked,) = engines("a", applied={"kv_cache_precision": "fp32", "device": "CPU"})
    run = run_bench(
        home,
        RunRequest((Asked(asked.path, ("precision.kv_cache=int8",)),), WORKLOAD, _load(levels=(1.0,))),
        lambda event: None,
        threading.Event(),
    )
    assert run.head.subjects[0].not_applied == {"kv_cache_precision": "asked for int8, runs with fp32"}
    assert run.head.subjects[0].settings["device"] == "CPU"


def test_nothing_and_too_much_to_compare_are_refused(home: Home, engines: Any) -> None:
    (one,) = engines("a")
    stop = threading.Event()
    with pytest.raises(BadInputError, match="no engine"):
        run_bench(home, RunRequest((), WORKLOAD, _load()), lambda event: None, stop)
    with pytest.raises(BadInputError, match="two variants"):
        run_compare(home, CompareRequest((one,), WORKLOAD, _load()), lambda event: None, stop)
    with pytest.raises(BadInputError, match="named twice"):
        run_compare(home, CompareRequest((one, one), WORKLOAD, _load()), lambda event: None, stop)
    many = tuple(Asked(Path(f"/{n}")) for n in range(7))
    with pytest.raises(BadInputError, match="6 variants at most"):
        run_compare(home, CompareRequest(many, WORKLOAD, _load()), lambda event: None, stop)


def test_a_comparison_of_speed_and_answers(home: Home, engines: Any) -> None:
    heard = Heard()
    request = CompareRequest(
        engines("a", "b", answer=["x ", "y "]),
        WORKLOAD,
        _load(levels=(1.0,)),
        prompts=("first question", "bad", "third question"),
        sampling=Sampling(max_tokens=4),
        folder=home.comparisons / "mine",
    )
    made = run_compare(home, request, heard.append, threading.Event())
    assert made.head.status == "complete"
    assert [(answer.subject, answer.prompt) for answer in made.answers] == [
        ("s1", 0), ("s1", 1), ("s1", 2), ("s2", 0), ("s2", 1), ("s2", 2)
    ]  # fmt: skip
    assert made.answers[0].record is not None and made.answers[0].record.text == "x y x y "
    assert heard.of(AnswerText)
    assert len(heard.of(PointDone)) == 2
    again = load_comparison(home.comparisons / "mine")
    assert again.answers == made.answers
    assert again.run is not None and len(again.run.points) == 2
    assert not heard.of(Noted)


def test_a_stopped_comparison_is_kept_and_marked(home: Home, engines: Any) -> None:
    stop = threading.Event()

    def listen(event: Event) -> None:
        if isinstance(event, PointDone):
            stop.set()

    request = CompareRequest(engines("a", "b"), WORKLOAD, _load(levels=(1.0,)), folder=home.comparisons / "mine")
    made = run_compare(home, request, listen, stop)
    assert made.head.status == "stopped"
    again = load_comparison(home.comparisons / "mine")
    assert again.head.status == "stopped"
    assert again.run is not None and len(again.run.points) == 1


def test_a_sweep_ends_where_a_server_is_full_and_where_it_fails(home: Home) -> None:
    """One endpoint has room for 100 a second and another one breaks down at its second level: neither goes on, and a
    breakdown is not called a limit.
    """
    load = Load(arrival="constant", levels=(20.0, 400.0, 800.0), duration_s=0.4, drain_s=0.1)
    quick = Behaviour(ttft_s=0.01, itl_s=0.002)
    with (
        serving(quick, most_active=2) as full,
        serving(choose=lambda n: quick if n < 8 else Behaviour(status=500)) as broken,
    ):
        asked = tuple(
            Asked(add_endpoint(home, name, new_spec(base_url=server.url, model="mock", server="vllm")))
            for name, server in (("full", full), ("broken", broken))
        )
        run = run_bench(home, RunRequest(asked, WORKLOAD, load), lambda event: None, threading.Event())
    first, second = run.points_of("s1"), run.points_of("s2")
    assert [(point.level, point.end) for point in first] == [(20.0, "complete"), (400.0, "complete")]
    assert "requests were completed in the measured time" in first[-1].saturated
    assert [(point.level, point.end) for point in second] == [(20.0, "complete"), (400.0, "failed")]
    assert not second[-1].saturated
    assert any("broken is measured no further than 400: The target answers" in note for note in run.head.notes)
