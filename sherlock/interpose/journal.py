"""A store overlay that knows which node execution wrote what, so that a replay can repeat it without the node."""

import contextlib
import copy
from collections.abc import Iterable, Iterator
from contextvars import ContextVar

from langgraph.store.base import Op, PutOp, Result

from sherlock.canonical import digest
from sherlock.interpose.overlay import OverlayStore


class JournalStore(OverlayStore):
    """An `OverlayStore` that also notes each write in every `journal` that is open where it is made."""

    @property
    def count(self) -> int:
        """How many writes there were."""
        return len(self._writes)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        results = super().batch(ops)
        _note(ops)
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        ops = list(ops)
        results = await super().abatch(ops)
        _note(ops)
        return results

    def state(self) -> str:
        """A digest of what was written, whatever the order in which parallel nodes wrote it."""
        latest = {repr((op.namespace, op.key)): op.value for op in self._writes}
        return digest(latest)


@contextlib.contextmanager
def journal(writes: list[PutOp]) -> Iterator[None]:
    """Append the store writes of this block, its tasks and threads to `writes`; may stand round an await."""
    token = _open.set((*_open.get(), writes))
    try:
        yield
    finally:
        _open.reset(token)


_open: ContextVar[tuple[list[PutOp], ...]] = ContextVar("sherlock_journals", default=())


def _note(ops: Iterable[Op]) -> None:
    puts = [op for op in ops if isinstance(op, PutOp)]
    for writes in _open.get():
        writes += copy.deepcopy(puts)
