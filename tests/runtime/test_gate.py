"""The gate in front of a saver that can be watched: what it holds, what it stores, what a rollback leaves behind."""

import asyncio
import operator
from typing import Annotated, TypedDict
from uuid import UUID

import pytest
from gate_graphs import Slips, asking, chain, delta, fanned, nested
from gate_pilot import CONFIG, Flight, committed_line, everything, guarded, history, with_saver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_config
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from sherlock.errors import SpeculationError
from sherlock.runtime.gate import Gate
from sherlock.runtime.gate_marks import CLAIM, RESULT, VERIFIED, mark_id, marks

EMPTY = {"log": []}
RUNS = [
    pytest.param(chain, EMPTY, {"a": 1, "b": 1}, [(1, 1), (2, 2)], id="chain"),
    pytest.param(chain, EMPTY, {"a": 1, "b": 2, "c": 3, "d": 1}, [(3, 1), (3, 2), (4, 3)], id="chain, deep"),
    pytest.param(nested, EMPTY, {"x": 1, "b": 1}, [(2, 2), (3, 3)], id="subgraphs"),
    pytest.param(nested, EMPTY, {"a": 1, "x": 2}, [(4, 1)], id="subgraphs, deep"),
    pytest.param(fanned, EMPTY, {"work1": 1, "first2": 1}, [(2, 2)], id="Send"),
    pytest.param(delta, {"log": [], "other": []}, {"a0": 1, "b1": 1}, [(1, 1), (3, 3)], id="DeltaChannel"),
    pytest.param(delta, {"log": [], "other": []}, {"a0": 1, "b0": 1, "c0": 1}, [(6, 1)], id="DeltaChannel, deep"),
]


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize(("make", "value", "slips", "back"), RUNS)
def test_a_rollback_leaves_no_trace(make, value, slips, back, durability):
    async def main():
        plain, base = InMemorySaver(), InMemorySaver()
        expected = await with_saver(make(), plain).ainvoke(value, CONFIG)
        lag = max(ended - to for ended, to in back) + 1
        assert await guarded(make(Slips(**slips)), base, value, back=back, lag=lag, durability=durability) == expected
        assert await committed_line(base) == await committed_line(plain)
        ours, theirs = with_saver(make(), base), with_saver(make(), plain)
        assert history(ours.get_state_history(CONFIG)) == history(theirs.get_state_history(CONFIG))

    asyncio.run(main())


@pytest.mark.parametrize(("make", "value", "slips", "back"), RUNS)
def test_it_needs_no_saver(make, value, slips, back):
    async def main():
        lag = max(ended - to for ended, to in back) + 1
        expected = await make().ainvoke(value)
        assert await guarded(make(Slips(**slips)), None, value, back=back, lag=lag) == expected

    asyncio.run(main())


@pytest.mark.parametrize(("make", "value", "slips", "back"), RUNS[:5])
def test_exit_stores_what_langgraph_stores_at_exit(make, value, slips, back):
    async def main():
        plain, base = InMemorySaver(), InMemorySaver()
        lag = max(ended - to for ended, to in back) + 1
        for turn in (value, {"log": ["again"]}):  # the second turn has a parent
            expected = await with_saver(make(), plain).ainvoke(turn, CONFIG, durability="exit")
            graph, rolls = (make(Slips(**slips)), back) if turn is value else (make(), ())
            assert await guarded(graph, base, turn, back=rolls, lag=lag, durability="exit") == expected
        assert await committed_line(base) == await committed_line(plain)

    asyncio.run(main())


def test_exit_keeps_the_line_that_a_delta_channel_is_the_sum_of():
    async def main():
        base, value = InMemorySaver(), {"log": [], "other": []}
        graph = delta(Slips(a0=1), rounds=4)
        result = await guarded(graph, base, value, back=[(1, 1)], durability="exit")
        assert with_saver(graph, base).get_state(CONFIG).values == result == await delta(rounds=4).ainvoke(value)

    asyncio.run(main())


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("inside", [False, True], ids=["", "in a subgraph"])
def test_answers_outlive_a_rollback_and_go_to_one_question_each(inside, durability):
    """The step of the questions is done twice in each run, and each is asked once."""

    async def main():
        plain, base = InMemorySaver(), InMemorySaver()
        graph, slipping = asking(inside=inside), asking(Slips(ask=1, a=1), inside=inside)
        turns = [(EMPTY, [(1, 1)]), (Command(resume="one"), []), (Command(resume="two"), [(2, 2)])]
        for value, back in turns:
            expected = await with_saver(graph, plain).ainvoke(value, CONFIG, durability=durability)
            result = await guarded(slipping, base, value, back=back, durability=durability)
            assert _answers(result) == _answers(expected)
            assert await committed_line(base) == await committed_line(plain)
        ours, theirs = with_saver(graph, base), with_saver(graph, plain)
        assert history(ours.get_state_history(CONFIG)) == history(theirs.get_state_history(CONFIG))

    asyncio.run(main())


def _answers(result):
    return result["log"], [question.value for question in result.get("__interrupt__", ())]


