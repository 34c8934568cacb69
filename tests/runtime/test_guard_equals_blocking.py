"""A guarded run ends as a blocking one does, whatever the graph, the latencies and the verdicts (invariant 1)."""

import asyncio
import os

import pytest
from guarded_graphs import KINDS, STATIC, Leaf, World, worlds
from guarded_runs import FREELY, blocked, guarded, one_turn, saver, turns, unverified
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from random_graphs import Outline, Stage
from sayings import SAYINGS
from scripted_verifier import Placed, Script

from sherlock import Verdict

SOAK = bool(os.environ.get("SHERLOCK_SOAK"))
EXAMPLES = 600 if SOAK else 40
pytestmark = [pytest.mark.soak] if SOAK else []
ACTED_ON = ("correct", "correct", "retry", "flag")

policies = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["speculate", "speculate", "auto", "blocking"]),
        "max_depth": st.sampled_from([8, 1, 2, 3]),
        "max_verifiers_in_flight": st.sampled_from([64, 64, 1, 2]),
        "max_rollbacks": st.just(60),
    }
)


@settings(max_examples=EXAMPLES)
@given(worlds(on_reject=ACTED_ON), policies)
def test_same_state(world, policy):
    found, expected = guarded(world, policy), blocked(world)
    assert found.end == expected.end
    assert not found.alive
    assert not found.verifying
    assert not found.running


@settings(max_examples=EXAMPLES)
@given(worlds(on_reject=ACTED_ON), policies, st.sampled_from(["sync", "async", "exit"]), st.booleans())
def test_same_thread(world, policy, durability, again):
    """With a checkpointer: the same states and the same history, over two turns too."""
    inputs = [world.inputs, {"x": SAYINGS[4]}][: 1 + again]
    drive = turns(inputs, durability=durability)
    found, expected = guarded(world, policy, drive, checkpointer=saver()), blocked(world, drive, checkpointer=saver())
    assert found.end == expected.end
    if durability != "exit":
        steps = [step for step, *_ in found.history]
        assert steps == list(range(-1, len(steps) - 1))
    assert not found.alive


