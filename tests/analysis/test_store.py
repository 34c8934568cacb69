"""What the store gives back is what was put in; what it cannot keep faithfully it does not keep."""

import asyncio
import dataclasses
import json
import operator
import sqlite3
from collections import defaultdict
from enum import StrEnum
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel

from sherlock.analysis.executions import CleanRun
from sherlock.analysis.faithful import frozen, is_faithful, thawed
from sherlock.analysis.replay import Replayer
from sherlock.analysis.store import Store
from sherlock.canonical import digest
from sherlock.cases import Case
from sherlock.errors import StoreError
from sherlock.graph import WorkflowGraph
from sherlock.interpose.calls import CallScope


class Color(StrEnum):
    RED = "red"


class State(TypedDict, total=False):
    messages: Annotated[list, add_messages]
    thing: object


def first(state, runtime: Runtime):
    runtime.store.put(("u", "v"), "k", {"n": 1})
    return {"messages": [AIMessage("hi")]}


def second(state):
    return {"messages": [("user", interrupt("who?"))]}


def graph_of(*nodes):
    graph = StateGraph(State)
    for before, node in zip([START, *(node.__name__ for node in nodes)], nodes, strict=False):
        graph.add_node(node.__name__, node)
        graph.add_edge(before, node.__name__)
    return graph.compile(store=InMemoryStore())


async def score(output, case):
    return 0.5


def replayer(graph):
    return Replayer(graph=graph, score=score, new_scope=CallScope)


CASE = Case([{"messages": ["one"]}, {"messages": ["two"]}], resume=["me", "you"])


def test_a_clean_run_comes_back_and_replays_alike(tmp_path):
    async def go():
        graph = graph_of(first, second)
        workflow = WorkflowGraph.of(graph)
        replays = replayer(graph)
        run = await replays.clean(CASE)
        store = Store(tmp_path / "deep" / "store.db", workflow)
        assert store.clean("k", CASE) is None
        store.put_clean("k", run)
        store.close()
        store = Store(tmp_path / "deep" / "store.db", workflow)
        back = store.clean("k", CASE)
        for one in dataclasses.fields(CleanRun):
            if one.name not in ("output", "starts"):
                assert getattr(back, one.name) == getattr(run, one.name), one.name
        assert digest([dataclasses.astuple(s) for s in back.starts.values()]) == digest(
            [dataclasses.astuple(s) for s in run.starts.values()]
        )
        for address in run.executions:
            line, again = await replays.replay(run, address), await replays.replay(back, address)
            assert digest(line.output) == digest(again.output) == digest(run.output)
            assert line.states == again.states
            store.put_line(f"line/{address}", line, "sham")
            found = store.line(f"line/{address}")
            assert found == dataclasses.replace(line, output=None)
            assert (await replays.replay(run, address, base=found)).masked
        store.close()

    asyncio.run(go())


class Odd:
    """Nothing that could be written down."""


def test_what_cannot_be_serialised_is_not_kept_but_told(tmp_path, caplog):
    def odd(state):
        return {"thing": Odd()}

    async def go():
        graph = graph_of(odd)
        run = await replayer(graph).clean(Case({"messages": []}, id="7"))
        store = Store(tmp_path / "store.db", WorkflowGraph.of(graph))
        store.put_clean("k", run)
        assert store.clean("k", run.case) is None
        assert "the state of case '7' cannot be serialised" in caplog.text
        sham = await replayer(graph).replay(run, next(iter(run.executions)))
        store.put_line("sham", sham, "sham")
        assert store.line("sham") is None
        trial = await replayer(graph).replay(run, next(iter(run.executions)), base=run)
        store.put_line("trial", trial, "trial")
        assert store.line("trial").text == trial.text
        store.close()

    asyncio.run(go())


def test_without_a_path_nothing_is_kept():
    graph = graph_of(second)
    store = Store(None, WorkflowGraph.of(graph))
    store.put_clean("k", CleanRun(case=CASE))
    assert store.clean("k", CASE) is None
    store.close()


def test_forgetting_is_by_prefix(tmp_path):
    store = Store(tmp_path / "store.db", WorkflowGraph.of(graph_of(second)))
    for key in ("a/1", "a/2", "b/1"):
        store.put_clean(key, CleanRun(case=CASE))
    assert store.forget("a/") == 2
    assert store.clean("a/1", CASE) is None
    assert store.clean("b/1", CASE) is not None
    store.close()


def test_wrong_stores_are_refused(tmp_path):
    here, other = WorkflowGraph.of(graph_of(first, second)), WorkflowGraph.of(graph_of(second))
    Store(tmp_path / "store.db", here).close()
    Store(tmp_path / "store.db", here).close()
    with pytest.raises(StoreError, match=r"belongs to another graph \(.*first.*\); use a new path"):
        Store(tmp_path / "store.db", other)
    (tmp_path / "text.db").write_text("this is no database at all, but long enough to look at" * 20)
    with pytest.raises(StoreError, match=r"cannot use .*text\.db' as a store"):
        Store(tmp_path / "text.db", here)
    with pytest.raises(StoreError, match="as a store"):
        Store(tmp_path / "text.db" / "below.db", here)
    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute("update about set value = '0' where name = 'format'")
    db.close()
    with pytest.raises(StoreError, match="has format 0"):
        Store(tmp_path / "store.db", here)


class Model(BaseModel):
    some: tuple[int, ...] = (1, 2)
    other: Any = None


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), inner, max_size=3)
        | st.builds(lambda value: Model(other=value), inner)
        | st.builds(lambda value: Command(update={"k": value}, goto="n"), inner)
        | st.builds(lambda value: Send("n", value), inner)
    ),
    max_leaves=6,
)


@given(values)
def test_tuples_in_plain_values_outlive_a_list(value):
    assert thawed(frozen(value)) == value
    assert is_faithful(value, value)
    assert '"\\u0000tuple"' not in json.dumps(thawed(frozen(value)), default=repr)


@pytest.mark.parametrize(
    ("back", "value", "faithful"),
    [
        ([1], (1,), False),
        ("text", AIMessage("text").text, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, False),
        (1, True, False),
        (1.0, 1, False),
        ("red", Color.RED, False),
        ({1}, frozenset({1}), False),
        ({}, defaultdict(list), False),
        (float("nan"), float("nan"), True),
        (Command(update={"a": [1]}), Command(update={"a": (1,)}), False),
        (AIMessage("hi", id="1"), AIMessage("hi", id="1"), True),
        (AIMessage("hi", id="1"), AIMessage("hi", id="2"), False),
    ],
)
def test_faithful(back, value, faithful):
    assert is_faithful(back, value) is faithful


def test_a_state_of_tuples_is_kept_whole(tmp_path):
    class Tuples(TypedDict, total=False):
        seen: Annotated[tuple, operator.add]

    def node(state):
        return {"seen": (len(state["seen"]),)}

    async def go():
        graph = StateGraph(Tuples)
        graph.add_node("a", node)
        graph.add_node("b", node)
        graph.add_edge(START, "a")
        graph.add_edge("a", "b")
        compiled = graph.compile()
        replays = replayer(compiled)
        run = await replays.clean(Case({"seen": ("x",)}))
        store = Store(tmp_path / "store.db", WorkflowGraph.of(compiled))
        store.put_clean("k", run)
        back = store.clean("k", run.case)
        for address in run.executions:
            assert (await replays.replay(back, address)).output == {"seen": ("x", 1, 2)}
        store.close()

    asyncio.run(go())
