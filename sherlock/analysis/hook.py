"""Stands round the node executions of one line: answers, changes, meters and records them; watches its supersteps."""

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata
from langgraph.errors import GraphBubbleUp, GraphInterrupt, GraphRecursionError
from langgraph.store.base import PutOp

from sherlock.analysis.executions import (
    OWN,
    SHAM,
    CleanRun,
    Execution,
    Injection,
    Line,
    Start,
    node_of,
    private,
)
from sherlock.analysis.line import own_checkpoint
from sherlock.analysis.shared import Shared
from sherlock.canonical import digest
from sherlock.cases import Case
from sherlock.errors import MissingRecording, ModelError
from sherlock.interpose.calls import CallScope, ModelCall
from sherlock.interpose.journal import JournalStore, journal
from sherlock.interpose.nodes import Address, Visit, precedes
from sherlock.usage import NO_USAGE

if TYPE_CHECKING:
    from sherlock.analysis.replay import Replayer


class Masked(Exception):
    """A signal, no error: the state equals that of the line compared with, so the rest would be the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a replay does to the line: `injection` at the execution `done`, and where it is compared with `base`."""

    done: Execution
    injection: Injection
    base: Line | None


@dataclass(slots=True, kw_only=True)
class _Scoped:
    """The model calls of an execution, or (`address` None) of the scorer."""

    scope: CallScope
    address: Address | None


