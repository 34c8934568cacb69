"""One guarded run: drives LangGraph in attempts as the machine says, and gives out what is committed.

Three kinds of tasks belong to a run. The *pump* iterates over LangGraph's own stream of the current attempt. The
*director* carries out the machine's commands one after another. Executions and verifications report to the machine
when they end. The consumer takes from the released chunks, and no superstep begins unless it is waiting for one.
"""

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_THREAD_ID,
)
from langgraph.errors import ErrorCode, GraphRecursionError, create_error_message

from sherlock.errors import RollbackLimit, SherlockError, VerifierError
from sherlock.interpose.calls import CallScope
from sherlock.interpose.journal import JournalStore
from sherlock.interpose.nodes import Address, follows, hooked
from sherlock.models.prices import Prices
from sherlock.runtime import machine as m
from sherlock.runtime.callbacks import RootRun
from sherlock.runtime.checks import check
from sherlock.runtime.chunks import Form, Held, step_of
from sherlock.runtime.effects import Effects
from sherlock.runtime.events import (
    Committed,
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Flagged,
    Provisional,
    Retracted,
    RolledBack,
    RunFinished,
    VerifierFailed,
)
from sherlock.runtime.gate import Gate
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
        self.durability = self.options.pop("durability", None) or config[CONF].get(CONFIG_KEY_DURABILITY) or "async"
        self.id = str(uuid.uuid4())
        self.hook = RunHook(self)
        self.held = Held(marks=self.policy.stream == "mark")
        self.ledger = Ledger(self.id, self._told())
        self.attempt = 0
        self.recursion_limit: int | None = None
        self.store = JournalStore(graph.store) if graph.store is not None else None
        self.effects = Effects(self)
        self.scope = CallScope(price=self.price)
        """Of model calls that belong to no recorded execution: of calm ones, and of routing functions."""
        self.root: RootRun | None = None
        self._commands: deque[m.Command] = deque()
        self._directing = False
        self._waiting: list[asyncio.Future[None]] = []
        """Those who wait for something to change."""
        self._consumer: asyncio.Future[None] | None = None
        self._pulling = self._eager = eager
        self._pump: asyncio.Task[None] | None = None
        self._director: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._checks: dict[int, asyncio.Task[None]] = {}
        self._over = False
        self._failure: BaseException | None = None
        self._attempt_error: BaseException | None = None
        self._broken: Exception | None = None
        self._puts = 0
        self._has_saver = False
        self._is_short_of_steps = False
        self._base_step = -2
        self._spent_waste = 0.0

    # The consumer's side

    async def stream(self) -> AsyncIterator[Any]:
        """Give out the chunks, and raise what ends the run."""
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._wake = asyncio.Event()
        try:
            self.ledger.trace = RunTrace.begin(self.id, self.graph.get_name(), self.guard.placed)
            with self._traced():
                await self._prepare()
            self._director = asyncio.ensure_future(self._direct())
            while True:
                if not self._pulling:
                    self._pulling = True
                    self._notify()
                while not self._over and not (self.held.released and not self._eager):
                    self._consumer = self._loop.create_future()
                    await self._consumer
                self._pulling = self._eager
                if not self.held.released:
                    break
                yield self.held.released.popleft()
            if self._failure is not None:
                raise self._failure
        finally:
            await _surely(self._close())

    async def _prepare(self) -> None:
        configurable = self.config[CONF]
        base = self.graph.base_checkpointer(self.config)
        self._has_saver = base is not None
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
        saved = await self.gate.load()
        self._base_step = saved.metadata["step"] if saved is not None else -2
        self.machine = m.Machine(
            ended=self._base_step, max_rollbacks=self.policy.max_rollbacks, on_limit=self.policy.on_limit
        )
        if saved is not None:
            await self.effects.take_up(saved)
        self.root = await RootRun.begin(self.config, self.value, self.graph.get_name())

    async def _close(self) -> None:
        """End everything that the run has started, and wait until it is gone."""
        self._over = True
        for task in [self._director, self._pump]:
            if task is not None:
                await self.end(task)
        for each in list(self._tasks):
            await self.end(each)
        if self.root is not None:
            await self.root.end(self._failure if self.ledger.end != "cancelled" else asyncio.CancelledError())
        if hasattr(self, "gate"):
            await self.gate.settle()
            if (failure := await self.effects.undo_uncommitted()) is not None:
                self.ledger.notes.append(str(failure))
        self._report()

    def _report(self) -> None:
        """Close the books, once."""
        if not self.scope.closed:
            self.scope.close()
            self.spent_by_node(self.scope.usage)
            if self.ledger.trace is not None:
                self.ledger.trace.failure = self._failure
            report = self.ledger.report(self.now())
            self.guard.keep(report)
            self.tell(RunFinished, report=report)

    def _traced(self) -> contextlib.AbstractContextManager[object]:
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
        for command in self.machine.handle(event):
            if self._commands or type(command) not in _AT_ONCE:
                self._commands.append(command)
            else:
                _AT_ONCE[type(command)](self, command)
        if self._commands and not self._directing:
            self._wake.set()
        self._notify()

    async def _on_step(self, step: int) -> None:
        """A superstep of the outermost graph has ended: wait until the next may begin."""
        self._puts += 1
        self.handle(m.StepEnded(step=step))
        self._check_limit(step)
        await self._may_go_on(step, ())

    async def _on_inner_step(self, step: int, namespace: str) -> None:
        """A superstep of a subgraph has ended. A graph that a node calls by itself is part of that node."""
        if (within := self.hook.namespaces.get(namespace)) is not None:
            self.handle(m.StepEnded(step=step, within=within))
            await self._may_go_on(step, within)

    async def _may_go_on(self, step: int, within: Address) -> None:
        while self.machine.phase == "running" and not self._over:
            if self._commands and isinstance(self._commands[0], m.Commit) and not self._directing:
                await self._perform()  # no need to wake anybody
            elif not self._commands and self._pulling and self.machine.may_go_on(step, within):
                return
            else:
                await self.moved()

    def _check_limit(self, step: int) -> None:
        """LangGraph refuses a limit under 1, so an attempt that begins in the last supersteps has too many."""
        assert self.recursion_limit is not None
        if self._is_short_of_steps and step > self._base_step + self.recursion_limit:
            raise GraphRecursionError(_out_of_steps(self.recursion_limit))

    @property
    def stopping(self) -> bool:
        """Whether the attempt is being ended to begin another."""
        return self.machine.phase in ("stopping", "idle") and not self._over

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
            await asyncio.wait([task], timeout=1.0)

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

    # The stream

    def _take(self, chunk: Any, attempt: int) -> None:
        ns, mode, payload = self.form.read(chunk)
        if not self._has_saver and (mode == "checkpoints" or _is_checkpoint(mode, payload)):
            return  # there are none that the user knows of
        repeats_start = attempt > 1 and self._puts == 0 and not ns and self.hook.begun <= self.machine.ended
        if repeats_start and (mode in ("values", "checkpoints") or _is_checkpoint(mode, payload)):
            return  # of the superstep before, which was reported in its time
        step = step_of(
            mode,
            payload,
            ns,
            ended=self.machine.ended,
            begun=self.hook.begun,
            task_steps=self.hook.task_steps,
        )
        self._put(step, chunk)

    def take_own(self, record: Record, chunk: tuple[tuple[str, ...], str, Any]) -> None:
        """Take in what an execution streams by itself."""
        self._put(record.at[0][0], self.form.write(*chunk))

    def _put(self, step: int, chunk: Any) -> None:
        position = self.held.put(step, chunk, self.machine.committed)
        if position is not None:
            self.tell(Provisional, ids=(position,))
        self._notify()

    def _drop(self, step: int) -> None:
        """Of the stream, everything from superstep `step` on is void."""
        if ids := self.held.roll_back(step):
            self.tell(Retracted, ids=ids)

    # Attempts

    def _launch(self) -> None:
        self.attempt += 1
        self._puts = 0
        self._attempt_error = None
        self.hook.interrupted, self.hook.begun = False, self.machine.ended
        self.hook.raised.clear()
        self._pump = asyncio.ensure_future(self._pumped(self.attempt))

    async def _pumped(self, attempt: int) -> None:
        view = self.gate.view()
        twin = self.graph.attempt_of(view, self.store)
        value, config = (self.value, self.config) if attempt == 1 else (None, self._going_on())
        assert self.root is not None
        config = self.root.config(config)
        end: m.End | None = "done"
        chunks = None
        try:
            with hooked(self.hook), self.scope.active(), self._traced():
                chunks = twin.astream(
                    value,
                    config,
                    stream_mode=self.form.stream_mode,
                    subgraphs=self.form.subgraphs,
                    version=self.form.version,
                    durability="sync",
                    **self.options,
                )
                async for chunk in chunks:
                    self._take(chunk, attempt)
                    while not self._eager and (self.held.released or not self._pulling):
                        await self.moved()
            end = "interrupted" if self.hook.interrupted else "done"
        except asyncio.CancelledError:
            if not self.stopping:
                raise
            end = None
        except Exception as error:  # noqa: BLE001  (whatever the user's graph raises is how this attempt ends)
            self._attempt_error, end = _named(error, self.recursion_limit), "error"
        finally:
            if chunks is not None:
                await chunks.aclose()  # type: ignore[attr-defined]
            view.close()
        refused = self._refused() if end == "error" else ()
        if refused:
            end = None
        self.handle(m.AttemptEnded(end=end, refused=refused, doom=self.policy.on_failure == "closed"))

    def _refused(self) -> tuple[int, ...]:
        """The executions whose corrections made the graph raise, not one of its nodes: they count as failures.

        A reducer raises when the superstep ends, the state's own type when the next one begins.
        """
        error, ended = self._attempt_error, self.machine.ended
        if id(error) in self.hook.raised or isinstance(error, GraphRecursionError):
            return ()
        made = [r for r in self.hook.records.values() if r.update is not r.raw and r.at[0][0] in (ended, ended + 1)]
        for record in made:
            attached = record.place.attached
            assert attached is not None
            message = (
                f"the verifier {attached.name!r} on the node {record.place.node!r} returned a correction that the graph "
                f"could not take in: {type(error).__name__}: {error}"
            )
            self.tell(VerifierFailed, record, verifier=attached.name, message=message, seconds=0.0)
            record.update, record.correction = record.raw, None
            if self.policy.on_failure == "closed":
                record.error = VerifierError(f"{message}; the policy fails closed (on_failure)")
                record.error.__cause__ = error
            else:
                self.tell(Flagged, record, why=f"not verified: {message}")
        return tuple(record.id for record in made)

    def _going_on(self) -> RunnableConfig:
        """The config of an attempt that begins at the gate's head."""
        configurable = {**self.config[CONF]}
        configurable.pop(CONFIG_KEY_CHECKPOINT_ID, None)
        resume = getattr(self.value, "resume", None)
        if isinstance(resume, dict):
            configurable[CONFIG_KEY_RESUME_MAP] = resume
        assert self.recursion_limit is not None
        used = self.machine.ended - self._base_step
        self._is_short_of_steps = used >= self.recursion_limit
        return {**self.config, CONF: configurable, "recursion_limit": max(1, self.recursion_limit - used)}

    # Commands

    async def _direct(self) -> None:
        self._launch()
        try:
            while self.machine.phase != "over" or self._commands:
                while not self._commands or self._directing:
                    self._wake.clear()
                    await self._wake.wait()
                await self._perform()
        except Exception as error:  # noqa: BLE001  (the saver's, an undo's: the run ends with it)
            self._failure = error
        finally:
            self._over = True
            self._notify()

    async def _perform(self) -> None:
        """Carry out the next command; nobody else does so meanwhile."""
        command = self._commands[0]
        self._directing = True
        try:
            if (at_once := _AT_ONCE.get(type(command))) is not None:
                at_once(self, command)
            else:
                await _DO[type(command)](self, command)
        finally:
            self._commands.popleft()
            self._directing = False
            if self._commands:
                self._wake.set()
            self._notify()

    def _do_start_check(self, command: m.StartCheck) -> None:
        record = self.hook.records[command.id]
        task = self.spawn(check(self, record, command.check))
        self._checks[command.check] = task
        task.add_done_callback(lambda _: self._checks.pop(command.check, None))
        task.add_done_callback(self._check_raised)

    def _check_raised(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self._broken is None:
            self._broken = error if isinstance(error, Exception) else SherlockError(repr(error))
            self.handle(m.Broken())

    async def _do_cancel_check(self, command: m.CancelCheck) -> None:
        if (task := self._checks.get(command.check)) is not None:
            await self.end(task)

    def _do_roll_back(self, command: m.RollBack) -> None:
        self._drop(command.step)
        record = self.hook.records[command.id]
        gone = [r for r in self.hook.records.values() if r is not record and follows(r.at, record.at)]
        self.tell(
            RolledBack,
            record,
            step=command.step,
            retry=record.correction is None,
            discarded=tuple(r.label for r in sorted(gone, key=lambda r: r.at)),
        )

    def _do_patch(self, command: m.Patch) -> None:
        record = self.hook.records[command.id]
        record.update = record.correction

    def _do_flag(self, command: m.Flag) -> None:
        why = f"rejected, and stays: the limit of {self.policy.max_rollbacks} rollbacks is reached"
        self.tell(Flagged, self.hook.records[command.id], why=why)

    async def _do_forget(self, command: m.Forget) -> None:
        record = self.hook.records.pop(command.id)
        self.ledger.wasted(record)
        if record.task is not None:
            await self.end(record.task)
        if command.undo or (record.ended and record.effects == "compensable"):
            await self.effects.undo(record)

    async def _do_stop(self, command: m.Stop) -> None:  # noqa: ARG002
        if self._pump is not None:
            await self.end(self._pump)

    async def _do_resume(self, command: m.Resume) -> None:
        self.ledger.resumed(self.now())
        self.gate.rollback(command.step)
        self._drop(command.step)
        if self.store is not None:
            self.store.clear()
            kept = [r for r in self.hook.records.values() if r.at[0][0] < command.step]
            self.store.replay(op for record in sorted(kept, key=lambda r: r.started_s) for op in record.writes)
        while not self._pulling:
            await self.moved()
        self._launch()

    async def _do_commit(self, command: m.Commit) -> None:
        await self._commit(command.step)

    async def _commit(self, step: int) -> None:
        done = [r for r in self.hook.records.values() if r.at[0][0] <= step]
        await self.store_writes(done)
        self._mark_verified(done, step)
        await self.gate.commit(step)
        for record in done:
            self.hook.records.pop(record.id, None)
            self.ledger.kept(record)
        if done:
            self.effects.committed(done)
        self.tell(Committed, step=step, ids=self.held.commit(step))
        self._notify()

    def _mark_verified(self, done: list[Record], step: int) -> None:
        """What these tasks leave on a checkpoint is verified, if a later run should find it there."""
        self.gate.verified_tasks.update(r.task_id for r in done if r.place.attached is not None)
        self.gate.verified_tasks.update(task_id for at, task_id in self.hook.containers if at <= step)
        self.hook.containers = [item for item in self.hook.containers if item[0] > step]

    async def _do_finish(self, command: m.Finish) -> None:
        self._failure = self._attempt_error
        done = list(self.hook.records.values())
        await self.store_writes(done)
        self._mark_verified(done, self.machine.ended + 1)
        await self.gate.finish()
        for record in done:
            self.ledger.kept(record)
        self.effects.committed(done)
        self.hook.records.clear()
        step = self.machine.ended + 1
        if ids := self.held.commit(step):
            self.tell(Committed, step=step, ids=ids)
        self.ledger.ended(command.end, self.now())
        self._report()

    async def _do_fail(self, command: m.Fail) -> None:
        if command.id is not None:
            self._failure = self.hook.records[command.id].error
        else:
            self._failure = self._broken or RollbackLimit(
                f"verifiers rejected more than {self.policy.max_rollbacks} outputs in one run (max_rollbacks): "
                "raise the limit, or let on_limit be 'flag'"
            )
        for record in list(self.hook.records.values()):
            if record.task is not None:
                await self.end(record.task)
        if (failure := await self.effects.undo_uncommitted()) is not None:
            failure.add_note(f"The run had failed already: {self._failure!r}")
            self._failure = failure
        self.ledger.ended("failed", self.now())
        self._report()

    def broken(self, error: Exception) -> None:
        """Something failed that no rollback can mend."""
        if self._broken is None:
            self._broken = error
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

    def counted(self, record: Record) -> None:
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
        self.guard.learner.record_execution(place.node, ended - began)

    def spent_by_node(self, usage: Usage) -> None:
        self.ledger.node_usage += usage

    def above(self, record: Record) -> Any:  # noqa: ARG002
        """The callback manager below which a verification is a run."""
        assert self.root is not None
        return self.root.below

    def price(self, model: str, usage: Usage) -> float | None:
        """The dollars of a model call."""
        return self.prices.usd(model, usage)

    # Waiting

    def _notify(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        consumer = self._consumer
        ready = self._over or (self.held.released and not self._eager)
        if consumer is not None and ready and not consumer.done():
            consumer.set_result(None)

    async def moved(self) -> None:
        """Wait until something has changed."""
        future = self._loop.create_future()
        self._waiting.append(future)
        await future


_PRIVATE = "__sherlock_run"
_UNTOLD = (ExecutionStarted, ExecutionEnded, Committed)
"""Events that nobody is told of unless somebody listens: the report does without them."""
_AT_ONCE: dict[type, Callable[[Run, Any], None]] = {
    m.StartCheck: Run._do_start_check,
    m.RollBack: Run._do_roll_back,
    m.Patch: Run._do_patch,
    m.Flag: Run._do_flag,
}
_DO: dict[type, Callable[[Run, Any], Coroutine[Any, Any, None]]] = {
    m.CancelCheck: Run._do_cancel_check,
    m.Forget: Run._do_forget,
    m.Stop: Run._do_stop,
    m.Resume: Run._do_resume,
    m.Commit: Run._do_commit,
    m.Finish: Run._do_finish,
    m.Fail: Run._do_fail,
}


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


def _is_checkpoint(mode: str, payload: Any) -> bool:
    return mode == "debug" and isinstance(payload, Mapping) and payload.get("type") == "checkpoint"


def _out_of_steps(limit: int) -> str:
    return create_error_message(
        message=(
            f"Recursion limit of {limit} reached without hitting a stop condition. "
            "You can increase the limit by setting the `recursion_limit` config key."
        ),
        error_code=ErrorCode.GRAPH_RECURSION_LIMIT,
    )


def _named(error: Exception, limit: int | None) -> Exception:
    """The error, with the user's own recursion limit in it."""
    if isinstance(error, GraphRecursionError) and limit is not None:
        text = str(error)
        head, found, tail = text.partition("Recursion limit of ")
        if found:
            number, _, rest = tail.partition(" ")
            if number != str(limit):
                return GraphRecursionError(f"{head}{found}{limit} {rest}")
    return error
