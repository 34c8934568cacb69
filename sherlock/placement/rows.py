"""What a plan is chosen from: `Row`, one verifier at one node with what it gains and costs; `Workload`, the workflow.

All amounts are means per run of the workflow, at a node that a run visits several times for all visits together.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from sherlock.estimate import Estimate
from sherlock.usage import Energy

Measure = Literal["usd", "wh", "calls"]
"""What verification adds to a run: dollars, watt-hours, model calls made by verifiers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One verifier, with its settings, at one node.

    `gain`: mean change of the final score when this verifier alone is placed, shrunk; `se` its standard error.
    `match_rate`: how often the output is left as it was. `repaired`, `broken`: shares of all cases whose final score
    rises or falls. `correction`: the share of injected faults that are put right; None if none were injected.
    `usd`, `wh`, `tokens`, `calls`: what it spends; None is unknown. `latency_s`: recorded seconds of one verification.
    """

    node: str
    verifier: str
    settings: Mapping[str, JsonValue] = field(default_factory=dict)
    gain: float
    se: float = 0.0
    match_rate: float = 1.0
    repaired: float = 0.0
    broken: float = 0.0
    correction: float | None = None
    usd: float | None = None
    wh: Energy | None = None
    tokens: float = 0.0
    calls: float = 0.0
    latency_s: Sequence[float] = ()

    def __post_init__(self) -> None:
        for name in ("match_rate", "repaired", "broken"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{self.place} has {name} {getattr(self, name)}; it is a share, in [0, 1]")
        amounts = (self.se, self.usd or 0.0, self.tokens, self.calls, *self.latency_s)
        if not math.isfinite(self.gain) or not all(0 <= amount < math.inf for amount in amounts):
            raise ValueError(f"{self.place} has an amount that is negative or not finite")

    @property
    def label(self) -> str:
        """The verifier with its settings, as text: what ties are broken by."""
        shown = json.dumps(dict(self.settings), sort_keys=True, ensure_ascii=False)
        return f"{self.verifier} {shown}" if self.settings else self.verifier

    @property
    def place(self) -> str:
        """What messages call it."""
        return f"{self.label} at {self.node!r}"

    @property
    def mean_latency_s(self) -> float:
        """Mean seconds of one verification; 0 if none was recorded."""
        return _mean(self.latency_s)

    def amount(self, measure: Measure, *, careful: bool = False) -> float | None:
        """What it spends in one run, None if unknown; watt-hours at the upper end of their interval if `careful`."""
        if measure == "calls":
            return self.calls
        return self.usd if measure == "usd" else _watt_hours(self.wh, self.calls, careful=careful)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one node itself takes in a run. `latency_s`: recorded seconds, one figure for each run."""

    latency_s: Sequence[float] = ()
    usd: float | None = 0.0
    wh: Energy | None = None
    tokens: float = 0.0
    calls: float = 0.0

    @property
    def mean_latency_s(self) -> float:
        """Mean seconds; 0 if none was recorded."""
        return _mean(self.latency_s)

    def amount(self, measure: Measure, *, careful: bool = False) -> float | None:
        """What running the node once more spends; it calls no verifier by itself."""
        if measure == "calls":
            return 0.0
        return self.usd if measure == "usd" else _watt_hours(self.wh, self.calls, careful=careful)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The workflow as the plan sees it: nodes, each after what leads to it, and edges between them, without cycles.

    A node starts when all nodes with an edge to it have ended. LangGraph starts a superstep when the last one is over:
    to count that, give every node an edge from each node of the superstep before.

    `baseline`: the final score with no verifier at all.
    """

    nodes: Mapping[str, Work]
    edges: Sequence[tuple[str, str]] = ()
    baseline: Estimate | None = None

    def __post_init__(self) -> None:
        position = {name: place for place, name in enumerate(self.nodes)}
        for source, target in self.edges:
            if source not in position or target not in position:
                raise ValueError(f"the edge {source!r} -> {target!r} joins a node that is not in the workload")
            if position[source] >= position[target]:
                raise ValueError(f"the edge {source!r} -> {target!r} points back; give nodes in topological order")

    @property
    def parents(self) -> dict[str, list[str]]:
        """For each node the nodes with an edge to it."""
        found: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in dict.fromkeys(self.edges):
            found[target].append(source)
        return found

    @property
    def downstream(self) -> dict[str, frozenset[str]]:
        """For each node all nodes that hang on it: what is done again when its output is rejected."""
        children: dict[str, list[str]] = {name: [] for name in self.nodes}
        for source, target in self.edges:
            children[source].append(target)
        found: dict[str, frozenset[str]] = {}
        for name in reversed(list(self.nodes)):
            found[name] = frozenset(children[name]).union(*(found[child] for child in children[name]))
        return found

    @property
    def finish_s(self) -> dict[str, float]:
        """When each node ends on average with no verifier: the longest path of mean latencies, in seconds."""
        ends: dict[str, float] = {}
        for name, parents in self.parents.items():
            ends[name] = max((ends[parent] for parent in parents), default=0.0) + self.nodes[name].mean_latency_s
        return ends

    def redo(self, node: str, measure: Measure, *, careful: bool = False) -> float | None:
        """What running again all that hangs on `node` spends, its verifiers not counted; None if unknown."""
        return total(self.nodes[name].amount(measure, careful=careful) for name in self.downstream[node])


def total(amounts: Iterable[float | None]) -> float | None:
    """The sum, None if a part is unknown."""
    known = list(amounts)
    return None if None in known else math.fsum(amount for amount in known if amount is not None)


def _mean(samples: Sequence[float]) -> float:
    return math.fsum(samples) / len(samples) if samples else 0.0


def _watt_hours(wh: Energy | None, calls: float, *, careful: bool) -> float | None:
    if wh is None:
        return None if calls else 0.0
    return wh.high if careful else wh.value
