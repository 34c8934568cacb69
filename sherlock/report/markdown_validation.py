"""The report of a validation in Markdown."""

from sherlock.report import validation_content as content
from sherlock.report.markdown_text import escaped, facts, figures, joined, notes, sentence
from sherlock.runtime.validation import Validation


def markdown(validation: Validation) -> str:
    """The whole report; it ends with a line break."""
    promised = content.promises(validation)
    return joined(
        [
            "# What the plan does",
            sentence(content.headline(validation)),
            escaped(content.today(validation)),
            *notes(content.warnings(validation)),
            *_figures(validation),
            *_nodes(validation),
            facts("What became of the cases", content.outcome(validation)),
            facts("What was promised", promised) if promised else "",
            facts("What this took", content.cost(validation)),
        ]
    )


def _figures(validation: Validation) -> list[str]:
    rows = content.rows(validation)
    if not rows or not validation.cases:
        return []
    table = figures(["figure"], [([row.label], row) for row in rows], content.columns(validation))
    return ["## Figures", table, " ".join(map(escaped, content.missing(validation)))]


def _nodes(validation: Validation) -> list[str]:
    if not validation.nodes:
        return []
    rows = [([node.node, node.verifier], node) for node in validation.nodes]
    return ["## Verdicts", figures(["node", "verifier"], rows, content.node_columns(validation.nodes))]
