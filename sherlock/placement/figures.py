"""What a choice of rows gains and costs: the definition that the programme optimises, for one plan, in plain Python.

To first order in the rejections: everything that hangs on a node is run and verified once more each time its output is
rejected.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from sherlock.placement.rows import Measure, Row, Workload, total
from sherlock.placement.slo import SLO

MEASURES: tuple[Measure, ...] = get_args(Measure)
ROUNDING = 1e-9
Z = 1.645
"""One-sided 95 %: how far below their estimates the gains are taken in careful mode."""

Chosen = Mapping[str, Row]
"""The rows that are placed, by node. A node without one is not verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Means per run. `latency_s` bounds the mean of the time until the last verdict from above. None is unknown."""

    gain: float
    usd: float | None
    wh: float | None
    calls: float | None
    latency_s: float
    verifiers: int

    def exceeded(self, slo: SLO, least_gain: float | None = None) -> list[str]:
        """The limits that these figures break, by name. An unknown amount breaks its limit."""
        pairs = [
            ("max_usd", self.usd, slo.max_usd),
            ("max_wh", self.wh, slo.max_wh),
            ("max_verifier_calls", self.calls, slo.max_verifier_calls),
            ("max_latency_s", self.latency_s, slo.max_latency_s),
            ("max_verifiers", self.verifiers, slo.max_verifiers),
        ]
        broken = [name for name, got, limit in pairs if limit is not None and (got is None or above(got, limit))]
        if least_gain is not None and self.gain < least_gain - ROUNDING:
            broken.append("min_accuracy")
        return broken


def above(amount: float, limit: float) -> bool:
    """Whether `amount` is over `limit` by more than rounding."""
    return amount > limit * (1 + ROUNDING) + 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be solved: the workflow, and how gains and watt-hours are read.

    In careful mode each gain is lowered by `Z * se / sqrt(count)`; `count`, the most verifiers that may be placed,
    because that many errors average out. Watt-hours are then taken at the upper end of their intervals.
    """

    workload: Workload
    careful: bool = False
    count: int = 1

    def gain(self, row: Row) -> float:
        """The gain that a row is credited with."""
        return row.gain - Z * row.se / self.count**0.5 if self.careful else row.gain

    def amount(self, row: Row, measure: Measure) -> float | None:
        """What verifying once, and running again what hangs on the node, spends on average; None if unknown."""
        redo = self.workload.redo(row.node, measure, careful=self.careful) if row.match_rate < 1 else 0.0
        own = row.amount(measure, careful=self.careful)
        return None if own is None or redo is None else own + (1 - row.match_rate) * redo

    def figures(self, chosen: Chosen) -> Figures:
        """Everything about one choice of rows."""
        return Figures(
            gain=sum(self.gain(chosen[node]) for node in sorted(chosen)),
            usd=self._spent(chosen, "usd"),
            wh=self._spent(chosen, "wh"),
            calls=self._spent(chosen, "calls"),
            latency_s=self._latency_s(chosen),
            verifiers=len(chosen),
        )

    def once_more(self, row: Row, measure: Measure) -> float:
        """What verifying once more spends; an unknown amount is counted where the row is placed, not here."""
        return row.amount(measure, careful=self.careful) or 0.0

    def again(self, chosen: Chosen, measure: Measure) -> float:
        """What verifying again spends, what hangs on each node that is rejected."""
        downstream = self.workload.downstream
        return sum(
            (1 - row.match_rate) * self.once_more(chosen[k], measure)
            for node, row in sorted(chosen.items())
            for k in sorted(downstream[node] & chosen.keys())
        )

    def _spent(self, chosen: Chosen, measure: Measure) -> float | None:
        own = total(self.amount(row, measure) for row in chosen.values())
        return None if own is None else own + self.again(chosen, measure)

    def _latency_s(self, chosen: Chosen) -> float:
        ends = self.workload.finish_s
        last = max([*ends.values(), *(ends[node] + row.mean_latency_s for node, row in chosen.items())], default=0.0)
        return last + sum((1 - row.match_rate) * row.mean_latency_s for row in chosen.values())
