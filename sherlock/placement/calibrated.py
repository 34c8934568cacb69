"""From a calibration to what a plan is chosen from: the rows that a plan may hold, and the workload, per run."""

import dataclasses
from collections.abc import Collection, Sequence

from sherlock.analysis.calibration import Calibration, CalibrationRow
from sherlock.analysis.calibration_rows import Figures, figures
from sherlock.estimate import mean_score
from sherlock.graph import WorkflowGraph
from sherlock.placement.plan import Rejected
from sherlock.placement.rows import Row, Work, Workload
from sherlock.usage import Energy, Usage


def rows_of(calibration: Calibration) -> tuple[list[Row], list[Rejected]]:
    """The rows that a plan may hold, and those that it may not, with the reason."""
    rows, left_out = [], []
    for each in calibration.rows:
        found = figures(each.cases.values())
        if each.gain is None or found is None:
            left_out.append(Rejected(node=each.node, verifier=each.label, why="it was never tried: no case reached it"))
        elif each.settings is None:
            why = "it was not made from a name with settings that a file can hold, so no plan can hold it"
            left_out.append(Rejected(node=each.node, verifier=each.label, why=why))
        elif each.dropped:
            left_out.append(Rejected(node=each.node, verifier=each.label, why=each.dropped))
        elif each.failures == each.verifications:
            why = f"it gave no verdict at all ({each.failure})"
            left_out.append(Rejected(node=each.node, verifier=each.label, why=why))
        else:
            rows.append(_row(calibration, each, found))
    return rows, left_out


def rows_without(
    calibration: Calibration, rows: Sequence[Row], workload: Workload, held_out: Collection[str]
) -> tuple[list[Row], Workload]:
    """The rows and the workload with the gains as they would be had some cases, by their ids, never been run.

    What verification costs and how long it takes is still known from all cases.
    """
    fitted = []
    for row in rows:
        found = calibration.row(row.node, row.label)
        kept = [it for case, it in found.cases.items() if case not in held_out] if found else []
        if found is not None and (seen := figures(kept)) is not None:
            fitted.append(_with_gains(row, seen, _again(calibration, found)))
    scores = [score for case, score in calibration.scores.items() if case not in held_out]
    baseline = mean_score(scores) if scores else workload.baseline
    return fitted, dataclasses.replace(workload, baseline=baseline)


def workload_of(calibration: Calibration, workflow: WorkflowGraph) -> Workload:
    """The workflow with what its nodes took in the clean runs. Edges that point back are left out."""
    order = [name for name in workflow.order if name in calibration.timing.nodes]
    position = {name: index for index, name in enumerate(order)}
    runs = max(1, len(calibration.scores))
    edges = [(edge.source, edge.target) for edge in workflow.edges if edge.kind != "possible"]
    return Workload(
        nodes={name: _work(calibration.node_usage.get(name), calibration.timing.nodes[name], runs) for name in order},
        edges=[
            (source, target)
            for source, target in edges
            if source in position and target in position and position[source] < position[target]
        ],
        baseline=calibration.baseline,
    )


def _row(calibration: Calibration, each: CalibrationRow, found: Figures) -> Row:
    """Means per run: a run may come to the node never, once, or several times, and each visit is verified."""
    reached = sum(it.reached for it in each.cases.values())
    again = _again(calibration, each)
    per_run = again * reached / found.n
    usage = each.usage
    seconds = [again * each_s for each_s in calibration.latencies(each.node, each.label)]
    costs = Row(
        node=each.node,
        verifier=each.verifier,
        settings=each.settings or {},
        gain=0.0,
        usd=None if usage.usd is None else usage.usd / reached * per_run,
        wh=_share(usage.wh, per_run / reached),
        tokens=usage.tokens / reached * per_run,
        calls=usage.calls / reached * per_run,
        latency_s=[*seconds, *[0.0] * (found.n - reached)],
    )
    return _with_gains(costs, found, again)


def _with_gains(row: Row, found: Figures, again: float) -> Row:
    return dataclasses.replace(
        row,
        gain=found.shrunk_gain,
        se=found.se,
        match_rate=1.0 - min(1.0, found.changed * again),
        repaired=found.repaired,
        broken=found.broken,
        correction=found.correction,
    )


def _again(calibration: Calibration, each: CalibrationRow) -> float:
    """How often a run that comes to the node visits it, at least once. Verifiers were tried at the first visit."""
    reached = sum(it.reached for it in each.cases.values())
    visits = calibration.visits.get(each.node, 0.0)
    return max(1.0, visits * len(each.cases) / reached) if reached else 1.0


def _work(usage: Usage | None, latencies: Sequence[float], runs: int) -> Work:
    if usage is None:
        return Work(latency_s=latencies)
    return Work(
        latency_s=latencies,
        usd=None if usage.usd is None else usage.usd / runs,
        wh=_share(usage.wh, 1 / runs),
        tokens=usage.tokens / runs,
        calls=usage.calls / runs,
    )


def _share(wh: Energy | None, factor: float) -> Energy | None:
    return wh and Energy(value=wh.value * factor, low=wh.low * factor, high=wh.high * factor, source=wh.source)
