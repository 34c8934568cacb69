"""Keeps a study within its limits: counts calls before they are made, and what they cost after."""

import time
from dataclasses import dataclass, field

from sherlock.errors import LimitReached
from sherlock.usage import NO_USAGE, Limits, Usage


@dataclass(slots=True)
class Budget:
    """What may still be spent. A call is counted before it is made, so `calls` is exact under concurrency."""

    limits: Limits = field(default_factory=Limits)
    spent: Usage = NO_USAGE
    calls_begun: int = 0
    started: float = field(default_factory=time.monotonic)
    reached: str | None = None

    def before_call(self, model: str) -> None:  # noqa: ARG002  (the hook's signature)
        """Raise `LimitReached` where another call is over the limit; else count it."""
        if self.limits.calls is not None and self.calls_begun >= self.limits.calls:
            self._stop(f"{self.limits.calls} model calls")
        self.check()
        self.calls_begun += 1

    def check(self) -> None:
        """Raise `LimitReached` where a limit is reached."""
        if self.limits.seconds is not None and time.monotonic() - self.started >= self.limits.seconds:
            self._stop(f"{self.limits.seconds:g} seconds")
        if self.limits.tokens is not None and self.spent.tokens >= self.limits.tokens:
            self._stop(f"{self.limits.tokens} tokens")
        if self.limits.usd is not None and self.spent.usd is None:
            self._stop(
                f"{self.limits.usd:g} dollars (the price of a model is unknown, so no more could be spent safely; "
                "add it under [tool.sherlock.prices])"
            )
        if self.limits.usd is not None and self.spent.usd is not None and self.spent.usd >= self.limits.usd:
            self._stop(f"{self.limits.usd:g} dollars")

    def spend(self, usage: Usage) -> None:
        """Book what calls that were really made have cost."""
        self.spent += usage

    def _stop(self, limit: str) -> None:
        self.reached = f"limit reached: {limit}"
        raise LimitReached(self.reached)
