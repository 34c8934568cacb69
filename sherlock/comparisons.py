"""What a named scorer compares: which part of an output against `expected`, and how like they are.

Which part:

- with `output_key`, the value under that key of the output; else
- if `expected` is an object, each of its keys against the output's value of the same key; else
- the output's only key; else its last message's text; else a `CasesError` asks for `output_key`.

A key that the output lacks scores 0. `exact_match` is 1 only if all keys are right; the others are the mean
over the keys.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sherlock.cases import Case, opened
from sherlock.equivalence import json_equal, rouge_l
from sherlock.errors import CasesError

NOTHING: Final[Any] = object()
"""Stands for the value of a key that the output lacks."""


def compared(name: str, output: Any, case: Case, output_key: str | None) -> dict[str, tuple[Any, Any]]:
    """What the output has (or `NOTHING`) and what is expected, by key; the key "" stands for the whole."""
    expected = case.expected
    if expected is None or (isinstance(expected, Mapping) and not expected):
        cure = f"add what the scorer {name} compares with"
        raise CasesError(f"{named(case)} has no `expected`: {cure}")
    fields = _fields(output)
    if output_key is not None:
        if fields is None:
            shown = type(output).__name__
            raise CasesError(f"{named(case)}: the output is a {shown}, leave out the output key {output_key!r}")
        output = fields.get(output_key, NOTHING)
        fields = _fields(output)
    if isinstance(expected, Mapping) and fields is not None:
        return {str(key): (fields.get(key, NOTHING), value) for key, value in expected.items()}
    if output_key is None and fields is not None:
        output = _only(fields, case)
    return {"": (output, expected)}


def comparison(name: str, output_key: str | None) -> Callable[[Any, Case], float]:
    """The scoring function of a name in `COMPARISONS`."""
    compare = COMPARISONS[name]
    combine: Callable[[Sequence[float]], float] = min if name == "exact_match" else _mean

    def score(output: Any, case: Case) -> float:
        pairs = compared(name, output, case, output_key).values()
        try:
            return combine([0.0 if got is NOTHING else compare(got, expected) for got, expected in pairs])
        except CasesError as error:
            raise CasesError(f"{named(case)}: {error}") from None

    return score


def named(case: Case) -> str:
    """How an error names the case."""
    return f"case {case.id}" if case.id is not None else f"the case with inputs {str(case.inputs)[:60]!r}"


def text_of(value: Any) -> str:
    """A text as it is, a message's text, the text of the last of a list of messages, else sorted JSON."""
    if value is NOTHING:
        return ""
    if isinstance(value, str):
        return value
    message = _message_text(value[-1] if _is_messages(value) else value)
    if message is not None:
        return message
    return json.dumps(opened(value), sort_keys=True, ensure_ascii=False, default=_as_json)


# Which part


def _fields(output: Any) -> Mapping[Any, Any] | None:
    """The output's values by key; None for a value without keys. A graph that wrote nothing returns None."""
    if output is None:
        return {}
    if _message_text(output) is not None:
        return None
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {spec.name: getattr(output, spec.name) for spec in dataclasses.fields(output)}
    if hasattr(type(output), "model_fields"):
        return {key: getattr(output, key) for key in type(output).model_fields}
    return output if isinstance(output, Mapping) else None


def _only(fields: Mapping[Any, Any], case: Case) -> Any:
    if len(fields) <= 1:
        return next(iter(fields.values()), NOTHING)
    messages = [value for value in fields.values() if _is_messages(value)]
    if len(messages) == 1:
        return messages[0]
    keys = ", ".join(map(str, fields))
    cure = "say which is the answer with --output-key (`output_key`), or give `expected` as an object of keys"
    raise CasesError(f"{named(case)}: the output has the keys {keys}: {cure}")


def _is_messages(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and None not in map(_message_text, value)


def _message_text(value: Any) -> str | None:
    """The text of a message (an object of LangChain's, or role and content); None if it is no message."""
    from langchain_core.messages import AIMessage, BaseMessage

    if isinstance(value, BaseMessage):
        return str(value.text)
    if not isinstance(value, Mapping) or "content" not in value or not ({"role", "type"} & value.keys()):
        return None
    content = value["content"]
    return content if isinstance(content, str) else str(AIMessage(content or "").text)


def _as_json(value: Any) -> Any:
    plain = opened(value)
    return str(value) if plain is value else plain


# How like: what the output has, what is expected


def _exact_match(got: Any, expected: Any) -> float:
    return float(_equal(got, expected) or text_of(got).strip() == text_of(expected).strip())


def _contains(got: Any, expected: Any) -> float:
    wanted = " ".join(text_of(expected).casefold().split())
    if not wanted:
        raise CasesError("`expected` is empty, which every text contains: give a text")
    return float(wanted in " ".join(text_of(got).casefold().split()))


def _numeric(got: Any, expected: Any) -> float:
    wanted = _last_number(expected)
    if wanted is None:
        raise CasesError(f"`expected` is {expected!r}, which has no number: give one")
    found = _last_number(got)
    return float(found is not None and math.isclose(found, wanted, rel_tol=1e-6, abs_tol=1e-12))


# A minus counts unless it follows a letter or digit (3-4, 2024-05-06), before or after a currency sign.
_NUMBER = re.compile(
    r"(?:(?<!\w)(?P<sign>[-\u2212])\s?)?(?:[$€£¥₹]\s?(?P<inner>[-\u2212])?)?"
    r"(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)(?P<exponent>[eE][-+]?\d{1,3})?"
)


def _last_number(value: Any) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    found = list(_NUMBER.finditer(text_of(value)))
    if not found:
        return None
    last = found[-1]
    size = float(last["digits"].replace(",", "") + (last["exponent"] or ""))
    return -size if last["sign"] or last["inner"] else size


def _json_match(got: Any, expected: Any) -> float:
    if _equal(got, expected):
        return 1.0
    try:
        found = json.loads(_without_fence(text_of(got)))
    except (ValueError, RecursionError):
        return 0.0
    return float(_equal(found, expected) or _equal(found, _parsed(expected)))


def _parsed(expected: Any) -> Any:
    try:
        return json.loads(expected) if isinstance(expected, str) else expected
    except ValueError:
        return expected


def _without_fence(text: str) -> str:
    fenced = re.fullmatch(r"\s*```\w*\n(.*?)\n?```\s*", text, re.DOTALL)
    return fenced[1] if fenced else text


def _rouge_l(got: Any, expected: Any) -> float:
    return rouge_l(text_of(got), text_of(expected))


def _equal(a: Any, b: Any) -> bool:
    return json_equal(_plain(a), _plain(b))


def _plain(value: Any) -> Any:
    """Models, dataclasses, enums, tuples and mappings inside a value as lists and dicts."""
    value = opened(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _mean(scores: Sequence[float]) -> float:
    return math.fsum(scores) / len(scores)


COMPARISONS: dict[str, Callable[[Any, Any], float]] = {
    "exact_match": _exact_match,
    "contains": _contains,
    "numeric": _numeric,
    "json_match": _json_match,
    "rouge_l": _rouge_l,
}
