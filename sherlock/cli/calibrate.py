"""`sherlock calibrate`: from what was asked to one `Calibrator`, and its report."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sherlock.cli.options import ANALYSIS, AskedCalibrate
from sherlock.cli.settings import asked
from sherlock.cli.study import StudyRun, check_needed, check_timeout, check_ways, study_settings
from sherlock.cli.verifier_specs import tried
from sherlock.errors import PlanMismatch

if TYPE_CHECKING:
    from sherlock.analysis.artefact import Analysis
    from sherlock.analysis.calibrate import Calibrator
    from sherlock.analysis.calibration import Calibration
    from sherlock.cases import Case
    from sherlock.cli.progress import Watch

STAGES = {
    "sham": "trying verifiers",
    "trial": "trying verifiers",
    "look": "comparing verifiers",
}


def calibrate(given: Mapping[str, Any]) -> int:
    """Do what was asked; return the exit code.

    Raises `SherlockError` for whatever is wrong with what was asked.
    """
    from sherlock.cli.progress import watch

    want = asked(AskedCalibrate, given)
    check_needed(want)
    check_ways(want, writes=not want.dry_run)
    check_timeout(want.verifier_timeout_s)
    return _Run(want, watch(quiet=want.quiet, stages=STAGES)).run()


class _Run(StudyRun[AskedCalibrate, "Calibration"]):
    def __init__(self, want: AskedCalibrate, watch: "Watch") -> None:
        super().__init__(want, watch)
        self._verifiers = tried(want.verifier, want.verifiers)
        self._analysis = _analysis(want)

    def study(self, cases: "list[Case]") -> "Calibrator":
        from sherlock.analysis.calibrate import Calibrator

        want = self.want
        return Calibrator(
            want.graph,
            cases,
            verifiers=cast("Any", self._verifiers),
            analysis=self._analysis,
            verifier_timeout_s=want.verifier_timeout_s,
            visits="first",
            confidence=want.confidence,
            top=1,
            margin=0.10,
            **study_settings(want, self.watch),
        )

    def _awaited(self, cases: "list[Case]") -> "Calibration":
        try:
            return super()._awaited(cases)
        except PlanMismatch:
            if self._analysis is None or "analysis" in self.want.given:
                raise
        self._analysis = None
        self.watch.say(f"{ANALYSIS} is of another graph, so it is not used")
        return super()._awaited(cases)

    def markdown(self, result: "Calibration") -> str:
        from sherlock.report.markdown_calibration import markdown

        return markdown(result)

    def show(self, result: "Calibration", saved: list[Path]) -> None:
        from sherlock.cli import console
        from sherlock.report.terminal_calibration import print_calibration, print_headline
        from sherlock.report.terminal_page import print_forecast

        out = console.for_results()
        if self.want.dry_run:
            print_forecast(result.forecast, out)
            return
        if not self.want.quiet:
            print_calibration(result, out)
            console.print_saved(saved, out)
            out.print()
        print_headline(result, out)


def _analysis(want: AskedCalibrate) -> "Analysis | None":
    """The analysis that was named, else the one that lies here."""
    path = want.analysis if want.analysis is not None else ANALYSIS
    if want.analysis is None and not path.is_file():
        return None
    from sherlock.analysis.artefact import Analysis

    return Analysis.load(path)
