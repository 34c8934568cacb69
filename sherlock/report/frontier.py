"""Score against cost: the best plan under every budget, from the largest down to none."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sherlock.placement.plan import Expectation, Plan
from sherlock.placement.slo import SLO

MOST = 60
"""Steps that are looked at."""
STEP = 5e-4
"""How much less than the last plan the next one must cost, of that: a little more than figures in plans are rounded."""


@dataclass(frozen=True, slots=True)
class Measure:
    """What the budget is of. `limit` is its name in an SLO."""

    title: str
    limit: str
    of: Callable[[Expectation], float | None]


MEASURES = (
    Measure("dollars", "max_usd", lambda e: e.usd),
    Measure("calls", "max_verifier_calls", lambda e: e.calls),
    Measure("seconds", "max_latency_s", lambda e: None if e.latency_s is None else e.latency_s.p95),
)


@dataclass(frozen=True, slots=True)
class Frontier:
    """Plans of rising cost, each with more score than all that cost less; the first verifies nothing, if it may."""

    measure: Measure
    plans: tuple[Plan, ...]

    def cost(self, plan: Plan) -> float | None:
        """What a run with the plan takes of what the budget is of."""
        return None if plan.expectation is None else self.measure.of(plan.expectation)

    def to_json(self) -> str:
        """The steps as JSON."""
        steps = [self._step(plan) for plan in self.plans]
        return json.dumps({"measure": self.measure.title, "steps": steps}, indent=1, ensure_ascii=False)

    def _step(self, plan: Plan) -> dict[str, Any]:
        expected = plan.expectation
        score = expected.score if expected is not None else None
        return {
            "cost": self.cost(plan),
            "score": None if score is None else dataclasses.asdict(score),
            "placements": {node: [each.verifier, each.settings] for node, each in plan.placements.items()},
        }


def frontier(best: Callable[[SLO], Plan | None], slo: SLO) -> Frontier:
    """Walk from the best plan of all to the cheapest, each time with a budget that the last one just breaks.

    `best` gives the plan of the highest score under an SLO, None where there is none. `slo`: further limits that all
    plans keep; its `min_accuracy` is not one of them.
    """
    slo = dataclasses.replace(slo, min_accuracy=None)
    first = best(slo)
    measure = _measure(first)
    found: list[Plan] = []
    plan = first
    while plan is not None and len(found) < MOST:
        found.append(plan)
        cost = None if plan.expectation is None else measure.of(plan.expectation)
        if not plan.placements or not cost:
            break
        plan = best(_cheaper(slo, measure, cost))
    if found and found[-1].placements and (none := best(dataclasses.replace(slo, max_verifiers=0))) is not None:
        found.append(none)
    return Frontier(measure, tuple(_rising(found[::-1])))


def _cheaper(slo: SLO, measure: Measure, cost: float) -> SLO:
    budget: Any = {measure.limit: cost * (1 - STEP)}
    return dataclasses.replace(slo, **budget)


def _measure(plan: Plan | None) -> Measure:
    """Dollars if verification costs any, else model calls, else seconds."""
    expected = plan.expectation if plan is not None else None
    return next((m for m in MEASURES if expected is not None and m.of(expected)), MEASURES[0])


def _rising(plans: list[Plan]) -> list[Plan]:
    kept: list[Plan] = []
    for plan in plans:
        if not kept or _score(plan) > _score(kept[-1]):
            kept.append(plan)
    return kept


def _score(plan: Plan) -> float:
    expected = plan.expectation
    return expected.score.value if expected is not None and expected.score is not None else float("-inf")
