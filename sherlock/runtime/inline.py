"""Verifies in place, before a node returns: what a guarded graph does inside a graph that is not guarded.

There it cannot run past a verdict, for it cannot take back what its parent goes on to do. The parent's superstep waits.
"""

import contextlib
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp, GraphInterrupt

from sherlock.blame import blame
from sherlock.errors import NotRevertible, RollbackLimit
from sherlock.interpose.calls import CallScope
from sherlock.interpose.nodes import Visit
from sherlock.runtime.checks import verify
from sherlock.runtime.events import Event, ExecutionEnded, ExecutionStarted, RunFinished
from sherlock.runtime.ledger import Ledger
from sherlock.runtime.record import Record, held
from sherlock.runtime.tracing import RunTrace
from sherlock.side_effects import called

if TYPE_CHECKING:
    from sherlock.runtime.guard import Guard, GuardedGraph

NOTE = "inside a graph that is not guarded, so every verdict was waited for; guard the outer graph to run past them"


class InlineRun:
    """A run of a guarded graph inside another graph's node; it is also the hook of its node executions."""

    def __init__(self, graph: "GuardedGraph") -> None:
        self.graph = graph
        self.guard: Guard = graph.guard
        self.id = str(uuid.uuid4())
        self.ledger = Ledger(self.id, self.guard.on_event)
        self.ledger.notes.append(NOTE)
        self._began = time.perf_counter()
        self._ids = itertools.count(1)
        self._configs: dict[int, RunnableConfig] = {}

    async def stream(self, value: Any, config: RunnableConfig | None, options: Mapping[str, Any]) -> AsyncIterator[Any]:
        """LangGraph's stream of the graph, and a report at its end."""
        self._began = time.perf_counter()
        self.ledger.trace = RunTrace.begin(self.id, self.graph.get_name())
        end, error = "cancelled", None
        chunks = self.graph.inline(self).astream(value, config, **options)
        try:
            async for chunk in chunks:
                yield chunk
            end = "done"
        except GraphBubbleUp as bubble:
            end = "interrupted" if isinstance(bubble, GraphInterrupt) else "done"
            raise
        except Exception as raised:
            end, error = "failed", raised
            raise
        finally:
            await chunks.aclose()  # type: ignore[attr-defined]
            self._report(end, error)

    async def around(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        """Return the node's update, verified and corrected."""
        place = self.guard.places.get(visit.node)
        if visit.is_container or place is None:
            return await run(value)
        record = self._recorded(visit, value)
        if place.attached is None:
            return await self._executed(record, value, run)
        try:
            return await self._verified(record, visit, value, run)
        finally:
            self._configs.pop(record.id, None)

    @contextlib.contextmanager
    def routing(self, visit: Visit) -> Iterator[None]:  # noqa: ARG002
        """Routing functions are not verified."""
        yield

    def now(self) -> float:
        """Seconds since the run began."""
        return time.perf_counter() - self._began

    def tell(self, kind: type[Event], record: Record | None = None, **fields: Any) -> None:
        """Emit an event."""
        about = {} if record is None else {"node": record.place.node, "execution_id": record.label}
        self.ledger.tell(kind(run_id=self.id, at_s=self.now(), **about, **fields))

    def above(self, record: Record) -> Any:
        """The callback manager of the node."""
        return self._configs[record.id].get("callbacks")

    async def _verified(self, record: Record, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        while True:
            self._configs[record.id] = visit.config
            raw = await self._executed(record, value, run)
            ruling = await verify(self, record)
            self._configs.pop(record.id)
            if ruling.kind == "doom":
                raise ruling.error or RollbackLimit("a verifier ended the run")
            if ruling.kind != "retry":
                return raw if ruling.correction is None else ruling.correction
            self.ledger.wasted(record)
            await _undone(record)
            record = self._recorded(visit, value)
            record.retried = True

    def _recorded(self, visit: Visit, value: Any) -> Record:
        place = self.guard.places[visit.node]
        kept = held(value) if place.attached is not None else None
        return Record(
            id=next(self._ids), at=visit.address, place=place, value=kept, attempt=1, began=1, effects=place.effects
        )

    async def _executed(self, record: Record, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        scope = CallScope(price=self.guard.prices.usd)
        self.ledger.executions += 1
        record.started_s = self.now()
        self.tell(ExecutionStarted, record, step=record.at[0][0])
        error: str | None = None
        try:
            with scope.active():
                record.raw = record.update = await run(value)
        except BaseException as raised:
            error = repr(raised)
            raise
        finally:
            scope.close()
            record.calls, record.ended_s = tuple(scope.calls), self.now()
            self.ledger.node_usage += scope.usage
            self.tell(ExecutionEnded, record, seconds=record.ended_s - record.started_s, error=error)
        self.ledger.kept(record)
        return record.raw

    def _report(self, end: str, error: Exception | None) -> None:
        if self.ledger.trace is not None:
            self.ledger.trace.failure = error
        self.ledger.ended(end, self.now())
        report = self.ledger.report(self.now(), blocking=True)
        self.guard.keep(report)
        self.tell(RunFinished, report=report)


async def _undone(record: Record) -> None:
    """Take back what a node has done that is to be executed again."""
    effect = record.place.effect
    if record.effects != "compensable" or effect is None or effect.undo is None:
        return
    try:
        await called(effect.undo, record.value, record.raw)
    except Exception as error:
        raise NotRevertible(
            f"the effect of node {record.place.node!r} could not be undone: its undo raised {blame(error)}"
        ) from error
