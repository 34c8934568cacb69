"""When does a guarded run end, against the soonest that it could, and against waiting for every verdict?

The times of nodes and verifiers are lognormal: medians of 1 and 2 seconds, 0.6 the deviation of the logarithm. The
clock is virtual, so that nothing but waiting counts and every figure is exact. First random graphs in which every
output is accepted (`guard_random.py`), then workflows in which outputs are rejected (`guard_workflows.py`): guarded,
verified by hand (the node awaits its verifier before it returns), and at best, as by an oracle that knows every verdict
beforehand. A part of it is repeated on the real clock, four times as fast (`--real`: runs of each row).

Run: `python benchmarks/guard_latency.py [--quick] [--runs 300] [--graphs 200] [--real 12] [--json]`. Prints Markdown,
in twenty minutes.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from guard_workflows import ByHand, Guarded, Times, Took, Workflow, best, workflows
from measured import Findings, Goal, machine, median, show

TESTS = Path(__file__).parents[1] / "tests"
sys.path += [str(TESTS), str(TESTS / "runtime")]

import virtual_clock  # noqa: E402  (of the tests)
from guard_random import Ends, both, drawn, ends  # noqa: E402  (built on the tests' graphs)

WITHIN = 1.05
SHARE_GOAL = 0.9
RATES = (1.0, 0.8, 0.6)
UNIT_S = 0.25
IN_STEP = "long"
"""In the name of workflows where LangGraph makes nodes wait for what they do not read: no goal is theirs."""
PAPER = (
    "For orientation, arXiv:2511.00330 reports for its three benchmarks a mean T_exec cut of 51.4 %, 53.4 % and "
    "62.9 %, a mean T_vrf cut of 21.9 %, 30.6 % and 48.7 %, and a P99 T_vrf cut of 52.0 %, 5.5 % and 52.6 %. The "
    "shapes, latencies and match rates behind them are not published, so they cannot be compared with the rows above."
)


def random_graphs(count: int = 200) -> Findings:
    """Every output is accepted: how far from the soonest possible?"""
    settings: list[tuple[str, Any, int]] = [
        ("first run of a guard", {}, 1),
        ("its tenth run", {}, 10),
        ("first run, max_depth 100", {"max_depth": 100}, 1),
        ("its tenth run, max_depth 100", {"max_depth": 100}, 10),
    ]
    rows, goals = [], []
    for name, policy, runs in settings:
        found = [ends(drawn(seed), policy, runs) for seed in range(count)]
        for figure, ratios in _against_best(found).items():
            within = sum(ratio <= WITHIN for ratio in ratios)
            rows.append(
                {
                    "guard": name,
                    "figure": figure,
                    "graphs": len(found),
                    "executions": float(np.mean([each.nodes for each in found])),
                    "verifications": float(np.mean([each.verifications for each in found])),
                    "mean ratio to the soonest": float(np.mean(ratios)),
                    "within 5 %": within,
                    "worst ratio": max(ratios),
                }
            )
            what = f"{name}, {figure}: share of graphs at most 5 % above the soonest"
            goals.append(Goal(what=what, value=within / len(found), least=1.0))
    title = "Random graphs, every output accepted, virtual clock: T_exec and T_vrf over the soonest possible."
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


def random_graphs_on_the_real_clock(count: int = 12) -> Findings:
    """The same where computing takes time too: the guard's and LangGraph's."""

    async def all_of_them() -> list[Ends]:
        return [await both(drawn(seed, unit_s=UNIT_S), {}) for seed in range(count)]

    found = asyncio.run(all_of_them())
    rows = [
        {"figure": figure, "graphs": count, "ratio to the soonest": median(ratios), "worst ratio": max(ratios)}
        for figure, ratios in _against_best(found).items()
    ]
    goals = [
        Goal(what=f"{row['figure']} over the soonest", value=row["ratio to the soonest"], most=WITHIN) for row in rows
    ]
    title = f"The same on the real clock, {1000 * UNIT_S:.0f} ms for a second: medians, 95 % intervals."
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


def _against_best(found: Sequence[Ends]) -> dict[str, list[float]]:
    return {
        "T_exec": [each.t_exec / each.t_exec_best for each in found],
        "T_vrf": [each.t_vrf / each.t_vrf_best for each in found],
    }


class Runs(NamedTuple):
    """The same runs, each way, and the processor seconds that they took. Arrays of (T_exec, T_vrf)."""

    by_hand: np.ndarray[Any, Any]
    guarded: np.ndarray[Any, Any]
    best: np.ndarray[Any, Any]
    cpu: list[tuple[float, float]]


async def taken(workflow: Workflow, times: Times, count: int) -> Runs:
    """Run a workflow each way; raises `AssertionError` when they end in different states.

    On a virtual clock also when the guard that waits for every verdict takes another time than the graph by hand.
    """
    is_virtual = isinstance(asyncio.get_running_loop(), virtual_clock.VirtualLoop)
    hand, guard = ByHand(workflow, times), Guarded(workflow, times)
    blocking = Guarded(workflow, times, mode="blocking")
    found: list[tuple[Took, Took, Took]] = []
    cpu = []
    for number in range(count):
        first = time.process_time()
        expected, by_hand = await hand.run(number)
        second = time.process_time()
        state, ours = await guard.run(number)
        cpu.append((second - first, time.process_time() - second))
        planned, soonest = best(workflow, times, number)
        assert state == expected == planned
        if is_virtual and number < 5:
            waited, theirs = await blocking.run(number)
            assert waited == expected
            assert abs(theirs.t_vrf - by_hand.t_vrf) < 1e-6
        found.append((by_hand, ours, soonest))
    arrays = (np.array([(took[way].t_exec, took[way].t_vrf) for took in found]) for way in range(3))
    return Runs(*arrays, cpu)


def cuts(count: int = 300) -> Findings:
    """Outputs are rejected: how much sooner than by hand, and which share of what could be had?"""
    rows = []
    for workflow in workflows():
        for rate in RATES:
            runs = virtual_clock.run(taken(workflow, Times(match_rate=rate), count))
            rows += _rows(workflow, rate, runs)
    goals = [_least(rows, "share"), _least(rows, "P99 share")]
    title = f"Against verification by hand, virtual clock, {count} runs of each row; shares with 95 % intervals."
    return Findings(title=title, rows=rows, goals=goals, notes=[PAPER, machine()])


def _rows(workflow: Workflow, rate: float, runs: Runs) -> list[dict[str, Any]]:
    found = []
    for column, figure in enumerate(("T_exec", "T_vrf")):
        hand, ours, soonest = (way[:, column] for way in runs[:3])
        row: dict[str, Any] = {"workflow": workflow.name, "match rate": f"{rate:g}", "figure": figure}
        for name, statistic in (("", np.mean), ("P99 ", _p99)):
            row[f"{name}by hand, s"] = float(statistic(hand))
            row[f"{name}cut"] = _cut(statistic, ours, hand)
            row[f"{name}largest cut"] = _cut(statistic, soonest, hand)
            row[f"{name}share"] = _share(statistic, hand, ours, soonest)
        row["processor time over by hand"] = median([ours / hand for hand, ours in runs.cpu])
        found.append(row)
    return found


def _least(rows: Sequence[dict[str, Any]], part: str) -> Goal:
    """The goal, held against the row that is furthest from it."""
    row = min((r for r in rows if r["figure"] == "T_vrf" and IN_STEP not in r["workflow"]), key=lambda r: r[part])
    what = f"{part} of the largest T_vrf cut, where it is least ({row['workflow']}, match rate {row['match rate']})"
    return Goal(what=what, value=row[part], least=SHARE_GOAL)


def _p99(values: Any) -> Any:
    return np.quantile(values, 0.99)


def _cut(statistic: Callable[[Any], Any], ours: Any, hand: Any) -> str:
    return f"{100 * (1 - statistic(ours) / statistic(hand)):.1f} %"


def _share(statistic: Callable[[Any], Any], hand: Any, ours: Any, soonest: Any) -> tuple[float, float, float]:
    """The cut as a share of the largest, with its 95 % percentile-bootstrap interval over runs, seeded."""

    def share(pick: Any) -> float:
        slow, took, soon = (float(statistic(values[pick])) for values in (hand, ours, soonest))
        return (slow - took) / (slow - soon) if slow > soon else 1.0

    picks = np.random.default_rng(0).integers(len(hand), size=(2000, len(hand)))
    low, high = np.quantile([share(pick) for pick in picks], [0.025, 0.975])
    return share(np.arange(len(hand))), float(low), float(high)


def cuts_on_the_real_clock(count: int = 12) -> Findings:
    """One row of each shape again, at match rate 0.8 and three placements, where computing takes time too."""
    rows = []
    times = Times(match_rate=0.8, execution_s=UNIT_S, verdict_s=2 * UNIT_S)
    for workflow in workflows():
        if "3 placed" in workflow.name:
            runs = asyncio.run(taken(workflow, times, count))
            rows += _rows(workflow, times.match_rate, runs)
    goals = [_least(rows, "share")]
    title = f"The same on the real clock, {1000 * UNIT_S:.0f} ms for a second, {count} runs of each row."
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


def measure(runs: int = 300, graphs: int = 200, real: int = 12) -> list[Findings]:
    """All four parts; the real clock is left out where `real` is 0."""
    found = [random_graphs(graphs), cuts(runs)]
    if real:
        found += [random_graphs_on_the_real_clock(real), cuts_on_the_real_clock(real)]
    return found


def main(arguments: Sequence[str] | None = None) -> list[Findings]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--graphs", type=int, default=200)
    parser.add_argument("--real", type=int, default=12, help="runs of each row on the real clock; 0 leaves it out")
    parser.add_argument("--quick", action="store_true", help="few runs, and none on the real clock")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    sizes = (20, 20, 0) if options.quick else (options.runs, options.graphs, options.real)
    findings = measure(*sizes)
    show(*findings, as_json=options.json)
    return findings


if __name__ == "__main__":
    main()
