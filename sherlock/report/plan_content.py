"""What the reports of a plan say: the sentence that matters, placements, expectations, what was not taken."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from sherlock.placement.plan import Expectation, Placement, PlacementFigures, Plan, Seconds
from sherlock.report.figures import amount, count, dollars, duration, figure, percent
from sherlock.report.sentence import Sentence, names
from sherlock.report.tables import Column, telling
from sherlock.report.texts import Name
from sherlock.usage import Energy

LISTED = 3
BASES = {
    "measured jointly": "measured: whole plans were run on cases that they were not chosen on",
    "modelled": "modelled: a model of how faults travel, not a run, says what the verifiers do together",
    "screened only": "screened only: nothing was run whole, so it may promise too much",
}
GOALS = {
    "accuracy": "the highest score",
    "usd": "the fewest dollars",
    "latency_s": "the least latency",
    "wh": "the fewest watt-hours",
}
LIMITS: Mapping[str, Callable[[Any], str]] = {
    "min_accuracy": lambda x: f"a mean score of {x:g} or more",
    "max_usd": lambda x: f"at most {dollars(x)} for verification",
    "max_latency_s": lambda x: f"the last verdict within {x:g} s in 95 % of runs",
    "max_wh": lambda x: f"at most {x:g} Wh for verification",
    "max_verifiers": lambda x: f"at most {count(int(x), 'verifier')}",
    "max_verifier_calls": lambda x: f"at most {x:g} model calls by verifiers",
}


def headline(plan: Plan) -> Sentence:
    """What to verify with what, what that is expected to bring, and how that is known."""
    if not plan.placements:
        return _nothing(plan)
    expected = plan.expectation
    placed: list[str] = []
    for place, (node, placement) in enumerate(list(plan.placements.items())[:LISTED]):
        placed += [", " if place else "", Name(node), " with ", Name(placement.verifier)]
    more = len(plan.placements) - LISTED
    listed = ("Verify ", *placed, f", and {count(more, 'more node')}" if more > 0 else "")
    if expected is None:
        return (*listed, ".")
    if expected.score is None or expected.gain is None:
        return (*listed, ", by where they stand in the graph alone: nothing was measured.")
    hedge = ", which may be nothing" if expected.gain.low <= 0 else ""
    brings = f": the score is expected to be {figure(expected.score)}, a gain of {figure(expected.gain)}{hedge}"
    return (*listed, brings, f", {price(expected)}; ", f"{BASES[expected.basis]}.")


def _nothing(plan: Plan) -> Sentence:
    nodes = list(dict.fromkeys(each.node for each in plan.rejected))
    if not nodes:
        return ("Verify nothing: there is no verifier to choose from.",)
    return ("Verify nothing: within what was asked no verifier is worth its price at ", *names(nodes, "or"), ".")


def price(expected: Expectation) -> str:
    """What verification adds to a run, in a few words."""
    if not expected.usd and expected.usd is not None and not expected.tokens:
        return "without a model call"
    parts = []
    if expected.usd:
        parts.append(dollars(expected.usd))
    elif expected.usd is None:
        parts.append("an unknown price")
    if expected.tokens:
        parts.append(f"{expected.tokens:,.0f} tokens")
    return f"for {' and '.join(parts)} a run"


def columns(plan: Plan) -> list[Column[Placement]]:
    """What each placed verifier does by itself, per run."""

    def cell(of: Callable[[PlacementFigures], str | None]) -> Callable[[Placement], str | None]:
        return lambda placement: None if placement.expected is None else of(placement.expected)

    def shown(name: str, how: Callable[[float], str]) -> Callable[[Placement], str | None]:
        def text(expected: PlacementFigures) -> str | None:
            value = getattr(expected, name)
            return None if value is None else how(value)

        return cell(text)

    found: list[Column[Placement]] = [
        Column("gain", cell(lambda e: None if e.gain is None else figure(e.gain)), "by itself"),
        Column("match rate", shown("match_rate", lambda x: percent(round(x, 2)))),
        Column("tokens", shown("tokens", lambda x: f"{x:,.0f}")),
        Column("dollars", shown("usd", dollars)),
        Column("s", shown("latency_s", amount)),
        Column("calls", shown("calls", amount)),
        Column("Wh", cell(lambda e: None if e.wh is None else watt_hours(e.wh))),
    ]
    if any(placement.on_reject != "correct" for placement in plan.placements.values()):
        found.append(Column("on reject", lambda placement: placement.on_reject, is_number=False))
    return telling(found, list(plan.placements.values()))


def reasons(plan: Plan) -> list[tuple[str, str]]:
    """For each placement its verifier with its settings, and why it was taken."""
    return [
        (node, f"{label(placement)}; {placement.why}" if placement.why else label(placement))
        for node, placement in plan.placements.items()
    ]


def label(placement: Placement) -> str:
    """The verifier with its settings."""
    settings = json.dumps(placement.settings, sort_keys=True, ensure_ascii=False) if placement.settings else ""
    return f"{placement.verifier} {settings}".strip()


def expectations(plan: Plan) -> list[tuple[str, str]]:
    """What the plan is expected to do to a run, as label and text."""
    expected = plan.expectation
    if expected is None:
        return []
    known = [
        ("score", None if expected.score is None else figure(expected.score)),
        ("gain", None if expected.gain is None else figure(expected.gain)),
        ("basis", BASES[expected.basis] if expected.score is not None else None),
        ("dollars", None if expected.usd is None else f"{dollars(expected.usd)} for verification"),
        ("watt-hours", None if expected.wh is None else f"{watt_hours(expected.wh)}, for verification"),
        ("tokens", None if expected.tokens is None else f"{expected.tokens:,.0f} for verification"),
        ("model calls", None if expected.calls is None else f"{amount(expected.calls)} for verification"),
        ("last verdict", _seconds(expected.latency_s)),
        ("last node", _seconds(expected.execution_s)),
        ("if blocking", _seconds(expected.blocking_s)),
    ]
    return [(name, text) for name, text in known if text is not None]


def asked(plan: Plan) -> list[tuple[str, str]]:
    """What the plan was made for, as label and text."""
    limits = [LIMITS[name](value) for name, value in plan.slo.asked().items()]
    return [("goal", GOALS[plan.objective]), ("within", "; ".join(limits) or "no limit")]


def not_taken(plan: Plan) -> list[tuple[str, str]]:
    """The rows that were not taken, each with the reason."""
    return [(each.node, f"{each.verifier}: {each.why}") for each in plan.rejected]


def watt_hours(wh: Energy) -> str:
    """`0.012 [0.004, 0.03] Wh, estimated`."""
    return f"{amount(wh.value)} [{amount(wh.low)}, {amount(wh.high)}] {wh.source}"


def _seconds(seconds: Seconds | None) -> str | None:
    if seconds is None:
        return None
    tail = f"p95 {_short(seconds.p95)}, p99 {_short(seconds.p99)}"
    return f"mean {_short(seconds.mean)}, median {_short(seconds.p50)}, {tail}"


def _short(seconds: float) -> str:
    return f"{amount(seconds)} s" if seconds < 1 else duration(seconds)
