"""The gate on threads with a past: other starting points, output stored before this run, marks and claims."""

import asyncio
import operator
from typing import Annotated, TypedDict
from uuid import UUID

import pytest
from gate_graphs import Delta, Slips, State, asking, chain, says
from gate_pilot import CONFIG, Flight, committed_line, everything, guarded, history, with_saver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from sherlock.errors import SpeculationError
from sherlock.runtime.gate import Gate
from sherlock.runtime.gate_marks import CLAIM, RESULT, VERIFIED, mark_id, marks

EMPTY = {"log": []}


@pytest.mark.parametrize("back", [[], [(3, 3)], [(4, 3)]])
def test_time_travel_forks_once_and_rolls_back_to_the_fork(back):
    async def main():
        plain, base = InMemorySaver(), InMemorySaver()
        for saver in (plain, base):
            await with_saver(chain(), saver).ainvoke(EMPTY, CONFIG)
        expected = await with_saver(chain(), plain).ainvoke(None, _at_step(plain, 1))
        run = guarded(chain(Slips(b=1) if back else Slips()), base, None, back=back, lag=3, config=_at_step(base, 1))
        assert await run == expected
        assert await committed_line(base) == await committed_line(plain)

    asyncio.run(main())


def _at_step(saver, step):
    return next(saved.config for saved in saver.list(CONFIG) if saved.metadata["step"] == step)


def test_an_answer_to_an_older_checkpoint_runs_its_tasks_anew_in_every_attempt():
    async def main():
        calls = []
        graph = asking(_Counting(calls))
        base = InMemorySaver()
        for value in (EMPTY, Command(resume="one"), Command(resume="two")):
            await with_saver(graph, base).ainvoke(value, CONFIG)
        config = _at_step(base, 1)
        for back in ([], [(2, 2)]):
            calls.clear()
            plain_result = await guarded(graph, base, Command(resume="other"), config=config, back=back, lag=2)
            assert calls.count("p") == 1 + len(back)
            assert "__interrupt__" in plain_result or plain_result["log"][-1] == "b"

    asyncio.run(main())


class _Counting(Slips):
    def __init__(self, calls):
        super().__init__()
        self.calls = calls

    def __call__(self, name):
        self.calls.append(name)
        return name


# What was pending before this run


class Two(TypedDict):
    log: Annotated[list[str], operator.add]


def _half_done(calls, state=Two):
    """`a` and `b` side by side, then `c`; `b` fails the first time."""

    def node(name):
        async def run(state):
            calls.append((name, get_config()["configurable"]["__pregel_task_id"]))
            if name == "b" and sum(called == "b" for called, _ in calls) == 1:
                raise ConnectionError
            return {"log": [f"{name}{sum(called == name for called, _ in calls)}"]}

        return run

    builder = StateGraph(state)
    for name in "abc":
        builder.add_node(name, node(name))
    builder.add_edge(START, "a")
    builder.add_edge(START, "b")
    builder.add_edge(["a", "b"], "c")
    return builder.compile()


@pytest.mark.parametrize("back", [[], [(1, 1)], [(2, 1)]])
@pytest.mark.parametrize("distrusted", [False, True])
@pytest.mark.parametrize("is_delta", [False, True], ids=["", "DeltaChannel"])
def test_stored_output_is_taken_unless_it_is_distrusted(is_delta, distrusted, back):
    async def main():
        calls, base = [], InMemorySaver()
        graph = _half_done(calls, Delta if is_delta else Two)
        with pytest.raises(ConnectionError):
            await with_saver(graph, base).ainvoke({"log": ["start"]}, CONFIG)
        (task,) = (task for name, task in calls if name == "a")

        class Distrusting(Flight):
            async def _prepare(self, saved):
                assert any(write[0] == task for write in saved.pending_writes)
                self.gate.distrust([task] if distrusted else [])

        result = await Distrusting(graph, base, back=back, lag=2).run(None)
        runs = 1 + distrusted * (1 + len(back))
        assert sum(name == "a" for name, _ in calls) == runs
        assert result["log"][1:3] == [f"a{runs}", f"b{2 + len(back)}"]
        assert with_saver(graph, base).get_state(CONFIG).values["log"] == result["log"]

    asyncio.run(main())


def test_a_saver_keeps_a_tasks_first_output_so_a_distrusted_task_is_never_marked():
    """Stopped by a question, the run leaves what it found; the next run must not take that for verified."""

    async def main():
        class State(TypedDict):
            log: Annotated[list[str], operator.add]

        tasks, fails, base = [], [True], InMemorySaver()

        async def placed(state):
            tasks.append(get_config()["configurable"]["__pregel_task_id"])
            return {"log": [f"placed{len(tasks)}"]}

        async def question(state):
            if fails.pop() if fails else False:
                raise ConnectionError
            return {"log": [interrupt("?")]}

        builder = StateGraph(State)
        builder.add_node("placed", placed)
        builder.add_node("question", question)
        builder.add_edge(START, "placed")
        builder.add_edge(START, "question")
        graph = builder.compile()
        with pytest.raises(ConnectionError):
            await with_saver(graph, base).ainvoke(EMPTY, CONFIG)

        class Distrusting(Flight):
            async def _prepare(self, saved):
                unmarked = mark_id(tasks[0], VERIFIED) not in marks(saved)
                self.gate.distrust(tasks[:1] if unmarked else [])
                self.gate.verified_tasks.add(tasks[0])

        assert "__interrupt__" in await Distrusting(graph, base).run(None)
        assert len(tasks) == 2
        result = await Distrusting(graph, base).run(Command(resume="yes"))
        assert len(tasks) == 3
        assert result["log"] == ["placed3", "yes"]

    asyncio.run(main())


