"""From runs to figures: levels, paired differences, verdicts by node, and whether the plan's promise was kept.

Repeats are averaged within their case first; the case is the unit. See `docs/validate.md`.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from sherlock import paired
from sherlock.estimate import ROUNDING, Estimate, mean_score, signed_mean
from sherlock.placement.plan import Expectation, Plan
from sherlock.placement.plan import Seconds as Promised
from sherlock.runtime.events import RunReport
from sherlock.runtime.validation import Figures, NodeVerdicts, PromiseCheck, Seconds, Times, Way
from sherlock.runtime.validation_runs import Ran

FEWEST = 8
"""With fewer cases nothing is said about a promise."""

Runs = Mapping[int, Sequence[Ran]]
"""The runs of one way, by case."""

_COSTS: Mapping[str, Callable[[Ran], float | None]] = {
    "usd": lambda ran: ran.usage.usd,
    "tokens": lambda ran: ran.usage.tokens,
    "calls": lambda ran: ran.usage.calls,
    "wh": lambda ran: 0.0 if not ran.usage.calls else None if ran.usage.wh is None else ran.usage.wh.value,
}


def of_way(ran: Sequence[Ran], way: Way) -> Runs:
    """The runs of one way, by case, in the order of the cases and repeats."""
    found: dict[int, list[Ran]] = {}
    for each in sorted((r for r in ran if r.way == way), key=lambda r: (r.case, r.repeat)):
        found.setdefault(each.case, []).append(each)
    return found


def level(runs: Runs, confidence: float) -> Figures:
    """What one way of running does, per run."""
    if not runs:
        return Figures()
    scores = [_mean(each, lambda ran: ran.score) or 0.0 for each in runs.values()]
    costs = {name: _per_case(runs, of) for name, of in _COSTS.items()}
    return Figures(
        score=mean_score(scores, confidence),
        **{name: None if values is None else paired.mean(values, confidence) for name, values in costs.items()},
    )


def difference(after: Runs, before: Runs, confidence: float) -> Figures:
    """How much more `after` has than `before`, over the cases that both have."""
    after, before = _common(after, before)
    gains = gains_of(after, before)
    if not gains:
        return Figures()
    found: dict[str, Estimate | None] = {}
    for name, of in _COSTS.items():
        mine, theirs = _per_case(after, of), _per_case(before, of)
        if mine is not None and theirs is not None:
            found[name] = paired.mean([a - b for a, b in zip(mine, theirs, strict=True)], confidence)
    return Figures(score=signed_mean(list(gains.values()), confidence), **found)


def gains_of(after: Runs, before: Runs) -> dict[int, float]:
    """By case, the mean score of `after` less that of `before`."""
    found = {}
    for case in after.keys() & before.keys():
        mine, theirs = _mean(after[case], lambda ran: ran.score), _mean(before[case], lambda ran: ran.score)
        found[case] = (mine or 0.0) - (theirs or 0.0)
    return dict(sorted(found.items()))


def changed(gains: Mapping[int, float], sign: int) -> list[int]:
    """The cases that were repaired (`sign` 1) or broken (-1)."""
    return [case for case, gain in gains.items() if sign * gain > ROUNDING]


def times(runs: Runs, seed: int, confidence: float) -> Times:
    """How long the runs of one way took; those that raised are left out."""
    whole = _without_errors(runs)

    def seconds(of: Callable[[Ran], float]) -> Seconds:
        cases = [[of(ran) for ran in each] for each in whole.values()]
        found = {name: paired.quantile(cases, q, seed=seed, confidence=confidence) for name, q in _QUANTILES.items()}
        return Seconds(mean=paired.mean([math.fsum(c) / len(c) for c in cases], confidence), **found)

    return Times(t_exec_s=seconds(lambda ran: ran.t_exec_s), t_vrf_s=seconds(lambda ran: ran.t_vrf_s))


def times_difference(after: Runs, before: Runs, seed: int, confidence: float) -> Times:
    """How much longer the runs of `after` took, over the cases that both have; runs that raised are left out."""
    mine, theirs = _common(_without_errors(after), _without_errors(before))

    def seconds(of: Callable[[Ran], float]) -> Seconds:
        a, b = ([[of(ran) for ran in each] for each in side.values()] for side in (mine, theirs))
        found = {
            name: paired.quantile_difference(b, a, share, seed=seed, confidence=confidence)
            for name, share in _QUANTILES.items()
        }
        gaps = [math.fsum(x) / len(x) - math.fsum(y) / len(y) for x, y in zip(a, b, strict=True)]
        return Seconds(mean=paired.mean(gaps, confidence), **found)

    return Times(t_exec_s=seconds(lambda ran: ran.t_exec_s), t_vrf_s=seconds(lambda ran: ran.t_vrf_s))


def verdicts(runs: Runs, confidence: float) -> list[NodeVerdicts]:
    """What the verifier of each node said, nodes by name."""
    placed = {(e.node, e.verifier) for r in _reports(runs) for e in r.verdicts}
    placed |= {(e.node, e.verifier) for r in _reports(runs) for e in r.failures}
    return [_node_verdicts(runs, node, verifier, confidence) for node, verifier in sorted(placed)]


def _node_verdicts(runs: Runs, node: str, verifier: str, confidence: float) -> NodeVerdicts:
    by_case = [
        [e for ran in each for report in ran.reports for e in report.verdicts if e.node == node]
        for each in runs.values()
    ]
    shares = [sum(e.matched for e in events) / len(events) for events in by_case if events]
    said = [e for events in by_case for e in events]
    return NodeVerdicts(
        node=node,
        verifier=verifier,
        match_rate=mean_score(shares, confidence) if shares else None,
        verdicts=len(said),
        rejected=sum(not e.accepted for e in said),
        failures=sum(e.node == node for report in _reports(runs) for e in report.failures),
    )


def promised(plan: Plan | None, guarded: Figures, gained: Figures, cases: int) -> tuple[list[PromiseCheck], str]:
    """What the plan promises beside what was measured, and why nothing can be decided ("" where it can)."""
    expected = plan.expectation if plan is not None else None
    if expected is None:
        return [], "the plan promises nothing"
    checks = [
        _check("score", expected.score, guarded.score, enough=cases >= FEWEST),
        _check("gain", expected.gain, gained.score, enough=cases >= FEWEST),
        *(_beside(name, getattr(expected, name), getattr(gained, name)) for name in ("usd", "tokens", "calls")),
        _beside("wh", expected.wh.value if expected.wh else None, gained.wh),
    ]
    found = [check for check in checks if check is not None]
    if expected.score is None and expected.gain is None:
        return found, "the plan promises no score"
    return found, f"{cases} cases are too few, it takes {FEWEST}" if cases < FEWEST else ""


def promised_times(expected: Expectation | None, guarded: Times, blocking: Times | None) -> list[PromiseCheck]:
    """The promised mean times beside what was measured."""
    if expected is None:
        return []
    checks = [
        _beside("t_exec_s", _mean_of(expected.execution_s), guarded.t_exec_s.mean),
        _beside("t_vrf_s", _mean_of(expected.latency_s), guarded.t_vrf_s.mean),
        _beside("blocking_s", _mean_of(expected.blocking_s), None if blocking is None else blocking.t_vrf_s.mean),
    ]
    return [check for check in checks if check is not None]


def is_kept(promise: Estimate, measured: Estimate) -> bool | None:
    """Whether a promise was kept: False where it is refuted, None where that cannot be decided.

    It is refuted where the upper end of the interval of the difference, measured less promised, is below 0. That
    interval is put together from the two by variance recovery (Zou and Donner 2008, doi:10.1002/sim.3095); with
    intervals of 95 % the test is one-sided at 2.5 %. It is kept where the measured value is at least the lower end of
    what was promised.
    """
    gap = measured.value - promise.value
    if gap + math.hypot(measured.high - measured.value, promise.value - promise.low) < -ROUNDING:
        return False
    return True if measured.value >= promise.low - ROUNDING else None


def _check(figure: str, promise: Estimate | None, measured: Estimate | None, *, enough: bool) -> PromiseCheck | None:
    if promise is None:
        return None
    kept = is_kept(promise, measured) if enough and measured is not None else None
    return PromiseCheck(figure=figure, promised=promise, measured=measured, kept=kept)  # type: ignore[arg-type]


def _beside(figure: str, promise: float | None, measured: Estimate | None) -> PromiseCheck | None:
    """A figure without an interval of its own: shown, and nothing is decided by it."""
    if promise is None:
        return None
    return PromiseCheck(figure=figure, promised=promise, measured=measured)  # type: ignore[arg-type]


def _mean_of(seconds: Promised | None) -> float | None:
    return None if seconds is None else seconds.mean


_QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def _per_case(runs: Runs, of: Callable[[Ran], float | None]) -> list[float] | None:
    """The mean of each case; None where a run does not know it."""
    values = [_mean(each, of) for each in runs.values()]
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else None


def _mean(ran: Sequence[Ran], of: Callable[[Ran], float | None]) -> float | None:
    values = [of(each) for each in ran]
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _common(a: Runs, b: Runs) -> tuple[Runs, Runs]:
    both = sorted(a.keys() & b.keys())
    return {case: a[case] for case in both}, {case: b[case] for case in both}


def _without_errors(runs: Runs) -> Runs:
    whole = {case: [ran for ran in each if ran.error is None] for case, each in runs.items()}
    return {case: each for case, each in whole.items() if each}


def _reports(runs: Runs) -> list[RunReport]:
    return [report for each in runs.values() for ran in each for report in ran.reports]
