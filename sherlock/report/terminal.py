"""The report for a terminal, of any width and any encoding; without colour where that is not wanted.

It ends with the sentence that matters, because the end is what a terminal shows.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console, OverflowMethod, RenderableType
from rich.table import Table
from rich.text import Text

from sherlock.analysis.artefact import Analysis, Example, NodeAnalysis
from sherlock.report import content
from sherlock.report.bars import bar, scale
from sherlock.report.columns import Column, classes, columns, why_missing
from sherlock.report.figures import count, figure
from sherlock.report.sentence import Sentence, headline, ranked
from sherlock.report.texts import Charset, Name

GAP = 2
BAR = 16
SHORTEST_NAME = 12
WIDEST_FIGURE = len("-0.16 [-0.67, -0.01]")
LONGEST_NOTE = 600
_FIGURE = re.compile(r"-?[\d.]+(?: %)?(?: \[-?[\d.]+, -?[\d.]+\])|\d %")
_GLUE = "\ue000"
UNDERLINED = box.Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
UNDERLINED_ASCII = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Everything but the headline."""
    page = _Page(console)
    page.say(content.today(analysis), style="bold")
    page.notes(content.warnings(analysis))
    page.ranking(analysis)
    page.examples(analysis)
    page.facts("What this took", content.cost(analysis))


def print_headline(analysis: Analysis, console: Console) -> None:
    """The one sentence."""
    _Page(console).sentence(headline(analysis))


def print_forecast(analysis: Analysis, console: Console) -> None:
    """What an analysis may take, where it was not begun."""
    page = _Page(console)
    for line in content.forecast_lines(analysis.forecast) if analysis.forecast is not None else ():
        page.say(line)


def print_faults(faults: Sequence[Mapping[str, Any]], console: Console, *, tried: str | None) -> None:
    """The fault model: `faults` have name, kind, share and what they stand for, or the result of trying them."""
    _Page(console).faults(faults, tried)


def print_findings(findings: Sequence[tuple[str, str, str, str]], console: Console) -> None:
    """What `doctor` found: state, name, text and cure of each."""
    page = _Page(console)
    marks = {"ok": "ok", "info": "--", "broken": "!!"}
    widest = max(len(name) for _, name, _, _ in findings)
    for state, name, says, cure in findings:
        first = f"{marks[state]}  {name}"
        page.say(f"{says}; {cure}" if cure else says, indent=" " * (widest + 6), first=first)


def print_node(analysis: Analysis, name: str, console: Console) -> None:
    """All that is known about one node."""
    page = _Page(console)
    node = analysis.nodes[name]
    page.say(page.charset.text(name), style="bold")
    page.facts("", [(c.title, text) for c in columns(analysis) if (text := c.cell(node)) is not None and c.is_number])
    page.notes(why_missing(analysis.model_copy(update={"nodes": {name: node}})))
    page.facts("Where it stands", content.node_facts(node))
    page.by_fault(node)
    for example in node.examples:
        page.example(example)


