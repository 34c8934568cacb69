"""The choice of a plan as a mixed-integer linear programme, for `scipy.optimize.milp` (HiGHS).

```
max  sum g_r x_r                                    x_r: row r is placed; at most one row at a node
s.t. sum x_r <= max_verifiers
     sum (a_r + (1 - m_r) w_r) x_r + sum z_j <= limit         for dollars, watt-hours and calls
     z_j >= (1 - m_r) sum of a_s x_s over what hangs on j - M (1 - x_r)      for every row r of node j
     T >= F_end;  T >= F_j + sum v_r x_r;   T + sum (1 - m_r) v_r x_r <= max_latency_s
```

a: what a verification spends, m: match rate, w: running again what hangs on the node, z: verifying it again, F: mean
end of execution, v: mean latency of a verifier. With z the cost of verifying again is that of the verifiers that are
really placed, where a constant would have to assume some.

HiGHS takes 1e-6 for zero, so that every line is scaled to make that 1e-9 in terms of a gain or of a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sherlock.errors import PlanError
from sherlock.placement.figures import MEASURES, Case, Chosen
from sherlock.placement.rows import Measure, Row
from sherlock.placement.slo import SLO

if TYPE_CHECKING:
    from scipy.optimize import LinearConstraint

SCALE = 1e4
INFEASIBLE = 2
"""The status that `milp` reports."""

Terms = dict[int, float]


@dataclass(frozen=True, slots=True)
class Line:
    """low <= sum of coefficient x variable <= high."""

    terms: Terms
    low: float = -np.inf
    high: float = np.inf

    def scaled(self, factor: float) -> "Line":
        """The same line multiplied by a positive number."""
        terms = {variable: factor * value for variable, value in self.terms.items()}
        return Line(terms, self.low * factor, self.high * factor)


@dataclass(slots=True)
class Programme:
    """Rows that may be placed, and lines that hold for every plan."""

    case: Case
    rows: Sequence[Row]
    lines: list[Line] = field(default_factory=list)
    variables: int = 0
    floors: dict[int, float] = field(default_factory=dict)
    expressions: dict[str, Terms] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.variables = len(self.rows)
        self.lines += [Line(dict.fromkeys(places, 1.0), high=1.0) for places in self.at().values()]
        self.expressions["verifiers"] = dict.fromkeys(range(len(self.rows)), 1.0)
        self.expressions["gain"] = {place: self.case.gain(row) for place, row in enumerate(self.rows)}

    def at(self) -> dict[str, list[int]]:
        """The variables of each node's rows."""
        found: dict[str, list[int]] = {}
        for place, row in enumerate(self.rows):
            found.setdefault(row.node, []).append(place)
        return found

    def limit(self, slo: SLO, least_gain: float | None) -> None:
        """Add the lines of an SLO."""
        spent: tuple[tuple[Measure, float | None], ...] = (
            ("usd", slo.max_usd),
            ("wh", slo.max_wh),
            ("calls", slo.max_verifier_calls),
        )
        for measure, most in spent:
            if most is not None:
                self.lines.append(_normal(Line(self.expression(measure), high=most)))
        if slo.max_latency_s is not None:
            self.lines.append(_normal(Line(self.expression("latency_s"), high=slo.max_latency_s)))
        if slo.max_verifiers is not None:
            self.lines.append(Line(self.expressions["verifiers"], high=slo.max_verifiers))
        if least_gain is not None:
            self.lines.append(Line(self.expressions["gain"], low=least_gain).scaled(SCALE))

    def expression(self, goal: str) -> Terms:
        """The terms whose sum is the goal; variables and lines that it needs are made when first asked for."""
        if goal not in self.expressions:
            self.expressions[goal] = self._latency() if goal == "latency_s" else self._spent(_measure(goal))
        return self.expressions[goal]

    def value(self, goal: str, chosen: Chosen) -> float:
        """What a goal is for one plan, without the solver's rounding."""
        figures = self.case.figures(chosen)
        if goal in ("gain", "latency_s"):
            return figures.gain if goal == "gain" else figures.latency_s
        terms = self.expression(goal)
        spent = sum(terms[place] for place, row in enumerate(self.rows) if chosen.get(row.node) is row)
        return spent + self.case.again(chosen, _measure(goal))

    def cut(self, chosen: Chosen) -> Line:
        """The line that forbids one plan, and no other."""
        placed = {place for place, row in enumerate(self.rows) if chosen.get(row.node) is row}
        terms = {place: -1.0 if place in placed else 1.0 for place in range(len(self.rows))}
        return Line(terms, low=1.0 - len(placed))

    def cut_with_all_that_hold(self, chosen: Chosen) -> Line:
        """The line that forbids one plan and every plan that holds all of its rows."""
        placed = [place for place, row in enumerate(self.rows) if chosen.get(row.node) is row]
        return Line(dict.fromkeys(placed, 1.0), high=len(placed) - 1.0)

    def minimise(self, terms: Terms, extra: Sequence[Line] = ()) -> Chosen | None:
        """The plan of the least sum of `terms`, None if there is none."""
        from scipy.optimize import Bounds, milp

        lines = [*self.lines, *extra]
        if any(not line.terms and not line.low <= 0 <= line.high for line in lines):
            return None
        if not self.variables:
            return {}
        cost = np.zeros(self.variables)
        cost[list(terms)] = list(terms.values())
        binary = np.arange(self.variables) < len(self.rows)
        floors = [self.floors.get(variable, 0.0) for variable in range(self.variables)]
        found = milp(
            cost * (SCALE / (np.abs(cost).max() or 1.0)),
            integrality=binary.astype(int),
            bounds=Bounds(floors, np.where(binary, 1.0, np.inf)),
            constraints=self._constraints([line for line in lines if line.terms]),
            options={"mip_rel_gap": 0.0},
        )
        if found.status == INFEASIBLE:
            return None
        if found.x is None:
            raise PlanError(f"the plan could not be solved ({found.message}); try fewer verifiers or fewer nodes")
        return {row.node: row for row, taken in zip(self.rows, found.x, strict=False) if taken > 0.5}

    def _constraints(self, lines: Sequence[Line]) -> "LinearConstraint | tuple[()]":
        from scipy.optimize import LinearConstraint
        from scipy.sparse import coo_array

        if not lines:
            return ()
        entries = [
            (place, variable, value) for place, line in enumerate(lines) for variable, value in line.terms.items()
        ]
        places, variables, values = zip(*entries, strict=True)
        matrix = coo_array((values, (places, variables)), shape=(len(lines), self.variables)).tocsr()
        return LinearConstraint(matrix, [line.low for line in lines], [line.high for line in lines])

    def _spent(self, measure: Measure) -> Terms:
        spent: Terms = dict(enumerate(_dearest([self.case.amount(row, measure) for row in self.rows])))
        again = [self.case.once_more(row, measure) for row in self.rows]
        at, downstream = self.at(), self.case.workload.downstream
        for node, places in at.items():
            hanging = {s: again[s] for k in downstream[node] for s in at.get(k, ()) if again[s]}
            most = sum(max((again[s] for s in at.get(k, ())), default=0.0) for k in downstream[node])
            shares = {place: 1 - self.rows[place].match_rate for place in places if self.rows[place].match_rate < 1}
            if hanging and shares:
                z = self._variable()
                spent[z] = 1.0
                for place, share in shares.items():
                    terms = {z: 1.0, place: -share * most, **{s: -share * value for s, value in hanging.items()}}
                    self.lines.append(Line(terms, low=-share * most).scaled(SCALE / (share * most)))
        return spent

    def _latency(self) -> Terms:
        ends = self.case.workload.finish_s
        end = self._variable(floor=max(ends.values(), default=0.0))
        for node, places in self.at().items():
            terms = {end: 1.0, **{place: -self.rows[place].mean_latency_s for place in places}}
            self.lines.append(_normal(Line(terms, low=ends[node])))
        late = {place: (1 - row.match_rate) * row.mean_latency_s for place, row in enumerate(self.rows)}
        return {end: 1.0, **late}

    def _variable(self, floor: float = 0.0) -> int:
        self.variables += 1
        self.floors[self.variables - 1] = floor
        return self.variables - 1


def _dearest(amounts: Sequence[float | None]) -> list[float]:
    """An unknown amount counts as more than all that is known together: the last choice of a tie."""
    top = 1.0 + 2.0 * sum(amount for amount in amounts if amount is not None)
    return [top if amount is None else amount for amount in amounts]


def _normal(line: Line) -> Line:
    """Scaled so that its greatest number is SCALE."""
    numbers = [abs(value) for value in (*line.terms.values(), line.low, line.high) if np.isfinite(value)]
    greatest = max(numbers, default=0.0)
    return line.scaled(SCALE / greatest) if greatest else line


def _measure(goal: str) -> Measure:
    return next(measure for measure in MEASURES if measure == goal)
