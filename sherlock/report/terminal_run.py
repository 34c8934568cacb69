"""A guarded run in a terminal: its board while it goes, and what it came to."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sherlock.cases import opened
from sherlock.report.figures import amount, count, dollars
from sherlock.report.run_board import Board, Row
from sherlock.report.terminal_page import Page
from sherlock.report.texts import Charset
from sherlock.runtime.events import RunReport
from sherlock.runtime.savings import Savings
from sherlock.usage import Usage

STYLES = {"good": "green", "bad": "red", "dim": "dim", "": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """What a run came to. `reports` and `savings`: of each of its turns. `waiting`: what an interrupt asks."""

    output: Any = None
    reports: tuple[RunReport, ...] = ()
    savings: tuple[Savings, ...] = ()
    waiting: str | None = None
    how_to_resume: str = ""
    error: str | None = None


def board_table(board: Board, console: Console, room: int) -> Table:
    """The last `room` rows of the board."""
    charset = Charset(console.encoding)
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in list(board.rows.values())[-room:]:
        table.add_row(*_cells(row, charset))
    return table


def print_outcome(outcome: RunOutcome, console: Console) -> None:
    """The output, the times, what was saved and wasted, and what it took."""
    page = Page(console)
    if outcome.error is not None:
        page.say(f"The run raised {outcome.error}", style="bold red")
    elif outcome.waiting is not None:
        page.say(f"The run waits for an answer: {outcome.waiting}", style="bold")
        page.say(outcome.how_to_resume)
    else:
        page.say("Output", style="bold")
        for name, text in texts_of(outcome.output):
            page.line(f"{name}: {text}" if name else text, indent=2)
    page.facts("", facts(outcome))
    notes = dict.fromkeys(note for report in outcome.reports for note in report.notes)
    page.notes(notes)


def facts(outcome: RunOutcome) -> list[tuple[str, str]]:
    """Times, speculation and usage, as label and text."""
    reports = outcome.reports
    t_exec, t_vrf = sum(r.t_exec_s for r in reports), sum(r.t_vrf_s for r in reports)
    blocking, lost = sum(s.blocking_s for s in outcome.savings), sum(s.wasted_s for s in outcome.savings)
    executed, wasted = sum(r.node_executions for r in reports), sum(r.wasted_executions for r in reports)
    verdicts = [event for report in reports for event in report.verdicts]
    rejected = sum(not event.accepted for event in verdicts)
    found = [
        ("last node", f"{amount(t_exec)} s"),
        ("last verdict", f"{amount(t_vrf)} s"),
        ("saved", _saved(t_vrf, blocking)),
        ("verdicts", f"{len(verdicts):,}, {rejected:,} of them rejected the output"),
        ("rollbacks", count(sum(r.rollbacks for r in reports))),
        ("thrown away", f"{wasted:,} of {count(executed, 'node execution')}{f', {amount(lost)} s' if wasted else ''}"),
        ("flagged", count(sum(len(r.flagged) for r in reports), "output")),
        ("nodes", _usage(sum((r.usage.nodes for r in reports), Usage()))),
        ("verifiers", _usage(sum((r.usage.verifiers for r in reports), Usage()))),
    ]
    return [(name, text) for name, text in found if not (name == "flagged" and text.startswith("0 "))]


def texts_of(output: Any) -> list[tuple[str, str]]:
    """The keys of an output with what they hold, as text."""
    if isinstance(output, Mapping):
        return [(str(key), _text(value)) for key, value in output.items() if not str(key).startswith("__")]
    return [("", _text(output))]


def plain_value(value: Any) -> Any:
    """A value as JSON can hold it; what it cannot is written as text."""
    value = opened(value)
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain_value(item) for item in value]
    return str(value)


def _saved(t_vrf: float, blocking: float) -> str:
    gain = blocking - t_vrf
    if blocking <= 0:
        return "nothing, for no node was executed"
    told = f"about {amount(gain)} s, against" if gain > 0 else f"nothing: it took {amount(-gain)} s more than"
    return f"{told} waiting for every verdict ({amount(blocking)} s, added up from the executions kept)"


def _usage(usage: Usage) -> str:
    if not usage.calls:
        return "no model call"
    about = "about " if usage.estimated else ""
    price = "price unknown" if usage.usd is None else dollars(usage.usd)
    return f"{count(usage.calls, 'model call')}, {about}{usage.tokens:,} tokens, {price}"


def _cells(row: Row, charset: Charset) -> list[Text]:
    style = {"thrown away": "red strike", "in doubt": "yellow", "raised": "red", "runs": "bold"}.get(row.state, "")
    took = "" if row.seconds is None else f"{amount(row.seconds)} s"
    return [
        Text(f"{row.at_s:7.2f} s", style="dim"),
        Text(charset.cut_middle(row.node, 24), style=style),
        Text(took if row.state == "done" else f"{row.state} {took}".strip(), style=style.replace(" strike", "")),
        Text(charset.cut(row.verdict, 60), style=STYLES[row.tone]),
    ]


def _text(value: Any) -> str:
    plain = plain_value(value)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
