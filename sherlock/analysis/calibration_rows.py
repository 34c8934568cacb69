"""From single verifications to the rows of a calibration: estimates, shrinkage, price, examples."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sherlock.analysis.artefact import latency
from sherlock.analysis.calibration import Calibration, CalibrationRow, CalibrationTiming, VerdictExample
from sherlock.analysis.verdicts import Outcome
from sherlock.estimate import Estimate, mean_score, proportion, signed_mean
from sherlock.usage import NO_USAGE

if TYPE_CHECKING:
    from sherlock.analysis.calibrate import Calibrator
    from sherlock.analysis.verdicts import Entrant

PRIOR = 4
"""How many natural wrong cases the injected faults are worth when a repair rate is shrunk."""

EXAMPLES = 3


def label_of(name: str, settings: Mapping[str, Any]) -> str:
    """A verifier with its settings as one text, equal for equal settings."""
    return f"{name} {json.dumps(settings, sort_keys=True, ensure_ascii=False)}" if settings else name


def gains(outcomes: Sequence[Outcome], node: str, label: str) -> dict[int, float]:
    """Case by case, what the verifier did to the final score on the node's own outputs."""
    return {o.case: o.gain for o in _natural(outcomes, node, label)}


def price(outcomes: Sequence[Outcome], node: str, label: str) -> tuple[float, float]:
    """What one verification costs: dollars, else tokens, and seconds; for comparisons only."""
    found = _natural(outcomes, node, label)
    usage = sum((o.usage for o in found), NO_USAGE)
    spent = usage.usd or float(usage.tokens)
    return (spent / max(1, len(found)), sum(o.seconds for o in found) / max(1, len(found)))


def summarise(calibrator: "Calibrator", partial: str | None) -> Calibration:
    """Put the artefact together."""
    settings, rounds = calibrator.settings, calibrator.rounds
    usable = [record for record in calibrator.records if not record.skipped]
    names = {record.index: record.id for record in usable}
    scores = [record.score for record in usable]
    placed = [(node, each) for node in calibrator.targets for each in calibrator.entrants(node)]
    found = [_row(calibrator, node, each, names) for node, each in placed]
    verified = sum((o.usage for o in calibrator.outcomes), NO_USAGE)
    nodes = sorted({node for record in usable for node in record.latencies})
    return Calibration(
        fingerprint=calibrator.workflow.fingerprint,
        graph=calibrator.workflow.describe(),
        settings={**settings.listed(), "scorer": calibrator.scorer.name},
        baseline=mean_score(scores, settings.confidence) if scores else None,
        accuracy=proportion(sum(r.right for r in usable), len(usable), settings.confidence) if usable else None,
        scores={record.id: record.score for record in usable},
        rows=found,
        categories={node: category for record in usable for node, category in record.categories.items()},
        node_usage={
            node: sum((record.usage[node] for record in usable if node in record.usage), NO_USAGE) for node in nodes
        },
        skipped=[f"case {record.id!r} {record.skipped}" for record in calibrator.records if record.skipped],
        trials=rounds.totals.trials,
        verifications=len(calibrator.outcomes),
        node_executions=rounds.totals.node_executions,
        usage=rounds.totals.usage + verified,
        partial=partial,
        forecast=calibrator.forecast,
        timing=CalibrationTiming(
            seconds=calibrator.elapsed_s,
            spent=rounds.totals.spent,
            rows=_latencies(calibrator.outcomes),
            nodes={node: [sum(record.latencies.get(node, ())) for record in usable] for node in nodes},
        ),
    )


