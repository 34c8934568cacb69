"""A store in front of the user's: reads fall through, writes stay here.

An analysis runs the user's nodes many times over, with wrong values in them. What they put into long-term memory on
the way must be seen by the rest of that run and by nothing else. Each public call is answered by one generator that
asks for reads of the base and is given their results, so that the sync and the async way share every line but the
call itself.
"""

import asyncio
import copy
import threading
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import cast

from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

Namespace = tuple[str, ...]
Address = tuple[Namespace, str]
Entries = dict[Namespace, dict[str, Item | None]]

_PAGE = 1000
"""Most results asked of the base at once. One that returns fewer is asked for more until it has none."""


class OverlayStore(BaseStore):
    """A LangGraph store that keeps every write to itself and reads through to `base` (None: nothing beneath).

    A value written here hides the base's; a deleted one vanishes from `get`, `search` and `list_namespaces`. In one
    batch all reads come before all writes, as in LangGraph's own stores. Items are handed out and taken in as copies,
    and time-to-live is not refreshed by reads, so that nothing done to this store or to what it returned reaches the
    base. Items written here do not expire.

    Order of `search`: over an `InMemoryStore` (or nothing) as that store would have it; over another store, what was
    written here first, newest first. With a `query` and a base that ranks by meaning, the base's results come first in
    its order, then matching items written here, without a score: they are not embedded.

    Safe to use from several threads and event loops, so far as the base is.
    """

    def __init__(self, base: BaseStore | None = None) -> None:
        self._base = base
        self._lock = threading.Lock()
        # A deleted item is None. The order of both levels is the order in which `search` finds items.
        self._entries: Entries = {}
        self._once_deleted: set[Address] = set()
        self._writes: list[PutOp] = []
        if base is not None:
            self.supports_ttl = base.supports_ttl
            self.ttl_config = base.ttl_config

    @property
    def writes(self) -> list[PutOp]:
        """All writes so far, replayed ones included, in order; replayed over the same base they give this store."""
        with self._lock:
            return copy.deepcopy(self._writes)

    def clear(self) -> None:
        """Forget every write."""
        with self._lock:
            self._entries.clear()
            self._once_deleted.clear()
            self._writes.clear()

    def replay(self, ops: Iterable[PutOp]) -> None:
        """Apply earlier writes, in order, as if each had just been made here."""
        self._apply([_snapshot(op) for op in ops])

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Answer the reads from the state before this batch, then apply its writes; ValueError on an unknown op."""
        ops = list(ops)
        results = [self._drive(self._answer(op)) for op in ops]
        self._apply(_last_writes(ops))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """As `batch`, awaiting the base."""
        ops = list(ops)
        results = [await self._adrive(self._answer(op)) for op in ops]
        self._apply(_last_writes(ops))
        return results

    def _drive(self, reads: Generator[Op, Result, Result]) -> Result:
        result: Result = None
        while True:
            try:
                op = reads.send(result)
            except StopIteration as end:
                return cast(Result, end.value)
            result = _read(cast(BaseStore, self._base), op)

    async def _adrive(self, reads: Generator[Op, Result, Result]) -> Result:
        result: Result = None
        while True:
            try:
                op = reads.send(result)
            except StopIteration as end:
                return cast(Result, end.value)
            result = await _aread(cast(BaseStore, self._base), op)

    def _apply(self, puts: Iterable[PutOp]) -> None:
        with self._lock:
            for op in puts:
                self._writes.append(op)
                entries = self._entries.setdefault(op.namespace, {})
                if entries.get(op.key) is None:
                    entries.pop(op.key, None)  # what comes back after a deletion comes last
                if op.value is None:
                    self._once_deleted.add((op.namespace, op.key))
                entries[op.key] = _item(op)

    def _under(self, prefix: Namespace) -> Entries:
        with self._lock:
            return {ns: dict(entries) for ns, entries in self._entries.items() if ns[: len(prefix)] == prefix}

    def _answer(self, op: Op) -> Generator[Op, Result, Result]:
        if isinstance(op, GetOp):
            return (yield from self._get(op))
        if isinstance(op, SearchOp):
            return (yield from self._search(op))
        if isinstance(op, ListNamespacesOp):
            return (yield from self._list_namespaces(op))
        if isinstance(op, PutOp):
            return None
        raise ValueError(f"{op!r} is no store operation; use get, search, put or list namespaces.")

    def _get(self, op: GetOp) -> Generator[Op, Result, Item | None]:
        with self._lock:
            # InMemoryStore makes a namespace when it is first looked at, and searches in that order.
            entries = self._entries.setdefault(op.namespace, {})
            hidden, item = op.key in entries, entries.get(op.key)
        if not hidden and self._base is not None:
            item = cast(Item | None, (yield op._replace(refresh_ttl=False)))
        return copy.deepcopy(item)

    def _search(self, op: SearchOp) -> Generator[Op, Result, list[SearchItem]]:
        own = self._under(op.namespace_prefix)
        end = op.offset + op.limit
        if _finds_in_order_of_insertion(self._base, op):
            below = yield from self._below(SearchOp(op.namespace_prefix), own)
            found = _matching(op, self._in_order_of_insertion(below, own))[op.offset : end]
        else:
            below = yield from self._below(op, own, enough=end)
            live = [item for entries in own.values() for item in entries.values() if item is not None]
            mine = _matching(op, sorted(live, key=lambda item: item.updated_at, reverse=True))
            visible = [item for item in below if item.key not in own.get(item.namespace, {})]
            found = (visible + mine if op.query else mine + visible)[op.offset : end]
        return copy.deepcopy(found)

    def _below(self, op: SearchOp, own: Entries, enough: int | None = None) -> Generator[Op, Result, list[SearchItem]]:
        """What the base finds, hidden or not, until `enough` of it is not hidden (None: all of it)."""
        hidden = sum(map(len, own.values()))
        most = None if enough is None else enough + hidden
        found = yield from self._pages(op._replace(refresh_ttl=False), most)
        return cast(list[SearchItem], found)

    def _pages(
        self, op: SearchOp | ListNamespacesOp, most: int | None = None
    ) -> Generator[Op, Result, list[SearchItem] | list[Namespace]]:
        """The base's first `most` results, asked for in pages, as a base may cap how many it gives at once."""
        found: dict[object, object] = {}
        offset = 0
        while self._base is not None and (most is None or offset < most):
            limit = _PAGE if most is None else min(_PAGE, most - offset)
            page = cast(Sequence[object], (yield op._replace(limit=limit, offset=offset)))
            fresh = {_address(result): result for result in page if _address(result) not in found}
            if not fresh:
                break
            found |= fresh
            offset += len(page)
        return cast(list[SearchItem] | list[Namespace], list(found.values()))

    def _in_order_of_insertion(self, below: Iterable[SearchItem], own: Entries) -> list[SearchItem]:
        """What is visible: an overwritten item keeps its place, a new one comes last in its namespace."""
        merged: dict[Namespace, dict[str, Item]] = {}
        for item in below:
            items = merged.setdefault(item.namespace, {})
            over = own.get(item.namespace, {})
            if item.key not in over or (item.namespace, item.key) not in self._once_deleted:
                items[item.key] = over.get(item.key) or item
        for namespace, entries in own.items():
            for key, entry in entries.items():
                if entry is not None:
                    merged.setdefault(namespace, {})[key] = entry
        return [_found(item) for items in merged.values() for item in items.values()]

    def _list_namespaces(self, op: ListNamespacesOp) -> Generator[Op, Result, list[Namespace]]:
        own = self._under(())
        below = set(cast(list[Namespace], (yield from self._pages(op._replace(max_depth=None)))))
        mine = [namespace for namespace, entries in own.items() if any(entries.values())]
        for namespace in [ns for ns, entries in own.items() if ns in below and entries and ns not in mine]:
            items = yield from self._below(SearchOp(namespace), {})
            if all(item.namespace != namespace or item.key in own[namespace] for item in items):
                below.remove(namespace)
        names = below | _matching_namespaces(op, mine)
        if op.max_depth is not None:
            names = {namespace[: op.max_depth] for namespace in names}
        return sorted(names)[op.offset : op.offset + op.limit]


