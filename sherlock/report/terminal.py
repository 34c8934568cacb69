"""The report of an analysis for a terminal.

It ends with the sentence that matters, because the end is what a terminal shows.
"""

from rich.console import Console
from rich.text import Text

from sherlock.analysis.artefact import Analysis, Example, NodeAnalysis
from sherlock.report import content
from sherlock.report.bars import bar, scale
from sherlock.report.columns import classes, columns, why_missing
from sherlock.report.figures import count, figure
from sherlock.report.sentence import headline, ranked
from sherlock.report.tables import Column
from sherlock.report.terminal_page import Page

BAR = 16


def print_analysis(analysis: Analysis, console: Console) -> None:
    """Everything but the headline."""
    page = _Report(console)
    page.say(content.today(analysis), style="bold")
    page.notes(content.warnings(analysis))
    page.ranking(analysis)
    page.examples(analysis)
    page.facts("What this took", content.cost(analysis))


def print_headline(analysis: Analysis, console: Console) -> None:
    """The one sentence."""
    Page(console).sentence(headline(analysis))


def print_node(analysis: Analysis, name: str, console: Console) -> None:
    """All that is known about one node."""
    page = _Report(console)
    node = analysis.nodes[name]
    page.say(page.charset.text(name), style="bold")
    page.facts("", [(c.title, text) for c in columns(analysis) if (text := c.cell(node)) is not None and c.is_number])
    page.notes(why_missing(analysis.model_copy(update={"nodes": {name: node}})))
    page.facts("Where it stands", content.node_facts(node))
    page.by_fault(node)
    for example in node.examples:
        page.example(example)


class _Report(Page):
    """The parts of the report of an analysis."""

    def ranking(self, analysis: Analysis) -> None:
        """The nodes, in as many tables as it takes for none to be wider than the console."""
        if not analysis.nodes:
            return
        found = self._columns(analysis)
        widest = self.name_width()
        rows = [([self.charset.cut_middle(name, widest)], analysis.nodes[name]) for name in analysis.ranking]
        self.tables(["node"], rows, found)
        self.put(Text())
        legend = [f"{c.title}: {c.meaning}" for c in found if c.meaning and c.title in ("vulnerability", "repair gain")]
        for line in [content.interval_note(analysis.settings), *legend, classes(analysis), *why_missing(analysis)]:
            if line:
                self.say(line, style="dim")

    def examples(self, analysis: Analysis) -> None:
        """The costliest fault at each of the first nodes."""
        leading = [name for name in analysis.ranking if analysis.nodes[name].examples][:3]
        if leading:
            self.put(Text())
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
            self.put(Text())
            self.say(title)
        for label, text in (("before", example.before), ("after", example.after), ("answer", example.answer)):
            self.line(f"{label:<7}{text or '(empty)'}", indent=4, style="dim")
        if example.error:
            self.line(f"{'error':<7}{example.error}", indent=4, style="dim")

    def by_fault(self, node: NodeAnalysis) -> None:
        if not node.by_fault:
            return
        self.put(Text())
        table = self.new_table("fault", [("class", False), ("loss", True), ("cases", True)])
        worst = sorted(node.by_fault.items(), key=lambda item: (-item[1].loss.value, item[0]))
        for name, effect in worst:
            table.add_row(Text(self.charset.cut(name, 30)), effect.kind, figure(effect.loss), count(effect.loss.n))
        self.put(table)

    def _columns(self, analysis: Analysis) -> list[Column[NodeAnalysis]]:
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
