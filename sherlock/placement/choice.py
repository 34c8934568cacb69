"""How a plan is chosen from rows: screened by the programme, re-scored by the structural model.

One question is asked of all rows, and of those that some cases were held out of, so that the promise is that of this
very way of choosing.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from sherlock.placement.figures import Chosen, Z
from sherlock.placement.latency import LatencyModel
from sherlock.placement.rows import Row, Workload
from sherlock.placement.slo import SLO, Objective
from sherlock.placement.solve import BEST, Ranking, best_plans
from sherlock.placement.solver import Solution
from sherlock.placement.structural import NodeFigures, StructuralModel

LEVELS = 3
"""A plan is first chosen to score what is asked; if it falls short, half of what more there is; then all of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """What is asked: limits, and what to make best. `figures`: what an analysis says of the nodes."""

    slo: SLO
    objective: Objective = "accuracy"
    careful: bool = False
    figures: Mapping[str, NodeFigures] = dataclasses.field(default_factory=dict)
    seed: int = 0

    @property
    def levels(self) -> int:
        """How many plans, one dearer than the other, can be tried in turn to reach the score that is asked for."""
        return LEVELS if self.objective != "accuracy" and self.slo.min_accuracy is not None else 1

    def screened(self, workload: Workload, rows: Sequence[Row]) -> Ranking:
        """The best plan within all limits by the sum of gains, or why there is none; and rows that no plan can hold."""
        return self._solved(workload, rows, self.slo, self.objective, 1)

    def model(self, workload: Workload, rows: Sequence[Row]) -> StructuralModel:
        """The structural model, fitted to the rows."""
        return StructuralModel.fit(workload, self.figures, rows, seed=self.seed)

    def pick(self, workload: Workload, rows: Sequence[Row], level: int = 0) -> Chosen:
        """The plan to take; empty if none keeps the limits.

        For accuracy that which scores best in the model. For another objective the first that the programme found;
        with a `min_accuracy` the first that reaches it in the model, at a higher `level` by more of a margin, at the
        highest that which scores best.
        """
        model = self.model(workload, rows)
        if self.objective != "accuracy" and self.slo.min_accuracy is None:
            found = self._ranked(workload, rows, self.slo, self.objective)
            return found[0].chosen if found else {}
        open_ended = dataclasses.replace(self.slo, min_accuracy=None)
        best = self._best([plan.chosen for plan in self._ranked(workload, rows, open_ended, "accuracy")], model)
        if level >= self.levels - 1 or self.slo.min_accuracy is None or workload.baseline is None:
            return best
        asked = self.slo.min_accuracy
        target = asked + max(0.0, workload.baseline.value + model.gain(best) - asked) * level / (LEVELS - 1)
        slo = dataclasses.replace(self.slo, min_accuracy=min(target, 1.0))
        for plan in self._ranked(workload, rows, slo, self.objective):
            if workload.baseline.value + model.gain(plan.chosen) >= target - 1e-9:
                return plan.chosen
        return best

    def _ranked(self, workload: Workload, rows: Sequence[Row], slo: SLO, objective: Objective) -> tuple[Solution, ...]:
        """The best plans. A row that gains nothing is worse than none in every respect."""
        useful = [row for row in rows if row.gain > 0]
        return self._solved(workload, useful, slo, objective, BEST).plans

    def _solved(self, workload: Workload, rows: Sequence[Row], slo: SLO, objective: Objective, count: int) -> Ranking:
        accept = LatencyModel(workload=workload, seed=self.seed).keeps if slo.max_latency_s is not None else None
        return best_plans(workload, rows, slo, objective=objective, careful=self.careful, accept=accept, count=count)

    def _best(self, plans: Sequence[Chosen], model: StructuralModel) -> Chosen:
        """Of equal ones the first: the programme put the cheaper first."""
        scored = [(round(model.gain(self._cautious(chosen)), 9), -index) for index, chosen in enumerate(plans)]
        return plans[-max(scored)[1]] if plans else {}

    def _cautious(self, chosen: Chosen) -> Chosen:
        """In careful mode every gain at its lower bound, as the programme takes it."""
        if not self.careful:
            return chosen
        errors = Z / max(1, len(chosen)) ** 0.5
        return {node: dataclasses.replace(row, gain=row.gain - errors * row.se) for node, row in chosen.items()}
