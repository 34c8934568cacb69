"""What is remembered of each case when its replays are over: small, so that thousands of trials fit in memory."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sherlock.interpose.calls import ModelCall
from sherlock.models.prices import Prices
from sherlock.usage import NO_USAGE, Usage

SHOWN = 600
"""Characters of a text that are kept to be shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One injection: where, what, and what became of the score. `loss` = score of the sham less that of the fault."""

    case: int
    node: str
    visit: int
    kind: str
    fault: str
    before: str
    after: str
    answer: str
    score: float
    sham_score: float
    masked: bool
    error: str | None

    @property
    def loss(self) -> float:
        return self.sham_score - self.score


@dataclass(slots=True, kw_only=True)
class CaseRecord:
    """A case: how its clean run went, and what was measured on it, node by node."""

    index: int
    id: str
    score: float = 0.0
    right: bool = False
    error: str | None = None
    skipped: str | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    gains: dict[str, float] = field(default_factory=dict)
    wrong: dict[str, float] = field(default_factory=dict)
    latencies: dict[str, list[float]] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)
    categories: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Totals:
    """Sums over everything that ran: `full` is what re-running the whole workflow each time would have executed."""

    trials: int = 0
    shams: int = 0
    node_executions: int = 0
    full: int = 0
    spent: Usage = NO_USAGE
    resumed: int = 0
    _usage: Usage = NO_USAGE
    _usd: list[float] = field(default_factory=list)

    def use(self, usage: Usage) -> None:
        """Add what a line has used."""
        self._usage += usage
        if usage.usd:
            self._usd.append(usage.usd)

    @property
    def usage(self) -> Usage:
        """What all lines have used. Dollars are summed exactly, so that their sum has no order."""
        return self._usage if self._usage.usd is None else replace(self._usage, usd=math.fsum(self._usd))


def metered(calls: Iterable[ModelCall], prices: Prices) -> Usage:
    """What calls have cost, energy included; watt-hours are unknown as soon as those of one call are."""
    return sum((replace(call.usage, wh=prices.wh(call.model, call.usage)) for call in calls), NO_USAGE)


def shown(text: str) -> str:
    """A text cut to what is shown, with a mark where it was cut."""
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
