"""The report as GitHub-flavoured Markdown: for a file, and for a comment on a pull request.

Texts that come from elsewhere stay texts: they stand in code, or are escaped, so that they can neither break a table
nor mention people.
"""

import html
import re
from collections.abc import Iterable, Sequence

from sherlock.analysis.artefact import Analysis, Example, NodeAnalysis
from sherlock.report import content
from sherlock.report.columns import Column, classes, columns, why_missing
from sherlock.report.figures import count, figure
from sherlock.report.sentence import Sentence, headline
from sherlock.report.texts import Name, visible

LONGEST = 60_000
"""Characters; GitHub takes 65,536 in a comment."""
EXAMPLES = 2
LONGEST_TEXT = 400
_PLAIN_CODE = re.compile(r"[^`|\\<>&]+")
_SPECIAL = re.compile(r"[\\`*_<>|~&$]|\](?=[(\[:])|^[-+#=]|(?<=^\d)[.)]|(?<=^\d\d)[.)]")
_LIVELY = re.compile(r"(@|#(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.))", re.IGNORECASE)


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
        _sentence(headline(analysis)),
        escaped(content.today(analysis)),
        *_warnings(analysis),
        *_ranking(analysis),
        *_nodes(analysis, detailed, left_out),
        _cost(analysis),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def code(text: str) -> str:
    """A foreign text as code: literal, whatever it holds, also in a table."""
    shown = visible(text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}\N{HORIZONTAL ELLIPSIS}")
    if not shown.strip():
        return "(empty)"
    if _PLAIN_CODE.fullmatch(shown) and shown == shown.strip():
        return f"`{shown}`"
    return f"<code>{''.join(c if c.isalnum() or c == ' ' or ord(c) > 127 else f'&#{ord(c)};' for c in shown)}</code>"


def escaped(text: str) -> str:
    """A sentence as plain text: no markup, no mention, no link."""
    safe = _SPECIAL.sub(lambda found: "\\" + found[0], visible(text))
    return _LIVELY.sub(r"\1<!-- -->", safe)


def _sentence(parts: Sentence) -> str:
    return "**" + "".join(code(part) if isinstance(part, Name) else escaped(part) for part in parts) + "**"


def _warnings(analysis: Analysis) -> list[str]:
    lines = content.warnings(analysis)
    return ["> [!NOTE]\n" + "\n".join(f"> {escaped(line)}  " for line in lines)] if lines else []


def _ranking(analysis: Analysis) -> list[str]:
    if not analysis.nodes:
        return []
    found = columns(analysis)
    rows = [[code(name), *_cells(analysis.nodes[name], found)] for name in analysis.ranking]
    table = _table(["node", *(column.title for column in found)], rows, [False, *(c.is_number for c in found)])
    notes = [
        content.interval_note(analysis),
        *(f"*{column.title}*: {column.meaning}." for column in found if column.meaning),
        *(f"{reason[:1].upper()}{reason[1:]}." for reason in why_missing(analysis)),
        classes(analysis),
    ]
    return ["## The ranking", table, "\n".join(f"- {note}" for note in notes if note)]


def _cells(node: NodeAnalysis, found: Sequence[Column]) -> list[str]:
    return [column.cell(node) or "\u2013" for column in found]


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
        parts.append(_table(["fault", "class", "loss", "cases"], rows, [False, False, True, True]))
    parts += [_example(example) for example in node.examples[:EXAMPLES]]
    return "\n\n".join([*parts, "</details>"])


def _example(example: Example) -> str:
    facts = [("before", example.before), ("after", example.after), ("answer", example.answer)]
    if example.error:
        facts.append(("error", example.error))
    listed = "\n".join(f"- {label}: {code(text)}" for label, text in facts)
    return f"{escaped(content.example_title(example))}\n\n{listed}"


def _cost(analysis: Analysis) -> str:
    lines = [f"- {label}: {escaped(text)}" for label, text in content.cost(analysis)]
    return "## What this took\n\n" + "\n".join(lines)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool]) -> str:
    rule = ["---:" if is_right else "---" for is_right in right]
    return "\n".join(f"| {' | '.join(row)} |" for row in [titles, rule, *rows])
