"""Guarded runs end as blocking ones do, and leave their history, on every saver; here on the real clock."""

import asyncio
import os
import uuid

import pytest
from blocking_oracle import BlockingGraph
from guarded_graphs import KINDS, worlds
from guarded_runs import FREELY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from sayings import SAYINGS, canonical
from scripted_verifier import plan_of

import sherlock

pytest_plugins = ("savers",)

EXAMPLES = 200 if os.environ.get("SHERLOCK_SOAK") else 8
SECOND = 0.001
"""How long a second of the worlds takes here."""
SAFE = [kind for kind in KINDS if kind != "crash"]

scarcely = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda seconds, *rest: sleep(seconds * SECOND, *rest))


async def two_turns(agent, world, durability):
    """Two turns on a thread, with every interrupt answered; the states, and the thread's history."""
    config = {"configurable": {"thread_id": str(uuid.uuid4())}}
    states = []
    for value in (world.inputs, {"x": SAYINGS[4]}):
        state = await agent.ainvoke(dict(value), config, durability=durability)
        while asked := state.pop("__interrupt__", None):
            states.append(canonical([sorted(each.value for each in asked), state]))
            answers = {each.id: str(each.value).upper() for each in asked}
            state = await agent.ainvoke(Command(resume=answers), config, durability=durability)
        states.append(canonical(state))
    steps = [
        (each.metadata["step"], canonical(each.values), sorted(each.next)) for each in await history(agent, config)
    ]
    return states, steps


async def history(agent, config):
    try:
        return [each async for each in agent.aget_state_history(config)]
    except NotImplementedError:  # a saver that is only synchronous
        return await asyncio.to_thread(lambda: list(agent.get_state_history(config)))


def ended(run):
    """How it ended, whichever error it was."""
    try:
        return asyncio.run(run)
    except Exception as error:
        return type(error).__name__


@scarcely
@given(worlds(kinds=[*SAFE, "asks"], most=2), st.sampled_from(["sync", "async", "exit"]))
def test_the_same_states_and_history(store, world, durability):
    async def guarded():
        graph, _ = world.build()
        placements, _ = world.attached()
        agent = sherlock.guard(graph, plan_of(placements, FREELY))
        async with store.open() as agent.checkpointer:
            return await two_turns(agent, world, durability)

    async def blocked():
        graph, _ = world.build(checkpointer=InMemorySaver())
        placements, _ = world.attached()
        return await two_turns(BlockingGraph(graph, placements), world, durability)

    assert ended(guarded()) == ended(blocked())
