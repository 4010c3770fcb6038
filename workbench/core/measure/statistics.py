"""How sure a figure is: 95 % intervals by bootstrap, by Student's t and by Wilson. Seeded, so that they repeat.

Values that come one after the other from a busy engine lean on each other (requests of one batch start and end
together), and an interval that takes them for independent is too narrow. So the bootstrap draws blocks of neighbours,
and where there are repeats it draws those first.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workbench.core.measure.estimate import Estimate

Floats = NDArray[np.float64]
Statistic = Literal["mean", "median"] | float
"""A number is a percentile, 0 to 100."""

RESAMPLES = 2_000
SEED = 1234
FEWEST_BLOCKS = 5
"""With fewer independent pieces a bootstrap interval says more than is known: there is none."""
_Z = 1.959963984540054
_MOST_DRAWN = 4_000_000
"""Values drawn at once; the rest of the resamples follow, so that memory stays bounded."""


def mean_estimate(values: Sequence[float]) -> Estimate:
    """Mean, its standard error and Student's t interval; independent values. Raises ValueError without values."""
    data = _array(values)
    n = len(data)
    centre = float(data.mean())
    if n < 2:
        return Estimate(value=centre, n=n)
    stderr = float(data.std(ddof=1) / math.sqrt(n))
    reach = t_quantile(n - 1) * stderr
    return Estimate(value=centre, low=centre - reach, high=centre + reach, stderr=stderr, n=n)


