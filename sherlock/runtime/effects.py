"""What a guarded run does about effects on the world: keys that are the same after a crash, and undoing."""

import contextlib
import inspect
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import CheckpointTuple

from sherlock.errors import NotRevertible
from sherlock.interpose.nodes import Visit
from sherlock.runtime.record import Record

if TYPE_CHECKING:
    from sherlock.runtime.run import Run

_key: ContextVar[str | None] = ContextVar("sherlock_effect_key", default=None)


def effect_key() -> str | None:
    """The key of the effect that the node called from is about to have; None outside a guarded node with effects.

    It is the same when the run is resumed after a crash, and differs for every effect that is meant: pass it on as an
    idempotency key.
    """
    return _key.get()


class Effects:
    """The effects of one run."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self._undone: list[str] = []

    @contextlib.contextmanager
    def around(self, record: Record) -> Iterator[None]:  # noqa: ARG002
        yield

    async def execute(
        self, record: Record, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]  # noqa: ARG002
    ) -> Any:
        return await run(value)

    async def take_up(self, saved: CheckpointTuple) -> None:
        """Look at what an earlier run on the thread has left."""

    def committed(self, done: list[Record]) -> None:
        """These executions are final."""

    async def undo(self, record: Record) -> None:
        """Take the effect of an execution back."""
        effect = record.place.effect
        if effect is None or effect.undo is None:
            return
        try:
            made = effect.undo(record.value, record.raw)
            if inspect.isawaitable(made):
                await made
        except Exception as error:
            self.run.broken(
                NotRevertible(
                    f"the effect of node {record.place.node!r} could not be undone, its undo raised "
                    f"{type(error).__name__}: {error}"
                )
            )

    async def undo_uncommitted(self) -> None:
        """The run ends: take back, last first, what no checkpoint will remember."""
        left = [r for r in self.run.hook.records.values() if r.ended and r.place.effects == "compensable"]
        for record in sorted(left, key=lambda r: r.started_s, reverse=True):
            await self.undo(record)
