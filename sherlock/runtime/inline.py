"""Verifies in place, before a node returns: what a guarded graph does inside a graph that is not guarded.

There it cannot run past a verdict, for it cannot take back what its parent goes on to do. The parent's superstep waits.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from sherlock.errors import RollbackLimit
from sherlock.interpose.calls import CallScope
from sherlock.interpose.nodes import Visit
from sherlock.runtime.checks import Ruling, ruling_on, subject_of
from sherlock.runtime.record import Record, held
from sherlock.verifier import run_verifier

if TYPE_CHECKING:
    from sherlock.runtime.guard import Guard


class InlineHook:
    """The hook of all runs of a guarded graph that stand inside other graphs."""

    def __init__(self, guard: "Guard") -> None:
        self.guard = guard

    async def around(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        """Return the node's update, verified and corrected."""
        place = self.guard.places.get(visit.node)
        if visit.is_container or place is None or place.attached is None:
            return await run(value)
        record = Record(
            id=0, at=visit.address, place=place, value=held(value), attempt=1, began=1, effects=place.effects
        )
        while True:
            scope = CallScope()
            with scope.active():
                record.raw = record.update = await run(value)
            scope.close()
            record.calls = tuple(scope.calls)
            ruling = await self._judged(record)
            if ruling.kind == "retry":
                record.retried = True
            elif ruling.kind == "doom":
                raise ruling.error or RollbackLimit("a verifier ended the run")
            else:
                return record.raw if ruling.correction is None else ruling.correction

    @contextlib.contextmanager
    def routing(self, visit: Visit) -> Iterator[None]:  # noqa: ARG002
        """Routing functions are not verified."""
        yield

    async def _judged(self, record: Record) -> Ruling:
        attached = record.place.attached
        assert attached is not None
        async with self.guard.in_flight:
            started = time.perf_counter()
            timeout_s = self.guard.policy.verifier_timeout_s
            subject = subject_of(record, self.guard.prices)
            verdict = await run_verifier(attached.verifier, subject, timeout_s=timeout_s)
        seconds = time.perf_counter() - started
        ruling = ruling_on(verdict, record, self.guard.policy.on_failure)
        self.guard.learner.record_verification(record.place.node, seconds, matched=ruling.matched)
        return ruling
