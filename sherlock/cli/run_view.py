"""What is seen of a run while it goes, on standard error: a board on a terminal, else a line for each event."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from sherlock.cli import console
from sherlock.report.run_board import Board, line
from sherlock.runtime.events import Event, RunFinished

if TYPE_CHECKING:
    from rich.console import RenderableType


class View(Protocol):
    """Is told each event."""

    def take(self, event: Event, /) -> None: ...
    def open(self) -> contextlib.AbstractContextManager[None]: ...


def view(*, silent: bool) -> View:
    """What suits standard error."""
    if silent:
        return Silent()
    return LiveBoard() if console.is_live() else Lines()


class Silent:
    """Nothing."""

    def take(self, event: Event) -> None:
        pass

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        yield


class Lines(Silent):
    """A line with its time for every event."""

    def __init__(self) -> None:
        from sherlock.report.texts import Charset

        self._charset = Charset(sys.stderr.encoding or "utf-8")

    def take(self, event: Event) -> None:
        said = line(event)
        if said is not None:
            print(f"{event.at_s:8.3f} s  {self._charset.text(said[0])}", file=sys.stderr, flush=True)


class LiveBoard:
    """A row for every node execution, kept up to date; rollbacks stand above it, in red."""

    def __init__(self) -> None:
        from rich.live import Live

        self._console = console.for_progress()
        self._board = Board()
        self._live = Live(
            get_renderable=self._shown, console=self._console, refresh_per_second=8, redirect_stdout=False
        )

    def take(self, event: Event) -> None:
        from sherlock.report.terminal_run import STYLES
        from sherlock.report.texts import Charset
        from sherlock.runtime.events import Flagged, RolledBack

        self._board.take(event)
        if isinstance(event, RunFinished):
            self._board.finish(event.report)
        if isinstance(event, RolledBack | Flagged) and (said := line(event)) is not None:
            text = Charset(self._console.encoding).text(said[0])
            self._console.print(f"{event.at_s:7.2f} s  {text}", style=f"bold {STYLES[said[1]]}", soft_wrap=True)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        with self._live:
            yield

    def _shown(self) -> "RenderableType":
        from sherlock.report.terminal_run import board_table

        return board_table(self._board, self._console, room=max(4, self._console.height - 6))
