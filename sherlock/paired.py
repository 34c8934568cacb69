"""Differences between two ways of running the same cases, for figures without bounds: dollars, tokens, seconds.

The unit is the case. Means have Student's t interval over the paired differences. Quantiles have a percentile bootstrap
over cases, both ways drawn together; with fewer cases than `FEWEST` such an interval falls short of what it claims, and
there is none (`benchmarks/sim_paired.py`). Scores lie in [0, 1] and have `sherlock.estimate`.
"""

import math
from collections.abc import Sequence

from sherlock.estimate import Estimate

FEWEST_FOR_MEAN = 5
FEWEST = {0.5: 8, 0.9: 20, 0.99: 100}
"""Cases from which on the interval of a quantile covers the truth in 94 % of simulated studies or more."""

DRAWS = 2000


def mean(values: Sequence[float], confidence: float = 0.95) -> Estimate | None:
    """The mean of one value per case, with its t interval; None with fewer than five cases."""
    n = len(values)
    if n < FEWEST_FOR_MEAN:
        return None
    from scipy.stats import t

    middle = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (n - 1))
    reach = float(t.ppf((1 + confidence) / 2, n - 1)) * deviation / math.sqrt(n)
    return Estimate(middle, middle - reach, middle + reach, n)


def quantile(cases: Sequence[Sequence[float]], share: float, *, seed: int, confidence: float = 0.95) -> Estimate | None:
    """The quantile of all values, with its interval; `cases` holds the values of each case.

    None with fewer cases than `FEWEST` says for this share.
    """
    return _bootstrapped([cases], share, seed, confidence)


def quantile_difference(
    before: Sequence[Sequence[float]],
    after: Sequence[Sequence[float]],
    share: float,
    *,
    seed: int,
    confidence: float = 0.95,
) -> Estimate | None:
    """How much greater the quantile of `after` is than that of `before`; each case has its place in both.

    None with fewer cases than `FEWEST` says for this share. Raises ValueError unless there are pairs.
    """
    if len(before) != len(after):
        raise ValueError(f"there are {len(before)} cases before and {len(after)} after; give pairs")
    return _bootstrapped([before, after], share, seed, confidence)


def _bootstrapped(
    sides: Sequence[Sequence[Sequence[float]]], share: float, seed: int, confidence: float
) -> Estimate | None:
    """The quantile of the last side, less that of the one before it."""
    n = len(sides[0])
    if n < FEWEST[share]:
        return None
    import numpy as np

    rng = np.random.default_rng([abs(seed), round(100 * share)])
    repeats = min(len(values) for side in sides for values in side)
    drawn = rng.integers(0, n, (DRAWS, n))
    value, draws = 0.0, np.zeros(DRAWS)
    for sign, side in zip((1, -1), reversed(sides), strict=False):
        table = np.array([values[:repeats] for values in side])  # every case has one weight
        value += sign * float(np.quantile(table, share))
        draws += sign * np.quantile(table[drawn].reshape(DRAWS, -1), share, axis=1)
    tail = (1 - confidence) / 2
    low, high = (float(bound) for bound in np.quantile(draws, [tail, 1 - tail]))
    return Estimate(value, min(low, value), max(high, value), n)
