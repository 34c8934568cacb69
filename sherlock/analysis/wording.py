"""Small edits of English wording and of numbers in place, each a way to make a text say something else.

Every function yields complete new texts, in a random order, one edit each; nothing where nothing can be
edited.
"""

import random
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache

NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[-\N{MINUS SIGN}+]?)(?P<currency>[$€£¥₹]?)"
    r"(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?P<fraction>\.\d+)?(?!\d|\.\d|(?:st|nd|rd|th)\b)"
)


def flips(text: str, rng: random.Random, opposites: Mapping[str, str]) -> Iterator[str]:
    """Replace one of the phrases that stand on the left by its opposite, keeping its capital letter."""
    matches = list(_any_of(tuple(opposites)).finditer(text))
    lowered = {phrase.casefold(): opposite for phrase, opposite in opposites.items()}
    for match in rng.sample(matches, len(matches)):
        # matching without case lets in letters such as the dotless i, which do not fold to ASCII
        opposite = lowered.get(match[0].casefold())
        if opposite is not None:
            yield _replaced(text, match, like(opposite, match[0]))


def like(word: str, model: str) -> str:
    """`word` with the capital letters of `model`."""
    if model.isupper() and len(model) > 1:
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word


def off_by_one(text: str, rng: random.Random) -> Iterator[str]:
    """One number one too large or too small."""
    for match in _numbers(text, rng):
        for step in rng.sample([1, -1], 2):
            whole = int(match["whole"].replace(",", "")) + step
            if whole >= 0:
                yield _with_whole(text, match, str(whole))


def digits_swapped(text: str, rng: random.Random) -> Iterator[str]:
    """Two neighbouring digits of one number the wrong way round."""
    for match in _numbers(text, rng):
        digits = match["whole"].replace(",", "")
        places = [i for i in range(len(digits) - 1) if digits[i] != digits[i + 1]]
        for place in rng.sample(places, len(places)):
            swapped = digits[:place] + digits[place + 1] + digits[place] + digits[place + 2 :]
            if swapped[0] != "0":
                yield _with_whole(text, match, swapped)


def sign_flipped(text: str, rng: random.Random) -> Iterator[str]:
    """One number with the opposite sign."""
    for match in _numbers(text, rng):
        if not Decimal(match["whole"].replace(",", "") + (match["fraction"] or "")):
            continue
        negative = match["sign"] not in ("", "+")
        number = match[0][len(match["sign"]) :]
        yield _replaced(text, match, number if negative else f"-{number}")


def unit_changed(text: str, rng: random.Random) -> Iterator[str]:
    """One number in the wrong unit: the unit's name swapped, or, where none is named, the figure scaled."""
    for match in _numbers(text, rng):
        if match["currency"]:
            other = rng.choice([sign for sign in "$€£" if sign != match["currency"]])
            yield text[: match.start("currency")] + other + text[match.end("currency") :]
            continue
        unit = _UNIT.match(text, match.end())
        if unit is not None and unit["unit"].casefold() in _UNITS:
            wrong = like(_UNITS[unit["unit"].casefold()], unit["unit"])
            yield text[: unit.start("unit")] + wrong + text[unit.end("unit") :]
            continue
        factor = rng.choice([10, 100, 1000])
        scaled = Decimal(match["whole"].replace(",", "") + (match["fraction"] or "")) * factor
        if scaled:
            yield _replaced(text, match, f"{match['sign']}{scaled:f}")


def negations(text: str, rng: random.Random) -> Iterator[str]:
    """Turn one statement round: yes for no, a `not` taken out, or, where neither is found, one put in."""
    yield from flips(text, rng, _OPPOSITES)
    answers = list(_NO.finditer(text))
    for match in rng.sample(answers, len(answers)):
        yield _replaced(text, match, like("yes", match[0]))
    negated = list(_NOT.finditer(text))
    for match in rng.sample(negated, len(negated)):
        yield _replaced(text, match, match["verb"])
    verbs = list(_VERB.finditer(text))
    for match in rng.sample(verbs, len(verbs)):
        yield _replaced(text, match, f"{match[0]} not")


