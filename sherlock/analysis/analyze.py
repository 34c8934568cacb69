"""`analyze`: which nodes of a workflow matter, by counterfactual fault injection (arXiv:2511.00330, section 5).

Cases run once without a fault; then, from the checkpoint before each node, they are replayed with and without a fault
there. After 8, 12, 24 and 50 cases whose clean run was right the ranking is looked at, and nodes that are settled get
no more cases. `docs/statistics.md` explains what is estimated.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sherlock.analysis import summary
from sherlock.analysis.artefact import Analysis, Forecast
from sherlock.analysis.budget import Budget
from sherlock.analysis.determinism import Determinism
from sherlock.analysis.faults import PAPER, Fault, check_faults
from sherlock.analysis.replay import Replayer, is_resumable
from sherlock.analysis.rounds import Bench, Rounds
from sherlock.analysis.stand_ins import stand_ins
from sherlock.analysis.store import Store
from sherlock.analysis.trials import Faults
from sherlock.analysis.vulnerability import LOOKS, Settlement
from sherlock.cases import Case, digest, read_cases
from sherlock.errors import CasesError, GraphError, LimitReached, ModelError, SherlockError
from sherlock.graph import WorkflowGraph
from sherlock.interpose import calls
from sherlock.interpose.nodes import leaf_nodes
from sherlock.interpose.reads import reads_of
from sherlock.interpose.recording import Recordings
from sherlock.loading import opened_graph
from sherlock.models.prices import Prices
from sherlock.node_code import code_fingerprint
from sherlock.scorers import ResolvedScorer, resolve_scorer
from sherlock.usage import Limits

Visits = Literal["first", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an analysis is. `stage`: `forecast`, `clean`, `sham`, `trial`, `look` or `done`; `what` = case or reason.

    `ranking` holds, at a look, the nodes with their estimates so far, best first.
    """

    stage: str
    what: str = ""
    trials: int = 0
    cases: int = 0
    right: int = 0
    node_executions: int = 0
    model_calls: int = 0
    usd: float | None = 0.0
    elapsed_s: float = 0.0
    forecast: Forecast | None = None
    ranking: tuple[tuple[str, Any], ...] = ()


async def aanalyze(
    graph: Any,
    cases: str | Path | Iterable[Case | Mapping[str, Any]],
    *,
    scorer: str | Callable[..., Any],
    faults: Sequence[Fault] = PAPER,
    faults_per_kind: int = 1,
    nodes: Sequence[str] | None = None,
    visits: Visits = "first",
    pass_mark: float = 1.0,
    seed: int = 0,
    confidence: float = 0.95,
    top: int = 1,
    margin: float = 0.10,
    limits: Limits | None = None,
    store: str | Path | None = None,
    concurrency: int = 8,
    recordings: str | Path | Recordings | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], None] | None = None,
    config: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Analysis:
    """Score the nodes of a workflow by how much the final answer suffers from faults at them.

    `graph`: a builder, a compiled graph, a factory, or a reference such as `agent.py:graph`; it is not changed.
    `cases`: a JSON Lines file or an iterable of `Case`. `scorer`: `(output, case) -> float | bool` in [0, 1], a name,
    or `module:function`. `faults_per_kind`: draws per fault class, node and case. `nodes`: only these (default: all
    that can be reached). `visits`: inject at the first execution of a node in each case, or at every one. `pass_mark`: a
    clean run with at least this score was right. `top`, `margin`, `confidence`: the ranking is settled, and the
    analysis ends, when with this confidence no node outside the first `top` beats one inside by more than `margin`.
    `limits`: hard limits; where one is reached the analysis so far is returned, marked `partial`. `store`: a SQLite
    file in which every trial is kept, and found again next time. `recordings`: a folder of recorded model calls that
    answers equal calls and keeps new ones. `dry_run`: only the forecast. `progress` is called as work gets done.

    Raises:
        GraphError: the graph cannot be read, a node does not exist, or one has effects and no stub.
        CasesError: the cases or the scorer are wrong, or no clean run was right, so that nothing can be measured.
        InjectionError: a fault of your own raised or does not fit.
        ModelError: the model server does not answer.
        StoreError: the store belongs to another graph.
    """
    analyst = Analyst(
        graph,
        cases,
        scorer=scorer,
        faults=faults,
        faults_per_kind=faults_per_kind,
        nodes=nodes,
        visits=visits,
        pass_mark=pass_mark,
        seed=seed,
        confidence=confidence,
        top=top,
        margin=margin,
        limits=limits or Limits(),
        store=store,
        concurrency=concurrency,
        recordings=recordings,
        dry_run=dry_run,
        progress=progress,
        config=config or {},
        context=context,
    )
    return await analyst.run()


