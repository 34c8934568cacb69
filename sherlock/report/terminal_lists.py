"""Lists for a terminal: the fault model, what `doctor` found, the installed verifiers."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from sherlock.report.terminal_page import Page


def print_faults(faults: Sequence[Mapping[str, Any]], console: Console, *, tried: str | None) -> None:
    """The fault model: `faults` have name, kind, share and what they stand for, or the result of trying them."""
    page = Page(console)
    what = "stands for" if tried is None else "makes of it"
    table = page.new_table("fault", [("class", False), ("share", True), (what, False)])
    table.columns[-1].no_wrap = False
    for fault in faults:
        said = fault["stands_for"] if tried is None else fault["result"]
        text = "(does not fit)" if said is None else page.charset.text(said) or "(empty)"
        share = f"{100 * fault['share']:.1f} %"
        table.add_row(Text(page.charset.cut(fault["name"], 24)), fault["kind"], share, Text(text))
    page.put(table)


def print_findings(findings: Sequence[tuple[str, str, str, str]], console: Console) -> None:
    """What `doctor` found: state, name, text and cure of each."""
    page = Page(console)
    marks = {"ok": "ok", "info": "--", "broken": "!!"}
    widest = max(len(name) for _, name, _, _ in findings)
    for state, name, says, cure in findings:
        first = f"{marks[state]}  {name}"
        page.say(f"{says}; {cure}" if cure else says, indent=" " * (widest + 6), first=first)
