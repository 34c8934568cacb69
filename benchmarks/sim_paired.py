"""From how many cases on does the interval of a difference in time hold? Simulated runs with and without a plan.

The seconds of a case are lognormal in both ways and correlated; with the plan a fifth of the cases take longer, for
something is done again. The intervals of `sherlock.paired` are held against the true differences. Run:
`python benchmarks/sim_paired.py [--studies 400]`.
"""

import argparse
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sherlock import paired
from sherlock.estimate import Estimate

Seconds = NDArray[np.float64]
SHARES = (0.5, 0.9, 0.99)
CASES = (5, 8, 12, 20, 24, 40, 100, 200)


def main(arguments: list[str] | None = None) -> dict[tuple[int, str], float]:
    """Print how often each interval held the truth, and return it, by number of cases and figure."""
    parser = argparse.ArgumentParser(description="How often do the intervals of paired differences hold the truth?")
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--cases", type=int, nargs="*", default=list(CASES))
    asked = parser.parse_args(arguments)
    paired.FEWEST.update(dict.fromkeys(paired.FEWEST, 2))  # to see why it asks for more
    truth = _truth(np.random.default_rng(0))
    print("| cases | mean | p50 | p90 | p99 |\n|---|---|---|---|---|")
    held: dict[tuple[int, str], float] = {}
    for n in asked.cases:
        found = _held(n, asked.studies, truth)
        held.update({(n, name): share for name, share in found.items()})
        print(f"| {n} | {' | '.join(f'{100 * share:.0f} %' for share in found.values())} |", flush=True)
    return held


def _held(n: int, studies: int, truth: Mapping[str, float]) -> dict[str, float]:
    hits = dict.fromkeys(truth, 0)
    rng = np.random.default_rng(n)
    for study in range(studies):
        before, after = _drawn(rng, n)
        for name, interval in _intervals(before, after, study).items():
            hits[name] += interval is not None and interval.low <= truth[name] <= interval.high
    return {name: count / studies for name, count in hits.items()}


def _intervals(before: Seconds, after: Seconds, seed: int) -> dict[str, Estimate | None]:
    a, b = ([[float(value)] for value in side] for side in (before, after))
    found = {"mean": paired.mean((after - before).tolist())}
    for share in SHARES:
        found[f"p{100 * share:.0f}"] = paired.quantile_difference(a, b, share, seed=seed)
    return found


def _truth(rng: np.random.Generator) -> dict[str, float]:
    before, after = _drawn(rng, 2_000_000)
    gaps = {f"p{100 * share:.0f}": float(np.quantile(after, share) - np.quantile(before, share)) for share in SHARES}
    return {"mean": float(np.mean(after - before)), **gaps}


def _drawn(rng: np.random.Generator, n: int) -> tuple[Seconds, Seconds]:
    """The seconds of `n` cases without the plan and with it."""
    case = rng.lognormal(0, 0.35, n)
    before = case * rng.lognormal(1, 0.2, n)
    again = (rng.random(n) < 0.2) * rng.lognormal(0, 0.5, n)
    return before, case * rng.lognormal(1, 0.2, n) * 1.05 + again


if __name__ == "__main__":
    main()
