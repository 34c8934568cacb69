"""The gate in front of every saver: the same history as without it, and a thread that goes on after a crash."""

import asyncio

import pytest
from gate_graphs import Delta, Slips, State, asking, chain, delta, fanned, nested, says
from gate_pilot import CONFIG, Flight, committed_line, guarded, history, with_saver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.errors import GraphRecursionError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command

from sherlock.runtime.gate_marks import CLAIM, VERIFIED, mark_id, marks

pytest_plugins = ("savers",)

EMPTY = {"log": []}


def in_thread(slips=Slips()):  # noqa: B008  (never changed)
    """A node that is not asynchronous and runs a subgraph by itself, before and after others."""

    def said(name):
        return lambda state: {"log": [slips(name)]}

    inner = StateGraph(State)
    inner.add_node("x", said("x"))
    inner.add_node("y", said("y"))
    inner.add_edge(START, "x")
    inner.add_edge("x", "y")
    inner = inner.compile()

    def runs(state):
        return {"log": inner.invoke({"log": ["in"]})["log"]}

    builder = StateGraph(State)
    for name, node in {"a": says("a", slips), "runs": runs, "b": says("b", slips)}.items():
        builder.add_node(name, node)
    builder.add_edge(START, "a")
    builder.add_edge("a", "runs")
    builder.add_edge("runs", "b")
    return builder.compile()


GRAPHS = [
    pytest.param(chain, EMPTY, {"a": 1, "b": 1}, [(1, 1), (2, 2)], id="chain"),
    pytest.param(nested, EMPTY, {"x": 1, "b": 1}, [(2, 2), (3, 3)], id="subgraphs"),
    pytest.param(fanned, EMPTY, {"work1": 1, "first2": 1}, [(2, 2)], id="Send"),
    pytest.param(delta, {"log": [], "other": []}, {"a0": 1, "b1": 1}, [(1, 1), (3, 3)], id="DeltaChannel"),
    pytest.param(in_thread, EMPTY, {"x": 1, "b": 1}, [(3, 2)], id="subgraph in a thread"),
]


async def states(graph, saver):
    """The thread's history, read as a user reads it."""
    twin = with_saver(graph, saver)
    try:
        return history([state async for state in twin.aget_state_history(CONFIG)])
    except NotImplementedError:
        return history(twin.get_state_history(CONFIG))


@pytest.mark.parametrize(("make", "value", "slips", "back"), GRAPHS)
def test_the_history_is_that_of_an_unguarded_run(store, make, value, slips, back):
    async def main():
        plain = InMemorySaver()
        expected = await with_saver(make(), plain).ainvoke(value, CONFIG)
        async with store.open() as saver:
            durability = "async" if make in {nested, fanned} else "sync"
            run = guarded(make(Slips(**slips)), saver, value, back=back, lag=2, durability=durability)
            assert await run == expected
        async with store.open() as saver:  # what another process finds
            assert await states(make(), saver) == await states(make(), plain)
            line = await committed_line(saver)
            assert _comparable(line) == _comparable(await committed_line(plain))

    asyncio.run(main())


def _comparable(line):
    """Savers differ in whether they give back a channel that is stored as empty."""
    return [{**each, "values": {c: v for c, v in each["values"].items() if v is not None}} for each in line]


@pytest.mark.parametrize(("inside", "durability"), [(False, "sync"), (True, "async"), (True, "exit")])
def test_questions_and_answers_over_three_processes(store, inside, durability):
    async def main():
        plain = InMemorySaver()
        turns = [(EMPTY, [(1, 1)]), (Command(resume="one"), []), (Command(resume="two"), [(2, 2)])]
        for value, back in turns:
            graph = asking(inside=inside)
            expected = await with_saver(graph, plain).ainvoke(value, CONFIG, durability=durability)
            async with store.open() as saver:
                slips = Slips(a=1) if value is EMPTY else Slips(ask=1)
                result = await guarded(asking(slips, inside=inside), saver, value, back=back, durability=durability)
                assert result["log"] == expected["log"]
                assert await states(graph, saver) == await states(graph, plain)
        assert result["log"][-4:] == ["ask", "one", "two", "b"]

    asyncio.run(main())


