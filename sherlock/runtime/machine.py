"""The rules of a guarded run: events in, commands out. No clock, no task, no LangGraph.

A run is a *line* of node executions. LangGraph drives it in *attempts*; a rollback ends an attempt and begins another
from an earlier superstep, in which recorded executions answer for themselves as soon as the line reaches them again
with the same input. The machine knows which executions are recorded, which of them are on the line, which checks
(verifications) are outstanding, and how far the line is committed. What an update holds is none of its business: the
driver compares inputs and keeps values.

Safety rests on four rules. A check is dropped only together with the execution that it judges, or begun anew. A
verdict counts only if its number is that of the outstanding check. A superstep is committed when it has ended and
nothing at or before it is open. Nothing ends a run, neither its result nor an error, while a check could still turn it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from sherlock.interpose.nodes import Address, follows, precedes

Keys = frozenset[str] | None
"""State keys; None is all of them."""

Ruling = Literal["pass", "correct", "retry", "doom"]
"""What a verdict, or the failure to reach one, comes to: keep the output; put the corrected one in its place; execute
the node again; end the run with the error that the driver keeps for it."""

End = Literal["done", "interrupted", "error"]


@dataclass(slots=True, kw_only=True)
class Execution:
    """One execution of a leaf node, as the machine sees it.

    `placed`: its output is to be verified. `reads`: the state keys that the node's result depends on; `inputs`: those
    that a verifier is shown. `writes`: the keys that it wrote, once it has `ended`. `check`: the number of its
    outstanding check; `verified`: one has ended, and what it found holds. `depth`: how many supersteps may begin past
    its own while its check is open. `doomed`: a check ended so that the run must end. `reached`: it is on the current
    line; else it is kept for when the line comes by.
    """

    id: int
    at: Address
    placed: bool = False
    reads: Keys = None
    inputs: Keys = None
    undoable: bool = False
    writes: frozenset[str] = frozenset()
    ended: bool = False
    check: int | None = None
    verified: bool = False
    depth: int = 0
    doomed: bool = False
    reached: bool = True

    @property
    def step(self) -> int:
        """The superstep of the outermost graph that it belongs to."""
        return self.at[0][0]

    @property
    def is_open(self) -> bool:
        """Whether its output may yet change, or end the run."""
        return self.check is not None or self.doomed


# Events


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A node begins to execute; the fields are those of `Execution`."""

    id: int
    at: Address
    placed: bool = False
    reads: Keys = None
    inputs: Keys = None
    undoable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The line has reached a recorded execution whose input is what it was.

    `same_inputs`: so is all that a verifier is shown; else what was found out about the output is void.
    """

    id: int
    same_inputs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """The line has reached the place of a recorded execution with another input, or LangGraph asks for it again."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A node execution has ended with an update. `depth`: see `Execution`."""

    id: int
    writes: frozenset[str] = frozenset()
    depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Broke:
    """A node execution raised, was interrupted or was cancelled: it leaves nothing behind."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A check has ended. `changed`: the keys that may differ between the output and what takes its place."""

    id: int
    check: int
    ruling: Ruling
    changed: Keys = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnded:
    """A superstep has ended (or the input was taken in): of the outermost graph, or of the subgraph run `within`."""

    step: int
    within: Address = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parked:
    """A node that must not begin before everything earlier is decided is about to: the attempt gives way."""

    at: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """The attempt is over and all that ran in it is gone. `end` is None where `Stop` had asked for that.

    `refused`: the executions whose corrections the graph could not take in, which is what has ended it. Their own
    outputs take their places again, or (`doom`) the run must end.
    """

    end: End | None
    refused: tuple[int, ...] = ()
    doom: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Something failed that no rollback can mend (an effect that cannot be undone): the driver keeps the error."""


Event = Started | Kept | Replaced | Ended | Broke | Judged | StepEnded | Parked | AttemptEnded | Broken


# Commands


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCheck:
    """Ask the verifier about the output of execution `id`."""

    id: int
    check: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelCheck:
    """The verdict is of no use any more."""

    id: int
    check: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RollBack:
    """What was built on the output of execution `id` is discarded, from its superstep `step` on."""

    id: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """From now on execution `id` answers with its correction: at once, whatever else there is to do before.

    The line may come by at any moment, and takes along what it finds.
    """

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """The output of execution `id` was rejected, and stays because the limit of rollbacks is reached."""

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Execution `id` is no part of the run any more: cancel it if it runs. `undo`: take its effect back."""

    id: int
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End the attempt. Answer with `AttemptEnded(end=None)` when all of it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Begin an attempt at superstep `step`."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Everything up to superstep `step` is final."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """The attempt's end is the run's."""

    end: End


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    """End the run with the error that dooms execution `id`, or (None) with the one that no rollback can mend."""

    id: int | None


