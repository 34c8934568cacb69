"""The gate in front of a saver that can be watched: what it holds, what it stores, what a rollback leaves behind."""

import asyncio
import operator
from typing import Annotated, TypedDict

import pytest
from gate_graphs import Slips, State, asking, chain, delta, fanned, nested
from gate_pilot import CONFIG, committed_line, everything, guarded, history, with_saver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, interrupt

from sherlock.errors import SpeculationError
from sherlock.runtime import gate_memory
from sherlock.runtime.gate import Gate


@pytest.fixture(autouse=True)
def no_slack(monkeypatch):
    """Let go of everything as soon as it may go."""
    monkeypatch.setattr(gate_memory, "SLACK", 0)


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


def test_answers_by_name_outlive_a_rollback():
    """LangGraph keeps them nowhere but with the tasks that have taken them."""

    async def main():
        base, calls = InMemorySaver(), []

        def asks(name):
            async def run(state):
                answer = interrupt(name)
                calls.append(name)
                return {"log": [answer]}

            return run

        builder = StateGraph(State)
        for name in ("one", "two"):
            builder.add_node(name, asks(name))
            builder.add_edge(START, name)
        graph = builder.compile()
        result = await guarded(graph, base, EMPTY)
        answers = {question.id: f"for {question.value}" for question in result["__interrupt__"]}
        result = await guarded(graph, base, Command(resume=answers), back=[(1, 1)])
        assert result["log"] == ["for one", "for two"]
        assert sorted(calls) == ["one", "one", "two", "two"]

    asyncio.run(main())


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
        head = await dead.aget_tuple(CONFIG)
        dead.put_writes(head.config, [("log", ["late"])], "a task")
        await dead.aput_writes(head.config, [("log", ["later"])], "another")
        assert await dead.aget_tuple(CONFIG) == head
        assert seen == steps
        assert head.metadata["step"] == 1
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
