"""Exact checks of a text, for the verifier `check`: each is a function from the text to True or False."""

import ast
import importlib
import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from sherlock.errors import VerifierError

Test = Callable[[str], bool]

_RUN = re.compile(r"[\d \t.,+*/\u00d7\u00f7^()$\u20ac\u00a3=-]+")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_OPERATIONS: dict[type[ast.AST], Callable[[Fraction, Fraction], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_LONGEST = 200
_LARGEST_POWER = 64


def matches(pattern: str) -> Test:
    """Whether the whole text, but for white space round it, matches a regular expression."""
    try:
        compiled = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise VerifierError(f"the regular expression {pattern!r} is malformed: {error}") from error
    return lambda text: compiled.fullmatch(text.strip()) is not None


def fits(schema: Mapping[str, Any] | type) -> Test:
    """Whether the text is JSON that fits a JSON schema or a pydantic model class."""
    return lambda text: not problems(text, schema)


def problems(text: str, schema: Mapping[str, Any] | type) -> list[str]:
    """What is wrong with a text that should be JSON of that schema; nothing when it fits."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return [f"it is not JSON: {error}"]
    return _against_schema(value, schema) if isinstance(schema, Mapping) else _against_model(value, schema)


def equation(text: str) -> bool:
    """Whether the text holds equations between numbers, and all of them are true: `6 + 5 = 11`."""
    return _true(equations(text))


def equation_of(text: str, question: str) -> bool:
    """`equation`, and it calculates with the numbers of the question: none is invented, none used twice.

    A right sum of the wrong numbers is the commonest mistake that `equation` alone lets pass.
    """
    found = equations(text)
    given = Counter(map(_amount, _NUMBER.findall(question)))
    for sides in found:
        used = Counter(map(_amount, _NUMBER.findall(sides[0])))
        if used.total() < 2 or used - given:
            return False
    return _true(found)


def equations(text: str) -> list[list[str]]:
    """The equations in the text, each as its sides."""
    runs = [_sides(run) for run in _RUN.findall(text) if "=" in run]
    return [sides for sides in runs if all(sides)]


def _sides(run: str) -> list[str]:
    """The sides of an equation, without the end of the sentence before it and the start of the one after."""
    sides = run.split("=")
    sides[0] = re.split(r"[.,)]\s+(?=[\d(])", sides[0])[-1]
    sides[-1] = re.split(r"[.,(](?:\s|$)", sides[-1].strip())[0]
    return [_balanced(side.strip(" \t.,$\u20ac\u00a3")) for side in sides]


def _balanced(side: str) -> str:
    """The side without a bracket that closes none, and what follows it, or that is never closed."""
    depth = 0
    for index, letter in enumerate(side):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth < 0:
            return side[:index].rstrip()
    return side.removeprefix("(") if depth > 0 else side


def _true(found: list[list[str]]) -> bool:
    values = [[_value(side) for side in sides] for sides in found]
    return bool(values) and all(None not in sides and len(set(sides)) == 1 for sides in values)


def _value(expression: str) -> Fraction | None:
    plain = re.sub(r"[$\u20ac\u00a3]|(?<=\d),(?=\d{3})", "", expression)
    plain = plain.replace("\u00d7", "*").replace("\u00f7", "/").replace("^", "**")
    plain = re.sub(r"(?<![\d.])0+(?=\d)", "", plain)
    if len(plain) > _LONGEST:
        return None
    try:
        return _calculated(ast.parse(" ".join(plain.split()), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, TypeError, OverflowError, RecursionError, MemoryError):
        return None


def _calculated(node: ast.AST) -> Fraction:
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        return Fraction(str(node.value))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        inner = _calculated(node.operand)
        return -inner if isinstance(node.op, ast.USub) else inner
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        left, right = _calculated(node.left), _calculated(node.right)
        if isinstance(node.op, ast.Pow) and (abs(right) > _LARGEST_POWER or abs(left) > 10**6):
            raise OverflowError("too large a power to calculate")
        return Fraction(_OPERATIONS[type(node.op)](left, right))
    raise ValueError("no arithmetic")


def _amount(number: str) -> Fraction:
    return Fraction(number.replace(",", ""))


def _against_schema(value: Any, schema: Mapping[str, Any]) -> list[str]:
    jsonschema: Any = importlib.import_module("jsonschema")
    try:
        checker = jsonschema.validators.validator_for(schema)
        checker.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise VerifierError(f"the JSON schema is malformed: {error.message}") from error
    found = sorted(checker(schema).iter_errors(value), key=lambda error: error.json_path)
    return [f"{error.json_path}: {error.message}" for error in found]


def _against_model(value: Any, model: Any) -> list[str]:
    from pydantic import ValidationError

    try:
        model.model_validate(value)
    except ValidationError as error:
        return [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
    return []
