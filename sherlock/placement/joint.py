"""Runs whole plans on cases, every placed node verified and corrected before anything reads it.

This is the blocking order: what a plan is worth does not depend on when its verdicts come. The clean runs, verdicts and
model calls that a calibration kept are found again in the store and in the recordings.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sherlock.analysis.artefact import Forecast
from sherlock.analysis.executions import Execution, Line
from sherlock.analysis.rounds import Bench, together
from sherlock.analysis.study import Study
from sherlock.analysis.verdicts import Entrant, Judge, corrected, is_same
from sherlock.cases import Case
from sherlock.errors import SherlockError
from sherlock.interpose.nodes import Visit

Placements = Mapping[str, Entrant]


class JointRuns(Study[dict[str, tuple[float, float]]]):
    """Each case run once without verifiers and once under its plan: both scores, by the case's id.

    `plans` maps case ids to placements. Under a plan that places nothing a case is not run again.
    """

    def __init__(
        self,
        graph: Any,
        cases: Any,
        *,
        plans: Mapping[str, Placements],
        verifier_timeout_s: float = 60.0,
        **settings: Any,
    ) -> None:
        super().__init__(graph, cases, **settings)
        self._plans = plans
        self._timeout_s = verifier_timeout_s
        self.scores: dict[str, tuple[float, float]] = {}

    @property
    def found_something(self) -> bool:
        return bool(self.scores)

    def forecasts(self, cases: int) -> Forecast:
        runs = 2 * cases
        return Forecast(
            cases=cases,
            nodes=len({node for plan in self._plans.values() for node in plan}),
            trials=cases,
            node_executions=runs * len(self.workflow.order),
            basis="each case once without verifiers, if it was not kept, and once under its plan",
        )

    async def work(self, cases: Sequence[Case]) -> None:
        judge = Judge(
            rounds=self.rounds, seed=self.settings.seed, prices=self.settings.prices, timeout_s=self._timeout_s
        )
        benches = await self.rounds.clean(list(enumerate(cases)))
        self.records = [bench.record for bench in benches]
        await self.rounds.get_ready([])
        usable = [bench for bench in benches if not bench.record.skipped]
        await together(self._run(judge, bench) for bench in usable)

    async def _run(self, judge: Judge, bench: Bench) -> None:
        placed = self._plans.get(bench.record.id, {})
        score = bench.record.score
        if placed:
            score = (await self.rounds.attempt(lambda: verified(judge, bench, placed))).score
        self.scores[bench.record.id] = (bench.record.score, score)
        self.tell("trial", bench.record.id)

    def result(self, partial: str | None) -> dict[str, tuple[float, float]]:
        self.partial = partial
        return dict(sorted(self.scores.items()))


async def verified(judge: Judge, bench: Bench, placed: Placements) -> Line:
    """Run the case of `bench` from its first input, with a verifier at every node of `placed`."""
    refused: list[SherlockError] = []

    async def verify(visit: Visit, made: Execution) -> Any:
        each = placed.get(visit.node)
        if each is None:
            return made.update
        try:
            new = corrected(made, await judge.answer(bench, made, each))
        except SherlockError as error:  # the graph's own error handlers may swallow it
            refused.append(error)
            raise
        category = bench.record.categories.get(visit.node, "instruction")
        return made.update if is_same(made.update, new, category) else new

    line = await judge.rounds.replayer.verified(bench.run.case, verify)
    if refused:
        raise refused[0]
    return line
