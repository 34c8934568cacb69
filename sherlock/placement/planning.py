"""`plan`: what to attach where. Plans are screened by their gains, re-scored by a model, and promised by whole runs.

arXiv:2511.00330, sections 5 and 6, and arXiv:2508.18298 for the choice under limits; `docs/plan.md` explains it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sherlock.analysis.artefact import Analysis
from sherlock.analysis.calibrate import entrant
from sherlock.analysis.calibration import Calibration, CalibrationRow
from sherlock.analysis.faults import PAPER
from sherlock.analysis.study import Progress
from sherlock.cases import Case, read_cases
from sherlock.errors import PlanError, PlanMismatch
from sherlock.graph import WorkflowGraph, difference
from sherlock.interpose.recording import Recordings
from sherlock.loading import opened_graph
from sherlock.placement.figures import Chosen
from sherlock.placement.joint import JointRuns, Placements
from sherlock.placement.latency import LatencyModel, quantiles
from sherlock.placement.plan import Expectation, Placement, PlacementFigures, Plan, Rejected, Seconds
from sherlock.placement.plan import NodeFigures as PlanNode
from sherlock.placement.promise import Promise, parts_of, promise
from sherlock.placement.rows import Row, Work, Workload
from sherlock.placement.slo import SLO, Objective, known_objective
from sherlock.placement.solve import Ranking, best_plans
from sherlock.placement.structural import NodeFigures, StructuralModel
from sherlock.placement.topology import plan_by_topology
from sherlock.usage import Energy, Limits, Usage

FEWEST_FOR_A_PROMISE = 8
"""With fewer cases a promise by whole runs would say nothing."""


class Unreachable(PlanError):
    """No plan keeps the SLO. The message says which limit is in the way, and what can be reached."""


async def aplan(
    analysis: Analysis | None = None,
    calibration: Calibration | None = None,
    *,
    graph: Any = None,
    cases: str | Path | Iterable[Case | Mapping[str, Any]] | None = None,
    scorer: str | Callable[..., Any] | None = None,
    domain: Any = None,
    slo: SLO | None = None,
    objective: Objective = "accuracy",
    careful: bool = False,
    default_verifier: Any = None,
    limits: Limits | None = None,
    seed: int = 0,
) -> Plan:
    """Choose which verifier to attach to which node.

    With a calibration the best plan under `slo` is found; with `graph`, `cases` and `scorer` too, whole plans are run
    and the promise is what they kept on cases that they were not chosen on. Without a calibration `default_verifier`
    is placed by Algorithm 1 of the paper.

    Raises:
        Unreachable: no plan keeps the SLO.
        PlanError: there is nothing to plan with, or the artefacts are of different graphs (`PlanMismatch`).
    """
    planner = Planner(
        analysis=analysis,
        calibration=calibration,
        graph=graph,
        cases=cases,
        scorer=scorer,
        domain=domain,
        slo=slo,
        objective=objective,
        careful=careful,
        default_verifier=default_verifier,
        limits=limits,
        seed=seed,
    )
    return await planner.run()


@dataclasses.dataclass(kw_only=True)
class Planner:
    """One planning; the settings are those of `aplan`, and of `aanalyze` for the whole runs."""

    analysis: Analysis | None = None
    calibration: Calibration | None = None
    graph: Any = None
    cases: Any = None
    scorer: Any = None
    domain: Any = None
    slo: SLO | None = None
    objective: Objective = "accuracy"
    careful: bool = False
    default_verifier: Any = None
    limits: Limits | None = None
    seed: int = 0
    store: str | Path | None = None
    recordings: str | Path | Recordings | None = None
    concurrency: int = 8
    progress: Callable[[Progress], None] | None = None
    config: Mapping[str, Any] | None = None
    context: Any = None
    pass_mark: float = 1.0

    def __post_init__(self) -> None:
        known_objective(self.objective)
        self._joint: JointRuns | None = None
        self._stopped: str | None = None

    def stop(self, reason: str) -> None:
        """End the whole runs early, from any thread; the plan then promises nothing that was not measured."""
        self._stopped = reason
        if self._joint is not None:
            self._joint.stop(reason)

    async def run(self) -> Plan:
        """Make the plan; see `aplan`."""
        if self.domain is not None:
            raise PlanError("plans from a domain are not made yet; give a calibration, or a default verifier")
        workflow = await self._workflow()
        if self.calibration is None:
            return plan_by_topology(workflow, self.default_verifier, slo=self.slo)
        slo = self.slo or SLO()
        rows, left_out = rows_of(self.calibration)
        workload = workload_of(self.calibration, workflow)
        slo.check(workload.baseline.value if workload.baseline else None)
        ranking = self._ranked(workload, rows, slo)
        if ranking.infeasible is not None:
            raise Unreachable(ranking.infeasible.why)
        model = self._model(workload, rows)
        chosen = self._best(ranking, model)
        promised, notes = await self._promise(workload, rows, slo, chosen)
        if promised is not None and slo.min_accuracy is not None and promised.score.value < slo.min_accuracy:
            raise Unreachable(
                f"min_accuracy {slo.min_accuracy:g} was not reached: the best plan, run whole on cases that it was not "
                f"chosen on, scored {promised.score.value:.3g} [{promised.score.low:.3g}, {promised.score.high:.3g}]"
            )
        return Plan(
            placements={node: self._placement(row) for node, row in sorted(chosen.items())},
            expectation=self._expectation(workload, chosen, model, promised, ranking),
            objective=self.objective,
            slo=slo,
            rejected=(*left_out, *self._rejected(rows, chosen, ranking)),
            notes=tuple(notes),
            fingerprint=workflow.fingerprint,
            nodes={
                name: PlanNode(latency_s=work.mean_latency_s, usd=work.usd) for name, work in workload.nodes.items()
            },
            graph=workflow.describe(),
        )

    async def _workflow(self) -> WorkflowGraph:
        """The graph that everything is about; the artefacts must agree."""
        found = [WorkflowGraph.from_description(each.graph) for each in (self.calibration, self.analysis) if each]
        if self.graph is not None:
            async with opened_graph(self.graph, self.config) as opened:
                found.insert(0, WorkflowGraph.of(opened))
        if not found:
            raise PlanError("there is nothing to plan for; give an analysis, a calibration or a graph")
        for other in found[1:]:
            if other.fingerprint != found[0].fingerprint:
                raise PlanMismatch(f"what was given is of different graphs: {difference(other, found[0])}")
        return found[0]

    def _ranked(self, workload: Workload, rows: Sequence[Row], slo: SLO) -> Ranking:
        keeps = LatencyModel(workload=workload, seed=self.seed).keeps
        return best_plans(workload, rows, slo, objective=self.objective, careful=self.careful, accept=keeps)

    def _model(self, workload: Workload, rows: Sequence[Row]) -> StructuralModel:
        nodes = self.analysis.nodes if self.analysis is not None else {}
        figures = {
            name: NodeFigures(
                vulnerability=_value(node.vulnerability),
                fault_rate=_value(node.fault_rate),
            )
            for name, node in nodes.items()
        }
        return StructuralModel.fit(workload, figures, rows, seed=self.seed)

    def _best(self, ranking: Ranking, model: StructuralModel) -> Chosen:
        """For accuracy the plan that the model likes best; else the first that the programme found."""
        plans = [plan.chosen for plan in ranking.plans]
        if self.objective != "accuracy":
            return plans[0]
        return max(enumerate(plans), key=lambda item: (round(model.gain(item[1]), 9), -item[0]))[1]

    async def _promise(
        self, workload: Workload, rows: Sequence[Row], slo: SLO, chosen: Chosen
    ) -> tuple[Promise | None, list[str]]:
        """Run whole plans, each case under a plan that was chosen without it."""
        assert self.calibration is not None
        if self.graph is None or self.cases is None or self.scorer is None:
            return None, ["Screened only: no whole plan was run. Give graph, cases and scorer for a promise."]
        cases = read_cases(self.cases)
        if len(cases) < FEWEST_FOR_A_PROMISE:
            return None, [f"No promise: {len(cases)} cases are too few to run whole plans on; give 8 or more."]
        plans: dict[str, Placements] = {}
        parts = parts_of(len(cases), seed=self.seed)
        for part in parts:
            held_out = {cases[index].id or str(index + 1) for index in part}
            fitted, baseline = rows_without(self.calibration, rows, held_out)
            there = dataclasses.replace(workload, baseline=baseline or workload.baseline)
            ranking = self._ranked(there, fitted, dataclasses.replace(slo, min_accuracy=None))
            best = self._best(ranking, self._model(there, fitted)) if ranking.plans else {}
            plans.update(dict.fromkeys(held_out, _entrants(best)))
        self._joint = JointRuns(
            self.graph,
            cases,
            plans=plans,
            otherwise=_entrants(chosen),
            scorer=self.scorer,
            faults=PAPER,
            faults_per_kind=1,
            nodes=None,
            visits="first",
            pass_mark=self.pass_mark,
            seed=self.seed,
            confidence=0.95,
            top=1,
            margin=0.10,
            limits=self.limits or Limits(),
            store=self.store,
            concurrency=self.concurrency,
            recordings=self.recordings,
            dry_run=False,
            progress=self.progress,
            config=self.config or {},
            context=self.context,
        )
        if self._stopped:
            self._joint.stop(self._stopped)
        scores = await self._joint.run()
        if self._joint.partial is not None:
            return None, [f"No promise: the whole runs ended early ({self._joint.partial})."]
        pairs = list(scores.values())
        return promise([before for before, _ in pairs], [after for _, after in pairs], parts=len(parts)), []

    def _placement(self, row: Row) -> Placement:
        found = self._calibrated(row)
        gain = (
            f"{row.gain:+.2f}"
            if found is None or found.gain is None
            else (f"{found.gain.value:+.2f} [{found.gain.low:.2f}, {found.gain.high:.2f}]")
        )
        why = f"changed the score by {gain} by itself; left {row.match_rate:.0%} of outputs as they were"
        return Placement(
            verifier=row.verifier,
            settings=dict(row.settings),
            why=why,
            expected=PlacementFigures(
                gain=found.gain if found else None,
                match_rate=row.match_rate,
                usd=row.usd,
                wh=row.wh,
                latency_s=row.mean_latency_s,
                tokens=row.tokens,
                calls=row.calls,
            ),
        )

    def _calibrated(self, row: Row) -> CalibrationRow | None:
        assert self.calibration is not None
        return self.calibration.row(row.node, row.label)

    def _expectation(
        self,
        workload: Workload,
        chosen: Chosen,
        model: StructuralModel,
        promised: Promise | None,
        ranking: Ranking,
    ) -> Expectation:
        times = LatencyModel(workload=workload, seed=self.seed).simulate(chosen)
        figures = next((plan.figures for plan in ranking.plans if dict(plan.chosen) == dict(chosen)), None)
        score = gain = None
        if promised is not None:
            score, gain = promised.score, promised.gain
        elif workload.baseline is not None:
            score, gain = model.estimate(chosen, workload.baseline)
        watt_hours = [row.wh for row in chosen.values()]
        known = [each for each in watt_hours if each is not None]
        return Expectation(
            basis="measured jointly" if promised is not None else "screened only",
            score=score,
            gain=gain,
            usd=figures.usd if figures else None,
            wh=sum(known[1:], known[0]) if known and len(known) == len(watt_hours) else None,
            tokens=sum(row.tokens for row in chosen.values()),
            calls=figures.calls if figures else None,
            latency_s=Seconds(**quantiles(times.verified_s)),
            execution_s=Seconds(**quantiles(times.execution_s)),
            blocking_s=Seconds(**quantiles(times.blocking_s)),
        )

    def _rejected(self, rows: Sequence[Row], chosen: Chosen, ranking: Ranking) -> list[Rejected]:
        excluded = {row.place: why for row, why in ranking.excluded}
        found = []
        for row in rows:
            taken = chosen.get(row.node)
            if taken is not None and taken.label == row.label:
                continue
            if row.place in excluded:
                why = excluded[row.place]
            elif row.gain <= 0:
                why = f"it gained nothing here ({row.gain:+.2f} after shrinking)"
            elif taken is not None:
                why = f"{taken.label} is the better choice here"
            else:
                why = f"{row.gain:+.2f} after shrinking is not worth its place under these limits"
            found.append(Rejected(node=row.node, verifier=row.label, why=why))
        return found


def rows_of(calibration: Calibration) -> tuple[list[Row], list[Rejected]]:
    """The rows that a plan may hold, and those that it may not, with the reason."""
    rows, left_out = [], []
    for each in calibration.rows:
        if each.gain is None:
            left_out.append(Rejected(node=each.node, verifier=each.label, why="it was never tried: no case reached it"))
        elif each.settings is None:
            why = "it was not made from a name, so no plan can hold it"
            left_out.append(Rejected(node=each.node, verifier=each.label, why=why))
        elif each.dropped:
            left_out.append(Rejected(node=each.node, verifier=each.label, why=each.dropped))
        elif each.failures == each.verifications:
            why = f"it gave no verdict at all ({each.failure})"
            left_out.append(Rejected(node=each.node, verifier=each.label, why=why))
        else:
            rows.append(_row(calibration, each, each.gain.n))
    return rows, left_out


def rows_without(calibration: Calibration, rows: Sequence[Row], held_out: set[str]) -> tuple[list[Row], Any]:
    """The rows and the baseline as they would be without some cases."""
    from sherlock.estimate import mean_score

    scores = [score for case, score in calibration.scores.items() if case not in held_out]
    fitted = []
    for row in rows:
        found = calibration.row(row.node, row.label)
        kept = [gain for case, gain in (found.gains if found else {}).items() if case not in held_out]
        if found is None or found.gain is None or not kept:
            fitted.append(row)
            continue
        shift = sum(kept) / len(kept) - found.gain.value
        fitted.append(dataclasses.replace(row, gain=row.gain + shift))
    return fitted, mean_score(scores) if scores else None


def workload_of(calibration: Calibration, workflow: WorkflowGraph) -> Workload:
    """The workflow with what its nodes took in the clean runs. Edges that point back are left out."""
    order = [name for name in workflow.order if name in calibration.timing.nodes]
    position = {name: index for index, name in enumerate(order)}
    runs = max(1, len(calibration.scores))
    edges = [
        (edge.source, edge.target)
        for edge in workflow.edges
        if edge.kind != "possible" and position.get(edge.source, 0) < position.get(edge.target, -1)
    ]
    return Workload(
        nodes={name: _work(calibration.node_usage.get(name), calibration.timing.nodes[name], runs) for name in order},
        edges=[edge for edge in edges if edge[0] in position],
        baseline=calibration.baseline,
    )


def _work(usage: Usage | None, latencies: Sequence[float], runs: int) -> Work:
    if usage is None:
        return Work(latency_s=latencies)
    return Work(
        latency_s=latencies,
        usd=None if usage.usd is None else usage.usd / runs,
        wh=_share(usage.wh, runs),
        tokens=usage.tokens / runs,
        calls=usage.calls / runs,
    )


def _row(calibration: Calibration, each: CalibrationRow, n: int) -> Row:
    usage = each.usage
    return Row(
        node=each.node,
        verifier=each.verifier,
        settings=each.settings or {},
        gain=each.shrunk_gain,
        se=each.se,
        match_rate=_value(each.match_rate) or 0.0,
        repaired=_value(each.repaired) or 0.0,
        broken=_value(each.broken) or 0.0,
        correction=_value(each.correction),
        usd=None if usage.usd is None else usage.usd / n,
        wh=_share(usage.wh, n),
        tokens=usage.tokens / n,
        calls=usage.calls / n,
        latency_s=calibration.latencies(each.node, each.label),
    )


def _share(wh: Energy | None, n: int) -> Energy | None:
    return wh and Energy(value=wh.value / n, low=wh.low / n, high=wh.high / n, source=wh.source)


def _entrants(chosen: Chosen) -> Placements:
    return {node: entrant({"use": row.verifier, **row.settings}) for node, row in chosen.items()}


def _value(estimate: Any) -> float | None:
    return None if estimate is None else float(estimate.value)
