"""What a plan may promise: the score of whole plans on cases that they were not chosen on.

A plan that was chosen on the cases that it is judged by promises too much: the choice picks what luck favoured (the
winner's curse). *Cross-fitting* splits the cases, chooses a plan without one part, runs it whole on that part, and puts
the parts together: each case is run once, by a plan that never saw it. The figure is that of the way of choosing, which
had a little less to go by than the plan that is handed over; `benchmarks/sim_promise.py` shows what it covers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sherlock.estimate import Estimate, mean_score, signed_mean
from sherlock.placement.streams import stream

PARTS = 5


@dataclass(frozen=True, slots=True)
class Promise:
    """`score`: what the verified workflow scores; `gain`: over no verifier. Both with intervals over cases."""

    score: Estimate
    gain: Estimate


def parts_of(cases: int, *, parts: int = PARTS, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """Split case indices into `parts` of nearly the same size, or fewer where there are fewer cases.

    For each part a plan is chosen on all the other cases and run whole on this one. Raises ValueError for less than
    two cases or parts.
    """
    if cases < 2 or parts < 2:
        raise ValueError(f"{cases} cases in {parts} parts leave nothing to choose on; give at least two of each")
    order = stream(seed, "parts").permutation(cases).tolist()
    return tuple(tuple(sorted(order[start::parts])) for start in range(min(parts, cases)))


def promise(
    unverified: Sequence[float], verified: Sequence[float], *, parts: int = PARTS, confidence: float = 0.95
) -> Promise:
    """The promise from one score of each case without verifiers, and one under the plan chosen without the case.

    The plans of `parts` parts were chosen on overlapping cases, and none of them is quite the one that is handed over.
    The intervals over cases are widened for that by a factor of Nadeau and Bengio (2003, doi:10.1023/A:1024068626366),
    `sqrt(1 + 1 / (parts - 1))`; without it they cover 88 % at 20 cases.
    """
    if len(unverified) != len(verified):
        raise ValueError(f"there are {len(unverified)} scores without and {len(verified)} with verifiers; give pairs")
    gains = [after - before for before, after in zip(unverified, verified, strict=True)]
    factor = math.sqrt(1 + 1 / (parts - 1))
    return Promise(
        score=_widened(mean_score(verified, confidence), factor, least=0.0),
        gain=_widened(signed_mean(gains, confidence), factor, least=-1.0),
    )


def _widened(estimate: Estimate, factor: float, *, least: float) -> Estimate:
    value = estimate.value
    low, high = value - factor * (value - estimate.low), value + factor * (estimate.high - value)
    return Estimate(value, max(low, least), min(high, 1.0), estimate.n)
