"""Random graphs to be guarded: deterministic nodes that take virtual time, their placements, and a log of what ran.

A `World` is all that a test draws: an outline of a graph (see `random_graphs`), the verifiers on its nodes, and the
inputs. `World.build()` gives a fresh compiled graph of plain node functions with its log.

What a node writes is one of a few sayings, chosen by what it read: corrections change what follows, and sometimes
vanish.
"""

import asyncio
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypedDict

import virtual_clock
from hypothesis import strategies as st
from langgraph.types import interrupt
from node_functions import FUNCTIONS, SYNC_FUNCTIONS
from random_graphs import SHAPES, Brief, Outline, outlines, unchanged
from sayings import SAYINGS, canonical, number_of
from scripted_verifier import Asked, Placed, Script

LATENCIES = (0, 1, 2, 3, 5, 8)
KEYS = ("a", "b", "c")


def latest(_old, new):
    """A reducer under which parallel nodes may write one key."""
    return new


def add(old, new):
    return (old + new) % 97


class State(TypedDict, total=False):
    """`solo` has no reducer: two nodes that write it in one superstep are an error."""

    x: Annotated[str, latest]
    a: Annotated[str, latest]
    b: Annotated[str, latest]
    c: Annotated[str, latest]
    solo: str
    total: Annotated[int, add]
    count: Annotated[int, operator.add]
    sent: Annotated[list, operator.add]
    i: Annotated[int, latest]


class Visible(TypedDict, total=False):
    """What a subgraph gives back to its parent."""

    a: Annotated[str, latest]
    b: Annotated[str, latest]
    c: Annotated[str, latest]
    total: Annotated[int, add]
    sent: Annotated[list, operator.add]


@dataclass(frozen=True, repr=False)
class Leaf(Brief):
    """A node. `reads` is a key of `FUNCTIONS`; `salt` and `modulus` make what it says of that; `key` is written.

    `kind`: `text`; `list` and `total` write a list and a number; `nothing` and `crash` now and then write nothing,
    raise; `asks` interrupts. `sync`: a plain function, in a thread.
    """

    name: str
    key: str = "a"
    reads: str = "x"
    salt: int = 0
    modulus: int = 5
    latency: float = 1
    kind: str = "text"
    sync: bool = False

    def update(self, values: dict[str, Any], answer: str = "") -> dict[str, Any]:
        """What the node writes, having read `values`."""
        number = (self.salt + number_of([values, answer] if answer else values)) % self.modulus
        if self.kind == "crash" and number == 4:
            raise ValueError("a value that cannot be")
        if self.kind == "nothing" and number == 0:
            return {}
        if self.kind == "list":
            return {"sent": [SAYINGS[number]], self.key: SAYINGS[number]}
        return {"total": number} if self.kind == "total" else {self.key: SAYINGS[number]}


@dataclass
class Ran:
    """One execution of a node. `read`: what it read, as text; `end`: `running`, `returned`, `raised`, `cancelled`."""

    node: str
    read: str
    started: float
    sync: bool
    ended: float | None = None
    end: str = "running"


@dataclass(frozen=True)
class Work:
    """What a node function does with what it has read. The function itself is in `node_functions`."""

    leaf: Leaf
    full: str
    after: Callable[[Any], Any]
    log: list[Ran]

    async def slowly(self, **values: Any) -> Any:
        """Return what LangGraph is to get, after the node's latency."""
        loop = asyncio.get_running_loop()
        ran = Ran(self.full, canonical(values), loop.time(), sync=False)
        self.log.append(ran)
        try:
            await asyncio.sleep(self.leaf.latency)
            answer = interrupt(self.full) if self.leaf.kind == "asks" else ""
            update = self.after(self.leaf.update(values, answer))
        except asyncio.CancelledError:
            ran.end = "cancelled"
            raise
        except Exception:
            ran.end = "raised"
            raise
        else:
            ran.end = "returned"
            return update
        finally:
            ran.ended = loop.time()

    def in_a_thread(self, **values: Any) -> Any:
        """`slowly`, for a sync function. Its times are not known: the clock is the loop's."""
        ran = Ran(self.full, canonical(values), 0, sync=True)
        self.log.append(ran)
        virtual_clock.sleep(self.leaf.latency)
        ran.end = "raised"
        update = self.after(self.leaf.update(values))
        ran.end = "returned"
        return update


@dataclass
class LoggedNodes:
    """The nodes of one graph, for `Outline.build`."""

    log: list[Ran] = field(default_factory=list)
    schema = State
    visible = Visible

    def function(self, leaf: Leaf, full: str, after: Any = unchanged) -> Any:
        table = SYNC_FUNCTIONS if leaf.sync and leaf.kind != "asks" else FUNCTIONS
        return table[leaf.reads](Work(leaf, full, after, self.log))

    def options(self, leaf: Leaf) -> dict[str, Any]:
        return {}

    def number(self, state: Any, key: str) -> int:
        return number_of(state.get(key, ""))

    def packet(self, state: Any, n: int) -> dict[str, Any]:
        return {"i": n, "x": SAYINGS[n], "a": state.get("a", "")}


