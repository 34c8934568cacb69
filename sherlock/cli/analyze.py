"""`sherlock analyze`: from what was asked to one `Analyst`, its progress, its result, its exit code."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sherlock.cli.options import STORE, Asked
from sherlock.cli.settings import SettingsError, asked
from sherlock.errors import StoreError

if TYPE_CHECKING:
    from sherlock.analysis.analyze import Analyst
    from sherlock.analysis.artefact import Analysis
    from sherlock.analysis.faults import Fault
    from sherlock.cases import Case
    from sherlock.cli.progress import Watch
    from sherlock.interpose.recording import Mode, Recordings

INTERRUPTED = 130
NEEDED = {"graph": "agent.py:graph", "cases": "--cases cases.jsonl", "scorer": "--scorer exact_match"}


def analyze(given: Mapping[str, Any]) -> int:
    """Do what was asked; return the exit code.

    Raises `SherlockError` for whatever is wrong with what was asked.
    """
    want = asked(given)
    _check(want)
    return _Run(want).run()


def _check(want: Asked) -> None:
    """Find what is wrong before anything is started."""
    for name, example in NEEDED.items():
        if getattr(want, name) is None:
            raise SettingsError(
                f"no {name} given: say {example}, or set {name} under [tool.sherlock] in pyproject.toml"
            )
    if want.model not in (None, "local"):
        raise SettingsError(
            f"--model {want.model}: only `local` can be run for you; the graph itself says which other models it calls"
        )
    if want.record not in ("none", "new", "all"):
        raise SettingsError(f"--record {want.record}: say none, new or all")
    if want.recordings is None and "record" in want.given:
        raise SettingsError("--record needs --recordings DIR, the folder that holds the recordings")
    for path in (want.output, want.markdown):
        if path is not None and str(path) != "-" and not want.dry_run:
            _check_writable(path)


def _check_writable(path: Path) -> None:
    """It would be a pity to find out after hours of work."""
    if path.is_dir():
        raise SettingsError(f"{str(path)!r} is a folder: name a file to write to")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SettingsError(f"{str(path)!r} cannot be written: {str(folder)!r} is no folder that you may write to")


class _Run:
    """One analysis, from the first look at its inputs to the files that it leaves."""

    def __init__(self, want: Asked) -> None:
        from sherlock.cli.progress import watch

        self.want = want
        self.interrupted = False
        self.watch: Watch = watch(quiet=want.quiet)

    def run(self) -> int:
        try:
            analysis = self._analysed()
        except KeyboardInterrupt:
            print(f"sherlock: aborted; {self._kept()}", file=sys.stderr)
            return INTERRUPTED
        saved = self._save(analysis)
        self._show(analysis, saved)
        if self.interrupted:
            print(f"sherlock: interrupted; the result so far is in {self.want.output}; {self._kept()}", file=sys.stderr)
            return INTERRUPTED
        return 0

    def _analysed(self) -> "Analysis":
        from sherlock.cases import read_cases

        cases = read_cases(self.want.cases or "")
        # what the graph itself prints must not get between the lines of the result
        with self.watch, contextlib.redirect_stdout(sys.stderr), self._model_server():
            try:
                return self._awaited(self._analyst(cases))
            except StoreError:
                if not self._set_store_aside():
                    raise
            return self._awaited(self._analyst(cases))

    @contextlib.contextmanager
    def _model_server(self) -> Iterator[None]:
        """The embedded model, if it was asked for: there before the graph is imported, gone whatever happens."""
        if self.want.model is None:
            yield
            return
        from sherlock.models.local import serve

        self.watch.say("starting the embedded model")
        with serve(export=True):
            yield

    def _awaited(self, analyst: "Analyst") -> "Analysis":
        from sherlock import background

        def stop() -> None:
            self.interrupted = True
            self.watch.say("stopping; what was measured is kept (interrupt once more to abort)")
            analyst.stop("interrupted")

        return background.run(analyst.run(), on_interrupt=stop)

    def _analyst(self, cases: "list[Case]") -> "Analyst":
        from sherlock.analysis.analyze import Analyst
        from sherlock.models.prices import Prices
        from sherlock.usage import Limits

        want = self.want
        try:
            return Analyst(
                want.graph,
                cases,
                scorer=want.scorer or "",
                faults=_faults(want.faults),
                faults_per_kind=want.faults_per_kind,
                nodes=want.node or None,
                visits=want.visits,
                pass_mark=want.pass_mark,
                seed=want.seed,
                confidence=want.confidence,
                top=want.top,
                margin=want.margin,
                limits=Limits(usd=want.max_usd, tokens=want.max_tokens, calls=want.max_calls, seconds=want.max_seconds),
                store=None if want.dry_run else want.store,
                concurrency=want.concurrency,
                recordings=_recordings(want),
                dry_run=want.dry_run,
                progress=self.watch,
                config=_config(want.config),
                context=None,
                prices=Prices(want.prices),
                output_key=want.output_key,
                fresh=not want.resume,
            )
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def _set_store_aside(self) -> bool:
        """Rename the default store where it is of no use for this graph, as after an edit; never one that was named."""
        want = self.want
        if want.resume or "store" in want.given or not want.store.is_file():
            return False
        aside = STORE.with_name("trials.previous.sqlite")
        with contextlib.suppress(OSError):
            for ending in ("-wal", "-shm", ""):
                if (old := Path(f"{want.store}{ending}")).exists():
                    old.replace(f"{aside}{ending}")
            self.watch.say(f"the trials in {want.store} cannot be used for this graph; they are kept as {aside}")
            return True
        return False

    def _save(self, analysis: "Analysis") -> list[Path]:
        """Write the files that were asked for; none on a dry run."""
        if self.want.dry_run:
            return []
        analysis.save(self.want.output)
        saved = [self.want.output]
        if self.want.markdown is not None:
            from sherlock.cli.report import write_markdown

            write_markdown(analysis, self.want.markdown)
            saved.append(self.want.markdown)
        return [path for path in saved if str(path) != "-"]

    def _show(self, analysis: "Analysis", saved: list[Path]) -> None:
        from sherlock.cli import console

        if self.want.json:
            console.print_json(analysis.to_json())
            return
        from sherlock.report.terminal import print_analysis, print_forecast, print_headline

        out = console.for_results()
        if self.want.dry_run:
            print_forecast(analysis, out)
            return
        if not self.want.quiet:
            print_analysis(analysis, out)
            if saved:
                out.print()
                out.print(
                    f"Saved {' and '.join(map(str, saved))}", markup=False, highlight=False, emoji=False, soft_wrap=True
                )
            out.print()
        print_headline(analysis, out)

    def _kept(self) -> str:
        return f"every trial is in {self.want.store}, go on from there with --resume"


def _faults(reference: str | None) -> "list[Fault] | tuple[Fault, ...]":
    from sherlock.cli.faults import load_faults

    return load_faults(reference)


def _recordings(want: Asked) -> "Recordings | None":
    if want.recordings is None:
        return None
    from sherlock.interpose.recording import Recordings

    return Recordings(want.recordings, mode=cast("Mode", want.record))


def _config(text: Any) -> Mapping[str, Any]:
    """The config from a JSON object, a file that holds one, or a table in the settings."""
    if text is None or isinstance(text, Mapping):
        return text or {}
    place, source = "--config", str(text)
    if not source.lstrip().startswith("{"):
        place = source
        try:
            source = Path(source).read_text(encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"--config {place}: cannot be read ({error.strerror}): give a JSON object or its file"
            ) from error
    try:
        config = json.loads(source)
    except ValueError as error:
        raise SettingsError(f"{place} is not JSON ({error}): give a JSON object") from error
    if not isinstance(config, dict):
        raise SettingsError(f'{place} holds no JSON object: give one, such as {{"configurable": {{}}}}')
    return config