@pytest.mark.parametrize("cut", [0, 2])
@pytest.mark.parametrize(("make", "value", "slips", "back"), GRAPHS)
def test_a_run_that_is_cut_off_goes_on_from_what_is_committed(durable, make, value, slips, back, cut):
    """With the wrong results of two supersteps in memory; a new gate on the thread takes the run to the same end."""

    class CutOff(Exception):
        pass

    async def watch(gate, step):
        if step == cut:
            raise CutOff

    async def main():
        expected = await make().ainvoke(value)
        async with durable.open() as saver:
            flight = Killed(make(Slips(**slips)), saver, lag=2, durability="async", watch=watch)
            with pytest.raises(CutOff):
                await flight.run(value)
            await flight.gate.settle()
        async with durable.open() as saver:
            flight = Flight(make(), saver)
            saved = await flight.gate.load()
            assert (saved.metadata["step"] if saved else None) == (-1 if cut else None)
            assert await flight.run(None if saved else value) == expected

    asyncio.run(main())


class Killed(Flight):
    """Ends without a word to its gate."""

    async def _landed(self, attempt):
        return attempt.result()


@pytest.mark.parametrize("is_delta", [False, True], ids=["", "DeltaChannel"])
def test_marks_and_distrust(store, is_delta):
    """A node beside one that fails: its stored output is taken if it is marked, and done again if it is not."""

    async def main():
        calls, flights = [], []

        def node(name):
            async def run(state):
                task = get_config()["configurable"]["__pregel_task_id"]
                calls.append((name, task))
                count = sum(called == name for called, _ in calls)
                if name == "good":
                    flights[-1].gate.verified_tasks.add(task)
                elif count == 1:
                    await asyncio.sleep(0.01)  # until the other has ended
                    raise ConnectionError
                return {"log": [f"{name}{count}"]}

            return run

        builder = StateGraph(Delta if is_delta else State)
        for name in ("good", "shaky"):
            builder.add_node(name, node(name))
            builder.add_edge(START, name)
        graph = builder.compile()

        class Distrusting(Flight):
            async def _prepare(self, saved):
                tasks = {task for name, task in calls if name == "good"}
                self.gate.distrust([task for task in tasks if mark_id(task, VERIFIED) not in marks(saved)])

        for thread, verifies in (("trusted", True), ("not", False)):
            calls.clear()
            config = {"configurable": {"thread_id": thread}}
            async with store.open() as saver:
                flights.append((Flight if verifies else Unmarking)(graph, saver, config=config))
                with pytest.raises(ConnectionError):
                    await flights[-1].run({"log": ["start"]})
            async with store.open() as saver:
                flights.append(Distrusting(graph, saver, config=config))
                result = await flights[-1].run(None)
                assert result["log"] == ["start", f"good{1 if verifies else 2}", "shaky2"]
            async with store.open() as saver:
                assert (await _values(graph, saver, config))["log"] == result["log"]

    asyncio.run(main())


async def _values(graph, saver, config):
    twin = with_saver(graph, saver)
    try:
        return (await twin.aget_state(config)).values
    except NotImplementedError:
        return twin.get_state(config).values


class Unmarking(Flight):
    """Stores its output as a run without the guard does."""

    async def _landed(self, attempt):
        self.gate.verified_tasks.clear()
        return await super()._landed(attempt)


def test_a_claim_is_there_for_the_next_process(durable):
    """Cut off right after the claim."""

    async def main():
        async with durable.open() as saver:
            flights, claimed = [], []

            async def effect(state):
                configurable = get_config()["configurable"]
                task, checkpoint = configurable["__pregel_task_id"], configurable["checkpoint_map"][""]
                place = {"configurable": {"thread_id": "1", "checkpoint_ns": "", "checkpoint_id": checkpoint}}
                await flights[0].gate.commit_path(2, [])
                await flights[0].gate.mark(place, task, CLAIM, {"key": "k"})
                claimed.append(task)
                raise GraphRecursionError

            builder = StateGraph(State)
            builder.add_node("a", says("a"))
            builder.add_node("effect", effect)
            builder.add_edge(START, "a")
            builder.add_edge("a", "effect")
            builder.add_edge("effect", END)
            flights.append(Killed(builder.compile(), saver, lag=9, durability="exit"))
            with pytest.raises(GraphRecursionError):
                await flights[0].run(EMPTY)
        async with durable.open() as saver:
            found = await Flight(builder.compile(), saver).gate.load()
            assert found.metadata["step"] == 1
            assert marks(found) == {mark_id(claimed[0], CLAIM): {"key": "k"}}
            assert found.checkpoint["channel_values"]["log"] == ["a"]

    asyncio.run(main())
