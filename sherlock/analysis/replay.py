"""Runs a case once, then re-runs only what follows one node execution, with or without a change there.

The clean run goes through a checkpointer of its own. A replay resumes from the checkpoint before the execution in
question: what ran before it is never run again, what ran beside it answers with its recorded update. A replay ends
early when the state after some superstep equals that of the line it is compared with: the change is masked.
Source of the method: arXiv:2511.00330, section 5.
"""

import asyncio
import contextlib
import copy
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command

from sherlock.analysis.line import THREAD, LineSaver, own_checkpoint
from sherlock.canonical import digest
from sherlock.cases import Case
from sherlock.errors import MissingRecording, ModelError, SherlockError
from sherlock.interpose.calls import CallScope, Message, ModelCall
from sherlock.interpose.nodes import Address, Visit, hooked, interpose
from sherlock.interpose.overlay import OverlayStore
from sherlock.usage import NO_USAGE, Usage

OWN = object()
"""Marks an injection that leaves the node its own update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A finished node execution: private copies of what went in and came out, and what it cost."""

    address: Address
    node: str
    value: Any
    update: Any
    input_digest: str
    update_digest: str
    calls: tuple[ModelCall, ...] = ()
    latency_s: float = 0.0
    interrupts: int = 0
    is_container: bool = False


@dataclass(frozen=True, slots=True)
class Injection:
    """What a replay changes at one execution: its update, or its input, or its models' messages; or nothing."""

    update: Any = OWN
    change_input: Callable[[Any], Any] | None = None
    rewrite: Callable[[tuple[Message, ...]], Sequence[Message]] | None = None


SHAM = Injection()


@dataclass(slots=True, kw_only=True)
class Line:
    """How a run, or a replay, went. `states` maps a superstep to the digest of the state after it.

    `usage` counts every model call, `spent` those that were really made and not answered from a recording.
    """

    executions: dict[Address, Execution] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)
    output: Any = None
    score: float = 0.0
    error: str | None = None
    masked: bool = False
    unanswered: str | None = None
    node_executions: int = 0
    usage: Usage = NO_USAGE
    spent: Usage = NO_USAGE
    evidence: list[tuple[str, bool]] = field(default_factory=list)
    """For each execution that met the input of the clean run again: its node, and whether its update was the same."""
    visited: set[Address] = field(default_factory=set)
    same_path: bool = True
    """Whether the executions, shared ones included, were those of the clean run."""


@dataclass(frozen=True, slots=True)
class Start:
    """A place to resume from: the checkpoint after a superstep, and how much of the case was used up by then."""

    checkpoint: Checkpoint | None = None
    metadata: CheckpointMetadata | None = None
    turn: int = 0
    answers: int = 0


@dataclass(slots=True, kw_only=True)
class CleanRun(Line):
    """The recorded run of a case, with the checkpoints that replays start from."""

    case: Case
    starts: dict[int, Start] = field(default_factory=dict)


class Masked(Exception):  # noqa: N818  (a signal between the saver and the driver, not an error)
    """The state equals that of the line compared with, so the rest would be the same."""


