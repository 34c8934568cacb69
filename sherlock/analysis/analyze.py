"""`analyze`: which nodes of a workflow matter, by counterfactual fault injection (arXiv:2511.00330, section 5).

Cases run once without a fault; then, from the checkpoint before each node, they are replayed with and without a fault
there. After 8, 12, 24 and 50 cases whose clean run was right the ranking is looked at, and nodes that are settled get
no more cases. `docs/statistics.md` explains what is estimated.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sherlock.analysis import summary
from sherlock.analysis.artefact import Analysis, Forecast
from sherlock.analysis.faults import PAPER, Fault
from sherlock.analysis.rounds import Bench
from sherlock.analysis.study import Progress, Study, Visits
from sherlock.analysis.vulnerability import LOOKS, Settlement
from sherlock.cases import Case
from sherlock.interpose.recording import Recordings
from sherlock.usage import Limits

__all__ = ["Analyst", "Progress", "Visits", "aanalyze"]


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
    that can be reached). `visits`: inject at the first execution of a node in each case, or at every one. `pass_mark`:
    a clean run with at least this score was right. `top`, `margin`, `confidence`: the ranking is settled, and the
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


class Analyst(Study[Analysis]):
    """One analysis; the settings are those of `aanalyze`."""

    forgets = ("clean", "line")
    settlement: Settlement | None = None

    def forecasts(self, cases: int) -> Forecast:
        return summary.forecast(self.workflow, self.targets, cases, self.settings)

    def result(self, partial: str | None) -> Analysis:
        return summary.summarise(
            workflow=self.workflow,
            targets=self.targets,
            settings=self.settings,
            scorer=self.scorer.name,
            records=self.records,
            rounds=self.rounds,
            settlement=self.settlement,
            forecast=self.forecast,
            partial=partial,
            seconds=self.elapsed_s,
        )

    def ranking(self) -> tuple[tuple[str, Any], ...]:
        return summary.ranking_so_far(self.records, self.targets, self.settings)

    async def work(self, cases: Sequence[Case]) -> None:
        waiting = list(enumerate(cases))
        open_nodes = list(self.targets)
        for look, goal in enumerate(LOOKS):
            fresh = await self._clean_until(goal, waiting)
            if fresh:
                await self.rounds.measure([bench for bench in fresh if not bench.record.skipped], open_nodes)
            self.settlement = summary.settlement(self.records, self.targets, look, self.settings)
            self.tell("look", f"look {look + 1} of {len(LOOKS)}")
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
            if len(self.records) == len(benches):  # the first to have run
                self.forecast = summary.refined(self.forecast, self.workflow, self.records, self.settings)
                self.tell("forecast")
        if not waiting and not any(record.right for record in self.records):
            raise self.nothing_to_measure()
        return fresh
