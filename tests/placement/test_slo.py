import math

import pytest

from sherlock.errors import PlanError
from sherlock.placement.slo import SLO, known_objective


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"max_usd": -0.1}, "max_usd is -0.1; it cannot be negative"),
        ({"max_wh": math.nan}, "max_wh is nan; give a number"),
        ({"max_verifiers": True}, "max_verifiers is True; give a number"),
        ({"max_verifiers": 1.5}, "max_verifiers is 1.5; give a whole number"),
        ({"max_verifier_calls": "3"}, "max_verifier_calls is '3'; give a number"),
        ({"min_accuracy": 90}, "min_accuracy is 90; scores lie in .0, 1., so give 0.9 for 90 %"),
        ({"max_latency_s": 0}, "no run takes no time"),
    ],
)
def test_refuses(asked, words):
    with pytest.raises(PlanError, match=words):
        SLO(**asked)
    with pytest.raises(ValueError, match=words):
        SLO(**asked)


def test_takes_its_arguments_in_the_documented_order():
    assert SLO(0.9, 0.01, 5, 1, 3, 6).asked() == {
        "min_accuracy": 0.9,
        "max_usd": 0.01,
        "max_latency_s": 5,
        "max_wh": 1,
        "max_verifiers": 3,
        "max_verifier_calls": 6,
    }
    assert SLO(max_usd=0).asked() == {"max_usd": 0}


def test_a_contradiction_shows_with_the_baseline():
    SLO(min_accuracy=0.9, max_verifiers=0).check(0.95)
    SLO(min_accuracy=0.9, max_verifiers=0).check(None)
    with pytest.raises(PlanError, match=r"min_accuracy 0.9 is above the 0.5 .* max_verifiers 0 forbids"):
        SLO(min_accuracy=0.9, max_verifiers=0).check(0.5)


def test_names_the_nearest_objective():
    assert known_objective("usd") == "usd"
    with pytest.raises(PlanError, match="no objective 'acuracy'; did you mean 'accuracy'"):
        known_objective("acuracy")
