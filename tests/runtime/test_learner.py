"""What is learned from runs, and what a plan knows before the first."""

import math
import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock.placement.plan import NodeFigures, Placement, PlacementFigures, Plan
from sherlock.runtime.learner import PLAN_WEIGHT, ROLLBACK_S, WINDOW, Learner, Window

seconds = st.floats(0, 1e6)


def planned(match_rate=0.8):
    expected = PlacementFigures(match_rate=match_rate, latency_s=2.0, usd=0.02)
    return Plan(
        placements={"a": Placement(verifier="schema", expected=expected), "b": Placement(verifier="schema")},
        nodes={"a": NodeFigures(latency_s=1.0, usd=0.01), "c": NodeFigures(latency_s=3.0)},
    )


def test_nothing_is_known_at_first():
    learner = Learner(placed=["a"])
    assert (
        learner.latency("a") is learner.usd("a") is learner.verifier_latency("a") is learner.verifier_usd("a") is None
    )
    assert learner.rollback_s == ROLLBACK_S
    assert learner.match_rate("a").mean == 0.5
    assert learner.match_rate("a").upper == pytest.approx(0.5 + math.sqrt(1 / 8))
    assert learner.is_placed("a")
    assert not learner.is_placed("b")
    assert learner.verifier_usd("b") == 0.0


def test_a_plan_is_believed_until_runs_say_otherwise():
    learner = Learner(planned())
    assert (learner.latency("a"), learner.usd("a")) == (1.0, 0.01)
    assert (learner.latency("c"), learner.usd("c")) == (3.0, None)
    assert (learner.verifier_latency("a"), learner.verifier_usd("a")) == (2.0, 0.02)
    assert learner.is_placed("b")
    assert learner.verifier_usd("b") is None
    assert learner.match_rate("a").mean == pytest.approx((0.8 * PLAN_WEIGHT + 0.5) / (PLAN_WEIGHT + 1))
    for _ in range(2 * PLAN_WEIGHT):
        learner.record_execution("a", 5.0, 0.05)
        learner.record_verification("a", 7.0, 0.07, matched=False)
    assert learner.latency("a") == 5.0
    assert learner.verifier_latency("a") == 7.0
    assert learner.usd("a") == pytest.approx((PLAN_WEIGHT * 0.01 + 2 * PLAN_WEIGHT * 0.05) / (3 * PLAN_WEIGHT))
    assert learner.match_rate("a").mean < 0.4


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.0001, 1.0001])
def test_a_plan_that_is_sure_may_be_wrong(rate):
    assert 0 < Learner(planned(match_rate=rate)).match_rate("a").mean < 1


def test_an_unknown_price_is_unknown_until_the_next_known_one():
    learner = Learner(planned())
    learner.record_execution("a", 1.0, None)
    learner.record_verification("a", 1.0, None, matched=True)
    assert learner.usd("a") is learner.verifier_usd("a") is None
    learner.record_execution("a", 1.0, 0.03)
    assert learner.usd("a") == 0.03


def test_a_verifier_that_failed_took_its_time_and_said_nothing():
    learner = Learner()
    learner.record_verification("a", 60.0, matched=None)
    assert learner.verifier_latency("a") == 60.0
    assert learner.match_rate("a") == Learner().match_rate("a")


def test_rollbacks_are_timed():
    learner = Learner()
    for took in (0.1, 0.3, 0.2):
        learner.record_rollback(took)
    assert learner.rollback_s == 0.2


def test_match_rates_follow_what_changed():
    learner = Learner()
    for _ in range(WINDOW):
        learner.record_verification("a", 1.0, matched=True)
    assert learner.match_rate("a").mean > 0.99
    for _ in range(WINDOW):
        learner.record_verification("a", 1.0, matched=False)
    assert learner.match_rate("a").mean < 0.01


@given(st.lists(st.booleans(), max_size=30))
def test_the_posterior_lies_between_the_prior_and_what_was_seen(verdicts):
    learner = Learner()
    for matched in verdicts:
        learner.record_verification("a", 1.0, matched=matched)
    rate = learner.match_rate("a")
    assert rate.mean == pytest.approx((sum(verdicts) + 0.5) / (len(verdicts) + 1))
    assert rate.mean <= rate.upper <= 1


@given(st.lists(seconds, min_size=1, max_size=3 * WINDOW), st.floats(0, 1))
def test_a_window_holds_the_last_values(values, share):
    window = Window(*values)
    last = sorted(values[-WINDOW:])
    assert len(window) == len(last)
    assert window.mean == pytest.approx(math.fsum(last) / len(last))
    found = window.quantile(share)
    assert found in last
    assert sum(value <= found for value in last) >= share * len(last)
    assert sum(value < found for value in last) <= share * len(last)
    assert (window.quantile(0), window.quantile(1)) == (last[0], last[-1])


def test_several_threads_may_teach_one_learner():
    learner, interval = Learner(), sys.getswitchinterval()

    def teach(seed):
        rng = random.Random(seed)
        for _ in range(2000):
            learner.record_execution("a", rng.random(), rng.random())
            learner.record_verification("a", rng.random(), rng.random(), matched=rng.random() < 0.5)
            assert 0 <= learner.latency("a", rng.random()) <= 1
            assert 0 <= learner.usd("a") <= 1
            assert 0 < learner.match_rate("a").mean < 1

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(teach, range(4)))
    finally:
        sys.setswitchinterval(interval)
    window = learner._nodes["a"].seconds
    assert sorted(window._aged) == window._sorted
    assert len(window) == WINDOW


def test_what_is_not_finite_is_not_taken_in():
    window = Window(1.0, float("nan"), float("inf"))
    assert (len(window), window.mean) == (1, 1.0)
    assert Window().mean is Window().quantile(0.5) is None