@dataclass(kw_only=True)
class Replayer:
    """Runs and replays cases on one graph. `score` may raise `CasesError`; limits are raised by `before_call`."""

    graph: CompiledStateGraph[Any, Any, Any, Any]
    score: Callable[[Any, Case], Awaitable[float]]
    new_scope: Callable[..., CallScope]
    effects: Mapping[str, Callable[[Any, Case], Awaitable[Any]]] = field(default_factory=dict)
    share_key: Callable[[str, Any], str | None] = lambda node, value: None  # noqa: ARG005
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Any = None
    resumable: bool = True
    """False where one checkpoint does not hold the whole state: replays then start from the first input."""
    on_execution: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self._twin = interpose(self.graph)
        self._twin.interrupt_before_nodes = []
        self._twin.interrupt_after_nodes = []
        self._twin.cache = None

    async def clean(self, case: Case) -> CleanRun:
        """Run `case` from its first input to its end and keep what replays need."""
        run = CleanRun(case=case)
        await self._drive(case, run, _Hook(self, case, run, keep=True), Start())
        return run

    async def replay(
        self,
        run: CleanRun,
        at: Address | None,
        injection: Injection = SHAM,
        *,
        base: Line | None = None,
        shared: "Shared | None" = None,
    ) -> Line:
        """Re-run what follows the execution `at`, changed by `injection`; `at=None` re-runs the whole case.

        With `base`, the line ends as soon as its state equals that of `base`, and takes its score. `shared` answers
        executions of nodes that are known to be deterministic.
        """
        line = Line()
        start = self._start_of(run, at)
        kept = {} if at is None else _kept(run, at, from_start=start.checkpoint is None)
        hook = _Hook(self, run.case, line, keep=base is None, kept=kept, shared=shared)
        if at is not None:
            hook.at, hook.injection = at, injection
            hook.base, hook.first_step = base, at[0][0]
        limit = 4 * max(run.states, default=0) + 25
        await self._drive(run.case, line, hook, start, step_limit=limit)
        if base is None:
            _compare(run, line, at, start)
        return line

    def _start_of(self, run: CleanRun, at: Address | None) -> Start:
        if at is None or not self.resumable:
            return Start()
        return run.starts[at[0][0] - 1]

    async def _drive(self, case: Case, line: Line, hook: "_Hook", start: Start, step_limit: int | None = None) -> None:
        saver = LineSaver(hook.on_step)
        twin = copy.copy(self._twin)
        twin.checkpointer = saver
        if twin.store is not None:
            hook.overlay = twin.store = OverlayStore(twin.store)
        if start.checkpoint is not None and start.metadata is not None:
            saver.start_from(own_checkpoint(start.checkpoint, private), start.metadata)
        hook.turn, hook.answers = start.turn, start.answers
        try:
            with hooked(hook):
                line.output = await _turns(twin, case, hook, self._options(case, step_limit), start)
            if line.unanswered is None:
                with hook.metered():
                    line.score = await self.score(line.output, case)
            else:
                line.error = "stopped at an interrupt without an answer"
        except Masked:
            assert hook.base is not None
            line.masked, line.output = True, hook.base.output
            line.score, line.error = hook.base.score, hook.base.error
        except SherlockError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever the user's graph raises is how this line ends)
            line.error = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        finally:
            hook.close()
        hook.raise_refusals()
        if line.error and not line.masked:
            hook.raise_outage(line.error)

    def _options(self, case: Case, step_limit: int | None) -> dict[str, Any]:
        config: dict[str, Any] = {**self.config, **(case.config or {})}
        for part in ("configurable", "metadata"):
            config[part] = {**(self.config.get(part) or {}), **((case.config or {}).get(part) or {})}
        config["configurable"]["thread_id"] = THREAD
        if step_limit is not None:
            config["recursion_limit"] = min(step_limit, config.get("recursion_limit", step_limit))
        context = case.context if case.context is not None else self.context
        return {"config": config, "context": context, "durability": "sync"}


