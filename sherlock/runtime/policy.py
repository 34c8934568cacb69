"""How a plan is run: when to go on before a verdict, how far, and what happens when something fails."""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from sherlock.errors import PlanError

Mode = Literal["speculate", "blocking", "auto"]
OnLimit = Literal["raise", "flag"]
OnFailure = Literal["closed", "open"]
Stream = Literal["hold", "mark"]


@dataclass(frozen=True, slots=True)
class Policy:
    """How the runtime treats what is not verified yet (arXiv:2511.00330, section 7).

    `mode`: `speculate` goes on within the window of eq. 8, `blocking` waits for every verdict, `auto` goes on where the
    time that it expects to save is worth the work that it expects to lose. `budget`: dollars of expected waste per run
    (eq. 5), None for no limit. `max_depth`: supersteps that may be unverified at once. `max_rollbacks`: per run, after
    which `on_limit` raises `RollbackLimit` or accepts what comes, flagged. `verifier_timeout_s`: seconds for one
    verification; `max_verifiers_in_flight`: verifications at once, over all runs of one guard. `on_failure`: a verifier
    that fails raises `VerifierError` (`closed`) or leaves the output as it is, flagged (`open`). `stream`: `hold` gives
    out only what is committed, `mark` everything at once, with retractions.

    Raises `PlanError` for a field that is out of range.
    """

    mode: Mode = "speculate"
    budget: float | None = None
    max_depth: int = 8
    max_rollbacks: int = 8
    on_limit: OnLimit = "raise"
    verifier_timeout_s: float = 60
    max_verifiers_in_flight: int = 64
    on_failure: OnFailure = "closed"
    stream: Stream = "hold"

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            _check_choice(name, getattr(self, name), known)
        for name, least in _COUNTS.items():
            _check_count(name, getattr(self, name), least)
        if self.budget is not None and not (_is_number(self.budget) and self.budget >= 0):
            raise PlanError(
                f"the policy's budget is {self.budget!r:.60}: give dollars, 0 or more, or None for no limit"
            )
        if not _is_number(self.verifier_timeout_s) or self.verifier_timeout_s <= 0:
            raise PlanError(f"the policy's verifier_timeout_s is {self.verifier_timeout_s!r:.60}: give seconds over 0")

    @classmethod
    def of(cls, *layers: "Policy | Mapping[str, Any] | None") -> Self:
        """The policy of several layers, the first before the second: guard's argument, then `plan.policy`.

        A mapping says only the fields that it has, a `Policy` says them all. Raises `PlanError` for a layer that is
        neither, for a field that there is not, and for a value out of range.
        """
        fields: dict[str, Any] = {}
        for layer in reversed(layers):
            fields.update(_fields_of(layer))
        return cls(**fields)


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "mode": get_args(Mode),
    "on_limit": get_args(OnLimit),
    "on_failure": get_args(OnFailure),
    "stream": get_args(Stream),
}
_COUNTS: Mapping[str, int] = {"max_depth": 0, "max_rollbacks": 0, "max_verifiers_in_flight": 1}


def _fields_of(layer: Any) -> dict[str, Any]:
    known = tuple(field.name for field in dataclasses.fields(Policy))
    if layer is None:
        return {}
    if isinstance(layer, Policy):
        return {name: getattr(layer, name) for name in known}
    if not isinstance(layer, Mapping):
        raise PlanError(f"{layer!r:.80} is no policy: give a Policy, or a mapping of its fields")
    for name in layer:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.0)[0]
            raise PlanError(f"a policy has no field {name!r}: did you mean {near!r}?")
    return dict(layer)


def _check_choice(name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.0)[0]
        raise PlanError(f"the policy's {name} is {value!r:.60}: use one of {', '.join(known)} ({near!r}?)")


def _check_count(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise PlanError(f"the policy's {name} is {value!r:.60}: give a whole number of at least {least}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
