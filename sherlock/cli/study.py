"""What the commands that run a graph have in common: checks before anything starts, progress, how they are ended."""

import contextlib
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

from sherlock.cli.options import STORE, Asked, AskedCases, AskedKept, AskedStudy
from sherlock.cli.settings import SettingsError
from sherlock.errors import StoreError

if TYPE_CHECKING:
    from sherlock.analysis.faults import Fault
    from sherlock.cases import Case
    from sherlock.cli.progress import Watch
    from sherlock.interpose.recording import Mode, Recordings

INTERRUPTED = 130
NEEDED = {"graph": "agent.py:graph", "cases": "--cases cases.jsonl", "scorer": "--scorer exact_match"}

AskedT = TypeVar("AskedT", bound=AskedStudy)
Result_co = TypeVar("Result_co", covariant=True)
Result = TypeVar("Result", bound="Artefact")


class Artefact(Protocol):
    """A result as it is written."""

    def save(self, path: Path, /) -> None: ...
    def to_json(self) -> str: ...


class Work(Protocol[Result_co]):
    """What is run: `stop` ends it early, with what is there."""

    def run(self) -> Coroutine[Any, Any, Result_co]: ...
    def stop(self, reason: str) -> None: ...


def check_needed(want: Asked, *names: str) -> None:
    """Raise `SettingsError` unless graph, cases and scorer, or those of these names, were given."""
    for name, example in NEEDED.items():
        if names and name not in names:
            continue
        if getattr(want, name) is None:
            raise SettingsError(
                f"no {name} given: say {example}, or set {name} under [tool.sherlock] in pyproject.toml"
            )


def check_model(want: Asked) -> None:
    """Raise `SettingsError` for a model that cannot be had."""
    if want.model not in (None, "local"):
        raise SettingsError(
            f"--model {want.model}: only `local` can be run for you; the graph itself says which other models it calls"
        )


def check_ways(want: AskedKept, *, writes: bool) -> None:
    """Raise `SettingsError` for a model, recordings or files that cannot be had, before anything is started."""
    check_model(want)
    if want.record not in ("none", "new", "all"):
        raise SettingsError(f"--record {want.record}: say none, new or all")
    if want.recordings is None and "record" in want.given:
        raise SettingsError("--record needs --recordings DIR, the folder that holds the recordings")
    if writes:
        check_files(want)


def check_files(want: AskedCases) -> None:
    """Raise `SettingsError` for files that cannot be written."""
    for path in (want.output, want.markdown):
        if path is not None and str(path) != "-":
            _check_writable(path)


def check_timeout(seconds: float) -> None:
    """Raise `SettingsError` for a time in which nothing can be verified."""
    if not seconds > 0:
        raise SettingsError(f"--verifier-timeout-s {seconds:g}: give the seconds, more than 0")


