"""The report of a calibration for a terminal; it ends with the sentence that matters."""

from rich.console import Console
from rich.text import Text

from sherlock.analysis.calibration import Calibration, CalibrationRow, VerdictExample
from sherlock.report import calibration_content as content
from sherlock.report.bars import bar
from sherlock.report.calibration_sentence import headline
from sherlock.report.content import interval_note
from sherlock.report.tables import Column
from sherlock.report.terminal_page import Page

BAR = 16
EXAMPLES = 3


def print_calibration(calibration: Calibration, console: Console) -> None:
    """Everything but the headline."""
    page = _Report(console)
    page.say(content.today(calibration), style="bold")
    page.notes(content.warnings(calibration))
    page.figures(calibration)
    page.examples(calibration)
    page.facts("What this took", content.cost(calibration))


def print_headline(calibration: Calibration, console: Console) -> None:
    """The one sentence."""
    Page(console).sentence(headline(calibration))


def print_node(calibration: Calibration, node: str, console: Console) -> None:
    """All that is known about the verifiers at one node."""
    page = _Report(console)
    names = content.short_names(calibration.rows)
    page.say(page.charset.text(node), style="bold")
    for row in calibration.rows:
        if row.node == node:
            page.facts(page.charset.text(names[row.label]), content.row_facts(row, row.label))
            for example in row.examples:
                page.example(example)


class _Report(Page):
    """The parts of the report of a calibration."""

    def figures(self, calibration: Calibration) -> None:
        """The rows, in as many tables as it takes for none to be wider than the console."""
        if not calibration.rows:
            return
        found = content.columns(calibration.rows)
        names = content.short_names(calibration.rows)
        cut = self.charset.cut_middle
        widest, of_a_node = self.name_width(4, names=2), self.name_width(6, names=2)
        rows = [([cut(row.node, of_a_node), cut(names[row.label], widest)], row) for row in calibration.rows]
        self.tables(content.NODE_COLUMNS, rows, self._drawn(found, calibration.rows))
        self.put(Text())
        for line in [interval_note(calibration.settings), *content.meanings(found), content.caution(calibration)]:
            if line:
                self.say(line, style="dim")

    def examples(self, calibration: Calibration) -> None:
        """What verdicts did to single outputs, for the rows that changed the score most."""
        telling = [row for row in calibration.rows if row.examples and row.examples[0].gain]
        telling.sort(key=lambda row: -abs(row.gain.value if row.gain else 0.0))
        names = content.short_names(calibration.rows)
        if telling:
            self.title("What a verdict did")
        for row in telling[:EXAMPLES]:
            at = self.charset.cut_middle(names[row.label], 24), self.charset.cut_middle(row.node, 24)
            self.example(row.examples[0], f"{at[0]} at {at[1]}, ")

    def example(self, example: VerdictExample, place: str = "") -> None:
        """One verification: the text before and after it."""
        short = example.model_copy(update={"case": self.charset.cut(example.case, 24)})
        if not place:
            self.put(Text())
        self.say(f"{place}{content.example_title(short)}", indent="  ")
        texts = [("before", example.before)]
        if example.after != example.before:
            texts.append(("after", example.after))
        for label, text in texts:
            self.line(f"{label:<7}{text or '(empty)'}", indent=4, style="dim")

    def _drawn(self, found: list[Column[CalibrationRow]], rows: list[CalibrationRow]) -> list[Column[CalibrationRow]]:
        """The columns, with a drawing of the gain before those that say how it comes about."""
        gains = [row.gain for row in rows if row.gain is not None]
        if not gains:
            return found
        reach = max(0.1, *(max(abs(gain.low), abs(gain.high)) for gain in gains))
        title = f"{-reach:.2f}{f'{reach:.2f}':>{BAR - len(f'{-reach:.2f}')}}"

        def draw(row: CalibrationRow) -> str | None:
            if row.gain is None:
                return None
            return bar(row.gain, low=-reach, high=reach, width=BAR, charset=self.charset)

        after = next((place for place, column in enumerate(found) if column.title == "repaired"), len(found))
        return [*found[:after], Column(title, draw, is_number=False, is_drawing=True), *found[after:]]
