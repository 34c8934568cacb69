"""What does the interposed graph cost per step over plain LangGraph, while nothing is hooked in?

A chain of trivial nodes, plain and interposed, in one process. A pair is one run of each, the order swapped every time,
so that what else the machine does hits both alike. Python function calls are counted too: those do not depend on the
machine. Run: `python benchmarks/overhead.py [--pairs 600] [--json]`. Prints Markdown, in two minutes.
"""

import argparse
import asyncio
import cProfile
import gc
import pstats
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from measured import Findings, Goal, machine, median, show

from sherlock.interpose.nodes import interpose

GOAL = 1.05
WARM_UP = 5


Graph = StateGraph[Any, Any, Any, Any]


class State(TypedDict, total=False):
    count: int


class Cost(NamedTuple):
    """Seconds of one run: by the clock, and of processor time."""

    wall: float
    cpu: float


def chain(nodes: int, *, is_async: bool) -> Graph:
    async def step(state: State) -> State:
        return {"count": state["count"] + 1}

    def sync_step(state: State) -> State:
        return {"count": state["count"] + 1}

    builder: Graph = StateGraph(State)
    names = [f"node{i}" for i in range(nodes)]
    for name in names:
        builder.add_node(name, step if is_async else sync_step)
    for before, after in zip((START, *names), (*names, END), strict=True):
        builder.add_edge(before, after)
    return builder


def runner(graph: Any, saver: InMemorySaver | None, nodes: int) -> Callable[[], Any]:
    """A function that runs the graph once, on a thread that is forgotten after."""
    config = {"configurable": {"thread_id": "one"}, "recursion_limit": nodes + 5}

    async def run() -> None:
        output = await graph.ainvoke({"count": 0}, config)
        assert output["count"] == nodes
        if saver is not None:
            saver.delete_thread("one")

    return run


def sync_runner(graph: Any, nodes: int) -> Callable[[], Any]:
    async def run() -> None:
        assert graph.invoke({"count": 0}, {"recursion_limit": nodes + 5})["count"] == nodes

    return run


async def timed(run: Callable[[], Any]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    await run()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


async def pairs(plain: Callable[[], Any], other: Callable[[], Any], count: int) -> list[tuple[Cost, Cost]]:
    """`count` pairs of costs; the collector runs between pairs, not within them."""
    for _ in range(WARM_UP):
        await plain()
        await other()
    found = []
    gc.collect()
    gc.disable()
    try:
        for number in range(count):
            if number % 2:
                second, first = await timed(other), await timed(plain)
            else:
                first, second = await timed(plain), await timed(other)
            found.append((first, second))
            gc.collect(0)
    finally:
        gc.enable()
    return found


async def calls(run: Callable[[], Any], runs: int = 5) -> float:
    """Function calls of one run, Python's and C's."""
    await run()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(runs):
        await run()
    profiler.disable()
    return sum(row[1] for row in pstats.Stats(profiler).stats.values()) / runs  # type: ignore[attr-defined]


async def compared(
    name: str, plain: Callable[[], Any], other: Callable[[], Any], nodes: int, count: int
) -> dict[str, Any]:
    costs = await pairs(plain, other, count)
    counted = await calls(plain), await calls(other)
    return {
        "chain": name,
        "pairs": len(costs),
        "plain, us per step": round(median([1e6 * one.wall / nodes for one, _ in costs])[0]),
        "interposed, us per step": round(median([1e6 * two.wall / nodes for _, two in costs])[0]),
        "ratio of times": median([two.wall / one.wall for one, two in costs]),
        "ratio of processor times": median([two.cpu / one.cpu for one, two in costs]),
        "calls per step": round(counted[0] / nodes, 1),
        "ratio of calls": counted[1] / counted[0],
    }


def measure(nodes: int = 50, count: int = 600) -> Findings:
    """Compare plain with interposed, and plain with itself: how far from 1 the ratio strays by chance."""
    rows = []
    for name, saver in (("no checkpointer", None), ("InMemorySaver", InMemorySaver())):
        plain = chain(nodes, is_async=True).compile(checkpointer=saver)
        both = runner(plain, saver, nodes), runner(interpose(plain), saver, nodes)
        rows.append(asyncio.run(compared(name, *both, nodes, count)))
    plain = chain(nodes, is_async=False).compile()
    both = sync_runner(plain, nodes), sync_runner(interpose(plain), nodes)
    rows.append(asyncio.run(compared("sync nodes, `invoke`", *both, nodes, count)))
    goals = [Goal(what=f"{row['chain']}, ratio of times", value=row["ratio of times"], most=GOAL) for row in rows]
    plain, same = (chain(nodes, is_async=True).compile() for _ in range(2))
    both = runner(plain, None, nodes), runner(same, None, nodes)
    rows.append(asyncio.run(compared("plain against plain", *both, nodes, count)))
    title = f"Overhead of the interposed graph without a hook: chain of {nodes} trivial nodes, medians, 95 % intervals."
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


def main(arguments: Sequence[str] | None = None) -> Findings:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=600)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    findings = measure(options.nodes, options.pairs)
    show(findings, as_json=options.json)
    return findings


if __name__ == "__main__":
    main()
