"""What a guarded run never does, on random graphs: show what is unverified, leave tasks behind, run too much again."""

import asyncio
import copy
import os
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest
from blocking_oracle import corrected
from guarded_graphs import KINDS, STATIC, Leaf, State, Visible, World, worlds
from guarded_runs import FREELY, THREAD, blocked, guarded, saver, unverified
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from random_graphs import Outline, Stage
from sayings import canonical
from scripted_verifier import Placed, Script

SOAK = bool(os.environ.get("SHERLOCK_SOAK"))
EXAMPLES = 600 if SOAK else 40
pytestmark = [pytest.mark.soak] if SOAK else []
SAFE = tuple(kind for kind in KINDS if kind != "crash")
"""How far a superstep's chunks get before a node in it raises is a matter of time."""


# Streams (invariant 2)


def names_of(namespace):
    """A stream's namespace without the ids of tasks."""
    return tuple(part.partition(":")[0] for part in namespace)


MODES = ["values", "updates", "checkpoints"]
"""The last says when a superstep is over, also one in which nothing was written."""


def streaming(world, seen, known=lambda: None, modes=MODES):
    """Stream a run; `seen` gets each chunk, and what `known()` says when it comes."""

    async def drive(agent, outcome):
        options = {"stream_mode": modes, "subgraphs": True}
        async for namespace, mode, payload in agent.astream(dict(world.inputs), THREAD, **options):
            seen.append((namespace, mode, payload, known()))

    return drive


def supersteps(seen):
    """Chunks by superstep of the outermost graph; in each, how every subgraph run in it went, step by step."""
    steps, running = [], defaultdict(lambda: [[]])
    for namespace, mode, payload, _ in seen:
        group = running[namespace][-1]
        if mode == "checkpoints":
            payload = {"step": payload["metadata"]["step"], "values": payload["values"], "next": payload["next"]}
        group.append(f"{mode} {canonical(payload)}")
        if mode == "checkpoints":
            group.sort()
            running[namespace].append([])
            if not namespace:
                steps.append(sorted((names_of(ns), groups) for ns, groups in running.items()))
                running.clear()
    return [*steps, sorted((names_of(ns), groups) for ns, groups in running.items())]


def vouching(world, outcome):
    """What gives the updates that verifications vouch for by now, by node."""
    placed = {each.node: each for each in world.placed}

    def vouched():
        found = defaultdict(list)
        for each in outcome.asked:
            if each.end == "answered":
                found[each.node] += outcomes(each, placed[each.node], outcome.asked)
        return found

    return vouched


def refuse_unverified(world, seen):
    """Fail if an update of a placed node was shown before somebody had vouched for it."""
    placed = {each.node for each in world.placed}
    for namespace, mode, payload, vouched in seen:
        for name, update in payload.items() if mode == "updates" else ():
            node = "/".join([*names_of(namespace), name])
            if node in placed:
                keys = Visible.__annotations__ if namespace else State.__annotations__
                right = [canonical({key: each[key] for key in each if key in keys}) for each in vouched[node]]
                assert canonical(update or {}) in right, f"{node} was shown before its verification had ended"


@settings(max_examples=EXAMPLES)
@given(worlds(kinds=SAFE, on_reject=("correct", "correct", "retry", "flag")), st.sampled_from([100, 1, 2]))
def test_streams_show_the_verified_line(world, depth):
    """The same chunks in each superstep as from blocking verification, and none before it is verified."""
    shown, expected = [], []

    def drive(agent, outcome):
        return streaming(world, shown, vouching(world, outcome))(agent, outcome)

    found = guarded(world, {**FREELY, "max_depth": depth}, drive, checkpointer=saver())
    assert blocked(world, streaming(world, expected), checkpointer=saver()).error == found.error
    assert supersteps(shown) == supersteps(expected)
    assert not found.alive
    assert not found.verifying
    refuse_unverified(world, first_of_each_step(shown))


