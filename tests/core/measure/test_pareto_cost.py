"""The front of throughput against speed per user, and what tokens cost."""

from __future__ import annotations

import pytest

from tests.core.measure.made import one_after_the_other, point
from workbench.core.measure.cost import cost_estimate, cost_of, per_million
from workbench.core.measure.estimate import Estimate
from workbench.core.measure.figures import PointFigures, Spread, point_figures
from workbench.core.measure.pareto import front, pareto_points


def _figures(subject: str, level: float, user: float, whole: float) -> PointFigures:
    flat = Spread(n=5, mean=user, p50=user, p90=user, p95=user, p99=user, low=user, high=user)
    return PointFigures(
        subject=subject, level=level, duration_s=1, completed=5, output_tok_s=whole, per_user_tok_s=flat
    )


def test_only_what_nobody_beats_is_on_the_front() -> None:
    found = pareto_points(
        [
            _figures("a", 1, 100, 100),
            _figures("a", 8, 60, 480),
            _figures("b", 1, 120, 120),  # beats a at 1 in both
            _figures("b", 8, 50, 400),  # beaten by a at 8
            _figures("c", 8, 60, 480),  # the same as a at 8: both stay
        ]
    )
    assert {(each.subject, each.level) for each in found if each.on_front} == {("b", 1), ("a", 8), ("c", 8)}
    assert front(found)[0].subject == "b" and len(front(found)) == 3


def test_throughput_is_by_gpu_and_points_without_figures_are_left_out() -> None:
    found = pareto_points(
        [_figures("a", 8, 60, 480), _figures("b", 8, 60, 600), point_figures(point([], 1.0))], {"b": 2}
    )
    assert [(each.subject, each.per_gpu_tok_s, each.on_front) for each in found] == [
        ("a", 480, True),
        ("b", 300, False),
    ]


def test_cost() -> None:
    found = cost_of(point_figures(one_after_the_other(10, noise=0)), 2.304)
    # 64 output tokens and 40 input tokens a second
    assert found.per_million_output == pytest.approx(10.0)
    assert found.per_million_total == pytest.approx(10.0 * 64 / 104)
    assert per_million(1.0, None) is None and per_million(1.0, 0.0) is None


def test_cost_has_the_throughputs_interval() -> None:
    found = cost_estimate(3.6, Estimate(value=1000, low=800, high=1250, stderr=100, n=3))
    assert found is not None
    assert (found.value, found.low, found.high) == (pytest.approx(1.0), pytest.approx(0.8), pytest.approx(1.25))
    assert found.stderr == pytest.approx(0.1)
    assert cost_estimate(3.6, Estimate(value=0.0)) is None
