"""A thread that a run without the guard has left: what LangGraph would take up unverified is verified."""

import asyncio
import operator
import time
from typing import Annotated, TypedDict

import pytest
from effect_graphs import CONFIG, Judge, placed
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send

import sherlock


class State(TypedDict, total=False):
    order: str
    other: str
    paid: Annotated[list, operator.add]


def pair(ran, kind, *, moves=False) -> StateGraph:
    """`write` and `fail` in one superstep; `fail` raises the first time. Then `end`."""

    def write(state: State):
        ran.append("write")
        update = {"order": "milk", "paid": ["once"]}
        return Command(update=update, goto="aside") if moves else update

    def fail(state: State) -> State:
        ran.append("fail")
        if ran.count("fail") == 1:
            time.sleep(0.05)  # the other is done, and stored
            raise ConnectionError("no answer")
        return {"other": "there"}

    builder = StateGraph(State)
    builder.add_node("write", sherlock.effects(kind, undo=print)(write), destinations=("aside",) if moves else None)
    builder.add_node("fail", fail)
    builder.add_node("end", lambda state: {"other": f"{state['order']} is {state['other']}"})
    builder.add_node("aside", lambda state: {"paid": ["aside"]})
    builder.add_edge(START, "write")
    builder.add_edge(START, "fail")
    builder.add_edge(["write", "fail"], "end")
    return builder


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("kind", "times"), [("none", 2), ("irreversible", 1), ("compensable", 1)])
def test_what_nobody_verified_is_verified(kind, times, nested):
    ran, saver = [], InMemorySaver()
    builder = pair(ran, kind)
    node = "write"
    if nested:
        outer = StateGraph(State)
        outer.add_node("inner", builder.compile())
        outer.add_edge(START, "inner")
        builder, node = outer, "inner__write"
    graph = builder.compile(checkpointer=saver)
    with pytest.raises(ConnectionError):
        asyncio.run(graph.ainvoke({"order": "?"}, CONFIG))
    judge = Judge(lambda text: text.replace("milk", "bread"))
    state = asyncio.run(sherlock.guard(graph, placed(**{node: judge})).ainvoke(None, CONFIG))
    assert state["other"] == "bread is there"
    assert state["paid"] == ["once"]
    assert ran.count("write") == times


def test_where_a_command_went_is_kept():
    ran, saver = [], InMemorySaver()
    graph = pair(ran, "irreversible", moves=True).compile(checkpointer=saver)
    with pytest.raises(ConnectionError):
        asyncio.run(graph.ainvoke({"order": "?"}, CONFIG))
    state = asyncio.run(sherlock.guard(graph, placed(write=Judge())).ainvoke(None, CONFIG))
    assert sorted(state["paid"]) == ["aside", "once"]
    assert ran.count("write") == 1


def test_what_a_guarded_run_verified_is_not_verified_again():
    ran, saver, asked = [], InMemorySaver(), []

    def judge(text):
        asked.append(text)
        return text

    agent = sherlock.guard(pair(ran, "none").compile(checkpointer=saver), placed(write=Judge(judge)))
    with pytest.raises(ConnectionError):
        asyncio.run(agent.ainvoke({"order": "?"}, CONFIG))
    state = asyncio.run(agent.ainvoke(None, CONFIG))
    assert state["other"] == "milk is there"
    assert (ran.count("write"), len(asked)) == (1, 1)


def test_a_new_input_discards_what_was_left():
    ran, saver = [], InMemorySaver()
    graph = pair(ran, "irreversible").compile(checkpointer=saver)
    with pytest.raises(ConnectionError):
        asyncio.run(graph.ainvoke({"order": "?"}, CONFIG))
    asyncio.run(sherlock.guard(graph, placed(write=Judge())).ainvoke({"order": "!"}, CONFIG))
    assert ran.count("write") == 2


def test_an_irreversible_result_by_send_is_kept():
    ran, saver = [], InMemorySaver()

    def charge(state):
        ran.append(state["order"])
        if ran.count("b") == 1 and state["order"] == "b":
            time.sleep(0.05)
            raise ConnectionError("no answer")
        return {"paid": [state["order"]]}

    builder = StateGraph(State)
    builder.add_node("charge", sherlock.effects("irreversible", reconcile=lambda key, inputs: None)(charge))
    builder.add_conditional_edges(START, lambda state: [Send("charge", {"order": o}) for o in "ab"], ["charge"])
    builder.add_edge("charge", END)
    graph = builder.compile(checkpointer=saver)
    with pytest.raises(ConnectionError):
        graph.invoke({"order": "?"}, CONFIG)
    judge = Judge(lambda text: text.replace("a", "apples"))
    state = asyncio.run(sherlock.guard(graph, placed(charge=judge)).ainvoke(None, CONFIG))
    assert state["paid"] == ["apples", "b"]
    assert sorted(ran) == ["a", "b", "b"]
