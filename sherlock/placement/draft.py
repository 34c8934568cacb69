"""A plan in the making: what it is chosen from, what whole runs of it say, and how that is put into a `Plan`."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from sherlock.analysis.calibration import Calibration
from sherlock.estimate import Estimate
from sherlock.graph import WorkflowGraph
from sherlock.placement.calibrated import rows_of, rows_without, workload_of
from sherlock.placement.choice import Choice
from sherlock.placement.figures import ROUNDING, Case, Chosen
from sherlock.placement.latency import LatencyModel, quantiles
from sherlock.placement.plan import (
    Basis,
    Expectation,
    NodeFigures,
    Placement,
    PlacementFigures,
    Plan,
    Rejected,
    Seconds,
)
from sherlock.placement.promise import Promise, promise
from sherlock.placement.rows import Row, Workload
from sherlock.placement.solve import Ranking
from sherlock.usage import Energy

Scores = Mapping[str, tuple[float, float]]
"""By case id, the score without verifiers, and under a plan that was chosen without the case."""

PLANS_LOST = "Run whole on cases that they were not chosen on, plans lost score, so no verifier is placed."


@dataclass(frozen=True, slots=True, kw_only=True)
class Jointly:
    """The plan that is taken, and how its score is known; a `promise` only where whole plans were run."""

    chosen: Chosen
    basis: Basis
    promise: Promise | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """Rows and workload of a calibration, and the choice that is to be made among them."""

    calibration: Calibration
    workflow: WorkflowGraph
    choice: Choice

    @cached_property
    def workload(self) -> Workload:
        """The workflow without verifiers."""
        return workload_of(self.calibration, self.workflow)

    @cached_property
    def rows(self) -> list[Row]:
        """What may be placed."""
        return rows_of(self.calibration)[0]

    @cached_property
    def ranking(self) -> Ranking:
        """The best plan within all limits by the sum of gains, or why there is none."""
        return self.choice.screened(self.workload, self.rows)

    @cached_property
    def keeps_the_rest(self) -> bool:
        """Whether any plan keeps all limits but `min_accuracy`."""
        relaxed = replace(self.choice, slo=replace(self.choice.slo, min_accuracy=None))
        return relaxed.screened(self.workload, self.rows).infeasible is None

    def pick(self, level: int = 0, *, without: Collection[str] = ()) -> Chosen:
        """The plan to take, or the one that would be taken had some cases never been run."""
        asked = (level, frozenset(without))
        if asked not in self._picked:
            rows, workload = rows_without(self.calibration, self.rows, self.workload, without)
            self._picked[asked] = self.choice.pick(workload, rows, level)
        return self._picked[asked]

    def unmeasured(self, why: str) -> Jointly:
        """What is left where whole runs were wanted and say nothing."""
        return Jointly(chosen=self.pick(), basis="modelled", notes=(f"No promise: {why}.",))

    def suffices(self, pairs: Collection[tuple[float, float]]) -> bool:
        """Whether whole runs show what was wanted: the score that is asked for, or no loss."""
        if self.choice.levels > 1 and self.choice.slo.min_accuracy is not None:
            return _mean([after for _, after in pairs]) >= self.choice.slo.min_accuracy - ROUNDING
        return _mean([after - before for before, after in pairs]) > -ROUNDING

    def jointly(self, runs: Sequence[Scores], parts: Sequence[Sequence[str]]) -> Jointly:
        """Take the first level of `runs` that suffices, and promise what that way of choosing kept.

        Which level to take was decided by scores, so each part of the cases is decided on without its own.
        """
        before, after = [], []
        for part in parts:
            there = [case for case in part if case in runs[0]]
            level = self._level([{c: pair for c, pair in scores.items() if c not in part} for scores in runs])
            before += [runs[0][case][0] for case in there]
            after += [runs[0][case][0] if level is None else runs[level][case][1] for case in there]
        level = self._level(runs)
        chosen = {} if level is None else self.pick(level)
        confidence = self.calibration.settings.get("confidence", 0.95)
        promised = promise(before, after, parts=len(parts), confidence=confidence)
        if not chosen:
            promised = Promise(promised.score, Estimate(0.0, 0.0, 0.0, len(before)))
        return Jointly(
            chosen=chosen,
            basis="measured jointly",
            promise=promised,
            notes=(PLANS_LOST,) if level is None and self.pick() else (),
        )

    def _level(self, runs: Sequence[Scores]) -> int | None:
        """The first that suffices, else the last; None where no verifier is better than that."""
        found = next((level for level, scores in enumerate(runs) if self.suffices(scores.values())), None)
        return len(runs) - 1 if found is None and self.choice.levels > 1 else found

    @cached_property
    def _picked(self) -> dict[tuple[int, frozenset[str]], Chosen]:
        return {}

    def plan(self, chosen: Chosen, jointly: Jointly | None = None) -> Plan:
        """The plan as it is handed over."""
        return Plan(
            placements={node: self._placement(row) for node, row in sorted(chosen.items())},
            expectation=self._expectation(chosen, jointly),
            objective=self.choice.objective,
            slo=self.choice.slo,
            rejected=(*rows_of(self.calibration)[1], *self._rejected(chosen)),
            notes=(*(jointly.notes if jointly else ()), *self._failing(chosen)),
            fingerprint=self.workflow.fingerprint,
            nodes={
                name: NodeFigures(latency_s=work.mean_latency_s, usd=work.usd)
                for name, work in self.workload.nodes.items()
            },
            graph=self.workflow.describe(),
        )

    def _failing(self, chosen: Chosen) -> list[str]:
        """What is placed though it did not always judge."""
        found = [self.calibration.row(row.node, row.label) for _, row in sorted(chosen.items())]
        return [
            f"{row.label} at {row.node!r} gave no verdict on {row.failures} of {row.verifications} outputs "
            f"({row.failure}); at run time that is an error, unless the policy's on_failure is 'open'."
            for row in found
            if row is not None and row.failures
        ]

    def _placement(self, row: Row) -> Placement:
        found = self.calibration.row(row.node, row.label)
        gain = found.gain if found else None
        alone = f"{row.gain:+.2f}" if gain is None else f"{gain.value:+.2f} [{gain.low:.2f}, {gain.high:.2f}]"
        left = "" if found is None or found.match_rate is None else f"; left {found.match_rate.value:.0%} of outputs as"
        return Placement(
            verifier=row.verifier,
            settings=dict(row.settings),
            why=f"changed the score by {alone} by itself{left and left + ' they were'}",
            expected=PlacementFigures(
                gain=gain,
                match_rate=row.match_rate,
                usd=row.usd,
                wh=row.wh,
                latency_s=row.mean_latency_s,
                tokens=row.tokens,
                calls=row.calls,
            ),
        )

    def _expectation(self, chosen: Chosen, jointly: Jointly | None) -> Expectation:
        times = LatencyModel(workload=self.workload, seed=self.choice.seed).simulate(chosen)
        figures = Case(workload=self.workload).figures(chosen)
        score = gain = None
        if jointly is not None and jointly.promise is not None:
            score, gain = jointly.promise.score, jointly.promise.gain
        elif self.workload.baseline is not None:
            model = self.choice.model(self.workload, self.rows)
            score, gain = model.estimate(chosen, self.workload.baseline)
        return Expectation(
            basis=jointly.basis if jointly else "screened only",
            score=score,
            gain=gain,
            usd=figures.usd,
            wh=_watt_hours(chosen, figures.wh),
            tokens=self._tokens(chosen),
            calls=figures.calls,
            latency_s=Seconds(**quantiles(times.verified_s)),
            execution_s=Seconds(**quantiles(times.execution_s)),
            blocking_s=Seconds(**quantiles(times.blocking_s)),
        )

    def _tokens(self, chosen: Chosen) -> float:
        """Of verification, and of what is run and verified once more after a rejection."""
        downstream, nodes = self.workload.downstream, self.workload.nodes
        spent = 0.0
        for node, row in sorted(chosen.items()):
            again = sum(nodes[k].tokens + (chosen[k].tokens if k in chosen else 0.0) for k in sorted(downstream[node]))
            spent += row.tokens + (1 - row.match_rate) * again
        return spent

    def _rejected(self, chosen: Chosen) -> list[Rejected]:
        excluded = {row.place: why for row, why in self.ranking.excluded}
        found = []
        for row in self.rows:
            taken = chosen.get(row.node)
            if taken is not None and taken.label == row.label:
                continue
            if row.place in excluded:
                why = excluded[row.place]
            elif row.gain <= 0:
                why = f"it gained nothing here ({row.gain:+.2f} after shrinking)"
            elif taken is not None:
                why = f"{taken.label} is the better choice here"
            else:
                why = f"{row.gain:+.2f} after shrinking is not worth its place here"
            found.append(Rejected(node=row.node, verifier=row.label, why=why))
        return found


def _watt_hours(chosen: Chosen, total: float | None) -> Energy | None:
    """The total with the interval that the verifications have; None where one of them is unknown."""
    known = [row.wh for row in chosen.values() if row.wh is not None]
    if total is None or not known:
        return None
    one = sum(known[1:], known[0])
    factor = total / one.value if one.value else 1.0
    return Energy(value=one.value * factor, low=one.low * factor, high=one.high * factor, source=one.source)


def _mean(values: Collection[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