_UNIT = re.compile(r"\s?(?P<unit>°\s?[CF]|%|[^\W\d_]+)(?!\w)")
_NO = re.compile(r"(?i)\bno\b(?=\s*(?:[.,!;:\"']|$))")
_NOT = re.compile(
    r"\b(?P<verb>is|are|was|were|has|have|had|does|do|did|will|would|should|could|must|may|might|can)"
    r"(?:\s+not\b|n['\u2019]t\b|not\b|(?<=can)['\u2019]t\b)"
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|does|do|did|will|would|should|could|must|may|might|can)\b(?!\s+not\b|n['\u2019]t|['\u2019])"
)

_PAIRS = [
    ("true", "false"),
    ("positive", "negative"),
    ("correct", "incorrect"),
    ("right", "wrong"),
    ("valid", "invalid"),
    ("possible", "impossible"),
    ("accept", "reject"),
    ("accepted", "rejected"),
    ("approve", "decline"),
    ("approved", "declined"),
    ("pass", "fail"),
    ("passed", "failed"),
    ("success", "failure"),
    ("allowed", "forbidden"),
    ("available", "unavailable"),
    ("always", "never"),
    ("more", "less"),
    ("increase", "decrease"),
    ("increased", "decreased"),
    ("with", "without"),
    ("before", "after"),
    ("good", "bad"),
    ("open", "closed"),
    ("high", "low"),
]
_OPPOSITES = {"yes": "no", "won't": "will", **dict(_PAIRS), **{right: left for left, right in _PAIRS}}

_WRONG_UNITS = [
    ("dollar", "cent"),
    ("euro", "cent"),
    ("pound", "euro"),
    ("cent", "dollar"),
    ("kilogram", "gram"),
    ("gram", "kilogram"),
    ("kilometre", "mile"),
    ("kilometer", "mile"),
    ("mile", "kilometre"),
    ("metre", "foot"),
    ("meter", "foot"),
    ("litre", "gallon"),
    ("liter", "gallon"),
    ("second", "minute"),
    ("minute", "hour"),
    ("hour", "minute"),
    ("day", "week"),
    ("week", "day"),
    ("month", "year"),
    ("year", "month"),
]
_UNITS = {
    **dict(_WRONG_UNITS),
    **{f"{unit}s": "feet" if wrong == "foot" else f"{wrong}s" for unit, wrong in _WRONG_UNITS},
    "kg": "g",
    "g": "kg",
    "km": "mi",
    "mi": "km",
    "m": "cm",
    "cm": "mm",
    "mm": "cm",
    "l": "ml",
    "ml": "l",
    "s": "ms",
    "ms": "s",
    "min": "h",
    "h": "min",
    "mb": "GB",
    "gb": "MB",
    "kb": "MB",
    "usd": "eur",
    "eur": "usd",
    "°c": "°F",
    "°f": "°C",
    "%": " per mille",
    "percent": "per mille",
    "celsius": "fahrenheit",
}


def _numbers(text: str, rng: random.Random) -> list[re.Match[str]]:
    matches = [match for match in NUMBER.finditer(text) if match["whole"].isascii() and len(match[0]) < 300]
    return rng.sample(matches, len(matches))


def _with_whole(text: str, match: re.Match[str], digits: str) -> str:
    """The digits before the point replaced, thousands commas and leading zeros kept."""
    old = match["whole"]
    digits = f"{int(digits):,}" if "," in old else digits.zfill(len(old)) if old.startswith("0") else digits
    return text[: match.start("whole")] + digits + text[match.end("whole") :]


def _replaced(text: str, match: re.Match[str], new: str) -> str:
    return text[: match.start()] + new + text[match.end() :]


@lru_cache(maxsize=16)
def _any_of(phrases: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(phrases, key=len, reverse=True)
    return re.compile(rf"(?i)\b(?:{'|'.join(map(re.escape, longest_first))})\b")