Command = StartCheck | CancelCheck | RollBack | Patch | Flag | Forget | Stop | Resume | Commit | Finish | Fail

Phase = Literal["running", "stopping", "idle", "over"]
"""An attempt runs; it was told to stop; there is none; the run has ended."""


@dataclass(slots=True, kw_only=True)
class Machine:
    """The state of one run. `ended`: the last superstep of the line that has ended; `committed`: that is final.

    Both begin at the superstep that the run goes on from. `on_limit`: what becomes of a rejection when there have been
    `max_rollbacks` rollbacks.
    """

    ended: int
    max_rollbacks: int = 8
    on_limit: Literal["raise", "flag"] = "raise"
    committed: int = field(init=False)
    rollbacks: int = 0
    phase: Phase = "running"
    executions: dict[int, Execution] = field(default_factory=dict)
    _at: dict[Address, int] = field(default_factory=dict)
    _checks: int = 0
    _end: End | None = None
    _target: int | None = None
    """Where the next attempt begins, if there is to be one."""
    _parked: Address | None = None
    _failing: Fail | None = None

    def __post_init__(self) -> None:
        self.committed = self.ended

    # Questions

    def at(self, address: Address) -> Execution | None:
        """The execution recorded at this place."""
        found = self._at.get(address)
        return None if found is None else self.executions[found]

    def is_settled_before(self, address: Address) -> bool:
        """Whether nothing that was over before this place began may change any more."""
        return not any(e.is_open and precedes(e.at, address) for e in self.executions.values())

    def may_go_on(self, step: int, within: Address = ()) -> bool:
        """Whether the superstep after `step` may begin, in the outermost graph or in the subgraph run `within`."""
        level = len(within)
        return self.phase == "running" and all(
            step < e.at[level][0] + e.depth
            for e in self.executions.values()
            if e.is_open and len(e.at) > level and e.at[:level] == within
        )

    @property
    def open_checks(self) -> list[Execution]:
        """The executions whose verdict is awaited."""
        return [e for e in self.executions.values() if e.check is not None]

    # Events

    def handle(self, event: Event) -> list[Command]:
        """Take in one event and say what is to be done, in this order."""
        if self.phase == "over":
            return []
        handler: Callable[[Any], Iterator[Command]] = getattr(self, f"_on_{type(event).__name__.lower()}")
        return list(handler(event))

    def _on_started(self, event: Started) -> Iterator[Command]:
        self.executions[event.id] = Execution(
            id=event.id,
            at=event.at,
            placed=event.placed,
            reads=event.reads,
            inputs=event.inputs,
            undoable=event.undoable,
            reached=self.phase == "running",  # else it began in the last moments of a line that is given up
        )
        self._at[event.at] = event.id
        yield from ()

    def _on_kept(self, event: Kept) -> Iterator[Command]:
        execution = self.executions.get(event.id)
        if execution is None:
            return
        execution.reached = self.phase == "running"
        if not event.same_inputs:
            yield from self._void(execution)
        yield from self._check(execution)
        if execution.doomed:
            yield from self._settle()

    def _on_replaced(self, event: Replaced) -> Iterator[Command]:
        if (execution := self.executions.get(event.id)) is not None:
            yield from self._discard([execution])

    def _on_ended(self, event: Ended) -> Iterator[Command]:
        if (execution := self.executions.get(event.id)) is not None:
            execution.ended, execution.writes, execution.depth = True, event.writes, event.depth
            yield from self._check(execution)

    def _on_broke(self, event: Broke) -> Iterator[Command]:
        if (execution := self.executions.get(event.id)) is not None:
            self._remove(execution)
        yield from ()

    def _on_judged(self, event: Judged) -> Iterator[Command]:
        execution = self.executions.get(event.id)
        if execution is None or execution.check != event.check:
            return
        execution.check, execution.verified = None, True
        if event.ruling == "doom":
            execution.doomed = True
        elif event.ruling != "pass":
            yield from self._rejected(execution, event)
        yield from self._settle()

    def _on_stepended(self, event: StepEnded) -> Iterator[Command]:
        if self.phase != "running":
            return
        level = len(event.within)
        passed = [
            execution
            for execution in self.executions.values()
            if not execution.reached  # the line has gone another way
            and len(execution.at) > level
            and execution.at[:level] == event.within
            and execution.at[level][0] <= event.step
        ]
        yield from self._discard(passed)
        if not event.within:
            self.ended = event.step
            yield from self._settle()

    def _on_parked(self, event: Parked) -> Iterator[Command]:
        if self.phase == "running":
            self._parked = event.at
            yield from self._restart(event.at[0][0])

    def _on_attemptended(self, event: AttemptEnded) -> Iterator[Command]:
        self.phase = "idle"
        yield from self._refused(event)
        if self._target is None and self._failing is None:
            self._end = event.end
            if event.end is None and not any(e.doomed and e.reached for e in self.executions.values()):
                yield from self._restart(self.ended + 1)  # what was refused is no more
            if event.end == "done":  # else the line was cut short, and may yet come by what it has not reached
                yield from self._discard(self._unreached())
        yield from self._settle()

    def _refused(self, event: AttemptEnded) -> Iterator[Command]:
        for execution in [e for e in self.executions.values() if e.id in event.refused]:
            if event.doom and execution.reached:
                execution.doomed = True
                continue
            if not execution.reached:  # its correction was not tried on this line, so nothing holds that was found out
                yield from self._void(execution)
            yield from self._restart(execution.step)

    def _on_broken(self, event: Broken) -> Iterator[Command]:  # noqa: ARG002
        yield from self._fail(None)
        yield from self._settle()

    # What follows from them

    def _rejected(self, execution: Execution, event: Judged) -> Iterator[Command]:
        if execution.reached:
            if self.rollbacks >= self.max_rollbacks:
                if self.on_limit == "raise":
                    execution.doomed = True  # it is not to be committed
                    yield from self._fail(None)
                else:
                    yield Flag(id=execution.id)
                return
            yield from self._roll_back(execution, event.changed)
        if event.ruling == "correct":
            yield Patch(id=execution.id)
        else:
            yield from self._discard([execution])

    def _roll_back(self, execution: Execution, changed: Keys) -> Iterator[Command]:
        """Discard what depends on the output; keep the rest until the line comes by and shows its input."""
        self.rollbacks += 1
        yield RollBack(id=execution.id, step=execution.step)
        gone: list[Execution] = []
        for later, tainted in self._downstream(execution, changed):
            if _meet(later.inputs, tainted):
                yield from self._void(later)
            if _meet(later.reads, tainted) and (later.undoable or not later.ended):
                gone.append(later)
        yield from self._discard(gone)
        yield from self._restart(execution.step)

    def _downstream(self, execution: Execution, changed: Keys) -> Iterator[tuple[Execution, Keys]]:
        """What comes after an execution, first to last, with the keys that may hold something else for it then."""
        tainted = changed
        for later in sorted(self.executions.values(), key=lambda e: e.at):
            if later.id != execution.id and follows(later.at, execution.at):
                yield later, tainted
                if _meet(later.reads, tainted):
                    tainted = None if tainted is None else tainted | later.writes

    def _restart(self, step: int) -> Iterator[Command]:
        """Have an attempt begin at `step`, or earlier if that is due anyway."""
        self._end = None
        self._target = step if self._target is None else min(step, self._target)
        self.ended = min(self.ended, self._target - 1)
        for execution in self.executions.values():
            if execution.step >= self._target:
                execution.reached = False
        yield from self._stop()

    def _stop(self) -> Iterator[Command]:
        if self.phase == "running":
            self.phase = "stopping"
            yield Stop()

    def _fail(self, execution: Execution | None) -> Iterator[Command]:
        if self._failing is None:
            self._failing = Fail(id=execution.id if execution else None)
            yield from self._stop()

    def _settle(self) -> Iterator[Command]:
        """Commit, resume, finish or fail, whichever has become possible."""
        if not self.executions and self.phase == "running":
            if self.ended > self.committed:
                self.committed = self.ended
                yield Commit(step=self.ended)
            return
        final = self.ended
        for execution in self.executions.values():
            if execution.is_open or not execution.reached:
                final = min(final, execution.step - 1)
        if final > self.committed:
            self.committed = final
            for execution in [e for e in self.executions.values() if e.step <= final]:
                self._remove(execution)
            yield Commit(step=final)
        if (doomed := self._beyond_help()) is not None:
            yield from self._fail(doomed)
        if self.phase == "idle":
            yield from self._next()

    def _next(self) -> Iterator[Command]:
        """There is no attempt: what comes now?"""
        if self._failing is not None:
            for execution in self.open_checks:
                yield from self._void(execution)
            self.phase = "over"
            yield self._failing
        elif self._target is not None:
            if not self._is_awaited():
                step, self._target, self._parked = self._target, None, None
                self.phase = "running"
                yield Resume(step=step)
        elif self._end is not None and not any(e.is_open and e.reached for e in self.executions.values()):
            yield from self._discard(self._unreached())
            self.phase = "over"
            yield Finish(end=self._end)

    def _unreached(self) -> list[Execution]:
        return [execution for execution in self.executions.values() if not execution.reached]

    def _is_awaited(self) -> bool:
        """Whether a verdict is, that the parked node must not begin before. (A doomed execution gives none: the line
        has to come by to show that it is still on it.)
        """
        parked = self._parked
        return parked is not None and any(precedes(e.at, parked) for e in self.open_checks)

    def _beyond_help(self) -> Execution | None:
        """A doomed execution that nothing earlier can void any more."""
        for execution in sorted((e for e in self.executions.values() if e.doomed and e.reached), key=lambda e: e.at):
            if self.is_settled_before(execution.at):
                return execution
        return None

    def _check(self, execution: Execution) -> Iterator[Command]:
        """Have an output verified, unless it is, or is being so."""
        if execution.placed and execution.ended and execution.check is None and not execution.verified:
            self._checks += 1
            execution.check = self._checks
            yield StartCheck(id=execution.id, check=self._checks)

    def _void(self, execution: Execution) -> Iterator[Command]:
        """What was found out about an output holds no more."""
        execution.verified = execution.doomed = False
        if execution.check is not None:
            check, execution.check = execution.check, None
            yield CancelCheck(id=execution.id, check=check)

    def _discard(self, executions: list[Execution]) -> Iterator[Command]:
        """Forget executions, last first, and before each effect those that may have been built on it."""
        gone = {execution.id: execution for execution in executions}
        for execution in executions:
            if execution.undoable and execution.ended:
                for later, tainted in self._downstream(execution, execution.writes):
                    if later.undoable and later.ended and _meet(later.reads, tainted):
                        gone[later.id] = later
        for execution in sorted(gone.values(), key=lambda e: e.at, reverse=True):
            yield from self._forget(execution)

    def _forget(self, execution: Execution) -> Iterator[Command]:
        yield from self._void(execution)
        self._remove(execution)
        yield Forget(id=execution.id, undo=execution.undoable and execution.ended)

    def _remove(self, execution: Execution) -> None:
        self.executions.pop(execution.id, None)
        if self._at.get(execution.at) == execution.id:
            del self._at[execution.at]


def _meet(keys: Keys, tainted: Keys) -> bool:
    """Whether the two have a key in common."""
    if keys is None or tainted is None:
        return bool(keys is None or keys) and bool(tainted is None or tainted)
    return not keys.isdisjoint(tainted)