def test_an_answer_taken_before_a_rollback_is_not_given_to_the_next_question():
    """The node takes the first answer and asks again; by then the step is rolled back, and begun anew."""

    async def main():
        class State(TypedDict):
            log: Annotated[list[str], operator.add]

        asked = asyncio.Event()

        async def question(state):
            first = interrupt("first?")
            asked.set()
            await asyncio.sleep(0)
            return {"log": [first, interrupt("second?")]}

        builder = StateGraph(State)
        builder.add_node("question", question)
        builder.add_edge(START, "question")
        graph, base = builder.compile(), InMemorySaver()
        await guarded(graph, base, EMPTY)

        async def nothing(step):
            pass

        gate = Gate(base, durability="sync", config=CONFIG, on_step=nothing)
        await gate.load()
        for value in (Command(resume="one"), None):
            view = gate.view()
            result = await with_saver(graph, view).ainvoke(value, CONFIG, durability="sync")
            assert [question.value for question in result["__interrupt__"]] == ["second?"]
            view.close()
            gate.rollback(1)
        await gate.finish()
        assert asked.is_set()

    asyncio.run(main())


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize(("make", "value", "slips", "back"), RUNS)
def test_the_saver_never_holds_what_is_not_committed(make, value, slips, back, durability):
    async def main():
        base = InMemorySaver()
        lag = max(ended - to for ended, to in back) + 1

        async def watch(gate, step):
            for saved in await everything(base):
                if not saved.config["configurable"]["checkpoint_ns"]:
                    assert saved.metadata["step"] <= gate.committed
                written = [write for write in saved.pending_writes if write[1] == "log"]
                assert not written or saved.metadata["step"] < gate.committed or saved.metadata["parents"]
            assert "!" not in repr(await everything(base))

        await guarded(make(Slips(**slips)), base, value, back=back, lag=lag, durability=durability, watch=watch)

    asyncio.run(main())


def test_a_subgraph_that_remembers_forgets_what_was_rolled_back():
    async def main():
        plain, base = InMemorySaver(), InMemorySaver()
        for turn in (1, 2):
            value = {"log": [str(turn)]}
            expected = await with_saver(nested(remembers=True), plain).ainvoke(value, CONFIG)
            sub = 2 + 7 * (turn - 1)
            graph = nested(Slips(x=1, b=1), remembers=True)
            assert await guarded(graph, base, value, back=[(sub, sub), (sub + 2, sub + 1)]) == expected
        assert await committed_line(base) == await committed_line(plain)

    asyncio.run(main())


def test_nothing_gets_through_a_closed_view():
    async def main():
        base, seen = InMemorySaver(), []

        async def on_step(step):
            seen.append(step)

        gate = Gate(base, durability="sync", config=CONFIG, on_step=on_step)
        await gate.load()
        dead = gate.view()
        await with_saver(chain(), dead).ainvoke(EMPTY, CONFIG, durability="sync")
        steps = list(seen)
        gate.rollback(2)
        dead.close()
        await with_saver(chain(Slips(b=1)), dead).ainvoke(None, CONFIG, durability="sync")
        dead.put_writes(CONFIG | {"configurable": {**CONFIG["configurable"], "checkpoint_id": "x"}}, [("log", 1)], "t")
        assert seen == steps
        assert (await dead.aget_tuple(CONFIG)).metadata["step"] == 1
        await gate.finish()
        assert max(saved.metadata["step"] for saved in await everything(base)) == 1

    asyncio.run(main())


def test_what_is_committed_is_not_rolled_back():
    async def main():
        async def on_step(step):
            await gate.commit(step)

        gate = Gate(InMemorySaver(), durability="sync", config=CONFIG, on_step=on_step)
        assert gate.committed == -2
        await gate.load()
        await with_saver(chain(names="ab"), gate.view()).ainvoke(EMPTY, CONFIG, durability="sync")
        assert gate.committed == 2
        with pytest.raises(SpeculationError, match="superstep 2: superstep 2 is committed; roll back to 3 or later"):
            gate.rollback(2)

    asyncio.run(main())


# Beginning elsewhere than at the end of the thread


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
    from gate_graphs import Delta

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
    from gate_graphs import State, says

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


# Memory


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("has_base", [False, True])
def test_memory_is_that_of_the_window(has_base, durability):
    """Fifty rounds, each with a subgraph of two steps."""

    async def main():
        class Count(TypedDict):
            count: int

        def loop(names, **edges):
            builder = StateGraph(Count)
            for name, node in names.items():
                builder.add_node(name, node)
            for before, after in zip([START, *names], [*names, END], strict=True):
                if after != END or "again" not in edges:
                    builder.add_edge(before, after)
            if "again" in edges:
                builder.add_conditional_edges(*edges["again"])
            return builder

        inner = loop({"x": lambda state: {}, "y": lambda state: {}}).compile()
        again = ("sub", lambda state: "count" if state["count"] < 50 else END, ["count", END])
        graph = loop({"count": lambda state: {"count": state["count"] + 1}, "sub": inner}, again=again).compile()
        sizes = []

        async def watch(gate, step):
            memory = gate.memory
            held = sum(map(len, memory._records.values())) + sum(map(len, memory._writes.values()))
            sizes.append(held + len(memory._line) + len(gate._due))

        base = InMemorySaver() if has_base else None
        flight = Flight(
            graph, base, durability=durability, watch=watch, lag=2, config=CONFIG | {"recursion_limit": 200}
        )
        assert await flight.run({"count": 0}) == {"count": 50}
        assert len(sizes) == 102
        assert max(sizes[50:]) == max(sizes[10:50]) < 50

    asyncio.run(main())
