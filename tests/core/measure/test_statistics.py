"""Intervals: known quantiles, and that they hold the truth as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workbench.core.measure import statistics
from workbench.core.measure.estimate import Estimate


def test_students_t() -> None:
    # Two-sided 95 %, from any printed table.
    for degrees, quantile in ((1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (30, 2.042), (1e6, 1.960)):
        assert statistics.t_quantile(degrees) == pytest.approx(quantile, abs=5e-4)
    with pytest.raises(ValueError):
        statistics.t_quantile(0)


def test_wilson() -> None:
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    found = statistics.proportion(81, 263)
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))
    assert found.stderr == pytest.approx(math.sqrt(81 / 263 * 182 / 263 / 263))
    none, every = statistics.proportion(0, 20), statistics.proportion(20, 20)
    assert none.low == 0.0 and none.high == pytest.approx(0.1611, abs=5e-5)
    assert every.high == 1.0 and every.low == pytest.approx(1 - 0.1611, abs=5e-5)
    for bad in ((1, 0), (3, 2), (-1, 5)):
        with pytest.raises(ValueError):
            statistics.proportion(*bad)


def test_mean_of_few() -> None:
    found = statistics.mean_estimate([1.0, 2.0, 3.0])
    assert found.value == 2.0 and found.stderr == pytest.approx(1 / math.sqrt(3))
    assert found.high == pytest.approx(2 + 4.303 / math.sqrt(3), abs=1e-3)
    assert not statistics.mean_estimate([5.0]).has_interval
    for bad in ([], [math.nan]):
        with pytest.raises(ValueError):
            statistics.mean_estimate(bad)


def test_the_bootstrap_repeats_and_holds_the_truth() -> None:
    rng = np.random.default_rng(7)
    assert statistics.bootstrap(list(range(50))) == statistics.bootstrap(list(range(50)))
    hits = 0
    for _ in range(120):
        found = statistics.bootstrap(list(rng.exponential(size=60)), "median")
        assert found.low is not None and found.high is not None
        hits += found.low <= math.log(2) <= found.high
    assert hits >= 106  # 95 % of 120, less three standard errors


def test_neighbours_that_lean_on_each_other_need_blocks() -> None:
    """Batches of eight that are slow or fast together: taken for independent, the interval is far too narrow."""
    rng = np.random.default_rng(3)
    plain = blocks = 0
    for _ in range(50):
        values = np.repeat(rng.normal(10, 1, size=25), 8)
        for found, block in ((statistics.bootstrap(list(values), "mean", block=size), size) for size in (1, 8)):
            assert found.low is not None and found.high is not None
            inside = found.low <= 10 <= found.high
            plain, blocks = plain + (inside and block == 1), blocks + (inside and block == 8)
    assert plain < 33 and blocks >= 40


def test_too_little_has_a_value_and_no_interval() -> None:
    assert statistics.bootstrap([1.0, 2.0, 4.0]) == Estimate(value=2.0, n=3)
    assert not statistics.bootstrap(list(range(32)), block=8).has_interval
    assert not statistics.bootstrap(list(range(100)), 99).has_interval
    assert statistics.bootstrap(list(range(200)), 99).has_interval
    assert not statistics.ratio([1.0, 2.0], [1.0, 2.0]).has_interval
    assert not statistics.clustered_mean([1.0, 2.0], [10, 10]).has_interval
    with pytest.raises(ValueError):
        statistics.bootstrap([])


def test_repeats_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(5)
    noise = [list(rng.normal(10, 0.1, size=100)) for _ in range(5)]
    shifted = [[value + shift for value in group] for group, shift in zip(noise, (-1, -0.5, 0, 0.5, 1), strict=True)]
    same, apart = statistics.bootstrap(noise), statistics.bootstrap(shifted)
    assert same.stderr is not None and apart.stderr is not None
    assert apart.stderr > 10 * same.stderr


def test_a_few_repeats_that_drift_hold_the_truth_about_as_often_as_said() -> None:
    """Drawing three repeats from three sees two thirds of their variance: left so, 77 of 100 hold it, not 87."""
    rng = np.random.default_rng(8)
    hits = 0
    for _ in range(100):
        repeats = [list(rng.normal(10 + rng.normal(0, 1), 0.3, size=20)) for _ in range(3)]
        found = statistics.bootstrap(repeats, "mean")
        assert found.low is not None and found.high is not None
        hits += found.low <= 10 <= found.high
    assert hits >= 80


def test_ratio_of_two() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for seed in range(50):
        top, bottom = rng.lognormal(0.1, 0.3, size=80), rng.lognormal(0, 0.3, size=80)
        found = statistics.ratio(list(top), list(bottom), seed=seed)
        assert found.low is not None and found.high is not None
        hits += found.low <= math.exp(0.1) <= found.high
    assert hits >= 43
    with pytest.raises(ValueError):
        statistics.ratio([1.0], [0.0])


def test_pairs_leave_out_what_is_hard_for_both() -> None:
    rng = np.random.default_rng(2)
    hard = rng.lognormal(0, 1, size=60)
    baseline = {f"p{i}": float(value) for i, value in enumerate(hard)}
    variant = {name: value * 1.05 * float(rng.normal(1, 0.01)) for name, value in baseline.items()} | {"alone": 9.0}
    paired = statistics.paired_ratio(variant, baseline)
    apart = statistics.ratio(list(variant.values()), list(baseline.values()))
    assert paired.n == 60 and paired.low is not None and paired.high is not None
    assert paired.low > 1.02 and paired.high < 1.08
    assert apart.low is not None and apart.low < 1
    with pytest.raises(ValueError, match="nothing to pair"):
        statistics.paired_ratio({"a": 1.0}, {"b": 1.0})


def test_throughputs_of_a_few_repeats() -> None:
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(300):
        found = statistics.rate_ratio(list(rng.normal(120, 3, size=3)), list(rng.normal(100, 3, size=3)))
        assert found.low is not None and found.high is not None
        hits += found.low <= 1.2 <= found.high
    assert hits >= 276
    assert statistics.rate_ratio([120.0], [100.0, 101.0]).low is None
    still = statistics.rate_ratio([50.0, 50.0], [100.0, 100.0])
    assert (still.value, still.low, still.high) == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx(0.5))
    with pytest.raises(ValueError):
        statistics.rate_ratio([0.0], [1.0])


def test_perplexities_of_the_same_passages() -> None:
    rng = np.random.default_rng(9)
    tokens = rng.integers(50, 200, size=40)
    base = tokens * rng.normal(2.5, 0.5, size=40)
    variant = base + tokens * rng.normal(0.02, 0.01, size=40)
    found = statistics.clustered_ratio(list(variant), list(base), list(tokens))
    assert found.low is not None and found.high is not None and found.n == int(tokens.sum())
    assert 1.01 < found.low < found.value < found.high < 1.03
    alone = statistics.clustered_mean(list(base), list(tokens))
    assert alone.value == pytest.approx(base.sum() / tokens.sum()) and alone.has_interval
    with pytest.raises(ValueError):
        statistics.clustered_mean([1.0], [0.0])


def test_difference() -> None:
    found = statistics.difference(Estimate(value=3, stderr=0.3, n=9), Estimate(value=2, stderr=0.4, n=4))
    assert found.value == 1 and found.stderr == pytest.approx(0.5) and found.n == 4
    assert found.low == pytest.approx(1 - 1.96 * 0.5, abs=1e-3)
    assert not statistics.difference(Estimate(value=3), Estimate(value=2, stderr=0.4)).has_interval
