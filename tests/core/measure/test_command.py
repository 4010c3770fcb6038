"""What a person types of a workload and a load, and the command that says the same again."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.errors import BadInputError
from workbench.core.measure.command import (
    Typed,
    bench_command,
    lengths_text,
    load_arguments,
    load_from,
    parse_lengths,
    parse_levels,
    workload_from,
)
from workbench.core.measure.load import Limits, Load
from workbench.core.measure.workload import WORKLOADS, Lengths, Workload, fixed


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("512", fixed(512)),
        (" 1_024 ", fixed(1024)),
        ("128..1024", Lengths(kind="uniform", low=128, high=1024)),
        ("512~64", Lengths(kind="normal", mean=512, stdev=64)),
        ("lognormal:512~300", Lengths(kind="lognormal", mean=512, stdev=300)),
        ("64,128,256", Lengths(kind="values", values=(64, 128, 256))),
    ],
)
def test_lengths_as_people_write_them(text: str, lengths: Lengths) -> None:
    assert parse_lengths(text) == lengths
    assert parse_lengths(lengths_text(lengths)) == lengths


@pytest.mark.parametrize("text", ["", "many", "0", "1024..128", "-5", "12~", "64,,x", "nan", "1e9e9", "1..2..3"])
def test_lengths_that_are_none_are_refused_with_the_forms_there_are(text: str) -> None:
    with pytest.raises(BadInputError) as caught:
        parse_lengths(text)
    assert "128..1024" in caught.value.failure.fix
    assert repr(text) in caught.value.failure.evidence


def test_levels_by_list_and_by_doubling() -> None:
    assert parse_levels("1, 8,32", "--concurrency") == (1, 8, 32)
    assert parse_levels("1..16", "--concurrency") == (1, 2, 4, 8, 16)
    assert parse_levels("1..24", "--concurrency") == (1, 2, 4, 8, 16, 24)
    assert parse_levels("0.5,2.5", "--rate") == (0.5, 2.5)
    assert parse_levels("4,4,1", "--rate") == (4, 1), "named twice is measured once"


@pytest.mark.parametrize("text", ["", "0", "-1", "a", "inf", "nan", "8..1", "0..4"])
def test_levels_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="--rate is not a list"):
        parse_levels(text, "--rate")


def test_options_change_a_shipped_workload() -> None:
    made = workload_from(Typed(workload="rag", input="100..200", output="7", prefix=16, fixed_output=False, seed=5))
    assert made.kind == "rag"
    assert made.input == Lengths(kind="uniform", low=100, high=200)
    assert (made.output, made.shared_prefix_tokens, made.fixed_output, made.seed) == (fixed(7), 16, False, 5)
    assert workload_from(Typed()) == WORKLOADS["chat"]


def test_a_workload_from_a_toml_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('kind = "code"\nseed = 7\n[input]\nkind = "fixed"\nmean = 99\n', "utf-8")
    made = workload_from(Typed(workload=str(file)))
    assert (made.name, made.kind, made.seed, made.input) == ("mine", "code", 7, fixed(99))
    file.write_text("kind = 'code'\nspeed = 3\n", "utf-8")
    with pytest.raises(BadInputError, match=r"mine.toml makes no sense") as caught:
        workload_from(Typed(workload=str(file)))
    assert "speed" in caught.value.failure.evidence
    file.write_text("not toml at all", "utf-8")
    with pytest.raises(BadInputError, match="cannot be read"):
        workload_from(Typed(workload=str(file)))


def test_a_workload_that_nobody_ships_is_said_with_those_there_are() -> None:
    with pytest.raises(BadInputError, match="no workload called 'poetry'") as caught:
        workload_from(Typed(workload="poetry"))
    assert "summarise" in caught.value.failure.evidence


def test_concurrency_rate_and_trace_exclude_each_other() -> None:
    with pytest.raises(BadInputError, match="--concurrency and --rate"):
        load_from(Typed(concurrency="1", rate="2"))
    with pytest.raises(BadInputError, match="--arrival goes with --rate"):
        load_from(Typed(concurrency="1", arrival="poisson"))
    with pytest.raises(BadInputError, match="poisson or constant"):
        load_from(Typed(rate="1", arrival="sometimes"))
    with pytest.raises(BadInputError, match="whole number"):
        load_from(Typed(concurrency="1.5"))


def test_a_load_has_a_length_whatever_is_given() -> None:
    assert load_from(Typed(), duration_s=12).duration_s == 12
    by_count = load_from(Typed(requests=7))
    assert (by_count.duration_s, by_count.requests) == (None, 7)
    assert load_from(Typed(rate="2")).arrival == "poisson"
    assert load_from(Typed(trace="t.jsonl")).arrival == "trace"


# typer imports what click calls old.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@functools.cache
def _bench() -> Any:
    import typer.main

    from workbench.cli.app_measure import app

    return typer.main.get_command(app).commands["bench"]  # type: ignore[attr-defined]


def _typed_from(arguments: tuple[str, ...]) -> Typed:
    """As the command line itself reads them."""
    given = _bench().make_context("bench", ["engine", *arguments]).params
    names = {
        "duration": "duration_s", "warmup": "warmup_s", "timeout": "timeout_s", "cancel": "cancel_share",
        "ttft_limit": "ttft_limit_ms", "itl_limit": "itl_limit_ms", "latency_limit": "latency_limit_ms",
        "drain": "drain_s",
    }  # fmt: skip
    fields = {field.name for field in dataclasses.fields(Typed)}
    found = {names.get(name, name): value for name, value in given.items()}
    found["stop_saturated"] = False if given["keep_going"] else None
    return Typed(**{name: value for name, value in found.items() if name in fields})


_numbers = st.integers(1, 5000)
_lengths = st.one_of(
    _numbers.map(fixed),
    st.tuples(_numbers, _numbers).map(lambda p: Lengths(kind="uniform", low=min(p), high=max(p))),
    st.tuples(_numbers, _numbers).map(lambda p: Lengths(kind="lognormal", mean=p[0], stdev=p[1])),
    st.lists(_numbers, min_size=1, max_size=4).map(lambda v: Lengths(kind="values", values=tuple(v))),
)
_workloads = st.builds(
    lambda base, **changes: Workload(**{**base.model_dump(), **changes}),
    st.sampled_from(sorted(WORKLOADS.values(), key=lambda one: one.name)),
    input=_lengths,
    output=_lengths,
    fixed_output=st.booleans(),
    shared_prefix_tokens=st.integers(0, 99),
    chat=st.booleans(),
    prompts=_numbers,
    seed=st.just(77),
    temperature=st.sampled_from([0.0, 0.7]),
)
_loads = st.builds(
    Load,
    arrival=st.sampled_from(["closed", "constant", "poisson"]),
    levels=st.lists(st.integers(1, 99).map(float), min_size=1, max_size=4, unique=True).map(tuple),
    duration_s=st.one_of(st.none(), st.integers(1, 99).map(float)),
    requests=_numbers,
    warmup_s=st.integers(0, 9).map(float),
    warmup_requests=st.integers(0, 9),
    repeats=st.integers(1, 9),
    cancel_share=st.sampled_from([0.0, 0.25]),
    limits=st.sampled_from([Limits(), Limits(ttft_ms=200.0, itl_ms=20.0), Limits(latency_ms=5000.0)]),
    stop_saturated=st.booleans(),
    seed=st.just(77),
)


@given(_workloads, _loads)
@settings(max_examples=60, deadline=None)
def test_the_command_of_a_run_gives_the_same_run_again(workload: Workload, load: Load) -> None:
    typed = _typed_from(load_arguments(workload, load))
    assert workload_from(typed) == workload
    assert load_from(typed) == load


def test_a_file_and_a_trace_come_back_too(tmp_path: Path) -> None:
    file = tmp_path / "a b.jsonl"
    typed = Typed(file=str(file), requests=3, concurrency="2")
    workload, load = workload_from(typed), load_from(typed)
    again = _typed_from(load_arguments(workload, load))
    assert (workload_from(again), load_from(again)) == (workload, load)
    typed = Typed(trace=str(file), speed="1,2")
    workload, load = workload_from(typed), load_from(typed)
    again = _typed_from(load_arguments(workload, load))
    assert (workload_from(again), load_from(again)) == (workload, load)


def test_the_whole_command() -> None:
    argv = bench_command(["/e/one", "/e/two"], WORKLOADS["demo"], Load(levels=(1, 4), duration_s=5.0), alternated=True)
    assert argv[:4] == ("workbench", "bench", "/e/one", "/e/two")
    assert argv[4:] == ("--workload", "demo", "--concurrency", "1,4", "--duration", "5", "--ab")
