"""From single verifications to the rows of a calibration: estimates, shrinkage, price, examples."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sherlock.analysis.artefact import latency
from sherlock.analysis.calibration import Calibration, CalibrationRow, CalibrationTiming, Tried, VerdictExample
from sherlock.analysis.verdicts import Outcome
from sherlock.estimate import Estimate, mean_score, proportion, signed_mean
from sherlock.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from sherlock.analysis.calibrate import Calibrator
    from sherlock.analysis.verdicts import Entrant

PRIOR = 4
"""How many natural wrong cases the injected faults are worth when a repair rate is shrunk."""

EXAMPLES = 3


def label_of(name: str, settings: Mapping[str, Any]) -> str:
    """A verifier with its settings as one text, equal for equal settings."""
    return f"{name} {json.dumps(settings, sort_keys=True, ensure_ascii=False)}" if settings else name


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A row over some of its cases, per run. `gain`: the plain mean; `changed`: the share of runs that went on changed;
    `correction`: the share of injected faults that were put right; None if there were none.
    """

    n: int
    gain: float
    shrunk_gain: float
    se: float
    repaired: float
    broken: float
    changed: float
    correction: float | None


def figures(tried: Collection[Tried]) -> Figures | None:
    """The figures of a row from its cases; None without any."""
    if not tried:
        return None
    n = len(tried)
    gain = math.fsum(t.gain for t in tried) / n
    spread = math.fsum((t.gain - gain) ** 2 for t in tried)
    corrected = [t.corrected / t.faults for t in tried if t.faults]
    return Figures(
        n=n,
        gain=gain,
        shrunk_gain=_shrunk(tried),
        se=math.sqrt((spread + 0.5) / (n * (n + 1))),
        repaired=sum(t.gain > 0 for t in tried) / n,
        broken=sum(t.gain < 0 for t in tried) / n,
        changed=sum(t.changed for t in tried) / n,
        correction=math.fsum(corrected) / len(corrected) if corrected else None,
    )


def _shrunk(tried: Collection[Tried]) -> float:
    """The mean gain, with the repairs pulled towards what the injected faults say; harm from natural outputs only.

    Repair probability = (natural repairs + 4 x prior) / (wrong runs + 4). The prior is the share of injected faults
    whose repair brought score, times the share of wrong runs in which the verifier changed the output: what it leaves
    alone it does not repair, and most runs that come out wrong went wrong at another node. Without that factor gains
    come out 4 points too high at 20 cases; with it they are right on average, and the plan that is chosen by them
    loses a quarter less than one chosen by plain means (`benchmarks/sim_shrinkage.py`).
    """
    n = len(tried)
    mean = math.fsum(t.gain for t in tried) / n
    wrong = [t for t in tried if t.before < 1.0]
    faults = sum(t.faults for t in tried)
    if not wrong or not faults:
        return mean
    room = math.fsum(1.0 - t.before for t in wrong) / len(wrong)
    up = math.fsum(t.gain for t in wrong if t.gain > 0)
    down = math.fsum(t.gain for t in tried if t.gain < 0)
    prior = sum(t.repaired for t in tried) / faults * sum(t.changed for t in wrong) / len(wrong)
    probability = (up / room + PRIOR * prior) / (len(wrong) + PRIOR)
    return (probability * room * len(wrong) + down) / n


def gains(outcomes: Sequence[Outcome], node: str, label: str) -> dict[int, float]:
    """Case by case, what the verifier did to the final score on the node's own outputs."""
    return {o.case: o.gain for o in _natural(outcomes, node, label)}


def costs_no_more(outcomes: Sequence[Outcome], node: str, one: str, other: str) -> bool:
    """Whether a verification by `one` takes no more dollars, tokens and calls than by `other`, as far as known.

    Seconds do not count: what is dropped must not depend on the clock.
    """
    first, second = (_each(_natural(outcomes, node, label)) for label in (one, other))
    if (first.usd is None) != (second.usd is None):
        return False
    cheap = (first.usd or 0.0) <= (second.usd or 0.0)
    return cheap and first.tokens <= second.tokens and first.calls <= second.calls


@dataclass(frozen=True, slots=True)
class _Price:
    usd: float | None
    tokens: float
    calls: float


def _each(found: Sequence[Outcome]) -> _Price:
    n, usage = max(1, len(found)), _sum(found)
    return _Price(None if usage.usd is None else usage.usd / n, usage.tokens / n, usage.calls / n)


