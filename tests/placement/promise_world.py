"""Workflows of `benchmarks/sim_promise.py` as real LangGraph graphs, with verifiers that repair and break.

Nodes write `right`, `astray` (wrong by themselves) or `misled` (by what they read). All luck of a case is fixed, as at
temperature 0, so that what a plan does to a case is known without running it.
"""

import operator
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
from langgraph.graph import END, START, StateGraph

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from sim_promise import Cases, Picks, World

import sherlock
from sherlock.faults import Fault

PICKS = 2
"""Verifiers in play: `check` with `verifier_0` and `verifier_1`."""

PARENTS = ([[], [0], [1]], [[], [0], [0], [1, 2]], [[], [0], [1], [2]], [[], [0], [0]])

ASTRAY = Fault("astray", kind="output", weight=1.0, apply=lambda text, rng: "astray" if text == "right" else None)


def world_of(rng: np.random.Generator) -> World:
    """Three or four nodes, with errors that are masked, and inherited errors that are repaired."""
    parents = PARENTS[rng.integers(len(PARENTS))]
    nodes, columns = len(parents), 4
    skill = rng.uniform(0, 0.9, (nodes, columns))
    return World(
        parents=[list(before) for before in parents],
        own=rng.uniform(0.02, 0.3, nodes),
        spread=rng.uniform(0.3, 1.0, nodes),
        repair_own=skill,
        repair_inherited=skill * rng.uniform(0, 1, (nodes, columns)),
        breaks=rng.uniform(0, 0.08, (nodes, columns)),
    )


class Table:
    """The luck that nodes and verifiers look up: set by the test that runs."""

    cases: Cases


class State(TypedDict, total=False):
    case: int
    texts: Annotated[dict[str, str], operator.or_]


def graph_of(cases: Cases) -> StateGraph:
    """The workflow over these cases; each node writes one key of its own."""
    world = cases.world
    names = [f"n{node}" for node in range(len(world.parents))]
    schema: Any = TypedDict("schema", {"case": int, **dict.fromkeys(names, str)}, total=False)
    builder = StateGraph(schema)
    for node, parents in enumerate(world.parents):
        builder.add_node(f"n{node}", _node(cases, node, parents))
        if not parents:
            builder.add_edge(START, f"n{node}")
        else:
            builder.add_edge([f"n{parent}" for parent in parents], f"n{node}")
    for node in _last(world):
        builder.add_edge(f"n{node}", END)
    return builder


def _node(cases: Cases, node: int, parents: list[int]) -> Any:
    world = cases.world

    def run(state):
        case = state["case"]
        misled = any(state[f"n{p}"] != "right" and cases.edge_luck[p, node, case] < world.spread[p] for p in parents)
        astray = cases.own_luck[node, case] < world.own[node] * cases.hard[case]
        return {f"n{node}": "misled" if misled else "astray" if astray else "right"}

    return run


def _last(world: World) -> list[int]:
    read = {parent for before in world.parents for parent in before}
    return [node for node in range(len(world.parents)) if node not in read]


def scorer_of(cases: Cases) -> Any:
    world = cases.world

    def score(output, case):
        index = case.inputs["case"]
        return not any(
            output[f"n{node}"] != "right" and cases.edge_luck[node, -1, index] < world.spread[node]
            for node in _last(world)
        )

    return score


def cases_of(cases: Cases) -> list[sherlock.Case]:
    return [sherlock.Case({"case": index}, id=f"case {index}") for index in range(cases.count)]


def _judged(text: str, subject: Any, pick: int) -> Any:
    cases, case, node = Table.cases, subject.inputs["case"], int(subject.node[1:])
    world, luck = cases.world, cases.repair_luck[node, pick, case]
    if text == "right":
        return (False, "astray") if luck < world.breaks[node, pick] else True
    skill = (world.repair_inherited if text == "misled" else world.repair_own)[node, pick]
    return (False, "right") if luck * np.sqrt(cases.hard[case]) < skill else True


def verifier_0(text: str, subject: Any) -> Any:
    return _judged(text, subject, 0)


def verifier_1(text: str, subject: Any) -> Any:
    return _judged(text, subject, 1)


VERIFIERS = [{"use": "check", "function": f"promise_world:verifier_{pick}"} for pick in range(PICKS)]


def picks_of(plan: sherlock.Plan) -> Picks:
    """The plan as `Cases.right` takes it."""
    return {int(node[1:]): int(placement.settings["function"][-1]) for node, placement in plan.placements.items()}
