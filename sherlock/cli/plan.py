"""`sherlock plan`: from what was asked to one `Planner`, its plan, and what to say where there is none."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sherlock.cli import console
from sherlock.cli.options import ANALYSIS, CALIBRATION, AskedPlan
from sherlock.cli.settings import SettingsError, asked
from sherlock.cli.study import (
    INTERRUPTED,
    awaited,
    check_timeout,
    check_ways,
    config,
    recordings,
    store_set_aside,
    surroundings,
)
from sherlock.cli.verifier_specs import verifier_named
from sherlock.errors import StoreError

if TYPE_CHECKING:
    from sherlock.analysis.artefact import Analysis
    from sherlock.analysis.calibration import Calibration
    from sherlock.cli.progress import Watch
    from sherlock.placement.plan import Plan
    from sherlock.placement.planning import Planner, Unreachable
    from sherlock.placement.slo import SLO, Objective

UNREACHABLE = 1
STAGES = {"sham": "running whole plans", "trial": "running whole plans"}
_LIMITS = ("min_accuracy", "max_usd", "max_latency_s", "max_wh", "max_verifiers", "max_verifier_calls")


def plan(given: Mapping[str, Any]) -> int:
    """Do what was asked; return the exit code: 1 where no plan keeps what is asked.

    Raises `SherlockError` for whatever is wrong with what was asked.
    """
    from sherlock.cli.progress import watch
    from sherlock.placement.planning import Unreachable

    want = asked(AskedPlan, given)
    check_ways(want, writes=not want.frontier)
    check_timeout(want.verifier_timeout_s)
    _check_run(want)
    planning = _Planning(want, watch(quiet=want.quiet, stages=STAGES))
    if want.frontier:
        planning.show_frontier()
        return 0
    try:
        made = planning.made()
    except Unreachable as error:
        planning.show_unreachable(error)
        return UNREACHABLE
    except KeyboardInterrupt:
        print("sherlock: aborted; no plan was made", file=sys.stderr)
        return INTERRUPTED
    planning.save_and_show(made)
    if planning.interrupted:
        said = f"the plan is in {want.output}, and promises nothing that was not measured"
        print(f"sherlock: interrupted; {said}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _check_run(want: AskedPlan) -> None:
    """Whole plans are run with a graph, cases and a scorer, or not at all."""
    missing = [name for name in ("graph", "cases", "scorer") if getattr(want, name) is None]
    if missing and want.cases is not None and want.scorer is not None:
        raise SettingsError("no graph given to run plans on: say --graph agent.py:graph, or --screen-only")
    if missing and (want.cases is None) != (want.scorer is None) and not want.screen_only:
        there, needed = ("cases", "scorer") if want.scorer is None else ("scorer", "cases")
        raise SettingsError(f"--{there} needs --{needed} too, to run whole plans: give both, or say --screen-only")


class _Planning:
    """One planning, from what it is made from to the files that it leaves."""

    def __init__(self, want: AskedPlan, watch: "Watch") -> None:
        from sherlock.placement.slo import SLO, known_objective

        self.want = want
        self.watch = watch
        self.interrupted = False
        self.slo = SLO(**{name: getattr(want, name) for name in _LIMITS})
        self.objective = known_objective(want.objective)
        self.verifier = None if want.default_verifier is None else verifier_named(want.default_verifier, want.verifiers)
        self.calibration, self.analysis = self._artefacts()
        if self.calibration is None and self.verifier is None:
            raise SettingsError(
                "there is no calibration to plan from: make one with `sherlock calibrate`, or say --default-verifier "
                "resolve to place one where the shape of the graph suggests it"
            )

    def made(self) -> "Plan":
        """The plan, with the promise of whole runs where they were asked for. Raises `Unreachable`."""
        with surroundings(self.want, self.watch):
            try:
                return self._run(self._planner(self.slo, self.objective, run=True))
            except StoreError:
                if not store_set_aside(self.want, self.watch):
                    raise
            return self._run(self._planner(self.slo, self.objective, run=True))

    def save_and_show(self, made: "Plan") -> None:
        """Write the files that were asked for, and print the report."""
        want = self.want
        made.save(want.output)
        saved = [want.output]
        if want.markdown is not None:
            from sherlock.cli.report import write_text
            from sherlock.report.markdown_plan import markdown

            write_text(markdown(made), want.markdown)
            saved.append(want.markdown)
        if want.json:
            console.print_json(made.model_dump_json(indent=1))
            return
        from sherlock.report.terminal_plan import print_headline, print_plan

        out = console.for_results()
        if not want.quiet:
            print_plan(made, out)
            console.print_saved([path for path in saved if str(path) != "-"], out)
            out.print()
        print_headline(made, out)

    def show_unreachable(self, error: "Unreachable") -> None:
        """Say which limit binds, on standard error, and what the nearest plan would be."""
        nearest = error.nearest
        print(f"sherlock: {' '.join(str(error).split())}", file=sys.stderr)
        if self.want.json:
            found = None if nearest is None else nearest.model_dump(mode="json")
            text = json.dumps({"unreachable": str(error), "nearest": found}, indent=1, ensure_ascii=False)
            console.print_json(text)
            return
        from sherlock.report.terminal_plan import print_nearest

        print_nearest(nearest, console.for_results())

    def show_frontier(self) -> None:
        """Print and plot what every budget buys."""
        from sherlock.placement.planning import Unreachable
        from sherlock.report.frontier import Frontier, frontier

        if self.calibration is None:
            raise SettingsError("--frontier needs a calibration: make one with `sherlock calibrate`")

        def best(slo: "SLO") -> "Plan | None":
            try:
                return self._run(self._planner(slo, "accuracy", run=False))
            except Unreachable:
                return None

        with surroundings(self.want, self.watch):
            found: Frontier = frontier(best, self.slo)
        if self.want.json:
            console.print_json(found.to_json())
            return
        from sherlock.report.terminal_plan import print_frontier

        print_frontier(found, console.for_results())

    def _run(self, planner: "Planner") -> "Plan":
        def note() -> None:
            self.interrupted = True

        return awaited(planner, self.watch, on_stop=note)

    def _planner(self, slo: "SLO", objective: "Objective", *, run: bool) -> "Planner":
        from sherlock.models.prices import Prices
        from sherlock.placement.planning import Planner
        from sherlock.usage import Limits

        want = self.want
        runs = run and not want.screen_only
        try:
            return Planner(
                analysis=self.analysis,
                calibration=self.calibration,
                graph=want.graph,
                cases=want.cases if runs else None,
                scorer=want.scorer if runs else None,
                slo=slo,
                objective=objective,
                careful=want.careful,
                default_verifier=self.verifier,
                limits=Limits(
                    usd=want.limit_usd, tokens=want.limit_tokens, calls=want.limit_calls, seconds=want.limit_seconds
                ),
                seed=want.seed,
                store=want.store,
                recordings=recordings(want),
                concurrency=want.concurrency,
                progress=self.watch,
                config=config(want.config),
                prices=Prices(want.prices, want.energy),
                output_key=want.output_key,
                verifier_timeout_s=want.verifier_timeout_s,
            )
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def _artefacts(self) -> "tuple[Calibration | None, Analysis | None]":
        """What was named, else what lies here and is of one graph."""
        from sherlock.analysis.artefact import Analysis
        from sherlock.analysis.calibration import Calibration

        want = self.want
        calibration = _loaded(Calibration, want.calibration, CALIBRATION)
        analysis = _loaded(Analysis, want.analysis, ANALYSIS)
        both = analysis is not None and calibration is not None
        if both and want.analysis is None and analysis.fingerprint != calibration.fingerprint:
            self.watch.say(f"{ANALYSIS} is of another graph, so it is not used")
            analysis = None
        return calibration, analysis


def _loaded(kind: Any, named: Path | None, usual: Path) -> Any:
    path = usual if named is None else named
    return None if named is None and not path.is_file() else kind.load(path)
