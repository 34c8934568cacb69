"""Random questions for the solver, and a brute force that shares no code with it: every plan, one by one."""

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np

from sherlock.placement.rows import Row, Work, Workload
from sherlock.placement.slo import SLO
from sherlock.usage import Energy

OBJECTIVES = ("accuracy", "usd", "latency_s", "wh")


@dataclass(frozen=True)
class Question:
    workload: Workload
    rows: tuple
    slo: SLO
    objective: str
    least_gain: float | None
    careful: bool


def energy(rng):
    value = float(rng.choice([0.0, 0.1, 0.2, 0.5, float(rng.uniform(0, 1))]))
    return Energy(value=value, low=value / 2, high=value * 2, source="estimated")


def random_row(rng, node, number):
    return Row(
        node=node,
        verifier=f"v{rng.integers(4)}",
        settings={"n": number} if rng.random() < 0.7 else {"z": number},
        gain=float(rng.choice([0.0, 0.05, 0.1, 0.1, 0.25, rng.uniform(-0.1, 0.5)])),
        se=float(rng.uniform(0, 0.1)),
        match_rate=float(rng.choice([1.0, 0.8, 0.5, rng.uniform(0, 1)])),
        usd=None if rng.random() < 0.06 else float(rng.choice([0.0, 0.001, 0.002, rng.uniform(0, 0.01)])),
        wh=None if rng.random() < 0.06 else energy(rng),
        calls=float(rng.choice([1.0, 1.0, 2.0, 5.0])),
        latency_s=tuple(map(float, rng.choice([0.5, 1.0, 2.0, 4.0], size=rng.integers(1, 4)))),
    )


def random_question(rng, nodes=None, rows=None):
    nodes = int(rng.integers(1, 7)) if nodes is None else nodes
    most = int(rng.integers(1, 4)) if rows is None else rows
    names = [f"n{place}" for place in rng.permutation(nodes)]
    chance = rng.choice([0.2, 0.5, 0.9])
    edges = [(a, b) for a, b in itertools.combinations(names, 2) if rng.random() < chance]
    work = {
        name: Work(
            latency_s=tuple(map(float, rng.choice([0.0, 1.0, 3.0], size=2))),
            usd=None if rng.random() < 0.04 else float(rng.choice([0.0, 0.001, rng.uniform(0, 0.01)])),
            wh=energy(rng),
            calls=1.0,
        )
        for name in names
    }
    options = [
        random_row(rng, name, number)
        for name in names
        for number in range(int(rng.integers(0, most + 1)) if rows is None else rows)
    ]
    workload = Workload(nodes=work, edges=edges)
    return Question(
        workload=workload,
        rows=tuple(options),
        slo=random_slo(rng, options, max(workload.finish_s.values())),
        objective=str(rng.choice(OBJECTIVES)),
        least_gain=float(rng.choice([0.05, 0.2, 0.4, 0.9])) if rng.random() < 0.5 else None,
        careful=bool(rng.random() < 0.25),
    )


def random_slo(rng, rows, alone):
    spread = max(1, len(rows))
    usd = sum(row.usd or 0.0 for row in rows) / spread
    asked = {
        "max_usd": float(rng.choice([0.0, 0.002, usd * rng.uniform(0, 3)])),
        "max_wh": float(rng.uniform(0, 2)),
        "max_latency_s": float(max(0.1, alone * rng.uniform(0.9, 1.8))),
        "max_verifiers": int(rng.integers(0, 4)),
        "max_verifier_calls": float(rng.choice([0, 1, 2, 3.5, 8])),
    }
    return SLO(**{name: value for name, value in asked.items() if rng.random() < 0.35})


