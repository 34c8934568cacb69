"""Random real LangGraph graphs, and an oracle that runs a whole case on plain LangGraph with one output replaced.

Nodes are deterministic functions of the keys that they read; small ranges make corruptions vanish often. They are
plain functions, nothing of Sherlock's is in them: `Watch`, which makes them, says what each does beside its work (log,
replace).
"""

import asyncio
import itertools
import operator
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, RetryPolicy, interrupt
from random_graphs import SHAPES, outlines, unchanged

KEYS = ("a", "b", "c", "d")


def right(_old, new):
    """A reducer under which parallel nodes may write one key."""
    return new


def add(old, new):
    return (old + new) % 97


class State(TypedDict, total=False):
    x: Annotated[int, right]
    a: Annotated[int, right]
    b: Annotated[int, right]
    c: Annotated[int, right]
    d: Annotated[int, right]
    total: Annotated[int, add]
    count: Annotated[int, operator.add]
    sent: Annotated[list, operator.add]
    i: Annotated[int, right]


class Visible(TypedDict, total=False):
    """What a subgraph gives back: not which of several `Send`s it was."""

    a: Annotated[int, right]
    b: Annotated[int, right]
    c: Annotated[int, right]
    d: Annotated[int, right]
    total: Annotated[int, add]
    sent: Annotated[list, operator.add]


@dataclass
class Watch:
    """What stands beside the plain node functions of one run.

    `replace`: visit -> update, visits as in `visits`. `flaky`: nodes that never give the same twice.
    """

    replace: dict[tuple, Any] = field(default_factory=dict)
    log: list[tuple] = field(default_factory=list)
    done: Counter = field(default_factory=Counter)
    jitter: random.Random | None = None
    flaky: frozenset[str] = frozenset()
    calls: itertools.count = field(default_factory=itertools.count)
    varied: set[str] = field(default_factory=set)

    schema = State
    visible = Visible

    def start_again(self):
        self.log.clear()
        self.done.clear()

    def function(self, leaf, full, after=unchanged):
        return function(leaf, full, self, after)

    def options(self, leaf):
        retry = RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False, retry_on=KeyError)
        return {"retry_policy": retry} if leaf.retried else {}

    def number(self, state, key):
        value = state.get(key, 0)
        return value if isinstance(value, int) else len(value)

    def packet(self, state, n):
        return {"i": n, "x": n, "a": state.get("a", 0)}


@dataclass(frozen=True)
class Leaf:
    """A node: (weight, modulus) make its value, `key` is written; `kind` says how it answers."""

    name: str
    key: str
    reads: tuple[str, ...]
    weight: int
    modulus: int
    kind: str = "plain"
    retried: bool = False

    def value(self, state, extra=0):
        return (
            self.weight + sum((n + 2) * state.get(key, 0) for n, key in enumerate(self.reads)) + extra
        ) % self.modulus

    def update(self, state, extra=0):
        value = self.value(state, extra)
        if self.kind == "nothing" and value == 0:
            return None
        if self.kind == "crash" and value == 1:
            raise ValueError("a value that cannot be")
        if self.kind == "list":
            return {"sent": [value], self.key: value}
        if self.kind == "total":
            return {"total": value}
        return {self.key: value}


def function(leaf, full, watch, after=unchanged):
    """The plain node function of a leaf. `after` turns its update into what LangGraph gets."""

    async def run(state: State, config: RunnableConfig):
        visit = (full, state.get("i", -1), watch.done[full, state.get("i", -1)])
        if watch.jitter is not None:
            await asyncio.sleep(watch.jitter.random() * 0.004)
        watch.log.append(visit)
        extra = 0
        if leaf.kind == "asks":
            extra = interrupt(full)
        if leaf.kind == "asks_twice":
            extra = interrupt(full) + 3 * interrupt(full)
        update = after(leaf.update(state, extra))
        if full in watch.flaky and isinstance(update, dict):
            update = {**update, "sent": [1000 + next(watch.calls)]}
            watch.varied.add(full)
        watch.done[visit[:2]] += 1
        return watch.replace.get(visit, update)

    return run


KINDS = ("plain", "plain", "plain", "total", "list", "nothing", "crash")
ASKING = (*KINDS, "asks", "asks", "asks_twice")


def plans(depth=2, kinds=KINDS, most=4):
    """Random outlines of leaves of the given kinds."""

    def leaf(draw, name):
        return Leaf(
            name=name,
            key=draw(st.sampled_from(KEYS)),
            reads=tuple(draw(st.lists(st.sampled_from(("x", *KEYS, "total")), min_size=1, max_size=3, unique=True))),
            weight=draw(st.integers(0, 5)),
            modulus=draw(st.sampled_from((2, 3, 5, 7))),
            kind=draw(st.sampled_from(kinds)),
            retried=draw(st.booleans()) and draw(st.booleans()),
        )

    return outlines(leaf, shapes=sorted(SHAPES.keys() - {"deferred"}), depth=depth, most=most)


def outcome(error):
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


async def oracle(plan, case, watch, **compiling):
    """Run the whole case on plain LangGraph; return (output, error)."""
    graph = plan.build(watch, checkpointer=InMemorySaver(), **compiling)
    config = {**(case.config or {}), "configurable": {"thread_id": "1"}}
    answers = list(case.resume)
    output = None
    try:
        for value in case.inputs if isinstance(case.inputs, list) else [case.inputs]:
            output = await graph.ainvoke(dict(value), config)
            while pending := (await graph.aget_state(config)).interrupts:
                if len(answers) < len(pending):
                    return output, "stopped at an interrupt without an answer"
                output = await graph.ainvoke(Command(resume={one.id: answers.pop(0) for one in pending}), config)
    except Exception as error:
        return None, outcome(error)
    return output, None


def visits(run):
    """The recorded leaf executions of a clean run, with the names that `Watch` gives to them."""
    seen: Counter = Counter()
    found = []
    for execution in sorted(run.executions.values(), key=lambda e: e.address):
        if execution.is_container or execution.address[-1][1].startswith(("out", "all")):
            continue
        value = execution.value if isinstance(execution.value, dict) else {}
        name = (execution.node, value.get("i", -1))
        found.append((execution, (*name, seen[name])))
        seen[name] += 1
    return found


def replaced(update, salt):
    """Another update of the same form."""
    if isinstance(update, Command):
        return Command(update=replaced(update.update, salt), goto=update.goto)
    if update is None:
        return {"total": salt}
    return {
        key: [salt, *value] if isinstance(value, list) else value if key == "count" else (value + salt) % 11
        for key, value in update.items()
    }
