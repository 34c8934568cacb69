"""What should a calibrated gain be pulled towards? Simulated workflows; the gains are known on fresh cases.

The workflows are those of `sim_promise`. Faults that are injected are easier than real ones: a verifier misses them
only `EASIER` times as often. Each way of shrinking is held against the true gains of all rows, and by what a plan
of the three best rows keeps on fresh cases. Run: `python benchmarks/sim_shrinkage.py [--runs 200]`.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sim_promise import VERIFIERS, Cases, Picks, World

Runs = NDArray[np.bool_]
FRESH = 20_000
PRIOR = 4
EASIER = 0.5


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What a calibration sees of one row: natural outputs of `n` cases, `wrong` of them in runs that came out wrong.

    `at_fault`: the share of those in which the node's own output was wrong, known with references; `changed`: the share
    in which the verifier changed it. `repaired`: the share of injected faults whose repair brought score;
    `of_harmful`: that share among faults that had cost score.
    """

    n: int
    wrong: int
    up: int
    down: int
    at_fault: float
    changed: float
    repaired: float
    of_harmful: float


Way = Callable[[Tried], float]


def plain(row: Tried) -> float:
    return (row.up - row.down) / row.n


def towards_none(row: Tried) -> float:
    return (row.up - row.down) / (row.n + PRIOR)


def towards(rate: Callable[[Tried], float]) -> Way:
    """Repair probability = (flips up + 4 x rate) / (wrong + 4); harm from natural outputs only."""

    def way(row: Tried) -> float:
        if not row.wrong:
            return plain(row)
        probability = (row.up + PRIOR * rate(row)) / (row.wrong + PRIOR)
        return (probability * row.wrong - row.down) / row.n

    return way


WAYS: dict[str, Way] = {
    "plain mean": plain,
    "towards no gain": towards_none,
    "injected rate": towards(lambda row: row.repaired),
    "injected rate x at fault": towards(lambda row: row.repaired * row.at_fault),
    "injected rate, harmful x at fault": towards(lambda row: row.of_harmful * row.at_fault),
    "injected rate x changed": towards(lambda row: row.repaired * row.changed),
    "injected rate, harmful x changed": towards(lambda row: row.of_harmful * row.changed),
    "injected rate x at fault x changed": towards(lambda row: row.repaired * min(row.at_fault, row.changed)),
}


def tried(cases: Cases, node: int, pick: int, rng: np.random.Generator) -> Tried:
    base, wrong = cases.right({}), cases.nodes_wrong()
    alone, after = cases._run({node: pick}, None)
    ends_wrong = ~base
    luck = cases.repair_luck[node, pick]
    skill = 1 - EASIER * (1 - cases.world.repair_own[node, pick])
    faulty = cases.right({}, faulty=node)
    usable = ~wrong[node]
    mended = usable & (rng.random(cases.count) * np.sqrt(cases.hard) < skill)
    harmed = usable & base & ~faulty
    repaired = mended & harmed
    skills = np.maximum(cases.world.repair_own[node, pick], cases.world.repair_inherited[node, pick])
    changes = (wrong[node] != after[node]) | (wrong[node] & (luck < 0.2 * skills))  # some corrections are wrong too
    return Tried(
        n=cases.count,
        wrong=int(ends_wrong.sum()),
        up=int((alone & ~base).sum()),
        down=int((~alone & base).sum()),
        at_fault=_mean(wrong[node][ends_wrong]),
        changed=_mean(changes[ends_wrong]),
        repaired=_mean(repaired[usable]),
        of_harmful=_mean(mended[harmed]),
    )


def _mean(values: Runs) -> float:
    return float(values.mean()) if values.size else 0.0


def best_three(gains: dict[tuple[int, int], float]) -> Picks:
    best: dict[int, tuple[float, int]] = {}
    for (node, pick), gain in gains.items():
        best[node] = max(best.get(node, (0.0, -1)), (gain, pick))
    order = sorted((node for node in best if best[node][0] > 0), key=lambda node: -best[node][0])
    return {node: best[node][1] for node in order[:3]}


def simulate(count: int, runs: int, seed: int) -> dict[str, tuple[list[float], list[float]]]:
    """For each way the errors of all gains, and what its plan lost against the plan of the true gains."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in WAYS}
    for run in range(runs):
        rng = np.random.default_rng((seed, count, run))
        world = World.random(rng)
        cases, fresh = Cases(world, count, rng), Cases(world, FRESH, rng)
        base = fresh.right({}).mean()
        places = [(node, pick) for node in range(len(world.parents)) for pick in range(VERIFIERS)]
        truth = {(node, pick): float(fresh.right({node: pick}).mean() - base) for node, pick in places}
        rows = {(node, pick): tried(cases, node, pick, rng) for node, pick in places}
        best = fresh.right(best_three(truth)).mean()
        for name, way in WAYS.items():
            gains = {place: way(row) for place, row in rows.items()}
            found[name][0].extend(gains[place] - truth[place] for place in places)
            found[name][1].append(float(best - fresh.right(best_three(gains)).mean()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"Points of score; {options.runs} workflows, 95 % intervals of the regret.\n")
    for count in (10, 20, 40):
        print(f"{count} cases\n")
        print("| shrunk towards | bias | root mean square error | regret of the plan |")
        print("|---|---|---|---|")
        for name, (errors, regrets) in simulate(count, options.runs, options.seed).items():
            error = 100 * math.sqrt(float(np.mean(np.square(errors))))
            reach = 196 * float(np.std(regrets)) / math.sqrt(len(regrets))
            print(
                f"| {name} | {100 * np.mean(errors):+.1f} | {error:.1f} | {100 * np.mean(regrets):.1f} ± {reach:.1f} |"
            )
        print()


if __name__ == "__main__":
    main()