class _Page:
    """Writes the parts of a report to a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.charset = Charset(console.encoding)
        self.width = console.width

    def say(self, text: str, *, style: str = "", indent: str = "", first: str = "") -> None:
        """A paragraph; `first` stands in the indent of its first line."""
        self._wrapped(Text(self.charset.text(text), style=style), indent, first)

    def sentence(self, parts: Sentence) -> None:
        text = Text(style="bold")
        for part in parts:
            if isinstance(part, Name):
                text.append(self.charset.cut_middle(part, 40), "cyan")
            else:
                text.append(self.charset.text(part))
        self._wrapped(text)

    def ranking(self, analysis: Analysis) -> None:
        """The nodes, in as many tables as it takes for none to be wider than the console."""
        if not analysis.nodes:
            return
        found = self._columns(analysis)
        names = self._names(analysis)
        room = self.width - max(map(cell_len, names.values()))
        for group in _groups(found, analysis, room):
            self._put(Text())
            self._put(self._table(analysis, group, names))
        self._put(Text())
        legend = [f"{c.title}: {c.meaning}" for c in found if c.meaning and c.title in ("vulnerability", "repair gain")]
        for line in [content.interval_note(analysis), *legend, classes(analysis), *why_missing(analysis)]:
            if line:
                self.say(line, style="dim")

    def examples(self, analysis: Analysis) -> None:
        """The costliest fault at each of the first nodes."""
        leading = [name for name in analysis.ranking if analysis.nodes[name].examples][:3]
        if leading:
            self._put(Text())
            self.say("What a fault did", style="bold")
        for name in leading:
            self.example(analysis.nodes[name].examples[0], name)

    def example(self, example: Example, name: str = "") -> None:
        short = example.model_copy(
            update={"fault": self.charset.cut(example.fault, 24), "case": self.charset.cut(example.case, 24)}
        )
        title = content.example_title(short)
        if name:
            self.say(f"{self.charset.cut_middle(name, 24)}, {title}", indent="  ")
        else:
            self._put(Text())
            self.say(title)
        for label, text in (("before", example.before), ("after", example.after), ("answer", example.answer)):
            self._line(f"{label:<7}{text or '(empty)'}", indent=4, style="dim")
        if example.error:
            self._line(f"{'error':<7}{example.error}", indent=4, style="dim")

    def by_fault(self, node: NodeAnalysis) -> None:
        if not node.by_fault:
            return
        self._put(Text())
        table = self._new_table("fault", [("class", False), ("loss", True), ("cases", True)])
        worst = sorted(node.by_fault.items(), key=lambda item: (-item[1].loss.value, item[0]))
        for name, effect in worst:
            table.add_row(Text(self.charset.cut(name, 30)), effect.kind, figure(effect.loss), count(effect.loss.n))
        self._put(table)

    def faults(self, faults: Sequence[Mapping[str, Any]], tried: str | None) -> None:
        what = "stands for" if tried is None else "makes of it"
        table = self._new_table("fault", [("class", False), ("share", True), (what, False)])
        table.columns[-1].no_wrap = False
        for fault in faults:
            said = fault["stands_for"] if tried is None else fault["result"]
            text = "(does not fit)" if said is None else self.charset.text(said) or "(empty)"
            share = f"{100 * fault['share']:.1f} %"
            table.add_row(Text(self.charset.cut(fault["name"], 24)), fault["kind"], share, Text(text))
        self._put(table)

    def notes(self, lines: Iterable[str]) -> None:
        lines = list(lines)
        if lines:
            self._put(Text())
        for line in lines:
            self.say(line if len(line) <= LONGEST_NOTE else line[:LONGEST_NOTE] + self.charset.ellipsis)

    def facts(self, title: str, facts: Sequence[tuple[str, str]]) -> None:
        """Labels and texts, in two columns."""
        self._put(Text())
        if title:
            self.say(title, style="bold")
        widest = max(len(label) for label, _ in facts) + GAP
        for label, text in facts:
            self.say(text, indent=" " * (widest + 2), first=f"  {label}")

    def _names(self, analysis: Analysis) -> dict[str, str]:
        widest = max(1, min(max(SHORTEST_NAME, self.width // 4), self.width - WIDEST_FIGURE - GAP))
        return {name: self.charset.cut_middle(name, widest) for name in analysis.ranking}

    def _columns(self, analysis: Analysis) -> list[Column]:
        """The columns, with a drawing of the ranked figure before those that matter least."""
        found = columns(analysis)
        shown = {name: estimate for name in analysis.ranking if (estimate := ranked(analysis, name)) is not None}
        if not shown:
            return found
        low, high = scale(list(shown.values()))
        title = f"{low:g}{f'{high:g}':>{BAR - len(f'{low:g}')}}"

        def draw(node: NodeAnalysis) -> str | None:
            estimate = shown.get(node.name)
            return None if estimate is None else bar(estimate, low=low, high=high, width=BAR, charset=self.charset)

        after = next((place for place, column in enumerate(found) if column.title == "fan-in"), len(found))
        return [*found[:after], Column(title, draw, is_number=False, is_drawing=True), *found[after:]]

    def _table(self, analysis: Analysis, group: Sequence[Column], names: dict[str, str]) -> Table:
        table = self._new_table("node", [(column.title, column.is_number) for column in group])
        for name in analysis.ranking:
            cells = [
                Text(column.cell(analysis.nodes[name]) or self.charset.dash, style="cyan" if column.is_drawing else "")
                for column in group
            ]
            table.add_row(Text(names[name], style="bold"), *cells)
        return table

    def _new_table(self, first: str, titles: Sequence[tuple[str, bool]]) -> Table:
        table = Table(
            box=UNDERLINED if self.charset.drawn else UNDERLINED_ASCII,
            show_edge=False,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for title, is_number in [(first, False), *titles]:
            overflow: OverflowMethod = "ellipsis" if self.charset.drawn else "crop"
            table.add_column(title, no_wrap=True, justify="right" if is_number else "left", overflow=overflow)
        return table

    def _wrapped(self, text: Text, indent: str = "", first: str = "") -> None:
        """Text in lines that break between words, but not inside a figure and its interval."""
        text.plain = _FIGURE.sub(lambda figure: figure[0].replace(" ", _GLUE), text.plain)
        for place, line in enumerate(text.wrap(self.console, max(20, self.width - len(indent)))):
            line.rstrip()
            line.plain = line.plain.replace(_GLUE, " ")
            before = f"{first:<{len(indent)}}" if place == 0 else indent
            self._put(Text(before, style="dim") if not line.plain else Text().append(before, "dim").append_text(line))

    def _line(self, text: str, *, indent: int = 0, style: str = "") -> None:
        """One line, cut where the console ends."""
        self._put(Text(" " * indent + self.charset.cut(text, self.width - indent), style=style, no_wrap=True))

    def _put(self, thing: RenderableType) -> None:
        self.console.print(thing, highlight=False, markup=False, emoji=False)


def _groups(found: Sequence[Column], analysis: Analysis, room: int) -> list[list[Column]]:
    """The columns in groups that are each at most `room` wide, in their order; a drawing without room is left out."""
    groups: list[list[Column]] = [[]]
    left = room
    for column in found:
        wide = GAP + max(
            cell_len(column.title), *(cell_len(column.cell(node) or "") for node in analysis.nodes.values())
        )
        if wide > left and column.is_drawing:
            continue
        if wide > left and groups[-1]:
            groups.append([])
            left = room
        groups[-1].append(column)
        left -= wide
    return groups
