"""The command that repeats a comparison: the command line itself reads the same out of it."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.core.measure.command import Typed, load_from, workload_from
from workbench.core.measure.compare_command import compare_command
from workbench.core.measure.comparison import Price
from workbench.core.measure.load import Load
from workbench.core.measure.quality_options import LmEvalOptions, QualityOptions, TaskOptions
from workbench.core.measure.workload import WORKLOADS, Workload, fixed
from workbench.core.messages import Sampling

LOAD = Load(levels=(1.0, 4.0, 8.0), requests=8, warmup_requests=2, repeats=3)


# typer imports what click calls old.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def read(argv: tuple[str, ...]) -> dict[str, Any]:
    """What the command line takes it for."""
    import typer.main

    from workbench.cli.app_measure import app

    assert argv[:2] == ("workbench", "compare")
    compare = typer.main.get_command(app).commands["compare"]  # type: ignore[attr-defined]
    return dict(compare.make_context("compare", list(argv[2:])).params)


@pytest.mark.parametrize(
    ("workload", "load"),
    [
        (WORKLOADS["demo"], LOAD),
        (WORKLOADS["rag"], Load(levels=(2.0,), duration_s=30.0, warmup_s=2.0)),
        (Workload(name="demo", input=fixed(100), output=fixed(7), fixed_output=False), LOAD),
    ],
)
def test_workload_and_load_come_back(workload: Workload, load: Load) -> None:
    found = read(compare_command(("/e/a", "/e/b"), workload, load, quality=QualityOptions()))
    assert list(found["engines"]) == ["/e/a", "/e/b"]
    names = {"duration": "duration_s", "warmup": "warmup_s", "timeout": "timeout_s"}
    fields = Typed.__dataclass_fields__
    given = {names.get(name, name): value for name, value in found.items() if names.get(name, name) in fields}
    typed = Typed(**given)
    assert workload_from(typed).model_copy(update={"name": ""}) == workload.model_copy(update={"name": ""})
    assert load_from(typed) == load
    assert found["quality"] is True
    assert found["speeds"] is True


def test_quality_prompts_and_price_come_back() -> None:
    quality = QualityOptions(
        text="/t.txt",
        tasks=(TaskOptions(path="/arc.jsonl", limit=20), TaskOptions(path="/mmlu.csv", limit=20)),
        simulate=("fp8", "nvfp4"),
    )
    found = read(
        compare_command(
            ("a", "b"),
            WORKLOADS["demo"],
            LOAD,
            quality=quality,
            speed=False,
            prompts=("Why is it so?", "--odd"),
            price=Price(per_hour=2.5, currency="EUR"),
            alternated=True,
            overrides=(("runtime.kv_blocks=9",),) * 2,
        )
    )
    assert found["text"] == "/t.txt"
    assert list(found["task"]) == ["/arc.jsonl", "/mmlu.csv"]
    assert (found["task_limit"], found["simulate"]) == (20, "fp8,nvfp4")
    assert list(found["prompt"]) == ["Why is it so?", "--odd"]
    assert (found["price"], found["currency"], found["ab"], found["speeds"]) == (2.5, "EUR", True, False)
    assert list(found["overrides"]) == ["runtime.kv_blocks=9"]
    assert read(compare_command(("a", "b"), WORKLOADS["demo"], LOAD))["quality"] is False
    harness = QualityOptions(lm_eval=LmEvalOptions(tasks=("arc_easy", "gsm8k"), limit=5))
    again = read(compare_command(("a", "b"), WORKLOADS["demo"], LOAD, quality=harness))
    assert (again["lm_eval"], again["task_limit"]) == ("arc_easy,gsm8k", 5)


def test_what_cannot_be_said_is_not_said_otherwise() -> None:
    assert compare_command(("a", "b"), WORKLOADS["demo"], LOAD, overrides=((), ("runtime.kv_blocks=9",))) == ()
    shots = QualityOptions(tasks=(TaskOptions(path="/a", shots=5),))
    assert compare_command(("a", "b"), WORKLOADS["demo"], LOAD, quality=shots) == ()
    drawn = Sampling(max_tokens=128, temperature=0.8, seed=1)
    assert compare_command(("a", "b"), WORKLOADS["demo"], LOAD, prompts=("Why?",), sampling=drawn) == ()
    assert compare_command(("a", "b"), WORKLOADS["demo"], LOAD, prompts=("Why?",), sampling=Sampling(seed=9)) != ()
    assert compare_command(("a", "b"), WORKLOADS["demo"], LOAD, sampling=drawn) != (), "nothing is asked"
    window = QualityOptions(window_tokens=64)
    assert compare_command(("a", "b"), WORKLOADS["demo"], LOAD, quality=window) == ()
