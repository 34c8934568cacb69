"""The report of a plan in Markdown."""

from collections.abc import Sequence

from sherlock.placement.plan import Plan
from sherlock.report import plan_content as content
from sherlock.report.figures import count
from sherlock.report.markdown_text import LONGEST, code, escaped, facts, figures, joined, notes, sentence, table


def markdown(plan: Plan) -> str:
    """The whole report; it ends with a line break. What was not taken is cut where it gets too long."""
    rejected = content.not_taken(plan)
    most = len(rejected)
    text = _report(plan, rejected, 0)
    while len(text) > LONGEST and most:
        most //= 2
        text = _report(plan, rejected[:most], len(rejected) - most)
    return text


def _report(plan: Plan, rejected: Sequence[tuple[str, str]], left_out: int) -> str:
    expected = content.expectations(plan)
    return joined(
        [
            "# What to verify",
            sentence(content.headline(plan)),
            *notes(plan.notes),
            *_placements(plan),
            facts("What a run is expected to do", expected) if expected else "",
            facts("What was asked", content.asked(plan)),
            *_rejected(rejected, left_out),
        ]
    )


def _placements(plan: Plan) -> list[str]:
    if not plan.placements:
        return []
    rows = [([node, placement.verifier], placement) for node, placement in plan.placements.items()]
    why = "\n".join(f"- {code(node)}: {escaped(text)}" for node, text in content.reasons(plan))
    return ["## What is verified", figures(["node", "verifier"], rows, content.columns(plan)), why]


def _rejected(rejected: Sequence[tuple[str, str]], left_out: int) -> list[str]:
    if not rejected:
        return []
    rows = [[code(node), code(text)] for node, text in rejected]
    more = f"Not shown: {count(left_out, 'more row')}." if left_out else ""
    return ["## What was not taken", table(["node", "verifier, and why not"], rows, [False, False]), more]
