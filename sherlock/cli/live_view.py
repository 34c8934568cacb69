"""What the live view shows: stage, counts, and the ranking as it settles."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sherlock.cli.progress import STAGES, right, stage_of
from sherlock.report.bars import bar, scale
from sherlock.report.figures import count, dollars, duration, figure
from sherlock.report.texts import Charset

if TYPE_CHECKING:
    from sherlock.analysis.analyze import Progress

SHOWN_NODES = 10
BAR = 20
ROOMY = 76


def view(
    event: "Progress | None",
    done: int,
    ranking: tuple[tuple[str, Any], ...],
    console: Console,
    stages: Mapping[str, str] = STAGES,
) -> RenderableType:
    """The state of a study after `event`, with `done` cases run; None: it is being prepared."""
    charset = Charset(console.encoding)
    spinner = "|/-\\"[int(8 * time.monotonic()) % 4]
    if event is None:
        return Text.assemble(spinner, " reading graph and cases")
    stage = Text.assemble(spinner, " ", (stage_of(event, stages), "bold"), f"  {duration(event.elapsed_s)}")
    return Group(stage, _counts(event, done, charset), *_ranking(ranking, console, charset))


def _counts(event: "Progress", done: int, charset: Charset) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    most = event.forecast
    cases, trials = (most.cases, most.trials) if most else (0, 0)
    grid.add_row("cases", _bar(done, cases, charset), f"{done:,} of {cases:,}{right(event, done)}")
    grid.add_row("trials", _bar(event.trials, trials, charset), f"{event.trials:,} of at most {trials:,}")
    grid.add_row("calls", "", f"{count(event.model_calls)} ({dollars(event.usd)})")
    return grid


def _bar(done: int, total: int, charset: Charset) -> RenderableType:
    if charset.drawn:
        return ProgressBar(total=max(1, total), completed=done, width=BAR)
    filled = BAR * done // max(1, total)
    return Text("#" * filled + "." * (BAR - filled))


def _ranking(ranking: tuple[tuple[str, Any], ...], console: Console, charset: Charset) -> list[RenderableType]:
    if not ranking:
        return []
    room = max(1, min(SHOWN_NODES, console.height - 8))
    low, high = scale([estimate for _, estimate in ranking])
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, estimate in ranking[:room]:
        drawn = bar(estimate, low=low, high=high, width=BAR, charset=charset) if console.width >= ROOMY else ""
        figures = f"{figure(estimate)}  n={estimate.n}"
        table.add_row(Text(charset.cut_middle(name, 24)), Text(drawn, style="cyan"), figures)
    return [Text("vulnerability so far", style="dim"), table]
