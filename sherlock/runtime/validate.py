"""`validate`: what a plan really does. The workflow without it and under it, on the same cases, interleaved.

Each run is on a fresh thread, one at a time, so that times can be compared; which way of running comes first, and the
order of the cases, are drawn from the seed. Nodes with effects that cannot be repeated are replaced by their stubs.
"""

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from sherlock.budget import Budget
from sherlock.cases import Case, read_cases
from sherlock.errors import CasesError, GraphError, LimitReached
from sherlock.graph import WorkflowGraph
from sherlock.interpose import calls
from sherlock.interpose.nodes import leaf_nodes
from sherlock.loading import opened_graph
from sherlock.models.prices import Prices
from sherlock.placement.plan import Plan
from sherlock.runtime import validation_figures as figures
from sherlock.runtime.guard import GuardedGraph, guard
from sherlock.runtime.stubbed import stubbed
from sherlock.runtime.validation import TimedRun, ValidatedCase, Validation, ValidationTiming, Way
from sherlock.runtime.validation_runs import Ran, Runner
from sherlock.scorers import resolve_scorer
from sherlock.side_effects import EffectKind
from sherlock.stand_ins import stand_ins
from sherlock.usage import Limits, Usage

REPEATABLE: tuple[EffectKind, ...] = ("none", "idempotent")
"""Effects that are executed, again and again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationProgress:
    """How far a validation is. `stage`: `begin`, `run` (one has ended), `case` (all its runs have), or `done`."""

    stage: str
    what: str = ""
    runs: int = 0
    runs_in_all: int = 0
    cases_in_all: int = 0
    nodes: int = 0
    model_calls: int = 0
    usd: float | None = 0.0
    elapsed_s: float = 0.0


async def avalidate(
    graph: Any,
    plan: Plan | str | Path | None,
    cases: str | Path | Iterable[Case | Mapping[str, Any]],
    *,
    scorer: str | Callable[..., Any],
    blocking: bool = False,
    repeats: int = 1,
    limits: Limits | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    progress: Callable[[ValidationProgress], None] | None = None,
    config: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Validation:
    """Run every case without the plan and under it, and say how they differ, with intervals.

    `plan`: a plan, or the path of one; None is what the code declares. `blocking`: run each case also with every
    verdict waited for, which is what speculation is compared with. `repeats`: runs of each case in each way, averaged
    before anything else. `config` and `context` are as for `aanalyze`.

    Irreversible and compensable effects are not executed: such a node takes its stub, else the case's reference.
    Idempotent effects are executed where they have no stub. A run that raises scores 0, and is named.

    Raises:
        GraphError: a node with such effects has neither stub nor reference, or every run raised.
        CasesError: cases or scorer are wrong, or every case stopped at an interrupt without an answer.
        PlanError: the plan is malformed, or for another graph (`PlanMismatch`).
    """
    validator = Validator(
        graph=graph,
        plan=plan,
        cases=cases,
        scorer=scorer,
        blocking=blocking,
        repeats=repeats,
        limits=limits,
        seed=seed,
        confidence=confidence,
        progress=progress,
        config=config or {},
        context=context,
    )
    return await validator.run()


@dataclass(kw_only=True)
class Validator:
    """One validation; the settings are those of `avalidate`. `stop` ends it early with what is there."""

    graph: Any
    plan: Plan | str | Path | None
    cases: Any
    scorer: Any
    blocking: bool = False
    repeats: int = 1
    limits: Limits | None = None
    seed: int = 0
    confidence: float = 0.95
    progress: Callable[[ValidationProgress], None] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Any = None
    output_key: str | None = None
    prices: Prices = field(default_factory=Prices)

    def __post_init__(self) -> None:
        if isinstance(self.repeats, bool) or not isinstance(self.repeats, int) or self.repeats < 1:
            raise ValueError(f"repeats is {self.repeats!r}; it must be a whole number from 1 up")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence!r}; it lies between 0 and 1")
        self.ran: list[Ran] = []
        self.skipped: dict[int, str] = {}
        self.budget = Budget(self.limits or Limits())
        self._count = 0
        self._nodes = 0
        self._stopped: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self, reason: str) -> None:
        """End the validation from any thread; `run` then returns what is there, marked with `reason`."""
        self._stopped = reason
        if self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    async def run(self) -> Validation:
        """Do it; see `avalidate`."""
        self._loop = asyncio.get_running_loop()
        cases = read_cases(self.cases)
        plan = Plan.load(self.plan) if isinstance(self.plan, str | Path) else self.plan
        scorer = resolve_scorer(self.scorer, output_key=self.output_key)
        async with opened_graph(self.graph, self.config) as graph:
            workflow = WorkflowGraph.of(graph)
            effects = stand_ins(dict(leaf_nodes(graph)), cases, executed=REPEATABLE, study="a validation")
            runner = Runner(
                graphs={},
                scorer=scorer,
                prices=self.prices,
                budget=self.budget,
                config=self.config,
                context=self.context,
            )
            runner.graphs = self._graphs(stubbed(graph, effects), plan, runner)
            self._nodes = len(workflow.order)
            self._tell("begin", cases)
            partial = await self._until_done(runner, cases)
            self._tell("done", cases, partial or "")
        return self._result(plan, workflow, cases, runner, partial)

    def _graphs(
        self, graph: CompiledStateGraph[Any, Any, Any, Any], plan: Plan | None, runner: Runner
    ) -> dict[Way, CompiledStateGraph[Any, Any, Any, Any]]:
        calls.install()
        found: dict[Way, CompiledStateGraph[Any, Any, Any, Any]] = {"unguarded": graph}
        found["guarded"] = guard(graph, plan, on_event=runner.take)
        if self.blocking:
            found["blocking"] = guard(graph, plan, policy={"mode": "blocking"}, on_event=runner.take)
        for each in found.values():
            if isinstance(each, GuardedGraph):
                each.guard.prices = self.prices
        return found

    async def _until_done(self, runner: Runner, cases: Sequence[Case]) -> str | None:
        """Do the runs; return why they ended early, if they did."""
        self._task = asyncio.ensure_future(self._work(runner, cases))
        if self._stopped:
            self._task.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            if self._stopped is None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
                raise
            return self._stopped
        except LimitReached as limit:
            return str(limit)
        return None

    async def _work(self, runner: Runner, cases: Sequence[Case]) -> None:
        for repeat, index, ways in self._order(len(cases), list(runner.graphs)):
            case = cases[index]
            done: list[Ran] = []
            for way in ways if index not in self.skipped else ():
                ran = await runner.run(index, case, repeat, way)
                self._count += 1
                self._tell("run", cases, case.id or "")
                if ran.unanswered is not None:
                    self.skipped[index] = f"stopped at an interrupt without an answer ({ran.unanswered:.80})"
                    break
                done.append(ran)
            else:
                self.ran += done  # a case that was not run in every way compares with nothing
            self._tell("case", cases, case.id or "")

    def _order(self, cases: int, ways: Sequence[Way]) -> Iterator[tuple[int, int, list[Way]]]:
        rng = random.Random(f"validate {self.seed}")
        for repeat in range(self.repeats):
            for index in rng.sample(range(cases), cases):
                yield repeat, index, rng.sample(ways, len(ways))

    def _result(
        self, plan: Plan | None, workflow: WorkflowGraph, cases: Sequence[Case], runner: Runner, partial: str | None
    ) -> Validation:
        self.ran = [ran for ran in self.ran if ran.case not in self.skipped]
        self._check_something(cases, partial)
        by_way = {way: figures.of_way(self.ran, way) for way in runner.graphs}
        guarded = by_way["guarded"]
        others: dict[Way, figures.Runs] = {way: runs for way, runs in by_way.items() if way != "guarded"}
        levels = {way: figures.level(runs, self.confidence) for way, runs in by_way.items()}
        gained = {way: figures.difference(guarded, runs, self.confidence) for way, runs in others.items()}
        promise, why_not = figures.promised(plan, levels["guarded"], gained["unguarded"], len(guarded))
        decisive = [check.kept for check in promise if check.figure in ("score", "gain")]
        kept = False if False in decisive else True if decisive and all(decisive) else None
        gains = figures.gains_of(guarded, by_way["unguarded"])
        reports = [report for ran in self.ran if ran.way == "guarded" for report in ran.reports]
        return Validation(
            fingerprint=workflow.fingerprint,
            graph=workflow.describe(),
            settings={
                "seed": self.seed,
                "repeats": self.repeats,
                "blocking": self.blocking,
                "confidence": self.confidence,
                "mode": _policy(runner).mode,
            },
            placements=_placements(runner),
            levels=levels,
            differences=gained,
            nodes=figures.verdicts(guarded, self.confidence),
            repaired=[cases[index].id or "" for index in figures.changed(gains, 1)],
            broken=[cases[index].id or "" for index in figures.changed(gains, -1)],
            cases=[_case(cases[index], [r for r in self.ran if r.case == index]) for index in sorted(guarded)],
            flagged=sum(len(report.flagged) for report in reports),
            failures=sum(len(report.failures) for report in reports),
            promise=promise,
            promise_kept=kept,
            promise_note=why_not or ("" if kept is not None else "the intervals allow for both"),
            skipped=[f"case {cases[index].id!r} {why}" for index, why in sorted(self.skipped.items())],
            notes=_notes(reports, _placements(runner)),
            runs=len(self.ran),
            usage=sum((ran.usage for ran in self.ran), Usage()),
            partial=partial,
            timing=self._timing(plan, by_way, cases),
        )

    def _timing(self, plan: Plan | None, by_way: Mapping[Way, figures.Runs], cases: Sequence[Case]) -> ValidationTiming:
        levels = {way: figures.times(runs, self.seed, self.confidence) for way, runs in by_way.items()}
        guarded = by_way["guarded"]
        runs = [_timed(ran, cases[ran.case]) for ran in sorted(self.ran, key=lambda r: (r.case, r.repeat, r.way))]
        sums: dict[str, dict[Way, int]] = defaultdict(lambda: defaultdict(int))
        for run in runs:
            for name in ("rollbacks", "node_executions", "wasted_executions"):
                sums[name][run.way] += getattr(run, name)
        return ValidationTiming(
            seconds=time.monotonic() - self.budget.started,
            levels=levels,
            differences={
                way: figures.times_difference(guarded, runs, self.seed, self.confidence)
                for way, runs in by_way.items()
                if way != "guarded"
            },
            promise=figures.promised_times(
                plan.expectation if plan is not None else None, levels["guarded"], levels.get("blocking")
            ),
            runs=runs,
            **{name: dict(found) for name, found in sums.items()},
        )

    def _check_something(self, cases: Sequence[Case], partial: str | None) -> None:
        """Raise where there is nothing to report and no limit that explains it."""
        if not self.ran and self.skipped and partial is None:
            first = min(self.skipped)
            raise CasesError(
                f"case {cases[first].id!r} {self.skipped[first]}, and so did every other case: "
                'answer interrupts in order with "resume": [...] in the case'
            )
        if self.ran and all(ran.error for ran in self.ran):
            first_ran = min(self.ran, key=lambda ran: ran.case)
            raise GraphError(
                f"every run raised, so nothing can be measured; case {cases[first_ran.case].id!r}: {first_ran.error}"
            )

    def _tell(self, stage: str, cases: Sequence[Case], what: str = "") -> None:
        if self.progress is None:
            return
        self.progress(
            ValidationProgress(
                stage=stage,
                what=what,
                runs=self._count,
                runs_in_all=len(cases) * self.repeats * (3 if self.blocking else 2),
                cases_in_all=len(cases),
                nodes=self._nodes,
                model_calls=self.budget.calls_begun,
                usd=self.budget.spent.usd,
                elapsed_s=time.monotonic() - self.budget.started,
            )
        )


def _policy(runner: Runner) -> Any:
    guarded = runner.graphs["guarded"]
    assert isinstance(guarded, GuardedGraph)
    return guarded.guard.policy


def _placements(runner: Runner) -> dict[str, str]:
    guarded = runner.graphs["guarded"]
    assert isinstance(guarded, GuardedGraph)
    return {name: place.attached.name for name, place in sorted(guarded.guard.places.items()) if place.attached}


def _case(case: Case, ran: Sequence[Ran]) -> ValidatedCase:
    scores: dict[Way, list[float]] = {}
    errors: dict[Way, str] = {}
    for each in sorted(ran, key=lambda r: (r.way, r.repeat)):
        scores.setdefault(each.way, []).append(each.score)
        if each.error is not None:
            errors.setdefault(each.way, each.error)
    return ValidatedCase(id=case.id or "", scores=scores, errors=errors)


def _timed(ran: Ran, case: Case) -> TimedRun:
    return TimedRun(
        case=case.id or "",
        repeat=ran.repeat,
        way=ran.way,
        t_exec_s=ran.t_exec_s,
        t_vrf_s=ran.t_vrf_s,
        rollbacks=sum(report.rollbacks for report in ran.reports),
        node_executions=sum(report.node_executions for report in ran.reports),
        wasted_executions=sum(report.wasted_executions for report in ran.reports),
    )


def _notes(reports: Sequence[Any], placed: Mapping[str, str]) -> list[str]:
    """What the runs noted, each once, and what explains figures of nothing."""
    found = [] if placed else ["No node has a verifier, so the guarded runs are like the unguarded ones."]
    return [*found, *dict.fromkeys(note for report in reports for note in report.notes)]