# Marks


def test_verified_output_that_stays_pending_is_marked():
    async def main():
        plain, base = InMemorySaver(), InMemorySaver()
        flight = Flight(asking(_Verifying()), base)
        _Verifying.gate = flight.gate
        await flight.run(EMPTY)
        saved = base.get_tuple(CONFIG)
        task = next(write[0] for write in saved.pending_writes if write[1] == "log")
        assert marks(saved) == {mark_id(task, VERIFIED): True}
        assert UUID(mark_id(task, VERIFIED)) != UUID(task)
        before = [saved for saved in await everything(base) if saved.metadata["step"] < 1]
        assert not any(marks(each) for each in before)  # their successors were stored with them

        # LangGraph does not mind, and neither does the state that it shows.
        await with_saver(asking(), plain).ainvoke(EMPTY, CONFIG)
        ours, theirs = with_saver(asking(), base), with_saver(asking(), plain)
        assert history(ours.get_state_history(CONFIG)) == history(theirs.get_state_history(CONFIG))
        for answer in "12":
            result = await ours.ainvoke(Command(resume=answer), CONFIG)
        assert result["log"] == ["a", "p", "ask", "1", "2", "b"]

    asyncio.run(main())


class _Verifying(Slips):
    gate: Gate

    def __call__(self, name):
        self.gate.verified_tasks.add(get_config()["configurable"]["__pregel_task_id"])
        return name


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("inside", [False, True], ids=["", "in a subgraph"])
def test_a_claim_stands_on_stored_ancestors(inside, durability):
    """The claim and all that leads to it are stored while the node runs; what stands beside it is not."""

    async def main():
        base, claimed = InMemorySaver(), []

        class Claiming(Slips):
            gate: Gate

            async def claim(self):
                configurable = get_config()["configurable"]
                task, chain_of = configurable["__pregel_task_id"], configurable["checkpoint_map"]
                inner = [ns for ns in chain_of if ns]
                ns = inner[-1] if inside else ""
                place = {"thread_id": "1", "checkpoint_ns": ns, "checkpoint_id": chain_of[ns]}
                with pytest.raises(SpeculationError, match="call commit_path first"):
                    await self.gate.mark({"configurable": place}, task, CLAIM, 1)
                await self.gate.commit_path(2, inner)
                await self.gate.mark({"configurable": place}, task, CLAIM, {"key": "k"})
                saved = base.get_tuple({"configurable": place})
                assert marks(saved) == {mark_id(task, CLAIM): {"key": "k"}}
                await self.gate.mark({"configurable": place}, task, RESULT, "paid")
                assert self.gate.committed == 1
                assert "beside" not in repr(await everything(base))
                claimed.append(task)

        claiming = Claiming()

        async def effect(state):
            await asyncio.sleep(0.01)
            await claiming.claim()
            return {"log": ["effect"]}

        graph = _with_effect(effect, inside=inside)
        flight = Flight(graph, base, lag=9, durability=durability)
        claiming.gate = flight.gate
        result = await flight.run(EMPTY)
        assert len(claimed) == 1
        assert sorted(result["log"]) == sorted((await graph_result(inside))["log"])
        assert with_saver(graph, base).get_state(CONFIG).values == result
        line = await everything(base)
        assert sum(bool(marks(saved)) for saved in line) == 1

    asyncio.run(main())


async def graph_result(inside):
    async def effect(state):
        return {"log": ["effect"]}

    return await _with_effect(effect, inside=inside).ainvoke(EMPTY)


def _with_effect(effect, *, inside):
    """a, then an effect (in a subgraph, after x, if `inside`) beside a subgraph of another, then b."""
    builder = StateGraph(State)
    builder.add_node("a", says("a"))
    builder.add_node("b", says("b"))
    builder.add_node("other", chain(names=["beside", "beside2"]))
    if inside:
        inner = StateGraph(State)
        inner.add_node("x", says("x"))
        inner.add_node("effect", effect)
        inner.add_node("sibling", says("beside3"))
        inner.add_edge(START, "x")
        inner.add_edge("x", "effect")
        inner.add_edge("x", "sibling")
        builder.add_node("effects", inner.compile())
    else:
        builder.add_node("effects", effect)
    builder.add_edge(START, "a")
    builder.add_edge("a", "other")
    builder.add_edge("a", "effects")
    builder.add_edge(["other", "effects"], "b")
    builder.add_edge("b", END)
    return builder.compile()