@settings(max_examples=EXAMPLES // 2)
@given(
    worlds(kinds=("text", "text", "list", "asks", "asks"), choices=("accept", "correct", "update", "same")), policies
)
def test_same_answers(world, policy):
    """Nobody is asked on unverified grounds, and nobody is asked twice. (An oracle that repeats a node asks again.)"""
    drive = one_turn(world)
    found, expected = guarded(world, policy, drive, checkpointer=saver()), blocked(world, drive, checkpointer=saver())
    assert found.end == expected.end
    assert not found.alive


@settings(max_examples=EXAMPLES // 2)
@given(worlds(choices=("accept", "correct", "raise"), on_reject=("correct", "raise")))
def test_failing_verifiers(world):
    """A verifier that fails leaves the output as it is, if the policy fails open; else the run ends with it.

    On a line that is given up a verifier may fail that blocking verification would not have asked. So where the policy
    fails closed a run may only end with an error too many, never with one too few. Which of two errors in one superstep
    ends a run is a matter of time.
    """
    found, expected = guarded(world, {**FREELY, "on_failure": "open"}), blocked(world, open=True)
    assert found.end == expected.end or (found.error and expected.error)
    found, expected = guarded(world, {**FREELY, "on_failure": "closed"}), blocked(world)
    assert found.end == expected.end or found.error == "VerifierError" or (found.error and expected.error)
    assert not found.alive
    assert not found.verifying


@settings(max_examples=EXAMPLES // 2)
@given(worlds(choices=("accept", "same"), kinds=[kind for kind in KINDS if kind != "crash"], shapes=STATIC))
def test_accepted_runs_are_as_quick_as_unverified_ones(world):
    """Of verification only the last verdicts are waited for.

    Where a node runs again and again, what was learned of it narrows the window, by an estimate, so it is not so there.
    """
    found, plain = guarded(world), unverified(world)
    assert found.states == plain.states
    longest = max(latency for placed in world.placed for latency in placed.script.latencies)
    assert plain.seconds <= found.seconds <= plain.seconds + longest


@settings(max_examples=EXAMPLES // 2)
@given(worlds(kinds=[kind for kind in KINDS if kind != "crash"]))
def test_no_slower_than_blocking(world):
    assert guarded(world).seconds <= blocked(world).seconds


class Fickle:
    """Rejects the first output that it sees, and accepts what comes after it."""

    def __init__(self):
        self.asked = 0

    def latency_of(self, subject):
        return 3

    def verdict_of(self, subject):
        self.asked += 1
        return Verdict(self.asked > 1)


@pytest.mark.parametrize("on_reject", ["correct", "retry"])
@pytest.mark.parametrize("mode", ["speculate", "blocking"])
def test_a_repeated_node_gives_its_second_output(on_reject, mode):
    """The node says something else each time, so the second output is not the first: it must be what flows on."""
    said = iter(SAYINGS)
    second = []

    class Changing(Leaf):
        def update(self, values, answer=""):
            return {"a": next(said)}

    class Reader(Leaf):
        def update(self, values, answer=""):
            second.append(values["a"])
            return {"b": values["a"]}

    leaves = (Changing("n0"), Reader("n1", reads="a", latency=1), Leaf("n2", key="c", reads="b"))
    world = World(Outline(tuple(Stage("single", (leaf,)) for leaf in leaves)), (Placed("n0", Fickle(), on_reject),))

    async def drive(agent, outcome):
        state = await agent.ainvoke(world.inputs)
        outcome.states.append(state)

    found = guarded(world, {"mode": mode}, drive)
    [state] = found.states
    assert state["a"] == state["b"] == SAYINGS[1]
    assert second == ([SAYINGS[0], SAYINGS[1]] if mode == "speculate" else [SAYINGS[1]])
    assert [asked.text for asked in found.asked] == [SAYINGS[0], SAYINGS[1]]
    assert found.agent.report().rollbacks == 1


@pytest.mark.parametrize("mode", ["speculate", "blocking"])
def test_a_repeated_node_does_not_ask_again(mode):
    """Its answer was given, so it is there when the node is executed once more."""
    leaves = (Leaf("n0", kind="asks"), Leaf("n1", key="b", reads="a"))
    world = World(Outline(tuple(Stage("single", (leaf,)) for leaf in leaves)), (Placed("n0", Fickle()),))
    found = guarded(world, {"mode": mode}, checkpointer=saver())
    plain = unverified(world, checkpointer=saver())
    assert found.end == plain.end
    assert len(found.asked) == 2
    assert len([ran for ran in found.ran if ran.node == "n0"]) == 3


def test_many_runs_of_one_guard_at_once():
    """Runs share what was learned, and nothing else."""
    leaves = (Leaf("n0", reads="x"), Leaf("n1", key="b", reads="a"), Leaf("n2", key="c", reads="b", latency=5))
    stages = tuple(Stage("single", (leaf,)) for leaf in leaves)
    script = Script(choices=("correct", "accept"), latencies=(4, 1))
    world = World(Outline(stages), (Placed("n0", script), Placed("n1", script)))

    async def drive(agent, outcome):
        runs = [agent.ainvoke({"x": f"{saying} {n}"}) for n in range(5) for saying in SAYINGS]
        outcome.states += await asyncio.gather(*runs)

    found, expected = guarded(world, FREELY, drive), blocked(world, drive)
    assert found.end == expected.end
    assert not found.alive


def test_the_saver_holds_what_the_caller_got():
    """What is in the user's own saver, read by nobody of ours, is the blocking line."""
    world = World(
        Outline((Stage("single", (Leaf("n0"),)), Stage("single", (Leaf("n1", key="b", reads="a"),)))),
        (Placed("n0", Script(choices=("correct",), latencies=(9,))),),
    )
    mine, theirs = InMemorySaver(), InMemorySaver()
    guarded(world, checkpointer=mine)
    blocked(world, checkpointer=theirs)

    def stored(checkpointer):
        tuples = list(checkpointer.list(None))
        return [(each.metadata["step"], each.checkpoint["channel_values"]) for each in tuples]

    def written(checkpointer):
        tuples = list(checkpointer.list(None))
        return [sorted((channel, repr(value)) for _, channel, value in each.pending_writes or ()) for each in tuples]

    assert stored(mine) == stored(theirs)
    # Besides LangGraph's writes there may be the guard's own records, under channels that are its own.
    ours = [[write for write in each if not write[0].startswith("__sherlock")] for each in written(mine)]
    assert ours == written(theirs)
