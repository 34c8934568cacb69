"""What a piece of work cost: calls, tokens, dollars, seconds, watt-hours. Unknown is None, never zero."""

from dataclasses import dataclass
from typing import Literal

EnergySource = Literal["measured", "published", "estimated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Watt-hours with the interval they are known to, and where the figure comes from."""

    value: float
    low: float
    high: float
    source: EnergySource

    def __add__(self, other: "Energy") -> "Energy":
        order: tuple[EnergySource, ...] = ("measured", "published", "estimated")
        worst = max(self.source, other.source, key=order.index)
        return Energy(
            value=self.value + other.value,
            low=self.low + other.low,
            high=self.high + other.high,
            source=worst,
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """Model usage, summed. Units: tokens, USD, seconds, watt-hours.

    `calls` counts model calls; `tokens_cached` is the part of `tokens_in` that the server had cached. `usd` and `wh`
    are None as soon as one part of the sum is unknown; `seconds` is time spent in calls, added up (not wall time).
    `estimated` says that a provider reported no usage for some call, so that tokens were estimated from text length.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_cached: int = 0
    usd: float | None = 0.0
    seconds: float = 0.0
    wh: Energy | None = None
    estimated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            calls=self.calls + other.calls,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            tokens_cached=self.tokens_cached + other.tokens_cached,
            usd=None if self.usd is None or other.usd is None else self.usd + other.usd,
            seconds=self.seconds + other.seconds,
            wh=_add_energy(self, other),
            estimated=self.estimated or other.estimated,
        )

    @property
    def tokens(self) -> int:
        """Tokens in and out together."""
        return self.tokens_in + self.tokens_out


def _add_energy(a: Usage, b: Usage) -> Energy | None:
    """A sum is known only if every part that made calls is known."""
    if a.wh is not None and b.wh is not None:
        return a.wh + b.wh
    if a.calls == 0:
        return b.wh
    if b.calls == 0:
        return a.wh
    return None


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Limits:
    """Hard limits on one study: dollars, tokens in and out together, model calls, seconds of wall time.

    None is no limit. Calls answered from recordings or from a store cost nothing and do not count.
    """

    usd: float | None = None
    tokens: int | None = None
    calls: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("usd", "tokens", "calls", "seconds"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"the limit on {name} is {value}; it must be 0 or more")
