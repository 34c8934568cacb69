"""One guarded run: drives LangGraph in attempts as the machine says, and gives out what is committed.

Three kinds of tasks belong to a run. The *pump* iterates over LangGraph's own stream of the current attempt. The
*director* carries out the machine's commands one after another. Executions and verifications report to the machine
when they end. The consumer takes from the released chunks, and no superstep begins unless it is waiting for one.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_THREAD_ID,
)

from sherlock.interpose.calls import CallScope
from sherlock.interpose.journal import JournalStore
from sherlock.interpose.nodes import Address
from sherlock.models.prices import Prices
from sherlock.runtime import machine as m
from sherlock.runtime.attempts import Attempts
from sherlock.runtime.callbacks import RootRun
from sherlock.runtime.chunks import Form, Held
from sherlock.runtime.director import Director
from sherlock.runtime.effects import Effects
from sherlock.runtime.events import (
    Committed,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    RunFinished,
)
from sherlock.runtime.gate import Durability, Gate
from sherlock.runtime.hook import RunHook
from sherlock.runtime.ledger import Ledger
from sherlock.runtime.places import Place
from sherlock.runtime.record import Record
from sherlock.runtime.tracing import RunTrace
from sherlock.usage import Usage

if TYPE_CHECKING:
    from sherlock.runtime.guard import GuardedGraph


class Run:
    """A run of `graph` on `value`. The arguments are those of LangGraph's `astream`.

    `eager`: the consumer takes everything at once, so that the run need not wait for it.
    """

    def __init__(
        self,
        graph: "GuardedGraph",
        value: Any,
        config: RunnableConfig,
        form: Form,
        options: Mapping[str, Any],
        *,
        eager: bool = False,
    ) -> None:
        self.graph = graph
        self.guard = graph.guard
        self.places = self.guard.places
        self.policy = self.guard.policy
        self.prices: Prices = self.guard.prices
        self.form = form
        self.value = value
        self.config = config
        self.options = dict(options)
        self.durability: Durability = (
            self.options.pop("durability", None) or config[CONF].get(CONFIG_KEY_DURABILITY) or "async"
        )
        self.id = str(uuid.uuid4())
        self.hook = RunHook(self)
        self.held = Held(marks=self.policy.stream == "mark")
        self.ledger = Ledger(self.id, self._told())
        self.recursion_limit: int | None = None
        self.store = JournalStore(graph.store) if graph.store is not None else None
        self.effects = Effects(self)
        self.scope = CallScope(price=self.prices.usd)
        """Of model calls that belong to no recorded execution: of calm ones, and of routing functions."""
        self.root: RootRun | None = None
        self._waiting: list[asyncio.Future[None]] = []
        """Those who wait for something to change."""
        self._consumer: asyncio.Future[None] | None = None
        self.pulling = self.eager = eager
        self.attempts: Attempts = Attempts(self)
        self.director = Director(self)
        self._director: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self.over = False
        self.failure: BaseException | None = None
        self.broken_by: Exception | None = None
        self.has_saver = self._is_prepared = False
        self.base_step = -2
        self._spent_waste = 0.0

    # The consumer's side

    async def stream(self) -> AsyncIterator[Any]:
        """Give out the chunks, and raise what ends the run."""
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        try:
            self.ledger.trace = RunTrace.begin(self.id, self.graph.get_name(), self.guard.placed)
            with self.traced():
                await self._prepare()
            self._director = asyncio.ensure_future(self.director.direct())
            while True:
                if not self.pulling:
                    self.pulling = True
                    self.notify()
                while not self.over and not (self.held.released and not self.eager):
                    self._consumer = self._loop.create_future()
                    await self._consumer
                self.pulling = self.eager
                if not self.held.released:
                    break
                yield self.held.released.popleft()
            if self.failure is not None:
                raise self.failure
        finally:
            await _surely(self._close())
            self._let_go()

    def _let_go(self) -> None:
        """Leave no cycles behind: thousands of runs at once would spend their time in collecting them."""
        self.hook.records.clear()
        for part in (self.hook, self.attempts, self.director, self.effects, *vars(self.effects).values()):
            for name in ("run", "_run"):
                getattr(part, "__dict__", {}).pop(name, None)
        if self._is_prepared:
            self.gate.on_step, self.gate.on_inner_step = _go_on, None
        self._director = None

    async def _prepare(self) -> None:
        configurable = self.config[CONF]
        base = self.graph.base_checkpointer(self.config)
        self.has_saver = base is not None
        if base is None:
            # LangGraph wants an address for its checkpointer, and hides what begins with two underscores. Only where
            # it tells of checkpoints does it want a thread.
            address = CONFIG_KEY_THREAD_ID if self.form.modes & {"checkpoints", "debug"} else _PRIVATE
            self.config = {**self.config, CONF: {address: self.id, **configurable}}
        elif (thread := configurable.get(CONFIG_KEY_THREAD_ID)) is not None:
            self.config = {**self.config, CONF: {**configurable, CONFIG_KEY_THREAD_ID: str(thread)}}
        self.recursion_limit = self.config["recursion_limit"]
        self.gate = Gate(base, durability=self.durability, config=self.config, on_step=self._on_step)
        self.gate.on_inner_step = self._on_inner_step
        self._is_prepared = True
        saved = await self.gate.load()
        self.base_step = saved.metadata["step"] if saved is not None else -2
        self.machine = m.Machine(
            ended=self.base_step, max_rollbacks=self.policy.max_rollbacks, on_limit=self.policy.on_limit
        )
        if saved is not None:
            await self.effects.take_up(saved)
        self.root = await RootRun.begin(self.config, self.value, self.graph.get_name())

    async def _close(self) -> None:
        """End everything that the run has started, and wait until it is gone."""
        self.over = True
        for task in [self._director, self.attempts.pump]:
            if task is not None:
                await self.end(task)
        for record in list(self.hook.records.values()):
            await self.stop(record)
        for each in list(self._tasks):
            await self.end(each)
        if self.root is not None:
            await self.root.end(self.failure if self.ledger.end != "cancelled" else asyncio.CancelledError())
        if self._is_prepared:
            await self.gate.settle()
            if (failure := await self.effects.undo_uncommitted()) is not None:
                self.ledger.notes.append(str(failure))
        self.close_books()

    def close_books(self) -> None:
        """Close the books, once."""
        if not self.scope.closed:
            self.scope.close()
            self.spent_by_node(self.scope.usage)
            if self.ledger.trace is not None:
                self.ledger.trace.failure = self.failure
            report = self.ledger.report(self.now())
            self.guard.keep(report)
            self.tell(RunFinished, report=report)

    def traced(self) -> contextlib.AbstractContextManager[object]:
        """A block in which whatever makes spans makes them below the run's."""
        return contextlib.nullcontext() if self.ledger.trace is None else self.ledger.trace.current()

    def _told(self) -> Callable[[Event], None] | None:
        """Who hears of events: the guard's callback, and the stream where it has the mode `sherlock`."""
        callback = self.guard.on_event
        if "sherlock" not in self.form.modes:
            return callback

        def told(event: Event) -> None:
            self.held.released.append(self.form.write((), "sherlock", event))
            if callback is not None:
                callback(event)

        return told

    # What executions, verifications and LangGraph tell

    def handle(self, event: m.Event) -> None:
        """Tell the machine, and have what it says done."""
        self.director.take(self.machine.handle(event))
        self.notify()

    async def _on_step(self, step: int) -> None:
        """A superstep of the outermost graph has ended: wait until the next may begin."""
        self.attempts.puts += 1
        self.handle(m.StepEnded(step=step))
        self.attempts.check_limit(step)
        await self._may_go_on(step, ())

    async def _on_inner_step(self, step: int, namespace: str) -> None:
        """A superstep of a subgraph has ended. A graph that a node calls by itself is part of that node."""
        if (within := self.hook.namespaces.get(namespace)) is not None:
            self.handle(m.StepEnded(step=step, within=within))
            await self._may_go_on(step, within)

    async def _may_go_on(self, step: int, within: Address) -> None:
        while self.machine.phase == "running" and not self.over:
            if self.director.may_commit:
                await self.director.perform()  # no need to wake anybody
            elif self.director.is_quiet and self.pulling and self.machine.may_go_on(step, within):
                return
            else:
                await self.moved()

    @property
    def attempt(self) -> int:
        """The number of the current attempt, from 1."""
        return self.attempts.number

    def take_own(self, record: Record, chunk: tuple[tuple[str, ...], str, Any]) -> None:
        """Take in what an execution streams by itself."""
        self.attempts.take_own(record, chunk)

    @property
    def stopping(self) -> bool:
        """Whether the attempt is being ended to begin another."""
        return self.machine.phase in ("stopping", "idle") and not self.over

    def now(self) -> float:
        """Seconds since the run began."""
        return self._loop.time() - self._began

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """A task of the run, which does not outlive it."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._gone)
        return task

    def _gone(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # else Python reports that nobody looked at it

    async def end(self, task: "asyncio.Task[Any]") -> None:
        """Cancel a task, if it runs, and wait until it is gone."""
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=_PATIENCE_S)

    async def stop(self, record: Record) -> None:
        """End an execution. What can be undone is given time to return: nobody could undo what was cut off."""
        task = record.task
        if task is None or task.done():
            return
        if record.effects == "compensable":
            await asyncio.wait([task], timeout=_PATIENCE_S)
        await self.end(task)

    def soon(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call on the run's loop, from whichever thread."""
        try:
            same = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            same = False
        if same:
            call(*arguments)
        else:
            self._loop.call_soon_threadsafe(call, *arguments)

    def broken(self, error: Exception) -> None:
        """Something failed that no rollback can mend."""
        if self.broken_by is None:
            self.broken_by = error
        self.handle(m.Broken())

    async def store_writes(self, done: list[Record]) -> None:
        """Give the user's store what these executions wrote, in order."""
        base = self.graph.store
        if base is None:
            return
        for record in sorted(done, key=lambda r: (r.at[0][0], r.started_s)):
            if record.writes:
                try:
                    await base.abatch(list(record.writes))
                except NotImplementedError:  # a store that is only synchronous
                    await asyncio.to_thread(base.batch, list(record.writes))
                record.writes.clear()
                record.store_reads.clear()  # they were answered in view of those writes

    # Books

    def tell(self, kind: type[Event], record: Record | None = None, **fields: Any) -> None:
        """Emit an event."""
        if kind in _UNTOLD and self.ledger.is_quiet:
            return
        about = {} if record is None else {"node": record.place.node, "execution_id": record.label}
        self.ledger.tell(kind(run_id=self.id, at_s=self.now(), **about, **fields))

    def counted(self) -> None:
        """A node executes."""
        self.ledger.executions += 1
        if self.ledger.resumed_s is not None:
            self.guard.learner.record_rollback(self.now() - self.ledger.resumed_s)
            self.ledger.resumed_s = None

    def depth_allowed(self, record: Record) -> int:
        """How many supersteps may begin past an execution that has just ended."""
        usage = sum((call.usage for call in record.calls), Usage())
        self.guard.learner.record_execution(record.place.node, record.ended_s - record.started_s, usage.usd)
        if record.place.attached is None:
            return 0
        decision = self.guard.depth_allowed(record.place, self._spent_waste)
        self._spent_waste += decision.expected_waste_usd
        return decision.depth

    @property
    def counts_all(self) -> bool:
        """Whether each execution is told of, or its price asked for."""
        return self.policy.budget is not None or not self.ledger.is_quiet

    def ended_calmly(self, place: Place, began: float) -> None:
        """An execution has ended that nothing can void."""
        ended = self.now()
        self.ledger.t_exec_s = ended
        if place.node in self.guard.timed:
            self.guard.learner.record_execution(place.node, ended - began)

    def spent_by_node(self, usage: Usage) -> None:
        self.ledger.node_usage += usage

    def above(self, record: Record) -> Any:  # noqa: ARG002
        """The callback manager below which a verification is a run."""
        assert self.root is not None
        return self.root.below

    # Waiting

    def notify(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        consumer = self._consumer
        ready = self.over or (self.held.released and not self.eager)
        if consumer is not None and ready and not consumer.done():
            consumer.set_result(None)

    async def moved(self) -> None:
        """Wait until something has changed."""
        future = self._loop.create_future()
        self._waiting.append(future)
        await future


_PATIENCE_S = 10.0
"""Before a task that does not end is cancelled once more."""
_PRIVATE = "__sherlock_run"
_UNTOLD = (ExecutionStarted, ExecutionEnded, Committed)
"""Events that nobody is told of unless somebody listens: the report does without them."""


async def _go_on(step: int) -> None:
    """What an attempt that is gone is told."""


async def _surely(work: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end, whoever is cancelled meanwhile; then let the cancellation go on."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError
    task.result()
