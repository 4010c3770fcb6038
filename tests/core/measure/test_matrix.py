"""The matrix: each figure against the baseline, and what is not there said in words."""

from __future__ import annotations

import pytest

from tests.core.measure.things import a_comparison, a_point, a_quality, a_subject
from workbench.core.errors import Failure
from workbench.core.measure.comparison import Price, settings_rows
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.matrix import make_matrix
from workbench.core.measure.quality import TaskScore

BASE = a_subject("s1", "BF16", size_bytes=16 * 2**30, weights_bytes=15 * 2**30, kv_tokens=1000, build_s=161.0)
FAST = a_subject("s2", "FP8", size_bytes=8 * 2**30, weights_bytes=8 * 2**30, kv_tokens=2000, build_s=352.0)


def test_ratios_bars_and_the_best_of_each_column() -> None:
    points = (a_point("s1", 1), a_point("s1", 4), a_point("s2", 1, itl_s=0.005), a_point("s2", 4, itl_s=0.005))
    matrix = make_matrix(a_comparison((BASE, FAST), points))
    size, slow = matrix.cell("s2", "size"), matrix.cell("s1", "itl")
    assert size is not None and slow is not None
    assert (size.ratio, size.better, size.best, size.share) == (0.5, True, True, 0.5)
    assert (slow.ratio, slow.better, slow.share) == (None, None, 1.0)
    itl = matrix.cell("s2", "itl")
    assert itl is not None
    assert itl.value == pytest.approx(5.0)
    assert itl.ratio == pytest.approx(0.5)
    assert itl.better and itl.best
    speed = matrix.cell("s2", "speed@4")
    assert speed is not None
    assert speed.value == pytest.approx(4 * 11 / 0.15)
    assert speed.ratio == pytest.approx(0.2 / 0.15)
    build = matrix.cell("s2", "build")
    assert build is not None and build.better is False
    column = matrix.columns[matrix.column("build")]  # type: ignore[index]
    assert column.shown(352.0) == "5:52"


def test_what_is_said_as_the_same_is_neither_better_nor_worse() -> None:
    records = (a_quality("s1", 32.103), a_quality("s2", 32.109), a_quality("s3", 32.36))
    matrix = make_matrix(a_comparison((BASE, FAST, a_subject("s3", "INT4")), (), records))
    same, worse = matrix.cell("s2", "perplexity"), matrix.cell("s3", "perplexity")
    assert same is not None and worse is not None
    assert (same.better, worse.better) == (None, False)


def test_units_follow_the_values() -> None:
    small = make_matrix(a_comparison((a_subject("s1", "A", size_bytes=150 * 2**20),), ()))
    assert (small.columns[0].unit, small.columns[0].shown(150 * 2**20)) == ("MiB", "150")
    large = make_matrix(a_comparison((BASE,), ()))
    assert (large.columns[0].unit, large.columns[0].shown(16 * 2**30)) == ("GiB", "16.0")
    assert large.columns[0].shown(1600 * 2**30) == "1\u202f600.0"


def test_what_is_not_reported_is_a_reason_and_a_column_of_nothing_is_left_out() -> None:
    bare = a_subject("s2", "box", toolchain="endpoint")
    matrix = make_matrix(a_comparison((BASE, bare), (a_point("s1", 1), a_point("s2", 1)), (a_quality("s1", 7.2),)))
    reasons = {name: matrix.cell("s2", name).reason for name in ("size", "weights", "kv", "build", "perplexity")}  # type: ignore[union-attr]
    assert reasons == {
        "size": "not reported", "weights": "not reported", "kv": "not reported",
        "build": "not built here", "perplexity": "not measured",
    }  # fmt: skip
    assert matrix.column("agreement") is None
    assert matrix.column("cost") is None


def test_an_engine_that_was_not_loaded_yet_has_not_failed_to_report() -> None:
    loaded, waits = a_subject("s2", "B", load_s=1.0), a_subject("s3", "C")
    matrix = make_matrix(a_comparison((BASE, loaded, waits), ()))
    for name in ("weights", "kv", "kv_sequences"):
        assert matrix.cell("s2", name).reason == "not reported"  # type: ignore[union-attr]
        assert matrix.cell("s3", name).reason == "not measured"  # type: ignore[union-attr]


