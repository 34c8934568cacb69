"""Lists for a terminal: the fault model, what `doctor` found, the installed verifiers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
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


def print_verifiers(rows: Sequence[Mapping[str, Any]], console: Console) -> None:
    """The installed verifiers: `rows` have name, summary, settings, package, and error where they cannot be used."""
    page = Page(console)
    if not rows:
        page.say("No verifier is installed.")
    widest = max((cell_len(page.charset.text(row["name"])) for row in rows), default=0)
    indent = " " * (min(widest, 24) + 2)
    for row in rows:
        name = page.charset.cut(row["name"], 24)
        if row["error"]:
            page.say(f"cannot be used: {row['error']}", indent=indent, first=name)
            continue
        page.say(row["summary"] or "says nothing about itself", indent=indent, first=name)
        if row["settings"]:
            page.say(
                ", ".join(_setting(key, value) for key, value in row["settings"].items()), indent=indent, style="dim"
            )


def print_verifier(row: Mapping[str, Any], console: Console) -> None:
    """All about one verifier: `row` has its documentation too."""
    page = Page(console)
    page.say(row["name"], style="bold")
    for paragraph in row["documentation"].split("\n\n"):
        page.put(Text())
        page.say(" ".join(paragraph.split()))
    facts = [("from", f"{row['package']} ({row['reference']})")]
    page.facts("", [*facts, *((key, _said(value)) for key, value in row["settings"].items())])


def _setting(name: str, setting: Mapping[str, Any]) -> str:
    return f"{name} (needed)" if setting["required"] else name


def _said(setting: Mapping[str, Any]) -> str:
    if setting["required"]:
        return "must be given"
    default = setting["default"]
    return f"default {default if isinstance(default, str) and default else json.dumps(default, ensure_ascii=False)}"
