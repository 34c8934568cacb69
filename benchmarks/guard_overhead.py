"""What does a guarded run cost per step over plain LangGraph?

A chain of trivial nodes: guarded with an empty plan, and with one node verified by a verifier that answers at once;
then the same with nodes that take 10 ms. Each is held against the plain graph, which verifies nothing, and against the
graph that one would write by hand, whose node awaits the same verifier itself. A pair is one run of each, the order
swapped every time. Run: `python benchmarks/guard_overhead.py [--quick] [--pairs 300] [--json]`. Prints Markdown, in
eight minutes. `--profile` shows where the time of the run with one placement goes instead.
"""

import argparse
import asyncio
import cProfile
import pstats
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from measured import Findings, Goal, machine, median, show
from overhead import calls, pairs

import sherlock

EMPTY_GOAL, PLACED_GOAL, SLOW_GOAL = 1.05, 1.25, 1.02
SLOW_S = 0.010


class State(TypedDict, total=False):
    text: str
    count: int


class AtOnce:
    """Accepts what it is shown, without waiting for anything."""

    name = "at-once"

    async def verify(self, subject: sherlock.Subject) -> sherlock.Verdict:
        return sherlock.Verdict(accepted=bool(subject.text))


def chain(
    nodes: int, *, seconds: float = 0.0, by_hand: Collection[str] = (), saver: InMemorySaver | None = None
) -> Any:
    """A compiled chain. The nodes in `by_hand` await the verifier before they return."""
    verifier = AtOnce()

    async def step(state: State) -> State:
        if seconds:
            await asyncio.sleep(seconds)
        return {"text": f"step {state['count']}", "count": state["count"] + 1}

    async def verified_step(state: State) -> State:
        update = await step(state)
        subject = sherlock.Subject(node="by hand", inputs=state, text=update["text"], output=update)
        verdict = await verifier.verify(subject)
        return update if verdict.accepted else {**update, "text": verdict.corrected}

    builder = StateGraph(State)
    names = [f"node{i}" for i in range(nodes)]
    for name in names:
        builder.add_node(name, verified_step if name in by_hand else step)
    for before, after in zip((START, *names), (*names, END), strict=True):
        builder.add_edge(before, after)
    return builder.compile(checkpointer=saver)


def runner(graph: Any, saver: InMemorySaver | None, nodes: int) -> Callable[[], Any]:
    """A function that runs the graph once, on a thread that is forgotten after."""
    config = {"configurable": {"thread_id": "one"}, "recursion_limit": nodes + 5}

    async def run() -> None:
        output = await graph.ainvoke({"count": 0}, config)
        assert output["count"] == nodes
        if saver is not None:
            saver.delete_thread("one")

    return run


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A guarded chain against another. `placed`: the nodes verified, in the guarded one and (`by_hand`) the other."""

    placed: tuple[str, ...]
    by_hand: bool = False
    saver: bool = False
    slow: bool = False
    most: float | None = None

    @property
    def title(self) -> str:
        verified = f"{len(self.placed) or 'none'} placed"
        nodes = "nodes of 10 ms" if self.slow else "trivial nodes"
        return f"{nodes}, {verified}, {'InMemorySaver' if self.saver else 'no checkpointer'}"

    @property
    def other(self) -> str:
        return "verified by hand" if self.by_hand else "plain"

    def runners(self, nodes: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """The other one's run, and the guarded one's."""
        seconds = SLOW_S if self.slow else 0.0
        savers = [InMemorySaver() if self.saver else None for _ in range(2)]
        other = chain(nodes, seconds=seconds, by_hand=self.placed if self.by_hand else (), saver=savers[0])
        plan = sherlock.Plan.attach({node: AtOnce() for node in self.placed})
        guarded = sherlock.guard(chain(nodes, seconds=seconds, saver=savers[1]), plan)
        return runner(other, savers[0], nodes), runner(guarded, savers[1], nodes)


def comparisons(nodes: int) -> list[Comparison]:
    one = (f"node{nodes // 2}",)
    every = tuple(f"node{i}" for i in range(nodes))
    found = []
    for saver in (False, True):
        found.append(Comparison(placed=(), saver=saver, most=EMPTY_GOAL))
        found.append(Comparison(placed=one, saver=saver, most=PLACED_GOAL))
        found.append(Comparison(placed=one, saver=saver, by_hand=True))
        found.append(Comparison(placed=every, saver=saver, by_hand=True))
        found.append(Comparison(placed=one, saver=saver, slow=True, most=SLOW_GOAL))
        found.append(Comparison(placed=one, saver=saver, slow=True, by_hand=True))
    return found


async def compared(comparison: Comparison, nodes: int, count: int) -> dict[str, Any]:
    other, guarded = comparison.runners(nodes)
    costs = await pairs(other, guarded, count)
    counted = await calls(other), await calls(guarded)
    return {
        "chain": comparison.title,
        "against": comparison.other,
        "pairs": len(costs),
        "against, us per step": round(median([1e6 * one.wall / nodes for one, _ in costs])[0]),
        "guarded, us per step": round(median([1e6 * two.wall / nodes for _, two in costs])[0]),
        "ratio of times": median([two.wall / one.wall for one, two in costs]),
        "ratio of processor times": median([two.cpu / one.cpu for one, two in costs]),
        "ratio of calls": counted[1] / counted[0],
    }


def measure(nodes: int = 50, count: int = 300, slow_count: int = 40) -> Findings:
    """All comparisons, one after another."""
    rows, goals = [], []
    for each in comparisons(nodes):
        row = asyncio.run(compared(each, nodes, slow_count if each.slow else count))
        rows.append(row)
        if each.most is not None:
            goals.append(Goal(what=f"{each.title}, ratio of times", value=row["ratio of times"], most=each.most))
            if not each.slow:
                what = f"{each.title}, ratio of processor times"
                goals.append(Goal(what=what, value=row["ratio of processor times"], most=each.most))
    title = f"A guarded chain of {nodes} nodes against the same chain: medians of ratios of pairs, 95 % intervals."
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


def profile(nodes: int, runs: int = 40) -> None:
    """Print the functions in which a run with one placement spends its time, by themselves and with what they call."""

    async def repeated() -> None:
        _, guarded = Comparison(placed=(f"node{nodes // 2}",)).runners(nodes)
        await guarded()
        profiler = cProfile.Profile()
        profiler.enable()
        for _ in range(runs):
            await guarded()
        profiler.disable()
        stats = pstats.Stats(profiler)
        stats.sort_stats("tottime").print_stats(30)
        stats.sort_stats("cumtime").print_stats("sherlock", 40)

    asyncio.run(repeated())


def main(arguments: Sequence[str] | None = None) -> Findings | None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--slow-pairs", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="few pairs: does it run, and is anything far off?")
    parser.add_argument("--profile", action="store_true", help="show the hot spots instead")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.profile:
        profile(options.nodes)
        return None
    counts = (
        (min(options.pairs, 20), min(options.slow_pairs, 3)) if options.quick else (options.pairs, options.slow_pairs)
    )
    findings = measure(options.nodes, *counts)
    show(findings, as_json=options.json)
    return findings


if __name__ == "__main__":
    main()
