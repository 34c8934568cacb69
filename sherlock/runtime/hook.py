"""Stands round the node executions of a guarded run: starts them, keeps them, and repeats them from their records.

Every execution of a leaf node is a task of its own, so that ending an attempt of LangGraph's does not end what goes on
unchanged: the next attempt attaches to it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_RUNTIME, CONFIG_KEY_TASK_ID, NS_SEP
from langgraph.errors import GraphBubbleUp

from sherlock.interpose.calls import CallScope
from sherlock.interpose.journal import journal
from sherlock.interpose.nodes import Address, Visit
from sherlock.runtime import machine as m
from sherlock.runtime.chunks import redirected, seen_already
from sherlock.runtime.events import ExecutionEnded, ExecutionStarted
from sherlock.runtime.record import Record, held, keys_of

if TYPE_CHECKING:
    from sherlock.runtime.run import Run


async def over(task: "asyncio.Task[Any]") -> None:
    """Wait until a task has ended, however; to be cancelled here does nothing to the task."""
    waiter = asyncio.get_running_loop().create_future()
    task.add_done_callback(lambda _: waiter.done() or waiter.set_result(None))
    await waiter


class RunHook:
    """The hook of one run, through all its attempts."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.records: dict[int, Record] = {}
        self.rejected: dict[Address, str] = {}
        """Where an execution was rejected and is to be repeated, with its input's digest."""
        self.interrupted = False
        self.begun = -2
        """The last superstep of the outermost graph in which a node has begun."""
        self.namespaces: dict[str, Address] = {}
        """The subgraph runs of the line, by LangGraph's checkpoint namespace."""
        self.task_steps: dict[str, int] = {}
        self._ids = 0

    async def around(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        """Return the node's update: executed, or from the record of the same execution."""
        configurable = visit.config[CONF]
        self.begun = max(self.begun, visit.address[0][0])
        self.task_steps[configurable.get(CONFIG_KEY_TASK_ID, "")] = visit.address[0][0]
        if self.run.recursion_limit is not None:  # an attempt that goes on gets less, which is not for its subgraphs
            visit.config["recursion_limit"] = self.run.recursion_limit
        if visit.is_container:
            self.namespaces[configurable.get(CONFIG_KEY_CHECKPOINT_NS, "")] = visit.address
            return await run(value)
        record = self._recorded(visit, value)
        while True:
            if record is not None:
                self._repeat(record)
            else:
                record = await self._begin(visit, value, run)
            attached = record.began != self.run.attempt
            await self._ended(record)
            assert record.task is not None
            if not attached or record.ended:
                break
            record = None  # what it needed of the attempt that it began in is gone with that
        if attached and record.update is record.raw:
            seen_already(visit.config, record.chunks)
        record.task.result()
        return record.update

    @contextlib.contextmanager
    def routing(self, visit: Visit) -> Iterator[None]:  # noqa: ARG002
        """Routing functions run again with every attempt, and are not recorded."""
        yield

    def _recorded(self, visit: Visit, value: Any) -> Record | None:
        known = self.run.machine.at(visit.address)
        if known is None:
            return None
        record = self.records[known.id]
        if known.reached or not record.same_reads(value) or self._store_differs(record):
            self.run.handle(m.Replaced(id=known.id))
            return None
        same = record.place.attached is None or record.same_inputs(value)
        if not same:
            record.value, record.update, record.retried = held(value), record.raw, False
        self.run.handle(m.Kept(id=known.id, same_inputs=same))
        return record

    def _store_differs(self, record: Record) -> bool:
        store = self.run.store
        return store is not None and record.store_state is not None and record.store_state != store.state()

    async def _begin(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Record:
        place = self.run.places[visit.node]
        effects = self.run.effects.kind_of(place, value)
        if effects == "irreversible" and not self.run.machine.is_settled_before(visit.address):
            self.run.handle(m.Parked(at=visit.address))
            await asyncio.Event().wait()  # until the attempt is gone
        self._ids += 1
        record = Record(
            id=self._ids,
            at=visit.address,
            place=place,
            value=held(value),
            attempt=self.run.attempt,
            began=self.run.attempt,
            effects=effects,
            task_id=visit.config[CONF].get(CONFIG_KEY_TASK_ID, ""),
        )
        rejected = self.rejected.get(visit.address)
        record.retried = rejected is not None and rejected == record.input_digest()
        self.records[record.id] = record
        self.run.handle(
            m.Started(
                id=record.id,
                at=record.at,
                placed=place.attached is not None,
                reads=place.reads,
                inputs=place.inputs,
                undoable=effects == "compensable",
            )
        )
        record.task = self.run.spawn(self._execute(record, visit, value, run))
        return record

    async def _execute(self, record: Record, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        self.run.counted(record)
        scope = CallScope(price=self.run.price)
        self._redirect(record, visit)
        record.started_s = self.run.now()
        self.run.tell(ExecutionStarted, record, step=record.at[0][0])
        try:
            with scope.active(), journal(record.writes):
                record.raw = record.update = await self.run.effects.execute(record, visit, value, run)
        except BaseException as error:
            self.interrupted = self.interrupted or isinstance(error, GraphBubbleUp)
            self.run.tell(ExecutionEnded, record, seconds=self.run.now() - record.started_s, error=repr(error))
            self.run.handle(m.Broke(id=record.id))
            self.records.pop(record.id, None)
            raise
        finally:
            scope.close()
            record.calls = tuple(scope.calls)
            self.run.spent_by_node(scope.usage)
        record.ended, record.ended_s = True, self.run.now()
        self.run.tell(ExecutionEnded, record, seconds=record.ended_s - record.started_s)
        depth = self.run.depth_allowed(record)
        self.run.handle(m.Ended(id=record.id, writes=keys_of(record.raw), depth=depth))
        return record.raw

    async def _ended(self, record: Record) -> None:
        """Wait for the end of an execution; it goes on if the attempt is ended to begin another."""
        task = record.task
        assert task is not None
        if task.done():
            return
        try:
            await over(task)
        except asyncio.CancelledError:
            if not self.run.stopping:  # LangGraph's own doing: a timeout, a failure beside it, the caller
                await self.run.end(task)
            raise

    def _repeat(self, record: Record) -> None:
        """Say again what the execution had streamed so far, and what it had put into the store."""
        record.attempt = self.run.attempt
        if record.update is record.raw:
            for chunk in record.chunks:
                self.run.take_own(record, chunk)
        if self.run.store is not None:
            self.run.store.replay(record.writes)

    def _redirect(self, record: Record, visit: Visit) -> None:
        """Let what the execution streams by itself go to its record and to the run, whichever attempt that is in."""
        modes = self.run.form.modes
        if not modes & {"messages", "custom", "tools"}:
            return

        def sink(ns: tuple[str, ...], mode: str, payload: Any) -> None:
            self.run.soon(self._streamed, record, (ns, mode, payload))

        if modes & {"messages", "tools"}:
            redirected(visit.config, sink)
        if "custom" in modes:
            ns = tuple(visit.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "").split(NS_SEP)[:-1])
            if not ns or self.run.form.subgraphs:
                runtime = visit.config[CONF][CONFIG_KEY_RUNTIME]
                runtime = runtime.override(stream_writer=lambda data: sink(ns, "custom", data))
                visit.config[CONF] = {**visit.config[CONF], CONFIG_KEY_RUNTIME: runtime}

    def _streamed(self, record: Record, chunk: tuple[tuple[str, ...], str, Any]) -> None:
        record.chunks.append(chunk)
        if record.id in self.records and record.attempt == self.run.attempt:
            self.run.take_own(record, chunk)
