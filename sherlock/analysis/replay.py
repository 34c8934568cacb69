"""Runs a case once, then re-runs only what follows one node execution, with or without a change there.

The clean run goes through a checkpointer of its own. A replay resumes from the checkpoint before the execution in
question: what ran before it is never run again, what ran beside it answers with its recorded update. A replay ends
early when the state after some superstep equals that of the line it is compared with: the change is masked.
Source of the method: arXiv:2511.00330, section 5.
"""

import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from langgraph.channels.delta import DeltaChannel
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, Interrupt

from sherlock.analysis.executions import SHAM, CleanRun, Execution, Injection, Line, Start, private
from sherlock.analysis.hook import Change, LineHook, Masked
from sherlock.analysis.line import THREAD, HistorySaver, LineSaver, own_checkpoint
from sherlock.analysis.records import shown
from sherlock.analysis.shared import Shared
from sherlock.cases import Case
from sherlock.errors import SherlockError
from sherlock.interpose.calls import CallScope
from sherlock.interpose.journal import JournalStore
from sherlock.interpose.nodes import Address, Visit, follows, hooked, interpose
from sherlock.lens import read_text, written
from sherlock.usage import Usage

T = TypeVar("T")

StandIn = Callable[[Any, Case, Any], Awaitable[Any]]
"""Takes the place of a node with effects: from its input, the case and the run's config to an update."""


@dataclass(kw_only=True)
class Replayer:
    """Runs and replays cases on one graph. `score` may raise `CasesError`; limits are raised by `before_call`.

    `share_key` gives the key under which an execution's result is shared, None for one that may not be. `on_spent` is
    told what each line has really spent, however it ended; `on_execution` the name of each leaf node about to run.
    """

    graph: CompiledStateGraph[Any, Any, Any, Any]
    score: Callable[[Any, Case], Awaitable[float]]
    new_scope: Callable[..., CallScope]
    effects: Mapping[str, StandIn] = field(default_factory=dict)
    share_key: Callable[[Address, Any], str | None] = lambda at, value: None  # noqa: ARG005
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Any = None
    resumable: bool = True
    """False where one checkpoint does not hold the whole state: replays then start from the first input."""
    on_execution: Callable[[str], None] | None = None
    on_spent: Callable[[Usage], None] | None = None

    def __post_init__(self) -> None:
        self._twin = interpose(self.graph)
        self._twin.cache = None
        _run_through(self._twin)
        graphs = [self.graph, *(sub for _, sub in self.graph.get_subgraphs(recurse=True))]
        self._has_deltas = any(_has_deltas(graph) for graph in graphs)

    async def clean(self, case: Case) -> CleanRun:
        """Run `case` from its first input to its end and keep what replays need."""
        run = CleanRun(case=case)
        await self._drive(LineHook(replayer=self, case=case, line=run, keep=True), Start())
        return run

    async def verified(self, case: Case, verify: Callable[[Visit, Execution], Awaitable[Any]]) -> Line:
        """Run `case` with each leaf execution judged as it ends: what `verify` returns flows on in its place."""
        line = Line()
        await self._drive(LineHook(replayer=self, case=case, line=line, keep=True, verify=verify), Start())
        line.executions.clear()
        return line

    async def replay(
        self,
        run: CleanRun,
        at: Address | None,
        injection: Injection = SHAM,
        *,
        base: Line | None = None,
        shared: Shared | None = None,
    ) -> Line:
        """Re-run what follows the execution `at`, changed by `injection`; `at=None` re-runs the whole case.

        With `base`, the line ends as soon as its state equals that of `base`, and takes its score; an injected update
        stands for the execution as it was in `base`. `shared` answers executions of nodes that are known to be
        deterministic.
        """
        start = Start() if at is None or not self.resumable else run.starts[at[0][0] - 1]
        kept: dict[Address, Any] = {}
        failures: dict[Address, Exception] = {}
        change = None
        if at is not None:
            kept = _kept(run.executions, at, from_start=not self.resumable)
            if not self.resumable:  # a subgraph must build up what it remembers
                kept = {address: done for address, done in kept.items() if not done.is_container}
            failures = _kept(run.failures, at, from_start=not self.resumable)
            done = (base or run).executions.get(at, run.executions[at])
            change = Change(done=done, injection=injection, base=base)
        line = Line()
        hook = LineHook(
            replayer=self,
            case=run.case,
            line=line,
            keep=base is None,
            kept=kept,
            failures=failures,
            change=change,
            shared=shared,
            recursion_limit=run.recursion_limit,
            most_steps=4 * max((level[0] for address in run.visited for level in address), default=0) + 25,
        )
        await self._drive(hook, start, run)
        if base is None:
            _compare(run, line, at, {*kept, *failures})
        return line

    async def _drive(self, hook: LineHook, start: Start, run: CleanRun | None = None) -> None:
        line = hook.line
        saver = (HistorySaver if self._has_deltas else LineSaver)(hook.on_step)
        twin = copy.copy(self._twin)
        twin.checkpointer = saver
        if twin.store is not None:
            hook.store = twin.store = JournalStore(twin.store)
        if run is not None and start.checkpoint is not None and start.metadata is not None:
            saver.start_from(own_checkpoint(start.checkpoint, private), start.metadata)
            hook.resume(start, start.metadata["step"], run.writes)
        try:
            with hooked(hook):
                line.output = await self._turns(twin, hook, resumes=start.checkpoint is not None)
            line.text = shown(_answer(line.output, run or line))
            if line.unanswered is None:
                with hook.scoring():
                    line.score = await self.score(line.output, hook.case)
            else:
                line.error = "stopped at an interrupt without an answer"
        except Masked:
            hook.end_masked()
        except SherlockError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever the user's graph raises is how this line ends)
            line.error = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            hook.cut(error)
        finally:
            hook.close()
            if self.on_spent is not None:
                self.on_spent(line.spent)
        hook.raise_refusals()
        if not line.masked:
            hook.raise_outage()

    async def _turns(self, twin: CompiledStateGraph[Any, Any, Any, Any], hook: LineHook, *, resumes: bool) -> Any:
        """Feed the case's turns and answers until its end, or until an interrupt that has no answer."""
        case = hook.case
        turns = list(case.inputs) if isinstance(case.inputs, list) else [case.inputs]
        value = None if resumes else private(turns[hook.turn])
        context = case.context if case.context is not None else self.context
        while True:
            hook.interrupted = False
            config = self._config(case, hook.steps_left())
            output = await twin.ainvoke(value, config=config, context=context, durability="sync")
            hook.began = hook.last + 1
            if hook.interrupted:
                pending: Sequence[Interrupt] = (await twin.aget_state(config)).interrupts
                answers = hook.answer({interrupt.id: None for interrupt in pending})
                if not answers:
                    hook.line.unanswered = str(pending[0].value) if pending else "a breakpoint"
                    return output
                value = Command(resume=answers)
            elif hook.turn + 1 < len(turns):
                hook.turn += 1
                value = private(turns[hook.turn])
            else:
                return output

    def _config(self, case: Case, recursion_limit: int | None) -> Any:
        config: dict[str, Any] = {**self.config, **(case.config or {})}
        for part in ("configurable", "metadata"):
            config[part] = {**(self.config.get(part) or {}), **((case.config or {}).get(part) or {})}
        config["configurable"]["thread_id"] = THREAD
        if recursion_limit is not None:
            config["recursion_limit"] = recursion_limit
        return config


