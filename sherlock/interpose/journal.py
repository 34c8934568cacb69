"""A store overlay that knows which node execution wrote and read what, so that it can be repeated without the node."""

import contextlib
import copy
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from langgraph.store.base import BaseStore, Item, Op, PutOp, Result

from sherlock.canonical import digest
from sherlock.interpose.overlay import OverlayStore


@dataclass(frozen=True, slots=True)
class StoreRead:
    """What an execution asked the store, a digest of the answer, and after how many of its own writes."""

    op: Op
    seen: str
    after: int


class JournalStore(OverlayStore):
    """An `OverlayStore` that also notes each write, and read, in every `journal` that is open where it is made."""

    @property
    def count(self) -> int:
        """How many writes there were."""
        return len(self._writes)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        results = super().batch(ops)
        _note(ops, results)
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        results = await super().abatch(ops)
        _note(ops, results)
        return results

    def state(self) -> str:
        """A digest of what was written, whatever the order in which parallel nodes wrote it."""
        latest = {repr((op.namespace, op.key)): op.value for op in self._writes}
        return digest(latest)


async def reads_the_same(store: BaseStore, reads: Sequence[StoreRead], writes: Sequence[PutOp]) -> bool:
    """Whether an execution with these reads and writes would be told the same by `store` as it is now."""
    scratch, done = OverlayStore(store), 0
    for read in reads:
        scratch.replay(writes[done : read.after])
        done = read.after
        if _seen((await scratch.abatch([read.op]))[0]) != read.seen:
            return False
    return True


@contextlib.contextmanager
def journal(writes: list[PutOp], reads: list[StoreRead] | None = None) -> Iterator[None]:
    """Append the store writes of this block, its tasks and threads to `writes`, and its reads to `reads`.

    May stand round an await.
    """
    token = _open.set((*_open.get(), (writes, reads)))
    try:
        yield
    finally:
        _open.reset(token)


_Journal = tuple[list[PutOp], list[StoreRead] | None]

_open: ContextVar[tuple[_Journal, ...]] = ContextVar("sherlock_journals", default=())


def _note(ops: Sequence[Op], results: Sequence[Result]) -> None:
    puts = [op for op in ops if isinstance(op, PutOp)]
    asked = [(op, result) for op, result in zip(ops, results, strict=True) if not isinstance(op, PutOp)]
    for writes, reads in _open.get():
        if reads is not None:  # in a batch, reads come first
            reads += [StoreRead(op, _seen(result), len(writes)) for op, result in asked]
        writes += copy.deepcopy(puts)


def _seen(result: Result) -> str:
    """A digest of an answer, without the times and scores that mean nothing to the node."""
    if isinstance(result, Item):
        return digest([result.namespace, result.key, result.value])
    if isinstance(result, list):
        return digest([_seen(each) if isinstance(each, Item) else each for each in result])
    return digest(result)
