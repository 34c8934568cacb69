"""Runs the rounds of an analysis: clean runs, replays without a fault, injections; with limits, store and sharing.

What a round does is decided before it begins, and results are put in the order of the cases, so that nothing depends
on which of the concurrent replays ends first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from langgraph.constants import START

from sherlock.analysis.determinism import ENOUGH, Determinism
from sherlock.analysis.directive import Directive, find_directive
from sherlock.analysis.executions import SHAM, CleanRun, Execution, Line, is_sent, node_of
from sherlock.analysis.records import CaseRecord, Outcome, Totals, metered, shown
from sherlock.analysis.replay import Replayer
from sherlock.analysis.shared import Shared
from sherlock.analysis.store import Store
from sherlock.analysis.trials import Background, Faults, Trial, repair, visits_of
from sherlock.budget import Budget
from sherlock.canonical import digest
from sherlock.cases import Case, case_key
from sherlock.equivalence import matches_reference
from sherlock.errors import MissingRecording, ModelError
from sherlock.graph import WorkflowGraph
from sherlock.interpose.nodes import Address, show_address
from sherlock.lens import category_of, read_text
from sherlock.models.prices import Prices
from sherlock.usage import NO_USAGE, Usage

RETRY_AFTER_S = 0.5

T = TypeVar("T")

OnDone = Callable[[str, str], None]
"""Told the stage (`clean`, `sham`, `trial`) and the name of the case or node whenever one is done."""


@dataclass(slots=True, kw_only=True)
class Bench:
    """A case under test: its clean run, the record that stays, and results that its trials share.

    `key`: what the results of its replays depend on: the case, and the models that answered. `counted`: the shared
    results whose execution is in the totals already, so that each counts once, whoever made it.
    """

    run: CleanRun
    record: CaseRecord
    key: str
    shared: Shared = field(default_factory=Shared)
    counted: set[str] = field(default_factory=set)


@dataclass(kw_only=True)
class Rounds:
    """The machinery of one analysis. `identity` is a digest of all that every result depends on."""

    workflow: WorkflowGraph
    replayer: Replayer
    store: Store
    budget: Budget
    faults: Faults
    reads: Mapping[str, frozenset[str]]
    determinism: Determinism
    identity: str
    pass_mark: float
    every_visit: bool
    concurrency: int
    on_done: OnDone
    prices: Prices = field(default_factory=Prices)
    totals: Totals = field(default_factory=Totals)
    directives: dict[str, Directive] = field(default_factory=dict)
    others: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    calling: set[str] = field(default_factory=set)
    """Nodes that were seen to call a model."""
    _prompts: dict[str, list[Any]] = field(default_factory=dict)
    _probed: bool = False

    def __post_init__(self) -> None:
        self._gate = asyncio.Semaphore(self.concurrency)
        self.replayer.on_spent = self.spend

    def spend(self, usage: Usage) -> None:
        """Book what calls that were really made have cost."""
        self.budget.spend(usage)
        self.totals.spent += usage

    async def clean(self, cases: Sequence[tuple[int, Case]]) -> list[Bench]:
        """Run cases without a fault, those that the store has not got; in case order."""
        benches = await together(self._clean(index, case) for index, case in cases)
        for bench in benches:
            self._learn(bench)
        return benches

    async def measure(self, benches: Sequence[Bench], nodes: Sequence[str]) -> None:
        """Inject faults at `nodes` in every case, and measure what gold outputs gain there."""
        await self.get_ready(benches)
        await together(self._node(bench, node) for bench in benches for node in nodes)
        self.determinism.update()

    async def get_ready(self, benches: Sequence[Bench]) -> None:
        """Find out what may be shared, and which part of each prompt is the directive, before replays begin."""
        if not self._probed and not self.determinism.any_live:
            # Not in the order of the clean runs, or a node that takes turns could do so in step with its cases.
            swapped = sorted(range(min(ENOUGH, len(benches))), key=lambda place: place ^ 1)
            await together(self._probe(benches[place]) for place in swapped)
        self._probed = True
        self.determinism.update()
        for node, prompts in self._prompts.items():
            if (found := find_directive(prompts)) is not None:
                self.directives[node] = found
        for bench in benches:
            self._seed(bench)

    async def _clean(self, index: int, case: Case) -> Bench:
        key = f"clean/{self.identity}/{case_key(case)}"
        run = self.store.clean(key, case)
        if run is None:
            run = await self.attempt(lambda: self.replayer.clean(case))
            if run.unanswered is None:
                self.store.put_clean(key, run)
        else:
            self.totals.resumed += 1
        self.totals.node_executions += run.node_executions
        self.totals.full += run.node_executions
        self.totals.use(run.usage)
        self.on_done("clean", case.id or str(index + 1))
        models = ",".join(sorted({call.model for e in run.executions.values() for call in e.calls}))
        return Bench(run=run, record=self._record(index, run), key=f"{case_key(case)}/{models}")

    def _record(self, index: int, run: CleanRun) -> CaseRecord:
        record = CaseRecord(index=index, id=run.case.id or str(index + 1), score=run.score, error=run.error)
        record.right = run.error is None and run.score >= self.pass_mark
        if run.unanswered is not None:
            record.skipped = f"stopped at an interrupt without an answer ({shown(run.unanswered)})"
        for execution in sorted(run.executions.values(), key=lambda e: e.address):
            if not execution.is_container:
                record.latencies.setdefault(execution.node, []).append(execution.latency_s)
                spent = metered(execution.calls, self.prices)
                record.usage[execution.node] = record.usage.get(execution.node, NO_USAGE) + spent
        return record

    def _learn(self, bench: Bench) -> None:
        """Note what a clean run tells about its nodes: their prompts, outputs, wrong answers."""
        run, record = bench.run, bench.record
        self.determinism.saw_clean(run)
        references = run.case.references or {}
        for node in self.workflow.nodes:
            for execution in visits_of(run, node, every=False):
                text = read_text(execution.update)
                if execution.calls:
                    self.calling.add(node)
                    self._prompts.setdefault(node, []).append(execution.calls[0].messages)
                self.others.setdefault(node, []).append((record.id, text))
                directive = self.directives.get(node)
                record.categories[node] = category_of(text, execution.update, directive.text if directive else "")
                if node in references:
                    right = matches_reference(text, references[node], record.categories[node])
                    record.wrong[node] = float(not right)

    def _seed(self, bench: Bench) -> None:
        """Let trials share what the clean run found out about nodes that are shown to be deterministic."""
        for execution in bench.run.executions.values():
            if execution.is_container or execution.answers:
                continue
            key = self.share_key(execution.address, execution.value)
            if key is not None:
                bench.shared.seed(key, execution.update)
                bench.counted.add(key)

    def share_key(self, at: Address, value: Any) -> str | None:
        """The key under which an execution's result may be shared; None for a node not shown to be deterministic."""
        node = node_of(at)
        if not self.determinism.shows([node]):
            return None
        reads = None if is_sent(at) else self.reads.get(node)
        if reads is not None and isinstance(value, Mapping):
            value = {key: value[key] for key in sorted(reads) if key in value}
        return digest([node, value])

    async def _probe(self, bench: Bench) -> None:
        """Re-run a whole case, to see which nodes do the same again."""
        line = await self._line(bench, None, "probe", lambda: self.replayer.replay(bench.run, None))
        self.determinism.saw_replay(bench.record.index, line)

    async def _node(self, bench: Bench, node: str) -> None:
        """All trials of one case at one node."""
        for visit, execution in enumerate(visits_of(bench.run, node, every=self.every_visit)):
            await self._visit(bench, execution, visit)

    async def _visit(self, bench: Bench, execution: Execution, visit: int) -> None:
        run, at = bench.run, execution.address
        sham = await self.sham(bench, execution)
        base = sham.executions.get(at, execution)
        background = Background(others=self.others, directives=self.directives, reads=self.reads)
        for trial in await self.faults.trials(run, execution, visit, base, background):
            line = await self.trial(bench, at, trial, sham)
            bench.record.outcomes.append(
                Outcome(
                    case=bench.record.index,
                    node=execution.node,
                    visit=visit,
                    kind=trial.kind,
                    fault=trial.fault,
                    before=shown(trial.before),
                    after=shown(trial.after),
                    answer=shown(line.error) if line.error else line.text,
                    score=line.score,
                    sham_score=sham.score,
                    masked=line.masked,
                    error=line.error,
                )
            )
        gold = (run.case.references or {}).get(execution.node)
        if gold is not None and visit == 0:
            bench.record.gains[execution.node] = await self._gain(bench, execution, base, gold, sham)

    async def _gain(self, bench: Bench, execution: Execution, base: Execution, gold: str, sham: Line) -> float:
        """What the score gains when the gold text is put in; nothing where the node said it anyway."""
        category = bench.record.categories.get(execution.node, "instruction")
        if matches_reference(read_text(base.update), gold, category):
            return 0.0
        line = await self.trial(bench, execution.address, repair(base, gold), sham)
        return line.score - sham.score

    async def sham(self, bench: Bench, execution: Execution) -> Line:
        """The replay without a fault. Where all that it would run is deterministic, it is the clean run again."""
        run, at = bench.run, execution.address
        after = {node_of(address) for address in run.visited if address >= at}
        after |= {place for place in run.live if place.rpartition("/")[2] == START}  # routers that may run again
        if self.determinism.shows(after | {execution.node}):
            return run
        line = await self._line(bench, at, "sham", lambda: self.replayer.replay(run, at, SHAM, shared=bench.shared))
        self.determinism.saw_replay(bench.record.index, line)
        return line

    async def trial(self, bench: Bench, at: Address, trial: Trial, sham: Line) -> Line:
        """Replay with the trial's injection, compared with the sham."""
        run = bench.run
        return await self._line(
            bench,
            at,
            trial.key,
            lambda: self.replayer.replay(run, at, trial.injection, base=sham, shared=bench.shared),
        )

    async def _line(self, bench: Bench, at: Address | None, key: str, make: Callable[[], Awaitable[Line]]) -> Line:
        """Make a replay, or read it back from the store."""
        place = show_address(at) if at else ""
        stored_as = f"line/{self.identity}/{bench.key}/{place}/{key}"
        line = self.store.line(stored_as)
        is_trial = key not in ("sham", "probe")
        if line is None:
            line = await self.attempt(make)
            if is_trial:  # nothing is compared with it
                line.states.clear()
                line.visited.clear()
            self.store.put_line(stored_as, line, "trial" if is_trial else key)
        else:
            self.totals.resumed += 1
        self.totals.node_executions += line.node_executions + len(line.shared - bench.counted)
        bench.counted |= line.shared
        self.totals.use(line.usage)
        self.totals.full += bench.run.node_executions
        if is_trial:
            self.totals.trials += 1
        else:
            self.totals.shams += 1
        self.on_done("trial" if is_trial else "sham", bench.record.id)
        return line

    async def attempt(self, make: Callable[[], Awaitable[T]]) -> T:
        """Run within the limits; a model server that fails is asked once more."""
        async with self._gate:
            self.budget.check()
            try:
                return await make()
            except MissingRecording:
                raise
            except ModelError:
                await asyncio.sleep(RETRY_AFTER_S)
                return await make()


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all of `work`, results in order. The first failure cancels the rest, and waits until they are gone."""
    tasks = [asyncio.ensure_future(item) for item in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