def is_resumable(graph: CompiledStateGraph[Any, Any, Any, Any]) -> bool:
    """Whether one checkpoint of the outermost graph holds the whole state."""
    stateful = any(getattr(sub, "checkpointer", None) is True for _, sub in graph.get_subgraphs(recurse=True))
    return not stateful and not _has_deltas(graph)


def _has_deltas(graph: Any) -> bool:
    return any(isinstance(channel, DeltaChannel) for channel in getattr(graph, "channels", {}).values())


def _run_through(twin: Pregel[Any, Any, Any, Any]) -> None:
    """Take away the breakpoints, which no case answers."""
    twin.interrupt_before_nodes = twin.interrupt_after_nodes = []
    for node in twin.nodes.values():
        inner = getattr(node.bound, "inner", None)
        if isinstance(inner, Pregel):
            _run_through(inner)


def _answer(output: Any, run: Line) -> str:
    """What to show of an output: of a whole state, what the last node of the clean run wrote into it."""
    last = max((a for a in run.executions), default=None)
    if last is None or not isinstance(output, Mapping):
        return read_text(output)
    keys = [key for key in written(run.executions[last].update) if key in output]
    return read_text({key: output[key] for key in keys} if keys else output)


def _compare(run: CleanRun, line: Line, at: Address | None, kept: set[Address]) -> None:
    """Note where a replay without a fault did as the clean run did, then keep only the execution in question."""
    for address, execution in line.executions.items():
        clean = run.executions.get(address)
        if clean is not None and clean.input_digest == execution.input_digest:
            line.evidence.append((execution.node, clean.update_digest == execution.update_digest))
    first = at[0][0] if at else min((a[0][0] for a in run.visited), default=0)
    line.same_path = line.visited == {a for a in run.visited if a[0][0] >= first and a not in kept}
    line.executions = {a: e for a, e in line.executions.items() if a == at}


def _kept(recorded: Mapping[Address, T], at: Address, *, from_start: bool) -> dict[Address, T]:
    """What a replay of `at` keeps: all that came earlier (`from_start`), and what stood beside it in a superstep."""
    return {
        address: it
        for address, it in recorded.items()
        if (from_start or address[0][0] == at[0][0]) and not follows(address, at)
    }
