"""What is learned while guarded runs go by: how long nodes and verifiers take, what they cost, how often they agree.

One learner serves all runs of one guard, in whichever threads their event loops are. Every figure is over the last
`WINDOW` values, so a model that was swapped is learned anew and memory stays bounded. The plan's figures count as
`PLAN_WEIGHT` values that came first.
"""

import math
import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from sherlock.placement.plan import Plan

WINDOW = 200
PLAN_WEIGHT = 4
ROLLBACK_S = 0.002
"""Seconds from a verdict to the first node that runs again, until some were seen: without a database, a few ms."""


@dataclass(frozen=True, slots=True)
class MatchRate:
    """How probable it is that a verdict leaves an output, or what it means, as it was.

    `mean` of the Beta posterior, and `upper`, one standard deviation above it and at most 1.
    """

    mean: float
    upper: float


class Learner:
    """The figures that speculation is decided by. Seconds and dollars; None is not known.

    `plan` gives the first figures. `placed`: further nodes that have a verifier.
    """

    def __init__(self, plan: Plan | None = None, placed: Collection[str] = ()) -> None:
        self._nodes: dict[str, _Work] = {}
        self._verifiers: dict[str, _Work] = {node: _Work() for node in placed}
        self._matches: dict[str, _Matches] = {}
        self._rollbacks = Window()
        if plan is not None:
            self._start_from(plan)

    def record_execution(self, node: str, seconds: float, usd: float | None = None) -> None:
        """One execution of a node ended. `usd` is None when its price is not known."""
        work = self._nodes.get(node) or self._nodes.setdefault(node, _Work())
        work.add(seconds, usd)

    def record_verification(
        self, node: str, seconds: float, usd: float | None = None, *, matched: bool | None = None
    ) -> None:
        """One verification ended. `matched`: whether work built on the output may stand; None after a failure."""
        work = self._verifiers.get(node) or self._verifiers.setdefault(node, _Work())
        work.add(seconds, usd)
        if matched is not None:
            self._matches.setdefault(node, _Matches()).add(matched)

    def record_rollback(self, seconds: float) -> None:
        """One rollback: from the verdict to the start of the first node that ran again."""
        self._rollbacks.add(seconds)

    def latency(self, node: str, share: float = 0.5) -> float | None:
        """The seconds within which this share of a node's executions ended."""
        work = self._nodes.get(node)
        return work.seconds.quantile(share) if work else None

    def usd(self, node: str) -> float | None:
        """The mean price of an execution, since the last one whose price was not known."""
        work = self._nodes.get(node)
        return work.usd.mean if work else None

    def is_placed(self, node: str) -> bool:
        """Whether the node is known to have a verifier."""
        return node in self._verifiers

    def verifier_latency(self, node: str, share: float = 0.5) -> float | None:
        """The seconds within which this share of a node's verifications ended."""
        work = self._verifiers.get(node)
        return work.seconds.quantile(share) if work else None

    def verifier_usd(self, node: str) -> float | None:
        """The mean price of a verification, as for `usd`; 0 for a node without a verifier."""
        work = self._verifiers.get(node)
        return work.usd.mean if work else 0.0

    def match_rate(self, node: str) -> MatchRate:
        """How often verdicts leave a node's output standing; with nothing known, Jeffreys' prior speaks."""
        return self._matches.get(node, _Matches()).posterior

    @property
    def rollback_s(self) -> float:
        """The seconds that a rollback takes."""
        seen = self._rollbacks.quantile(0.5)
        return ROLLBACK_S if seen is None else seen

    def _start_from(self, plan: Plan) -> None:
        for node, figures in plan.nodes.items():
            self._nodes[node] = _Work.expected(figures.latency_s, figures.usd)
        for node, placement in plan.placements.items():
            expected = placement.expected
            if expected is None:
                self._verifiers[node] = _Work()
                continue
            self._verifiers[node] = _Work.expected(expected.latency_s, expected.usd)
            if expected.match_rate is not None:
                self._matches[node] = _Matches(centre=min(max(expected.match_rate, 0.0), 1.0))


class Window:
    """Quantiles and mean of the last `WINDOW` values, exactly: they are kept in order of age and of size."""

    __slots__ = ("_aged", "_lock", "_mean", "_sorted")

    def __init__(self, *values: float) -> None:
        self._lock = threading.Lock()
        self._mean: float | None = None
        self._aged: deque[float] = deque()
        self._sorted: list[float] = []
        for value in values:
            self.add(value)

    def __len__(self) -> int:
        return len(self._aged)

    def add(self, value: float) -> None:
        """Take in a value, and let go of the oldest of too many. What is not finite is not taken in."""
        if not math.isfinite(value):
            return
        with self._lock:
            if len(self._aged) == WINDOW:
                del self._sorted[bisect_left(self._sorted, self._aged.popleft())]
            self._mean = None
            self._aged.append(value)
            insort(self._sorted, value)

    def quantile(self, share: float) -> float | None:
        """The least value that this share of the values does not exceed; None without values."""
        with self._lock:
            if not self._sorted:
                return None
            return self._sorted[max(math.ceil(share * len(self._sorted)) - 1, 0)]

    @property
    def mean(self) -> float | None:
        with self._lock:
            if self._mean is None and self._sorted:
                self._mean = math.fsum(self._sorted) / len(self._sorted)
            return self._mean


@dataclass(slots=True)
class _Work:
    """What one kind of work took."""

    seconds: Window = field(default_factory=Window)
    usd: Window = field(default_factory=Window)

    @classmethod
    def expected(cls, seconds: float | None, usd: float | None) -> "_Work":
        return cls(*(Window(*[figure] * PLAN_WEIGHT if figure is not None else ()) for figure in (seconds, usd)))

    def add(self, seconds: float, usd: float | None) -> None:
        self.seconds.add(seconds)
        if usd is not None:
            self.usd.add(usd)
        elif len(self.usd):
            self.usd = Window()


class _Matches:
    """The Beta posterior of a match rate, over the last verdicts."""

    __slots__ = ("_for", "_lock", "_prior", "_seen")

    def __init__(self, centre: float | None = None) -> None:
        # Half a verdict each way is Jeffreys' prior; it keeps a plan's 0 or 1 from being taken for certain.
        known = (0.0, 0.0) if centre is None else (PLAN_WEIGHT * centre, PLAN_WEIGHT * (1 - centre))
        self._prior = (known[0] + 0.5, known[1] + 0.5)
        self._lock = threading.Lock()
        self._seen: deque[bool] = deque()
        self._for = 0

    def add(self, matched: bool) -> None:
        with self._lock:
            if len(self._seen) == WINDOW:
                self._for -= self._seen.popleft()
            self._seen.append(matched)
            self._for += matched

    @property
    def posterior(self) -> MatchRate:
        with self._lock:
            a, b = self._prior[0] + self._for, self._prior[1] + len(self._seen) - self._for
        mean = a / (a + b)
        deviation = math.sqrt(mean * (1 - mean) / (a + b + 1))
        return MatchRate(mean=mean, upper=min(1.0, mean + deviation))
