"""The report of an analysis in Markdown."""

import html
from collections.abc import Sequence

from sherlock.analysis.artefact import Analysis, Example, NodeAnalysis
from sherlock.report import content
from sherlock.report.columns import classes, columns, why_missing
from sherlock.report.figures import count, figure
from sherlock.report.markdown_text import LONGEST, code, escaped, facts, figures, joined, notes, sentence, table
from sherlock.report.sentence import headline
from sherlock.report.texts import visible

EXAMPLES = 2


def markdown(analysis: Analysis) -> str:
    """The whole report; it ends with a line break. Details of the last nodes are left out where it gets too long."""
    detailed = [name for name in analysis.ranking if analysis.nodes[name].examples or analysis.nodes[name].by_fault]
    for n in range(len(detailed), -1, -1):
        text = _report(analysis, detailed[:n], left_out=len(detailed) - n)
        if len(text) <= LONGEST:
            break
    return text


def _report(analysis: Analysis, detailed: Sequence[str], left_out: int) -> str:
    parts = [
        "# Which steps matter",
        sentence(headline(analysis)),
        escaped(content.today(analysis)),
        *notes(content.warnings(analysis)),
        *_ranking(analysis),
        *_nodes(analysis, detailed, left_out),
        facts("What this took", content.cost(analysis)),
    ]
    return joined(parts)


def _ranking(analysis: Analysis) -> list[str]:
    if not analysis.nodes:
        return []
    found = columns(analysis)
    ranked = figures(["node"], [([name], analysis.nodes[name]) for name in analysis.ranking], found)
    remarks = [
        content.interval_note(analysis.settings),
        *(f"*{column.title}*: {column.meaning}." for column in found if column.meaning),
        *(f"{reason[:1].upper()}{reason[1:]}." for reason in why_missing(analysis)),
        classes(analysis),
    ]
    return ["## The ranking", ranked, "\n".join(f"- {remark}" for remark in remarks if remark)]


def _nodes(analysis: Analysis, detailed: Sequence[str], left_out: int) -> list[str]:
    """What the faults did at each node, folded away."""
    if not detailed and not left_out:
        return []
    more = f"Not shown: {count(left_out, 'node')}; see `sherlock report FILE --node NAME`." if left_out else ""
    return ["## What the faults did", *(_node(analysis.nodes[name]) for name in detailed), more]


def _node(node: NodeAnalysis) -> str:
    parts = [f"<details><summary><code>{html.escape(visible(node.name))}</code></summary>"]
    if node.by_fault:
        worst = sorted(node.by_fault.items(), key=lambda item: (-item[1].loss.value, item[0]))
        rows = [[code(name), effect.kind, figure(effect.loss), count(effect.loss.n)] for name, effect in worst]
        parts.append(table(["fault", "class", "loss", "cases"], rows, [False, False, True, True]))
    parts += [_example(example) for example in node.examples[:EXAMPLES]]
    return "\n\n".join([*parts, "</details>"])


def _example(example: Example) -> str:
    facts = [("before", example.before), ("after", example.after), ("answer", example.answer)]
    if example.error:
        facts.append(("error", example.error))
    listed = "\n".join(f"- {label}: {code(text)}" for label, text in facts)
    return f"{escaped(content.example_title(example))}\n\n{listed}"
