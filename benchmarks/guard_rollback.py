"""How long does it take from a verdict that rejects an output to the first node that runs again?

A chain whose first node is rejected while the first, or the eighth, node after it runs: the guard, and the time travel
that one would write by hand (cancel, find the checkpoint before, update it, go on from it), on the same savers, one
after the other. The clock starts when the verifier has its answer and stops when the node after is called with the
corrected text. Run: `python benchmarks/guard_rollback.py [--quick] [--rollbacks 200] [--json]`. Prints Markdown, in a
minute. `--profile` shows where the time goes instead.
"""

import argparse
import asyncio
import cProfile
import itertools
import pstats
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from measured import Findings, Goal, machine, median, show

import sherlock

MEMORY_GOAL_MS, SQLITE_GOAL_MS = 3.0, 10.0
AFTER = 9
"""Nodes after the first."""
WARM_UP = 5


class State(TypedDict, total=False):
    text: str
    last: int


class Lag(NamedTuple):
    """Milliseconds between verdict and re-execution: by the clock, and of processor time."""

    wall: float
    cpu: float


class Scene:
    """One run: when the verdict came, and when a node ran again. `busy`: the node that runs when the verdict comes."""

    def __init__(self, busy: int) -> None:
        self.busy = busy
        self.reached = asyncio.Event()
        self.verdict_at = Lag(0, 0)
        self.lag: Lag | None = None

    def now(self) -> Lag:
        return Lag(1000 * time.perf_counter(), 1000 * time.process_time())

    async def judged(self) -> str:
        """The correction, as soon as the busy node runs."""
        await self.reached.wait()
        self.verdict_at = self.now()
        return "right"

    async def runs(self, number: int, text: str) -> None:
        """The node `number` places after the first is called."""
        if text == "right" and self.lag is None:
            now = self.now()
            self.lag = Lag(now.wall - self.verdict_at.wall, now.cpu - self.verdict_at.cpu)
        elif text == "wrong" and number == self.busy:
            self.reached.set()
            await asyncio.sleep(60)


class OfTheScene:
    """The verifier of the run under way."""

    name = "of-the-scene"

    def __init__(self) -> None:
        self.scene: Scene | None = None

    async def verify(self, subject: sherlock.Subject) -> sherlock.Verdict:  # noqa: ARG002
        assert self.scene is not None
        return sherlock.Verdict(accepted=False, corrected=await self.scene.judged())


def chain(verifier: OfTheScene, saver: Any) -> Any:
    async def first(state: State) -> State:  # noqa: ARG001
        return {"text": "wrong"}

    def after(number: int) -> Any:
        async def node(state: State) -> State:
            assert verifier.scene is not None
            await verifier.scene.runs(number, state["text"])
            return {"last": number}

        return node

    builder = StateGraph(State)
    names = ["first", *(f"after{number}" for number in range(1, AFTER + 1))]
    builder.add_node("first", first)
    for number, name in enumerate(names[1:], 1):
        builder.add_node(name, after(number))
    for before, behind in zip((START, *names), (*names, END), strict=True):
        builder.add_edge(before, behind)
    return builder.compile(checkpointer=saver)


class Pair:
    """The guarded chain and the one rolled back by hand; `saver` is None where the guard is to have its own."""

    def __init__(self, saver: Any) -> None:
        self.verifier = OfTheScene()
        self.plain = chain(self.verifier, saver or InMemorySaver())
        self._unguarded = chain(self.verifier, saver)
        self._threads = itertools.count()

    async def guard(self, busy: int) -> Lag:
        # A guard that has learned how soon the verdict comes would not run on to the eighth node, for which it waits.
        plan = sherlock.Plan.attach({"first": self.verifier})
        guarded = sherlock.guard(self._unguarded, plan, policy={"max_depth": AFTER})
        scene = self.verifier.scene = Scene(busy)
        state = await guarded.ainvoke({}, self._config())
        assert state == {"text": "right", "last": AFTER}
        assert scene.lag is not None
        return scene.lag

    async def by_hand(self, busy: int) -> Lag:
        scene = self.verifier.scene = Scene(busy)
        config = self._config()
        attempt = asyncio.ensure_future(self.plain.ainvoke({}, config))
        corrected = await scene.judged()
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        async for snapshot in self.plain.aget_state_history(config):
            if snapshot.next == ("after1",):
                config = await self.plain.aupdate_state(snapshot.config, {"text": corrected}, as_node="first")
                break
        state = await self.plain.ainvoke(None, config)
        assert state == {"text": "right", "last": AFTER}
        assert scene.lag is not None
        return scene.lag

    def _config(self) -> dict[str, Any]:
        return {"configurable": {"thread_id": str(next(self._threads))}}


async def compared(name: str, saver: Any, busy: int, count: int, most: float) -> tuple[dict[str, Any], list[Goal]]:
    pair = Pair(saver)
    for _ in range(WARM_UP):
        await pair.by_hand(busy)
        await pair.guard(busy)
    found = []
    for number in range(count):
        if number % 2:
            ours, hand = await pair.guard(busy), await pair.by_hand(busy)
        else:
            hand, ours = await pair.by_hand(busy), await pair.guard(busy)
        found.append((hand, ours))
    row: dict[str, Any] = {
        "saver": name,
        "nodes thrown away": busy,
        "rollbacks": count,
        "guard, ms": median([ours.wall for _, ours in found]),
        "P5": float(np.quantile([ours.wall for _, ours in found], 0.05)),
        "P95": float(np.quantile([ours.wall for _, ours in found], 0.95)),
        "guard, ms of processor": median([ours.cpu for _, ours in found]),
        "by hand, ms": median([hand.wall for hand, _ in found]),
        "P95 by hand": float(np.quantile([hand.wall for hand, _ in found], 0.95)),
        "ratio of times": median([ours.wall / hand.wall for hand, ours in found]),
        "ratio of processor times": median([ours.cpu / hand.cpu for hand, ours in found]),
    }
    goals = [
        Goal(what=f"{name}, {busy} thrown away, {figure}", value=row[figure], most=most)
        for figure in ("guard, ms", "guard, ms of processor")
    ]
    return row, goals


async def measure(count: int = 200) -> Findings:
    """Each saver, a shallow rollback and a deep one."""
    rows, goals = [], []
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            sqlite = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(str(Path(folder) / "runs.db")))
            savers = [
                ("none (by hand: InMemorySaver)", None, MEMORY_GOAL_MS),
                ("InMemorySaver", InMemorySaver(), MEMORY_GOAL_MS),
                ("AsyncSqliteSaver", sqlite, SQLITE_GOAL_MS),
            ]
            for name, saver, most in savers:
                for busy in (1, 8):
                    row, held = await compared(name, saver, busy, count, most)
                    rows.append(row)
                    goals += held
    title = "From the verdict to the first node that runs again: medians with 95 % intervals, and 95th percentiles."
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


async def profile(count: int = 100) -> None:
    """Print where whole runs with a rollback spend their time."""
    pair = Pair(None)
    await pair.guard(1)
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(count):
        await pair.guard(1)
    profiler.disable()
    pstats.Stats(profiler).sort_stats("cumtime").print_stats(60)


def main(arguments: Sequence[str] | None = None) -> Findings | None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollbacks", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="few rollbacks")
    parser.add_argument("--profile", action="store_true", help="show the hot spots instead")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.profile:
        asyncio.run(profile())
        return None
    findings = asyncio.run(measure(min(options.rollbacks, 20) if options.quick else options.rollbacks))
    show(findings, as_json=options.json)
    return findings


if __name__ == "__main__":
    main()
