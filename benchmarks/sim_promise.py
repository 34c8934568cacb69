"""What may a plan promise? Simulated workflows with masking and inherited repair, plans kept on fresh cases.

Six to eight nodes wired at random. Some cases are hard everywhere; a node's error may be masked further down; verifiers
repair own and inherited errors and break right outputs; all of a case's outcomes are fixed, as at temperature 0. From
20 or 40 cases verifiers are calibrated, a plan of at most three is chosen, and each way of promising its score is held
against what the plan scores on 20,000 fresh cases. Run: `python benchmarks/sim_promise.py [--runs 100]`.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sherlock.estimate import Estimate, mean_score, proportion
from sherlock.placement.promise import parts_of, promise
from sherlock.placement.rows import Row, Work, Workload
from sherlock.placement.slo import SLO
from sherlock.placement.solve import best_plans
from sherlock.placement.structural import NodeFigures, StructuralModel

Runs = NDArray[np.bool_]
Picks = dict[int, int]
VERIFIERS = 4
FRESH = 20_000
PRIOR = 4
"""Cases' worth of no gain that a calibrated gain is shrunk by."""


@dataclass(frozen=True)
class World:
    """A workflow as it really is. Arrays over nodes, and over nodes and verifiers."""

    parents: list[list[int]]
    own: NDArray[np.float64]
    spread: NDArray[np.float64]
    repair_own: NDArray[np.float64]
    repair_inherited: NDArray[np.float64]
    breaks: NDArray[np.float64]

    @classmethod
    def random(cls, rng: np.random.Generator) -> "World":
        nodes = int(rng.integers(6, 9))
        parents: list[list[int]] = [[]]
        for node in range(1, nodes):
            chosen = rng.choice(node, size=min(node, int(rng.integers(1, 3))), replace=False)
            parents.append(sorted(map(int, chosen)))
        skill = rng.uniform(0, 0.9, (nodes, VERIFIERS))
        return cls(
            parents=parents,
            own=rng.uniform(0.02, 0.25, nodes),
            spread=rng.uniform(0.3, 1.0, nodes),
            repair_own=skill,
            repair_inherited=skill * rng.uniform(0, 1, (nodes, VERIFIERS)),
            breaks=rng.uniform(0, 0.08, (nodes, VERIFIERS)),
        )


class Cases:
    """Cases drawn from a world, each with all its luck."""

    def __init__(self, world: World, count: int, rng: np.random.Generator) -> None:
        nodes = len(world.parents)
        self.world, self.count = world, count
        self.hard = np.exp(0.6 * rng.standard_normal(count) - 0.18)
        self.own_luck = rng.random((nodes, count))
        self.edge_luck = rng.random((nodes, nodes + 1, count))
        self.repair_luck = rng.random((nodes, VERIFIERS, count))

    def right(self, picks: Picks, faulty: int | None = None) -> Runs:
        """Which cases end well, with a verifier at some nodes, and a fault put in at one of them."""
        return self._run(picks, faulty)[0]

    def nodes_wrong(self) -> Runs:
        return self._run({}, None)[1]

    def _run(self, picks: Picks, faulty: int | None) -> tuple[Runs, Runs]:
        world = self.world
        wrong = np.zeros((len(world.parents), self.count), dtype=bool)
        for node, parents in enumerate(world.parents):
            inherited = np.zeros(self.count, dtype=bool)
            for parent in parents:
                inherited |= wrong[parent] & (self.edge_luck[parent, node] < world.spread[parent])
            wrong[node] = inherited | (self.own_luck[node] < world.own[node] * self.hard)
            if node == faulty:
                wrong[node] = True
            if node in picks:
                pick = picks[node]
                luck = self.repair_luck[node, pick]
                skill = np.where(inherited, world.repair_inherited[node, pick], world.repair_own[node, pick])
                wrong[node] = np.where(wrong[node], luck * np.sqrt(self.hard) >= skill, luck < world.breaks[node, pick])
        read = set(itertools.chain(*world.parents))
        spoilt = np.zeros(self.count, dtype=bool)
        for node in range(len(world.parents)):
            if node not in read:
                spoilt |= wrong[node] & (self.edge_luck[node, -1] < world.spread[node])
        return ~spoilt, wrong