def test_a_variant_that_was_not_loaded_and_one_that_completed_nothing() -> None:
    gone = a_subject("s2", "INT4", failure=Failure(code="x", what="No room."))
    failed = a_point("s3", 1)
    for request in failed.requests:
        request.end = "error"
    matrix = make_matrix(a_comparison((BASE, gone, a_subject("s3", "W")), (a_point("s1", 1), failed)))
    assert matrix.cell("s2", "speed@1").reason == "not loaded"  # type: ignore[union-attr]
    assert matrix.cell("s3", "ttft").reason == "no request completed"  # type: ignore[union-attr]


def test_the_median_of_repeats_stands_for_them() -> None:
    repeats = tuple(a_point("s1", 1, itl_s=itl, repeat=n) for n, itl in enumerate((0.01, 0.02, 0.09)))
    cell = make_matrix(a_comparison((BASE,), repeats)).cell("s1", "itl")
    assert cell is not None
    assert cell.value == pytest.approx(20.0)
    assert cell.repeats == pytest.approx((10.0, 20.0, 90.0))


def test_tokens_of_another_tokenizer_are_not_held_against_the_baseline() -> None:
    other = a_subject("s2", "other", tokenizer="u", size_bytes=2**30)
    points = (a_point("s1", 1), a_point("s2", 1, itl_s=0.001))
    matrix = make_matrix(a_comparison((BASE, other), points, (a_quality("s1", 7.0), a_quality("s2", 3.0))))
    for name in ("speed@1", "itl", "perplexity"):
        cell = matrix.cell("s2", name)
        assert cell is not None and cell.value is not None
        assert (cell.ratio, cell.better, cell.best, cell.reason) == (None, None, False, "other tokenizer")
    size = matrix.cell("s2", "size")
    assert size is not None and size.ratio == pytest.approx(1 / 16)


def test_the_baseline_is_held_against_nothing_and_is_not_the_best_of_it() -> None:
    """Also where its record says that it agrees with itself."""
    held = {"agreement": (1.0, 0.9, 0.8), "kl_nats": (0.0, 0.1, 0.2)}
    records = tuple(
        a_quality(f"s{n + 1}", 7.0 + n, **{name: Estimate(value=values[n], n=100) for name, values in held.items()})
        for n in range(3)
    )
    subjects = (BASE, FAST, a_subject("s3", "INT4"))
    matrix = make_matrix(a_comparison(subjects, (), records))
    for name in ("agreement", "kl"):
        base, better, worse = (matrix.cell(subject.id, name) for subject in subjects)
        assert base is not None and better is not None and worse is not None
        assert (base.value, base.reason, base.best, base.share) == (None, "baseline", False, None)
        assert (better.ratio, better.best, worse.best) == (None, True, False)
    alone = make_matrix(a_comparison((BASE, FAST), (), records[:1]))
    assert alone.column("agreement") is None, "the others were not scored: there is nothing to be shown"


def test_cost_tasks_and_sequences() -> None:
    task = TaskScore(name="arc", metric="acc_norm", score=Estimate(value=0.41, stderr=0.02, n=500))
    comparison = a_comparison(
        (BASE,), (a_point("s1", 1), a_point("s1", 4)), (a_quality("s1", 7.0, tasks=(task,)),), price=Price(per_hour=2.0)
    )
    matrix = make_matrix(comparison)
    best_tok_s = 4 * 11 / 0.2
    assert matrix.cell("s1", "cost").value == pytest.approx(2.0 / (best_tok_s * 3600) * 1e6)  # type: ignore[union-attr]
    assert matrix.cell("s1", "task.arc.acc_norm").value == 0.41  # type: ignore[union-attr]
    assert matrix.cell("s1", "kv_sequences").value == 1000 // 75  # type: ignore[union-attr]


def test_settings_that_differ_and_only_those() -> None:
    one = a_subject("s1", "A", settings={"device": "CPU", "kv_cache_precision": "fp16", "threads": "2"})
    two = a_subject(
        "s2", "B", settings={"device": "CPU", "kv_cache_precision": "int8"}, not_applied={"device": "asked for GPU"}
    )
    rows = {row.name: row for row in settings_rows((one, two))}
    assert list(rows) == ["device", "kv_cache_precision", "threads"]
    assert rows["kv_cache_precision"].values == ("fp16", "int8")
    assert rows["threads"].values == ("2", None)
    assert rows["device"].missed == ("", "asked for GPU"), "a setting that was not applied is always shown"
    assert "toolchain" in {row.name for row in settings_rows((one, two), everything=True)}