def proportion(successes: int, n: int) -> Estimate:
    """A share with Wilson's interval, sound near 0 and 1 too; stderr: sqrt(p (1 - p) / n).

    Raises ValueError when n is not positive or `successes` is outside 0 to n.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no proportion")
    share = successes / n
    z2 = _Z * _Z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return Estimate(
        value=share,
        low=max(0.0, min(share, centre - reach)),
        high=min(1.0, max(share, centre + reach)),
        stderr=math.sqrt(share * (1 - share) / n),
        n=n,
    )


def clustered_mean(sums: Sequence[float], counts: Sequence[float], *, seed: int = SEED) -> Estimate:
    """sum(sums) / sum(counts) where the values come in clusters (positions of one passage, tokens of one prompt)
    that lean on each other: the bootstrap draws clusters. n: the total of `counts`.

    Raises ValueError without counts or for unequal lengths.
    """
    tops, weights = _array(sums), _array(counts)
    if len(tops) != len(weights) or weights.sum() <= 0:
        raise ValueError("clusters need as many sums as counts, and one count at least")
    value = float(tops.sum() / weights.sum())
    n = int(weights.sum())
    if len(tops) < FEWEST_BLOCKS:
        return Estimate(value=value, n=n)
    drawn = np.random.default_rng(seed).integers(0, len(tops), size=(RESAMPLES, len(tops)))
    below = weights[drawn].sum(axis=1)
    return _from_draws(value, (tops[drawn].sum(axis=1) / np.where(below > 0, below, np.nan)), n)


def clustered_ratio(
    variant: Sequence[float], baseline: Sequence[float], counts: Sequence[float], *, seed: int = SEED
) -> Estimate:
    """exp of the difference of two clustered means: the ratio of two perplexities on the same passages, where the
    sums are negative log-likelihoods and the counts tokens.
    """
    difference = clustered_mean(list(_array(variant) - _array(baseline)), counts, seed=seed)
    return Estimate(
        value=math.exp(difference.value),
        low=None if difference.low is None else math.exp(difference.low),
        high=None if difference.high is None else math.exp(difference.high),
        stderr=None if difference.stderr is None else difference.stderr * math.exp(difference.value),
        n=difference.n,
    )


def bootstrap(
    values: Sequence[float] | Sequence[Sequence[float]],
    statistic: Statistic = "median",
    *,
    block: int = 1,
    seed: int = SEED,
) -> Estimate:
    """A statistic with its interval. `values` are in the order of time, or one such sequence a repeat; `block` is how
    many neighbours lean on each other, such as the concurrency. Raises ValueError without values.
    """
    groups = _groups(values)
    whole = np.concatenate(groups)
    value = float(_apply(whole[None, :], statistic)[0])
    if not _enough(groups, statistic, block):
        return Estimate(value=value, n=len(whole))
    return _from_draws(value, _draws(groups, statistic, block, np.random.default_rng(seed)), len(whole))


def ratio(
    variant: Sequence[float] | Sequence[Sequence[float]],
    baseline: Sequence[float] | Sequence[Sequence[float]],
    statistic: Statistic = "median",
    *,
    block: int = 1,
    seed: int = SEED,
) -> Estimate:
    """variant / baseline of a statistic, measured independently of each other; as in `bootstrap`.

    n: the smaller count. Raises ValueError without values or when the baseline's statistic is 0.
    """
    tops, bottoms = _groups(variant), _groups(baseline)
    rng = np.random.default_rng(seed)
    top, bottom = np.concatenate(tops), np.concatenate(bottoms)
    value = _quotient(float(_apply(top[None, :], statistic)[0]), float(_apply(bottom[None, :], statistic)[0]))
    n = min(len(top), len(bottom))
    if not (_enough(tops, statistic, block) and _enough(bottoms, statistic, block)):
        return Estimate(value=value, n=n)
    above, below = _draws(tops, statistic, block, rng), _draws(bottoms, statistic, block, rng)
    return _from_draws(value, above / np.where(below != 0, below, np.nan), n)


def paired_ratio(
    variant: Mapping[Hashable, float],
    baseline: Mapping[Hashable, float],
    statistic: Statistic = "median",
    *,
    seed: int = SEED,
) -> Estimate:
    """variant / baseline of a statistic over the keys that both have, such as prompts: pairs are drawn together, so
    that what is hard for both does not widen the interval. n: pairs.

    Raises ValueError without a common key or when the baseline's statistic is 0.
    """
    keys = [key for key in baseline if key in variant]
    if not keys:
        raise ValueError("nothing to pair")
    top, bottom = _array([variant[key] for key in keys]), _array([baseline[key] for key in keys])
    value = _quotient(float(_apply(top[None, :], statistic)[0]), float(_apply(bottom[None, :], statistic)[0]))
    if not _enough([top], statistic, 1):
        return Estimate(value=value, n=len(keys))
    rng = np.random.default_rng(seed)
    found = []
    for size in _batches(len(keys)):
        drawn = rng.integers(0, len(keys), size=(size, len(keys)))
        below = _apply(bottom[drawn], statistic)
        found.append(_apply(top[drawn], statistic) / np.where(below != 0, below, np.nan))
    return _from_draws(value, np.concatenate(found), len(keys))


def rate_ratio(variant: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """Ratio of two throughputs from their repeats: Welch's t on logarithms, since three to five repeats are too few
    for a bootstrap. No interval with one repeat of either. n: the smaller count.

    Raises ValueError without values or for values that are not above 0.
    """
    top, bottom = _array(variant), _array(baseline)
    if top.min() <= 0 or bottom.min() <= 0:
        raise ValueError("a ratio of rates needs rates above 0")
    logs_top, logs_bottom = np.log(top), np.log(bottom)
    value = math.exp(logs_top.mean() - logs_bottom.mean())
    n = min(len(top), len(bottom))
    if n < 2:
        return Estimate(value=value, n=n)
    parts = [float(logs.var(ddof=1)) / len(logs) for logs in (logs_top, logs_bottom)]
    stderr = math.sqrt(sum(parts))
    if stderr == 0:
        return Estimate(value=value, low=value, high=value, stderr=0.0, n=n)
    below = sum(part**2 / (len(logs) - 1) for part, logs in zip(parts, (top, bottom), strict=True))
    reach = t_quantile(sum(parts) ** 2 / below) * stderr
    return Estimate(value=value, low=value * math.exp(-reach), high=value * math.exp(reach), stderr=value * stderr, n=n)


def difference(variant: Estimate, baseline: Estimate) -> Estimate:
    """variant - baseline of two independent estimates, by their standard errors; no interval where one lacks it."""
    value = variant.value - baseline.value
    n = min(variant.n, baseline.n)
    if variant.stderr is None or baseline.stderr is None:
        return Estimate(value=value, n=n)
    stderr = math.hypot(variant.stderr, baseline.stderr)
    return Estimate(value=value, low=value - _Z * stderr, high=value + _Z * stderr, stderr=stderr, n=n)


def t_quantile(degrees: float, level: float = 0.95) -> float:
    """Two-sided quantile of Student's t. Found by bisection over the incomplete beta function: scipy is not needed
    for this one number.
    """
    if degrees <= 0:
        raise ValueError("Student's t needs degrees of freedom above 0")
    low, high = 0.0, 1e4
    for _ in range(100):
        middle = (low + high) / 2
        # P(|T| > t) = I_x(v/2, 1/2) with x = v / (v + t^2)
        if _incomplete_beta(degrees / (degrees + middle * middle), degrees / 2, 0.5) > 1 - level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function, by its continued fraction (Lentz's method; DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    tiny = 1e-300
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    out = d
    for m in range(1, 300):
        for factor in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + factor * d, tiny)
            c = _away(1 + factor / c, tiny)
            out *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return front * out / a


def _away(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny


def _array(values: Sequence[float]) -> Floats:
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not len(data):
        raise ValueError("a statistic needs one value at least")
    if not np.isfinite(data).all():
        raise ValueError("a statistic needs finite values")
    return data


def _groups(values: Sequence[float] | Sequence[Sequence[float]]) -> list[Floats]:
    listed = list(values)
    if listed and not isinstance(listed[0], (int, float, np.number)):
        groups = [_array(group) for group in listed if len(group)]  # type: ignore[arg-type]
    else:
        groups = [_array(listed)]  # type: ignore[arg-type]
    if not groups:
        raise ValueError("a statistic needs one value at least")
    return groups


def _apply(rows: Floats, statistic: Statistic) -> Floats:
    if statistic == "mean":
        return np.asarray(rows.mean(axis=1))
    if statistic == "median":
        return np.asarray(np.median(rows, axis=1))
    return np.asarray(np.percentile(rows, float(statistic), axis=1))


def _enough(groups: Sequence[Floats], statistic: Statistic, block: int) -> bool:
    """Whether an interval is more than pretence: enough pieces, and for a percentile two values beyond it."""
    n = sum(len(group) for group in groups)
    pieces = sum(max(1, len(group) // max(1, block)) for group in groups)
    if pieces < FEWEST_BLOCKS:
        return False
    if isinstance(statistic, str):
        return True
    return n * min(statistic, 100 - statistic) / 100 >= 2


def _batches(n: int) -> list[int]:
    most = max(1, _MOST_DRAWN // max(1, n))
    return [min(most, RESAMPLES - start) for start in range(0, RESAMPLES, most)]


def _draws(groups: Sequence[Floats], statistic: Statistic, block: int, rng: np.random.Generator) -> Floats:
    """The statistic of resamples: repeats are drawn, and within each, circular blocks of neighbours. Repeats of
    unequal length weigh the same.
    """
    each = max(1, round(sum(len(group) for group in groups) / len(groups)))
    found: list[Floats] = []
    for size in _batches(each * len(groups)):
        if len(groups) == 1:
            found.append(_apply(_resampled(groups[0], size, each, block, rng), statistic))
            continue
        chosen = rng.integers(0, len(groups), size=(size, len(groups)))
        rows = np.empty((size, len(groups), each))
        for index, group in enumerate(groups):
            places = chosen == index
            rows[places] = _resampled(group, int(places.sum()), each, block, rng)
        found.append(_apply(rows.reshape(size, -1), statistic))
    draws = np.concatenate(found)
    if len(groups) == 1:
        return draws
    # Of k repeats, a bootstrap sees (k - 1) / k of the variance between them: of three, intervals would hold the
    # truth 77 times of 100. No statistic here lies outside of its values.
    centre, few = draws.mean(), len(groups)
    stretched = centre + (draws - centre) * math.sqrt(few / (few - 1))
    return np.asarray(np.clip(stretched, min(map(np.min, groups)), max(map(np.max, groups))))


def _resampled(data: Floats, size: int, length: int, block: int, rng: np.random.Generator) -> Floats:
    n = len(data)
    block = max(1, min(block, n))
    if block == 1:
        return np.asarray(data[rng.integers(0, n, size=(size, length))])
    starts = rng.integers(0, n, size=(size, -(-length // block)))
    places = (starts[:, :, None] + np.arange(block)) % n
    return np.asarray(data[places.reshape(size, -1)[:, :length]])


def _from_draws(value: float, draws: Floats, n: int) -> Estimate:
    usable = draws[np.isfinite(draws)]
    if len(usable) < len(draws) * 0.99:
        return Estimate(value=value, n=n)
    low, high = np.percentile(usable, (2.5, 97.5))
    return Estimate(value=value, low=float(low), high=float(high), stderr=float(usable.std(ddof=1)), n=n)


def _quotient(top: float, bottom: float) -> float:
    if bottom == 0:
        raise ValueError("a ratio to 0 is not defined")
    return top / bottom
