"""How far to run on past an output that is not verified yet: pure functions of what is known about times and prices.

arXiv:2511.00330, section 7, speculates on the nodes that end before the verdict is expected (eq. 8: `window`), as long
as the work that a rejection would waste (eq. 6: `expected_waste`) fits the budget (eq. 5). Three things are decided
here beyond it. Without a budget nothing has to be foreseen: the window is what begins before the verdict is there, and
to hold a run back on an estimate saves nothing. With one, the superstep that is under way when the verdict is expected
may begin too, or the run would stand still for the rest of the verification. And what is not known is not held against
speculation, except where a budget has to be kept: a price that is not known cannot be shown to fit, so the run waits,
and learns it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

from sherlock.runtime.learner import Learner
from sherlock.runtime.levels import step_of
from sherlock.runtime.policy import Policy

Why = Literal["blocking", "max_depth", "window", "does not pay", "budget", "price not known"]
"""What ended the speculation: the policy or the node waits; nothing but `max_depth` or the end of the graph; the window
of eq. 8; the time saved is not worth the work lost (`auto`); the budget; a price that the budget would have to hold."""

_TAIL = 0.99


@dataclass(frozen=True, slots=True)
class Decision:
    """How many supersteps may run past an output before its verdict is in; 0 is to wait.

    `expected_waste_usd`: what a rejection is expected to waste, to be added to what the run has spent of its budget.
    A superstep with a price that is not known counts as nothing; that happens only without a budget.
    """

    depth: int
    expected_waste_usd: float
    why: Why


def window(
    levels: Sequence[Collection[str]], latency_s: Mapping[str, float], verifier_latency_s: float
) -> frozenset[str]:
    """The nodes that are expected to end before the verdict (arXiv:2511.00330, section 7, eq. 8).

    `levels[l - 1]` is D_l, the nodes l steps below. A node at depth d is in if the slowest nodes of levels 1 to d take
    less than the verifier, all together; nodes whose latency is not in `latency_s` count as taking no time.
    """
    ended = _ended([_seconds(level, latency_s) for level in levels], verifier_latency_s)
    return frozenset(node for level in levels[:ended] for node in level)


def expected_waste(match_rate: float, costs: Iterable[float]) -> float:
    """What speculation is expected to waste: (1 - m) times the costs of it (arXiv:2511.00330, section 7, eq. 6).

    `match_rate` in [0, 1]; `costs`: of each node in the window, its execution and its verification together.
    """
    return (1 - match_rate) * sum(costs)


def depth_allowed(
    node: str,
    *,
    policy: Policy,
    learner: Learner,
    levels: Sequence[Collection[str]],
    speculate: bool,
    spent_waste: float,
) -> Decision:
    """How far to run on past an output of `node`, asked when its execution ends and its verification begins.

    `levels`: what `levels_below` finds for the node. `speculate`: whether its placement may be run past at all.
    `spent_waste`: the sum of `expected_waste_usd` over the decisions of this run so far. With a budget that sum never
    comes to exceed it.

    `auto` takes the depth at which the seconds that the run is expected to save exceed the seconds of work that it is
    expected to throw away by most: a second of waiting weighs as much as a second of one node's or verifier's work. The
    match rate is taken one standard deviation high, so that speculation is switched off by evidence, not by lack of it.
    """
    levels = levels[: policy.max_depth]
    if policy.mode == "blocking" or not speculate or policy.max_depth == 0:
        return Decision(0, 0.0, "blocking")
    depth, why = _within_window(node, policy, learner, levels)
    if policy.mode == "auto" and (worth := _worth(node, learner, levels, depth)) < depth:
        depth, why = worth, "does not pay"
    match_rate = learner.match_rate(node).mean
    costs = [_cost(level, learner) for level in levels[:depth]]
    if policy.budget is not None:
        depth, limit = _affordable(match_rate, costs, spent_waste, policy.budget)
        why = limit or why
    seen = depth if policy.budget is not None else min(depth, _usual_window(node, learner, levels))
    waste = expected_waste(match_rate, [cost or 0.0 for cost in costs[:seen]])
    # Where the graph ends, there is nothing left to hold back.
    return Decision(policy.max_depth if depth == len(levels) else depth, waste, why)


def _within_window(node: str, policy: Policy, learner: Learner, levels: Sequence[Collection[str]]) -> tuple[int, Why]:
    """The number of levels that are expected to begin before the verdict, but for what a rollback is shorter than."""
    verifier_s = learner.verifier_latency(node, _TAIL if policy.budget is None else 0.5)
    if verifier_s is None or (policy.budget is None and verifier_s > learner.rollback_s):
        return len(levels), "max_depth"
    lengths = _lengths(node, levels, learner)
    ended = _ended(lengths, verifier_s)
    if ended < len(levels) and verifier_s - sum(lengths[:ended]) > learner.rollback_s:
        ended += 1
    return ended, "max_depth" if ended == len(levels) else "window"


def _usual_window(node: str, learner: Learner, levels: Sequence[Collection[str]]) -> int:
    """The number of levels that usually begin before the verdict."""
    verifier_s = learner.verifier_latency(node)
    return len(levels) if verifier_s is None else _ended(_lengths(node, levels, learner), verifier_s) + 1


def _worth(node: str, learner: Learner, levels: Sequence[Collection[str]], deepest: int) -> int:
    """The depth, 0 to `deepest`, with the greatest expected gain in seconds.

    Of equals the deepest: what is not expected to begin costs nothing, and helps when the verifier is slow.
    """
    verifier_s = learner.verifier_latency(node)
    lengths = _lengths(node, levels[:deepest], learner)
    if verifier_s is None or not any(lengths):
        return deepest
    match_rate = learner.match_rate(node).upper
    begins = [0.0, *accumulate(lengths)]
    lost = learner.rollback_s
    gains = [0.0]
    for level, begin, end in zip(levels, begins, begins[1:], strict=False):
        lost += sum(_under_way(name, verifier_s - begin, learner) for name in level)
        gains.append(match_rate * min(verifier_s, end) - (1 - match_rate) * lost)
    return max(range(len(gains)), key=lambda depth: (gains[depth], depth))


def _under_way(node: str, seconds: float, learner: Learner) -> float:
    """How much of a node's work, and of its verifier's, is done within so many seconds."""
    execution = min(max(seconds, 0.0), learner.latency(node) or 0.0)
    return execution + min(max(seconds, 0.0) - execution, learner.verifier_latency(node) or 0.0)


def _affordable(
    match_rate: float, costs: Sequence[float | None], spent: float, budget: float
) -> tuple[int, Why | None]:
    """The greatest depth whose expected waste fits what is left, and what was in the way of more."""
    known: list[float] = []
    for depth, cost in enumerate(costs):
        if cost is None:
            return depth, "price not known"
        known.append(cost)
        if spent + expected_waste(match_rate, known) > budget:
            return depth, "budget"
    return len(costs), None


def _cost(level: Collection[str], learner: Learner) -> float | None:
    """The dollars of one level, its verifications included; None when one of them is not known."""
    total = 0.0
    for node in level:
        execution, verification = learner.usd(node), learner.verifier_usd(node)
        if execution is None or verification is None:
            return None
        total += execution + verification
    return total


def _lengths(node: str, levels: Sequence[Collection[str]], learner: Learner) -> list[float]:
    """The usual seconds of each level below a node."""
    known = {name: learner.latency(name) or 0.0 for level in levels for name in level}
    return [_seconds(level, known, node) for level in levels]


def _seconds(level: Collection[str], latency_s: Mapping[str, float], beside: str = "") -> float:
    """The time of a level's slowest step; the nodes of one subgraph are taken to run one after another."""
    steps: dict[str, float] = {}
    for name in level:
        step = step_of(name, beside)
        steps[step] = steps.get(step, 0.0) + latency_s.get(name, 0.0)
    return max(steps.values(), default=0.0)


def _ended(lengths: Sequence[float], verifier_s: float) -> int:
    """How many levels, one after another, take less time than the verifier."""
    return sum(end < verifier_s for end in accumulate(lengths))