@dataclass(frozen=True, repr=False)
class World(Brief):
    """A graph, what verifies it, and what it is run on."""

    outline: Outline
    placed: tuple[Placed, ...] = ()
    inputs: dict[str, Any] = field(default_factory=lambda: {"x": SAYINGS[0]})

    def build(self, **compiling: Any) -> tuple[Any, list[Ran]]:
        """A new compiled graph, and the log that its executions go to."""
        nodes = LoggedNodes()
        return self.outline.build(nodes, **compiling), nodes.log

    def attached(self) -> tuple[dict[str, Placed], list[Asked]]:
        """The placements by node, with new verifiers, and the log that their verifications go to."""
        log: list[Asked] = []
        return {placed.node: placed.with_log(log) for placed in self.placed}, log


def leaf_names(outline: Outline, prefix: str = "") -> list[str]:
    """The full names of the leaves, those in subgraphs as `parent/child`."""
    names = []
    for number, stage in enumerate(outline.stages):
        container = {"subgraph": f"sub{number}", "fan_out": f"each{number}"}.get(stage.shape)
        if stage.shape == "fan_out":
            names.append(prefix + stage.leaves[0].name)
            if stage.inner is None:
                names.append(prefix + container)
        elif stage.shape in ("single", "subgraph") or (len(stage.leaves) < 3 and stage.shape == "deferred"):
            names.append(prefix + stage.leaves[0].name)
        elif stage.shape == "loop":
            names += {prefix + leaf.name: None for leaf in (stage.leaves[0], stage.leaves[-1])}
        elif stage.shape == "conditional":
            names += [prefix + leaf.name for leaf in stage.leaves]
        else:
            most = len(stage.leaves) if stage.shape in ("parallel", "deferred") else 3
            names += [prefix + leaf.name for leaf in stage.leaves[:most]]
        if stage.inner is not None and container is not None:
            names += leaf_names(stage.inner, f"{prefix}{container}/")
    return names


# Strategies

KINDS = ("text", "text", "text", "list", "list", "total", "nothing", "crash")
STATIC = ("deferred", "parallel", "single", "subgraph", "uneven")
"""Shapes in which every node runs exactly once, whatever the values are."""


def graphs(*, kinds: Sequence[str] = KINDS, shapes: Sequence[str] | None = None, depth: int = 2, most: int = 3) -> Any:
    """Outlines of leaves of the given kinds."""

    def leaf(draw: Any, name: str) -> Leaf:
        return Leaf(
            name=name,
            key=draw(st.sampled_from(KEYS)),
            reads=draw(st.sampled_from(sorted(FUNCTIONS))),
            salt=draw(st.integers(0, 6)),
            modulus=draw(st.sampled_from((5, 2, 3, 7))),
            latency=draw(st.sampled_from(LATENCIES)),
            kind=draw(st.sampled_from(kinds)),
            sync=draw(st.sampled_from((False, False, False, True))),
        )

    drawn = outlines(leaf, shapes=shapes or sorted(SHAPES), depth=depth, most=most, widest=4)
    return st.tuples(drawn, st.booleans()).map(lambda pair: _solo(*pair))


def _solo(outline: Outline, wanted: bool) -> Outline:
    """Let nodes that stand alone write the key that has no reducer."""
    if not wanted:
        return outline
    stages = [
        replace(stage, leaves=(replace(stage.leaves[0], key="solo"), *stage.leaves[1:]))
        if stage.shape == "single"
        else stage
        for stage in outline.stages
    ]
    return Outline(tuple(stages))


@st.composite
def worlds(draw: Any, *, choices: Sequence[str] | None = None, on_reject: Sequence[str] = ("correct",), **options: Any):
    """A graph with verifiers on some of its nodes; `choices`: see `Script`. `options` are those of `graphs`."""
    outline = draw(graphs(**options))
    names = leaf_names(outline)
    nodes = draw(st.lists(st.sampled_from(names), min_size=1, max_size=min(4, len(names)), unique=True))
    placed = tuple(
        Placed(node, draw(scripts(choices)), draw(st.sampled_from(list(on_reject)))) for node in sorted(nodes)
    )
    inputs = {"x": draw(st.sampled_from(SAYINGS)), "a": draw(st.sampled_from(SAYINGS[:3]))}
    return World(outline, placed, inputs)


def scripts(choices: Sequence[str] | None = None) -> Any:
    """Verifiers' ways; nearly all that they can do in each."""
    choices = choices or ("accept", "correct", "correct", "update", "update", "same", "reject")
    return st.builds(
        Script,
        salt=st.integers(0, 99),
        choices=st.lists(st.sampled_from(list(choices)), min_size=1, max_size=4).map(tuple),
        latencies=st.lists(st.sampled_from(LATENCIES), min_size=1, max_size=3).map(tuple),
    )
