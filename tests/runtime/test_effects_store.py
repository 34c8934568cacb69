"""What guarded nodes write into a store: seen at once by those after them, by nobody else until it is committed."""

import asyncio
from typing import TypedDict

import pytest
from effect_graphs import CONFIG, Judge, State, placed
from langgraph.config import get_store
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore

import sherlock

NS = ("orders",)


class Watched(InMemoryStore):
    """`log`: the values written, in order."""

    def __init__(self):
        super().__init__()
        self.log = []

    def batch(self, ops):
        ops = list(ops)
        self.log += [(op.key, op.value["is"]) for op in ops if hasattr(op, "value")]
        return super().batch(ops)

    async def abatch(self, ops):
        return self.batch(ops)


async def by_runtime(state: State, runtime: Runtime) -> State:
    await runtime.store.aput(NS, "order", {"is": state["order"]})
    return {"note": "kept"}


async def by_argument(state: State, *, store: BaseStore) -> State:
    await store.aput(NS, "order", {"is": state["order"]})
    return {"note": "kept"}


def by_call(state: State) -> State:
    get_store().put(NS, "order", {"is": state["order"]})
    return {"note": "kept"}


def graph(store, write=by_runtime, seen=None) -> StateGraph:
    """ask -> write -> read"""

    async def read(state: State, runtime: Runtime) -> State:
        found = await runtime.store.aget(NS, "order")
        if seen is not None:
            seen.append((found.value["is"], list(store.log)))
        return {"paid": [found.value["is"]]}

    builder = StateGraph(State)
    builder.add_node("ask", lambda state: {"order": "milk"})
    builder.add_node("write", write)
    builder.add_node("read", read)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "write")
    builder.add_edge("write", "read")
    builder.add_edge("read", END)
    return builder


@pytest.mark.parametrize("write", [by_runtime, by_argument, by_call])
def test_what_is_rolled_back_never_reaches_the_store(write):
    store, seen = Watched(), []
    agent = sherlock.guard(graph(store, write, seen).compile(store=store), placed(ask=Judge(lambda text: "bread", 0.1)))
    state = asyncio.run(agent.ainvoke({"order": "?"}, CONFIG))
    assert state["paid"] == ["bread"]
    assert seen == [("milk", []), ("bread", [("order", "bread")])]
    assert store.log == [("order", "bread")]


def test_writes_are_flushed_in_order():
    store = Watched()

    def count(name):
        async def node(state: State, runtime: Runtime) -> State:
            for number in range(2):
                await runtime.store.aput(NS, f"{name}{number}", {"is": name})
            return {"note": name}

        return node

    builder = StateGraph(State)
    for name, before in [("a", START), ("b", "a"), ("c", "b")]:
        builder.add_node(name, count(name))
        builder.add_edge(before, name)
    asyncio.run(sherlock.guard(builder.compile(store=store), placed(a=Judge(seconds=0.1))).ainvoke({}, CONFIG))
    assert [key for key, _ in store.log] == ["a0", "a1", "b0", "b1", "c0", "c1"]


class Nothing(TypedDict, total=False):
    customer: str


def two_branches(store, ran):
    """`ask` is rejected; `apart` has nothing to do with it, and writes; `late` reads what both wrote."""

    async def apart(state: State, runtime: Runtime) -> State:
        ran.append("apart")
        await runtime.store.aput(NS, "apart", {"is": "kept"})
        return {"paid": ["apart"]}

    async def tell(state: dict, runtime: Runtime) -> State:
        ran.append("tell")
        await runtime.store.aput(NS, "order", {"is": state["order"]})
        return {"paid": ["tell"]}

    async def look(state: Nothing, runtime: Runtime) -> State:
        ran.append("look")
        found = await runtime.store.aget(NS, "order")
        return {"paid": [found.value["is"] if found else "nothing"]}

    async def own(state: Nothing, runtime: Runtime) -> State:
        ran.append("own")
        await runtime.store.aput(NS, "own", {"is": "mine"})
        return {"paid": [(await runtime.store.aget(NS, "own")).value["is"]]}

    builder = StateGraph(State)
    builder.add_node("ask", lambda state: {"order": "milk"})
    builder.add_node("apart", apart, input_schema=Nothing)
    builder.add_node("tell", tell)
    builder.add_node("look", look, input_schema=Nothing)
    builder.add_node("own", own, input_schema=Nothing)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "apart")
    builder.add_edge("ask", "tell")
    builder.add_edge(["apart", "tell"], "look")
    builder.add_edge(["apart", "tell"], "own")
    return builder.compile(store=store)


def test_a_node_is_run_again_when_what_it_read_of_the_store_has_changed():
    """Its input is the same; a kept node's writes, and what it read of its own, survive the rollback."""
    store, ran = Watched(), []
    agent = sherlock.guard(two_branches(store, ran), placed(ask=Judge(lambda text: "bread", 0.15)))
    state = asyncio.run(agent.ainvoke({"order": "?"}, CONFIG))
    assert sorted(state["paid"]) == ["apart", "bread", "mine", "tell"]
    assert (ran.count("apart"), ran.count("tell"), ran.count("look"), ran.count("own")) == (1, 2, 2, 1)
    assert sorted(store.log) == [("apart", "kept"), ("order", "bread"), ("own", "mine")]


def test_a_run_that_fails_writes_nothing_that_was_not_verified():
    class Refuses(Judge):
        async def verify(self, subject):
            await asyncio.sleep(0.1)
            raise RuntimeError("cannot say")

    store = Watched()
    agent = sherlock.guard(graph(store).compile(store=store), placed(ask=Refuses()))
    with pytest.raises(sherlock.VerifierError):
        asyncio.run(agent.ainvoke({"order": "?"}, CONFIG))
    assert store.log == []
