"""When is a ranking settled, what does it cost, and how often is it wrong? A simulation of the stopping rule.

Eight nodes; the losses of one case are correlated over nodes, as hard cases are hard everywhere. Run:
`python benchmarks/sim_settled.py [--runs 400]`. Prints Markdown; a run takes about two minutes.
"""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sherlock.analysis.vulnerability import LOOKS, sar_schedule, sar_step, settle
from sherlock.estimate import Estimate, proportion, signed_mean

MARGIN = 0.10
PATTERNS = {
    "one stands out": (0.9, 0.5, 0.4, 0.35, 0.3, 0.2, 0.1, 0.05),
    "one ahead by .3": (0.8, 0.5, 0.5, 0.4, 0.3, 0.3, 0.2, 0.1),
    "two equal at 1": (1.0, 1.0, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1),
    "two equal at .7": (0.7, 0.7, 0.4, 0.4, 0.3, 0.2, 0.1, 0.1),
    "runner-up within the margin": (0.75, 0.67, 0.4, 0.4, 0.3, 0.2, 0.1, 0.1),
    "just beyond the margin": (0.7, 0.58, 0.58, 0.58, 0.4, 0.3, 0.2, 0.1),
    "all equal": (0.5,) * 8,
}

Psi = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one simulated analysis ended. `spent`: node-cases. `wrong`: called settled, but beaten by over the
    margin.
    """

    settled: bool
    wrong: bool
    spent: int
    best: bool


def losses(means: tuple[float, ...], cases: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Yes/no losses, (nodes, cases): a Gaussian copula with correlation .5 between the nodes of one case."""
    from scipy.special import ndtr

    noise = math.sqrt(0.5) * (rng.standard_normal(cases) + rng.standard_normal((len(means), cases)))
    return (ndtr(noise) < np.array(means)[:, None]).astype(float)


def adaptive(table: NDArray[np.float64]) -> tuple[bool, str, int]:
    """The rule of the library: looks in case order, more cases for open nodes only."""
    seen = dict.fromkeys(map(str, range(len(table))), 0)
    wanted = set(seen)
    for look, cases in enumerate(LOOKS):
        seen |= dict.fromkeys(wanted, cases)
        found = settle(values(table, seen), look=look, margin=MARGIN)
        wanted = set(found.open_nodes)
        if found.settled:
            break
    return found.settled, found.top[0], sum(seen.values())


def to_the_end(table: NDArray[np.float64]) -> tuple[bool, str, int]:
    """No stopping: every node gets all cases, and one look is taken."""
    seen = dict.fromkeys(map(str, range(len(table))), LOOKS[-1])
    found = settle(values(table, seen), look=0, looks=1, margin=MARGIN)
    return found.settled, found.top[0], sum(seen.values())


def peeking(table: NDArray[np.float64]) -> tuple[bool, str, int]:
    """Naive: after every case, stop when a plain 95 % interval of every difference to the leader lies above
    -margin.
    """
    for cases in range(LOOKS[0], LOOKS[-1] + 1):
        sums = table[:, :cases].sum(axis=1)
        leader = int(np.argmax(sums))
        rest = [row for row in range(len(table)) if row != leader]
        gaps = [signed_mean((table[leader, :cases] - table[row, :cases]).tolist()) for row in rest]
        settled = all(gap.low > -MARGIN for gap in gaps)
        if settled:
            break
    return settled, str(leader), cases * len(table)


def values(table: NDArray[np.float64], seen: Mapping[str, int]) -> Psi:
    return {node: dict(enumerate(table[int(node), :cases].tolist())) for node, cases in seen.items()}


Rule = Callable[[NDArray[np.float64]], tuple[bool, str, int]]
RULES: dict[str, Rule] = {
    "looks at 8, 12, 24, 50": adaptive,
    "no stopping": to_the_end,
    "peeking": peeking,
}


def simulate(means: tuple[float, ...], rule: Rule, runs: int, seed: int) -> list[Outcome]:
    """The same `runs` tables for every rule. The true order of the nodes is shuffled, so that names do not
    help.
    """
    outcomes = []
    for run in range(runs):
        rng = np.random.default_rng((seed, run))
        shuffled = tuple(rng.permutation(means))
        settled, top, spent = rule(losses(shuffled, LOOKS[-1], rng))
        best = shuffled[int(top)] >= max(shuffled) - MARGIN - 1e-9
        outcomes.append(Outcome(settled, settled and not best, spent, best))
    return outcomes


