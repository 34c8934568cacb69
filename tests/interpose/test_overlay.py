import asyncio
import copy
import threading
from typing import TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.store.base import (
    BaseStore,
    GetOp,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import AsyncSqliteStore, SqliteStore

from sherlock.interpose.overlay import OverlayStore

NAMESPACES = [("a",), ("a", "x"), ("a", "y"), ("b",), ("b", "x")]
KEYS = ["k1", "k2", "k3"]
quick = settings(max_examples=50, deadline=None)
EVERYTHING = SearchOp((), limit=10_000)

namespaces = st.sampled_from(NAMESPACES)
keys = st.sampled_from(KEYS)
values = st.fixed_dictionaries({"n": st.integers(0, 3), "tag": st.sampled_from(["red", "blue"])})
filters = st.sampled_from([None, {"tag": "red"}, {"n": {"$gte": 2}}, {"n": {"$ne": 1}, "tag": {"$eq": "blue"}}])
bounds = st.integers(0, 4)
conditions = st.sampled_from(
    [
        None,
        (MatchCondition("prefix", ("a",)),),
        (MatchCondition("suffix", ("x",)),),
        (MatchCondition("prefix", ("*", "x")),),
    ]
)
puts = st.tuples(namespaces, keys, values).map(lambda parts: PutOp(*parts))
deletes = st.tuples(namespaces, keys, st.none()).map(lambda parts: PutOp(*parts))
gets = st.tuples(namespaces, keys).map(lambda parts: GetOp(*parts))
prefixes = st.sampled_from([(), ("a",), ("a", "x"), ("c",)])
queries = st.sampled_from([None, "words"])
searches = st.tuples(prefixes, filters, st.integers(1, 6), bounds, queries).map(lambda parts: SearchOp(*parts))
depths = st.sampled_from([None, 1, 2])
listings = st.tuples(conditions, depths, st.integers(1, 6), bounds).map(lambda parts: ListNamespacesOp(*parts))
batches = st.lists(st.lists(st.one_of(puts, deletes, gets, searches), min_size=1, max_size=4), max_size=8)


def seen(result):
    """A result without its timestamps."""
    if isinstance(result, list):
        return [seen(each) for each in result]
    return result if result is None or isinstance(result, tuple) else (result.namespace, result.key, result.value)


def contents(store):
    return seen(store.batch([EVERYTHING])[0])


def memory(items):
    store = InMemoryStore()
    for op in items:
        store.batch([op])
    return store


def occupied(store):
    """A store with the same items: without the empty namespaces that InMemoryStore keeps."""
    return memory([PutOp(namespace, key, value) for namespace, key, value in contents(store)])


@quick
@given(st.lists(puts, max_size=8), batches)
def test_same_as_a_copy_of_the_base_with_the_same_writes(initial, run):
    base, copied = memory(initial), memory(initial)
    before = contents(base)
    overlay = OverlayStore(base)
    for ops in run:
        assert seen(overlay.batch(ops)) == seen(copied.batch(ops))
    assert contents(overlay) == contents(copied)
    assert contents(base) == before


@quick
@given(st.lists(puts, max_size=8), st.lists(st.one_of(puts, deletes), max_size=8), listings)
def test_namespaces_are_those_that_hold_items(initial, writes, listing):
    base = memory(initial)
    overlay, copied = OverlayStore(base), memory(initial)
    for op in writes:
        overlay.batch([op])
        copied.batch([op])
    assert overlay.batch([listing]) == occupied(copied).batch([listing])
    assert base.batch([listing]) == memory(initial).batch([listing])


@quick
@given(st.lists(puts, max_size=6), batches)
def test_async_is_the_same_as_sync(initial, run):
    async def answers(overlay):
        return [await overlay.abatch(ops) for ops in run]

    one, two = OverlayStore(memory(initial)), OverlayStore(memory(initial))
    assert seen(asyncio.run(answers(one))) == seen([two.batch(ops) for ops in run])
    assert one.writes == two.writes


@quick
@given(st.lists(puts, max_size=6), batches, batches)
def test_replaying_the_writes_gives_the_same_store(initial, first, second):
    base = memory(initial)
    played = OverlayStore(base)
    for ops in first:
        played.batch(ops)
    replayed = OverlayStore(base)
    replayed.replay(played.writes)
    assert replayed.writes == played.writes
    for ops in second:
        mutual = [op for op in ops if not isinstance(op, SearchOp)]
        assert seen(replayed.batch(mutual)) == seen(played.batch(mutual))
    assert sorted(contents(replayed), key=repr) == sorted(contents(played), key=repr)


@quick
@given(st.lists(puts, max_size=6), batches, batches)
def test_overlays_stack(initial, below, above):
    base, copied = memory(initial), memory(initial)
    middle = OverlayStore(base)
    for ops in below:
        middle.batch(ops)
        copied.batch(ops)
    kept = contents(middle)
    top = OverlayStore(middle)
    for ops in above:
        top.batch(ops)
        copied.batch(ops)
    assert sorted(contents(top), key=repr) == sorted(contents(copied), key=repr)
    assert contents(middle) == kept


@quick
@given(st.lists(puts, max_size=6), st.lists(st.one_of(puts, deletes), max_size=8), filters, listings)
def test_over_sqlite_as_a_copy_in_sqlite(initial, writes, wanted, listing):
    with SqliteStore.from_conn_string(":memory:") as base, SqliteStore.from_conn_string(":memory:") as copied:
        base.setup()
        copied.setup()
        for op in initial:
            base.batch([op])
            copied.batch([op])
        before = sorted(contents(base), key=repr)
        overlay = OverlayStore(base)
        for op in writes:
            overlay.batch([op])
            copied.batch([op])
        assert sorted(seen(overlay.search((), filter=wanted, limit=99)), key=repr) == sorted(
            seen(copied.search((), filter=wanted, limit=99)), key=repr
        )
        assert overlay.batch([listing]) == copied.batch([listing])
        assert sorted(contents(base), key=repr) == before


def test_writes_are_in_order_and_have_values_of_their_own():
    overlay = OverlayStore()
    value = {"list": [1]}
    overlay.put(("a",), "k", value)
    overlay.delete(("a",), "k")
    overlay.put(("a",), "k", {"list": [2]})
    value["list"].append(9)
    overlay.writes[0].value["list"].append(9)
    assert [(op.key, op.value) for op in overlay.writes] == [("k", {"list": [1]}), ("k", None), ("k", {"list": [2]})]


def test_a_batch_reads_before_it_writes():
    overlay = OverlayStore(memory([PutOp(("a",), "k", {"v": 1})]))
    results = overlay.batch([PutOp(("a",), "k", {"v": 2}), GetOp(("a",), "k")])
    assert results[1].value == {"v": 1}
    assert overlay.get(("a",), "k").value == {"v": 2}


@pytest.mark.parametrize("query", [None, "words"])
def test_changing_what_was_returned_changes_no_store(query):
    base = memory([PutOp(("a",), "k", {"deep": {"v": 1}})])
    overlay = OverlayStore(base)
    overlay.put(("a",), "mine", {"deep": {"v": 1}})
    overlay.get(("a",), "k").value["deep"]["v"] = 9
    overlay.get(("a",), "mine").value["deep"]["v"] = 9
    for item in overlay.search(("a",), query=query):
        item.value["deep"]["v"] = 9
    assert base.get(("a",), "k").value == {"deep": {"v": 1}}
    assert [item.value for item in overlay.search(("a",))] == [{"deep": {"v": 1}}] * 2


def test_an_unknown_operation_is_refused():
    with pytest.raises(ValueError, match="is no store operation"):
        OverlayStore().batch(["get"])


def letters(texts):
    """Embeds a text as its counts of a, b and c."""
    return [[float(text.count(letter)) for letter in "abc"] for text in texts]


def ranking_base():
    base = InMemoryStore(index={"dims": 3, "embed": letters, "fields": ["text"]})
    for key, text in {"best": "aaa", "good": "aab", "poor": "abc", "worst": "ccc"}.items():
        base.put(("docs",), key, {"text": text, "kind": "doc"})
    return base


def test_semantic_search_keeps_the_ranking_and_appends_matches():
    base = ranking_base()
    overlay = OverlayStore(base)
    overlay.delete(("docs",), "best")
    overlay.put(("docs",), "good", {"text": "rewritten", "kind": "doc"})
    overlay.put(("docs",), "other", {"text": "a", "kind": "note"})
    found = overlay.search(("docs",), query="a", filter={"kind": "doc"})
    assert [(item.key, item.score is None) for item in found] == [("poor", False), ("worst", False), ("good", True)]
    assert [item.key for item in overlay.search(("docs",), query="a", limit=1)] == ["poor"]
    assert [item.key for item in overlay.search(("docs",), query="a", limit=2, offset=1)] == ["worst", "other"]
    assert [item.key for item in base.search(("docs",), query="a")] == ["best", "good", "poor", "worst"]


class Capped(InMemoryStore):
    """Gives two results at a time, whatever it is asked for; `calls` records the operations it saw."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def batch(self, ops):
        ops = [op._replace(limit=min(op.limit, 2)) if hasattr(op, "limit") else op for op in ops]
        self.calls += ops
        return super().batch(ops)


class Stubborn(InMemoryStore):
    """Ignores the offset."""

    def batch(self, ops):
        return super().batch([op._replace(offset=0) if hasattr(op, "offset") else op for op in ops])


def test_a_base_that_caps_its_results_is_asked_again():
    base = Capped()
    for number in range(5):
        base.put((f"n{number}",), "k", {})
    overlay = OverlayStore(base)
    assert len(overlay.search((), limit=10)) == 5
    assert overlay.list_namespaces() == [(f"n{number}",) for number in range(5)]


def test_a_base_that_ignores_the_offset_is_not_asked_for_ever():
    base = Stubborn()
    base.put(("a",), "k", {})
    assert len(OverlayStore(base).search(())) == 1
    assert OverlayStore(base).list_namespaces() == [("a",)]


def test_the_base_sees_reads_only_and_is_not_asked_to_refresh():
    base = Capped()
    overlay = OverlayStore(base)
    overlay.put(("a",), "k", {"v": 1})
    overlay.get(("a",), "other")
    overlay.search(("a",))
    overlay.delete(("a",), "k")
    overlay.list_namespaces()
    assert base.calls
    assert not [op for op in base.calls if isinstance(op, PutOp) or getattr(op, "refresh_ttl", False)]


def test_time_to_live_is_accepted_where_the_base_accepts_it():
    with pytest.raises(NotImplementedError):
        OverlayStore(InMemoryStore()).put(("a",), "k", {}, ttl=5)
    with SqliteStore.from_conn_string(":memory:", ttl={"refresh_on_read": True, "default_ttl": 3}) as base:
        base.setup()
        overlay = OverlayStore(base)
        overlay.put(("a",), "k", {}, ttl=5)
        overlay.put(("a",), "default", {})
    assert [op.ttl for op in overlay.writes] == [5, 3]


class OnlyAsync(BaseStore):
    def __init__(self, inner):
        self.inner = inner

    def batch(self, ops):
        raise NotImplementedError

    async def abatch(self, ops):
        await asyncio.sleep(0)
        return await self.inner.abatch(ops)


def test_a_base_that_is_only_async_is_read_by_sync_calls():
    overlay = OverlayStore(OnlyAsync(memory([PutOp(("a",), "k", {"v": 1})])))

    async def inside_a_loop():
        return overlay.get(("a",), "k").value

    assert overlay.get(("a",), "k").value == {"v": 1}
    assert asyncio.run(inside_a_loop()) == {"v": 1}


def test_a_base_that_is_only_sync_is_read_by_async_calls():
    async def read(overlay):
        await overlay.aput(("a",), "mine", {"v": 2})
        return [item.key for item in await overlay.asearch(("a",))], await overlay.aget(("a",), "k")

    with SqliteStore.from_conn_string(":memory:") as base:
        base.setup()
        base.put(("a",), "k", {"v": 1})
        found, item = asyncio.run(read(OverlayStore(base)))
        assert base.get(("a",), "mine") is None
    assert found == ["mine", "k"]
    assert item.value == {"v": 1}


def test_over_a_batching_async_store():
    async def run():
        async with AsyncSqliteStore.from_conn_string(":memory:") as base:
            await base.setup()
            await base.aput(("a",), "k", {"v": 1})
            overlay = OverlayStore(base)
            await overlay.adelete(("a",), "k")
            await overlay.aput(("b",), "k", {"v": 2})
            in_thread = await asyncio.to_thread(overlay.get, ("a",), "k")
            return in_thread, await overlay.alist_namespaces(), await base.alist_namespaces()

    assert asyncio.run(run()) == (None, [("b",)], [("a",)])


def test_threads_lose_no_write():
    overlay = OverlayStore(InMemoryStore())
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for step in range(100):
            overlay.put((f"n{number % 3}",), f"{number}-{step}", {"v": step})
            overlay.search((f"n{number % 3}",), limit=1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(overlay.writes) == 800
    assert len(overlay.search((), limit=10_000)) == 800


class Seen(TypedDict):
    user: str
    visits: int


def test_a_graph_reads_its_own_writes_and_the_users_memory_stays():
    def remember(state: Seen, *, store: BaseStore):
        item = store.get(("users",), state["user"])
        store.put(("users",), state["user"], {"visits": (item.value["visits"] if item else 0) + 1})
        return {}

    async def recall(state: Seen, *, store: BaseStore):
        return {"visits": (await store.aget(("users",), state["user"])).value["visits"]}

    builder = StateGraph(Seen)
    builder.add_node(remember)
    builder.add_node(recall)
    builder.add_edge(START, "remember")
    builder.add_edge("remember", "recall")
    builder.add_edge("recall", END)
    base = memory([PutOp(("users",), "ann", {"visits": 4})])
    before = copy.deepcopy(contents(base))
    overlay = OverlayStore(base)
    result = asyncio.run(builder.compile(store=overlay).ainvoke({"user": "ann"}))
    assert result["visits"] == 5
    assert [op.value for op in overlay.writes] == [{"visits": 5}]
    assert contents(base) == before
