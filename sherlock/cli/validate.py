"""`sherlock validate`: from what was asked to one `Validator`, its report, and the gate."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sherlock.cli import console
from sherlock.cli.options import AskedValidate
from sherlock.cli.settings import SettingsError, asked
from sherlock.cli.study import INTERRUPTED, awaited, check_files, check_model, check_needed, config, surroundings

if TYPE_CHECKING:
    from sherlock.cli.progress import Watch
    from sherlock.runtime.validate import ValidationProgress, Validator
    from sherlock.runtime.validation import Validation

REFUTED = 1
STAGES = {"clean": "running the cases", "trial": "running the cases"}
_STAGES = {"begin": "forecast", "run": "trial", "case": "clean", "done": "done"}


def validate(given: Mapping[str, Any]) -> int:
    """Do what was asked; return the exit code: 1 where the promise is refuted and `--gate` was given.

    Raises `SherlockError` for whatever is wrong with what was asked.
    """
    from sherlock.cli.progress import watch

    want = asked(AskedValidate, given)
    check_needed(want)
    check_model(want)
    check_files(want)
    one = _Validating(want, watch(quiet=want.quiet, stages=STAGES))
    try:
        validation = one.result()
    except KeyboardInterrupt:
        print("sherlock: aborted; nothing was written", file=sys.stderr)
        return INTERRUPTED
    one.save_and_show(validation)
    if one.interrupted:
        print(f"sherlock: interrupted; the result so far is in {want.output}", file=sys.stderr)
        return INTERRUPTED
    if want.gate and validation.promise_kept is False:
        print("sherlock: the plan does not keep its promise (--gate)", file=sys.stderr)
        return REFUTED
    return 0


class _Validating:
    """One validation, from its settings to the files that it leaves."""

    def __init__(self, want: AskedValidate, watch: "Watch") -> None:
        self.want = want
        self.watch = watch
        self.interrupted = False

    def result(self) -> "Validation":
        """Run the cases, in every way."""
        with surroundings(self.want, self.watch):
            return awaited(self._validator(), self.watch, on_stop=self._note)

    def _note(self) -> None:
        self.interrupted = True

    def _validator(self) -> "Validator":
        from sherlock.models.prices import Prices
        from sherlock.runtime.validate import Validator
        from sherlock.usage import Limits

        want = self.want
        try:
            return Validator(
                graph=want.graph,
                plan=want.plan,
                cases=want.cases,
                scorer=want.scorer,
                blocking=want.blocking,
                repeats=want.repeats,
                limits=Limits(usd=want.max_usd, tokens=want.max_tokens, calls=want.max_calls, seconds=want.max_seconds),
                seed=want.seed,
                confidence=want.confidence,
                progress=self._tell,
                config=config(want.config),
                prices=Prices(want.prices, want.energy),
                output_key=want.output_key,
            )
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def _tell(self, event: "ValidationProgress") -> None:
        """Show how far it is, as other studies do; a run counts as a trial."""
        from sherlock.analysis.artefact import Forecast
        from sherlock.analysis.study import Progress

        ways = event.runs_in_all // max(1, event.cases_in_all)
        forecast = Forecast(
            cases=event.cases_in_all,
            nodes=event.nodes,
            trials=event.runs_in_all,
            node_executions=event.runs_in_all * event.nodes,
            basis=f"{ways} runs of every case, one at a time, without what is executed again",
        )
        self.watch(
            Progress(
                stage=_STAGES[event.stage],
                what=event.what,
                trials=event.runs,
                cases=-1,  # which of them were right is not counted
                model_calls=event.model_calls,
                usd=event.usd,
                elapsed_s=event.elapsed_s,
                forecast=forecast,
            )
        )

    def save_and_show(self, validation: "Validation") -> None:
        """Write the files that were asked for, and print the report."""
        want = self.want
        validation.save(want.output)
        saved: list[Path] = [want.output]
        if want.markdown is not None:
            from sherlock.cli.report import write_text
            from sherlock.report.markdown_validation import markdown

            write_text(markdown(validation), want.markdown)
            saved.append(want.markdown)
        if want.json:
            console.print_json(validation.to_json())
            return
        from sherlock.report.terminal_validation import print_headline, print_validation

        out = console.for_results()
        if not want.quiet:
            print_validation(validation, out)
            console.print_saved([path for path in saved if str(path) != "-"], out)
            out.print()
        print_headline(validation, out)
