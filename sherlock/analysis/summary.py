"""From what was measured on each case to the artefact: estimates, ranking, tiers, examples, forecast."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from sherlock.analysis import vulnerability as v
from sherlock.analysis.artefact import (
    Analysis,
    CaseResult,
    Example,
    FaultEffect,
    Forecast,
    NodeAnalysis,
    Timing,
    latency,
)
from sherlock.analysis.determinism import ENOUGH
from sherlock.analysis.faults import TABLE_1
from sherlock.analysis.records import CaseRecord, Outcome
from sherlock.estimate import Estimate, cluster_jeffreys, mean_score, proportion
from sherlock.graph import WorkflowGraph
from sherlock.usage import NO_USAGE

if TYPE_CHECKING:
    from sherlock.analysis.rounds import Rounds
    from sherlock.analysis.study import Settings

SHARES: Mapping[str, float] = dict[str, float](TABLE_1.items())

EXAMPLES = 4
"""Examples kept for each node: the costliest faults, different ones first."""

RankedBy = Literal["criticality", "vulnerability"]


def forecast(workflow: WorkflowGraph, targets: Sequence[str], cases: int, settings: "Settings") -> Forecast:
    """An upper bound on what an analysis executes, from the topology alone."""
    kinds = len({fault.kind for fault in settings.faults})
    injections = kinds * settings.faults_per_kind
    suffix = sum(len(workflow.downstream(node)) + 1 for node in targets)
    probes = min(cases, ENOUGH) * len(workflow.order)
    node_executions = cases * (len(workflow.order) + suffix * (injections + 1)) + probes
    return Forecast(
        cases=cases,
        nodes=len(targets),
        trials=cases * len(targets) * injections,
        node_executions=node_executions,
        model_calls=node_executions,
        basis=(
            "if every fault fits everywhere, nothing is masked or shared, and the ranking never settles; "
            "a node that calls a model once makes one call for each execution"
        ),
    )


def refined(first: Forecast, workflow: WorkflowGraph, records: Sequence[CaseRecord], settings: "Settings") -> Forecast:
    """The forecast again, with the calls and dollars that each node took in the cases that have run."""
    per_run = {name: _mean_usage(records, name) for name in workflow.order}
    injections = len({fault.kind for fault in settings.faults}) * settings.faults_per_kind + 1
    weight = dict.fromkeys(workflow.order, 1)
    for node in (name for name in workflow.order if settings.nodes is None or name in settings.nodes):
        for later in (node, *workflow.downstream(node)):
            if later in weight:
                weight[later] += injections
    calls = first.cases * sum(weight[name] * count for name, (count, _) in per_run.items())
    known = [weight[name] * usd for name, (_, usd) in per_run.items() if usd is not None]
    usd = first.cases * sum(known) if len(known) == len(per_run) else None
    return first.model_copy(
        update={
            "model_calls": math.ceil(calls),
            "usd": usd,
            "basis": f"{first.basis}; calls and dollars as in the {len(records)} cases that have run",
        }
    )


def _mean_usage(records: Sequence[CaseRecord], node: str) -> tuple[float, float | None]:
    usages = [record.usage.get(node, NO_USAGE) for record in records]
    total = sum(usages, NO_USAGE)
    return total.calls / len(records), None if total.usd is None else total.usd / len(records)


def measured_nodes(records: Sequence[CaseRecord]) -> set[str]:
    """The nodes at which a fault was injected in some case whose clean run was right."""
    return {outcome.node for record in records if record.right for outcome in record.outcomes}


def settlement(records: Sequence[CaseRecord], targets: Sequence[str], look: int, settings: "Settings") -> v.Settlement:
    """What may be said about the ranking now."""
    by, values = _ranked_values(records, targets)
    scale = 2.0 if by == "criticality" else 1.0  # a difference of gains spans [-2, 2], which `settle` takes as [-1, 1]
    scaled = {node: {case: x / scale for case, x in cases.items()} for node, cases in values.items()}
    enough = sum(record.right for record in records) >= v.MIN_CASES
    found = v.settle(
        scaled, look=look, top=settings.top, margin=settings.margin / scale, confidence=settings.confidence
    )
    if enough:
        return found
    return v.Settlement(settled=False, top=found.top, open_nodes=frozenset(targets), tiers=found.tiers)


def ranking_so_far(
    records: Sequence[CaseRecord], targets: Sequence[str], settings: "Settings"
) -> tuple[tuple[str, Estimate], ...]:
    """Nodes with their vulnerability so far, the most vulnerable first."""
    found = {
        node: estimate
        for node in targets
        if (estimate := v.vulnerability(_losses(records, node, right=True), SHARES, settings.confidence)) is not None
    }
    return tuple(sorted(found.items(), key=lambda item: (-item[1].value, item[0])))


def summarise(
    *,
    workflow: WorkflowGraph,
    targets: Sequence[str],
    settings: "Settings",
    scorer: str,
    records: Sequence[CaseRecord],
    rounds: "Rounds",
    settlement: v.Settlement | None,
    forecast: Forecast,
    partial: str | None,
    seconds: float,
) -> Analysis:
    """Put the artefact together."""
    usable = [record for record in records if not record.skipped]
    scores = [record.score for record in usable]
    nodes = {name: _node(name, workflow, usable, rounds, settings, settlement) for name in targets if usable}
    by: RankedBy = _ranked_by(usable, targets)
    totals = rounds.totals
    return Analysis(
        fingerprint=workflow.fingerprint,
        graph=workflow.describe(),
        settings={**settings.listed(), "scorer": scorer},
        baseline=mean_score(scores, settings.confidence) if scores else None,
        accuracy=proportion(sum(r.right for r in usable), len(usable), settings.confidence) if usable else None,
        nodes=nodes,
        ranking=_ranking(nodes, by),
        ranked_by=by,
        settled=settlement.settled if settlement and not partial else False,
        tiers=[list(tier) for tier in settlement.tiers] if settlement else [],
        cases=[
            CaseResult(id=r.id, score=None if r.skipped else r.score, right=r.right, error=r.error) for r in records
        ],
        skipped=[f"case {record.id!r} {record.skipped}" for record in records if record.skipped],
        notes=_notes(usable, workflow, nodes, targets),
        trials=totals.trials,
        node_executions=totals.node_executions,
        node_executions_full=totals.full,
        model_calls=totals.usage.calls,
        usage=totals.usage,
        partial=partial,
        forecast=forecast,
        timing=Timing(
            seconds=seconds,
            spent=totals.spent,
            nodes={name: node.latency_s for name, node in nodes.items() if node.latency_s is not None},
        ),
    )


def _node(
    name: str,
    workflow: WorkflowGraph,
    records: Sequence[CaseRecord],
    rounds: "Rounds",
    settings: "Settings",
    settlement: v.Settlement | None,
) -> NodeAnalysis:
    place = workflow.nodes[name]
    confidence = settings.confidence
    right, wrong = _losses(records, name, right=True), _losses(records, name, right=False)
    harm, help_ = v.vulnerability(right, SHARES, confidence), v.rescue(wrong, SHARES, confidence)
    accuracy = proportion(sum(r.right for r in records), len(records), confidence)
    outcomes = [o for record in records for o in record.outcomes if o.node == name]
    gains = [record.gains[name] for record in records if name in record.gains]
    errors = [record.wrong[name] for record in records if name in record.wrong]
    latencies = [s for record in records for s in record.latencies.get(name, ())]
    usages = [record.usage[name] for record in records if name in record.usage]
    categories = [record.categories[name] for record in records if name in record.categories]
    return NodeAnalysis(
        name=name,
        role=place.role,
        fan_in=place.fan_in,
        fan_out=place.fan_out,
        depth=place.depth,
        dominator_share=place.dominator_share,
        category=statistics.mode(categories) if categories else None,
        vulnerability=harm,
        rescue=help_,
        exposure=v.exposure(accuracy, harm, help_),
        fault_rate=v.fault_rate(errors, confidence),
        own_fault_rate=v.fault_rate(_own_errors(name, workflow, records), confidence),
        criticality=v.repair_gain(gains, confidence),
        instability=_instability(name, rounds, confidence),
        tier=next((i + 1 for i, tier in enumerate(settlement.tiers) if name in tier), None) if settlement else None,
        kinds=tuple(kind for kind in SHARES if any(loss.kind == kind for loss in right)),
        by_fault=_by_fault(outcomes, records, confidence),
        deterministic=rounds.determinism.shows([name]),
        trials=len(outcomes),
        masked=sum(outcome.masked for outcome in outcomes),
        errors=sum(outcome.error is not None for outcome in outcomes),
        usage=sum(usages, NO_USAGE),
        examples=_examples(outcomes, records),
        latency_s=latency(latencies),
    )


def _losses(records: Sequence[CaseRecord], node: str, *, right: bool) -> list[v.Loss]:
    return [
        v.Loss(record.index, outcome.kind, outcome.loss)
        for record in records
        if record.right == right
        for outcome in record.outcomes
        if outcome.node == node
    ]


def _ranked_by(records: Sequence[CaseRecord], targets: Sequence[str]) -> RankedBy:
    """Criticality where every node that ran has one measured."""
    ran = {node for record in records for node in record.latencies if node in targets}
    with_gain = {node for record in records for node in record.gains}
    return "criticality" if ran and ran <= with_gain else "vulnerability"


def _ranked_values(
    records: Sequence[CaseRecord], targets: Sequence[str]
) -> tuple[RankedBy, dict[str, dict[int, float]]]:
    by = _ranked_by(records, targets)
    values: dict[str, dict[int, float]] = {}
    for node in targets:
        if by == "criticality":
            found = {record.index: record.gains[node] for record in records if node in record.gains}
        else:
            losses = _losses(records, node, right=True)
            found = v.case_values(losses, SHARES)[1] if losses else {}
        if found:
            values[node] = found
    return by, values


def _ranking(nodes: dict[str, NodeAnalysis], by: RankedBy) -> list[str]:
    def place(name: str) -> tuple[float, str]:
        estimate: Estimate | None = getattr(nodes[name], by)
        return (-estimate.value if estimate is not None else 2.0, name)

    return sorted(nodes, key=place)


def _own_errors(node: str, workflow: WorkflowGraph, records: Sequence[CaseRecord]) -> list[float]:
    """Whether the node was wrong, case by case, where all that ran right before it are known to have been right."""
    before = {edge.source for edge in workflow.edges if edge.target == node} & set(workflow.nodes) - {node}
    return [
        record.wrong[node]
        for record in records
        if node in record.wrong
        and all(record.wrong.get(source) == 0 for source in before if source in record.latencies)
    ]


def _by_fault(outcomes: Sequence[Outcome], records: Sequence[CaseRecord], confidence: float) -> dict[str, FaultEffect]:
    """The mean loss of each fault that was drawn on clean-right cases; one value a case."""
    right = {record.index for record in records if record.right}
    losses: dict[str, dict[int, list[float]]] = {}
    kinds: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.case in right:
            kinds[outcome.fault] = outcome.kind
            losses.setdefault(outcome.fault, {}).setdefault(outcome.case, []).append(outcome.loss)
    return {
        fault: FaultEffect(
            kind=kinds[fault],
            loss=cluster_jeffreys([statistics.fmean(case) for _, case in sorted(losses[fault].items())], confidence),
        )
        for fault in sorted(losses)
    }


def _instability(name: str, rounds: "Rounds", confidence: float) -> Estimate | None:
    """How often re-executions on the same input differ; unknown where recordings answered for the model."""
    if rounds.determinism.recorded and name in rounds.calling:
        return None
    return v.instability(rounds.determinism.disagreements(name), confidence)


def _examples(outcomes: Sequence[Outcome], records: Sequence[CaseRecord]) -> tuple[Example, ...]:
    names = {record.index: record.id for record in records}
    costly = sorted(outcomes, key=lambda o: (-o.loss, o.case, o.visit, o.kind, o.fault))
    chosen: dict[str, Outcome] = {}
    for outcome in costly:
        chosen.setdefault(outcome.fault, outcome)
    return tuple(
        Example(
            case=names[o.case],
            visit=o.visit,
            kind=o.kind,
            fault=o.fault,
            before=o.before,
            after=o.after,
            answer=o.answer,
            score=o.score,
            sham_score=o.sham_score,
            masked=o.masked,
            error=o.error,
        )
        for o in list(chosen.values())[:EXAMPLES]
    )


def _notes(
    records: Sequence[CaseRecord], workflow: WorkflowGraph, nodes: dict[str, NodeAnalysis], targets: Sequence[str]
) -> list[str]:
    """What a reader must know before believing the figures."""
    notes = []
    right = sum(record.right for record in records)
    if right < v.MIN_CASES:
        notes.append(
            f"only {right} clean runs were right, fewer than {v.MIN_CASES}: nothing is called settled; add cases"
        )
    for name in targets:
        if name in nodes and nodes[name].vulnerability is None:
            ran = any(name in record.latencies for record in records)
            why = "no fault fitted it in a case that was right" if ran else "no case reached it"
            notes.append(f"{name} has no vulnerability: {why}")
    if workflow.unreachable:
        notes.append(f"never reached from the start, so left out: {', '.join(workflow.unreachable)}")
    return notes