def _row(calibrator: "Calibrator", node: str, each: "Entrant", names: Mapping[int, str]) -> CalibrationRow:
    confidence = calibrator.settings.confidence
    natural = sorted(_natural(calibrator.outcomes, node, each.label), key=lambda o: o.case)
    injected = [o for o in calibrator.outcomes if (o.node, o.label, o.kind) == (node, each.label, "injected")]
    answered = [o for o in injected if o.failure is None]
    alarms = [float(o.rejected) for o in natural if o.was_right and o.failure is None]
    shrunk, se = _shrunk(natural, injected, {r.index: r.score for r in calibrator.records})
    failures = [o.failure for o in (*natural, *injected) if o.failure is not None]
    return CalibrationRow(
        node=node,
        verifier=each.name,
        label=each.label,
        settings=None if each.settings is None else dict(each.settings),
        gain=signed_mean([o.gain for o in natural], confidence) if natural else None,
        shrunk_gain=shrunk,
        se=se,
        repaired=_share([o.gain > 0 for o in natural], confidence),
        broken=_share([o.gain < 0 for o in natural], confidence),
        match_rate=_share([o.matched for o in natural], confidence),
        detection=_by_case([(o.case, float(o.rejected)) for o in answered], confidence),
        correction=_by_case([(o.case, float(o.correct_now or 0)) for o in answered], confidence),
        false_alarm=_share([bool(alarm) for alarm in alarms], confidence),
        verifications=len(natural) + len(injected),
        failures=len(failures),
        failure=failures[0] if failures else None,
        usage=sum((o.usage for o in natural), NO_USAGE),
        gains={names[o.case]: o.gain for o in natural if o.case in names},
        dropped=calibrator.dropped.get((node, each.label)),
        examples=_examples(natural, names),
        latency_s=latency([o.seconds for o in natural]),
    )


def _natural(outcomes: Sequence[Outcome], node: str, label: str) -> list[Outcome]:
    return [o for o in outcomes if (o.node, o.label, o.kind) == (node, label, "natural")]


def _shrunk(
    natural: Sequence[Outcome], injected: Sequence[Outcome], scores: Mapping[int, float]
) -> tuple[float, float]:
    """The gain pulled towards the injected repair rate, and the standard error of the plain gain.

    Repair probability = (natural flips up + 4 x injected repair rate) / (natural wrong + 4); harm from natural outputs
    only. Faults that are injected are easier to repair than real ones, so they only fill in for few wrong cases.
    """
    if not natural:
        return 0.0, 0.0
    n = len(natural)
    mean = math.fsum(o.gain for o in natural) / n
    spread = math.fsum((o.gain - mean) ** 2 for o in natural)
    se = math.sqrt((spread + 0.5) / (n * (n + 1)))
    wrong = [o for o in natural if scores.get(o.case, 0.0) < 1.0]
    if not wrong or not injected:
        return mean, se
    up = math.fsum(o.gain for o in wrong if o.gain > 0)
    room = math.fsum(1.0 - scores.get(o.case, 0.0) for o in wrong) / len(wrong)
    repairs = math.fsum(o.gain > 0 for o in injected) / len(injected)
    down = math.fsum(o.gain for o in natural if o.gain < 0)
    probability = (up / room + PRIOR * repairs * _was_wrong(wrong)) / (len(wrong) + PRIOR)
    return (probability * room * len(wrong) + down) / n, se


def _was_wrong(wrong: Sequence[Outcome]) -> float:
    """The share of wrong runs in which this node's output was wrong: only there could a repair here help."""
    known = [o for o in wrong if o.was_right is not None]
    return 1.0 if not known else math.fsum(not o.was_right for o in known) / len(known)


def _share(values: Sequence[bool], confidence: float) -> Estimate | None:
    return proportion(sum(values), len(values), confidence) if values else None


def _by_case(values: Sequence[tuple[int, float]], confidence: float) -> Estimate | None:
    """The mean of shares, one for each case: the case is the unit."""
    cases: dict[int, list[float]] = {}
    for case, value in values:
        cases.setdefault(case, []).append(value)
    return mean_score([math.fsum(v) / len(v) for _, v in sorted(cases.items())], confidence) if cases else None


def _examples(natural: Sequence[Outcome], names: Mapping[int, str]) -> tuple[VerdictExample, ...]:
    """Those that changed the score most come first, then rejections."""
    ordered = sorted(natural, key=lambda o: (-abs(o.gain), not o.rejected, o.case))
    return tuple(
        VerdictExample(
            case=names[o.case],
            before=o.before,
            after=o.after,
            rejected=o.rejected,
            gain=o.gain,
            failure=o.failure,
        )
        for o in ordered[:EXAMPLES]
        if o.case in names
    )


def _latencies(outcomes: Sequence[Outcome]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for o in sorted(outcomes, key=lambda o: (o.node, o.label, o.case)):
        if o.kind == "natural":
            found.setdefault(o.node, {}).setdefault(o.label, []).append(o.seconds)
    return found
