"""Analyses made by hand, as the reports get them."""

from sherlock.analysis.artefact import Analysis, CaseResult, Example, FaultEffect, Forecast, NodeAnalysis, Timing
from sherlock.estimate import Estimate, mean_score, proportion
from sherlock.usage import Usage

KINDS = ("prompt", "context", "output")
USAGE = Usage(calls=412, tokens_in=51_000, tokens_out=4_100, usd=0.0, seconds=80.0)


def estimate(value, low=None, high=None, n=12):
    return Estimate(
        value, max(-1.0, value - 0.15) if low is None else low, min(1.0, value + 0.1) if high is None else high, n
    )


def example(**changes):
    fields = {
        "case": "7",
        "visit": 0,
        "kind": "output",
        "fault": "off_by_one",
        "before": "9 + 5 = 14",
        "after": "9 + 5 = 15",
        "answer": "Dear Ann, that is $15.",
        "score": 0.0,
        "sham_score": 1.0,
        "masked": False,
    }
    return Example(**{**fields, **changes})


def node(name, value=0.5, **changes):
    fields = {
        "name": name,
        "role": "middle",
        "fan_in": 1,
        "fan_out": 1,
        "depth": 1,
        "dominator_share": 1.0,
        "category": "number",
        "vulnerability": None if value is None else estimate(value),
        "rescue": estimate(0.02, -0.05, 0.1, 8),
        "exposure": estimate(0.4, 0.2, 0.6, 20),
        "instability": estimate(0.0, 0.0, 0.2, 5),
        "tier": 1,
        "kinds": KINDS,
        "by_fault": {"off_by_one": FaultEffect(kind="output", loss=estimate(1.0, 0.6, 1.0, 4))},
        "trials": 36,
        "masked": 4,
        "usage": USAGE,
        "examples": (example(), example(fault="negated", after="no", visit=1, masked=True, score=1.0)),
    }
    return NodeAnalysis(**{**fields, **changes})


def analysis(nodes=None, *, right=12, wrong=8, **changes):
    """20 cases, 12 of them right, three nodes in two tiers, settled; change what a test is about."""
    if nodes is None:
        nodes = [node("work_total", 0.93, tier=1), node("compose", 0.4, tier=2), node("check", 0.1, tier=2)]
    tiers = [[n.name for n in nodes if n.tier == tier] for tier in sorted({n.tier for n in nodes if n.tier})]
    scores = [1.0] * right + [0.25] * wrong
    cases = [CaseResult(id=str(i + 1), score=score, right=score == 1) for i, score in enumerate(scores)]
    fields = {
        "fingerprint": "f" * 16,
        "graph": {},
        "settings": {"top": 1, "margin": 0.1, "confidence": 0.95, "pass_mark": 1.0, "scorer": "strict", "seed": 0},
        "baseline": mean_score(scores) if scores else None,
        "accuracy": proportion(right, right + wrong) if scores else None,
        "nodes": {n.name: n for n in nodes},
        "ranking": [n.name for n in nodes],
        "settled": True,
        "tiers": tiers,
        "cases": cases,
        "trials": sum(n.trials for n in nodes),
        "node_executions": 310,
        "node_executions_full": 1000,
        "model_calls": USAGE.calls,
        "usage": USAGE,
        "forecast": Forecast(cases=len(cases), nodes=len(nodes), trials=180, node_executions=900, basis="at most"),
        "timing": Timing(seconds=151.2, spent=USAGE),
    }
    return Analysis(**{**fields, **changes})


HOSTILE = (
    "[bold red]x[/] | a\\|b `c` *d* _e_ <script>alert(1)</script> &amp; $x$ ~~f~~ @octocat #12 https://e.org www.e.org "
    "\x1b[31mred\x1b[0m \r\n- item\n# head\n| - | - |\n\u202egnp.exe \u200b\x07 😀👩‍🚀 e\u0301 日本語 ﷽ \ud800 1. x"
)


def hostile():
    """An analysis whose every foreign text is out to break a report."""
    name = HOSTILE[:60]
    bad = example(
        case=HOSTILE, fault=HOSTILE, kind="output", before=HOSTILE, after="", answer=HOSTILE * 9, error=HOSTILE
    )
    nodes = [
        node(name, 0.9, examples=(bad, bad), by_fault={HOSTILE: FaultEffect(kind="output", loss=estimate(0.5))}),
        node("n" * 300, 0.2, tier=2),
        node("| --- |", 0.1, tier=2, examples=()),
        node("a" * 40 + "1", None, tier=None, kinds=()),
        node("a" * 40 + "2", None, tier=None, kinds=()),
    ]
    cases = [CaseResult(id=HOSTILE, score=0.0, right=False, error=HOSTILE), CaseResult(id="2", score=1.0, right=True)]
    return analysis(
        nodes, cases=cases, notes=[HOSTILE, f"{name} has no vulnerability"], skipped=[HOSTILE], partial=HOSTILE
    )