@dataclass(frozen=True)
class Calibrated:
    """The trials on some cases: scores without verifiers, with each row alone, with a fault at each node."""

    cases: Cases
    base: Runs
    alone: dict[tuple[int, int], Runs]
    fault: list[Runs]
    wrong: Runs

    @classmethod
    def on(cls, cases: Cases) -> "Calibrated":
        nodes = range(len(cases.world.parents))
        return cls(
            cases=cases,
            base=cases.right({}),
            alone={(node, pick): cases.right({node: pick}) for node in nodes for pick in range(VERIFIERS)},
            fault=[cases.right({}, faulty=node) for node in nodes],
            wrong=cases.nodes_wrong(),
        )

    def rows(self, part: Sequence[int]) -> list[Row]:
        found = []
        for (node, pick), right in self.alone.items():
            change = right[part].astype(float) - self.base[part]
            shrunk = float(change.sum() / (len(change) + PRIOR))
            row = Row(
                node=f"n{node}",
                verifier=f"v{pick}",
                gain=shrunk,
                se=float(change.std(ddof=1) / math.sqrt(len(change))),
                repaired=float((change > 0).mean()),
                broken=float((change < 0).mean()),
                usd=0.001,
            )
            found.append(row)
        return found

    def workload(self) -> Workload:
        parents = self.cases.world.parents
        return Workload(
            nodes={f"n{node}": Work() for node in range(len(parents))},
            edges=[(f"n{p}", f"n{node}") for node, before in enumerate(parents) for p in before],
            baseline=mean_score(self.base.astype(float).tolist()),
        )

    def figures(self) -> dict[str, NodeFigures]:
        lost = [float((~right[self.base]).mean()) if self.base.any() else 0.0 for right in self.fault]
        return {
            f"n{node}": NodeFigures(vulnerability=lost[node], fault_rate=float(self.wrong[node].mean()))
            for node in range(len(lost))
        }

    def choose(self, part: Sequence[int]) -> tuple[Picks, dict[str, Row], float]:
        """The plan of the highest sum of gains on these cases, and that sum."""
        plan = best_plans(self.workload(), self.rows(part), SLO(max_verifiers=3), count=1).plans[0]
        picks = {int(node[1:]): int(row.verifier[1:]) for node, row in plan.chosen.items()}
        return picks, dict(plan.chosen), plan.figures.gain


Way = Callable[[Calibrated], tuple[Estimate, Picks]]


def by_sum(found: Calibrated) -> tuple[Estimate, Picks]:
    """The baseline and the sum of gains, with the interval of their independent parts."""
    picks, chosen, gain = found.choose(range(found.cases.count))
    base = found.workload().baseline
    assert base is not None
    spread = math.sqrt(sum(row.se**2 for row in chosen.values()))
    reach = math.hypot(1.96 * spread, (base.high - base.low) / 2)
    value = min(base.value + gain, 1.0)
    return Estimate(value, value - reach, min(value + reach, 1.0), base.n), picks


def by_model(found: Calibrated) -> tuple[Estimate, Picks]:
    """The structural model's score of the same plan."""
    picks, chosen, _ = found.choose(range(found.cases.count))
    model = StructuralModel.fit(found.workload(), found.figures(), list(chosen.values()))
    base = found.workload().baseline
    assert base is not None
    return model.estimate(chosen, base)[0], picks


def by_same_cases(found: Calibrated) -> tuple[Estimate, Picks]:
    """The whole plan run on the cases that it was chosen on."""
    picks, _, _ = found.choose(range(found.cases.count))
    return mean_score(found.cases.right(picks).astype(float).tolist()), picks


def cross_fitted(parts: int) -> Way:
    def way(found: Calibrated) -> tuple[Estimate, Picks]:
        verified = np.zeros(found.cases.count)
        for part in parts_of(found.cases.count, parts=parts):
            training = [case for case in range(found.cases.count) if case not in part]
            picks = found.choose(training)[0]
            verified[list(part)] = found.cases.right(picks)[list(part)]
        final = found.choose(range(found.cases.count))[0]
        return promise(found.base.astype(float).tolist(), verified.tolist(), parts=parts).score, final

    return way


WAYS: dict[str, Way] = {
    "sum of gains": by_sum,
    "structural model": by_model,
    "whole plan, same cases": by_same_cases,
    "cross-fitted, 2 parts": cross_fitted(2),
    "cross-fitted, 5 parts": cross_fitted(5),
    "cross-fitted, 10 parts": cross_fitted(10),
}


def simulate(
    count: int, runs: int, seed: int, ways: Mapping[str, Way] = WAYS
) -> dict[str, list[tuple[Estimate, float]]]:
    """For each way the promises, and what was kept."""
    found: dict[str, list[tuple[Estimate, float]]] = {name: [] for name in ways}
    for run in range(runs):
        rng = np.random.default_rng((seed, count, run))
        world = World.random(rng)
        calibrated, fresh = Calibrated.on(Cases(world, count, rng)), Cases(world, FRESH, rng)
        for name, way in ways.items():
            promised, picks = way(calibrated)
            found[name].append((promised, float(fresh.right(picks).mean())))
    return found


def row_of(name: str, pairs: list[tuple[Estimate, float]]) -> str:
    errors = [100 * (promised.value - kept) for promised, kept in pairs]
    reach = 1.96 * float(np.std(errors)) / math.sqrt(len(errors))
    covered = proportion(sum(p.low <= kept <= p.high for p, kept in pairs), len(pairs))
    safe = proportion(sum(kept >= p.low for p, kept in pairs), len(pairs))
    width = float(np.mean([100 * (p.high - p.low) for p, _ in pairs]))
    return (
        f"| {name} | {np.mean(errors):+.1f} ± {reach:.1f} | {np.quantile(errors, 0.95):+.0f} "
        f"| {percent(covered)} | {percent(safe)} | {width:.0f} |"
    )


def percent(share: Estimate) -> str:
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"Promised score less the score kept on fresh cases, in points; {options.runs} workflows, 95 % intervals.\n")
    for count in (20, 40):
        print(f"{count} cases\n")
        print("| promise | mean excess | 95 % quantile | interval covers | kept at least its low end | width |")
        print("|---|---|---|---|---|---|")
        for name, pairs in simulate(count, options.runs, options.seed).items():
            print(row_of(name, pairs))
        print()


if __name__ == "__main__":
    main()