@dataclass(kw_only=True)
class Settings:
    """What was asked, checked."""

    faults: Sequence[Fault]
    faults_per_kind: int
    nodes: Sequence[str] | None
    visits: Visits
    pass_mark: float
    seed: int
    confidence: float
    top: int
    margin: float
    limits: Limits
    store: str | Path | None
    concurrency: int
    recordings: str | Path | Recordings | None
    dry_run: bool
    progress: Callable[[Progress], None] | None
    config: Mapping[str, Any]
    context: Any
    prices: Prices = field(default_factory=Prices)
    output_key: str | None = None
    fresh: bool = False
    """Forget what the store holds of this very analysis."""

    def __post_init__(self) -> None:
        check_faults(self.faults)
        whole = {"faults_per_kind": self.faults_per_kind, "top": self.top, "concurrency": self.concurrency}
        for name, value in whole.items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 up")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence!r}; it lies between 0 and 1")
        if not 0 < self.pass_mark <= 1:
            raise ValueError(f"pass_mark is {self.pass_mark!r}; it lies over 0, up to 1")
        if not 0 <= self.margin <= 1:
            raise ValueError(f"margin is {self.margin!r}; it lies from 0 to 1")
        if self.visits not in ("first", "all"):
            raise ValueError(f"visits is {self.visits!r}; it is 'first' or 'all'")

    def listed(self) -> dict[str, Any]:
        """The settings that decide the result, as the artefact holds them."""
        return {
            "faults": {fault.name: [fault.kind, fault.weight] for fault in self.faults},
            "faults_per_kind": self.faults_per_kind,
            "visits": self.visits,
            "pass_mark": self.pass_mark,
            "seed": self.seed,
            "confidence": self.confidence,
            "top": self.top,
            "margin": self.margin,
        }


