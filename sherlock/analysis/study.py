"""What an analysis and a calibration have in common: settings, preparation, limits, progress, and how they end."""

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from sherlock.analysis.artefact import Forecast
from sherlock.analysis.determinism import Determinism
from sherlock.analysis.faults import Fault, check_faults
from sherlock.analysis.records import CaseRecord
from sherlock.analysis.replay import Replayer, is_resumable
from sherlock.analysis.rounds import Rounds
from sherlock.analysis.store import Store
from sherlock.analysis.trials import Faults
from sherlock.budget import Budget
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
from sherlock.stand_ins import stand_ins, stubs_fingerprint
from sherlock.usage import Limits

Visits = Literal["first", "all"]
Result = TypeVar("Result")


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


class Study(ABC, Generic[Result]):
    """Cases run on a graph to find something out about it. `stop` ends it early with what is there.

    A kind of study says what it `forecasts`, does its `work`, and makes a `result` of it, however far the work got.
    """

    forgets: tuple[str, ...] = ()
    """The kinds of stored results that are this study's own, which a fresh start forgets."""

    def __init__(self, graph: Any, cases: Any, *, scorer: str | Callable[..., Any], **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.records: list[CaseRecord] = []
        self._graph = graph
        self._cases = cases
        self._scorer = scorer
        self._started = time.monotonic()
        self._stopped: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self, reason: str) -> None:
        """End the study from any thread; `run` then returns what is there, marked with `reason`."""
        self._stopped = reason
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    async def run(self) -> Result:
        """Do the study."""
        self._loop = asyncio.get_running_loop()
        cases = read_cases(self._cases)
        self.scorer = resolve_scorer(self._scorer, output_key=self.settings.output_key)
        async with opened_graph(self._graph, self.settings.config) as graph:
            self.workflow = WorkflowGraph.of(graph)
            self.targets = self._chosen_nodes()
            self._prepare(graph, cases, self.scorer)
            try:
                self.forecast = self.forecasts(len(cases))
                self.tell("forecast")
                partial = "dry run: nothing was executed" if self.settings.dry_run else await self._until_done(cases)
                self.tell("done", partial or "")
                return self.result(partial)
            finally:
                self.rounds.store.close()

    @abstractmethod
    def forecasts(self, cases: int) -> Forecast:
        """Say what the study may cost at most."""

    @abstractmethod
    async def work(self, cases: Sequence[Case]) -> None:
        """Do it."""

    @abstractmethod
    def result(self, partial: str | None) -> Result:
        """Make the artefact from what was done; `partial` says why the work ended early."""

    @property
    def found_something(self) -> bool:
        """Whether there is a result worth keeping when the model server goes away."""
        return any(record.outcomes for record in self.records)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the study was set up."""
        return time.monotonic() - self._started

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
        code = [code_fingerprint(graph), stubs_fingerprint(leaves), scorer.fingerprint]
        identity = digest([*code, settings.config, settings.context, settings.pass_mark, server])
        effects = stand_ins(leaves, cases)
        store = Store(settings.store, self.workflow)
        if settings.fresh:
            for kind in self.forgets:
                store.forget(f"{kind}/{identity}/")
        replayer = Replayer(
            graph=graph,
            score=scorer.score,
            new_scope=new_scope,
            effects=effects,
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
            on_done=self.tell,
            prices=prices,
        )
        replayer.share_key = self.rounds.share_key

    async def _until_done(self, cases: Sequence[Case]) -> str | None:
        """Do the work; return why it ended early, if it did."""
        self._task = asyncio.ensure_future(self.work(cases))
        if self._stopped:
            self._task.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            if self._stopped is None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
                raise
            return self._stopped
        except LimitReached as limit:
            return str(limit)
        except ModelError as error:
            if not self.found_something:
                raise
            return f"model calls fail: {error}"
        return None

    def nothing_to_measure(self) -> SherlockError:
        """Say why no clean run was right."""
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

    def ranking(self) -> tuple[tuple[str, Any], ...]:
        """The ranking so far, for those who watch."""
        return ()

    def tell(self, stage: str, what: str = "") -> None:
        """Tell whoever watches how far the study is."""
        if self.settings.progress is None:
            return
        totals = self.rounds.totals
        ranking = self.ranking() if stage == "look" else ()
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
                elapsed_s=self.elapsed_s,
                forecast=self.forecast,
                ranking=ranking,
            )
        )
