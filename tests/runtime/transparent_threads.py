"""More scenarios that must go the same way when the graph is guarded: interrupts, threads, and states by hand."""

import asyncio
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from plain_records import plain, result, taken
from transparent_scenarios import THREAD, State, diamond, nested, scenario

# Interrupts


def asking(*questions: str) -> Any:
    async def ask(state: State) -> dict[str, Any]:
        await asyncio.sleep(1.5)
        return {"log": [interrupt(question) for question in questions]}

    return ask


async def answered(agent: Any, given: Any, answers: int = 9) -> list[Any]:
    """Stream until nothing is asked any more, answering each question with its own text."""
    found = []
    for _ in range(answers):
        found.append(await taken(agent.astream(given, THREAD, stream_mode=["updates", "values"], subgraphs=True)))
        state = await agent.aget_state(THREAD)
        found.append(plain([state.values, state.next, [(task.name, task.interrupts) for task in state.tasks]]))
        if not state.interrupts:
            break
        given = Command(resume={each.id: f"re {each.value}" for each in state.interrupts})
    return found


@scenario
async def questions(make):
    graphs = {
        "one": diamond(b=asking("one")),
        "two in a row": diamond(a=asking("one", "two")),
        "two at once": diamond(b=asking("left"), c=asking("right")),
        "deep": nested(c=asking("deep"), d=asking("deeper")),
    }
    return {
        name: await answered(make(graph.compile(checkpointer=InMemorySaver())), {"x": 1})
        for name, graph in graphs.items()
    }


@scenario
async def a_plain_answer(make):
    agent = make(diamond(b=asking("one")).compile(checkpointer=InMemorySaver()))
    return [
        await result(agent.ainvoke({"x": 1}, THREAD)),
        await result(agent.ainvoke(Command(resume="yes", update={"x": 9}), THREAD)),
        await result(make(diamond(b=asking("one")).compile()).ainvoke({"x": 1})),
    ]


@scenario
async def breakpoints(make):
    compiled = make(diamond().compile(checkpointer=InMemorySaver(), interrupt_before=["b"], interrupt_after=["d"]))
    given = make(diamond().compile(checkpointer=InMemorySaver()))
    found = []
    for agent, options in ((compiled, {}), (given, {"interrupt_before": ["d"], "interrupt_after": ["a"]})):
        for start in ({"x": 1}, None, None, None):
            found.append(await taken(agent.astream(start, THREAD, stream_mode=["updates", "values"], **options)))
            found.append(plain((await agent.aget_state(THREAD)).next))
    return found


# Threads


async def history(agent: Any) -> Any:
    return plain([snapshot async for snapshot in agent.aget_state_history(THREAD)])


@scenario
async def threads_and_their_history(make):
    agent = make(nested().compile(checkpointer=InMemorySaver()))
    first = await result(agent.ainvoke({"x": 1}, THREAD))
    second = await result(agent.ainvoke({"x": 2}, THREAD))
    return [first, second, await history(agent), await result(agent.ainvoke(None, THREAD))]


@scenario
async def durabilities(make):
    found = {}
    for durability in ("sync", "async", "exit"):
        agent = make(diamond().compile(checkpointer=InMemorySaver()))
        found[durability] = [
            await result(agent.ainvoke({"x": 1}, THREAD, durability=durability)),
            await history(agent),
        ]
    return found


@scenario
async def changed_and_forked_threads(make):
    agent = make(diamond().compile(checkpointer=InMemorySaver(), interrupt_before=["d"]))
    await agent.ainvoke({"x": 1}, THREAD)
    before = await agent.aget_state(THREAD)
    await agent.aupdate_state(THREAD, {"log": ["by hand"]}, as_node="c")
    end = await result(agent.ainvoke(None, THREAD))
    fork = await taken(agent.astream(None, before.config, stream_mode=["updates", "values"]))
    return [plain(before), end, fork, await history(agent)]


@scenario
async def states_of_subgraphs(make):
    agent = make(nested(c=asking("deep")).compile(checkpointer=InMemorySaver()))
    await agent.ainvoke({"x": 1}, THREAD)
    state = await agent.aget_state(THREAD, subgraphs=True)
    inner = state.tasks[0].state
    await agent.aupdate_state(inner.tasks[0].state.config, {"log": ["by hand"]})
    after = await result(agent.ainvoke(Command(resume="yes"), THREAD))
    names = [name async for name, _ in agent.aget_subgraphs(recurse=True)]
    return [plain([state.values, state.next, inner.values, inner.next, inner.tasks[0].state.values]), after, names]
