"""Differences between two ways of running the same cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock import paired

seconds = st.floats(0.01, 100)


def test_the_interval_of_a_mean_is_students():
    found = paired.mean([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (found.value, found.n) == (3.0, 5)
    assert found.high - found.value == pytest.approx(2.776445 * np.sqrt(2.5 / 5), rel=1e-6)
    assert found.value - found.low == pytest.approx(found.high - found.value)
    assert paired.mean([1.0] * 4) is None


@pytest.mark.parametrize(("share", "fewest"), [(0.5, 8), (0.9, 20), (0.99, 100)])
def test_with_few_cases_a_quantile_has_no_interval(share, fewest):
    values = [[float(n)] for n in range(fewest)]
    assert paired.quantile(values[1:], share, seed=0) is None
    assert paired.quantile_difference(values[1:], values[1:], share, seed=0) is None
    assert paired.quantile(values, share, seed=0).n == fewest


@given(st.lists(st.tuples(seconds, seconds), min_size=8, max_size=30), st.integers(0, 9))
def test_an_interval_holds_its_value_and_turns_with_the_sides(pairs, seed):
    before, after = [[a] for a, _ in pairs], [[b] for _, b in pairs]
    found = paired.quantile_difference(before, after, 0.5, seed=seed)
    turned = paired.quantile_difference(after, before, 0.5, seed=seed)
    assert found.low <= found.value <= found.high
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low))
    assert found.value == pytest.approx(np.median(after) - np.median(before))
    assert found == paired.quantile_difference(before, after, 0.5, seed=seed)


def test_pairs_are_drawn_together():
    rng = np.random.default_rng(1)
    before = rng.lognormal(2, 1, 40)
    found = paired.quantile_difference([[b] for b in before], [[b + 1] for b in before], 0.5, seed=0)
    assert (found.low, found.high) == pytest.approx((1, 1)), "a constant difference has no spread"


def test_a_case_without_its_pair():
    with pytest.raises(ValueError, match="8 cases before and 9 after"):
        paired.quantile_difference([[1.0]] * 8, [[1.0]] * 9, 0.5, seed=0)
