"""The calls of the library for code that is not async: thin shims over one background event loop."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sherlock import background
from sherlock.analysis import analyze as _analyze
from sherlock.analysis import calibrate as _calibrate
from sherlock.analysis.artefact import Analysis
from sherlock.analysis.calibration import Calibration
from sherlock.analysis.faults import PAPER, Fault
from sherlock.cases import Case
from sherlock.usage import Limits

if TYPE_CHECKING:
    from sherlock.interpose.recording import Recordings
    from sherlock.placement.plan import Plan
    from sherlock.runtime.validation import Validation


def calibrate(
    graph: Any,
    cases: str | Path | Iterable[Case | Mapping[str, Any]],
    *,
    verifiers: "_calibrate.Verifiers | Mapping[str, _calibrate.Verifiers]",
    scorer: str | Callable[..., Any],
    analysis: Analysis | None = None,
    **settings: Any,
) -> Calibration:
    """Try verifiers at nodes: `acalibrate`, which lists the settings, for code that is not async."""
    return background.run(
        _calibrate.acalibrate(graph, cases, verifiers=verifiers, scorer=scorer, analysis=analysis, **settings)
    )


def plan(analysis: Analysis | None = None, calibration: Calibration | None = None, **settings: Any) -> "Plan":
    """Choose which verifier to attach to which node: `aplan`, which lists the settings, for code that is not async."""
    from sherlock.placement.planning import aplan

    return background.run(aplan(analysis, calibration, **settings))


def validate(
    graph: Any,
    plan: "Plan | str | Path | None",
    cases: str | Path | Iterable[Case | Mapping[str, Any]],
    *,
    scorer: str | Callable[..., Any],
    blocking: bool = False,
    repeats: int = 1,
    limits: Limits | None = None,
    seed: int = 0,
    **settings: Any,
) -> "Validation":
    """Run cases without the plan and under it: `avalidate`, which lists the settings, for code that is not async."""
    from sherlock.runtime.validate import avalidate

    return background.run(
        avalidate(
            graph,
            plan,
            cases,
            scorer=scorer,
            blocking=blocking,
            repeats=repeats,
            limits=limits,
            seed=seed,
            **settings,
        )
    )


def analyze(
    graph: Any,
    cases: str | Path | Iterable[Case | Mapping[str, Any]],
    *,
    scorer: str | Callable[..., Any],
    faults: Sequence[Fault] = PAPER,
    faults_per_kind: int = 1,
    nodes: Sequence[str] | None = None,
    visits: _analyze.Visits = "first",
    pass_mark: float = 1.0,
    seed: int = 0,
    confidence: float = 0.95,
    top: int = 1,
    margin: float = 0.10,
    limits: Limits | None = None,
    store: str | Path | None = None,
    concurrency: int = 8,
    recordings: "str | Path | Recordings | None" = None,
    dry_run: bool = False,
    progress: Callable[[_analyze.Progress], None] | None = None,
    config: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Analysis:
    """Score the nodes of a workflow: `aanalyze` for code that is not async.

    On Ctrl-C what was found so far stays in the store, and `KeyboardInterrupt` is raised.
    """
    return background.run(
        _analyze.aanalyze(
            graph,
            cases,
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
            limits=limits,
            store=store,
            concurrency=concurrency,
            recordings=recordings,
            dry_run=dry_run,
            progress=progress,
            config=config,
            context=context,
        )
    )
