"""The kit that the guard is attacked with: random graphs, scripted verifiers and the blocking oracle."""

import asyncio
from dataclasses import replace

import pytest
import virtual_clock
from blocking_oracle import BlockingGraph, blocking_oracle
from guarded_graphs import Leaf, LoggedNodes, World, graphs, leaf_names, worlds
from hypothesis import given, settings
from node_functions import FUNCTIONS
from random_graphs import Outline, Stage
from sayings import SAYINGS, canonical, otherwise, said_alike, said_otherwise
from scripted_verifier import Placed, Script

from sherlock import Verdict
from sherlock.equivalence import same_meaning
from sherlock.interpose.nodes import leaf_nodes
from sherlock.interpose.reads import reads_of


def chain(*leaves):
    return Outline(tuple(Stage("single", (leaf,)) for leaf in leaves))


async def outcome(agent, inputs):
    try:
        return canonical(await agent.ainvoke(inputs))
    except Exception as error:
        return repr(error)


def final(world, placements=None):
    """What a world ends with under blocking verification, and its log."""
    graph, log = world.build()
    attached = world.attached()[0] if placements is None else placements
    return virtual_clock.run(outcome(BlockingGraph(graph, attached), world.inputs)), log


@pytest.mark.parametrize("reads", FUNCTIONS)
def test_reads_are_found_in_the_source(reads):
    expected = None if reads == "everything" else set(reads.split())
    assert reads_of(chain(Leaf("n", reads=reads)).build(LoggedNodes()).nodes["n"]) == expected
    graph = chain(Leaf("n", reads=reads, sync=True)).build(LoggedNodes())
    assert reads_of(graph.nodes["n"]) in ({"x"}, {"b", "c"}, None)


@settings(max_examples=50)
@given(graphs())
def test_leaves_are_named_as_the_guard_names_them(outline):
    graph = outline.build(LoggedNodes())
    made = {name for name, _ in leaf_nodes(graph)}
    own = {name for name in made if not name.split("/")[-1].startswith(("out", "all"))}
    assert set(leaf_names(outline)) == own


@settings(max_examples=50)
@given(worlds(on_reject=("correct", "retry", "flag")))
def test_the_oracle_does_not_depend_on_latencies(world):
    """If it did, it would be no measure of what the guard makes of them."""
    quick = tuple(replace(p, script=replace(p.script, latencies=(0,))) for p in world.placed)
    assert final(world)[0] == final(replace(world, placed=quick))[0]


@settings(max_examples=50)
@given(worlds(choices=("accept", "same")))
def test_verdicts_that_change_nothing_change_nothing(world):
    graph, _ = world.build()
    assert final(world)[0] == virtual_clock.run(outcome(graph, world.inputs))


def test_corrections_are_felt():
    """Most worlds with a correcting verifier end otherwise than without; else equality would show little."""
    different = []

    @settings(max_examples=60, database=None)
    @given(worlds(choices=("correct", "update"), kinds=("text",)))
    def look(world):
        graph, _ = world.build()
        different.append(final(world)[0] != virtual_clock.run(outcome(graph, world.inputs)))

    look()
    assert sum(different) > len(different) / 3


def test_an_oracle_run_waits_for_each_verifier():
    world = World(
        chain(Leaf("n0", latency=2), Leaf("n1", key="b", reads="a", latency=3)),
        (Placed("n0", Script(choices=("correct",), latencies=(5,))), Placed("n1", Script(latencies=(7,)))),
    )
    graph, log = world.build()
    attached, asked = world.attached()

    async def timed():
        state, checked = await blocking_oracle(graph, attached, world.inputs)
        return state, checked, asyncio.get_running_loop().time()

    state, checked, seconds = virtual_clock.run(timed())
    assert seconds == 17
    assert [(ran.node, ran.started, ran.ended) for ran in log] == [("n0", 0, 2), ("n1", 7, 10)]
    assert [(each.node, each.started, each.ended) for each in asked] == [("n0", 2, 7), ("n1", 10, 17)]
    assert state["a"] == checked[0].output["a"] == asked[0].verdict.corrected != asked[0].text
    assert f'"{state["a"]}"' in log[1].read


class Once:
    """Rejects the first output that it sees, and nothing else; with a correction, if it is given one."""

    def __init__(self, correction=None):
        self.correction, self.asked = correction, 0

    def latency_of(self, subject):
        return 1

    def verdict_of(self, subject):
        self.asked += 1
        return Verdict(True) if self.asked > 1 else Verdict(False, corrected=self.correction)


@pytest.mark.parametrize(
    ("on_reject", "correction", "executions", "flagged"),
    [
        ("correct", None, 2, False),
        ("correct", SAYINGS[6], 1, False),
        ("retry", None, 2, False),
        ("retry", SAYINGS[6], 2, False),
        ("flag", None, 1, True),
        ("flag", SAYINGS[6], 1, True),
    ],
)
def test_what_the_oracle_makes_of_a_rejection(on_reject, correction, executions, flagged):
    world = World(chain(Leaf("n0")), (Placed("n0", Once(correction), on_reject),))
    graph, log = world.build()
    state, checked = virtual_clock.run(blocking_oracle(graph, world.attached()[0], world.inputs))
    assert len(log) == executions
    assert [each.flagged for each in checked] == [flagged]
    assert (state["a"] == SAYINGS[6]) == (on_reject == "correct" and correction is not None)


def test_sayings_mean_what_they_are_meant_to():
    for n, one in enumerate(SAYINGS):
        assert not any(same_meaning(one, other) for other in SAYINGS[n + 1 :])
        assert said_alike(one) != one
        assert same_meaning(one, said_alike(one))
        for salt in range(12):
            assert said_otherwise(one, salt) != one
            assert otherwise({"a": one, "sent": [one], "count": 1}, salt)["a"] == said_otherwise(one, salt)
