"""Which interval holds the truth? Coverage on the graphs of `tests/scenarios.py`, whose truth is enumerated.

The library's interval stands beside the usual ones: Wilson on raw trials (three faults per case, counted as if they
were three cases), the t interval of case means, and the percentile bootstrap over cases. A second table does the same
for gains, which may be negative. Run: `python benchmarks/sim_intervals.py [--runs 5000]`. Prints Markdown, in a
minute.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from sherlock.estimate import cluster_jeffreys, signed_mean

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from loss_table import covered, draw, worlds
from scenarios import SCENARIOS, Scenario

ROUNDING = 1e-12
RESAMPLES = 500
FAULTS = 3

Bounds = tuple[float, float]


def library(values: Sequence[float]) -> Bounds:
    estimate = cluster_jeffreys(values)
    return estimate.low - ROUNDING, estimate.high + ROUNDING


def signed(values: Sequence[float]) -> Bounds:
    estimate = signed_mean(values)
    return estimate.low - ROUNDING, estimate.high + ROUNDING


def mapped(values: Sequence[float]) -> Bounds:
    low, high = library([(value + 1) / 2 for value in values])
    return 2 * low - 1, 2 * high - 1


def t_interval(values: Sequence[float]) -> Bounds:
    n = len(values)
    if n == 1:
        return -1.0, 1.0
    reach = float(student.ppf(0.975, n - 1)) * float(np.std(values, ddof=1)) / math.sqrt(n) + ROUNDING
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def bootstrap(values: Sequence[float]) -> Bounds:
    """Seeded by the size only, so that the table is the same every time."""
    picks = np.random.default_rng(len(values)).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(np.asarray(values)[picks].mean(axis=1), [0.025, 0.975])
    return float(low) - ROUNDING, float(high) + ROUNDING


def wilson(successes: float, trials: int) -> Bounds:
    z, share = 1.959964, successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    reach = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return centre - reach - ROUNDING, centre + reach + ROUNDING


METHODS: dict[str, Callable[[Sequence[float]], Bounds]] = {
    "cluster-Jeffreys": library,
    "t": t_interval,
    "bootstrap": bootstrap,
}


def raw_trials(scenario: Scenario, node: str, *, n: int, runs: int) -> tuple[float, float]:
    """Three faults per case: coverage of Wilson on all trials together, and of the library's interval on case means."""
    rng = np.random.default_rng(n)
    right = [world for world in worlds(scenario) if world.right and node in world.outcomes]
    weights = np.array([world.probability for world in right])
    truth = scenario.truth()[node]
    hits = [0, 0]
    for _ in range(runs):
        cases = rng.choice(len(right), size=n, p=weights / weights.sum())
        table = np.array([faults_of(right[case].outcomes[node], rng) for case in cases])
        for place, (low, high) in enumerate((wilson(table.sum(), table.size), library(table.mean(axis=1).tolist()))):
            hits[place] += low <= truth <= high
    return hits[0] / runs, hits[1] / runs


def faults_of(outcomes: Sequence[tuple[float, float]], rng: np.random.Generator) -> NDArray[np.float64]:
    chances, losses = np.array(outcomes).T
    return rng.choice(losses, size=FAULTS, p=chances / chances.sum())


def print_scenarios(runs: int) -> None:
    print(f"Coverage of nominal 95 % intervals, {runs} runs each; under 92 % in bold.\n")
    print("| scenario | cases | node | truth |", " | ".join(METHODS), "|")
    print("|---|---|---|---|" + "---|" * len(METHODS))
    for scenario in SCENARIOS:
        for n in (10, 20, 40):
            draws = draw(scenario, n=n, runs=runs, seed=n)
            for node, truth in scenario.truth().items():
                loss = np.where(draws.right, draws.loss[node], np.nan)
                shares = [shown(covered(method, loss, truth)) for method in METHODS.values()]
                print(f"| {scenario.name} | {n} | {node} | {truth:.3f} | {' | '.join(shares)} |")


def print_raw_trials(runs: int) -> None:
    print("\nThree faults per case, yes/no losses:\n")
    print("| scenario | clean-right cases | node | truth | Wilson on trials | cluster-Jeffreys |")
    print("|---|---|---|---|---|---|")
    for scenario in (s for s in SCENARIOS if s.luck == 1 and s.name != "map-reduce by Send"):
        for node, truth in scenario.truth().items():
            if 0 < truth < 1:
                pair = raw_trials(scenario, node, n=20, runs=runs)
                print(f"| {scenario.name} | 20 | {node} | {truth:.3f} | {' | '.join(map(shown, pair))} |")


def print_gains(runs: int) -> None:
    print("\nMeans of gains in {-1, 0, 1}:\n")
    print("| P(+1) | P(-1) | cases | signed_mean | width | mapped to [0, 1] | width | t | bootstrap |")
    print("|---|---|---|---|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for up, down in (
        (0.05, 0),
        (0.1, 0),
        (0.2, 0),
        (0.5, 0),
        (0.95, 0),
        (0.02, 0.02),
        (0.1, 0.1),
        (0.3, 0.1),
        (0.3, 0.3),
    ):
        for n in (10, 20, 40):
            gains = rng.choice([1.0, 0.0, -1.0], p=[up, 1 - up - down, down], size=(runs, n))
            cells = []
            for method in (signed, mapped):
                width = float(np.mean([high - low for low, high in map(method, gains.tolist())]))
                cells += [shown(covered(method, gains, up - down)), f"{width:.2f}"]
            cells += [shown(covered(method, gains, up - down)) for method in (t_interval, bootstrap)]
            print(f"| {up} | {down} | {n} | {' | '.join(cells)} |")


def shown(share: float) -> str:
    return f"{100 * share:.1f}" if share >= 0.92 else f"**{100 * share:.1f}**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5000)
    runs = parser.parse_args().runs
    print_scenarios(runs)
    print_raw_trials(min(runs, 1000))
    print_gains(min(runs, 1000))


if __name__ == "__main__":
    main()
