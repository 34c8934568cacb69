"""The report of a validation for a terminal; it ends with the sentence that matters."""

from rich.console import Console
from rich.text import Text

from sherlock.report import validation_content as content
from sherlock.report.terminal_page import Page
from sherlock.runtime.validation import Validation


def print_validation(validation: Validation, console: Console) -> None:
    """Everything but the headline."""
    page = _Report(console)
    page.say(content.today(validation), style="bold")
    page.notes(content.warnings(validation))
    page.figures(validation)
    page.nodes(validation)
    page.facts("What became of the cases", content.outcome(validation))
    page.facts("What was promised", content.promises(validation))
    page.facts("What this took", content.cost(validation))


def print_headline(validation: Validation, console: Console) -> None:
    """The one sentence."""
    Page(console).sentence(content.headline(validation))


def print_node(validation: Validation, node: str, console: Console) -> None:
    """What the verifiers of one node said."""
    page = _Report(console)
    page.say(page.charset.text(node), style="bold")
    found = content.cases_at(validation, node)
    page.facts("", found or [("verdicts", "none was reached")])


class _Report(Page):
    """The parts of the report of a validation."""

    def figures(self, validation: Validation) -> None:
        """Each figure in each way, and the differences; in as many tables as it takes."""
        rows = content.rows(validation)
        if not rows or not validation.cases:
            return
        widest = self.name_width(3)
        texts = [([self.charset.cut(row.label, widest)], row) for row in rows]
        self.tables(["figure"], texts, content.columns(validation))
        self.put(Text())
        for line in content.missing(validation):
            self.say(line, style="dim")

    def nodes(self, validation: Validation) -> None:
        """What the verifiers said, node by node."""
        if not validation.nodes:
            return
        cut, widest = self.charset.cut_middle, self.name_width(5, names=2)
        rows = [([cut(node.node, widest), cut(node.verifier, widest)], node) for node in validation.nodes]
        self.title("Verdicts in the guarded runs")
        self.tables(["node", "verifier"], rows, content.node_columns(validation.nodes))
