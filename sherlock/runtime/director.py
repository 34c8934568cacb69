"""Carries out what the machine of a guarded run says, one command after another."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sherlock.errors import RollbackLimit, SherlockError
from sherlock.interpose.nodes import follows
from sherlock.runtime import machine as m
from sherlock.runtime.checks import check
from sherlock.runtime.events import Committed, Flagged, RolledBack
from sherlock.runtime.record import Record

if TYPE_CHECKING:
    from sherlock.runtime.run import Run


class Director:
    """The commands of one run. Those that need no waiting are carried out where they are given."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self._commands: deque[m.Command] = deque()
        self._directing = False
        self._wake = asyncio.Event()
        self._checks: dict[int, asyncio.Task[None]] = {}

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is left to be done."""
        return not self._commands

    @property
    def may_commit(self) -> bool:
        """Whether all that is to be done next is to commit: whoever waits for that may do it."""
        return not self._directing and bool(self._commands) and isinstance(self._commands[0], m.Commit)

    def take(self, commands: list[m.Command]) -> None:
        """Take commands to be carried out."""
        for command in commands:
            if self._commands or not isinstance(command, _AT_ONCE):
                self._commands.append(command)
            else:
                self._handler(command)(command)
        if self._commands and not self._directing:
            self._wake.set()

    def _handler(self, command: m.Command) -> Callable[[Any], Coroutine[Any, Any, None] | None]:
        handler: Callable[[Any], Coroutine[Any, Any, None] | None] = getattr(
            self, f"_do_{type(command).__name__.lower()}"
        )
        return handler

    async def direct(self) -> None:
        """Begin the first attempt, and carry on until the run is over."""
        self.run.attempts.launch()
        try:
            while self.run.machine.phase != "over" or self._commands:
                while not self._commands or self._directing:
                    self._wake.clear()
                    await self._wake.wait()
                await self.perform()
        except Exception as error:  # noqa: BLE001  (the saver's, an undo's: the run ends with it)
            self.run.failure = error
        finally:
            self.run.over = True
            self.run.notify()

    async def perform(self) -> None:
        """Carry out the next command; nobody else does so meanwhile."""
        command = self._commands[0]
        self._directing = True
        try:
            if (work := self._handler(command)(command)) is not None:
                await work
        finally:
            self._commands.popleft()
            self._directing = False
            if self._commands:
                self._wake.set()
            self.run.notify()

    def _do_startcheck(self, command: m.StartCheck) -> None:
        record = self.run.hook.records[command.id]
        task = self.run.spawn(check(self.run, record, command.check))
        self._checks[command.check] = task
        task.add_done_callback(lambda _: self._checks.pop(command.check, None))
        task.add_done_callback(self._check_raised)

    def _check_raised(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and self.run.broken_by is None:
            self.run.broken_by = error if isinstance(error, Exception) else SherlockError(repr(error))
            self.run.handle(m.Broken())

    async def _do_cancelcheck(self, command: m.CancelCheck) -> None:
        if (task := self._checks.get(command.check)) is not None:
            await self.run.end(task)

    def _do_rollback(self, command: m.RollBack) -> None:
        self.run.attempts.drop(command.step)
        record = self.run.hook.records[command.id]
        gone = [r for r in self.run.hook.records.values() if r is not record and follows(r.at, record.at)]
        self.run.tell(
            RolledBack,
            record,
            step=command.step,
            retry=record.correction is None,
            discarded=tuple(r.label for r in sorted(gone, key=lambda r: r.at)),
        )

    def _do_patch(self, command: m.Patch) -> None:
        record = self.run.hook.records[command.id]
        record.update = record.correction

    def _do_flag(self, command: m.Flag) -> None:
        why = f"rejected, and stays: the limit of {self.run.policy.max_rollbacks} rollbacks is reached"
        self.run.tell(Flagged, self.run.hook.records[command.id], why=why)

    async def _do_forget(self, command: m.Forget) -> None:
        record = self.run.hook.records.pop(command.id)
        self.run.ledger.wasted(record)
        await self.run.stop(record)
        if command.undo or (record.ended and record.effects == "compensable"):
            await self.run.effects.undo(record)

    async def _do_stop(self, command: m.Stop) -> None:  # noqa: ARG002
        pump = self.run.attempts.pump
        if pump is not None:
            await self.run.end(pump)
            if pump.cancelled() and self.run.stopping:  # before it had begun, so that it could not tell
                self.run.handle(m.AttemptEnded(end=None))

    async def _do_resume(self, command: m.Resume) -> None:
        self.run.ledger.resumed(self.run.now())
        self.run.gate.rollback(command.step)
        self.run.attempts.drop(command.step)
        if self.run.store is not None:
            self.run.store.clear()
            kept = [r for r in self.run.hook.records.values() if r.at[0][0] < command.step]
            self.run.store.replay(op for record in sorted(kept, key=lambda r: r.started_s) for op in record.writes)
        while not self.run.pulling:
            await self.run.moved()
        if self.run.machine.phase == "running":
            self.run.attempts.launch()
        else:  # told to stop before it could begin
            self.run.handle(m.AttemptEnded(end=None))

    async def _do_commit(self, command: m.Commit) -> None:
        await self._commit(command.step)

    async def _commit(self, step: int) -> None:
        done = [r for r in self.run.hook.records.values() if r.at[0][0] <= step]
        if done:
            await self.run.store_writes(done)
        if done or self.run.hook.containers:
            self._mark_verified(done, step)
        await self.run.gate.commit(step)
        for record in done:
            self.run.hook.records.pop(record.id, None)
            self.run.ledger.kept(record)
        if done:
            self.run.effects.committed(done)
        self.run.hook.forget(step)
        self.run.tell(Committed, step=step, ids=self.run.held.commit(step))
        self.run.notify()

    def _mark_verified(self, done: list[Record], step: int) -> None:
        """What these tasks leave on a checkpoint is verified, if a later run should find it there."""
        self.run.gate.verified_tasks.update(r.task_id for r in done if r.place.attached is not None)
        self.run.gate.verified_tasks.update(task_id for at, task_id in self.run.hook.containers if at <= step)
        self.run.hook.containers = [item for item in self.run.hook.containers if item[0] > step]

    async def _do_finish(self, command: m.Finish) -> None:
        self.run.failure = self.run.attempts.error
        done = list(self.run.hook.records.values())
        await self.run.store_writes(done)
        self._mark_verified(done, self.run.machine.ended + 1)
        await self.run.gate.finish()
        for record in done:
            self.run.ledger.kept(record)
        self.run.effects.committed(done)
        self.run.hook.records.clear()
        step = self.run.machine.ended + 1
        if ids := self.run.held.commit(step):
            self.run.tell(Committed, step=step, ids=ids)
        self.run.ledger.ended(command.end, self.run.now())
        self.run.close_books()

    async def _do_fail(self, command: m.Fail) -> None:
        if command.id is not None:
            self.run.failure = self.run.hook.records[command.id].error
        else:
            self.run.failure = self.run.broken_by or RollbackLimit(
                f"verifiers rejected more than {self.run.policy.max_rollbacks} outputs in one run (max_rollbacks): "
                "raise the limit, or let on_limit be 'flag'"
            )
        for record in list(self.run.hook.records.values()):
            await self.run.stop(record)
        if (failure := await self.run.effects.undo_uncommitted()) is not None:
            failure.add_note(f"The run had failed already: {self.run.failure!r}")
            self.run.failure = failure
        self.run.ledger.ended("failed", self.run.now())
        self.run.close_books()


_AT_ONCE = (m.StartCheck, m.RollBack, m.Patch, m.Flag)
