"""Finds what a text names (people and places, colours, days, months, quoted things) and swaps one for
another.
"""

import random
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sherlock.analysis.wording import like


class Entity(NamedTuple):
    """Where a text names something, what it names, and of what kind that is."""

    start: int
    end: int
    name: str
    kind: str


def swapped(text: str, rng: random.Random, elsewhere: Sequence[Entity]) -> Iterator[str]:
    """One entity replaced by one of its kind: from `elsewhere`, from the text itself, or from a list of ours."""
    found = entities(text)
    for entity in rng.sample(found, len(found)):
        pools = (
            [e.name for e in elsewhere if e.kind == entity.kind],
            [e.name for e in found if e.kind == entity.kind],
            _KNOWN[entity.kind],
        )
        for pool in pools:
            for name in rng.sample(pool, len(pool)):
                if name.casefold() != entity.name.casefold():
                    new = like(name, entity.name) if entity.kind == "colour" else name
                    yield text[: entity.start] + new + text[entity.end :]


def entities(text: str) -> list[Entity]:
    """Every entity of a text, those that the start of a sentence may have given their capital left out."""
    found = [Entity(m.start(1), m.end(1), m[1], "quoted") for m in _QUOTED.finditer(text)]
    for kind, pattern in _CLOSED.items():
        found += [Entity(m.start(), m.end(), m[0], kind) for m in pattern.finditer(text)]
    taken = {place for entity in found for place in range(entity.start, entity.end)}
    is_label = len(text.split()) <= 3
    for match in _NAME.finditer(text):
        common = match[0].casefold() in _NO_NAMES or (not is_label and _starts_sentence(text, match))
        if match.start() not in taken and not common:
            found.append(Entity(match.start(), match.end(), match[0], "name"))
    return found


_COLOURS = [
    "red", "blue", "green", "yellow", "orange", "purple", "brown", "black", "white", "grey", "gray", "pink", "violet",
]  # fmt: skip
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
]  # fmt: skip
_KNOWN = {
    "colour": _COLOURS,
    "day": _DAYS,
    "month": _MONTHS,
    "name": ["Marlow", "Alder", "Quinn", "Bexley", "Toledo", "Ferrara"],
    "quoted": ["something else", "not that", "another one"],
}
_CLOSED = {
    "colour": re.compile(rf"(?i)\b(?:{'|'.join(_COLOURS)})\b"),
    "day": re.compile(rf"\b(?:{'|'.join(_DAYS)})\b"),
    # "May I" and "March on" are no months
    "month": re.compile(rf"\b(?:{'|'.join(_MONTHS)})\b(?=\s+\d|\s*[.,;]|$)"),
}
_QUOTED = re.compile(r"[\"\u201c]([^\"\u201c\u201d\n]{1,60})[\"\u201d]")
_NAME = re.compile(r"\b[^\W\d_a-z][a-z\u00df-\u00ff]+(?:[ \-][A-Z][a-z\u00df-\u00ff]+)*\b")
_NO_NAMES = frozenset(
    (
        "yes", "no", "true", "false", "none", "the", "a", "an", "this", "that", "it", "i", "we", "you",
        "he", "she", "they", "dear", "hello", "hi", "please", "thanks", "thank", "best", "regards",
        "and", "or", "but", "if", "in", "on", "at", "for", "with", "answer", "total", "result", "error",
        "sorry",
    )
)  # fmt: skip


def _starts_sentence(text: str, match: re.Match[str]) -> bool:
    """A single word after nothing or after a full stop; two capitals in a row are a name anywhere."""
    before = text[: match.start()].rstrip(" \"'(\u201c")
    return (not before or before[-1] in ".!?\n:") and " " not in match[0]
