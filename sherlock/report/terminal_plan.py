"""The report of a plan for a terminal; it ends with the sentence that matters."""

from rich.console import Console
from rich.text import Text

from sherlock.placement.plan import Plan
from sherlock.report import plan_content as content
from sherlock.report.bars import bar, scale
from sherlock.report.figures import amount, count, dollars, figure
from sherlock.report.frontier import Frontier
from sherlock.report.tables import Column
from sherlock.report.terminal_page import Page

BAR = 20
REJECTED = 12


def print_plan(plan: Plan, console: Console) -> None:
    """Everything but the headline."""
    page = _Report(console)
    page.placements(plan)
    if plan.expectation is not None:
        page.facts("What a run is expected to do", content.expectations(plan))
    page.facts("What was asked", content.asked(plan))
    page.listed("What was not taken", content.not_taken(plan), REJECTED)
    page.notes(plan.notes)


def print_headline(plan: Plan, console: Console) -> None:
    """The one sentence."""
    Page(console).sentence(content.headline(plan))


def print_node(plan: Plan, node: str, console: Console) -> None:
    """What is placed at one node, and what is not."""
    page = _Report(console)
    page.say(page.charset.text(node), style="bold")
    placement = plan.placements.get(node)
    if placement is None:
        page.say("Nothing is placed here.")
    else:
        figures = [(c.title, text) for c in content.columns(plan) if (text := c.cell(placement)) is not None]
        page.facts("", [("verifier", content.label(placement)), ("on reject", placement.on_reject), *figures])
        if placement.why:
            page.notes([f"Why: {placement.why}"])
    page.listed("What was not taken", [row for row in content.not_taken(plan) if row[0] == node], len(plan.rejected))


def print_nearest(plan: Plan | None, console: Console) -> None:
    """The plan that comes nearest to what cannot be reached."""
    page = _Report(console)
    if plan is None:
        page.say("Nothing can be reached, not even without a verifier.")
        return
    page.say("The nearest that can be reached:", style="bold")
    page.sentence(content.headline(plan))


def print_frontier(frontier: Frontier, console: Console) -> None:
    """The score that every budget buys, as a table and a plot."""
    page = _Report(console)
    page.frontier(frontier)


class _Report(Page):
    """The parts of the report of a plan."""

    def placements(self, plan: Plan) -> None:
        """The placed verifiers with their figures, and why they were taken."""
        if not plan.placements:
            self.say("No verifier is placed.", style="bold")
            return
        cut = self.charset.cut_middle
        widest = self.name_width(5, names=2)
        rows = [
            ([cut(node, widest), cut(placement.verifier, widest)], placement)
            for node, placement in plan.placements.items()
        ]
        self.say(f"{count(len(rows), 'node is', 'nodes are')} verified", style="bold")
        self.tables(["node", "verifier"], rows, content.columns(plan))
        self.listed("Why", content.reasons(plan), len(rows))

    def listed(self, title: str, facts: list[tuple[str, str]], most: int) -> None:
        """Names and texts, in two columns; no more than `most`."""
        if not facts:
            return
        widest = self.name_width(4)
        shown = [(self.charset.cut_middle(name, widest), text) for name, text in facts[:most]]
        self.facts(title, shown)
        if len(facts) > most:
            self.say(f"and {len(facts) - most:,} more", indent="  ", style="dim")

    def frontier(self, frontier: Frontier) -> None:
        """Each step with its cost, its score drawn, and what is placed."""
        scored = [
            (plan, plan.expectation.score)
            for plan in frontier.plans
            if plan.expectation is not None and plan.expectation.score is not None
        ]
        if not scored:
            self.say("There is nothing to choose from.")
            return
        low, high = scale([score for _, score in scored])
        drawn = f"{low:g}{f'{high:g}':>{BAR - len(f'{low:g}')}}"
        title = frontier.measure.title
        scores = {id(plan): score for plan, score in scored}
        columns: list[Column[Plan]] = [
            Column("score", lambda plan: figure(scores[id(plan)])),
            Column(
                drawn,
                lambda plan: bar(scores[id(plan)], low=low, high=high, width=BAR, charset=self.charset),
                is_number=False,
                is_drawing=True,
            ),
        ]
        shown = dollars if title == "dollars" else amount
        rows = [([str(place + 1), shown(frontier.cost(plan) or 0.0)], plan) for place, (plan, _) in enumerate(scored)]
        self.say("The score that every budget buys, for one run", style="bold")
        self.tables(["step", title], rows, columns)
        self.put(Text())
        for place, (plan, _) in enumerate(scored):
            said = ", ".join(f"{content.label(each)} at {node}" for node, each in plan.placements.items())
            self.say(said or "no verifier", indent="    ", first=f"{place + 1}")
        self.put(Text())
        self.say("Screened only: nothing was run whole, so scores may promise too much.", style="dim")
