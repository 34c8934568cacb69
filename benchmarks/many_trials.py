"""Do time and memory stay in bounds over 20,000 trials of a trivial graph?

Each size runs in a fresh process: two nodes, 50 cases, and as many made-up faults for each as the size needs. Processor
time is what the exponent is fitted to, as the machine may be busy. Run: `python benchmarks/many_trials.py [--json]`.
Prints Markdown, in ten minutes. `--profile 5000` shows where the time and the memory of one size go instead.
"""

import argparse
import asyncio
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph
from measured import Findings, Goal, exponent, machine, show

import sherlock

SIZES = (2_500, 5_000, 10_000, 20_000)
CASES, NODES = 50, 2
MEMORY_GOAL_MB = 400
EXPONENT_GOAL = 1.1
"""Linear, with room for noise: doubling the trials may take 2.14 times as long."""


Graph = StateGraph[Any, Any, Any, Any]


class State(TypedDict, total=False):
    text: str


def graph() -> Graph:
    """Two nodes that lose alike, so that the ranking stays open until all cases are used."""

    async def first(state: State) -> State:
        return {"text": state["text"] + ", read"}

    async def second(state: State) -> State:
        return {"text": state["text"] + ", answered"}

    builder: Graph = StateGraph(State)
    builder.add_node("first", first)
    builder.add_node("second", second)
    for before, after in ((START, "first"), ("first", "second"), ("second", END)):
        builder.add_edge(before, after)
    return builder


def fault(number: int) -> sherlock.Fault:
    return sherlock.Fault(f"mark {number}", "output", 1.0, lambda text, _rng: f"{text} with mark {number}")


def right(output: Mapping[str, Any], case: sherlock.Case) -> bool:
    return bool(output["text"] == case.expected)


async def analysed(trials: int, cases: int = CASES) -> sherlock.Analysis:
    """An analysis of exactly `trials` trials; they must divide by nodes times cases."""
    faults_per_node, rest = divmod(trials, NODES * cases)
    if rest:
        raise ValueError(f"{trials} trials do not divide by {NODES} nodes and {cases} cases")
    texts = [f"Question {number}" for number in range(cases)]
    return await sherlock.aanalyze(
        graph(),
        [sherlock.Case({"text": text}, f"{text}, read, answered") for text in texts],
        scorer=right,
        faults=[fault(number) for number in range(faults_per_node)],
        faults_per_kind=faults_per_node,
        margin=0.0,
    )


def one_size(trials: int, cases: int = CASES) -> dict[str, Any]:
    """Measure one size in this process. Peak memory is that of the whole process, imports included."""
    asyncio.run(analysed(NODES * cases, cases))  # imports and first compilations are no part of what a trial costs
    wall, cpu = time.perf_counter(), time.process_time()
    found = asyncio.run(analysed(trials, cases))
    return {
        "trials": found.trials,
        "seconds": time.perf_counter() - wall,
        "processor seconds": time.process_time() - cpu,
        "ms of processor per trial": 1000 * (time.process_time() - cpu) / found.trials,
        "peak MB": _peak_mb(),
    }


def in_fresh_process(trials: int, cases: int) -> dict[str, Any]:
    command = [sys.executable, str(Path(__file__)), "--one", str(trials), "--cases", str(cases)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def measure(sizes: Sequence[int] = SIZES, cases: int = CASES, rounds: int = 4) -> Findings:
    """Every size `rounds` times, in turn, so that a busy spell does not hit one size alone."""
    rows = [in_fresh_process(size, cases) for _ in range(rounds) for size in sizes]
    rows.sort(key=lambda row: row["trials"])
    fitted = exponent([row["trials"] for row in rows], [row["processor seconds"] for row in rows])
    by_clock = exponent([row["trials"] for row in rows], [row["seconds"] for row in rows])
    goals = [
        Goal(what="exponent of processor time in trials", value=fitted, most=EXPONENT_GOAL),
        Goal(what="exponent of time by the clock", value=by_clock, most=EXPONENT_GOAL),
        Goal(what="highest peak, MB", value=max(row["peak MB"] for row in rows), most=MEMORY_GOAL_MB),
    ]
    title = f"Many trials of a chain of two trivial nodes, {cases} cases; exponents with 95 % intervals."
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


def profile(trials: int, cases: int = CASES) -> None:
    """Print the functions that take the most time, and the lines that hold the most memory at the end."""
    asyncio.run(analysed(NODES * cases, cases))
    profiler = cProfile.Profile()
    profiler.runcall(asyncio.run, analysed(trials, cases))
    stats = pstats.Stats(profiler).strip_dirs()
    stats.sort_stats("tottime").print_stats(25)
    stats.sort_stats("cumtime").print_stats(60)
    tracemalloc.start()
    kept = asyncio.run(analysed(trials, cases))
    now, peak = tracemalloc.get_traced_memory()
    print(f"{kept.trials} trials: {peak / 1e6:.1f} MB allocated at the peak, {now / 1e6:.1f} MB at the end")


def main(arguments: Sequence[str] | None = None) -> Findings | None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--one", type=int, metavar="TRIALS", help="measure one size in this process, as JSON")
    parser.add_argument("--profile", type=int, metavar="TRIALS", help="show the hot spots of one size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.profile:
        profile(options.profile, options.cases)
    elif options.one:
        print(json.dumps(one_size(options.one, options.cases)))
    else:
        findings = measure(options.sizes, options.cases, options.rounds)
        show(findings, as_json=options.json)
        return findings
    return None


def _peak_mb() -> float:
    """The most memory that this process held; `ru_maxrss` would hold that of the process that forked it too."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
