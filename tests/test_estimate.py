import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from sherlock.estimate import (
    Estimate,
    beta_quantile,
    cluster_jeffreys,
    mean_score,
    product,
    proportion,
    signed_lower_bound,
    signed_mean,
)

shares = st.lists(st.floats(0, 1), min_size=1, max_size=60)
gains = st.lists(st.floats(-1, 1), min_size=1, max_size=60)


def by_the_book(values, confidence=0.95):
    """The formula as it is published, in other words than the module's."""
    psi, alpha = np.array(values), 1 - confidence
    size = len(psi) + 1
    m, s = (psi.sum() + 0.5) / size, ((psi**2).sum() + 0.5) / size
    k = m * (1 - m) / ((s - m * m) / (size + 1)) - 1
    return tuple(beta.ppf([alpha / 2, 1 - alpha / 2], m * k, (1 - m) * k))


def test_the_interval_is_the_published_one():
    values = [0.2, 0.0, 1.0, 0.5, 0.5, 0.0, 0.7, 0.1]
    estimate = cluster_jeffreys(values, 0.9)
    assert estimate.value == pytest.approx(0.375)
    assert (estimate.low, estimate.high) == pytest.approx(by_the_book(values, 0.9), abs=1e-12)
    assert estimate.n == 8


def test_a_value_outside_the_unit_interval_maps_all_of_them():
    values = [-0.5, 0.0, 1.0, 0.5, 1.4, 0.0]
    low, high = by_the_book(np.clip((np.array(values) + 1) / 2, 0, 1))
    estimate = cluster_jeffreys(values)
    assert (estimate.low, estimate.high) == pytest.approx((2 * low - 1, 2 * high - 1), abs=1e-12)
    assert estimate.value == pytest.approx(0.4)


def test_yes_and_no_give_the_jeffreys_interval():
    estimate = proportion(3, 10)
    assert estimate.value == pytest.approx(0.3)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(beta.ppf([0.025, 0.975], 3.5, 7.5)))
    assert estimate == mean_score([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("crumb", [0.0, 1e-16, -1e-16])
def test_nothing_seen_but_zeros_or_ones_reaches_the_end(crumb):
    none, every = cluster_jeffreys([0.0 + crumb] * 12), cluster_jeffreys([1.0 + crumb] * 12)
    assert none.low == pytest.approx(0, abs=1e-15)
    assert 0.1 < none.high < 0.25
    assert every.high == pytest.approx(1, abs=1e-15)
    assert 0.75 < every.low < 0.9
    assert cluster_jeffreys([-1.0] * 12).low == -1
    assert -0.8 < cluster_jeffreys([-1.0] * 12).high < -0.5
    assert signed_mean([1.0] * 12).high == 1
    assert signed_mean([-1.0] * 12).low == -1


def test_the_point_estimate_may_be_given():
    assert cluster_jeffreys([0.0, 1.0], value=0.4).value == 0.4
    assert signed_mean([0.0, 1.0], value=-0.2).value == -0.2


@given(shares)
def test_an_interval_lies_in_the_unit_interval_and_holds_its_value(values):
    estimate = cluster_jeffreys(values)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1 + 1e-9
    assert estimate.n == len(values)


@given(shares)
def test_complements_mirror(values):
    estimate, mirrored = cluster_jeffreys(values), cluster_jeffreys([1 - v for v in values])
    assert mirrored.low == pytest.approx(1 - estimate.high, abs=1e-6)
    assert mirrored.high == pytest.approx(1 - estimate.low, abs=1e-6)


@given(gains)
def test_signed_means_mirror_and_stay_in_range(values):
    estimate, mirrored = signed_mean(values), signed_mean([-v for v in values])
    assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert mirrored.low == pytest.approx(-estimate.high, abs=1e-9)
    assert mirrored.value == pytest.approx(-estimate.value, abs=1e-9)


@given(gains, st.floats(1e-6, 0.2))
def test_the_lower_bound_falls_with_its_tail(values, tail):
    bound = signed_lower_bound(values, tail)
    assert -1 <= bound <= signed_lower_bound(values, 2 * tail) <= 1


@given(shares, st.randoms())
def test_the_order_of_values_does_not_matter(values, random):
    shuffled = random.sample(values, len(values))
    assert cluster_jeffreys(values) == cluster_jeffreys(shuffled)


@given(shares)
def test_more_confidence_is_a_wider_interval(values):
    narrow, wide = cluster_jeffreys(values, 0.8), cluster_jeffreys(values, 0.99)
    assert wide.low <= narrow.low
    assert wide.high >= narrow.high


def test_more_cases_narrow_it_and_more_spread_widens_it():
    few, many = cluster_jeffreys([0.0, 1.0] * 5), cluster_jeffreys([0.0, 1.0] * 20)
    even = cluster_jeffreys([0.5] * 10)
    assert many.high - many.low < few.high - few.low
    assert even.high - even.low < few.high - few.low


def test_arrays_and_numbers_agree():
    rows = np.random.default_rng(1).random((5, 9))
    low = beta_quantile(9, rows.sum(1), (rows**2).sum(1), 0.025)
    assert low == pytest.approx([cluster_jeffreys(row.tolist()).low for row in rows])


def test_signed_means_hold_where_a_few_cases_gain():
    rng = np.random.default_rng(0)
    runs = rng.choice([1.0, 0.0], p=[0.1, 0.9], size=(1500, 20)).tolist()
    estimates = [signed_mean(run) for run in runs]
    assert sum(e.low <= 0.1 <= e.high for e in estimates) / 1500 >= 0.92


def test_a_product_of_two_shares():
    rates = proportion(30, 100), proportion(50, 100)
    estimate = product(*rates, seed=3)
    rng = np.random.default_rng(0)
    exact = np.quantile(rng.beta(30.5, 70.5, 10**6) * rng.beta(50.5, 50.5, 10**6), [0.025, 0.975])
    assert estimate.value == pytest.approx(0.15)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(exact), abs=0.004)
    assert estimate == product(*rates, seed=3)
    assert estimate != product(*rates, seed=4)


def test_a_product_with_nothing_is_nothing_at_least():
    estimate = product(proportion(0, 10), proportion(8, 20), seed=0)
    assert (estimate.value, estimate.low) == (0, 0)
    assert 0 < estimate.high < 0.3
    assert estimate.n == 10
    assert product(proportion(5, 5), proportion(7, 7), seed=0).high == 1
    assert product(proportion(5, 9), Estimate(-0.1, -0.3, 0.1, 9), seed=0).low <= -0.05


@pytest.mark.parametrize(
    "call",
    [
        lambda: cluster_jeffreys([]),
        lambda: signed_mean([]),
        lambda: cluster_jeffreys([0.5, math.nan]),
        lambda: cluster_jeffreys([0.5, math.inf]),
        lambda: cluster_jeffreys([0.5], 1.0),
        lambda: proportion(3, 2),
        lambda: proportion(0, 0),
    ],
)
def test_what_has_no_mean_is_refused(call):
    with pytest.raises(ValueError, match=r"no values|not finite|confidence|no proportion"):
        call()


def test_importing_it_loads_nothing_heavy():
    code = "import sherlock.estimate, sys; sys.exit('numpy' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