class BruteForce:
    """Arrays over all plans; column j of `picks` is the row taken at node j, 0 for none."""

    def __init__(self, question):
        self.question = question
        self.names = list(question.workload.nodes)
        self.options = [[None, *(row for row in question.rows if row.node == name)] for name in self.names]
        self.picks = np.array(list(itertools.product(*(range(len(each)) for each in self.options))))
        self.reach = self._reach()
        self.k = self._count()
        self.gain = self._sum(self._gain)
        self.verifiers = (self.picks > 0).sum(axis=1)
        self.costs = {m: self._cost(m) for m in ("usd", "wh", "calls")}
        self.latency_s = self._latency()

    def _reach(self):
        n = len(self.names)
        reach = np.zeros((n, n), dtype=bool)
        for a, b in self.question.workload.edges:
            reach[self.names.index(a), self.names.index(b)] = True
        for middle in range(n):
            reach |= reach[:, [middle]] & reach[[middle], :]
        return reach

    def _count(self):
        useful = {row.node for row in self.question.rows if row.gain > 0}
        limit = self.question.slo.max_verifiers
        return max(1, len(useful) if limit is None else min(len(useful), limit))

    def _gain(self, row):
        return row.gain - 1.645 * row.se / math.sqrt(self.k) if self.question.careful else row.gain

    def _table(self, figure):
        """figure(row) over plans and nodes, 0 where none is taken."""
        columns = [np.array([0.0, *map(figure, each[1:])])[self.picks[:, j]] for j, each in enumerate(self.options)]
        return np.stack(columns, axis=1)

    def _sum(self, figure):
        return self._table(figure).sum(axis=1)

    def _amount(self, thing, measure):
        if measure == "calls":
            return thing.calls if isinstance(thing, Row) else 0.0
        if measure == "usd":
            return math.nan if thing.usd is None else thing.usd
        if thing.wh is None:
            return math.nan
        return thing.wh.high if self.question.careful else thing.wh.value

    def _cost(self, measure):
        """NaN where unknown."""
        own = self._table(lambda row: self._amount(row, measure))
        rejected = self._table(lambda row: 1 - row.match_rate)
        work = np.array([self._amount(node, measure) for node in self.question.workload.nodes.values()])
        redo = np.array([work[self.reach[j]].sum() for j in range(len(self.names))])
        again = own @ self.reach.T.astype(float)
        again = np.where(np.isnan(own).any(axis=1)[:, None], np.nan, again)
        expense = np.where(rejected > 0, rejected * (redo + again), 0.0)
        return own.sum(axis=1) + expense.sum(axis=1)

    def _latency(self):
        ends = {}
        for name, node in self.question.workload.nodes.items():
            before = [ends[a] for a, b in self.question.workload.edges if b == name]
            ends[name] = max(before, default=0.0) + float(np.mean(node.latency_s))
        verify = self._table(lambda row: float(np.mean(row.latency_s)))
        finish = np.array([ends[name] for name in self.names])
        last = np.maximum((verify + finish).max(axis=1), finish.max())
        return last + self._table(lambda row: (1 - row.match_rate) * float(np.mean(row.latency_s))).sum(axis=1)

    def feasible(self, slo=None, least_gain="as asked"):
        slo = slo or self.question.slo
        least_gain = self.question.least_gain if least_gain == "as asked" else least_gain
        keeps = np.ones(len(self.picks), dtype=bool)
        limited = {
            "max_usd": self.costs["usd"],
            "max_wh": self.costs["wh"],
            "max_verifier_calls": self.costs["calls"],
            "max_latency_s": self.latency_s,
            "max_verifiers": self.verifiers,
        }
        for name, limit in slo.asked().items():
            keeps &= limited[name] <= limit * (1 + 1e-9) + 1e-12  # NaN keeps nothing
        for goal, measure in (("usd", "usd"), ("wh", "wh")):
            if self.question.objective == goal:
                keeps &= ~np.isnan(self.costs[measure])
        if least_gain is not None:
            keeps &= self.gain >= least_gain - 1e-9
        return keeps

    def best(self):
        """The labels of the best plan, None if there is none."""
        keeps = np.flatnonzero(self.feasible())
        if not len(keeps):
            return None
        usd = self._dollars()
        order = {
            "accuracy": (-self.gain, usd),
            "usd": (usd, -self.gain),
            "latency_s": (self.latency_s, usd, -self.gain),
            "wh": (self.costs["wh"], usd, -self.gain),
        }[self.question.objective]
        for figure in order:
            least = figure[keeps].min()
            keeps = keeps[figure[keeps] <= least + 1e-9 * abs(least) + 1e-12]
        return min(
            (self.labels(plan) for plan in keeps), key=lambda plan: [plan.get(n, "") for n in sorted(self.names)]
        )

    def _dollars(self):
        """Unknown prices are the last choice: fewer first, then the known dollars."""
        dear = 1 + 2 * sum(self._known(row) for row in self.question.rows if not math.isnan(self._known(row)))
        dearest = self._table(lambda row: dear if math.isnan(self._known(row)) else self._known(row))
        own = self._table(lambda row: row.usd or 0.0)
        rejected = self._table(lambda row: 1 - row.match_rate)
        return dearest.sum(axis=1) + (rejected * (own @ self.reach.T.astype(float))).sum(axis=1)

    def _known(self, row):
        j = self.names.index(row.node)
        work = np.array([self._amount(node, "usd") for node in self.question.workload.nodes.values()])
        redo = work[self.reach[j]].sum() if row.match_rate < 1 else 0.0
        return self._amount(row, "usd") + (1 - row.match_rate) * redo

    def labels(self, plan):
        taken = {self.names[j]: self.options[j][pick] for j, pick in enumerate(self.picks[plan]) if pick}
        return {name: row.label for name, row in taken.items()}

    def binding(self):
        """For each limit that alone stands in the way, what it would have to be."""
        slo, found = self.question.slo, {}
        figures = {
            "max_usd": self.costs["usd"],
            "max_wh": self.costs["wh"],
            "max_verifier_calls": self.costs["calls"],
            "max_latency_s": self.latency_s,
            "max_verifiers": self.verifiers,
        }
        for name in slo.asked():
            keeps = self.feasible(replace(slo, **{name: None}))
            if keeps.any():
                found[name] = (
                    float(np.nanmin(figures[name][keeps])) if (~np.isnan(figures[name][keeps])).any() else None
                )
        if self.question.least_gain is not None and self.feasible(least_gain=None).any():
            found["min_accuracy"] = float(self.gain[self.feasible(least_gain=None)].max())
        return found
