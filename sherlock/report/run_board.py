"""A guarded run as it goes: one row for each node execution, kept up to date by the run's events."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sherlock.report.figures import amount
from sherlock.runtime.events import (
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Flagged,
    RolledBack,
    RunReport,
    VerdictReached,
    VerificationStarted,
    VerifierFailed,
)
from sherlock.runtime.savings import place_of

SHOWN = 160
"""Characters of a text that are shown of an output."""


@dataclass(slots=True, kw_only=True)
class Row:
    """A node execution. `state`: `runs`, `done`, `raised`, `ended` (cancelled), `in doubt` or `thrown away`.

    In doubt is what stood on an output that was rolled back: it is kept where it did not read what was corrected.
    """

    label: str
    node: str
    at_s: float
    state: str = "runs"
    seconds: float | None = None
    verdict: str = ""
    tone: str = ""
    """`good`, `bad`, or "" while nothing is known."""


@dataclass(slots=True)
class Board:
    """The rows so far, in the order in which they began."""

    rows: dict[str, Row] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Bring the rows up to date."""
        if isinstance(event, ExecutionStarted):
            self._begin(event)
            return
        row = self.rows.get(event.execution_id)
        if row is None:
            return
        if isinstance(event, ExecutionEnded):
            row.seconds = event.seconds
            if row.state == "runs" or (row.state == "in doubt" and event.error is not None):
                row.state = _end(event)
        elif isinstance(event, VerificationStarted):
            row.verdict, row.tone = f"{event.verifier} ...", ""
        elif isinstance(event, VerdictReached):
            row.verdict, row.tone = ruling(event), "good" if event.accepted else "bad"
        elif isinstance(event, VerifierFailed):
            row.verdict, row.tone = f"{event.verifier} gave no verdict: {event.message}", "bad"
        elif isinstance(event, Flagged):
            row.verdict, row.tone = f"{row.verdict}; stays, flagged".lstrip("; "), "bad"
        elif isinstance(event, RolledBack):
            self._roll_back(event, row)

    def finish(self, report: RunReport) -> None:
        """Settle what is in doubt, as far as the report tells."""
        doubtful = [row for row in self.rows.values() if row.state == "in doubt"]
        gone = len(self.thrown_away)
        for row in doubtful:
            if gone >= report.wasted_executions:
                row.state = "done"
            elif gone + len(doubtful) <= report.wasted_executions:
                row.state = "thrown away"

    @property
    def thrown_away(self) -> list[Row]:
        """What is known to have been for nothing."""
        return [row for row in self.rows.values() if row.state == "thrown away"]

    def _begin(self, event: ExecutionStarted) -> None:
        for row in self.rows.values():  # what stood at this place is gone, whoever said so
            if place_of(row.label) == place_of(event.execution_id):
                row.state = "thrown away"
        self.rows[event.execution_id] = Row(label=event.execution_id, node=event.node, at_s=event.at_s)

    def _roll_back(self, event: RolledBack, row: Row) -> None:
        if event.retry:
            row.state = "thrown away"
        for label in event.discarded:
            if label in self.rows and self.rows[label].state != "thrown away":
                self.rows[label].state = "in doubt"


def line(event: Event) -> tuple[str, str] | None:
    """An event as a line and its tone (`good`, `bad`, `dim` or ""); None for those that say nothing by themselves."""
    tell = _LINES.get(type(event))
    return None if tell is None else tell(event)


def ruling(event: VerdictReached) -> str:
    """What a verifier said, in a few words."""
    if event.accepted:
        return f"{event.verifier} accepts"
    why = f" ({_cut(event.rationale)})" if event.rationale else ""
    if event.after is None:
        return f"{event.verifier} rejects {_cut(event.before)!r}{why}"
    same = ", which says the same" if event.matched else ""
    return f"{event.verifier} puts {_cut(event.after)!r} for {_cut(event.before)!r}{same}{why}"


def rolled_back(event: RolledBack) -> str:
    """What a rollback did."""
    gone = [place_of(label).rpartition("/")[2].partition(":")[2] for label in event.discarded]
    stood = f"{', '.join(gone)} stood on it" if gone else "nothing stood on it"
    onward = f"{event.node} runs again" if event.retry else "the corrected output flows on"
    return f"ROLLED BACK after {event.node}: {stood}; {onward}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}\N{HORIZONTAL ELLIPSIS}"


def _end(event: ExecutionEnded) -> str:
    if event.error is None:
        return "done"
    return "ended" if "Cancelled" in event.error else "raised"


def _ended(event: ExecutionEnded) -> tuple[str, str]:
    if event.error is None:
        return f"{event.node} is done, in {amount(event.seconds)} s", ""
    how = "is ended" if _end(event) == "ended" else f"raised {event.error}"
    return f"{event.node} {how}, after {amount(event.seconds)} s", "dim"


def _judged(event: VerdictReached) -> tuple[str, str]:
    return f"{event.node}: {ruling(event)}, in {amount(event.seconds)} s", "good" if event.accepted else "bad"


_LINES: dict[type[Event], Callable[[Any], tuple[str, str]]] = {
    ExecutionStarted: lambda event: (f"{event.node} runs", ""),
    ExecutionEnded: _ended,
    VerificationStarted: lambda event: (f"{event.node} is verified by {event.verifier}", "dim"),
    VerdictReached: _judged,
    VerifierFailed: lambda event: (f"{event.node}: {event.verifier} gave no verdict: {event.message}", "bad"),
    RolledBack: lambda event: (rolled_back(event), "bad"),
    Flagged: lambda event: (f"{event.node} stays, flagged: {event.why}", "bad"),
}
