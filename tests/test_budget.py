"""Limits are kept to the call."""

import time

import pytest

from sherlock.budget import Budget
from sherlock.errors import LimitReached
from sherlock.usage import Limits, Usage


def test_without_limits_nothing_is_refused():
    budget = Budget()
    for _ in range(1000):
        budget.before_call("m")
        budget.spend(Usage(calls=1, tokens_in=1000, usd=None))
    assert budget.reached is None
    assert budget.calls_begun == 1000


def test_calls_are_counted_before_they_are_made():
    budget = Budget(Limits(calls=2))
    budget.before_call("m")
    budget.before_call("m")
    budget.check()
    with pytest.raises(LimitReached, match="limit reached: 2 model calls"):
        budget.before_call("m")
    assert budget.calls_begun == 2
    assert budget.reached == "limit reached: 2 model calls"


@pytest.mark.parametrize(
    ("limits", "spent", "said"),
    [
        (Limits(tokens=100), Usage(tokens_in=60, tokens_out=40), "100 tokens"),
        (Limits(usd=0.5), Usage(usd=0.5), "0.5 dollars"),
        (Limits(usd=0.5), Usage(usd=None), "the price of a model is unknown"),
    ],
)
def test_what_is_spent_ends_it(limits, spent, said):
    budget = Budget(limits)
    budget.check()
    budget.before_call("m")
    budget.spend(spent)
    for refuse in (budget.check, lambda: budget.before_call("m")):
        with pytest.raises(LimitReached, match=said):
            refuse()


def test_time_ends_it():
    budget = Budget(Limits(seconds=0.02))
    budget.check()
    time.sleep(0.03)
    with pytest.raises(LimitReached, match=r"0\.02 seconds"):
        budget.before_call("m")