def _read(base: BaseStore, op: Op) -> Result:
    try:
        return base.batch([op])[0]
    except NotImplementedError:
        # Only async: on a loop of its own, as the caller's thread may be running one.
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(lambda: asyncio.run(_aread_native(base, op))).result()


async def _aread(base: BaseStore, op: Op) -> Result:
    try:
        return await _aread_native(base, op)
    except NotImplementedError:
        return (await asyncio.to_thread(base.batch, [op]))[0]


async def _aread_native(base: BaseStore, op: Op) -> Result:
    return (await base.abatch([op]))[0]


def _finds_in_order_of_insertion(base: BaseStore | None, op: SearchOp) -> bool:
    if isinstance(base, OverlayStore):
        return _finds_in_order_of_insertion(base._base, op)  # noqa: SLF001 -- one of our own
    if isinstance(base, InMemoryStore):
        return not (op.query and base.index_config)
    return base is None


def _matching(op: SearchOp, items: Sequence[Item]) -> list[SearchItem]:
    """The items that pass the filter, in order, as LangGraph's own store decides it."""
    by_address = {_address(item): _found(item) for item in items}
    scratch = InMemoryStore()
    scratch.batch([PutOp(item.namespace, item.key, item.value) for item in items])
    hits = scratch.batch([SearchOp(op.namespace_prefix, filter=op.filter, limit=len(items))])[0]
    passed = {_address(hit) for hit in cast(list[SearchItem], hits)}
    return [item for address, item in by_address.items() if address in passed]


def _matching_namespaces(op: ListNamespacesOp, namespaces: Sequence[Namespace]) -> set[Namespace]:
    scratch = InMemoryStore()
    scratch.batch([PutOp(namespace, "", {}) for namespace in namespaces])
    asked = op._replace(max_depth=None, limit=len(namespaces), offset=0)
    return set(cast(list[Namespace], scratch.batch([asked])[0]))


def _last_writes(ops: Iterable[Op]) -> list[PutOp]:
    """The writes of a batch: of several to one address only the last counts, in the place of the first."""
    return list({(op.namespace, op.key): _snapshot(op) for op in ops if isinstance(op, PutOp)}.values())


def _snapshot(op: PutOp) -> PutOp:
    """The write with a value of its own, which the node that made it cannot change any more."""
    value = None if op.value is None else copy.deepcopy(dict(op.value))
    return op._replace(namespace=tuple(op.namespace), value=value)


def _item(op: PutOp) -> Item | None:
    if op.value is None:
        return None
    now = datetime.now(UTC)
    return Item(value=dict(op.value), key=op.key, namespace=op.namespace, created_at=now, updated_at=now)


def _found(item: Item) -> SearchItem:
    return SearchItem(
        namespace=item.namespace,
        key=item.key,
        value=item.value,
        created_at=item.created_at,
        updated_at=item.updated_at,
        score=item.score if isinstance(item, SearchItem) else None,
    )


def _address(result: object) -> object:
    """What tells one result of a search, or one namespace, from the next."""
    return (result.namespace, result.key) if isinstance(result, Item) else result
