"""What is asked of a plan: limits on one run, and what to make best within them."""

import difflib
import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

from sherlock.errors import PlanError

Objective = Literal["accuracy", "usd", "latency_s", "wh"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
LATENCY_QUANTILE = 0.95
"""`max_latency_s` holds for this share of runs."""


class SLOError(PlanError, ValueError):
    """An SLO that nothing can meet, or that is no SLO."""


@dataclass(frozen=True, slots=True)
class SLO:
    """Limits on one run. None is no limit.

    `min_accuracy`: mean final score, in [0, 1]. `max_usd`, `max_wh`, `max_verifier_calls`: the mean that verification
    adds to a run, with what is done again after a rejection: dollars, watt-hours, model calls of verifiers.
    `max_latency_s`: seconds until the last verdict is in, for 95 % of runs, the workflow's own time included.
    `max_verifiers`: nodes that have one.

    Raises `SLOError` (a `PlanError` and a `ValueError`) for a value that is out of range.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  (read by pydantic where an SLO stands in a plan)

    min_accuracy: float | None = None
    max_usd: float | None = None
    max_latency_s: float | None = None
    max_wh: float | None = None
    max_verifiers: int | None = None
    max_verifier_calls: float | None = None

    def __post_init__(self) -> None:
        for name, value in self.asked().items():
            if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
                raise SLOError(f"{name} is {value!r}; give a number, or leave it out for no limit")
            if value < 0:
                raise SLOError(f"{name} is {value}; it cannot be negative")
        if self.min_accuracy is not None and self.min_accuracy > 1:
            raise SLOError(f"min_accuracy is {self.min_accuracy}; scores lie in [0, 1], so give 0.9 for 90 %")
        if self.max_latency_s == 0:
            raise SLOError("max_latency_s is 0; no run takes no time, so give the seconds that one may take")
        if self.max_verifiers is not None and self.max_verifiers != int(self.max_verifiers):
            raise SLOError(f"max_verifiers is {self.max_verifiers}; give a whole number")

    def asked(self) -> dict[str, float]:
        """The limits that are set, by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    def check(self, baseline: float | None = None) -> None:
        """Raise `SLOError` for limits that contradict each other, given the score without any verifier, if known."""
        if self.max_verifiers != 0 or self.min_accuracy is None or baseline is None:
            return
        if self.min_accuracy > baseline:
            raise SLOError(
                f"min_accuracy {self.min_accuracy} is above the {baseline:.3g} reached unverified, and "
                "max_verifiers 0 forbids every verifier; allow some, or ask for less"
            )


def known_objective(name: str) -> Objective:
    """Return `name` if it is an objective; `SLOError` with the nearest one if not."""
    for objective in OBJECTIVES:
        if name == objective:
            return objective
    near = difflib.get_close_matches(str(name), OBJECTIVES, n=1, cutoff=0.0)
    raise SLOError(f"there is no objective {name!r}; did you mean {near[0]!r}? There are {', '.join(OBJECTIVES)}")
