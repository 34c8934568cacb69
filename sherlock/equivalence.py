"""When two texts count as the same answer.

Two questions, two functions: is an output right against gold text (`matches_reference`), and does a
correction mean what the original meant, so that work built on the original may stand (`same_meaning`)?
"""

import json
import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

NOT_JSON: Final = object()
"""What `json_container` returns for a text that is no JSON object or list."""


def matches_reference(text: str, gold: str, category: str = "instruction") -> bool:
    """Tell whether `text` is right against `gold`.

    Numbers are compared by value: thousands commas, a currency sign and a trailing period do not count,
    and a unit counts only where the gold text has one. JSON objects and lists are compared by value: key
    order does not count, 1 equals 1.0. Code is compared line by line without trailing white space.
    Anything else is equal after Unicode NFKC, case folding, and with white space and outer punctuation
    normalised.
    """
    if text == gold:
        return True
    if category == "code":
        return _code_lines(text) == _code_lines(gold)
    gold_number = parse_number(gold)
    if gold_number is not None:
        number = parse_number(text)
        return number is not None and _number_matches(number, gold_number)
    gold_json = json_container(gold)
    if gold_json is not NOT_JSON:
        value = json_container(text)
        return value is not NOT_JSON and json_equal(value, gold_json)
    return normalise(text) == normalise(gold)


def same_meaning(a: str, b: str, category: str = "instruction", threshold: float = 0.7) -> bool:
    """Tell whether a corrected text may stand for the original, so that nothing built on it is redone.

    ROUGE-L of at least `threshold` decides for instruction and tool text, as long as both hold the same
    numbers and denials (`sherlock.claims`); of tool text that is JSON, for the strings in it, everything
    else there by value. Numbers and JSON are compared by value; code and maths are the same only byte for
    byte, because no similarity tells right from wrong there (arXiv:2511.00330, section 7.2). Symmetric in
    `a` and `b`.
    """
    if a == b:
        return True
    if category in ("code", "maths"):
        return False
    if category in ("number", "json"):
        return matches_reference(a, b, category) and matches_reference(b, a, category)
    if category == "tool":
        left, right = json_container(a), json_container(b)
        if left is not NOT_JSON and right is not NOT_JSON:
            return _same_call(left, right, threshold)
    return _same_words(a, b, threshold)


def rouge_l(a: str, b: str) -> float:
    """ROUGE-L F1 of two texts, in [0, 1]: twice their longest common subsequence over the sum of lengths.

    Words are runs of letters and digits, case-folded; Chinese and Japanese characters count one by one.
    Texts without any word score 1 if they are equal after normalisation, else 0.
    """
    from rapidfuzz.distance import LCSseq

    left, right = words(a), words(b)
    if not left and not right:
        return float(normalise(a) == normalise(b))
    common = LCSseq.similarity(left, right)
    return 2.0 * common / (len(left) + len(right))


def normalise(text: str) -> str:
    """Unicode NFKC, case-folded, white space collapsed, outer punctuation and quotes taken off."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    collapsed = " ".join(folded.split())
    return collapsed.strip(_OUTER) or collapsed


@dataclass(frozen=True, slots=True)
class Number:
    """A text that is one number: `unit` is the word or sign after it, `currency` what stands before it."""

    value: Decimal
    unit: str | None
    currency: str | None


def parse_number(text: str) -> Number | None:
    """Read a text that is one number and nothing else (`$1,200.50`, `11 dollars`, `-3e5`), else None."""
    if len(text) > _LONGEST_NUMBER:
        return None
    match = _NUMBER.fullmatch(unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-").strip())
    if match is None or (match["sign"] and match["inner"]):
        return None
    sign = match["sign"] or match["inner"]
    value = Decimal(f"{sign}{match['digits'].replace(',', '')}{match['exponent'] or ''}")
    return Number(value, measure(match["unit"]), measure(match["currency"]))


def json_container(text: str) -> Any:
    """The value of a text that is a JSON object or list, else `NOT_JSON`; so is what nests over 100 levels deep."""
    if not text.lstrip().startswith(("{", "[")):
        return NOT_JSON
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return NOT_JSON
    return NOT_JSON if _is_deep(value) else value


def json_equal(a: Any, b: Any) -> bool:
    """Equality of JSON values: key order ignored, 1 equals 1.0, true is no number, NaN equals itself."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(json_equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(json_equal, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b) or bool(a != a and b != b)  # noqa: PLR0124 -- only NaN differs from itself


def measure(text: str | None) -> str | None:
    """A unit or currency as it is compared: case-folded, singular, a currency by its name; None without one."""
    if not text:
        return None
    word = text.casefold().replace(" ", "")
    singular = word[:-1] if len(word) > 2 and word.endswith("s") else word
    return _CURRENCIES.get(word, singular)


def words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, case-folded; Chinese and Japanese characters one by one."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


_OUTER = " .,;:!?\"'`()[]{}<>*_\u2018\u2019\u201c\u201d\u2026"
_LONGEST_NUMBER = 100
_DEEPEST = 100
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)\s*(?P<currency>[$€£¥₹]|[A-Z]{3}(?=[\s\d]))?\s*(?P<inner>[-+]?)"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)\.?(?P<exponent>[eE][-+]?\d{1,4})?"
    r"\s*(?P<unit>[^\W\d_]+(?:/[^\W\d_]+)?|%|°\s?[CF]?|[$€£¥₹])?\.?"
)
_CURRENCIES = {
    "$": "dollar", "usd": "dollar", "€": "euro", "eur": "euro", "£": "pound", "gbp": "pound",
    "¥": "yen", "jpy": "yen", "₹": "rupee", "inr": "rupee",
}  # fmt: skip
_CJK = r"\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")


def _same_call(a: Any, b: Any, threshold: float) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_call(a[key], b[key], threshold) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_same_call(*pair, threshold) for pair in zip(a, b, strict=True))
    if isinstance(a, str) and isinstance(b, str):
        return a == b or _same_words(a, b, threshold)
    return json_equal(a, b)


def _same_words(a: str, b: str, threshold: float) -> bool:
    from sherlock.claims import same_claims

    return rouge_l(a, b) >= threshold and same_claims(a, b)


def _is_deep(value: Any) -> bool:
    """No one means such nesting, but a model caught in a loop writes it, and recursion over it would fail."""
    level = [value]
    for _ in range(_DEEPEST):
        containers = [item for item in level if isinstance(item, (dict, list))]
        level = [part for item in containers for part in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return True


def _number_matches(number: Number, gold: Number) -> bool:
    if number.value != gold.value:
        return False
    measure = number.unit or number.currency
    if gold.unit is not None:
        return measure == gold.unit
    return gold.currency is None or measure in (None, gold.currency)


def _code_lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\r\n").splitlines()]
