"""What a run would have taken if every verdict had been waited for, from its events."""

import asyncio

import pytest
from langgraph.graph import END, START, StateGraph

import sherlock
from sherlock.runtime.events import ExecutionEnded, RolledBack, VerdictReached
from sherlock.runtime.savings import place_of, savings


def ended(label, seconds, error=None):
    return ExecutionEnded(run_id="r", execution_id=label, seconds=seconds, error=error)


def verdict(label, seconds, accepted=True):
    return VerdictReached(
        run_id="r", execution_id=label, verifier="v", accepted=accepted, matched=accepted, seconds=seconds
    )


def test_supersteps_stand_one_after_another_and_branches_side_by_side():
    events = [
        *(ended("1:a:1", 1.0), verdict("1:a:1", 2.0)),
        *(ended("2:b:2", 1.0), ended("2:c:3", 4.0), verdict("2:b:2", 5.0)),
        *(ended("3:d#0:4", 0.5), ended("3:d#1:5", 0.7)),
    ]
    found = savings(events)
    assert found.blocking_s == pytest.approx(1 + 2 + max(1 + 5, 4) + 0.7)
    assert found.wasted_s == 0


def test_inner_supersteps_stand_within_their_node():
    events = [
        *(ended("1:sub/1:a:1", 1.0), verdict("1:sub/1:a:1", 1.0), ended("1:sub/2:b:2", 2.0)),
        ended("1:a//b:3", 3.5),
    ]
    assert savings(events).blocking_s == pytest.approx(max(1 + 1 + 2, 3.5))


def test_what_was_thrown_away_is_not_waited_for():
    events = [
        *(ended("1:a:1", 1.0), ended("2:b:2", 3.0), verdict("1:a:1", 2.0, accepted=False)),
        RolledBack(run_id="r", execution_id="1:a:1", step=2, discarded=("2:b:2",)),
        *(ended("2:c:4", 9.0, error="CancelledError()"), ended("2:b:3", 3.5)),
    ]
    found = savings(events)
    assert found.blocking_s == pytest.approx(1 + 2 + 3.5)
    assert found.wasted_s == pytest.approx(3.0)


def test_what_was_rejected_and_made_again_is_waited_for_twice():
    events = [
        *(ended("1:a:1", 1.0), verdict("1:a:1", 2.0, accepted=False)),
        RolledBack(run_id="r", execution_id="1:a:1", step=1, retry=True),
        *(ended("1:a:2", 1.5), verdict("1:a:2", 0.5)),
    ]
    assert savings(events).blocking_s == pytest.approx(1 + 2 + 1.5 + 0.5)


def test_nothing():
    assert savings([]).blocking_s == 0
    assert place_of("1:a:2") == "1:a"


def test_it_comes_near_to_a_blocking_run():
    class Slow:
        name = "slow"

        async def verify(self, subject):
            await asyncio.sleep(0.06)
            return sherlock.Verdict(True)

    async def a(state):
        await asyncio.sleep(0.03)
        return {"x": 1}

    async def b(state):
        await asyncio.sleep(0.06)
        return {"x": 2}

    builder = StateGraph(dict)
    builder.add_node("a", a)
    builder.add_node("b", b)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", END)
    took = {}
    for mode in ("speculate", "blocking"):
        events = []
        agent = sherlock.guard(
            builder, sherlock.Plan.attach({"a": Slow()}), policy={"mode": mode}, on_event=events.append
        )
        agent.invoke({"x": 0})
        took[mode] = agent.report().t_vrf_s, savings(events).blocking_s
    assert 0.15 <= took["speculate"][1] <= took["blocking"][0] + 0.05
    assert 0.09 <= took["speculate"][0] < took["speculate"][1]
    assert took["blocking"][1] <= took["blocking"][0]