def false_winners(share: float, runs: int, seed: int) -> tuple[int, int]:
    """Of two equal nodes, how often one is declared the winner: peeking for an interval above 0, and by the
    rule.
    """
    peeked = ruled = 0
    for run in range(runs):
        table = losses((share, share), LOOKS[-1], np.random.default_rng((seed, run)))
        gaps = [(table[0, :cases] - table[1, :cases]).tolist() for cases in range(LOOKS[0], LOOKS[-1] + 1)]
        peeked += any(gap.low > 0 or gap.high < 0 for gap in map(signed_mean, gaps))
        ruled += any(
            len(settle(values(table, {"0": cases, "1": cases}), look=look).tiers) > 1
            for look, cases in enumerate(LOOKS)
        )
    return peeked, ruled


# Under a hard limit


def uniform(table: NDArray[np.float64], budget: int) -> str:
    """Every node gets the same number of cases."""
    return str(int(np.argmax(table[:, : budget // len(table)].mean(axis=1))))


def open_first(table: NDArray[np.float64], budget: int) -> str:
    """The library's rule, cut off: at each look open nodes get cases, as many as the budget still holds."""
    seen = dict.fromkeys(map(str, range(len(table))), 0)
    wanted, top = set(seen), "0"
    for look, cases in enumerate(LOOKS):
        left = budget - sum(seen.values())
        reach = min(cases, min(seen[node] for node in wanted) + left // len(wanted))
        seen |= {node: max(seen[node], reach) for node in wanted}
        if not min(seen.values()):
            return top
        found = settle(values(table, seen), look=look, margin=MARGIN)
        wanted, top = set(found.open_nodes), found.top[0]
        if reach < cases or not wanted:
            break
    return top


def accepts_and_rejects(table: NDArray[np.float64], budget: int) -> str:
    """Phase by phase one node is decided on, and those left get more cases."""
    means: dict[str, float] = {}
    undecided = [str(node) for node in range(len(table))]
    for cases in sar_schedule(len(table), budget):
        means = {node: float(table[int(node), : min(cases, table.shape[1])].mean()) for node in undecided}
        node, accepted = sar_step(means, 1)
        if accepted:
            return node
        undecided.remove(node)
    return undecided[0]


LIMITED = {"same for all": uniform, "open nodes first": open_first, "accepts and rejects": accepts_and_rejects}


def limited(means: tuple[float, ...], budget: int, runs: int, seed: int) -> dict[str, Estimate]:
    """The share of runs that end with a node within the margin of the best, by way of spending `budget`."""
    hits = dict.fromkeys(LIMITED, 0)
    for run in range(runs):
        rng = np.random.default_rng((seed, run))
        shuffled = tuple(rng.permutation(means))
        table = losses(shuffled, LOOKS[-1], rng)
        for name, spend in LIMITED.items():
            hits[name] += shuffled[int(spend(table, budget))] >= max(shuffled) - MARGIN - 1e-9
    return {name: proportion(count, runs) for name, count in hits.items()}


# Print


def percent(count: int, runs: int) -> str:
    share = proportion(count, runs)
    return f"{100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def mean(spent: list[int]) -> str:
    error = 1.96 * float(np.std(spent)) / math.sqrt(len(spent))
    return f"{np.mean(spent):.0f} ± {error:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(
        f"Eight nodes, top 1, margin {MARGIN:.2f}, {options.runs} runs each, 95 % intervals. Without stopping: 400.\n"
    )
    print("| nodes | rule | settled | node-cases | settled and wrong |\n|---|---|---|---|---|")
    for name, means in PATTERNS.items():
        for rule_name, rule in RULES.items():
            found = simulate(means, rule, options.runs, options.seed)
            settled, wrong = sum(o.settled for o in found), sum(o.wrong for o in found)
            spent = mean([o.spent for o in found])
            row = (name, rule_name, percent(settled, options.runs), spent, percent(wrong, options.runs))
            print(f"| {' | '.join(row)} |")
    print("\nA winner declared between two equal nodes, looking after every case or by the rule's looks:\n")
    print("| both lose | peeking | tiers at 8, 12, 24, 50 |\n|---|---|---|")
    for share in (0.5, 0.2):
        peeked, ruled = false_winners(share, options.runs, options.seed)
        print(f"| {share} | {percent(peeked, options.runs)} | {percent(ruled, options.runs)} |")
    print("\nUnder a hard limit of node-cases, the share of runs that end within the margin of the best node:\n")
    print("| nodes | limit |", " | ".join(LIMITED), "|\n|---|---|---|---|---|")
    for name, means in PATTERNS.items():
        for budget in (80, 120, 200):
            found_shares = limited(means, budget, options.runs, options.seed)
            cells = [percent(round(e.value * e.n), e.n) for e in found_shares.values()]
            print(f"| {name} | {budget} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
