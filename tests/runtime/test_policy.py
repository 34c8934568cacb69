"""What a policy may say, and which of several is followed."""

import dataclasses
import typing

import pytest

import sherlock
from sherlock.errors import PlanError
from sherlock.placement.plan import Plan, PolicyFields
from sherlock.runtime.policy import Policy


def test_defaults_in_the_documented_order():
    assert dataclasses.astuple(Policy()) == ("speculate", None, 8, 8, "raise", 60, 64, "closed", "hold")
    assert Policy("auto", 0.5, 2) == Policy(mode="auto", budget=0.5, max_depth=2)
    assert sherlock.Policy is Policy


def test_a_plan_may_say_exactly_the_fields_of_a_policy():
    assert typing.get_type_hints(PolicyFields) == typing.get_type_hints(Policy)
    assert list(PolicyFields.__annotations__) == [field.name for field in dataclasses.fields(Policy)]


def test_a_policy_goes_through_a_plan_and_back(tmp_path):
    policy = Policy(mode="auto", budget=0.25, max_depth=3, on_failure="open", stream="mark")
    Plan.attach({}, policy=policy).save(tmp_path / "plan.yaml")
    assert Policy.of(Plan.load(tmp_path / "plan.yaml").policy) == policy


def test_the_argument_comes_before_the_plan_and_the_plan_before_the_default():
    plan = {"mode": "auto", "max_depth": 2}
    assert Policy.of(None, None) == Policy.of() == Policy()
    assert Policy.of(None, plan) == Policy(mode="auto", max_depth=2)
    assert Policy.of({"mode": "blocking"}, plan) == Policy(mode="blocking", max_depth=2)
    assert Policy.of({"budget": None}, {"budget": 1.0}) == Policy()
    assert Policy.of(Policy(budget=1.0), plan) == Policy(budget=1.0)
    assert plan == {"mode": "auto", "max_depth": 2}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mode": "blockin"}, r"mode is 'blockin': use one of speculate, blocking, auto \('blocking'\?\)"),
        ({"on_limit": None}, "on_limit is None: use one of raise, flag"),
        ({"on_failure": "close"}, r"on_failure is 'close': .*\('closed'\?\)"),
        ({"stream": ["hold"]}, "stream is"),
        ({"budget": -0.1}, "budget is -0.1: give dollars, 0 or more"),
        ({"budget": float("nan")}, "budget is nan"),
        ({"budget": float("inf")}, "budget is inf: .* None for no limit"),
        ({"budget": True}, "budget is True"),
        ({"max_depth": -1}, "max_depth is -1: give a whole number of at least 0"),
        ({"max_depth": 2.0}, "max_depth is 2.0"),
        ({"max_rollbacks": True}, "max_rollbacks is True"),
        ({"max_rollbacks": "8"}, "max_rollbacks is '8'"),
        ({"max_verifiers_in_flight": 0}, "max_verifiers_in_flight is 0: .* at least 1"),
        ({"verifier_timeout_s": 0}, "verifier_timeout_s is 0: give seconds over 0"),
        ({"verifier_timeout_s": None}, "verifier_timeout_s is None"),
    ],
)
def test_a_field_out_of_range(fields, words):
    with pytest.raises(PlanError, match=words):
        Policy(**fields)
    with pytest.raises(PlanError, match=words):
        Policy.of(None, fields)


def test_what_is_no_policy():
    with pytest.raises(PlanError, match="no field 'max_dept': did you mean 'max_depth'"):
        Policy.of({"max_dept": 3})
    with pytest.raises(PlanError, match="'blocking' is no policy: give a Policy, or a mapping"):
        Policy.of("blocking")


def test_the_least_that_may_be_said():
    assert Policy(budget=0, max_depth=0, max_rollbacks=0).budget == 0
