"""The benchmarks of guarded runs run; and what they hold runs against, the soonest possible, is what it says."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
sys.path.append(str(Path(__file__).parent / "runtime"))

import guard_latency
import guard_many
import guard_overhead
import guard_rollback
import guard_workflows as w
import measured
import virtual_clock
from guard_random import drawn, ends


def test_the_overhead_of_a_chain_is_measured_each_way():
    empty, placed, by_hand, *_ = guard_overhead.comparisons(3)
    rows = [asyncio.run(guard_overhead.compared(each, 3, 1)) for each in (empty, placed, by_hand)]
    assert [row["against"] for row in rows] == ["plain", "plain", "verified by hand"]
    assert 1 <= rows[0]["ratio of calls"] < 1.05 < rows[1]["ratio of calls"]


def test_rollbacks_are_timed_by_the_guard_and_by_hand():
    rows = asyncio.run(guard_rollback.measure(2)).rows
    assert [row["nodes thrown away"] for row in rows] == [1, 8] * 3
    assert all(0 < row["guard, ms"][0] < 1000 and row["by hand, ms"][0] > 0 for row in rows)


def test_many_runs_at_once_and_what_they_hold():
    rows = asyncio.run(guard_many.throughput(10, 2)).rows
    assert [row["way"] for row in rows] == ["plain", "by hand", "guarded"]
    held = asyncio.run(guard_many.resident("guarded", 40, 10))
    assert len(held) == 4
    assert min(held) > 1e6


@pytest.mark.parametrize("rate", [1.0, 0.5])
@pytest.mark.parametrize("workflow", w.workflows()[::2], ids=lambda workflow: workflow.name)
def test_nothing_is_sooner_than_the_best(workflow, rate):
    times = w.Times(match_rate=rate)
    runs = virtual_clock.run(guard_latency.taken(workflow, times, 4))
    assert (runs.best <= runs.guarded + 1e-9).all()
    assert (runs.guarded <= runs.by_hand + 1e-9).all()


def test_the_best_guesses_what_is_accepted_and_waits_for_what_is_corrected():
    workflow = w.Workflow(name="chain", sources=w.chain(3), placed=frozenset({"n0", "n1"}))
    times = w.Times(match_rate=1.0, spread=0.0, execution_s=1.0, verdict_s=5.0)
    assert w.best(workflow, times, 0)[1] == w.Took(3.0, 7.0)
    state, took = w.best(workflow, replace(times, match_rate=0.0), 0)
    assert took == w.Took(13.0, 13.0)
    assert state["n0"] == w.corrected(w.said("n0", 0, []))


def test_what_accepts_at_a_rate_does_so():
    times = w.Times(match_rate=0.8)
    assert sum(times.accepts(f"text {n}") for n in range(2000)) / 2000 == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("seed", range(6))
def test_a_random_graph_does_not_end_before_it_can(seed):
    found = ends(drawn(seed))
    assert found.verifications > 0
    assert found.t_vrf >= found.t_vrf_best - 1e-9
    assert found.t_exec >= found.t_exec_best - 1e-9


@pytest.mark.parametrize(
    ("value", "verdict"), [(0.9, "met"), (0.8, "missed"), ((0.95, 0.92, 1.0), "met"), ((0.9, 0.8, 1.0), "open")]
)
def test_a_goal_may_be_a_least_value(value, verdict):
    goal = measured.Goal(what="a share", value=value, least=0.85)
    assert goal.verdict == verdict
    assert "at least 0.85" in str(goal)
