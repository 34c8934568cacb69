"""A console as something to write a report on: paragraphs, sentences, tables, of any width and any encoding."""

import re
from collections.abc import Iterable, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, OverflowMethod, RenderableType
from rich.table import Table
from rich.text import Text

from sherlock.analysis.artefact import Forecast
from sherlock.report.content import forecast_lines
from sherlock.report.sentence import Sentence
from sherlock.report.tables import GAP, Column, Thing, groups
from sherlock.report.texts import Charset, Name

SHORTEST_NAME = 12
WIDEST_FIGURE = len("-0.16 [-0.67, -0.01]")
LONGEST_NOTE = 600
_FIGURE = re.compile(r"-?[\d.]+(?: %)?(?: \[-?[\d.]+, -?[\d.]+\])|\d %")
_GLUE = "\ue000"
UNDERLINED = box.Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
UNDERLINED_ASCII = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def print_forecast(forecast: Forecast | None, console: Console) -> None:
    """What a study may take, where it was not begun."""
    page = Page(console)
    for line in forecast_lines(forecast) if forecast is not None else ():
        page.say(line)


class Page:
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

    def title(self, text: str) -> None:
        """What the next part is about."""
        self.put(Text())
        self.say(text, style="bold")

    def notes(self, lines: Iterable[str]) -> None:
        lines = list(lines)
        if lines:
            self.put(Text())
        for line in lines:
            self.say(line if len(line) <= LONGEST_NOTE else line[:LONGEST_NOTE] + self.charset.ellipsis)

    def facts(self, title: str, facts: Sequence[tuple[str, str]]) -> None:
        """Labels and texts, in two columns; nothing where there are none."""
        if not facts:
            return
        self.put(Text())
        if title:
            self.say(title, style="bold")
        widest = max(len(label) for label, _ in facts) + GAP
        for label, text in facts:
            self.say(text, indent=" " * (widest + 2), first=f"  {label}")

    def tables(
        self,
        leading: Sequence[str],
        rows: Sequence[tuple[Sequence[str], Thing]],
        columns: Sequence[Column[Thing]],
    ) -> None:
        """The rows in as many tables as it takes for none to be wider than the console.

        `leading` are the titles of the columns that say what a row is about, and that every table begins with; each
        row has its texts for them.
        """
        things = [thing for _, thing in rows]
        taken = sum(
            max(cell_len(title), *(cell_len(texts[place]) for texts, _ in rows)) + GAP
            for place, title in enumerate(leading)
        )
        for group in groups(columns, things, self.width - taken + GAP):
            titles = [*((title, False) for title in leading[1:]), *((c.title, c.is_number) for c in group)]
            table = self.new_table(leading[0], titles)
            for texts, thing in rows:
                cells = [
                    Text(column.cell(thing) or self.charset.dash, style="cyan" if column.is_drawing else "")
                    for column in group
                ]
                table.add_row(*(Text(text, style="" if place else "bold") for place, text in enumerate(texts)), *cells)
            self.put(Text())
            self.put(table)

    def name_width(self, share: int = 4, names: int = 1) -> int:
        """How wide each of the names may be that stand beside figures: one part of `share`, enough to tell them apart.

        A figure has its place beside them also where the console is narrow.
        """
        room = (self.width - WIDEST_FIGURE - names * GAP) // names
        return max(1, min(max(SHORTEST_NAME, self.width // share), room))

    def new_table(self, first: str, titles: Sequence[tuple[str, bool]]) -> Table:
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
            self.put(Text(before, style="dim") if not line.plain else Text().append(before, "dim").append_text(line))

    def line(self, text: str, *, indent: int = 0, style: str = "") -> None:
        """One line, cut where the console ends."""
        self.put(Text(" " * indent + self.charset.cut(text, self.width - indent), style=style, no_wrap=True))

    def put(self, thing: RenderableType) -> None:
        self.console.print(thing, highlight=False, markup=False, emoji=False)
