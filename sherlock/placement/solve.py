"""The best plans under an SLO, in order, by an exact mixed-integer linear programme.

The sum of gains chooses well but promises too much where verifiers repair the same errors: plans found here are
*screened*. What one of them is worth is measured or modelled afterwards (`promise`, `structural`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sherlock.placement.figures import Case
from sherlock.placement.infeasible import Infeasible, explain
from sherlock.placement.rows import Row, Workload
from sherlock.placement.slo import SLO, Objective
from sherlock.placement.solver import Accept, Solution, Solver

BEST = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The best plans, best first, or why there is none; and the rows that no plan could hold, with the reason."""

    plans: tuple[Solution, ...]
    infeasible: Infeasible | None
    excluded: tuple[tuple[Row, str], ...]


def best_plans(
    workload: Workload,
    rows: Sequence[Row],
    slo: SLO,
    *,
    objective: Objective = "accuracy",
    least_gain: float | None = None,
    careful: bool = False,
    count: int = BEST,
    accept: Accept | None = None,
) -> Ranking:
    """Rank plans: at each node at most one of `rows`, within all limits of `slo`.

    The least gain is `least_gain`, else `min_accuracy` less the workload's baseline; without either the score is not
    limited here. `careful` takes gains at their lower bounds and watt-hours at their upper ones.
    """
    if least_gain is None and slo.min_accuracy is not None and workload.baseline is not None:
        least_gain = slo.min_accuracy - workload.baseline.value
    useful = len({row.node for row in rows if row.gain > 0})
    most = useful if slo.max_verifiers is None else min(useful, int(slo.max_verifiers))
    solver = Solver(
        case=Case(workload=workload, careful=careful, count=max(1, most)),
        rows=tuple(rows),
        slo=slo,
        objective=objective,
        least_gain=least_gain,
        accept=accept,
    )
    plans = solver.plans(count)
    return Ranking(plans=plans, infeasible=None if plans else explain(solver), excluded=solver.excluded)
