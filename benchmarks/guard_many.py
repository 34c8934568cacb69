"""Do a thousand guarded runs at once keep up with plain LangGraph, and does memory stay flat over 20,000?

Chains of three nodes of 10 ms, the middle one verified by a verifier that takes 10 ms too. A round is a thousand runs
at once, each way, in an order that changes: plain LangGraph, which verifies nothing; verified by hand (the node awaits
the verifier); and guarded. Memory is that of a fresh process, looked at after every thousand runs. Run:
`python benchmarks/guard_many.py [--quick] [--runs 20000] [--rounds 12] [--json]`. Prints Markdown, in ten minutes.
`--profile` shows where the time of a thousand guarded runs goes instead.
"""

import argparse
import asyncio
import cProfile
import gc
import json
import pstats
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from langgraph.graph import END, START, StateGraph
from measured import Findings, Goal, machine, median, show
from scipy.stats import linregress
from scipy.stats import t as student

import sherlock

THROUGHPUT_GOAL = 0.85
GROWTH_GOAL = 100.0
"""Bytes a run: 2 MB over 20,000 runs, which is less than the allocator's own ups and downs."""
STEP_S = 0.010
WARM_UP = 3
"""Batches before memory is looked at: pools, caches and the windows of what is learned fill up."""


class State(TypedDict, total=False):
    text: str


class Unhurried:
    """Accepts what it is shown, in 10 ms."""

    name = "unhurried"

    async def verify(self, subject: sherlock.Subject) -> sherlock.Verdict:
        await asyncio.sleep(STEP_S)
        return sherlock.Verdict(accepted=bool(subject.text))


class Cost(NamedTuple):
    """Seconds of one round: by the clock, and of processor time."""

    wall: float
    cpu: float


def chain(*, by_hand: bool = False) -> Any:
    verifier = Unhurried()

    def step(name: str) -> Any:
        async def node(state: State) -> State:
            await asyncio.sleep(STEP_S)
            return {"text": f"{state['text']}, {name}"}

        return node

    async def verified(state: State) -> State:
        update = await step("checked")(state)
        subject = sherlock.Subject(node="checked", inputs=state, text=update["text"], output=update)
        verdict = await verifier.verify(subject)
        return update if verdict.accepted else {"text": str(verdict.corrected)}

    builder = StateGraph(State)
    builder.add_node("read", step("read"))
    builder.add_node("checked", verified if by_hand else step("checked"))
    builder.add_node("answer", step("answer"))
    for before, after in ((START, "read"), ("read", "checked"), ("checked", "answer"), ("answer", END)):
        builder.add_edge(before, after)
    return builder.compile()


def ways() -> dict[str, Any]:
    """Each way of running the chain."""
    guarded = sherlock.guard(chain(), sherlock.Plan.attach({"checked": Unhurried()}))
    return {"plain": chain(), "by hand": chain(by_hand=True), "guarded": guarded}


async def at_once(graph: Any, count: int) -> Cost:
    """Run a graph so many times at once."""
    wall, cpu = time.perf_counter(), time.process_time()
    states = await asyncio.gather(*(graph.ainvoke({"text": "case"}) for _ in range(count)))
    cost = Cost(time.perf_counter() - wall, time.process_time() - cpu)
    assert all(state == {"text": "case, read, checked, answer"} for state in states)
    return cost


async def throughput(count: int = 1000, rounds: int = 12) -> Findings:
    """Rounds of `count` runs at once, each way."""
    graphs = ways()
    costs: dict[str, list[Cost]] = {name: [] for name in graphs}
    for graph in graphs.values():
        await at_once(graph, count)
    for number in range(rounds):
        names = list(graphs)
        for name in names[number % 3 :] + names[: number % 3]:
            gc.collect()
            costs[name].append(await at_once(graphs[name], count))
    rows = []
    for name, found in costs.items():
        pairs = list(zip(found, costs["plain"], strict=True))
        rows.append(
            {
                "way": name,
                "rounds": rounds,
                "runs a second": median([count / cost.wall for cost in found]),
                "ms of processor a run": median([1000 * cost.cpu / count for cost in found]),
                "throughput over plain": median([plain.wall / cost.wall for cost, plain in pairs]),
                "the same by processor time": median([plain.cpu / cost.cpu for cost, plain in pairs]),
            }
        )
    ours = rows[-1]
    goals = [
        Goal(what=f"guarded, {name}", value=ours[name], least=THROUGHPUT_GOAL)
        for name in ("throughput over plain", "the same by processor time")
    ]
    title = f"{count} runs at once of three nodes of 10 ms, one of them verified in 10 ms: medians, 95 % intervals."
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


async def resident(way: str, runs: int, batch: int) -> list[int]:
    """The bytes that this process holds after each batch of runs."""
    graph = ways()[way]
    found = []
    for _ in range(runs // batch):
        await at_once(graph, batch)
        gc.collect()
        found.append(_resident())
    return found


def memory(runs: int = 20_000, batch: int = 1000) -> Findings:
    """Growth of resident memory, guarded and plain, each in a fresh process."""
    rows = []
    for way in ("plain", "guarded"):
        command = [sys.executable, str(Path(__file__)), "--resident", way, "--runs", str(runs), "--batch", str(batch)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        held = json.loads(done.stdout)
        settled = held[WARM_UP:]
        rows.append(
            {
                "way": way,
                "runs": batch * len(held),
                "MB after the first batch": held[0] / 1e6,
                f"after {WARM_UP}": held[WARM_UP - 1] / 1e6,
                "at the end": held[-1] / 1e6,
                "bytes a run from then on": _slope([batch * number for number in range(len(settled))], settled),
            }
        )
    goal = Goal(what="guarded, bytes a run", value=rows[-1]["bytes a run from then on"], most=GROWTH_GOAL)
    title = f"Resident memory after every {batch} runs, {batch} at once; least squares, 95 % intervals."
    return Findings(title=title, rows=rows, goals=[goal], notes=[machine()])


def _slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    fit = linregress(x, y)
    reach = float(student.ppf(0.975, len(x) - 2)) * float(fit.stderr)
    return float(fit.slope), float(fit.slope) - reach, float(fit.slope) + reach


def _resident() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


async def profile(count: int) -> None:
    """Print where the time of guarded runs goes."""
    graph = ways()["guarded"]
    await at_once(graph, 100)
    profiler = cProfile.Profile()
    profiler.enable()
    await at_once(graph, count)
    profiler.disable()
    stats = pstats.Stats(profiler)
    stats.sort_stats("tottime").print_stats(40)
    stats.sort_stats("cumtime").print_stats("sherlock", 60)


def main(arguments: Sequence[str] | None = None) -> list[Findings]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--runs", type=int, default=20_000, help="runs over which memory is watched")
    parser.add_argument("--batch", type=int, default=1000, help="runs at once while memory is watched")
    parser.add_argument("--quick", action="store_true", help="few rounds, and memory over few runs")
    parser.add_argument("--resident", metavar="WAY", help="the memory of one way in this process, as JSON")
    parser.add_argument("--profile", action="store_true", help="show the hot spots instead")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.resident:
        print(json.dumps(asyncio.run(resident(options.resident, options.runs, options.batch))))
        return []
    if options.profile:
        asyncio.run(profile(options.at_once))
        return []
    if options.quick:
        options.at_once, options.rounds, options.runs, options.batch = 200, 3, 1600, 200
    findings = [asyncio.run(throughput(options.at_once, options.rounds)), memory(options.runs, options.batch)]
    show(*findings, as_json=options.json)
    return findings


if __name__ == "__main__":
    main()
