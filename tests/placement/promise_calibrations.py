"""Calibrations without running a graph: those of `promise_world`, worked out from its tables, and made-up ones.

A test shows that calibrating the real graphs gives the same, so that hundreds of plans can be made in seconds.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from promise_world import PICKS, VERIFIERS, graph_of
from sim_promise import Cases

from sherlock.analysis.calibration import Calibration, CalibrationRow, CalibrationTiming, Tried
from sherlock.analysis.calibration_rows import figures, label_of
from sherlock.estimate import mean_score, proportion, signed_mean
from sherlock.graph import WorkflowGraph
from sherlock.placement.figures import Case as Question
from sherlock.placement.rows import Row, Workload
from sherlock.placement.solve import Ranking
from sherlock.placement.solver import Solution
from sherlock.usage import NO_USAGE, Usage


def row_of(
    node: str,
    verifier: str,
    tried: Mapping[str, Tried],
    *,
    settings: dict[str, Any] | None = None,
    usage: Usage = NO_USAGE,
    **fields: Any,
) -> CalibrationRow:
    """A row with these cases; `usage` is that of all of them."""
    found = figures(tried.values())
    reached = [it for it in tried.values() if it.reached]
    return CalibrationRow(
        **{
            "node": node,
            "verifier": verifier,
            "label": label_of(verifier, settings or {}),
            "settings": settings or {},
            "gain": signed_mean([it.gain for it in tried.values()]),
            "shrunk_gain": found.shrunk_gain if found else 0.0,
            "se": found.se if found else 0.0,
            "repaired": None,
            "broken": None,
            "match_rate": proportion(sum(not it.changed for it in reached), len(reached)) if reached else None,
            "verifications": len(reached),
            "failures": 0,
            "cases": dict(tried),
            "usage": usage,
            **fields,
        }
    )


def calibration_of(
    graph: Any,
    scores: Sequence[float],
    rows: Sequence[CalibrationRow],
    *,
    latencies: Mapping[str, Mapping[str, list[float]]] | None = None,
    nodes: Mapping[str, list[float]] | None = None,
    **fields: Any,
) -> Calibration:
    """A calibration of `graph` on cases with these scores."""
    workflow = WorkflowGraph.of(graph)
    seconds = nodes or {name: [0.01] * len(scores) for name in workflow.order}
    return Calibration(
        **{
            "fingerprint": workflow.fingerprint,
            "graph": workflow.describe(),
            "settings": {},
            "baseline": mean_score(list(scores)),
            "scores": {f"case {index}": score for index, score in enumerate(scores)},
            "rows": list(rows),
            "visits": dict.fromkeys(workflow.order, 1.0),
            "timing": CalibrationTiming(
                rows={node: dict(each) for node, each in (latencies or {}).items()}, nodes=dict(seconds)
            ),
            **fields,
        }
    )


def calibrated(cases: Cases) -> Calibration:
    """What calibrating the graph of a world gives."""
    scores = cases.right({}).astype(float)
    nodes = range(len(cases.world.parents))
    rows = []
    for node, pick in itertools.product(nodes, range(PICKS)):
        settings = {key: value for key, value in VERIFIERS[pick].items() if key != "use"}
        rows.append(row_of(f"n{node}", "check", _tried(cases, node, pick), settings=settings))
    return calibration_of(graph_of(cases).compile(), scores.tolist(), rows)


def _tried(cases: Cases, node: int, pick: int) -> dict[str, Tried]:
    base, wrong = cases.right({}), cases.nodes_wrong()
    alone, after = cases._run({node: pick}, None)
    faulty = cases.right({}, faulty=node)
    mended = cases.repair_luck[node, pick] * np.sqrt(cases.hard) < cases.world.repair_own[node, pick]
    found = {}
    for index in range(cases.count):
        injected = bool(base[index] and not wrong[node][index])
        found[f"case {index}"] = Tried(
            before=float(base[index]),
            gain=float(alone[index]) - float(base[index]),
            changed=bool(after[node][index] != wrong[node][index]),
            faults=int(injected),
            repaired=int(injected and mended[index] and not faulty[index]),
            corrected=int(injected and mended[index]),
        )
    return found


def ranked_by_counting(
    workload: Workload, rows: Sequence[Row], slo: Any, *, objective: str, careful: bool, accept: Any, count: int
) -> Ranking:
    """What `best_plans` finds for accuracy without limits, by going through all plans: quicker for a few rows."""
    assert not slo.asked()
    assert objective == "accuracy"
    question, options = Question(workload=workload, careful=careful), {}
    for row in rows:
        options.setdefault(row.node, [None]).append(row)
    chosen = [{row.node: row for row in plan if row is not None} for plan in itertools.product(*options.values())]
    found = [Solution(chosen=each, figures=question.figures(each)) for each in chosen]
    names = sorted(options)
    found.sort(
        key=lambda plan: (
            -round(plan.figures.gain, 9),
            plan.figures.usd or 0.0,
            [plan.chosen[name].label if name in plan.chosen else "" for name in names],
        )
    )
    return Ranking(plans=tuple(found[:count]), infeasible=None, excluded=())
