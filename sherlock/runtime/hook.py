"""Stands round the node executions of a guarded run: starts them, keeps them, and repeats them from their records.

Every execution of a leaf node is a task of its own, so that ending an attempt of LangGraph's does not end what goes on
unchanged: the next attempt attaches to it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CALL,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_TASK_ID,
    NS_SEP,
)

from sherlock.interpose.calls import CallScope
from sherlock.interpose.journal import journal, reads_the_same
from sherlock.interpose.nodes import Address, Visit
from sherlock.runtime import machine as m
from sherlock.runtime.chunks import redirected, seen_already
from sherlock.runtime.effects_anchor import keeps_checkpoints
from sherlock.runtime.events import ExecutionEnded, ExecutionStarted
from sherlock.runtime.record import Record, held, keys_of

if TYPE_CHECKING:
    from sherlock.runtime.run import Run


async def over(task: "asyncio.Task[Any]") -> None:
    """Wait until a task has ended, however; to be cancelled here does nothing to the task."""
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    task.add_done_callback(lambda _: None if waiter.done() else waiter.set_result(None))
    await waiter


_TASKS = 64


def beside(config: RunnableConfig) -> Iterable[str]:
    """The nodes that LangGraph runs in one superstep with the one that was given this config, itself left out perhaps.

    Where LangGraph does not show them as we know it, "*" stands for all.
    """
    try:
        running = config[CONF][CONFIG_KEY_CALL].keywords["futures"]()
        return [task.name for task in running.values()]
    except (AttributeError, KeyError, TypeError):
        return ["*"]


class RunHook:
    """The hook of one run, through all its attempts."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.records: dict[int, Record] = {}
        self.rejected: dict[Address, str] = {}
        """Where an execution was rejected and is to be repeated, with its input's digest."""
        self.raised: set[int] = set()
        """What nodes and routing functions raised in this attempt, by identity."""
        self.begun = -2
        """The last superstep of the outermost graph in which a node has begun."""
        self.namespaces: dict[str, Address] = {}
        """The subgraph runs of the line, by LangGraph's checkpoint namespace."""
        self.containers: list[tuple[int, str]] = []
        """The subgraph runs that have ended: superstep of the outermost graph, and task."""
        self.task_steps: dict[str, int] = {}
        self._ids = 0

    async def around(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        """Return the node's update: executed, or from the record of the same execution."""
        try:
            return await self._around(visit, value, run)
        except Exception as error:
            if not visit.is_container:
                self.raised.add(id(error))
            raise

    async def _around(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        configurable = visit.config[CONF]
        self.begun = max(self.begun, visit.address[0][0])
        self.task_steps[configurable.get(CONFIG_KEY_TASK_ID, "")] = visit.address[0][0]
        if self.run.recursion_limit is not None:  # an attempt that goes on gets less, which is not for its subgraphs
            visit.config["recursion_limit"] = self.run.recursion_limit
        if visit.is_container:
            self.namespaces[configurable.get(CONFIG_KEY_CHECKPOINT_NS, "")] = visit.address
            if not keeps_checkpoints(self.run.graph.nodes, visit.node):
                # LangGraph 1.2 fails where it is to wait for the saver of a subgraph that was told to have none.
                visit.config[CONF] = {**configurable, CONFIG_KEY_DURABILITY: "async"}
            update = await run(value)
            self.containers.append((visit.address[0][0], configurable.get(CONFIG_KEY_TASK_ID, "")))
            return update
        if self._is_calm(visit):
            return await self._execute_calmly(visit, value, run)
        record = await self._recorded(visit, value)
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

    def forget(self, step: int) -> None:
        """Superstep `step` and all before it are final."""
        if self.namespaces:
            self.namespaces = {ns: at for ns, at in self.namespaces.items() if at[0][0] > step}
        if len(self.task_steps) > _TASKS:  # a subgraph's chunks may come a little later than it ends
            self.task_steps = {task: at for task, at in self.task_steps.items() if at >= step}
        if self.rejected:
            self.rejected = {at: digest for at, digest in self.rejected.items() if at[0][0] > step}

    @contextlib.contextmanager
    def routing(self, visit: Visit) -> Iterator[None]:  # noqa: ARG002
        """Routing functions run again with every attempt, and are not recorded."""
        try:
            yield
        except Exception as error:
            self.raised.add(id(error))
            raise

    def _is_calm(self, visit: Visit) -> bool:
        """Whether nothing can roll back while the node runs, nor make it run again.

        It is so when the run awaits no verdict, and will await none that concerns what runs beside the node.
        """
        place = self.run.places[visit.node]
        return (
            place.attached is None
            and place.effects == "none"
            and self.run.store is None
            and len(visit.address) == 1
            and not self.run.machine.executions
            and not any(self.run.guard.concerns(name) for name in beside(visit.config))
        )

    async def _execute_calmly(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        """Execute a node that leaves no record: it is final as soon as its superstep has ended."""
        place = self.run.places[visit.node]
        if self.run.counts_all:
            self._ids += 1
            record = Record(id=self._ids, at=visit.address, place=place, value=None, attempt=0, began=0)
            with self._metered(record):
                update = await run(value)
            self.run.depth_allowed(record)
            self.run.ledger.kept(record)
        else:  # its model calls are those of the run
            self.run.ledger.executions += 1
            began = self.run.now()
            update = await run(value)
            self.run.ended_calmly(place, began)
        return update

    async def _recorded(self, visit: Visit, value: Any) -> Record | None:
        known = self.run.machine.at(visit.address)
        if known is None:
            return None
        record = self.records[known.id]
        differs = await self._store_differs(record)
        if self.run.machine.at(visit.address) is not known:
            return None  # rejected meanwhile
        if known.reached or not record.same_reads(value) or differs:
            self.run.handle(m.Replaced(id=known.id))
            return None
        same = record.place.attached is None or record.same_inputs(value)
        if not same:
            record.value, record.update, record.retried = held(value), record.raw, False
        self.run.handle(m.Kept(id=known.id, same_inputs=same))
        return record

    async def _store_differs(self, record: Record) -> bool:
        """Whether the execution would read something else from the store now."""
        store = self.run.store
        if store is None or not record.store_reads or record.effects == "irreversible":
            return False  # nothing that was there before an irreversible effect can have changed
        return not await reads_the_same(store, record.store_reads, record.writes)

    async def _begin(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Record:
        place = self.run.places[visit.node]
        effects = self.run.effects.kind_of(place, value)
        machine = self.run.machine
        if effects == "irreversible" and not (machine.phase == "running" and machine.is_settled_before(visit.address)):
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
        self._redirect(record, visit)
        try:
            with self._metered(record), journal(record.writes, record.store_reads):
                record.raw = record.update = await self.run.effects.execute(record, visit, value, run)
        except BaseException:
            self.run.handle(m.Broke(id=record.id))
            self.records.pop(record.id, None)
            raise
        record.ended = True
        depth = self.run.depth_allowed(record)
        self.run.handle(m.Ended(id=record.id, writes=keys_of(record.raw), depth=depth))
        return record.raw

    @contextlib.contextmanager
    def _metered(self, record: Record) -> Iterator[None]:
        """Count an execution, its time and its model calls."""
        run = self.run
        run.counted()
        scope = CallScope(price=run.prices.usd)
        record.started_s = run.now()
        run.tell(ExecutionStarted, record, step=record.at[0][0])
        error: str | None = None
        try:
            with scope.active():
                yield
        except BaseException as raised:
            error = repr(raised)
            raise
        finally:
            scope.close()
            record.calls, record.ended_s = tuple(scope.calls), run.now()
            if record.calls:
                run.spent_by_node(scope.usage)
            run.tell(ExecutionEnded, record, seconds=record.ended_s - record.started_s, error=error)

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
                await self.run.stop(record)
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

        run = self.run  # a thread that outlives it may still call

        def sink(ns: tuple[str, ...], mode: str, payload: Any) -> None:
            run.soon(self._streamed, record, (ns, mode, payload))

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
