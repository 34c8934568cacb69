"""A model of how faults travel through a workflow, to score whole plans where the sum of gains promises too much.

Two verifiers that repair the same error gain it once, and a repair is worth nothing if a later node fails anyway. The
model has, for every node: its *own fault* (wrong though what it read was right), its *propagation* (that it being wrong
makes a node that reads it wrong), and for every row: how often it puts right an own fault, how often an inherited one,
and how often it *breaks* what was right. Causes combine as a noisy-or.

What it assumes, and what a workflow may not keep: every node runs once in every run; a node is right or wrong; faults
of different nodes are independent (in truth some cases are hard everywhere, so that gains overlap more); a verifier
acts alike on all errors of one kind. A single row gains in the model what was measured for it, as far as there is that
much to be gained: only the composition is modelled. It ranks plans that were screened; its own figure is a promise that
is marked `modelled`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sherlock.estimate import Estimate
from sherlock.placement.figures import Chosen
from sherlock.placement.rows import Row, Workload
from sherlock.placement.streams import uniform

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Runs = NDArray[np.bool_]
    Draws = NDArray[np.float64]

DRAWS = 4000
REDRAWN = 100
"""How often gains are drawn anew for the interval."""
_FINAL = ""
"""Stands for the final answer, which every node reads that no other node does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFigures:
    """What an analysis says of a node, each in [0, 1]; None where it is not known.

    `fault_rate` includes inherited errors.
    """

    vulnerability: float | None = None
    fault_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """What a verifier does to an output: probabilities."""

    own: float
    inherited: float
    breaks: float


PERFECT = Repair(own=1.0, inherited=1.0, breaks=0.0)


