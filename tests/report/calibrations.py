"""Calibrations and plans made by hand, as the reports get them."""

from analyses import HOSTILE, USAGE, estimate

from sherlock.analysis.artefact import Forecast, Latency
from sherlock.analysis.calibration import Calibration, CalibrationRow, CalibrationTiming, VerdictExample
from sherlock.estimate import mean_score, proportion
from sherlock.placement.plan import Expectation, NodeFigures, Placement, PlacementFigures, Plan, Rejected, Seconds
from sherlock.placement.slo import SLO
from sherlock.usage import Energy, Usage

LATENCY = Latency(mean=0.42, p50=0.4, p90=0.6, n=20)
WH = Energy(value=0.4, low=0.1, high=1.2, source="published")
PRICED = Usage(calls=20, tokens_in=4000, tokens_out=240, usd=0.04, wh=WH)


def verdict(**changes):
    fields = {"case": "7", "before": "9 + 5 = 15", "after": "9 + 5 = 14", "rejected": True, "gain": 1.0}
    return VerdictExample(**{**fields, **changes})


def row(node="add", verifier="resolve", gain=0.3, low=None, high=None, **changes):
    label = changes.pop("label", verifier)
    fields = {
        "node": node,
        "verifier": verifier,
        "label": label,
        "settings": {},
        "gain": None if gain is None else estimate(gain, low, high, 20),
        "shrunk_gain": gain or 0.0,
        "se": 0.05,
        "repaired": estimate(0.3, 0.14, 0.52, 20),
        "broken": estimate(0.0, 0.0, 0.12, 20),
        "match_rate": estimate(0.7, 0.48, 0.86, 20),
        "detection": estimate(0.9, 0.7, 1.0, 14),
        "correction": estimate(0.8, 0.6, 0.9, 14),
        "false_alarm": estimate(0.05, 0.0, 0.2, 14),
        "verifications": 34,
        "failures": 0,
        "usage": PRICED,
        "latency_s": LATENCY,
        "examples": (verdict(), verdict(gain=0.0, after="9 + 5 = 15", rejected=False)),
    }
    return CalibrationRow(**{**fields, **changes})


def calibration(rows=None, *, right=14, wrong=6, **changes):
    """20 cases, 14 of them right; one verifier that helps, one that may do nothing, one that harms."""
    if rows is None:
        rows = [
            row(),
            row("reply", "self-reflection", 0.02, -0.1, 0.1),
            row("read", "vote", -0.2, -0.4, -0.05, dropped="beaten by resolve on 12 cases, at no lower price"),
        ]
    scores = [1.0] * right + [0.0] * wrong
    fields = {
        "fingerprint": "f" * 16,
        "graph": {},
        "settings": {"confidence": 0.95, "pass_mark": 1.0, "seed": 0},
        "baseline": mean_score(scores) if scores else None,
        "accuracy": proportion(right, right + wrong) if scores else None,
        "scores": {str(place): score for place, score in enumerate(scores)},
        "rows": rows,
        "trials": 120,
        "verifications": 102,
        "node_executions": 310,
        "usage": USAGE,
        "forecast": Forecast(cases=20, nodes=3, trials=180, node_executions=900, basis="at most"),
        "timing": CalibrationTiming(seconds=151.2, spent=USAGE),
    }
    return Calibration(**{**fields, **changes})


def hostile_calibration():
    """Every foreign text is out to break a report."""
    bad = verdict(case=HOSTILE, before=HOSTILE, after="", failure=None)
    lost = verdict(case=HOSTILE, before=HOSTILE * 9, after=HOSTILE * 9, failure=HOSTILE)
    name = HOSTILE[:60]
    return calibration(
        [
            row(name, name, 0.9, examples=(bad, lost), failures=3, failure=HOSTILE, settings={HOSTILE: HOSTILE}),
            row(name, name, 0.1, label=f"{name} {HOSTILE}", settings={HOSTILE: [HOSTILE]}, dropped=HOSTILE),
            row("n" * 300, "v" * 300, -0.5, -0.9, -0.1, usage=Usage(calls=20, tokens_in=9, usd=None)),
            row("| --- |", "| --- |", None, match_rate=None, latency_s=None, examples=()),
        ],
        notes=[HOSTILE],
        skipped=[HOSTILE],
        partial=HOSTILE,
    )


def plan(placements=None, **changes):
    """Two nodes verified out of three, run whole."""
    figures = PlacementFigures(gain=estimate(0.3), match_rate=0.7, usd=0.002, wh=WH, latency_s=0.4, tokens=212, calls=1)
    if placements is None:
        placements = {
            "add": Placement(verifier="check", settings={"regex": "[0-9]+"}, why="gained most", expected=figures),
            "reply": Placement(verifier="resolve", on_reject="flag", expected=figures),
        }
    seconds = Seconds(mean=1.2, p50=1.0, p95=2.5, p99=4.0)
    fields = {
        "placements": placements,
        "expectation": Expectation(
            basis="measured jointly",
            score=estimate(0.9, 0.8, 0.97, 40),
            gain=estimate(0.2, 0.1, 0.3, 40),
            usd=0.004,
            wh=WH,
            tokens=424,
            calls=2.2,
            latency_s=seconds,
            execution_s=seconds,
            blocking_s=seconds,
        ),
        "slo": SLO(min_accuracy=0.85, max_usd=0.01),
        "rejected": (Rejected(node="read", verifier="vote", why="it gained nothing here"),),
        "nodes": {name: NodeFigures(latency_s=0.2, usd=0.001) for name in ("read", "add", "reply")},
    }
    return Plan(**{**fields, **changes})


def hostile_plan():
    """Every foreign text is out to break a report."""
    name = HOSTILE[:60]
    placements = {
        name: Placement(verifier=name, settings={HOSTILE: HOSTILE}, why=HOSTILE),
        "n" * 300: Placement(verifier="v" * 300, why=HOSTILE * 9),
    }
    rejected = tuple(Rejected(node=name, verifier=HOSTILE * 4, why=HOSTILE * 4) for _ in range(90))
    return plan(placements, rejected=rejected, notes=(HOSTILE,))
