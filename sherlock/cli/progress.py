"""How far a study is, on standard error: a live view on a terminal, else a line now and then."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from sherlock.cli import console
from sherlock.report.content import forecast_lines
from sherlock.report.figures import count, dollars, duration

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sherlock.analysis.analyze import Progress

EVERY_S = 10.0
PATIENCE_S = 3.0
STAGES = {
    "forecast": "running the cases",
    "clean": "running the cases",
    "sham": "injecting faults",
    "trial": "injecting faults",
    "look": "",
    "done": "done",
}
"""What each stage is called; "": what the event itself says."""


class Watch(Protocol):
    """Is told how far a study is; open for as long as it lasts."""

    def __call__(self, event: "Progress", /) -> None: ...
    def say(self, text: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def watch(*, quiet: bool, stages: Mapping[str, str] | None = None) -> Watch:
    """What suits standard error. `stages` says what stages are called that are not what they are in an analysis."""
    if quiet:
        return Told()
    named = {**STAGES, **(stages or {})}
    if console.is_live():
        return Live(stages=named)
    return Lines(patience_s=0.0 if sys.stderr.isatty() else PATIENCE_S, stages=named)


class Told:
    """Only what it is told to say."""

    def __call__(self, event: "Progress") -> None:
        pass

    def say(self, text: str) -> None:
        print("sherlock:", text, file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Lines(Told):
    """A line for every look, and every `every_s` seconds.

    Nothing is said in the first `patience_s` seconds, so that what is refused at once is refused in one line.
    """

    def __init__(
        self, every_s: float = EVERY_S, patience_s: float = PATIENCE_S, stages: Mapping[str, str] = STAGES
    ) -> None:
        self._stages = stages
        self._every_s = every_s
        self._patience_s = patience_s
        self._forecast_at: float | None = None
        self._last = time.monotonic()
        self._cases = 0
        self._silent = True

    def __call__(self, event: "Progress") -> None:
        self._cases = _cases(event, self._cases)
        now = time.monotonic()
        if self._forecast_at is None:
            self._forecast_at = now
        is_look = event.stage == "look"
        if self._silent and (is_look or now - self._forecast_at >= self._patience_s):
            self._silent = False
            for line in forecast_lines(event.forecast) if event.forecast is not None else ():
                self.say(line)
        if is_look or (not self._silent and now - self._last >= self._every_s):
            self._last = now
            self.say(summary(event, self._cases, self._stages))


class Live:
    """A view that is drawn again four times a second, and gone at the end."""

    def __init__(self, stages: Mapping[str, str] = STAGES) -> None:
        from rich.live import Live as RichLive

        self._stages = stages
        self._console = console.for_progress()
        self._event: Progress | None = None
        self._cases = 0
        self._ranking: tuple[tuple[str, Any], ...] = ()
        self._live = RichLive(
            get_renderable=self._view,
            console=self._console,
            transient=True,
            refresh_per_second=4,
            redirect_stdout=False,
        )

    def __call__(self, event: "Progress") -> None:
        self._event = event
        self._cases = _cases(event, self._cases)
        self._ranking = event.ranking or self._ranking
        if event.stage == "forecast" and event.forecast is not None:
            for line in forecast_lines(event.forecast):
                self.say(line)

    def say(self, text: str) -> None:
        self._console.print(text, style="dim")

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def _view(self) -> "RenderableType":
        from sherlock.cli.live_view import view

        return view(self._event, self._cases, self._ranking, self._console, self._stages)


def stage_of(event: "Progress", stages: Mapping[str, str]) -> str:
    """What to call the stage that it is in."""
    return stages.get(event.stage, event.stage) or event.what or event.stage


def summary(event: "Progress", done: int, stages: Mapping[str, str] = STAGES) -> str:
    """One line: how far it is, with `done` cases run, and what it has taken."""
    most = event.forecast
    cases = f"{done:,} of {most.cases:,} cases" if most else count(done, "case")
    trials = f"{event.trials:,} of at most {most.trials:,} trials" if most else count(event.trials, "trial")
    usd = "" if event.usd == 0 else f" ({dollars(event.usd)})"
    return (
        f"{stage_of(event, stages)}: {cases} run{right(event, done)}; {trials}; "
        f"{count(event.model_calls, 'model call')}{usd}; {duration(event.elapsed_s)}"
    )


def right(event: "Progress", done: int) -> str:
    """How many of the cases were right; "" while not all that are done have been looked at."""
    return f", {event.right:,} right" if event.cases == done else ""


def _cases(event: "Progress", so_far: int) -> int:
    """How many cases have run: the study counts them when the last of a batch is done."""
    return max(event.cases, so_far + (event.stage == "clean"))
