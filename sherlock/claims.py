"""What two texts must both say, however alike their words are: the numbers, what is denied, what is turned round.

Measures such as ROUGE-L count words, and one word of many hardly counts; but "pay $90" is not "pay $900". What is read
here is English, and errs towards telling texts apart: that costs work which could have been kept, never a wrong one
that is. Names and other plain words that were exchanged are not seen.
"""

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal

from sherlock.equivalence import measure, words


def same_claims(a: str, b: str) -> bool:
    """Whether two texts hold the same numbers and the same denials, in the same order, and no word's opposite."""
    left, right = _folded(a), _folded(b)
    return (
        list(figures(left)) == list(figures(right))
        and list(_denials(left)) == list(_denials(right))
        and not _opposed(set(words(left)), set(words(right)))
    )


def figures(text: str) -> Iterator[tuple[Decimal, frozenset[str]]]:
    """The numbers in a text, by value, each with its usual units, as `kg`, `dollar` or `pm`.

    Thousands commas do not count, `$5`, `5 USD` and `five dollars` are the same, and so are `5pm` and `5 p.m.`. A
    number in words is read word by word, but for "one", which is mostly no number.
    """
    for match in _FIGURE.finditer(_folded(text)):
        sign = match["sign"] or match["inner"] or ""
        value = Decimal(_VALUES[match["word"]] if match["word"] else sign + match["digits"].replace(",", ""))
        named = (measure(match[place].strip()) for place in ("before", "after") if match[place])
        yield value, frozenset(_UNITS[unit] for unit in named if unit in _UNITS)


_WORDS = """
zero 0 two 2 three 3 four 4 five 5 six 6 seven 7 eight 8 nine 9 ten 10 eleven 11 twelve 12 thirteen 13 fourteen 14
fifteen 15 sixteen 16 seventeen 17 eighteen 18 nineteen 19 twenty 20 thirty 30 forty 40 fifty 50 sixty 60 seventy 70
eighty 80 ninety 90 hundred 100 thousand 1000 million 1000000 billion 1000000000
"""
_VALUES = dict(zip(_WORDS.split()[::2], _WORDS.split()[1::2], strict=True))
_SPELLINGS = """
dollar; euro; pound; yen; rupee; cent; % percent; °c; °f; am a.m; pm p.m; hundred; thousand k; million; billion bn
ms; second sec s; minute min; hour hr h; day; week; month; year; hz; v; w; kw; kwh; kb; mb; gb; tb; oz; lb
mg; g gram; kg kilogram; mm; cm; m metre meter; km kilometre kilometer; mile; ft foot feet; ml; l litre liter
"""
_UNITS = {spelling: line.split()[0] for line in re.split("[;\\n]", _SPELLINGS.strip()) for spelling in line.split()}
_FIGURE = re.compile(
    r"(?:(?<![\w)\]}])(?P<sign>-))?"
    r"(?:(?P<before>[$€£¥₹]|\b(?:usd|eur|gbp|jpy|inr)\s?)(?P<inner>-)?)?"
    r"(?:(?P<digits>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|(?<!\w)\.\d+)"
    rf"|\b(?P<word>{'|'.join(_VALUES)})\b)"
    r"(?=\s?-?(?P<after>%|°\s?[cf]\b|[$€£¥₹]|[ap]\.m\b|per cent\b|[^\W\d_]+))?"
)
_DENIAL = re.compile(r"\b(?:not|no|never|none|nobody|nothing|nowhere|neither|nor|without|cannot)\b|n't\b")
# Words that stand between a denial and what is denied in one wording and not in another.
_BETWEEN = {
    *("a", "an", "the", "any", "to", "yet", "be", "been", "being", "is", "are", "was", "were"),
    *("do", "does", "did", "have", "has", "had", "will", "would"),
}
_TURNED = ("un", "in", "im", "il", "ir", "dis", "non", "mis")


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.replace("\N{MINUS SIGN}", "-").replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def _denials(text: str) -> Iterator[str]:
    """What each denial is of: the next word that says something."""
    for match in _DENIAL.finditer(text):
        following = words(text[match.end() : match.end() + 100])
        yield next((word for word in following if word not in _BETWEEN), "")


def _opposed(left: set[str], right: set[str]) -> bool:
    """Whether one text has a word, and the other in its stead the word with a prefix that turns it round."""
    only_left, only_right = left - right, right - left
    return any(
        f"{prefix}{word}" in others
        for these, others in ((only_left, only_right), (only_right, only_left))
        for word in these
        if len(word) > 3
        for prefix in _TURNED
    )