@dataclass(kw_only=True)
class LineHook:
    """The hook of one line. `keep`: record its executions. `kept`, `failures`: what answers for itself."""

    replayer: "Replayer"
    case: Case
    line: Line
    keep: bool
    kept: Mapping[Address, Execution] = field(default_factory=dict)
    failures: Mapping[Address, Exception] = field(default_factory=dict)
    change: Change | None = None
    shared: Shared | None = None
    recursion_limit: int | None = None
    verify: Callable[[Visit, Execution], Awaitable[Any]] | None = None
    """Judges each leaf execution as it ends, and returns the update that is to flow on."""
    most_steps: int | None = None
    """More supersteps than this, in any graph of the line, and it is taken for endless."""

    def __post_init__(self) -> None:
        self.turn = 0
        self.used: set[int] = set()
        """Which of the case's answers were given, or belong to executions that answer for themselves."""
        self.interrupted = False
        self.store: JournalStore | None = None
        self.began, self.last = -1, -2
        self._begun: set[Address] = set()
        self._broke: Address | None = None
        self._cut: Address | None = None
        self._ran: Counter[Address] = Counter()
        self._shared: dict[Address, str] = {}
        self._scoped: list[_Scoped] = []
        self._raised: dict[int, tuple[Exception, Address]] = {}
        self._asking: dict[str, list[Address]] = {}
        self._answers: defaultdict[Address, list[int]] = defaultdict(list)
        self._writes: defaultdict[Address, list[PutOp]] = defaultdict(list)

    async def around(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        at = visit.address
        self._begun.add(at)
        if (done := self.kept.get(at)) is not None:
            return self._repeat(done, done.update)
        if (failure := self.failures.get(at)) is not None:
            raise failure
        self._enter(visit)
        injection = SHAM
        if self.change is not None and at == self.change.done.address:
            injection = self.change.injection
            if injection.update is not OWN:
                return self._repeat(self.change.done, injection.update)
        if injection.change_input is not None:
            value = injection.change_input(value)
        key = self._share_key(visit, value) if injection.rewrite is None else None
        if key is None or self.shared is None:
            return (await self._execute(visit, value, run, injection))[0]
        self._shared[at] = key
        try:
            update, is_shared = await self.shared.get(key, lambda: self._execute(visit, value, run, injection))
        except Exception:
            del self._shared[at]  # a failure is nobody else's result, so it counts where it ran
            raise
        if is_shared:
            self._ran.pop(at, None)  # counted once for all that share it
        else:
            del self._shared[at]
        return update

    def resume(self, start: Start, step: int, writes: Sequence[PutOp]) -> None:
        """Take up a line after its superstep `step`."""
        self.turn, self.used, self.last = start.turn, set(range(start.answers)), step
        # With each answer LangGraph counts its recursion limit anew; so too with those that are only repeated.
        self.began = self.last + 1 if self._repeats_answers() else start.began
        if self.store is not None:
            self.store.replay(writes[: start.writes])

    def _repeats_answers(self) -> bool:
        replaced = self.change is not None and self.change.injection.update is not OWN and self.change.done.answers
        return bool(replaced) or any(done.answers for done in self.kept.values())

    def _enter(self, visit: Visit) -> None:
        if self.recursion_limit is None:
            self.recursion_limit = visit.config.get("recursion_limit")
        else:  # a resumed line was given less, which is not for its subgraphs
            visit.config["recursion_limit"] = self.recursion_limit
        if not visit.is_container:
            self.line.visited.add(visit.address)
        step = visit.address[-1][0]
        if self.most_steps is not None and step > self.most_steps:
            error = GraphRecursionError(f"no end after {self.most_steps} supersteps")
            self._raised.setdefault(id(error), (error, visit.address))
            raise error

    def _repeat(self, done: Execution, update: Any) -> Any:
        """Answer for an execution: with an update, and with what else it did."""
        self.used.update(done.answers)
        if self.store is not None:
            self.store.replay(done.writes)
        return private(update)

    def _share_key(self, visit: Visit, value: Any) -> str | None:
        """None where the result may depend on more than the input: the store, an answer, state read on the side."""
        beside = self.store is not None or visit.address in self._answers or _is_tool_calls(value)
        if self.shared is None or beside or visit.is_container:
            return None
        return self.replayer.share_key(visit.address, value)

    async def _execute(
        self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]], injection: Injection
    ) -> tuple[Any, bool]:
        """Return the update, and whether it may be shared."""
        at = visit.address
        before = private(value) if self.keep else None
        effect = self.replayer.effects.get(visit.node)
        scope = self._scope(at, injection)
        if not visit.is_container:
            self._ran[at] += 1
            if self.replayer.on_execution is not None:
                self.replayer.on_execution(visit.node)
        started = time.perf_counter()
        with scope.active(), journal(self._writes[at]), self._noting(at):
            update = await (run(value) if effect is None else effect(value, self.case, visit.config))
        if self.keep:
            made = self._made(visit, before, update, scope, time.perf_counter() - started)
            if self.verify is not None and not visit.is_container:
                update = await self.verify(visit, made)
            self.line.executions[at] = made
        return update, not _live_calls(scope) and at not in self._answers

    @contextlib.contextmanager
    def _noting(self, at: Address) -> Iterator[None]:
        """Note who interrupts, and who raises; both go on their way."""
        try:
            yield
        except GraphInterrupt as interrupt:
            self.interrupted = True
            for asked in interrupt.args[0] if interrupt.args else ():
                self._asking.setdefault(asked.id, []).append(at)
            raise
        except GraphBubbleUp:
            raise
        except Exception as error:
            self._raised.setdefault(id(error), (error, at))
            raise

    def _made(self, visit: Visit, value: Any, update: Any, scope: CallScope, latency_s: float) -> Execution:
        at = visit.address
        writes = self._writes[at]
        return Execution(
            address=at,
            node=visit.node,
            value=value,
            update=private(update),
            input_digest=digest(value),
            update_digest=digest([update, *([op.namespace, op.key, op.value] for op in writes)]),
            calls=tuple(scope.calls),
            latency_s=latency_s,
            answers=tuple(self._answers.get(at, ())),
            writes=tuple(writes),
            is_container=visit.is_container,
        )

    @contextlib.contextmanager
    def routing(self, visit: Visit) -> Iterator[None]:
        with self._scope(visit.address, SHAM).active(), self._noting(visit.address):
            yield

    @contextlib.contextmanager
    def scoring(self) -> Iterator[None]:
        """Count the model calls of the scorer: they belong to the line, but to no node."""
        with self._scope(None, SHAM).active():
            yield

    def _scope(self, address: Address | None, injection: Injection) -> CallScope:
        scope = self.replayer.new_scope(rewrite=injection.rewrite)
        self._scoped.append(_Scoped(scope=scope, address=address))
        return scope

    def answer(self, pending: Mapping[str, Any]) -> dict[str, Any] | None:
        """Give each pending interrupt (its id) the next answer of the case; None if there are not enough."""
        free = [index for index in range(len(self.case.resume)) if index not in self.used]
        if len(free) < len(pending):
            return None
        given = dict(zip(pending, free, strict=False))
        for interrupt, index in given.items():
            self.used.add(index)
            for address in self._asking.get(interrupt, ()):
                self._answers[address].append(index)
        self._asking.clear()
        return {interrupt: private(self.case.resume[index]) for interrupt, index in given.items()}

    def steps_left(self) -> int | None:
        """The recursion limit for the next invocation, less what the line that it goes on with has used of it."""
        if self.recursion_limit is None:
            return None
        return max(1, self.began + self.recursion_limit - self.last - 1)

    def on_step(self, step: int, checkpoint: Checkpoint, metadata: CheckpointMetadata) -> None:
        self.last = step
        written = None if self.store is None else self.store.state()
        state = digest([checkpoint["channel_values"], written, self.turn, sorted(self.used)])
        self.line.states[step] = state
        if isinstance(self.line, CleanRun):
            self.line.starts[step] = Start(
                checkpoint=own_checkpoint(checkpoint, private),
                metadata=metadata,
                turn=self.turn,
                answers=len(self.used),
                writes=0 if self.store is None else self.store.count,
                began=self.began,
            )
        if self._is_masked(step, state):
            raise Masked
        if self.recursion_limit is not None and step > self.began + self.recursion_limit:
            raise GraphRecursionError(f"no end after {self.recursion_limit} supersteps, the recursion limit")

    def _is_masked(self, step: int, state: str) -> bool:
        change = self.change
        if change is None or change.base is None or not self.replayer.resumable:
            return False
        return step >= change.done.address[0][0] and change.base.states.get(step) == state

    def end_masked(self) -> None:
        """The rest of the line is that of the line compared with."""
        assert self.change is not None
        assert self.change.base is not None
        base, line = self.change.base, self.line
        line.masked, line.output, line.text = True, base.output, base.text
        line.score, line.error = base.score, base.error

    def cut(self, error: Exception) -> None:
        """A node raised `error` and ended the line: leave out what ran beside it, and it too if something did."""
        _, self._broke = self._raised.get(id(error), (error, None))
        self._cut = self._broke and self._first_parallel(self._broke)
        line = self.line
        line.executions = {a: e for a, e in line.executions.items() if self._counts(a)}
        line.visited = {a for a in line.visited if self._counts(a)}

    def _first_parallel(self, at: Address) -> Address | None:
        """The outermost part of `at` that did not run alone in its superstep."""
        for depth, (step, *_) in enumerate(at):
            beside = (a[depth] for a in self._begun if len(a) > depth and a[:depth] == at[:depth])
            if any(other[0] == step and other != at[depth] for other in beside):
                return at[: depth + 1]
        return None

    def _counts(self, address: Address | None) -> bool:
        return address is None or self._cut is None or precedes(address, self._cut)

    def close(self) -> None:
        """Finish the books: usage and calls of everything that ran."""
        line = self.line
        for scoped in self._scoped:
            scoped.scope.close()
            made = [call for call in scoped.scope.calls if not call.replayed]
            line.spent += sum((call.usage for call in made), NO_USAGE)
            if self._counts(scoped.address):
                line.usage += scoped.scope.usage
                if scoped.address is not None and _live_calls(scoped.scope):
                    line.live.add(node_of(scoped.address))
        line.node_executions = sum(n for address, n in self._ran.items() if self._counts(address))
        line.shared = {key for address, key in self._shared.items() if self._counts(address)}
        if isinstance(line, CleanRun):
            line.recursion_limit = self.recursion_limit
            line.writes = [] if self.store is None else self.store.writes
            raised = {at: error for error, at in self._raised.values() if at in line.visited}
            line.failures = {at: error for at, error in raised.items() if at not in line.executions}

    def raise_refusals(self) -> None:
        """A limit or a missing recording ends the analysis, even when the user's code swallowed it."""
        for scoped in self._scoped:
            if scoped.scope.refused is not None:
                raise scoped.scope.refused
            if scoped.scope.missing:
                raise MissingRecording(str(scoped.scope.missing[0]))

    def raise_outage(self) -> None:
        """A model server that is down, or refuses for load, says nothing about the workflow."""
        for scoped in self._scoped:
            calls = scoped.scope.calls
            broke = self.line.error is not None and scoped.address == self._broke
            if calls and (broke or self._counts(scoped.address)) and _is_outage(calls[-1], broke=broke):
                status = calls[-1].status
                said = f"answered {status}" if status else "could not be reached"
                where = f" at {calls[-1].address}" if calls[-1].address else ""
                why = f" ({self.line.error})" if self.line.error else ""
                raise ModelError(
                    f"the model {calls[-1].model!r}{where} {said}{why}; start its server or check its address"
                )


def _is_outage(call: ModelCall, *, broke: bool) -> bool:
    """Whether an execution's last call failed for want of a server. `broke`: it is the execution that raised.

    An execution that went on may have given up on a slow or broken call by design; never on a server that is not there.
    """
    if not call.failed:
        return False
    if broke:
        return call.status is None or call.status == 429 or call.status >= 500
    return call.status in (429, 503) or (call.status is None and call.usage.tokens == 0)


def _live_calls(scope: CallScope) -> bool:
    return scope.recordings is None and any(not call.replayed for call in scope.calls)


def _is_tool_calls(value: Any) -> bool:
    """What `Send` gives to a tool node, which then reads the state past its input."""
    return isinstance(value, list) and any(isinstance(v, Mapping) and v.get("type") == "tool_call" for v in value)