@settings(max_examples=EXAMPLES // 2)
@given(worlds(kinds=SAFE, on_reject=("correct", "correct", "retry", "flag")))
def test_marked_streams_show_the_verified_line_in_the_end(world):
    """With `stream="mark"`: what is left when the retracted chunks are taken out is what `hold` gives; and a chunk that
    is not marked as provisional is as good as verified."""
    seen, expected = [], []

    def drive(agent, outcome):
        return streaming(world, seen, vouching(world, outcome), [*MODES, "sherlock"])(agent, outcome)

    found = guarded(world, {**FREELY, "stream": "mark"}, drive, checkpointer=saver())
    assert blocked(world, streaming(world, expected), checkpointer=saver()).error == found.error
    chunks = [chunk for chunk in seen if chunk[1] != "sherlock"]
    ids = defaultdict(list)
    for _, mode, event, _ in seen:
        if mode == "sherlock":
            ids[type(event).__name__] += getattr(event, "ids", ())
    retracted, provisional = set(ids["Retracted"]), set(ids["Provisional"])
    assert sorted(ids["Provisional"]) == sorted(ids["Retracted"] + ids["Committed"])
    assert len(provisional) == len(ids["Provisional"])
    left = [chunk for number, chunk in enumerate(chunks) if number not in retracted]
    assert supersteps(left) == supersteps(expected)
    refuse_unverified(world, [chunk for number, chunk in enumerate(chunks) if number not in provisional])


def outcomes(asked, placed, everything):
    """The update that stands after a verification; none where the node is to be executed once more."""
    verdict = asked.verdict
    update = asked.output
    if not verdict.accepted and placed.on_reject == "correct" and verdict.corrected is not None:
        update = corrected(update, verdict.corrected)
    elif not verdict.accepted and placed.on_reject != "flag":
        same = [each for each in everything if (each.node, each.text, each.inputs) == key_of(asked)]
        if sum(each.end == "answered" for each in same) < 2:
            return []
    return [(update.update if isinstance(update, Command) else update) or {}]


def key_of(asked):
    return asked.node, asked.text, asked.inputs


def first_of_each_step(seen):
    """The chunks, each with what was known when the first one of its superstep (in its own graph) came."""
    first = {}
    for namespace, mode, payload, known in seen:
        first.setdefault(namespace, known)
        yield namespace, mode, payload, first[namespace]
        if mode == "checkpoints":
            del first[namespace]


@pytest.mark.parametrize("mode", ["speculate", "blocking"])
@pytest.mark.parametrize("taken", [1, 2, 3, 5])
def test_nothing_begins_that_nobody_asked_for(taken, mode):
    """While a chunk is waited for the run may go on past it. When the consumer has it, nothing more begins."""
    stages = tuple(Stage("single", (Leaf(f"n{k}", reads="a"),)) for k in range(6))
    world = World(Outline(stages), (Placed("n1", Script(latencies=(50,))), Placed("n3", Script())))

    async def drive(agent, outcome):
        chunks = agent.astream(dict(world.inputs), stream_mode="updates")
        for _ in range(taken):
            await anext(chunks)
        begun = len(outcome.ran)
        await asyncio.sleep(1000)
        outcome.states = [begun, len(outcome.ran)]
        await chunks.aclose()
        assert not outcome.running
        assert not outcome.verifying
        await asyncio.sleep(1000)

    found, plain = guarded(world, {"mode": mode}, drive), unverified(world, drive)
    assert found.error is None
    assert plain.states == [taken, taken]
    begun = taken if taken == 1 or mode == "blocking" else len(stages)
    assert found.states == [begun, begun]
    assert len(found.ran) == begun
    assert not found.alive


# Orphans and crashes (invariants 4, 5)


def is_prefix(history, whole):
    return all(one == other for one, other in zip(history, whole, strict=False)) and len(history) <= len(whole)


@settings(max_examples=EXAMPLES // 2)
@given(worlds(kinds=SAFE), st.floats(0, 40), st.sampled_from(["sync", "async", "exit"]))
def test_cut_off_at_any_time(world, moment, durability):
    """Cancelled: nothing of the run is left, and nothing is written any more. What is stored then is a beginning of the
    blocking line, and resumed from there, by another guard, the run ends as the blocking one does."""
    whole = blocked(world, None, checkpointer=saver())
    assume(whole.error is None)  # two nodes that write `solo` at once
    stored = saver()
    left = {}

    async def drive(agent, outcome):
        task = asyncio.create_task(agent.ainvoke(dict(world.inputs), THREAD, durability=durability))
        await asyncio.sleep(moment)
        killed = copy.deepcopy((stored.storage, stored.writes, stored.blobs))
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        else:
            outcome.states.append("done")
        others = asyncio.all_tasks() - {asyncio.current_task()}
        left["alive"] = [repr(each) for each in others if not each.done()]
        left["running"], left["verifying"] = list(outcome.running), list(outcome.verifying)
        afterwards = copy.deepcopy((stored.storage, stored.writes, stored.blobs))
        await asyncio.sleep(1000)
        assert (stored.storage, stored.writes, stored.blobs) == afterwards, "written after the run had ended"
        for kind, state in (("killed", killed), ("cancelled", afterwards)):
            left[kind] = InMemorySaver()
            left[kind].storage, left[kind].writes, left[kind].blobs = state

    cut = guarded(world, FREELY, drive, checkpointer=stored)
    assert cut.error is None
    assert left["alive"] == left["running"] == left["verifying"] == []

    async def resume(agent, outcome):
        begun = (await agent.aget_state(THREAD)).values
        outcome.states.append(canonical(await agent.ainvoke(None if begun else dict(world.inputs), THREAD)))

    async def look(agent, outcome):
        pass

    for kind in ("killed", "cancelled"):
        if durability != "exit":
            assert is_prefix(unverified(world, look, checkpointer=left[kind]).history, whole.history)
        resumed = guarded(world, FREELY, resume, checkpointer=left[kind])
        assert (resumed.states, resumed.error) == (whole.states, None)
        assert not resumed.alive


@settings(max_examples=EXAMPLES // 2)
@given(worlds(kinds=SAFE), st.integers(0, 12))
def test_closed_streams_leave_nothing(world, taken):
    left = {}

    async def drive(agent, outcome):
        chunks = agent.astream(dict(world.inputs), stream_mode=["updates", "values"], subgraphs=True)
        for _ in range(taken):
            if await anext(chunks, None) is None:
                break
        await chunks.aclose()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        left["alive"] = [repr(each) for each in others if not each.done()]
        left["at work"] = [*outcome.running, *outcome.verifying]

    assert guarded(world, FREELY, drive).error in (None, "InvalidUpdateError")  # two nodes that write `solo` at once
    assert left == {"alive": [], "at work": []}


# Bounds (invariant 6)


@settings(max_examples=EXAMPLES // 2)
@given(worlds(choices=("correct", "update", "reject")), st.integers(0, 3), st.sampled_from(["raise", "flag"]))
def test_rollbacks_are_bounded(world, most, on_limit):
    found = guarded(world, {"max_rollbacks": most, "on_limit": on_limit})
    report = found.agent.report()
    assert report.rollbacks == len(report.rolled_back) <= most
    assert not found.alive
    assert not found.verifying
    if on_limit == "flag":
        assert found.error != "RollbackLimit"
    if found.error != "RollbackLimit" and not report.flagged:
        assert found.states == blocked(world).states


# Selective rollback (invariant 7)


@settings(max_examples=EXAMPLES // 2)
@given(worlds(kinds=("text", "text", "list", "total"), shapes=STATIC, choices=("accept", "correct", "update")))
def test_only_what_depends_on_a_correction_runs_again(world):
    """No node is executed twice in a row on the same values of what it reads; and the report counts what ran."""
    found, expected = guarded(world), blocked(world)
    assert found.end == expected.end
    by_node = defaultdict(list)
    for ran in found.ran:
        by_node[ran.node].append(ran)
    leaves = leaves_of(world.outline)
    touched = {leaves[asked.node].key for asked in found.asked if asked.verdict and not asked.verdict.accepted}
    touched |= {leaves[node].key for node, executions in by_node.items() if len(executions) > 1}
    for node, executions in by_node.items():
        for one, other in pairwise(executions):
            # What was still running is given up where a key that it reads may come to another value.
            reads = (
                set(State.__annotations__) if leaves[node].reads == "everything" else set(leaves[node].reads.split())
            )
            was_in_doubt = reads & touched and (one.end == "cancelled" or one.sync)
            assert one.read != other.read or was_in_doubt, f"{node} was executed twice on the same values"
    report = found.agent.report()
    assert report.node_executions == len(found.ran)
    assert report.wasted_executions == len(found.ran) - len(expected.ran)
    # What a verifier answers in the very instant in which its answer has become void is nobody's verdict.
    answered = sum(asked.end == "answered" for asked in found.asked)
    assert answered - len(report.rolled_back) <= len(report.verdicts) <= answered


def leaves_of(outline, prefix=""):
    """The leaves by full name; where a kind of leaf writes another key, with that."""
    found = {}
    for number, stage in enumerate(outline.stages):
        for leaf in stage.leaves:
            found[prefix + leaf.name] = replace(leaf, key="total") if leaf.kind == "total" else leaf
        if stage.inner is not None:
            found |= leaves_of(stage.inner, f"{prefix}sub{number}/")
    return found


def test_a_slow_branch_beside_a_rejected_node_goes_on():
    """It runs when the rejection comes, did not read what is corrected, and so is neither stopped nor begun again."""
    world = World(
        Outline(
            (
                Stage("single", (Leaf("n0"),)),
                Stage(
                    "parallel",
                    (Leaf("n1", key="b", reads="a", latency=1), Leaf("n2", key="c", reads="x", latency=30)),
                ),
                Stage("single", (Leaf("n3", key="a", reads="b c"),)),
            )
        ),
        (Placed("n0", Script(choices=("correct",), latencies=(5,))),),
    )
    found, expected = guarded(world), blocked(world)
    assert found.end == expected.end
    assert Counter(ran.node for ran in found.ran) == {"n0": 1, "n1": 2, "n2": 1, "n3": 1}
    [slow] = [ran for ran in found.ran if ran.node == "n2"]
    assert (slow.started, slow.ended, slow.end) == (1, 31, "returned")
    assert found.seconds == 32
