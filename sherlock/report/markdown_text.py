"""Pieces of GitHub-flavoured Markdown, for a file and for a comment on a pull request.

Texts that come from elsewhere stay texts: they stand in code, or are escaped, so that they can neither break a table
nor mention people.
"""

import re
from collections.abc import Iterable, Sequence

from sherlock.report.sentence import Sentence
from sherlock.report.tables import Column, Thing
from sherlock.report.texts import Name, visible

LONGEST = 60_000
"""Characters; GitHub takes 65,536 in a comment."""
LONGEST_TEXT = 400
_PLAIN_CODE = re.compile(r"[^`|\\<>&]+")
_SPECIAL = re.compile(r"[\\`*_<>|~&$]|\](?=[(\[:])|^[-+#=]|(?<=^\d)[.)]|(?<=^\d\d)[.)]")
_LIVELY = re.compile(r"(@|#(?=\d)|(?<=:)(?=//)|(?<=www)(?=\.))", re.IGNORECASE)


def code(text: str, *, html: bool = False) -> str:
    """A foreign text as code: literal, whatever it holds, also in a table; `html` also where Markdown is not read."""
    shown = visible(text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}\N{HORIZONTAL ELLIPSIS}")
    if not shown.strip():
        return "(empty)"
    if not html and _PLAIN_CODE.fullmatch(shown) and shown == shown.strip():
        return f"`{shown}`"
    return f"<code>{''.join(c if c.isalnum() or c == ' ' or ord(c) > 127 else f'&#{ord(c)};' for c in shown)}</code>"


def escaped(text: str) -> str:
    """A sentence as plain text: no markup, no mention, no link."""
    safe = _SPECIAL.sub(lambda found: "\\" + found[0], visible(text))
    return _LIVELY.sub(r"\1<!-- -->", safe)


def sentence(parts: Sentence) -> str:
    """The sentence that matters, in bold."""
    return "**" + "".join(code(part) if isinstance(part, Name) else escaped(part) for part in parts) + "**"


def notes(lines: Sequence[str]) -> list[str]:
    """What a reader must know first, set apart; nothing without lines."""
    return ["> [!NOTE]\n" + "\n".join(f"> {escaped(line)}  " for line in lines)] if lines else []


def facts(title: str, found: Iterable[tuple[str, str]]) -> str:
    """Labels and texts as a list under a heading."""
    return f"## {title}\n\n" + "\n".join(f"- {label}: {escaped(text)}" for label, text in found)


def figures(
    leading: Sequence[str], rows: Sequence[tuple[Sequence[str], Thing]], columns: Sequence[Column[Thing]]
) -> str:
    """A table of figures; `leading` are the titles of the columns that say what a row is about."""
    titles = [*leading, *(column.title for column in columns)]
    cells = [[*map(code, texts), *(column.cell(thing) or "\u2013" for column in columns)] for texts, thing in rows]
    return table(titles, cells, [*(False for _ in leading), *(column.is_number for column in columns)])


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool]) -> str:
    """A table of cells that are Markdown already; `right`: which columns are set to the right."""
    rule = ["---:" if is_right else "---" for is_right in right]
    return "\n".join(f"| {' | '.join(row)} |" for row in [titles, rule, *rows])


def joined(parts: Iterable[str]) -> str:
    """The parts with an empty line between them; those that are empty are left out."""
    return "\n\n".join(part for part in parts if part) + "\n"