def summarise(calibrator: "Calibrator", partial: str | None) -> Calibration:
    """Put the artefact together."""
    settings, rounds = calibrator.settings, calibrator.rounds
    usable = [record for record in calibrator.records if not record.skipped]
    scores = [record.score for record in usable]
    placed = [(node, each) for node in calibrator.targets for each in calibrator.entrants(node)]
    ordered = sorted(calibrator.outcomes, key=_order)
    found = [_row(calibrator, node, each, ordered) for node, each in placed]
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
        visits={node: sum(len(record.latencies.get(node, ())) for record in usable) / len(usable) for node in nodes},
        skipped=[f"case {record.id!r} {record.skipped}" for record in calibrator.records if record.skipped],
        trials=rounds.totals.trials,
        verifications=len(calibrator.outcomes),
        node_executions=rounds.totals.node_executions,
        usage=rounds.totals.usage + _sum(ordered),
        partial=partial,
        forecast=calibrator.forecast,
        timing=CalibrationTiming(
            seconds=calibrator.elapsed_s,
            spent=rounds.totals.spent,
            rows=_latencies(ordered),
            nodes={node: [sum(record.latencies.get(node, ())) for record in usable] for node in nodes},
        ),
    )


def _row(calibrator: "Calibrator", node: str, each: "Entrant", ordered: Sequence[Outcome]) -> CalibrationRow:
    confidence = calibrator.settings.confidence
    natural = _natural(ordered, node, each.label)
    injected = [o for o in ordered if (o.node, o.label, o.kind) == (node, each.label, "injected")]
    answered = [o for o in injected if o.failure is None]
    alarms = [o.rejected for o in natural if o.was_right and o.failure is None]
    names = {record.index: record.id for record in calibrator.records}
    tried = _tried(natural, injected, calibrator, each.label, node)
    found = figures(tried.values()) if natural else None
    failures = [o.failure for o in (*natural, *injected) if o.failure is not None]
    return CalibrationRow(
        node=node,
        verifier=each.name,
        label=each.label,
        settings=None if each.settings is None else dict(each.settings),
        gain=signed_mean([t.gain for t in tried.values()], confidence) if natural else None,
        shrunk_gain=found.shrunk_gain if found else 0.0,
        se=found.se if found else 0.0,
        repaired=_share([t.gain > 0 for t in tried.values()], confidence) if natural else None,
        broken=_share([t.gain < 0 for t in tried.values()], confidence) if natural else None,
        match_rate=_share([o.matched for o in natural], confidence),
        detection=_by_case([(o.case, float(o.rejected)) for o in answered], confidence),
        correction=_by_case([(o.case, float(o.correct_now or 0)) for o in answered], confidence),
        false_alarm=_share(alarms, confidence),
        verifications=len(natural) + len(injected),
        failures=len(failures),
        failure=failures[0] if failures else None,
        usage=_sum(natural),
        cases={names[case]: it for case, it in tried.items()},
        dropped=calibrator.dropped.get((node, each.label)),
        examples=_examples(natural, names),
        latency_s=latency([o.seconds for o in natural]),
    )


def _tried(
    natural: Sequence[Outcome], injected: Sequence[Outcome], calibrator: "Calibrator", label: str, node: str
) -> dict[int, Tried]:
    """Case by case, in case order."""
    scores = {record.index: record.score for record in calibrator.records}
    found = {case: Tried(reached=False, before=scores[case]) for case in calibrator.absent.get((node, label), ())}
    for o in natural:
        faults = [it for it in injected if it.case == o.case and it.failure is None]
        found[o.case] = Tried(
            before=o.before_score,
            gain=o.gain,
            changed=not o.matched,
            faults=len(faults),
            repaired=sum(it.gain > 0 for it in faults),
            corrected=sum(bool(it.correct_now) for it in faults),
        )
    return dict(sorted(found.items()))


def _natural(outcomes: Sequence[Outcome], node: str, label: str) -> list[Outcome]:
    return [o for o in outcomes if (o.node, o.label, o.kind) == (node, label, "natural")]


def _order(outcome: Outcome) -> tuple[str, str, str, int]:
    """Outcomes come as they end; sums and first examples must not depend on that."""
    return outcome.node, outcome.label, outcome.kind, outcome.case


def _sum(outcomes: Sequence[Outcome]) -> Usage:
    return sum((o.usage for o in outcomes), NO_USAGE)


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
    )


def _latencies(outcomes: Sequence[Outcome]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for o in outcomes:
        if o.kind == "natural":
            found.setdefault(o.node, {}).setdefault(o.label, []).append(o.seconds)
    return found
