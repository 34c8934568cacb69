"""Runs a world under the guard, or under blocking verification, on a virtual clock, and tells what came of it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import virtual_clock
from blocking_oracle import BlockingGraph
from guarded_graphs import Ran, World
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from sayings import canonical
from scripted_verifier import Asked, plan_of

import sherlock

THREAD = {"configurable": {"thread_id": "1"}}
FREELY = {"mode": "speculate", "max_depth": 100, "max_rollbacks": 60}
"""A policy that never holds a run back."""


@dataclass
class Outcome:
    """How a run ended: with states (one for each turn) or with an error (its type's name), and when.

    `history`: (step, state, next nodes) of the thread's checkpoints, first to last. `alive`: the tasks that were there
    after the run, besides the test's own.
    """

    states: list[str] = field(default_factory=list)
    error: str | None = None
    history: list[Any] = field(default_factory=list)
    seconds: float = 0
    alive: list[str] = field(default_factory=list)
    ran: list[Ran] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    agent: Any = None

    @property
    def end(self) -> Any:
        """What must not depend on how the run was verified."""
        return self.states, self.error, self.history

    @property
    def verifying(self) -> list[Asked]:
        """Verifications that have not ended."""
        return [asked for asked in self.asked if asked.end == "running"]

    @property
    def running(self) -> list[Ran]:
        """Node executions that have not ended; those in threads, which cannot be stopped, are left out."""
        return [ran for ran in self.ran if ran.end == "running" and not ran.sync]


Drive = Callable[[Any, Outcome], Coroutine[Any, Any, None]]


def guarded(world: World, policy: Any = None, drive: Drive | None = None, **compiling: Any) -> Outcome:
    """Run a world under `sherlock.guard`; `drive(agent, outcome)` says how (default: one `ainvoke`)."""
    graph, ran = world.build(**compiling)
    placements, asked = world.attached()
    agent = sherlock.guard(graph, plan_of(placements, policy or FREELY))
    return _driven(world, agent, drive, Outcome(ran=ran, asked=asked, agent=agent))


def blocked(world: World, drive: Drive | None = None, *, open: bool = False, **compiling: Any) -> Outcome:  # noqa: A002
    """Run a world under blocking verification. `open`: a verifier that fails leaves the output as it is."""
    graph, ran = world.build(**compiling)
    placements, asked = world.attached()
    agent = BlockingGraph(graph, placements, open=open)
    return _driven(world, agent, drive, Outcome(ran=ran, asked=asked, agent=agent))


def unverified(world: World, drive: Drive | None = None, **compiling: Any) -> Outcome:
    """Run a world on plain LangGraph."""
    graph, ran = world.build(**compiling)
    return _driven(world, graph, drive, Outcome(ran=ran, agent=graph))


def _driven(world: World, agent: Any, drive: Drive | None, outcome: Outcome) -> Outcome:
    async def main() -> None:
        try:
            await (drive or one_turn(world))(agent, outcome)
        except Exception as error:
            outcome.error = type(error).__name__
            # Where a node raised in a subgraph, LangGraph cancels what ran beside it and does not wait for the end of
            # that, which takes a few turns of the loop, and no time.
            for _ in range(20):
                await asyncio.sleep(0)
        outcome.seconds = asyncio.get_running_loop().time()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        outcome.alive = [repr(task) for task in others if not task.done()]
        if agent.checkpointer is not None:
            history = [snapshot async for snapshot in agent.aget_state_history(THREAD)]
            outcome.history = [
                (snapshot.metadata["step"], canonical(snapshot.values), sorted(snapshot.next))
                for snapshot in reversed(history)
            ]

    virtual_clock.run(main())
    return outcome


def one_turn(world: World, **options: Any) -> Drive:
    """One `ainvoke` on the world's inputs."""
    return turns([world.inputs], **options)


def turns(inputs: list[Any], **options: Any) -> Drive:
    """One `ainvoke` after the other, on one thread if there is a checkpointer; interrupts are answered.

    The answer to an interrupt is its value in capitals, so that it does not depend on the order of the questions.
    """

    async def drive(agent: Any, outcome: Outcome) -> None:
        for value in inputs:
            state = await agent.ainvoke(dict(value), THREAD, **options)
            while asked := state.pop("__interrupt__", None):
                outcome.states.append(canonical([sorted(each.value for each in asked), state]))
                answers = {each.id: str(each.value).upper() for each in asked}
                state = await agent.ainvoke(Command(resume=answers), THREAD, **options)
            outcome.states.append(canonical(state))

    return drive


def saver() -> InMemorySaver:
    return InMemorySaver()