def _check_writable(path: Path) -> None:
    """It would be a pity to find out after hours of work."""
    if path.is_dir():
        raise SettingsError(f"{str(path)!r} is a folder: name a file to write to")
    folder = next(folder for folder in path.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise SettingsError(f"{str(path)!r} cannot be written: {str(folder)!r} is no folder that you may write to")


class StudyRun(ABC, Generic[AskedT, Result]):
    """One study, from the first look at its inputs to the files that it leaves."""

    def __init__(self, want: AskedT, watch: "Watch") -> None:
        self.want = want
        self.watch = watch
        self.interrupted = False

    @abstractmethod
    def study(self, cases: "list[Case]") -> Work[Result]:
        """The study, ready to be run; ValueError for a setting that is out of range."""

    @abstractmethod
    def markdown(self, result: Result) -> str:
        """The report in Markdown."""

    @abstractmethod
    def show(self, result: Result, saved: list[Path]) -> None:
        """Print the report, or one sentence if nothing more is wanted."""

    def run(self) -> int:
        """Do it; return the exit code."""
        try:
            result = self._result()
        except KeyboardInterrupt:
            print(f"sherlock: aborted; {self._kept()}", file=sys.stderr)
            return INTERRUPTED
        saved = self._save(result)
        if self.want.json:
            from sherlock.cli import console

            console.print_json(result.to_json())
        else:
            self.show(result, saved)
        if self.interrupted:
            print(f"sherlock: interrupted; the result so far is in {self.want.output}; {self._kept()}", file=sys.stderr)
            return INTERRUPTED
        return 0

    def _result(self) -> Result:
        from sherlock.cases import read_cases

        cases = read_cases(self.want.cases or "")
        with surroundings(self.want, self.watch):
            try:
                return self._awaited(cases)
            except StoreError:
                if self.want.resume or not store_set_aside(self.want, self.watch):
                    raise
            return self._awaited(cases)

    def _awaited(self, cases: "list[Case]") -> Result:
        try:
            study = self.study(cases)
        except ValueError as error:
            raise SettingsError(str(error)) from error

        def note() -> None:
            self.interrupted = True

        return awaited(study, self.watch, on_stop=note)

    def _save(self, result: Result) -> list[Path]:
        """Write the files that were asked for; none on a dry run."""
        if self.want.dry_run:
            return []
        result.save(self.want.output)
        saved = [self.want.output]
        if self.want.markdown is not None:
            from sherlock.cli.report import write_text

            write_text(self.markdown(result), self.want.markdown)
            saved.append(self.want.markdown)
        return [path for path in saved if str(path) != "-"]

    def _kept(self) -> str:
        return f"every trial is in {self.want.store}, go on from there with --resume"


def store_set_aside(want: AskedKept, watch: "Watch") -> bool:
    """Rename the default store where it is of no use for this graph, as after an edit; never one that was named."""
    if "store" in want.given or not want.store.is_file():
        return False
    aside = STORE.with_name("trials.previous.sqlite")
    with contextlib.suppress(OSError):
        for ending in ("-wal", "-shm", ""):
            if (old := Path(f"{want.store}{ending}")).exists():
                old.replace(f"{aside}{ending}")
        watch.say(f"the trials in {want.store} cannot be used for this graph; they are kept as {aside}")
        return True
    return False


@contextlib.contextmanager
def surroundings(want: Asked, watch: "Watch") -> Iterator[None]:
    """Progress on standard error, also what the graph itself prints, and the embedded model if it was asked for.

    The model is there before the graph is imported, and gone whatever happens.
    """
    with watch, contextlib.redirect_stdout(sys.stderr):
        if want.model is None:
            yield
            return
        from sherlock.models.local import serve

        watch.say("starting the embedded model")
        with serve(export=True):
            yield


def awaited(work: Work[Result_co], watch: "Watch", on_stop: Any) -> Result_co:
    """Run the work; the first Ctrl-C ends it with what is there."""
    from sherlock import background

    def stop() -> None:
        on_stop()
        watch.say("stopping; what was measured is kept (interrupt once more to abort)")
        work.stop("interrupted")

    return background.run(work.run(), on_interrupt=stop)


def study_settings(want: AskedStudy, watch: "Watch") -> dict[str, Any]:
    """The settings that both studies take."""
    from sherlock.models.prices import Prices
    from sherlock.usage import Limits

    return {
        "scorer": want.scorer or "",
        "faults": _faults(want.faults),
        "faults_per_kind": want.faults_per_kind,
        "nodes": want.node or None,
        "pass_mark": want.pass_mark,
        "seed": want.seed,
        "limits": Limits(usd=want.max_usd, tokens=want.max_tokens, calls=want.max_calls, seconds=want.max_seconds),
        "store": None if want.dry_run else want.store,
        "concurrency": want.concurrency,
        "recordings": recordings(want),
        "dry_run": want.dry_run,
        "progress": watch,
        "config": config(want.config),
        "context": None,
        "prices": Prices(want.prices, want.energy),
        "output_key": want.output_key,
        "fresh": not want.resume,
    }


def _faults(reference: str | None) -> "list[Fault] | tuple[Fault, ...]":
    from sherlock.cli.faults import load_faults

    return load_faults(reference)


def recordings(want: AskedKept) -> "Recordings | None":
    """The folder of recorded calls, if one was named."""
    if want.recordings is None:
        return None
    from sherlock.interpose.recording import Recordings

    return Recordings(want.recordings, mode=cast("Mode", want.record))


def config(text: Any) -> Mapping[str, Any]:
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
        found = json.loads(source)
    except ValueError as error:
        raise SettingsError(f"{place} is not JSON ({error}): give a JSON object") from error
    if not isinstance(found, dict):
        raise SettingsError(f'{place} holds no JSON object: give one, such as {{"configurable": {{}}}}')
    return found