class Analyst:
    """One analysis. `stop` ends it early with what is there; the settings are those of `aanalyze`."""

    def __init__(self, graph: Any, cases: Any, *, scorer: str | Callable[..., Any], **settings: Any) -> None:
        self.settings = Settings(**settings)
        self._graph = graph
        self._cases = cases
        self._scorer = scorer
        self._started = time.monotonic()
        self._stopped: str | None = None
        self._work: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self, reason: str) -> None:
        """End the analysis from any thread; `run` then returns what is there, marked with `reason`."""
        self._stopped = reason
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: self._work and self._work.cancel())

    async def run(self) -> Analysis:
        """Do the analysis; see `aanalyze`."""
        self._loop = asyncio.get_running_loop()
        cases = read_cases(self._cases)
        scorer = resolve_scorer(self._scorer, output_key=self.settings.output_key)
        async with opened_graph(self._graph, self.settings.config) as graph:
            self.workflow = WorkflowGraph.of(graph)
            self.targets = self._chosen_nodes()
            self._prepare(graph, cases, scorer)
            try:
                return await self._run(cases, scorer)
            finally:
                self.rounds.store.close()

    def _chosen_nodes(self) -> list[str]:
        if self.settings.nodes is not None:
            return [self.workflow.known(name) for name in dict.fromkeys(self.settings.nodes)]
        return [name for name in self.workflow.order if not self.workflow.nodes[name].is_handler]

    def _prepare(self, graph: Any, cases: Sequence[Case], scorer: ResolvedScorer) -> None:
        settings = self.settings
        calls.install()
        recordings = settings.recordings
        if recordings is not None and not isinstance(recordings, Recordings):
            recordings = Recordings(recordings)
        budget = Budget(settings.limits)
        prices = settings.prices

        def new_scope(**rewrite: Any) -> calls.CallScope:
            return calls.CallScope(**rewrite, recordings=recordings, before_call=budget.before_call, price=prices.usd)

        leaves = dict(leaf_nodes(graph))
        reads = {name: found for name, node in leaves.items() if (found := reads_of(node)) is not None}
        base_url = os.environ.get("OPENAI_BASE_URL", "")
        server = "loopback" if "://127.0.0.1" in base_url or "://localhost" in base_url else base_url
        identity = digest(
            [code_fingerprint(graph), scorer.fingerprint, settings.config, settings.context, settings.pass_mark, server]
        )
        store = Store(settings.store, self.workflow)
        if settings.fresh:
            store.forget(f"clean/{identity}/")
            store.forget(f"line/{identity}/")
        replayer = Replayer(
            graph=graph,
            score=scorer.score,
            new_scope=new_scope,
            effects=stand_ins(leaves, cases),
            config=settings.config,
            context=settings.context,
            resumable=is_resumable(graph),
        )
        self.rounds = Rounds(
            workflow=self.workflow,
            replayer=replayer,
            store=store,
            budget=budget,
            faults=Faults(faults=settings.faults, per_kind=settings.faults_per_kind, seed=settings.seed),
            reads=reads,
            determinism=Determinism(recorded=recordings is not None),
            identity=identity,
            pass_mark=settings.pass_mark,
            every_visit=settings.visits == "all",
            concurrency=settings.concurrency,
            on_done=self._tell,
        )
        replayer.share_key = self.rounds.share_key

    async def _run(self, cases: Sequence[Case], scorer: ResolvedScorer) -> Analysis:
        self.forecast = summary.forecast(self.workflow, self.targets, len(cases), self.settings)
        self.records: list[Any] = []
        self.settlement: Settlement | None = None
        self._tell("forecast")
        partial = None
        if self.settings.dry_run:
            partial = "dry run: nothing was executed"
        else:
            partial = await self._work_until_done(cases)
        self._tell("done", partial or "")
        return summary.summarise(
            workflow=self.workflow,
            targets=self.targets,
            settings=self.settings,
            scorer=scorer.name,
            records=self.records,
            rounds=self.rounds,
            settlement=self.settlement,
            forecast=self.forecast,
            partial=partial,
            seconds=time.monotonic() - self._started,
        )

    async def _work_until_done(self, cases: Sequence[Case]) -> str | None:
        """Do the looks; return why they ended early, if they did."""
        self._work = asyncio.ensure_future(self._looks(cases))
        if self._stopped:
            self._work.cancel()
        try:
            await self._work
        except asyncio.CancelledError:
            if self._stopped is None:
                self._work.cancel()
                await asyncio.gather(self._work, return_exceptions=True)
                raise
            return self._stopped
        except LimitReached as limit:
            return str(limit)
        except ModelError as error:
            if not any(record.outcomes for record in self.records):
                raise
            return f"model calls fail: {error}"
        return None

    async def _looks(self, cases: Sequence[Case]) -> None:
        waiting = list(enumerate(cases))
        open_nodes = list(self.targets)
        for look, goal in enumerate(LOOKS):
            fresh = await self._clean_until(goal, waiting)
            if fresh:
                await self.rounds.measure([bench for bench in fresh if not bench.record.skipped], open_nodes)
            self.settlement = summary.settlement(self.records, self.targets, look, self.settings)
            self._tell("look", f"look {look + 1} of {len(LOOKS)}")
            if self.settlement.settled or not waiting:
                return
            unseen = set(self.targets) - summary.measured_nodes(self.records)
            open_nodes = [name for name in self.targets if name in self.settlement.open_nodes | unseen]

    async def _clean_until(self, goal: int, waiting: list[tuple[int, Case]]) -> list[Bench]:
        """Take cases, in their order, until `goal` of all clean runs were right or no case is left."""
        fresh: list[Bench] = []
        while waiting and (missing := goal - sum(record.right for record in self.records)) > 0:
            batch, waiting[:missing] = waiting[:missing], []
            benches = await self.rounds.clean(batch)
            fresh += benches
            self.records += [bench.record for bench in benches]
        if not waiting and not any(record.right for record in self.records):
            raise self._nothing_to_measure()
        return fresh

    def _nothing_to_measure(self) -> SherlockError:
        first = next((record for record in self.records if record.skipped), None)
        if first is not None and all(record.skipped for record in self.records):
            return CasesError(
                f"case {first.id!r} {first.skipped}, and so did every other case: "
                'answer interrupts in order with "resume": [...] in the case'
            )
        failed = [record for record in self.records if record.error]
        if failed and len(failed) == len(self.records):
            return GraphError(
                f"every clean run raised, so nothing can be measured; case {failed[0].id!r}: {failed[0].error}"
            )
        best = max(self.records, key=lambda record: record.score)
        return CasesError(
            f"none of {len(self.records)} clean runs was right (the best, case {best.id!r}, scored {best.score:g}; "
            f"right is {self.settings.pass_mark:g} or more), so nothing can be measured: check `expected` and the "
            "scorer, or lower the pass mark"
        )

    def _tell(self, stage: str, what: str = "") -> None:
        if self.settings.progress is None:
            return
        totals = self.rounds.totals
        ranking = summary.ranking_so_far(self.records, self.targets, self.settings) if stage == "look" else ()
        self.settings.progress(
            Progress(
                stage=stage,
                what=what,
                trials=totals.trials,
                cases=len(self.records),
                right=sum(record.right for record in self.records),
                node_executions=totals.node_executions,
                model_calls=self.rounds.budget.calls_begun,
                usd=totals.spent.usd,
                elapsed_s=time.monotonic() - self._started,
                forecast=self.forecast,
                ranking=ranking,
            )
        )
