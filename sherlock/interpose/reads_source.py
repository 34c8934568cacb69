"""What a node's function is made of: the Python function, its syntax tree, and the fields of its state's schema."""

import ast
import dataclasses
import functools
import inspect
import linecache
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FunctionType, MemberDescriptorType, MethodType
from typing import Any

from langgraph.graph import StateGraph
from pydantic import BaseModel, PydanticUserError

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Unknown(Exception):
    """What a node reads cannot be told; says why, for whoever debugs it."""


def unwrapped(target: Any) -> tuple[FunctionType, int]:
    """The Python function that a callable runs, and which positional parameter takes the state.

    `__wrapped__` is not followed: what runs is the wrapper.
    """
    if isinstance(target, FunctionType):
        return target, 0
    if type(target) is functools.partial:
        if any(arg is getattr(functools, "Placeholder", Unknown) for arg in target.args):
            raise Unknown("a partial with gaps")
        function, position = unwrapped(target.func)
        return function, position + len(target.args)
    method = target.__func__ if isinstance(target, MethodType) else static(type(target), "__call__")
    if isinstance(target, type) or not isinstance(method, FunctionType):
        raise Unknown("not a Python function")
    return method, 1


def source_of(function: FunctionType) -> Function:
    """The syntax tree of the function's code: the one in its file that compiles to that very code."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    text = "".join(linecache.getlines(code.co_filename, function.__globals__))
    try:
        functions, codes = _parsed(code.co_filename, text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise Unknown("its file does not compile") from error
    candidates = functions.get((code.co_firstlineno, code.co_name), [])
    if len(candidates) > 1:  # lambdas on one line
        spans = set(code.co_positions())
        candidates = [each for each in candidates if isinstance(each, ast.Lambda) and _span(each.body) in spans]
    if len(candidates) != 1 or code not in codes:
        raise Unknown("no source, or not the source of this code")
    return candidates[0]


@functools.lru_cache(maxsize=32)
def _parsed(filename: str, text: str) -> tuple[dict[tuple[int, str], list[Function]], frozenset[CodeType]]:
    """The functions of a file by first line and name, and all code objects that it compiles to."""
    tree = ast.parse(text, filename)
    functions: dict[tuple[int, str], list[Function]] = defaultdict(list)
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            functions[node.lineno, "<lambda>"].append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            functions[first, node.name].append(node)
    return functions, frozenset(nested(compile(text, filename, "exec", dont_inherit=True)))


def nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def _span(node: ast.expr) -> tuple[int, int | None, int, int | None]:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def state_fields(mapper: Callable[[Any], Any] | None) -> frozenset[str] | None:
    """The attributes of the state that are one key each; None if the state is a plain dict."""
    if mapper is None:
        return None
    schema = mapper.args[0] if isinstance(mapper, functools.partial) and len(mapper.args) == 1 else None
    if not isinstance(schema, type) or getattr(mapper, "func", None).__module__ != StateGraph.__module__:
        raise Unknown("the input is made by a function of its own")
    plain_attributes = static(schema, "__getattribute__") is object.__getattribute__
    if not plain_attributes or static(schema, "__new__") is not object.__dict__["__new__"]:
        raise Unknown("the schema makes its instances or finds its attributes in its own way")
    names = _model_fields(schema) if issubclass(schema, BaseModel) else _dataclass_fields(schema)
    return frozenset(name for name in names if not _computed(static(schema, name)))


def _model_fields(schema: type[BaseModel]) -> Iterable[str]:
    if static(schema, "__getattr__") is not BaseModel.__dict__["__getattr__"]:
        raise Unknown("the schema finds its attributes in its own way")
    model: Any = schema.__pydantic_core_schema__
    try:
        while model["type"] == "definitions":
            model = model["schema"]
    except PydanticUserError as error:
        raise Unknown("the schema is not complete") from error
    mixes = {"post_init", "with-info", "validation_alias"}
    fields_only = model["type"] == "model" and model["schema"]["type"] == "model-fields"
    if not fields_only or model["custom_init"] or mixes & set(_words(model)):
        raise Unknown("a validator of the schema may read several fields")
    return schema.model_fields


def _words(schema: Any) -> Iterator[str]:
    """Keys and strings of a pydantic core schema, with `with-info` for a default made from other fields."""
    if isinstance(schema, Mapping):
        for key, value in schema.items():
            yield "with-info" if key == "default_factory_takes_data" and value else key
            yield from _words(value)
    elif isinstance(schema, str):
        yield schema
    elif isinstance(schema, list | tuple):
        for each in schema:
            yield from _words(each)


def _dataclass_fields(schema: type) -> Iterable[str]:
    parameters = vars(schema).get("__dataclass_params__")
    own_ways = ("__post_init__", "__getattr__", "__pydantic_validator__")
    if parameters is None or not parameters.init or any(hasattr(schema, name) for name in own_ways):
        raise Unknown("the schema may set one field from another")
    return [field.name for field in dataclasses.fields(schema)]


def _computed(attribute: Any) -> bool:
    return hasattr(type(attribute), "__set__") and not isinstance(attribute, MemberDescriptorType)


def static(owner: Any, name: str) -> Any:
    return inspect.getattr_static(owner, name, None)
