"""Compensable effects of a guarded run: taken back, last first, when they turn out not to belong to it."""

import asyncio
import threading
from typing import TypedDict

import pytest
from effect_graphs import CONFIG, Judge, State, World, placed
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

import sherlock
from sherlock.errors import NotRevertible


def chain(world: World, log: list, *, undo=None, last=None) -> StateGraph:
    """ask -> first -> second -> last: `first` and `second` are compensable, and read all that there is."""

    def effect(name):
        async def undone(inputs, output):
            log.append((f"undo {name}", inputs["order"], output["note"]))

        def act(state: State) -> State:
            log.append((name, state["order"], sherlock.effect_key()))
            return {"note": f"{name} of {state['order']}"}

        return sherlock.effects("compensable", undo=(undo or {}).get(name, undone))(act)

    builder = StateGraph(State)
    builder.add_node("ask", lambda state: {"order": "milk"})
    builder.add_node("first", effect("first"))
    builder.add_node("second", effect("second"))
    builder.add_node("last", last or (lambda state: {"paid": ["all"]}))
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", "last")
    builder.add_edge("last", END)
    return builder


def test_a_rollback_undoes_last_first():
    log = []
    agent = sherlock.guard(chain(World(), log).compile(), placed(ask=Judge(lambda text: "bread", 0.1)))
    state = asyncio.run(agent.ainvoke({"order": "?"}))
    assert [entry[0] for entry in log] == ["first", "second", "undo second", "undo first", "first", "second"]
    assert [entry[1] for entry in log] == ["milk", "milk", "milk", "milk", "bread", "bread"]
    assert log[2][2] == "second of milk"
    assert state["note"] == "second of bread"
    assert len({entry[2] for entry in log}) == 6  # another effect, another key


def test_a_synchronous_undo_does_not_stop_the_loop():
    log, main = [], threading.get_ident()

    def undo(inputs, output):
        log.append(("undone in a thread", threading.get_ident() != main, ""))

    graph = chain(World(), log, undo={"second": undo}).compile()
    asyncio.run(sherlock.guard(graph, placed(ask=Judge(lambda text: "bread", 0.1))).ainvoke({"order": "?"}))
    assert ("undone in a thread", True, "") in log


@pytest.mark.parametrize("broken", ["first", "second"])
def test_an_undo_that_fails_ends_the_run_and_the_others_are_undone(broken):
    log = []

    def undo(inputs, output):
        log.append(("tried", "", ""))
        raise ConnectionError("no answer")

    graph = chain(World(), log, undo={broken: undo}).compile(checkpointer=InMemorySaver())
    agent = sherlock.guard(graph, placed(ask=Judge(lambda text: "bread", 0.1)))
    with pytest.raises(NotRevertible, match=f"node '{broken}' could not be undone.*ConnectionError: no answer"):
        asyncio.run(agent.ainvoke({"order": "?"}, CONFIG))
    other = {"first": "second", "second": "first"}[broken]
    assert [entry[0] for entry in log].count(f"undo {other}") == 1
    assert [entry[0] for entry in log].count("tried") == 1


def test_a_run_that_is_cancelled_undoes_before_it_is_gone():
    log = []
    reached = asyncio.Event()

    async def last(state: State) -> State:
        reached.set()
        await asyncio.sleep(60)
        return {}

    async def main():
        agent = sherlock.guard(chain(World(), log, last=last).compile(), placed(ask=Judge(seconds=60)))
        run = asyncio.create_task(agent.ainvoke({"order": "?"}))
        await reached.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert [entry[0] for entry in log] == ["first", "second", "undo second", "undo first"]

    asyncio.run(main())


def test_a_run_that_fails_undoes_what_was_not_committed():
    class Refuses(Judge):
        async def verify(self, subject):
            await asyncio.sleep(0.1)
            raise RuntimeError("cannot say")

    log = []
    agent = sherlock.guard(chain(World(), log).compile(), placed(ask=Refuses()))
    with pytest.raises(sherlock.VerifierError):
        asyncio.run(agent.ainvoke({"order": "?"}))
    assert [entry[0] for entry in log] == ["first", "second", "undo second", "undo first"]


def test_what_was_committed_stays():
    log = []

    def last(state: State) -> State:
        raise ValueError("a bug")

    agent = sherlock.guard(chain(World(), log, last=last).compile(), placed(ask=Judge()))
    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(agent.ainvoke({"order": "?"}))
    assert [entry[0] for entry in log] == ["first", "second"]


def test_in_a_subgraph_what_an_irreversible_effect_stands_on_stays():
    """`reserve` ran before `charge`, which is done for good; then its sibling is rejected."""
    log = []

    def undo(inputs, output):
        log.append("undo")

    def reserve(state: State) -> State:
        log.append("reserve")
        return {"order": state["order"]}

    def charge(state: State) -> State:
        log.append("charge")
        return {"note": "charged"}

    inner = StateGraph(State, output_schema=State)
    inner.add_node("reserve", sherlock.effects("compensable", undo=undo)(reserve))
    inner.add_node("charge", sherlock.effects("irreversible")(charge))
    inner.add_edge(START, "reserve")
    inner.add_edge("reserve", "charge")
    builder = StateGraph(State)
    builder.add_node("buy", inner.compile())
    builder.add_node("beside", lambda state: {"paid": ["left"]})
    builder.add_edge(START, "buy")
    builder.add_edge(START, "beside")
    agent = sherlock.guard(
        builder.compile(checkpointer=InMemorySaver()), placed(beside=Judge(lambda text: '["right"]', 0.3))
    )
    state = asyncio.run(agent.ainvoke({"order": "milk"}, CONFIG))
    assert state["paid"] == ["right"]
    assert log == ["reserve", "charge"]
    assert agent.report().rollbacks == 1


def test_what_is_cut_off_is_let_to_its_end_and_undone():
    """A rejection comes while a compensable node is at work: it has sent, and has not returned yet."""
    log = []

    async def undo(inputs, output):
        log.append(f"undo {output['sent']}")

    @sherlock.effects("compensable", undo=undo)
    async def send(state):
        log.append(f"send {state['text']}")
        await asyncio.sleep(0.1)
        return {"sent": state["text"]}

    class Late:
        name = "late"

        async def verify(self, subject):
            await asyncio.sleep(0.05)
            right = subject.text.startswith("right")
            return sherlock.Verdict(right, corrected=None if right else f"right {subject.text}")

    class Letter(TypedDict, total=False):
        text: str
        sent: str

    async def write(state):
        return {"text": "draft"}

    builder = StateGraph(Letter)
    builder.add_node("write", write)
    builder.add_node("send", send)
    builder.add_edge(START, "write")
    builder.add_edge("write", "send")
    agent = sherlock.guard(builder.compile(), sherlock.Plan.attach({"write": Late()}))
    assert asyncio.run(agent.ainvoke({"text": ""}))["sent"] == "right draft"
    assert log == ["send draft", "undo draft", "send right draft"]
