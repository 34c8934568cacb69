"""Estimates with their intervals, for means of case-level values.

The unit is always the case: many trials on one case never count as many cases. One interval serves
throughout, the *cluster-Jeffreys Beta*: a Beta distribution with the mean and the variance of the case values
after half a case at 0 and half a case at 1 are added. For yes/no values it is the Jeffreys interval of a
proportion. Bootstrap and t intervals fall far short near 0 and 1, where most nodes are
(`benchmarks/sim_intervals.py` compares them).

Everything here is pure and deterministic.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = float | NDArray[np.float64]

ROUNDING = 1e-9
"""Values this close to 0 or 1 are there; sums of weighted losses leave such crumbs."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval. `n` is the number of cases behind it."""

    value: float
    low: float
    high: float
    n: int


def cluster_jeffreys(values: Sequence[float], confidence: float = 0.95, *, value: float | None = None) -> Estimate:
    """The mean of one value per case, with a two-sided cluster-Jeffreys interval.

    Values lie in [0, 1]. Where any lies outside (losses against a noisy sham, unbalanced fault classes), all
    of them are taken to lie in [-1, 1]: what is beyond is clipped, for the interval only. The lower bound is
    0 if all values are 0 and the upper one 1 if all are 1; nothing else was seen. `value` is the point
    estimate, if it is not their mean.

    Raises ValueError if there are no values, or one of them is not finite: a figure that does not exist is
    None, which is for the caller to say.
    """
    if any(v < -ROUNDING or v > 1 + ROUNDING for v in values):
        _check(values, confidence)
        low, high = (2 * bound - 1 for bound in _interval(_unit(values), confidence))
    else:
        _check(values, confidence)
        low, high = _interval([_clipped(v) for v in values], confidence)
    return _estimate(math.fsum(values) / len(values) if value is None else value, low, high, len(values))


def signed_mean(values: Sequence[float], confidence: float = 0.95, *, value: float | None = None) -> Estimate:
    """The mean of one value in [-1, 1] per case that may well be negative, such as a gain, with its interval.

    Rises and falls are two means in [0, 1], each with a cluster-Jeffreys interval; the interval of their
    difference is put together by variance recovery (Zou and Donner 2008, doi:10.1002/sim.3095), with the
    correlation that the two have because a case that rises does not fall. Where a few of the values are
    positive and the rest are 0 this covers the truth where the mapping of `cluster_jeffreys` falls to 87 %,
    and it is hardly wider.
    """
    _check(values, confidence)
    rises, falls = [min(max(v, 0.0), 1.0) for v in values], [min(max(-v, 0.0), 1.0) for v in values]
    up, down = cluster_jeffreys(rises, confidence), cluster_jeffreys(falls, confidence)
    spread = _deviation(rises, up.value) * _deviation(falls, down.value)
    correlation = max(-1.0, -up.value * down.value / spread) if spread else 0.0
    mean = math.fsum(values) / len(values) if value is None else value
    below = _hypotenuse(up.value - up.low, down.high - down.value, correlation)
    above = _hypotenuse(up.high - up.value, down.value - down.low, correlation)
    return _estimate(mean, max(-1.0, mean - below), min(1.0, mean + above), len(values))


def signed_lower_bound(values: Sequence[float], tail: float) -> float:
    """A one-sided lower bound of the mean of values in [-1, 1], over the truth with probability `tail`."""
    _check(values, 1 - tail)
    unit = _unit(values)
    if not any(unit):
        return -1.0
    return 2 * float(beta_quantile(len(unit), math.fsum(unit), math.fsum(u * u for u in unit), tail)) - 1


def mean_score(scores: Sequence[float], confidence: float = 0.95) -> Estimate:
    """The mean of one score in [0, 1] per case, yes/no or graded."""
    return cluster_jeffreys(scores, confidence)


def proportion(successes: int, n: int, confidence: float = 0.95) -> Estimate:
    """A share of `n` independent cases, with the Jeffreys interval. ValueError for impossible counts."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} of {n} is no proportion; both are counts of cases, and there must be one")
    return cluster_jeffreys([1.0] * successes + [0.0] * (n - successes), confidence)


def product(a: Estimate, b: Estimate, *, seed: int, draws: int = 20_000, confidence: float = 0.95) -> Estimate:
    """The product of two independent shares, such as fault rate and vulnerability, by `draws` seeded draws.

    Each is drawn from Beta(value * n + 1/2, (1 - value) * n + 1/2), with a value outside [0, 1] clipped. For
    shares that are means of graded values this is wider than need be.
    """
    from numpy.random import default_rng

    rng = default_rng(seed)
    draw_a, draw_b = (
        rng.beta(share * e.n + 0.5, (1 - share) * e.n + 0.5, draws)
        for e, share in ((a, min(max(a.value, 0.0), 1.0)), (b, min(max(b.value, 0.0), 1.0)))
    )
    low, high = _quantiles(draw_a * draw_b, confidence)
    low = 0.0 if min(a.low, b.low) <= 0 else low
    high = 1.0 if min(a.high, b.high) >= 1 else high
    return _estimate(a.value * b.value, low, high, min(a.n, b.n))


def beta_quantile(n: "Numbers", total: "Numbers", squares: "Numbers", tail: "Numbers") -> "Numbers":
    """The `tail` quantile of the Beta of `n` values in [0, 1] with this sum and this sum of squares.

    Works on numbers and on arrays of one shape alike: simulations run a hundred thousand at once.
    """
    from scipy.special import betaincinv

    size = n + 1
    mean = (total + 0.5) / size
    variance = ((squares + 0.5) / size - mean * mean) / (size + 1)
    precision = mean * (1 - mean) / variance - 1
    return cast("Numbers", betaincinv(mean * precision, (1 - mean) * precision, tail))


def _interval(unit: Sequence[float], confidence: float) -> tuple[float, float]:
    n, total, squares = len(unit), math.fsum(unit), math.fsum(u * u for u in unit)
    tail = (1 - confidence) / 2
    low = 0.0 if total == 0 else float(beta_quantile(n, total, squares, tail))
    high = 1.0 if total == n else float(beta_quantile(n, total, squares, 1 - tail))
    return low, high


def _estimate(value: float, low: float, high: float, n: int) -> Estimate:
    """An interval holds its own point estimate, also where clipping or skew would leave it outside."""
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def _deviation(values: Sequence[float], mean: float) -> float:
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))


def _hypotenuse(up: float, down: float, correlation: float) -> float:
    return math.sqrt(up * up + down * down - 2 * correlation * up * down)


def _unit(values: Sequence[float]) -> list[float]:
    return [_clipped((v + 1) / 2) for v in values]


def _clipped(share: float) -> float:
    if share < ROUNDING:
        return 0.0
    return 1.0 if share > 1 - ROUNDING else share


def _quantiles(draws: "NDArray[np.float64]", confidence: float) -> tuple[float, float]:
    from numpy import quantile

    tail = (1 - confidence) / 2
    low, high = quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def _check(values: Sequence[float], confidence: float) -> None:
    if not values:
        raise ValueError("there are no values to take a mean of")
    if not all(map(math.isfinite, values)):
        raise ValueError(f"a value is not finite: {next(v for v in values if not math.isfinite(v))}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it lies between 0 and 1")
