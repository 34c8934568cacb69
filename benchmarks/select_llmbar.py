"""Choosing a verifier on recorded verdicts: 65 judges on 100 items of LLMBar, both answer orders, characters as cost.

A judge is right on an item as often as its two verdicts (one for each order of the answers) are; a verdict that could
not be read counts as a coin. Its cost is the characters that it wrote, in thousands. Every policy is chosen on one half
of the items and judged on the other; the figures of an item are means over the splits in which it was judged, and
intervals are over items. Run: `python benchmarks/select_llmbar.py [--data ../shared/data] [--splits 40]`.
"""

import argparse
import functools
import json
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # threads cost more than such small matrices are worth

import numpy as np
from numpy.typing import NDArray

from sherlock.estimate import Estimate, mean_score, signed_mean
from sherlock.placement.selector import Selector, fit_selector, utility

Matrix = NDArray[np.float64]
Items = NDArray[np.int64]
FOLDER = "llmbar"
HOME = Path(__file__).parents[1].parent / "shared" / "data"
WORTH = (0.01, 0.1, 0.5)
"""Score that a thousand characters must bring to be worth it."""
FIRST = 3


@dataclass(frozen=True, eq=False)
class Judged:
    """Items in lines, judges in columns. `agree`: both orders had the same verdict."""

    judges: list[str]
    right: Matrix
    cost: Matrix
    agree: NDArray[np.bool_]
    features: Matrix


@dataclass(frozen=True)
class Found:
    """How a policy did on items that it was not chosen on. `cost` in thousands of characters."""

    name: str
    accuracy: Estimate
    cost: Estimate
    utility: float
    gain: Estimate


def load(data: Path) -> Judged:
    """Read the recorded verdicts."""
    lines = (data / FOLDER / "verdicts_natural.jsonl").read_text(encoding="utf-8").splitlines()
    verdicts = [json.loads(line) for line in lines]
    items = json.loads((data / FOLDER / "dataset_Natural.json").read_text(encoding="utf-8"))
    judges = sorted({f"{v['judge']} {v['strategy']}" for v in verdicts})
    shape = (len(items), len(judges))
    right, cost, agree = np.full(shape, 0.5), np.zeros(shape), np.zeros(shape, dtype=bool)
    for verdict in verdicts:
        place = verdict["idx"], judges.index(f"{verdict['judge']} {verdict['strategy']}")
        answers = final_answers(verdict["winners"])
        scores = [float(answer == str(verdict["label"])) for answer in answers]
        right[place] = (sum(scores) + 0.5 * (2 - len(scores))) / 2
        agree[place] = len(answers) == 2 and len(set(answers)) == 1
        cost[place] = sum(written for _, written in verdict["calls"]) / 1000
    return Judged(judges, right, cost, agree, np.array([features_of(item) for item in items]))


def final_answers(winners: list[list[str]]) -> list[str]:
    """The verdict of the last stage for each order of the answers, where one could be read."""
    last: dict[str, str] = {}
    for stage, winner in sorted(winners):
        last[stage.rpartition("/")[2]] = winner
    return list(last.values())


def features_of(item: dict[str, Any]) -> list[float]:
    asked, first, second = item["input"], item["output_1"], item["output_2"]
    lengths = [math.log1p(len(text)) for text in (asked, first, second)]
    marks = [float(mark in asked) for mark in ("?", "\n", '"')]
    digits = sum(c.isdigit() for c in asked) / (1 + len(asked))
    return [*lengths, abs(lengths[1] - lengths[2]), *marks, digits]


# Policies: chosen on some items, they give accuracy and cost on others.

Outcome = tuple[Matrix, Matrix]
Policy = Callable[[Judged, Items, Items, float], Outcome]


def always(judged: Judged, judge: int, items: Items) -> Outcome:
    return judged.right[items, judge], judged.cost[items, judge]


def best_static(judged: Judged, train: Items, test: Items, willingness: float) -> Outcome:
    del willingness
    return always(judged, int(np.argmax(judged.right[train].mean(axis=0))), test)


def static_utility(judged: Judged, train: Items, test: Items, willingness: float) -> Outcome:
    return always(judged, int(np.argmax(utilities(judged, willingness)[train].mean(axis=0))), test)


def cheapest(judged: Judged, train: Items, test: Items, willingness: float) -> Outcome:
    del willingness
    return always(judged, int(np.argmin(judged.cost[train].mean(axis=0))), test)


def at_random(judged: Judged, train: Items, test: Items, willingness: float) -> Outcome:
    del train, willingness
    return judged.right[test].mean(axis=1), judged.cost[test].mean(axis=1)


def selector(judged: Judged, train: Items, test: Items, willingness: float) -> Outcome:
    """The library's: the learned policy where nested cross-validation on the training items shows that it beats the
    prior, which is the static argmax of U.
    """
    found = fitted(judged, tuple(train.tolist()), willingness)
    picks = [found.choose(line) for line in judged.features[test].tolist()]
    return judged.right[test, picks], judged.cost[test, picks]


