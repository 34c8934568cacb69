"""Random real LangGraph graphs, and an oracle that runs a whole case on plain LangGraph with one output replaced.

A graph is drawn as a list of stages, each leading into the next; see `STAGES`. Its nodes are deterministic functions
of the keys that they read, small ranges make corruptions vanish often. `Plan.build` gives a compiled graph of plain
node functions, nothing of Sherlock's in it: `Watch` says what each function does beside its work (log, replace).
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
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

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

    def start_again(self):
        self.log.clear()
        self.done.clear()


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


def function(leaf, full, watch, after=lambda update, state: update):
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
        update = after(leaf.update(state, extra), state)
        if full in watch.flaky and isinstance(update, dict):
            update = {**update, "sent": [1000 + next(watch.calls)]}
            watch.varied.add(full)
        watch.done[visit[:2]] += 1
        return watch.replace.get(visit, update)

    return run


@dataclass(frozen=True)
class Stage:
    """Some nodes and how they hang together; `inner` is the plan of a subgraph."""

    shape: str
    leaves: tuple[Leaf, ...]
    inner: "Plan | None" = None


@dataclass(frozen=True)
class Plan:
    stages: tuple[Stage, ...]

    def build(self, watch, **compiling):
        return self._builder(watch, "", State).compile(**compiling)

    def _builder(self, watch, prefix, output):
        graph = StateGraph(State, output_schema=output)
        gate, joins = [START], False
        for number, stage in enumerate(self.stages):
            entries, exits, joins_next = SHAPES[stage.shape](graph, stage, watch, prefix, number)
            for entry in entries:
                if joins and len(gate) > 1:
                    graph.add_edge(gate, entry)
                else:
                    for source in gate:
                        graph.add_edge(source, entry)
            gate, joins = exits, joins_next
        for source in gate:
            graph.add_edge(source, END)
        return graph


def _add(graph, leaf, watch, prefix, after=lambda update, state: update, **options):
    full = f"{prefix}{leaf.name}"
    if leaf.retried:
        options["retry_policy"] = RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False, retry_on=KeyError)
    graph.add_node(leaf.name, function(leaf, full, watch, after), **options)
    return leaf.name


def _single(graph, stage, watch, prefix, number):
    name = _add(graph, stage.leaves[0], watch, prefix)
    return [name], [name], False


def _parallel(graph, stage, watch, prefix, number):
    names = [_add(graph, leaf, watch, prefix) for leaf in stage.leaves]
    return names, names, True


def _loose(graph, stage, watch, prefix, number):
    """Parallel branches of uneven length without a join: what follows runs twice."""
    names = [_add(graph, leaf, watch, prefix) for leaf in stage.leaves[:3]]
    if len(names) < 3:
        return names, names, False
    graph.add_edge(names[0], names[2])
    return names[:2], names[1:], False


def _uneven(graph, stage, watch, prefix, number):
    """One branch is a step longer than the other, and a join waits for both."""
    names = [_add(graph, leaf, watch, prefix) for leaf in stage.leaves[:3]]
    if len(names) < 3:
        return names, names, True
    graph.add_edge(names[0], names[2])
    return names[:2], names[1:], True


def _conditional(graph, stage, watch, prefix, number):
    names = [_add(graph, leaf, watch, prefix) for leaf in stage.leaves]
    if len(names) < 3:
        return names[:1], names[:1], False
    key = stage.leaves[0].key
    graph.add_conditional_edges(names[0], lambda state: names[1 + state.get(key, 0) % 2], names[1:3])
    return names[:1], names[1:3], False


def _command(graph, stage, watch, prefix, number):
    first, *rest = stage.leaves[:3]
    targets = tuple(leaf.name for leaf in rest) or (END,)

    def routed(update, state):
        value = next(iter((update or {}).values()), 0)
        value = value if isinstance(value, int) else len(value)
        return Command(update=update, goto=targets[value % len(targets)])

    name = _add(graph, first, watch, prefix, routed, destinations=targets)
    names = [_add(graph, leaf, watch, prefix) for leaf in rest]
    return [name], names or [name], False


def _loop(graph, stage, watch, prefix, number):
    """Round and round until a key or the count of rounds says so."""
    first, last = stage.leaves[0], stage.leaves[-1]
    _add(graph, first, watch, prefix)
    if last is not first:
        counted = lambda update, state: {**(update or {}), "count": 1}
        _add(graph, last, watch, prefix, counted)
        graph.add_edge(first.name, last.name)
    done = f"out{number}"
    graph.add_node(done, lambda state: None)

    def more(state):
        rounds = state.get("count", 0) if last is not first else 99
        return first.name if state.get(first.key, 0) % 3 == 1 and rounds < 4 else done

    graph.add_conditional_edges(last.name, more, [first.name, done])
    return [first.name], [done], False


def _fan_out(graph, stage, watch, prefix, number):
    """`Send` to one node, or to a subgraph, as often as a key says; then on, whatever came."""
    source, worker = stage.leaves[0], stage.leaves[-1]
    _add(graph, source, watch, prefix)
    target, collect = f"each{number}", f"all{number}"
    if stage.inner is not None:
        inner = stage.inner._builder(watch, f"{prefix}{target}/", Visible)
        graph.add_node(target, inner.compile())
    else:
        mapped = lambda update, state: {"sent": [next(iter((update or {"": 0}).values()))]}
        graph.add_node(target, function(worker, f"{prefix}{target}", watch, mapped))
    graph.add_node(collect, lambda state: {"total": len(state.get("sent", []))})

    def sends(state):
        return [
            Send(target, {"i": n, "x": n, "a": state.get("a", 0)}) for n in range(state.get(source.key, 0) % 4)
        ] or collect

    graph.add_conditional_edges(source.name, sends, [target, collect])
    graph.add_edge(target, collect)
    return [source.name], [collect], False


def _subgraph(graph, stage, watch, prefix, number):
    name = f"sub{number}"
    if stage.inner is None:
        return _single(graph, stage, watch, prefix, number)
    graph.add_node(name, stage.inner._builder(watch, f"{prefix}{name}/", Visible).compile())
    side = _add(graph, stage.leaves[0], watch, prefix)
    return [name, side], [name, side], True


SHAPES = {
    "single": _single,
    "parallel": _parallel,
    "loose": _loose,
    "uneven": _uneven,
    "conditional": _conditional,
    "command": _command,
    "loop": _loop,
    "fan_out": _fan_out,
    "subgraph": _subgraph,
}
KINDS = ("plain", "plain", "plain", "total", "list", "nothing", "crash")
ASKING = (*KINDS, "asks", "asks", "asks_twice")


@st.composite
def plans(draw, depth=2, kinds=KINDS, most=4):
    names = iter(f"n{k}" for k in range(99))

    def leaf():
        return Leaf(
            name=next(names),
            key=draw(st.sampled_from(KEYS)),
            reads=tuple(draw(st.lists(st.sampled_from(("x", *KEYS, "total")), min_size=1, max_size=3, unique=True))),
            weight=draw(st.integers(0, 5)),
            modulus=draw(st.sampled_from((2, 3, 5, 7))),
            kind=draw(st.sampled_from(kinds)),
            retried=draw(st.booleans()) and draw(st.booleans()),
        )

    stages = []
    for _ in range(draw(st.integers(1, most))):
        shape = draw(st.sampled_from(sorted(SHAPES)))
        inner = None
        if depth and shape in ("subgraph", "fan_out") and draw(st.booleans()):
            inner = draw(plans(depth=depth - 1, kinds=kinds, most=2))
        stages.append(Stage(shape, tuple(leaf() for _ in range(draw(st.integers(1, 3)))), inner))
    return Plan(tuple(stages))


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
