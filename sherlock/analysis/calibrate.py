"""`calibrate`: what each verifier buys at each node, on the same recorded clean runs as `analyze`.

Two kinds of trial: the verifier on the output that the node really made, in *all* cases, and on outputs with a fault in
them. Nodes come in the order of their criticality, and a verifier that another one at the same node beats with
confidence, at no higher price, is tried on no more cases. arXiv:2511.00330, section 6; `docs/statistics.md`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, count, permutations
from pathlib import Path
from typing import Any

from sherlock.analysis import calibration_rows as rows
from sherlock.analysis.artefact import Analysis, Forecast
from sherlock.analysis.calibration import Calibration
from sherlock.analysis.determinism import ENOUGH
from sherlock.analysis.faults import PAPER, Fault
from sherlock.analysis.rounds import Bench, together
from sherlock.analysis.study import Progress, Study, Visits
from sherlock.analysis.trials import visits_of
from sherlock.analysis.verdicts import Entrant, Judge, Outcome
from sherlock.analysis.vulnerability import LOOKS, MIN_CASES
from sherlock.cases import Case, digest
from sherlock.errors import GraphError, PlanMismatch, VerifierError
from sherlock.estimate import signed_lower_bound
from sherlock.graph import WorkflowGraph, difference
from sherlock.interpose.recording import Recordings
from sherlock.node_code import object_fingerprint
from sherlock.registry import make_verifier, settings_of
from sherlock.registry import verifiers as installed_verifiers
from sherlock.usage import Limits
from sherlock.verifier import Verifier

Verifiers = Sequence[str | Mapping[str, Any] | Verifier]


async def acalibrate(
    graph: Any,
    cases: str | Path | Iterable[Case | Mapping[str, Any]],
    *,
    verifiers: Verifiers | Mapping[str, Verifiers],
    scorer: str | Callable[..., Any],
    analysis: Analysis | None = None,
    nodes: Sequence[str] | None = None,
    faults: Sequence[Fault] = PAPER,
    faults_per_kind: int = 1,
    visits: Visits = "first",
    pass_mark: float = 1.0,
    seed: int = 0,
    confidence: float = 0.95,
    top: int = 1,
    margin: float = 0.10,
    limits: Limits | None = None,
    store: str | Path | None = None,
    concurrency: int = 8,
    recordings: str | Path | Recordings | None = None,
    dry_run: bool = False,
    progress: Callable[[Progress], None] | None = None,
    config: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Calibration:
    """Try verifiers at nodes, and measure what they do to the final score and what they cost.

    `verifiers`: names, `{"use": name, **settings}`, or instances, tried at every node; or a mapping from nodes to such
    lists. Instances that were not made from a name are tried, but no plan can hold them. `analysis`: gives the order of
    the nodes, and must be of this graph. The rest is as for `aanalyze`; verifiers are tried at a node's first visit.

    Raises:
        VerifierError: a verifier cannot be made (`VerifierNotFound`: there is none of that name).
        PlanMismatch: the analysis is of another graph.
        GraphError, CasesError, InjectionError, ModelError, StoreError: as for `aanalyze`.
    """
    calibrator = Calibrator(
        graph,
        cases,
        verifiers=verifiers,
        analysis=analysis,
        scorer=scorer,
        faults=faults,
        faults_per_kind=faults_per_kind,
        nodes=nodes,
        visits=visits,
        pass_mark=pass_mark,
        seed=seed,
        confidence=confidence,
        top=top,
        margin=margin,
        limits=limits or Limits(),
        store=store,
        concurrency=concurrency,
        recordings=recordings,
        dry_run=dry_run,
        progress=progress,
        config=config or {},
        context=context,
    )
    return await calibrator.run()


class Calibrator(Study[Calibration]):
    """One calibration; the settings are those of `acalibrate`."""

    forgets = ("verdict",)

    def __init__(
        self,
        graph: Any,
        cases: Any,
        *,
        verifiers: Verifiers | Mapping[str, Verifiers],
        analysis: Analysis | None = None,
        verifier_timeout_s: float = 60.0,
        **settings: Any,
    ) -> None:
        super().__init__(graph, cases, **settings)
        self._analysis = analysis
        self._timeout_s = verifier_timeout_s
        self._asked = _asked(verifiers)
        self.outcomes: list[Outcome] = []
        self.dropped: dict[tuple[str, str], str] = {}
        self.absent: dict[tuple[str, str], list[int]] = {}
        """By node and label, the cases whose run did not come to the node."""

    @property
    def found_something(self) -> bool:
        return bool(self.outcomes)

    def entrants(self, node: str) -> list[Entrant]:
        """The verifiers that are to be tried at a node."""
        return self._asked.get(node, self._asked.get(None, []))

    def forecasts(self, cases: int) -> Forecast:
        self._order_nodes()
        faults = self.settings.faults_per_kind if any(f.kind == "output" for f in self.settings.faults) else 0
        verdicts = {node: len(self.entrants(node)) * (1 + faults) for node in self.targets}
        suffix = {node: len(self.workflow.downstream(node)) + 1 for node in self.targets}
        replays = sum(suffix[node] * (1 + faults + verdicts[node]) for node in self.targets)
        runs = cases + min(cases, ENOUGH)
        return Forecast(
            cases=cases,
            nodes=len(self.targets),
            trials=cases * sum(faults + verdicts[node] for node in self.targets),
            node_executions=runs * len(self.workflow.order) + cases * replays,
            basis=f"{cases * sum(verdicts.values())} verifications, if every verdict changes the output, "
            "each in its own way, and no verifier is dropped early",
        )

    def _order_nodes(self) -> None:
        if self._analysis is not None:
            if self._analysis.fingerprint != self.workflow.fingerprint:
                theirs = WorkflowGraph.from_description(self._analysis.graph)
                raise PlanMismatch(
                    f"the analysis is of another graph ({difference(theirs, self.workflow)}); analyse this one first"
                )
            place = {name: index for index, name in enumerate(self._analysis.ranking)}
            self.targets.sort(key=lambda name: place.get(name, len(place)))
        for node in self._asked:
            if node is not None:
                self.workflow.known(node)
        self.targets = [node for node in self.targets if self.entrants(node)]
        if not self.targets:
            raise GraphError("no node is left to calibrate; name nodes that have verifiers")

    async def work(self, cases: Sequence[Case]) -> None:
        judge = Judge(
            rounds=self.rounds, seed=self.settings.seed, prices=self.settings.prices, timeout_s=self._timeout_s
        )
        waiting = list(enumerate(cases))
        for goal in (*LOOKS, math.inf):
            usable = await self._clean_until(goal, waiting)
            await self.rounds.get_ready(usable)
            for node in self.targets:
                running = [e for e in self.entrants(node) if (node, e.label) not in self.dropped]
                await together(self._try(judge, bench, node, running) for bench in usable)
                if waiting:
                    self._race(node, running)
            self.tell("look", f"{len(self.records)} of {len(cases)} cases")
            if not waiting:
                return

    async def _clean_until(self, goal: float, waiting: list[tuple[int, Case]]) -> list[Bench]:
        """Take cases, in their order, as an analysis does, so that faults are drawn on the same background.

        That is until `goal` of all clean runs were right, or no case is left.
        """
        fresh: list[Bench] = []
        while waiting and (missing := goal - sum(record.right for record in self.records)) > 0:
            taken = len(waiting) if missing == math.inf else int(missing)
            batch, waiting[:taken] = waiting[:taken], []
            benches = await self.rounds.clean(batch)
            fresh += benches
            self.records += [bench.record for bench in benches]
        if not waiting and not any(record.right for record in self.records):
            raise self.nothing_to_measure()
        return [bench for bench in fresh if not bench.record.skipped]

    async def _try(self, judge: Judge, bench: Bench, node: str, running: Sequence[Entrant]) -> None:
        """Verifiers at one node in one case: on the output as it is, and with faults in it."""
        executions = visits_of(bench.run, node, every=False)
        if not executions:
            for each in running:
                self.absent.setdefault((node, each.label), []).append(bench.record.index)
            return
        self.outcomes.extend(await judge.compare(bench, executions[0], running))
        self.tell("trial", bench.record.id)

    def _race(self, node: str, running: Sequence[Entrant]) -> None:
        """Drop verifiers that another beats with confidence, for no more dollars, tokens and calls."""
        pairs = len(self.entrants(node)) * (len(self.entrants(node)) - 1)
        tail = (1 - self.settings.confidence) / max(1, pairs * len(LOOKS))
        ordered = sorted(self.outcomes, key=lambda o: o.case)
        gains = {each.label: rows.gains(ordered, node, each.label) for each in running}
        for better, worse in permutations(gains, 2):
            common = gains[better].keys() & gains[worse].keys()
            if len(common) < MIN_CASES or not rows.costs_no_more(ordered, node, better, worse):
                continue
            # a difference of gains spans [-2, 2]
            halves = [(gains[better][case] - gains[worse][case]) / 2 for case in sorted(common)]
            if signed_lower_bound(halves, tail) > 0:
                self.dropped.setdefault((node, worse), f"beaten by {better} on {len(common)} cases, at no lower price")

    def result(self, partial: str | None) -> Calibration:
        return rows.summarise(self, partial)


def entrant(spec: "str | Mapping[str, Any] | Verifier") -> Entrant:
    """Make a verifier ready to be tried. Raises `VerifierError` if it cannot be made."""
    verifier = make_verifier(spec)
    try:
        saved: dict[str, Any] | None = settings_of(verifier)
    except VerifierError:
        saved = None
    name = verifier.name if saved is None else str(saved["use"])
    settings = None if saved is None else {key: value for key, value in saved.items() if key != "use"}
    return Entrant(
        verifier=verifier,
        label=rows.label_of(name, settings or {}),
        name=name,
        settings=settings,
        fingerprint=digest([saved, object_fingerprint(verifier), _package(saved)]),
    )


def _package(saved: Mapping[str, Any] | None) -> str:
    """The package that a verifier comes from, with its version: another one may judge otherwise."""
    if saved is None:
        return ""
    package = installed_verifiers()[str(saved["use"])].package
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


def _asked(verifiers: Verifiers | Mapping[str, Verifiers]) -> dict[str | None, list[Entrant]]:
    """The verifiers to try, by node; under None those for every node that is not named."""
    by_node: Mapping[Any, Any] = {None: verifiers}
    if isinstance(verifiers, Mapping) and "use" not in verifiers:
        by_node = verifiers
    found = {node: _told_apart([entrant(spec) for spec in _listed(specs)]) for node, specs in by_node.items()}
    if not any(found.values()):
        raise VerifierError("no verifiers were given to try; `sherlock verifiers` lists those that are installed")
    return found


def _listed(specs: Any) -> Sequence[Any]:
    """A verifier that stands alone is a list of one."""
    alone = isinstance(specs, str | Mapping) or not isinstance(specs, Iterable)
    return [specs] if alone else list(specs)


def _told_apart(entrants: Sequence[Entrant]) -> list[Entrant]:
    """Each verifier once, each with a label of its own: two instances of one class may well be called the same."""
    found: dict[str, Entrant] = {}
    for each in entrants:
        if any(each.fingerprint == other.fingerprint and each.settings == other.settings for other in found.values()):
            continue
        labels = chain([each.label], (f"{each.label} #{number}" for number in count(2)))
        label = next(label for label in labels if label not in found)
        found[label] = replace(each, label=label)
    return list(found.values())