def learned(judged: Judged, train: Items, test: Items, willingness: float) -> Outcome:
    """The learned policy, whether it beats the prior or not."""
    found = fitted(judged, tuple(train.tolist()), willingness)
    picks = found.policy.choose_all(judged.features[test], [""] * len(test))
    return judged.right[test, picks], judged.cost[test, picks]


@functools.cache
def fitted(judged: Judged, train: tuple[int, ...], willingness: float) -> Selector:
    items = list(train)
    return fit_selector(judged.features[items], utilities(judged, willingness)[items])


def cascade(judged: Judged, train: Items, test: Items, willingness: float) -> Outcome:
    """One judge; another when the orders of the first do not agree. Of the `FIRST` best by utility and any second the
    pair of the highest utility: among all pairs the choice follows chance.
    """
    worth = utilities(judged, willingness)[train]
    sure, unsure = judged.agree[train], (~judged.agree[train]).astype(float)
    value = (judged.right[train] * sure - willingness * judged.cost[train]).mean(axis=0)[:, None]
    value = value + unsure.T @ worth / len(train)
    value[np.argsort(-worth.mean(axis=0))[FIRST:]] = -np.inf
    np.fill_diagonal(value, -np.inf)
    first, second = np.unravel_index(int(np.argmax(value)), value.shape)
    done = judged.agree[test, first]
    right = np.where(done, judged.right[test, first], judged.right[test, second])
    cost = judged.cost[test, first] + np.where(done, 0.0, judged.cost[test, second])
    return right, cost


def oracle(judged: Judged, train: Items, test: Items, willingness: float) -> Outcome:
    """The cheapest judge that is right on the item; nobody could know."""
    del train, willingness
    best = judged.right[test].max(axis=1, keepdims=True)
    price = np.where(judged.right[test] == best, judged.cost[test], np.inf)
    return best[:, 0], price.min(axis=1)


POLICIES: dict[str, Policy] = {
    "best static": best_static,
    "static argmax of U": static_utility,
    "selector": selector,
    "learned policy, always": learned,
    "cascade": cascade,
    "cheapest": cheapest,
    "random": at_random,
    "oracle": oracle,
}


def utilities(judged: Judged, willingness: float) -> Matrix:
    return utility(judged.right, judged.cost, willingness)


def evaluate(judged: Judged, *, willingness: float, splits: int, seed: int) -> list[Found]:
    """Every policy over the same splits."""
    items = len(judged.right)
    halves = [np.random.default_rng((seed, split)).permutation(items) for split in range(splits)]
    sums = {name: np.zeros((2, items)) for name in POLICIES}
    times = np.zeros(items)
    for order in halves:
        train, test = order[: items // 2], order[items // 2 :]
        times[test] += 1
        for name, policy in POLICIES.items():
            right, cost = policy(judged, train, test, willingness)
            sums[name][0, test] += right
            sums[name][1, test] += cost
    seen = times > 0
    means = {name: total[:, seen] / times[seen] for name, total in sums.items()}
    return [summary(name, means, willingness) for name in POLICIES]


def summary(name: str, means: dict[str, Matrix], willingness: float) -> Found:
    right, cost = means[name]
    reach = 1.96 * float(cost.std(ddof=1)) / math.sqrt(len(cost))
    mean = float(cost.mean())
    gain = right - means["best static"][0]
    return Found(
        name=name,
        accuracy=mean_score(right.tolist()),
        cost=Estimate(mean, mean - reach, mean + reach, len(cost)),
        utility=float((right - willingness * cost).mean()),
        gain=signed_mean(gain.tolist()),
    )


def shown(estimate: Estimate, digits: int = 3, sign: str = "") -> str:
    low, high = (f"{bound:{sign}.{digits}f}" for bound in (estimate.low, estimate.high))
    return f"{estimate.value:{sign}.{digits}f} [{low}, {high}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=HOME)
    parser.add_argument("--splits", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not (options.data / FOLDER).is_dir():
        print(f"skipped: there is no {FOLDER}/ in {options.data}; give --data")
        sys.exit(0)
    judged = load(options.data)
    items, judges = judged.right.shape
    print(f"{judges} judges, {items} items, {options.splits} splits in halves, 95 % intervals over items.\n")
    for willingness in WORTH:
        print(f"A thousand characters are worth {willingness:g} of score:\n")
        print("| policy | accuracy | over best static | 1000 characters | utility |\n|---|---|---|---|---|")
        for found in evaluate(judged, willingness=willingness, splits=options.splits, seed=options.seed):
            cells = (found.name, shown(found.accuracy), shown(found.gain, sign="+"), shown(found.cost))
            print(f"| {' | '.join(cells)} | {found.utility:.3f} |")
        print()


if __name__ == "__main__":
    main()
