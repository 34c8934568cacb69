"""The benchmarks run, and where their figures are counts, and not times, the goals hold."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import executions
import many_trials
import measured
import overhead


def test_an_interposed_step_makes_hardly_more_calls(capsys):
    findings = overhead.main(["--nodes", "5", "--pairs", "2", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert [row["chain"] for row in printed[0]["rows"]] == [row["chain"] for row in findings.rows]
    for row in findings.rows[:3]:
        assert 1 < row["ratio of calls"] <= 1.01
        middle, low, high = row["ratio of times"]
        assert 0 < low <= middle <= high


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("chain, masks nothing, not deterministic", executions.CHAIN_GOAL),
        ("chain, three nodes mask", 0.35),
        ("fan-out, masks nothing", executions.FAN_OUT_GOAL),
        ("fan-out, masks nothing, not deterministic", executions.FAN_OUT_GOAL),
    ],
)
def test_an_analysis_executes_as_few_nodes_as_it_should_and_says_so(name, most):
    make, options = executions.WORKFLOWS[name]
    run = executions.analysed(make, 6, seed=1, **options)
    assert run.counted == run.told
    assert run.full == run.full_told
    assert run.ratio <= most


def test_stopping_early_costs_less_and_finds_the_same_ranking():
    nodes = ["part3", "part8", "part9"]
    end, stop = (
        executions.analysed(executions.chain_of_parts, 12, seed=0, nodes=nodes, **settings)
        for settings in ({}, {"margin": executions.MARGIN, "confidence": 0.95})
    )
    assert stop.settled
    assert stop.counted < end.counted
    assert stop.ranking == end.ranking == tuple(nodes)
    assert end.values == pytest.approx({node: executions.WEIGHTS[int(node[-1])] for node in nodes})


def test_many_trials_are_made_to_order():
    row = many_trials.in_fresh_process(32, 8)
    assert row["trials"] == 32
    assert 0 < row["peak MB"] < many_trials.MEMORY_GOAL_MB
    assert asyncio.run(many_trials.analysed(96, 8)).trials == 96
    with pytest.raises(ValueError, match="do not divide"):
        asyncio.run(many_trials.analysed(97, 8))


def test_an_exponent_is_read_off_costs():
    slope, low, high = measured.exponent([10, 20, 40, 80], [3 * size**1.5 for size in (10, 20, 40, 80)])
    assert slope == pytest.approx(1.5)
    assert low <= slope <= high


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(1.0, "met"), (1.2, "missed"), ((1.0, 0.9, 1.04), "met"), ((1.0, 0.9, 1.2), "open"), ((2.0, 1.9, 2.1), "missed")],
)
def test_a_goal_is_met_by_the_whole_interval(value, verdict):
    assert measured.Goal(what="a ratio", value=value, most=1.05).verdict == verdict


def test_a_median_lies_in_its_interval():
    assert measured.median([1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)
    middle, low, high = measured.median([1.0, 2.0, 3.0, 4.0, 50.0])
    assert low < middle == 3.0 < high
