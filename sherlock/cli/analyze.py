"""`sherlock analyze`: from what was asked to one `Analyst`, and its report."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sherlock.cli.options import AskedAnalyze
from sherlock.cli.settings import asked
from sherlock.cli.study import StudyRun, check_needed, check_ways, study_settings

if TYPE_CHECKING:
    from sherlock.analysis.analyze import Analyst, Visits
    from sherlock.analysis.artefact import Analysis
    from sherlock.cases import Case


def analyze(given: Mapping[str, Any]) -> int:
    """Do what was asked; return the exit code.

    Raises `SherlockError` for whatever is wrong with what was asked.
    """
    from sherlock.cli.progress import watch

    want = asked(AskedAnalyze, given)
    check_needed(want)
    check_ways(want, writes=not want.dry_run)
    return _Run(want, watch(quiet=want.quiet)).run()


class _Run(StudyRun[AskedAnalyze, "Analysis"]):
    def study(self, cases: "list[Case]") -> "Analyst":
        from sherlock.analysis.analyze import Analyst

        want = self.want
        return Analyst(
            want.graph,
            cases,
            visits=cast("Visits", want.visits),
            confidence=want.confidence,
            top=want.top,
            margin=want.margin,
            **study_settings(want, self.watch),
        )

    def markdown(self, result: "Analysis") -> str:
        from sherlock.report.markdown import markdown

        return markdown(result)

    def show(self, result: "Analysis", saved: list[Path]) -> None:
        from sherlock.cli import console
        from sherlock.report.terminal import print_analysis, print_headline
        from sherlock.report.terminal_page import print_forecast

        out = console.for_results()
        if self.want.dry_run:
            print_forecast(result.forecast, out)
            return
        if not self.want.quiet:
            print_analysis(result, out)
            console.print_saved(saved, out)
            out.print()
        print_headline(result, out)
