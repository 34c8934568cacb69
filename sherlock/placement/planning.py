"""`plan`: what to attach where. Plans are screened by their gains, re-scored by a model, and promised by whole runs.

arXiv:2511.00330, sections 5 and 6, and arXiv:2508.18298 for the choice under limits; `docs/plan.md` explains it.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sherlock.analysis.artefact import Analysis
from sherlock.analysis.calibrate import entrant
from sherlock.analysis.calibration import Calibration
from sherlock.analysis.faults import PAPER
from sherlock.analysis.study import Progress
from sherlock.analysis.verdicts import Entrant
from sherlock.cases import Case, read_cases
from sherlock.errors import PlanError, PlanMismatch
from sherlock.graph import WorkflowGraph, difference
from sherlock.interpose.recording import Recordings
from sherlock.loading import opened_graph
from sherlock.models.prices import Prices
from sherlock.placement.choice import Choice
from sherlock.placement.draft import Draft, Jointly, Scores
from sherlock.placement.figures import ROUNDING, Chosen
from sherlock.placement.joint import JointRuns, Placements
from sherlock.placement.plan import Plan
from sherlock.placement.promise import parts_of
from sherlock.placement.slo import SLO, Objective, known_objective
from sherlock.placement.structural import NodeFigures
from sherlock.placement.topology import plan_by_topology
from sherlock.usage import Limits

FEWEST = 8
"""With fewer cases a promise by whole runs would say nothing."""


class Unreachable(PlanError):
    """No plan keeps the SLO. The message says which limit is in the way, and what can be reached.

    `nearest`: the plan that keeps every limit but `min_accuracy` and comes nearest to that.
    """

    def __init__(self, message: str, nearest: Plan | None = None) -> None:
        super().__init__(message)
        self.nearest = nearest


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
    store: str | Path | None = None,
    recordings: str | Path | Recordings | None = None,
    concurrency: int = 8,
    progress: Callable[[Progress], None] | None = None,
    config: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Plan:
    """Choose which verifier to attach to which node.

    With a calibration the best plan under `slo` is found; with `graph`, `cases` and `scorer` too, whole plans are run
    and the promise is what they kept on cases that they were not chosen on. Without a calibration `default_verifier`
    is placed by Algorithm 1 of the paper. `store` and `recordings`, those of the calibration, save its runs and
    verdicts from being made again; `limits` bound the whole runs; `concurrency`, `progress`, `config` and `context` are
    as for `aanalyze`.

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
        store=store,
        recordings=recordings,
        concurrency=concurrency,
        progress=progress,
        config=config,
        context=context,
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
    output_key: str | None = None
    prices: Prices = dataclasses.field(default_factory=Prices)
    verifier_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        known_objective(self.objective)
        self._joint: JointRuns | None = None
        self._stopped: str | None = None
        self._ended: str | None = None
        self._entrants: dict[str, Entrant] = {}

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
        draft = self._draft(self.calibration, workflow)
        infeasible = draft.ranking.infeasible
        short_of_score = infeasible is not None and draft.choice.slo.min_accuracy is not None and self._may_run
        if infeasible is not None and not (short_of_score and draft.keeps_the_rest):
            nearest = draft.plan(infeasible.nearest.chosen)
            raise Unreachable(f"{infeasible.why}; the nearest plan {_told(nearest)}", nearest)
        jointly = await self._jointly(draft)
        plan = draft.plan(jointly.chosen, jointly)
        if jointly.promise is None:
            if infeasible is not None:
                raise Unreachable(f"{infeasible.why}; the nearest plan {_told(plan)}", plan)
            return plan
        asked, score = draft.choice.slo.min_accuracy, jointly.promise.score
        if asked is not None and score.value < asked - ROUNDING:
            raise Unreachable(
                f"min_accuracy {asked:g} was not reached: the nearest plan, run whole on cases that it was not chosen "
                f"on, scored {score.value:.3g} [{score.low:.3g}, {score.high:.3g}], and it {_told(plan)}",
                plan,
            )
        return plan

    def _draft(self, calibration: Calibration, workflow: WorkflowGraph) -> Draft:
        slo = self.slo or SLO()
        slo.check(calibration.baseline.value if calibration.baseline else None)
        nodes = self.analysis.nodes if self.analysis is not None else {}
        figures = {
            name: NodeFigures(vulnerability=_value(node.vulnerability), fault_rate=_value(node.fault_rate))
            for name, node in nodes.items()
        }
        choice = Choice(slo=slo, objective=self.objective, careful=self.careful, figures=figures, seed=self.seed)
        return Draft(calibration=calibration, workflow=workflow, choice=choice)

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

    @property
    def _may_run(self) -> bool:
        return self.graph is not None and self.cases is not None and self.scorer is not None

    async def _jointly(self, draft: Draft) -> Jointly:
        """Run whole plans, each case under one that was chosen without it; dearer ones if the cheaper fall short."""
        if not self._may_run:
            note = "Screened only: no whole plan was run. Give graph, cases and scorer for a promise."
            return Jointly(chosen=draft.pick(), basis="screened only", notes=(note,))
        cases = read_cases(self.cases)
        if len(cases) < FEWEST:
            return draft.unmeasured(f"{len(cases)} cases are too few to run whole plans on; give {FEWEST} or more")
        parts = [[cases[index].id or "" for index in part] for part in parts_of(len(cases), seed=self.seed)]
        runs: list[Scores] = []
        for level in range(draft.choice.levels):
            scores = await self._run_whole(draft, cases, parts, level)
            if self._ended is not None:
                return draft.unmeasured(f"the whole runs ended early ({self._ended})")
            if len(scores) < FEWEST:
                return draft.unmeasured(f"only {len(scores)} cases ran to their end; give {FEWEST} or more that do")
            runs.append(scores)
            if draft.suffices(scores.values()):
                break
        return draft.jointly(runs, parts)

    async def _run_whole(
        self, draft: Draft, cases: Sequence[Case], parts: Sequence[Sequence[str]], level: int
    ) -> Scores:
        """The score of each case without verifiers, and under the plan chosen without its part of the cases."""
        plans = {}
        for part in parts if draft.pick(level) else ():  # a plan that places nothing keeps what there is
            plans.update(dict.fromkeys(part, self._placements(draft.pick(level, without=part))))
        settings = draft.calibration.settings
        self._joint = JointRuns(
            self.graph,
            cases,
            plans=plans,
            scorer=self.scorer,
            faults=PAPER,
            faults_per_kind=1,
            nodes=None,
            visits="first",
            pass_mark=settings.get("pass_mark", 1.0),
            seed=settings.get("seed", self.seed),
            confidence=settings.get("confidence", 0.95),
            top=1,
            margin=0.10,
            limits=self._limits_left(),
            store=self.store,
            concurrency=self.concurrency,
            recordings=self.recordings,
            dry_run=False,
            progress=self.progress,
            config=self.config or {},
            context=self.context,
            prices=self.prices,
            output_key=self.output_key,
            verifier_timeout_s=self.verifier_timeout_s,
        )
        if self._stopped:
            self._joint.stop(self._stopped)
        scores = await self._joint.run()
        self._ended = self._joint.partial
        return scores

    def _placements(self, chosen: Chosen) -> Placements:
        """The verifiers of a plan, each made once."""
        for row in chosen.values():
            if row.label not in self._entrants:
                self._entrants[row.label] = entrant({"use": row.verifier, **row.settings})
        return {node: self._entrants[row.label] for node, row in chosen.items()}

    def _limits_left(self) -> Limits:
        """The limits are on all whole runs together, however many plans are run."""
        limits = self.limits or Limits()
        if self._joint is None:
            return limits
        budget = self._joint.rounds.budget
        spent = {
            "usd": budget.spent.usd or 0.0,
            "tokens": budget.spent.tokens,
            "calls": budget.calls_begun,
            "seconds": self._joint.elapsed_s,
        }
        left = {name: getattr(limits, name) for name in spent}
        self.limits = Limits(**{name: most and max(0, most - spent[name]) for name, most in left.items()})
        return self.limits


def _told(plan: Plan) -> str:
    """What a plan places, in one clause."""
    placed = [f"{placement.verifier} at {node!r}" for node, placement in plan.placements.items()]
    score = plan.expectation.score if plan.expectation else None
    expected = "" if score is None else f", and scores about {score.value:.3g}"
    return f"places {', '.join(placed) or 'no verifier'}{expected}"


def _value(estimate: Any) -> float | None:
    return None if estimate is None else float(estimate.value)