@dataclass(frozen=True)
class StructuralModel:
    """A fitted model; see the module. All plans are scored on the same simulated runs."""

    parents: Mapping[str, Sequence[str]]
    own: Mapping[str, float]
    spread: Mapping[str, float]
    seed: int = 0
    draws: int = DRAWS

    @classmethod
    def fit(
        cls,
        workload: Workload,
        figures: Mapping[str, NodeFigures],
        rows: Sequence[Row],
        *,
        seed: int = 0,
        draws: int = DRAWS,
    ) -> "StructuralModel":
        """Fit own faults and propagation to the figures of an analysis and the workload's baseline.

        Propagation: from the last node back, so that a node that is wrong spoils the answer as often as its
        vulnerability says. Own faults: from fault rates, less what is inherited; where there are none, in proportion
        to what the best verifier repairs there; then all hazards are scaled so that the score is the baseline.
        """
        parents = workload.parents
        blank = cls(parents=parents, own=dict.fromkeys(parents, 0.0), spread={}, seed=seed, draws=draws)
        spread = blank._fitted_spread(figures)
        own = cls(parents=parents, own={}, spread=spread, seed=seed, draws=draws)._fitted_own(figures, rows)  # noqa: SLF001
        fitted = cls(parents=parents, own=own, spread=spread, seed=seed, draws=draws)
        return fitted if workload.baseline is None else fitted._scaled_to(workload.baseline.value)

    def score(self, placed: Mapping[str, Repair]) -> float:
        """The share of simulated runs whose answer is right."""
        return 1.0 - float(self._spoilt(self._wrong(placed)).mean())

    @cached_property
    def base(self) -> float:
        """The score with no verifier."""
        return self.score({})

    def gain(self, chosen: Chosen) -> float:
        """What a plan brings over no verifier."""
        return self.score({node: self.repair(row) for node, row in chosen.items()}) - self.base

    def repair(self, row: Row, gain: float | None = None) -> Repair:
        """What a row must do to outputs to gain by itself what was measured for it, or `gain`.

        Injected faults, where there were any, tell how it treats own faults; they are easier than natural ones, so
        that it is never credited with more than natural errors bear out.
        """
        gain = row.gain if gain is None else gain
        own_worth, inherited_worth, harm = self._worth(row.node)
        breaks = _share(max(row.broken, -gain), harm)
        wanted = max(0.0, gain + breaks * harm)
        if row.correction is None:
            both = _share(wanted, own_worth + inherited_worth)
            return Repair(own=both, inherited=both, breaks=breaks)
        own = min(row.correction, _share(wanted, own_worth))
        inherited = _share(wanted - own * own_worth, inherited_worth)
        return Repair(own=own, inherited=inherited, breaks=breaks)

    def estimate(self, chosen: Chosen, baseline: Estimate, confidence: float = 0.95) -> tuple[Estimate, Estimate]:
        """Score and gain of a plan with intervals, from gains drawn anew within their standard errors.

        The intervals hold as far as the model does, and know nothing of how the plan was chosen.
        """
        import numpy as np

        rng = np.random.default_rng([self.seed, 1])
        gains = []
        for _ in range(REDRAWN):
            drawn = {node: self.repair(row, rng.normal(row.gain, row.se)) for node, row in sorted(chosen.items())}
            gains.append(self.score(drawn) - self.base)
        share = min(max(baseline.value, 0.0), 1.0)
        bases = rng.beta(share * baseline.n + 0.5, (1 - share) * baseline.n + 0.5, REDRAWN)
        value, tails = self.gain(chosen), [(1 - confidence) / 2, (1 + confidence) / 2]
        low, high = (float(bound) for bound in np.quantile(gains, tails))
        gained = Estimate(value, min(low, value), max(high, value), baseline.n)
        scored = min(max(baseline.value + value, 0.0), 1.0)
        low, high = (min(max(float(bound), 0.0), 1.0) for bound in np.quantile(bases + np.array(gains), tails))
        return Estimate(scored, min(low, scored), max(high, scored), baseline.n), gained

    def _wrong(self, placed: Mapping[str, Repair], broken: str | None = None) -> "dict[str, Runs]":
        """Which nodes are wrong in which runs; `broken` is wrong in all of them."""
        import numpy as np

        wrong: dict[str, Runs] = {}
        for name in self.parents:
            inherited = self._inherited(name, wrong)
            wrong[name] = inherited | (self._uniform("own", name) < self.own[name])
            if name in placed:
                repair, draw = placed[name], self._uniform("verify", name)
                puts_right = draw < np.where(inherited, repair.inherited, repair.own)
                wrong[name] = np.where(wrong[name], ~puts_right, draw < repair.breaks)
            if name == broken:
                wrong[name] = np.ones(self.draws, dtype=bool)
        return wrong

    def _inherited(self, name: str, wrong: "Mapping[str, Runs]") -> "Runs":
        import numpy as np

        found: Runs = np.zeros(self.draws, dtype=bool)
        for parent in self.parents[name]:
            found |= wrong[parent] & (self._uniform("edge", parent, name) < self.spread[parent])
        return found

    def _spoilt(self, wrong: "Mapping[str, Runs]") -> "Runs":
        import numpy as np

        found: Runs = np.zeros(self.draws, dtype=bool)
        for name in self._last:
            found |= wrong[name] & (self._uniform("edge", name, _FINAL) < self.spread[name])
        return found

    def _worth(self, node: str) -> tuple[float, float, float]:
        """What repairing every own fault at a node gains, every inherited error, and what breaking the rest loses."""
        if node not in self._worths:
            own, inherited, breaks = (
                self.score({node: repair})
                for repair in (
                    Repair(own=1.0, inherited=0.0, breaks=0.0),
                    Repair(own=0.0, inherited=1.0, breaks=0.0),
                    Repair(own=0.0, inherited=0.0, breaks=1.0),
                )
            )
            self._worths[node] = (own - self.base, inherited - self.base, self.base - breaks)
        return self._worths[node]

    def _fitted_spread(self, figures: Mapping[str, NodeFigures]) -> dict[str, float]:
        """From the last node back. In each run a node reaches the answer if its propagation is above some threshold,
        so that the vulnerability's quantile of the thresholds is the propagation that fits.
        """
        import numpy as np

        known = [f.vulnerability for f in figures.values() if f.vulnerability is not None]
        usual = math.fsum(known) / len(known) if known else 1.0
        children: dict[str, list[str]] = {name: [] for name in self.parents}
        for name, parents in self.parents.items():
            for parent in parents:
                children[parent].append(name)
        spread: dict[str, float] = {}
        reaches: dict[str, Runs] = {_FINAL: np.ones(self.draws, dtype=bool)}
        for name in reversed(list(self.parents)):
            thresholds = np.full(self.draws, np.inf)
            for child in children[name] or [_FINAL]:
                draw = np.where(reaches[child], self._uniform("edge", name, child), np.inf)
                thresholds = np.minimum(thresholds, draw)
            vulnerability = figures.get(name, NodeFigures()).vulnerability
            wanted = min(max(usual if vulnerability is None else vulnerability, 0.0), 1.0)
            place = round(wanted * self.draws)
            found = float(np.append(np.sort(thresholds), np.inf)[place])
            spread[name] = found if math.isfinite(found) else 1.0
            reaches[name] = thresholds < spread[name]
        return spread

    def _fitted_own(self, figures: Mapping[str, NodeFigures], rows: Sequence[Row]) -> dict[str, float]:
        import numpy as np

        own: dict[str, float] = {}
        wrong: dict[str, Runs] = {}
        for name in self.parents:
            inherited = self._inherited(name, wrong)
            rate = figures.get(name, NodeFigures()).fault_rate
            if rate is None:
                vulnerability = figures.get(name, NodeFigures()).vulnerability
                repaired = max((max(row.repaired, row.gain) for row in rows if row.node == name), default=0.0)
                own[name] = min(0.9, 0.01 + repaired / max(1.0 if vulnerability is None else vulnerability, 0.1))
            else:
                clear = 1.0 - float(np.mean(inherited))
                own[name] = min(max(1.0 - (1.0 - rate) / clear, 0.0), 1.0) if clear else 0.0
            wrong[name] = inherited | (self._uniform("own", name) < own[name])
        return own

    def _scaled_to(self, baseline: float) -> "StructuralModel":
        """All own faults made as much more or less frequent as it takes to have this score."""
        low, high = 0.0, 64.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if self._with_hazard(middle).base > baseline else (low, middle)
        return self._with_hazard((low + high) / 2)

    def _with_hazard(self, factor: float) -> "StructuralModel":
        own = {name: 1.0 - (1.0 - share) ** factor for name, share in self.own.items()}
        return StructuralModel(parents=self.parents, own=own, spread=self.spread, seed=self.seed, draws=self.draws)

    @cached_property
    def _last(self) -> list[str]:
        read = {parent for parents in self.parents.values() for parent in parents}
        return [name for name in self.parents if name not in read]

    @cached_property
    def _worths(self) -> dict[str, tuple[float, float, float]]:
        return {}

    def _uniform(self, *stream: str) -> "Draws":
        """Draws that depend on the seed and on what they are for alone."""
        return uniform(self.seed, self.draws, *stream)


def _share(wanted: float, whole: float) -> float:
    """The share of `whole` that makes `wanted`, in [0, 1]."""
    return min(max(wanted / whole, 0.0), 1.0) if whole > 0 else 0.0
