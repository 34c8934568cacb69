"""Random graphs under the guard, every output accepted: how soon a run ends, against the soonest that it could.

The graphs are those that the tests of the runtime are made of (branches, joins, routers, loops, `Send`, deferred nodes,
subgraphs), with lognormal times, drawn from seeds.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import virtual_clock
from guarded_graphs import KEYS, Leaf, LoggedNodes, Ran, Work, World, leaf_names
from random_graphs import SHAPES, Outline, Stage, unchanged
from sayings import SAYINGS
from scripted_verifier import Placed, Script, plan_of

import sherlock

SPREAD = 0.6
VERDICT_S = 2.0
"""The median of a verification; that of an execution is 1."""


class PlainNodes(LoggedNodes):
    """Nodes that read the whole state, and that go only where the graph says."""

    def function(self, leaf: Leaf, full: str, after: Any = unchanged) -> Any:
        work = Work(leaf, full, after, self.log)

        async def node(state: dict[str, Any]) -> Any:
            return await work.slowly(**state)

        return node


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Seconds until the last execution has ended and until all is verified, guarded, each with the soonest possible.

    `t_exec_best`: what the unverified graph takes. `t_vrf_best`: no runtime that waits for each verdict once, on the
    output of an execution that ended when it does in the unverified graph, can be sooner.
    """

    nodes: int
    verifications: int
    t_exec: float
    t_exec_best: float
    t_vrf: float
    t_vrf_best: float


def drawn(seed: int, *, unit_s: float = 1.0) -> World:
    """A graph of two to five stages; about half of its nodes are verified, and every output is accepted."""
    rng = random.Random(seed)
    names = iter(f"n{k}" for k in range(999))
    outline = _outline(rng, names, unit_s, stages=rng.randint(2, 5), depth=2)
    leaves = leaf_names(outline)
    chosen = [name for name in leaves if rng.random() < 0.5] or [rng.choice(leaves)]
    placed = tuple(Placed(name, Script(latencies=(_seconds(rng, VERDICT_S * unit_s),))) for name in sorted(chosen))
    return World(outline, placed, {"x": rng.choice(SAYINGS)})


def ends(world: World, policy: Any = None, runs: int = 1) -> Ends:
    """How a world ends on a virtual clock. `policy`: the default one if there is none."""
    return virtual_clock.run(both(world, policy, runs))


async def both(world: World, policy: Any = None, runs: int = 1) -> Ends:
    """The world unverified, then guarded, on the running loop; the last of several runs of one guard.

    Raises `AssertionError` when their states differ.
    """
    loop = asyncio.get_running_loop()
    nodes = PlainNodes()
    plain, ran = world.outline.build(nodes), nodes.log
    began = loop.time()
    expected = await plain.ainvoke(dict(world.inputs))
    t_exec_best = loop.time() - began
    graph = world.outline.build(PlainNodes())
    placements, asked = world.attached()
    agent = sherlock.guard(graph, plan_of(placements, policy))
    for _ in range(runs):
        asked.clear()
        guard_began = loop.time()
        state = await agent.ainvoke(dict(world.inputs))
        t_vrf = loop.time() - guard_began
    if state != expected:
        raise AssertionError(f"the guarded run ended in another state: {state} instead of {expected}")
    report = agent.report()
    assert report is not None
    return Ends(
        nodes=len(ran),
        verifications=len(asked),
        t_exec=report.t_exec_s,
        t_exec_best=max(_ended(each) for each in ran) - began,
        t_vrf=t_vrf,
        t_vrf_best=max(t_exec_best, _last_verdict(ran, placements) - began),
    )


def _last_verdict(ran: Sequence[Ran], placements: dict[str, Placed]) -> float:
    """When the last verdict is in, if each verification begins as soon as its execution has ended."""
    found = [_ended(each) + placements[each.node].script.latencies[0] for each in ran if each.node in placements]
    return max(found, default=0.0)


def _ended(ran: Ran) -> float:
    assert ran.ended is not None
    return ran.ended


def _outline(rng: random.Random, names: Any, unit_s: float, *, stages: int, depth: int) -> Outline:
    found = []
    for _ in range(stages):
        shape = rng.choice(sorted(SHAPES))
        inner = None
        if depth and shape in ("subgraph", "fan_out") and rng.random() < 0.7:
            inner = _outline(rng, names, unit_s, stages=rng.randint(1, 2), depth=depth - 1)
        leaves = tuple(_leaf(rng, next(names), unit_s) for _ in range(rng.randint(1, 4)))
        found.append(Stage(shape, leaves, inner))
    return Outline(tuple(found))


def _leaf(rng: random.Random, name: str, unit_s: float) -> Leaf:
    return Leaf(
        name=name,
        key=rng.choice(KEYS),
        salt=rng.randint(0, 6),
        modulus=rng.choice((2, 3, 5, 7)),
        latency=_seconds(rng, unit_s),
        kind=rng.choice(("text", "text", "list", "total")),
    )


def _seconds(rng: random.Random, middle: float) -> float:
    return middle * math.exp(rng.gauss(0, SPREAD))
