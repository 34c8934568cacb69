"""Solves one question for its best plans: goal after goal, ties by name, plans that were found cut off one by one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sherlock.placement.figures import ROUNDING, Case, Chosen, Figures
from sherlock.placement.programme import SCALE, Line, Programme, Terms
from sherlock.placement.rows import Row
from sherlock.placement.slo import SLO, Objective

GOALS: Mapping[Objective, tuple[str, ...]] = {
    "accuracy": ("gain", "usd"),
    "usd": ("usd", "gain"),
    "latency_s": ("latency_s", "usd", "gain"),
    "wh": ("wh", "usd", "gain"),
}
"""What each objective makes best, and what settles a tie; after that the names of verifiers do, node by node."""

Accept = Callable[[Chosen, SLO], bool]
"""Judges what the programme cannot see, such as a quantile of latency. It refuses whatever holds a plan it refuses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """One plan: its rows by node, and what it gains and costs according to the programme."""

    chosen: Chosen
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Solver:
    """One question: the rows, the limits, and what to make best."""

    case: Case
    rows: tuple[Row, ...]
    slo: SLO
    objective: Objective = "accuracy"
    least_gain: float | None = None
    accept: Accept | None = None

    @property
    def excluded(self) -> tuple[tuple[Row, str], ...]:
        """Rows that no plan may hold, with the reason."""
        reasons = ((row, self._reason(row)) for row in self.rows)
        return tuple((row, reason) for row, reason in reasons if reason is not None)

    def plans(self, count: int, goals: Sequence[str] | None = None) -> tuple[Solution, ...]:
        """The `count` best plans, best first; fewer if there are no more. `goals`: those of the objective."""
        programme = self._programme()
        goals = goals or GOALS[self.objective]
        found: list[Solution] = []
        while len(found) < count and (chosen := _best(programme, goals)) is not None:
            solution = self.solution(chosen)
            if self.accept is not None and not self.accept(chosen, self.slo):
                programme.lines.append(programme.cut_with_all_that_hold(chosen))
                continue
            programme.lines.append(programme.cut(chosen))
            if not solution.figures.exceeded(self.slo, self.least_gain):  # the solver's own tolerance is wider
                found.append(solution)
        return tuple(found)

    def least(self, goal: str) -> Solution | None:
        """The plan that keeps the limits with the least of `goal`: any cost, or the number of `verifiers`."""
        programme = self._programme()
        while (chosen := programme.minimise(programme.expression(goal))) is not None:
            if self.accept is None or self.accept(chosen, self.slo):
                return self.solution(chosen)
            programme.lines.append(programme.cut_with_all_that_hold(chosen))
        return None

    def solution(self, chosen: Chosen) -> Solution:
        """A plan with its figures."""
        return Solution(chosen=dict(sorted(chosen.items())), figures=self.case.figures(chosen))

    def _programme(self) -> Programme:
        barred = {id(row) for row, _ in self.excluded}
        programme = Programme(case=self.case, rows=[row for row in self.rows if id(row) not in barred])
        programme.limit(self.slo, self.least_gain)
        return programme

    def _reason(self, row: Row) -> str | None:
        priced = self.slo.max_usd is not None or self.objective == "usd"
        powered = self.slo.max_wh is not None or self.objective == "wh"
        if row.node not in self.case.workload.nodes:
            return "the workflow has no such node"
        if priced and self.case.amount(row, "usd") is None:
            return "its price is unknown, so it cannot be held to dollars; give prices in [tool.sherlock.prices]"
        if powered and self.case.amount(row, "wh") is None:
            return "its watt-hours are unknown, so it cannot be held to them; give figures in [tool.sherlock.energy]"
        return None


def _best(programme: Programme, goals: Sequence[str]) -> Chosen | None:
    """Goal after goal, each held while the next is made best; then the names, if more than one plan is left."""
    held: list[Line] = []
    chosen: Chosen | None = None
    for goal in goals:
        sign = -1.0 if goal == "gain" else 1.0
        terms = {variable: sign * value for variable, value in programme.expression(goal).items()}
        chosen = programme.minimise(terms, held)
        if chosen is None:
            return None
        held.append(_held(terms, sign * programme.value(goal, chosen)))
    if chosen is None or programme.minimise({}, [*held, programme.cut(chosen)]) is None:
        return chosen
    return _first_by_name(programme, held) or chosen


def _held(terms: Terms, best: float) -> Line:
    """The line that keeps a goal as good as it is: to 1e-9 of a gain or of a cost."""
    return Line(terms, high=best + ROUNDING * abs(best) + 1e-12).scaled(SCALE / max(abs(best), ROUNDING))


def _first_by_name(programme: Programme, held: Sequence[Line]) -> Chosen | None:
    """Of all plans that keep what is held the first: by node, none before any, then by verifier."""
    chosen: Chosen | None = None
    lines = list(held)
    for node, places in sorted(programme.at().items()):
        order = sorted(places, key=lambda place: programme.rows[place].label)
        chosen = programme.minimise({place: 1.0 + position for position, place in enumerate(order)}, lines)
        if chosen is None:
            return None
        taken = [place for place in places if chosen.get(node) is programme.rows[place]]
        lines.append(Line(dict.fromkeys(taken, 1.0), low=1.0) if taken else Line(dict.fromkeys(places, 1.0), high=0.0))
    return chosen