class Shared:
    """Results of deterministic nodes, by input; one execution serves all that ask at the same time."""

    def __init__(self) -> None:
        self._results: dict[str, asyncio.Future[Any]] = {}

    def seed(self, key: str, update: Any) -> None:
        if key not in self._results:
            self._results[key] = asyncio.get_running_loop().create_future()
            self._results[key].set_result(update)

    async def get(self, key: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Return the result for `key`, making it if nobody has. A failure is nobody else's result."""
        while (found := self._results.get(key)) is not None:
            try:
                return private(await asyncio.shield(found))
            except _NotMade:
                continue
        mine: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._results[key] = mine
        try:
            update = await make()
        except BaseException:
            del self._results[key]
            mine.set_exception(_NotMade())
            mine.exception()
            raise
        mine.set_result(private(update))
        return update


class _NotMade(Exception):  # noqa: N818  (a signal to those who wait, not an error)
    """The execution that others waited for failed."""


class _Hook:
    """Stands round the node executions of one line: answers, changes, meters and records them."""

    def __init__(
        self,
        replayer: Replayer,
        case: Case,
        line: Line,
        *,
        keep: bool,
        kept: Mapping[Address, Execution] | None = None,
        shared: Shared | None = None,
    ) -> None:
        self.replayer = replayer
        self.case = case
        self.line = line
        self.keep = keep
        self.kept = kept or {}
        self.shared = shared
        self.at: Address | None = None
        self.injection = SHAM
        self.base: Line | None = None
        self.first_step = -1
        self.turn = self.answers = self.skip = 0
        self.interrupted = False
        self.overlay: OverlayStore | None = None
        self._scopes: list[CallScope] = []
        self._interrupts: dict[Address, int] = {}

    async def around(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        done = self.kept.get(visit.address)
        if done is not None:
            self.skip += done.interrupts
            return private(done.update)
        if not visit.is_container:
            self.line.visited.add(visit.address)
        injection = self.injection if visit.address == self.at else SHAM
        if injection.update is not OWN:
            return private(injection.update)
        if injection.change_input is not None:
            value = injection.change_input(value)
        key = None
        if self.shared is not None and injection.rewrite is None and self.overlay is None and not visit.is_container:
            key = self.replayer.share_key(visit.node, value)
        if key is None or self.shared is None:
            return await self._execute(visit, value, run, injection)
        return await self.shared.get(key, lambda: self._execute(visit, value, run, injection))

    async def _execute(
        self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]], injection: Injection
    ) -> Any:
        before = private(value) if self.keep else None
        effect = self.replayer.effects.get(visit.node)
        scope = self._scope(injection)
        started = time.perf_counter()
        try:
            with scope.active():
                update = await (run(value) if effect is None else effect(value, self.case))
        except GraphInterrupt:
            self.interrupted = True
            self._interrupts[visit.address] = self._interrupts.get(visit.address, 0) + 1
            raise
        except GraphBubbleUp:
            raise
        finally:
            if not visit.is_container:
                self.line.node_executions += 1
                if self.replayer.on_execution is not None:
                    self.replayer.on_execution(visit.node)
        if self.keep:
            self._record(visit, before, update, scope, time.perf_counter() - started)
        return update

    def _record(self, visit: Visit, value: Any, update: Any, scope: CallScope, latency_s: float) -> None:
        self.line.executions[visit.address] = Execution(
            address=visit.address,
            node=visit.node,
            value=value,
            update=private(update),
            input_digest=digest(value),
            update_digest=digest(update),
            calls=tuple(scope.calls),
            latency_s=latency_s,
            interrupts=self._interrupts.get(visit.address, 0),
            is_container=visit.is_container,
        )

    def routing(self, visit: Visit) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002  (LangGraph's order)
        return self.metered()

    @contextlib.contextmanager
    def metered(self) -> Iterator[None]:
        """Count the model calls of a router or a scorer: they belong to the run, but to no node."""
        with self._scope(SHAM).active():
            yield

    def _scope(self, injection: Injection) -> CallScope:
        scope = self.replayer.new_scope(rewrite=injection.rewrite)
        self._scopes.append(scope)
        return scope

    def on_step(self, step: int, checkpoint: Checkpoint, metadata: CheckpointMetadata) -> None:
        writes = [] if self.overlay is None else [(op.namespace, op.key, op.value) for op in self.overlay.writes]
        state = digest([checkpoint["channel_values"], writes])
        self.line.states[step] = state
        if isinstance(self.line, CleanRun):
            self.line.starts[step] = Start(own_checkpoint(checkpoint, private), metadata, self.turn, self.answers)
        masking = self.base is not None and self.replayer.resumable and step >= self.first_step
        if masking and self.base is not None and self.base.states.get(step) == state:
            raise Masked

    def close(self) -> None:
        """Finish the books: usage and calls of everything that ran."""
        for scope in self._scopes:
            scope.close()
            for call in scope.calls:
                self.line.usage += call.usage
                self.line.spent += NO_USAGE if call.replayed else call.usage

    def raise_refusals(self) -> None:
        """A limit or a missing recording ends the analysis, even when the user's code swallowed it."""
        for scope in self._scopes:
            if scope.refused is not None:
                raise scope.refused
            if scope.missing:
                raise MissingRecording(str(scope.missing[0]))

    def raise_outage(self, error: str) -> None:
        """A model server that is down, or refuses for load, says nothing about the workflow."""
        for scope in self._scopes:
            for call in scope.calls:
                status = call.status
                if call.failed and (status is None or status == 429 or status >= 500):
                    said = f"answered {status}" if status else "could not be reached"
                    raise ModelError(
                        f"the model {call.model!r} {said} ({error}); start its server or check its address"
                    )


async def _turns(
    twin: CompiledStateGraph[Any, Any, Any, Any], case: Case, hook: _Hook, options: dict[str, Any], start: Start
) -> Any:
    """Feed the case's turns and answers until its end, or until an interrupt that has no answer."""
    turns = list(case.inputs) if isinstance(case.inputs, list) else [case.inputs]
    answers = deque(case.resume[start.answers :])
    value = private(turns[start.turn]) if start.checkpoint is None else None
    while True:
        hook.interrupted = False
        output = await twin.ainvoke(value, **options)
        pending = await _pending(twin, options) if hook.interrupted else ()
        while hook.skip and answers:
            answers.popleft()
            hook.skip, hook.answers = hook.skip - 1, hook.answers + 1
        if pending and len(answers) < len(pending):
            hook.line.unanswered = str(pending[0].value)
            return output
        if pending:
            given = {interrupt.id: answers.popleft() for interrupt in pending}
            hook.answers += len(given)
            value = Command(resume=given)
        elif hook.turn + 1 < len(turns):
            hook.turn += 1
            value = private(turns[hook.turn])
        else:
            return output


async def _pending(twin: CompiledStateGraph[Any, Any, Any, Any], options: dict[str, Any]) -> Sequence[Any]:
    state = await twin.aget_state(options["config"])
    return state.interrupts


def _compare(run: CleanRun, line: Line, at: Address | None, start: Start) -> None:
    """Note where a replay without a fault did as the clean run did, then keep only the execution in question."""
    for address, execution in line.executions.items():
        clean = run.executions.get(address)
        if clean is not None and clean.input_digest == execution.input_digest:
            line.evidence.append((execution.node, clean.update_digest == execution.update_digest))
    kept = {} if at is None else _kept(run, at, from_start=start.checkpoint is None)
    first = run.executions[at].address[0][0] if at else min((a[0][0] for a in run.executions), default=0)
    leaves = (a for a, execution in run.executions.items() if not execution.is_container)
    line.same_path = line.visited == {a for a in leaves if a[0][0] >= first and a not in kept}
    line.executions = {a: e for a, e in line.executions.items() if a == at}


def _kept(run: CleanRun, at: Address, *, from_start: bool) -> dict[Address, Execution]:
    """The recorded executions that a replay of `at` keeps: earlier ones, and those beside it in a superstep."""
    first = at[0][0]
    return {
        address: execution
        for address, execution in run.executions.items()
        if (from_start or address[0][0] == first) and not _follows(address, at)
    }


def _follows(address: Address, at: Address) -> bool:
    """Whether `address` is `at` itself, encloses it, lies in it, or comes after it."""
    for mine, its in zip(address, at, strict=False):
        if mine != its:
            return mine[0] > its[0]
    return True


def private(value: Any) -> Any:
    """A deep copy, so that a node that changes what it was given changes nobody else's; else the value itself."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001  (clients, locks, generators: anything may refuse to be copied)
        return value


def is_resumable(graph: CompiledStateGraph[Any, Any, Any, Any]) -> bool:
    """Whether one checkpoint of the outermost graph holds the whole state."""
    from langgraph.channels.delta import DeltaChannel

    stateful = any(getattr(sub, "checkpointer", None) is True for _, sub in graph.get_subgraphs(recurse=True))
    return not stateful and not any(isinstance(channel, DeltaChannel) for channel in graph.channels.values())
