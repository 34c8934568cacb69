"""What every fault costs in every case of a scenario, found by running the whole graph each time, and draws
from that.

Plain code that shares nothing with the analysis: no replay, no checkpoints, no lens.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scenario_graphs import Node
from scenarios import Scenario, TextFault

from sherlock.cases import Case

Outcomes = tuple[tuple[float, float], ...]
"""Probability and loss (score_sham - score_fault) of each draw of fault, sham and faulted run."""

Interval = Callable[[Sequence[float]], tuple[float, float]]

ONE_AT_A_TIME = {"max_concurrency": 1}  # so that the first of parallel tasks is the first to run


@dataclass(frozen=True, slots=True)
class World:
    """One way the clean run of a case can go. `outcomes` lacks the nodes that it does not visit, or that no
    fault fits.
    """

    probability: float
    right: bool
    outcomes: Mapping[str, Outcomes]


@dataclass(slots=True)
class Player:
    """Runs a scenario's graph from start to end, with the text of one node's first output replaced on the
    way.
    """

    scenario: Scenario
    lucky: bool = True
    replaced: tuple[str, str] | None = None
    texts: dict[str, str] = field(default_factory=dict)
    graph: Any = None

    def __post_init__(self) -> None:
        self.graph = self.scenario.make(self._around, lambda _seed: self.lucky).compile()

    def play(self, case: Case, *, lucky: bool, replaced: tuple[str, str] | None = None) -> float:
        """The score of a run; `texts` then holds the first output of every node that ran."""
        self.lucky, self.replaced = lucky, replaced
        self.texts = {}
        return self.scenario.score(self.graph.invoke(case.inputs, ONE_AT_A_TIME), case)

    def _around(self, name: str, function: Node) -> Node:
        def node(state: Any) -> dict[str, Any]:
            ((key, text),) = function(state).items()
            if name not in self.texts:
                self.texts[name] = text
                if self.replaced and self.replaced[0] == name:
                    text = self.replaced[1]
            return {key: text}

        return node


@cache
def worlds(scenario: Scenario) -> tuple[World, ...]:
    """Every way that a clean run can go, with all that faults can do to it."""
    return tuple(_worlds(scenario))


def _worlds(scenario: Scenario) -> Iterator[World]:
    player = Player(scenario)
    for (inputs, expected, share), (lucky, chance) in product(scenario.population, _coin(scenario)):
        case = scenario.case(inputs, expected, "any")
        score = player.play(case, lucky=lucky)
        outcomes = {
            node: _outcomes(player, case, node, text, _coin(scenario, node, lucky))
            for node, text in player.texts.items()
        }
        yield World(share * chance, score >= 1, {node: o for node, o in outcomes.items() if o})


def _outcomes(player: Player, case: Case, node: str, text: str, coin: tuple[tuple[bool, float], ...]) -> Outcomes:
    """All losses at one node of one clean run; the faults that fit share the probability by their weights."""
    fitting = [(fault, _applied(fault, text)) for fault in player.scenario.faults]
    fitting = [(fault, corrupted) for fault, corrupted in fitting if corrupted is not None]
    total = sum(fault.weight for fault, _ in fitting)
    shams = [(chance, player.play(case, lucky=lucky)) for lucky, chance in coin]
    found = []
    for fault, corrupted in fitting:
        hit = (node, corrupted)
        faulted = [(chance, player.play(case, lucky=lucky, replaced=hit)) for lucky, chance in coin]
        for (p_sham, sham), (p_fault, score) in product(shams, faulted):
            found.append((fault.weight / total * p_sham * p_fault, sham - score))
    return tuple(found)


def _applied(fault: TextFault, text: str) -> str | None:
    corrupted = fault.apply(text, None)
    return None if corrupted == text else corrupted


def _coin(scenario: Scenario, node: str | None = None, kept: bool = True) -> tuple[tuple[bool, float], ...]:
    """How the flaky node can go; a replay from a node that is not before it keeps how it went."""
    if scenario.luck == 1:
        return ((True, 1.0),)
    if node is not None and node not in scenario.before_flaky:
        return ((kept, 1.0),)
    return ((True, scenario.luck), (False, 1 - scenario.luck))


def true_vulnerability(scenario: Scenario) -> dict[str, float]:
    """E[loss | clean run right, node visited, some fault fits], for each node."""
    return _truth(worlds(scenario), right=True)


def true_rescue(scenario: Scenario) -> dict[str, float]:
    """E[-loss | clean run wrong, ...], for each node."""
    return {node: 0.0 - loss for node, loss in _truth(worlds(scenario), right=False).items()}


def true_exposure(scenario: Scenario) -> dict[str, float]:
    """P(right) * vulnerability - P(wrong) * rescue."""
    p = sum(world.probability for world in worlds(scenario) if world.right)
    rescue = true_rescue(scenario)
    return {node: p * loss - (1 - p) * rescue.get(node, 0.0) for node, loss in true_vulnerability(scenario).items()}


def _truth(all_worlds: tuple[World, ...], *, right: bool) -> dict[str, float]:
    reached: dict[str, float] = {}
    lost: dict[str, float] = {}
    for world in all_worlds:
        if world.right == right:
            for node, outcomes in world.outcomes.items():
                reached[node] = reached.get(node, 0.0) + world.probability
                lost[node] = lost.get(node, 0.0) + world.probability * sum(p * loss for p, loss in outcomes)
    return {node: lost[node] / reached[node] for node in reached}


@dataclass(frozen=True, slots=True)
class Draws:
    """Simulated analyses of `n` cases each. `right`: (runs, n). `loss[node]`: (runs, n), NaN where there is
    none.
    """

    right: NDArray[np.bool_]
    loss: Mapping[str, NDArray[np.float64]]


def draw(scenario: Scenario, *, n: int, runs: int, seed: int) -> Draws:
    """Cases from the population, with one fault per case and node, `runs` times."""
    rng = np.random.default_rng(seed)
    table = worlds(scenario)
    weights = np.array([world.probability for world in table])
    drawn = rng.choice(len(table), size=(runs, n), p=weights / weights.sum())
    right = np.array([world.right for world in table])[drawn]
    loss = {}
    for node in sorted({node for world in table for node in world.outcomes}):
        loss[node] = np.full((runs, n), np.nan)
        for index, world in enumerate(table):
            if node in world.outcomes:
                here = drawn == index
                chances, losses = np.array(world.outcomes[node]).T
                loss[node][here] = rng.choice(losses, size=here.sum(), p=chances / chances.sum())
    return Draws(right, loss)


def covered(interval: Interval, loss: NDArray[np.float64], truth: float) -> float:
    """The share of runs whose interval holds the truth, among those with a loss to make one from.

    `interval` takes the losses of one node in one run, in ascending order: which case had which does not
    matter to it, and so equal runs are worked out once.
    """
    rows = np.sort(loss, axis=1)  # NaN last
    counts = np.isfinite(rows).sum(axis=1)
    hits, known = [], {}
    for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
        values = tuple(row[:count])
        if values and values not in known:
            low, high = interval(values)
            known[values] = low <= truth <= high
        if values:
            hits.append(known[values])
    return sum(hits) / len(hits)
