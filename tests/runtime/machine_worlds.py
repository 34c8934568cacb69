"""Random worlds for the machine of a guarded run: graphs as data, verdicts as functions, what blocking makes of them.

A `Graph` is rows of nodes; a row is one superstep. Which row comes next may depend on the state, so loops are rows that
are gone through again, and a correction may lead the line elsewhere. State values are numbers under 3: corrections
change what follows, and sometimes vanish. Everything that happens is a function of the world and the state, so that
`blocking` is the oracle: step by step, each output verified, and corrected, before anything reads it.
"""

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from sherlock.interpose.nodes import Address

KEYS = ("a", "b", "c", "d")
State = dict[str, int]
Keys = frozenset[str] | None


def number(*parts: Any) -> int:
    """A number that stands for the parts, the same in every process."""
    return zlib.crc32(repr(parts).encode())


@dataclass(frozen=True, kw_only=True)
class Node:
    """A leaf, or (`inner`) a subgraph. `tasks`: 0 is one task by an edge; n is up to n by `Send`, as the state says.

    `kind`: `crash` and `asks` raise and interrupt on some inputs, `flaky` raises unless it is a second try. `retries`:
    LangGraph tries it again once. `verdicts`: the verifier chooses among them by what it is shown; none: not placed.
    `when`: the key by which it now and then does not run.
    """

    name: str
    reads: Keys = None
    inputs: Keys = None
    writes: tuple[str, ...] = ("a",)
    salt: int = 0
    kind: str = "text"
    effects: str = "none"
    verdicts: tuple[str, ...] = ()
    depth: int = 100
    tasks: int = 0
    when: str | None = None
    retries: bool = False
    inner: "Graph | None" = None

    def value(self, state: State) -> State:
        """The input that it is given, and that its verifier is shown."""
        return {key: state[key] for key in KEYS if self.inputs is None or key in self.inputs}

    def read(self, value: State) -> State:
        """What its result depends on."""
        return {key: item for key, item in value.items() if self.reads is None or key in self.reads}

    def output(self, index: int, value: State, *, tries: int, retried: bool) -> State:
        """Its update. A node that is repeated because of a verdict may say something else."""
        read = self.read(value)
        again = retried and read == value
        drawn = number(self.salt, self.name, index, read, again)
        if (self.kind == "crash" and drawn % 3 == 0) or (self.kind == "flaky" and tries == 0):
            raise Raised(self.name)
        if self.kind == "asks" and drawn % 2 == 0:
            raise Asked(self.name)
        return {key: number(drawn, key) % 3 for key in self.writes if number(key, drawn) % 4}

    def verdict(self, value: State, output: State) -> tuple[str, State]:
        """What the verifier says of an output on this input, and its correction."""
        drawn = number("verdict", self.salt, self.name, value, output)
        said = self.verdicts[drawn % len(self.verdicts)]
        corrected = {**output, self.writes[0]: drawn // 7 % 3}
        return ("pass" if said in ("correct", "refused") and corrected == output else said), corrected


@dataclass(frozen=True, kw_only=True)
class Row:
    """The nodes of one superstep, and where the line goes on: by the number under `route`, else to the next row."""

    nodes: tuple[Node, ...]
    route: str | None = None
    jumps: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Graph:
    """`most`: the supersteps after which it ends wherever it is."""

    rows: tuple[Row, ...]
    most: int = 7

    def tasks(self, row: int | None, state: State) -> list[tuple[Node, int]]:
        """Who runs in this row: nodes, and their index among the tasks that `Send` started."""
        if row is None:
            return []
        found = []
        for node in self.rows[row].nodes:
            if node.when is not None and state[node.when] == 0:
                continue
            if node.tasks:
                found += [(node, index) for index in range(1 + number(state["a"], node.name) % node.tasks)]
            else:
                found.append((node, -1))
        return found

    def first(self, state: State) -> int | None:
        """The row that the graph begins with."""
        return self._from(0, state)

    def after(self, row: int, step: int, state: State) -> int | None:
        """The row that follows, or None at the end."""
        if step >= self.most:
            return None
        here = self.rows[row]
        if here.route is not None:
            return self._from(here.jumps[state[here.route] % len(here.jumps)], state)
        return self._from(row + 1, state)

    def _from(self, row: int, state: State) -> int | None:
        return next((r for r in range(row, len(self.rows)) if self.tasks(r, state)), None)


@dataclass(frozen=True, kw_only=True)
class World:
    """A graph, the state it begins with, a policy. `seed`: of the order of events. `undo_fails`: all undoing does."""

    graph: Graph
    state: State = field(default_factory=lambda: dict.fromkeys(KEYS, 0))
    on_failure: str = "closed"
    max_rollbacks: int = 10_000
    on_limit: str = "raise"
    undo_fails: bool = False
    seed: int = 0

    def ruling(self, node: Node, said: str, *, retried: bool) -> str:
        """What a verdict comes to, for the machine."""
        if said == "fail":
            return "doom" if self.on_failure == "closed" else "pass"
        if said == "refused":
            return "correct"
        if said == "retry" and (retried or node.effects == "irreversible"):
            return "pass"
        return said


class Raised(Exception):
    """A node raised."""


class Asked(Exception):
    """A node interrupted."""


# The oracle


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended. `states`: after each superstep. `last`: updates of the superstep that was interrupted.

    `errors`: those that may end the run: ("raised", node) or ("doomed", place). Siblings race for it, and a correction
    that the graph cannot take in may be tried before a sibling fails or interrupts, or not.
    """

    end: str
    states: tuple[State, ...]
    last: dict[Address, State] = field(default_factory=dict)
    errors: frozenset[Any] = frozenset()


class _Errors(Exception):
    """A superstep failed. Its argument: the errors that siblings may race for."""


class _Asked(Exception):
    """A superstep was interrupted. Its argument: what may fail if a correction is tried before the interrupt."""


@dataclass(frozen=True)
class _Flow:
    """What flows on from a task. `refused`: the superstep cannot take the correction in."""

    at: Address
    update: State
    raw: State
    refused: bool = False


def blocking(world: World) -> Outcome:
    """What the world comes to when each output is verified, and corrected, before anything reads it."""
    states: list[State] = []
    last: dict[Address, State] = {}
    try:
        _blocked(world, world.graph, (), world.state, 0, states.append, last)
    except _Asked as error:
        return Outcome(end="interrupted", states=tuple(states), last=last, errors=error.args[0])
    except _Errors as error:
        return Outcome(end="error", states=tuple(states), errors=error.args[0])
    return Outcome(end="done", states=tuple(states))


def _blocked(
    world: World, graph: Graph, within: Address, state: State, tries: int, ended: Callable[[State], Any], last: Any
) -> State:
    step, row = 0, graph.first(state)
    while row is not None:
        step += 1
        made, asked, errors, refusable = [], False, frozenset(), frozenset()
        if not within:
            last.clear()
        for node, index in graph.tasks(row, state):
            at = (*within, (step, node.name, index))
            try:
                made.append(_task(world, node, at, state, tries, last))
            except _Asked as error:
                asked, refusable = True, refusable | error.args[0]
            except _Errors as error:
                errors |= error.args[0]
        refused = [flow for flow in made if flow.refused]
        dooming = frozenset(("doomed", flow.at) for flow in refused) if world.on_failure == "closed" else frozenset()
        if errors:
            raise _Errors(errors | dooming | refusable)
        if asked:
            raise _Asked(dooming | refusable)
        if dooming:
            raise _Errors(dooming)
        if refused:
            last.update({flow.at: flow.raw for flow in refused})
        for flow in made:
            state = {**state, **(flow.raw if flow.refused else flow.update)}
        row = graph.after(row, step, state)
        ended(state)
    return state


def _task(world: World, node: Node, at: Address, state: State, tries: int, last: Any) -> _Flow:
    """One task's update, tried again where LangGraph would."""
    try:
        return _tried(world, node, at, state, tries, last)
    except _Errors as error:
        raised = [each for each in error.args[0] if each[0] == "raised"]
        if not node.retries or not raised:
            raise
        doomed = error.args[0] - frozenset(raised)
    for inside in [each for each in last if each[: len(at)] == at]:
        del last[inside]
    try:
        return _tried(world, node, at, state, tries + 1, last)
    except _Errors as error:
        raise _Errors(error.args[0] | doomed) from None


def _tried(world: World, node: Node, at: Address, state: State, tries: int, last: Any) -> _Flow:
    if node.inner is not None:
        inner = _blocked(world, node.inner, at, state, tries, lambda _: None, last)
        update = {key: inner[key] for key in KEYS if inner[key] != state[key]}
        return _Flow(at, update, update)
    flow, retried = None, False
    while flow is None:
        flow = _judged(world, node, at, state, tries, retried)
        retried = True
    last[at] = flow.update
    return flow


def _judged(world: World, node: Node, at: Address, state: State, tries: int, retried: bool) -> _Flow | None:
    """One execution and its verdict; None if it is to be repeated."""
    value = node.value(state)
    try:
        raw = node.output(at[-1][2], value, tries=tries, retried=retried)
    except Raised:
        raise _Errors(frozenset({("raised", node.name)})) from None
    except Asked:
        raise _Asked(frozenset()) from None
    said, corrected = node.verdict(value, raw) if node.verdicts else ("pass", raw)
    ruling = world.ruling(node, said, retried=retried)
    if ruling == "doom":
        raise _Errors(frozenset({("doomed", at)}))
    if ruling == "retry":
        return None
    return _Flow(at, corrected if ruling == "correct" else raw, raw, said == "refused")


# Strategies

KINDS = ("text",) * 8 + ("crash", "asks", "flaky")
VERDICTS = ("pass", "pass", "correct", "correct", "correct", "retry", "doom", "fail", "refused")
HARMLESS = ("pass", "pass", "correct", "correct", "correct", "retry")
EFFECTS = ("none",) * 4 + ("compensable", "compensable", "irreversible")
DEPTHS = (100, 100, 1, 2, 0)


@st.composite
def worlds(draw, *, kinds=KINDS, verdicts=VERDICTS, effects=EFFECTS, depths=DEPTHS, repeats=False, **policy):
    """Worlds of up to five rows of up to three nodes, with subgraphs up to two levels deep; the rest is the seed's.

    `repeats`: LangGraph may try whole subgraphs again. Each attempt has its tries anew, so that a subgraph that fails
    in its first try may be rolled back in its second for ever; such a run ends at its limit of rollbacks.
    """
    chance = random.Random(draw(st.integers(0, 2**32)))
    most_rows, widest, nested = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    names = (f"n{i}" for i in range(1000))

    def some() -> frozenset[str]:
        return frozenset(chance.sample(KEYS, chance.randint(1, 3)))

    def leaf() -> dict[str, Any]:
        reads = chance.choice((None, some(), some()))
        return {
            "reads": reads,
            "inputs": None if reads is None else chance.choice((None, reads, reads | {"d"})),
            "writes": tuple(sorted(some())),
            "kind": chance.choice(kinds),
            "effects": chance.choice(effects),
            "verdicts": tuple(chance.choices(verdicts, k=chance.randint(0, 3))),
            "depth": chance.choice(depths),
        }

    def node(level: int) -> Node:
        inner = graph(level + 1) if level < nested and chance.random() < 0.3 else None
        return Node(
            name=next(names),
            salt=chance.randint(0, 50),
            tasks=chance.choice((0, 0, 0, 2) if inner else (0, 0, 0, 0, 3)),
            when=chance.choice((None, None, None, *KEYS)),
            retries=chance.random() < 0.5 and (inner is None or repeats),
            inner=inner,
            **({} if inner else leaf()),
        )

    def graph(level: int) -> Graph:
        count = chance.randint(1, min(3, most_rows) if level else most_rows)
        rows = []
        for _ in range(count):
            nodes = tuple(node(level) for _ in range(chance.randint(1, widest)))
            route = chance.choice((None, None, *KEYS))
            jumps = tuple(chance.choices(range(count + 1), k=3)) if route else ()
            rows.append(Row(nodes=nodes, route=route, jumps=jumps))
        return Graph(rows=tuple(rows), most=3 if level else 7)

    drawn = {"on_failure": st.sampled_from(("closed", "open")), **policy}
    return World(
        graph=graph(0),
        state={key: chance.randint(0, 2) for key in KEYS},
        seed=chance.randint(0, 2**32),
        **{name: draw(each) for name, each in drawn.items()},
    )
