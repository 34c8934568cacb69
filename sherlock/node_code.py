"""A fingerprint of each node's code, prompts included: it keys recorded trials, so it must change when a result might.

Read are the source of a node's functions and of the user's own functions and classes that they reach, with the plain
values that all of these hold: defaults, closures, constants of modules, attributes of objects. Comments and layout do
not count. Values that the code itself changes while it runs (counters, logs) are left out, or no key would ever be met
again. Libraries are taken as they are.
"""

import ast
import enum
import functools
import hashlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from sherlock.blame import is_users
from sherlock.errors import GraphError
from sherlock.routing import own_nodes
from sherlock.wiring import START, full_name, inner_graph

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

_PLAIN = (str, bytes, int, float, complex, bool, type(None))
_CHANGERS = {
    *("append", "extend", "insert", "pop", "popleft", "appendleft", "remove", "clear", "sort", "reverse"),
    *("update", "setdefault", "popitem", "add", "discard"),
}
_LARGE_BASES = {
    # Reading these takes long, and their methods change nothing of their subclasses.
    *("abc", "builtins", "typing", "pydantic.main", "langchain_core.load.serializable"),
    *("langchain_core.runnables.base", "langgraph._internal._runnable"),
}


def code_fingerprint(graph: "CompiledStateGraph[Any, Any, Any, Any]") -> dict[str, str]:
    """SHA-256 (hex) of the code behind every leaf node, by full name; equal in every process.

    The routers that leave a node belong to its code; those that leave the start or a subgraph, and the reducers of the
    state, are under `__start__`, if there are any.
    """
    if inner_graph(graph) is None:
        raise GraphError(f"Code can only be read from a compiled graph, not from a {type(graph).__name__}.")
    found: dict[str, list[object]] = {}
    for place, thing in _parts(graph, ""):
        found.setdefault(place, []).append(thing)
    return {place: _digest(things) for place, things in sorted(found.items())}


def object_fingerprint(thing: object) -> str:
    """SHA-256 (hex) of the code and plain values behind one function or object, such as a scorer."""
    return _digest([thing])


def _digest(things: list[object]) -> str:
    walk = _Walk()
    for thing in things:
        walk.add(thing)
    return hashlib.sha256("\n".join(walk.tokens).encode("utf-8", "surrogatepass")).hexdigest()


def _parts(graph: "CompiledStateGraph[Any, Any, Any, Any]", scope: str) -> Iterator[tuple[str, object]]:
    builder = graph.builder
    leaves = set()
    for name, spec in sorted(builder.nodes.items()):
        if (inner := inner_graph(spec.runnable)) is not None:
            yield from _parts(inner, full_name(scope, name))
        elif name in graph.nodes:
            leaves.add(name)
            yield full_name(scope, name), spec.runnable
    for source, branches in sorted(builder.branches.items()):
        for branch in branches.values():
            yield full_name(scope, source) if source in leaves else START, branch.path
    for name, channel in sorted(builder.channels.items()):
        if (reducer := getattr(channel, "operator", None)) is not None:
            yield START, (name, reducer)


@dataclass(slots=True)
class _Walk:
    """Turns things into tokens, each thing once."""

    tokens: list[str] = field(default_factory=list)
    seen: dict[int, object] = field(default_factory=dict)

    def add(self, thing: object) -> None:
        if isinstance(thing, _PLAIN):
            self.tokens.append(f"{type(thing).__name__} {thing!r}")
            return
        # Whether equal tuples are one object differs between a fresh compilation and a cached one.
        if not isinstance(thing, tuple | frozenset):
            if id(thing) in self.seen:
                self.tokens.append("seen")
                return
            self.seen[id(thing)] = thing  # holding it keeps its id from being given to another
        self.tokens.append(f"{type(thing).__qualname__} (")
        if not self._data(thing):
            self._code(thing)
        self.tokens.append(")")

    def _data(self, thing: object) -> bool:
        match thing:
            case enum.Enum():
                self.tokens.append(repr(thing.name))
            case Mapping():
                for key, value in thing.items():
                    self._all(key, value)
            case list() | tuple():
                self._all(*thing)
            case set() | frozenset():
                self.tokens += sorted(repr(value) for value in thing if isinstance(value, _PLAIN))
            case re.Pattern():
                self._all(thing.pattern, thing.flags)
            case ModuleType():
                self.tokens.append(thing.__name__)
            case _:
                return False
        return True

    def _code(self, thing: Any) -> None:
        if isinstance(thing, FunctionType):
            self._function(thing)
        elif isinstance(thing, type):
            self._class(thing)
        elif isinstance(thing, functools.partial):
            self._all(thing.func, thing.args, thing.keywords)
        elif inspect.ismethod(thing):
            self._all(thing.__func__, thing.__self__)
        elif (graph := inner_graph(thing)) is not None:
            self._all(*sorted(graph.builder.edges), *_parts(graph, ""))
        elif callable(inner := vars(thing).get("__wrapped__") if hasattr(thing, "__dict__") else None):
            self.add(inner)
        else:
            self._object(thing)

    def _all(self, *things: object) -> None:
        for thing in things:
            self.add(thing)

    def _function(self, function: FunctionType) -> None:
        self.tokens.append(function.__qualname__)
        self.tokens.append(_source(function) or _bytecode(function.__code__))
        self._all(function.__defaults__, function.__kwdefaults__)
        self._values(_held(function), _changing(sys.modules.get(function.__module__)))

    def _class(self, cls: type) -> None:
        self.tokens.append(cls.__qualname__)
        if not _is_own(cls):
            return
        self.tokens.append(_source(cls) or "")
        self._all(*(base for base in cls.__bases__ if base is not object))
        for name, member in sorted(vars(cls).items()):
            for function in _written(member):
                self.tokens.append(name)
                self.add(function)

    def _object(self, thing: object) -> None:
        """The code and plain attributes of an object: of the user's own ones, runnables, models, dataclasses."""
        self.add(type(thing))
        if not (_is_own(type(thing)) or _is_transparent(thing)):
            return
        classes = [cls for cls in type(thing).__mro__ if cls.__module__ not in _LARGE_BASES]
        changing = {name for cls in classes for name in _changing(sys.modules.get(cls.__module__), cls.__name__)}
        self._values({f".{name}": value for name, value in _attributes(thing).items()}, changing)

    def _values(self, held: Mapping[str, object], changing: AbstractSet[str]) -> None:
        for name, value in sorted(held.items()):
            if name not in changing or isinstance(value, FunctionType | type):
                self.tokens.append(name)
                self.add(value)


def _source(thing: FunctionType | type) -> str | None:
    """The source without comments and layout; None where there is none, and for lambdas, which share their line."""
    if thing.__name__ == "<lambda>":
        return None
    if isinstance(thing, type):
        tree = _module_tree(sys.modules.get(thing.__module__))
        found = [part for part in ast.walk(tree) if isinstance(part, ast.ClassDef) and part.name == thing.__name__]
        return "\n".join(map(ast.unparse, found))
    try:
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(thing))))
    except (OSError, TypeError, SyntaxError, ValueError):
        return None


@functools.lru_cache(maxsize=1024)
def _module_tree(module: ModuleType | None) -> ast.Module:
    """The source of a whole module; an empty one where there is none."""
    try:
        return ast.parse(inspect.getsource(module) if module is not None else "")
    except (OSError, TypeError, SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def _bytecode(code: CodeType) -> str:
    constants = [_bytecode(part) if isinstance(part, CodeType) else _constant(part) for part in code.co_consts]
    return repr((code.co_code.hex(), constants, code.co_names, code.co_varnames[: code.co_argcount]))


def _constant(value: object) -> str:
    if isinstance(value, frozenset):
        return repr(sorted(map(repr, value)))
    return f"{type(value).__name__} {value!r}"


def _held(function: FunctionType) -> dict[str, object]:
    """The values that a function reaches: its closure, and what it names of its module and of the user's others."""
    held: dict[str, object] = {}
    codes = [function.__code__]
    for code in codes:
        codes.extend(part for part in code.co_consts if isinstance(part, CodeType))
    names = {name for code in codes for name in code.co_names}
    for name in names & function.__globals__.keys():
        value = function.__globals__[name]
        if isinstance(value, ModuleType) and _is_own(value):
            held.update({f"{name}.{part}": vars(value)[part] for part in names & vars(value).keys()})
        elif _counts(value):
            held[name] = value
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # not bound yet
            continue
    return held


def _counts(value: object) -> bool:
    """Of a module's globals: plain values, and what is the user's own; libraries are left out."""
    if isinstance(value, FunctionType | type):
        return _is_own(value)
    if isinstance(value, ModuleType) or inspect.isbuiltin(value):
        return False
    return (
        isinstance(value, (*_PLAIN, list, tuple, dict, set, frozenset, re.Pattern))
        or _is_transparent(value)
        or _is_own(type(value))
    )


def _is_own(thing: FunctionType | type | ModuleType) -> bool:
    try:
        return is_users(inspect.getfile(inspect.unwrap(thing) if isinstance(thing, FunctionType) else thing))
    except (TypeError, OSError):
        # Typed into an interpreter or made by `exec`.
        return getattr(thing, "__module__", "") == "__main__"


def _is_transparent(thing: object) -> bool:
    from dataclasses import is_dataclass

    from langchain_core.runnables import Runnable
    from pydantic import BaseModel

    return isinstance(thing, Runnable | BaseModel) or is_dataclass(thing)


def _attributes(thing: object) -> dict[str, object]:
    """Fields, slots and attributes, without what is only worked out from them and kept."""
    cls = type(thing)
    fields = getattr(cls, "model_fields", None)
    if isinstance(fields, dict):
        return {name: getattr(thing, name, None) for name in fields}
    slots = {name for base in cls.__mro__ for name in getattr(base, "__slots__", ()) if isinstance(name, str)}
    held = {name: getattr(thing, name) for name in slots if hasattr(thing, name)}
    held.update(getattr(thing, "__dict__", {}))
    # LangGraph gives a synchronous function an asynchronous twin that only calls it in a thread.
    twin = {"afunc"} if hasattr(held.get("afunc"), "__wrapped__") else set()
    kept = {name for name in held if isinstance(getattr(cls, name, None), functools.cached_property)}
    return {name: held[name] for name in held.keys() - twin - kept if not name.startswith("__")}


def _written(member: object) -> list[FunctionType]:
    """The functions behind a member of a class, but for those that a decorator such as `dataclass` made up."""
    parts = [member.fget, member.fset] if isinstance(member, property) else [getattr(member, "__func__", member)]
    return [part for part in parts if isinstance(part, FunctionType) and part.__code__.co_filename != "<string>"]


@functools.lru_cache(maxsize=1024)
def _changing(module: ModuleType | None, cls: str = "") -> frozenset[str]:
    """The free names, and the `.attribute`s, that code of a module changes while it runs.

    With a class, only its own methods are asked: what else a library does to its objects is not this node's doing.
    """
    tree: ast.AST = _module_tree(module)
    roots = [part for part in ast.walk(tree) if isinstance(part, ast.ClassDef) and part.name == cls] if cls else [tree]
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    found = [part for root in roots for part in ast.walk(root) if isinstance(part, functions)]
    return frozenset(name for function in found if not _builds(function) for name in _changed_in(function))


def _builds(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    decorators = " ".join(map(ast.unparse, function.decorator_list))
    return function.name in ("__init__", "__post_init__", "model_post_init", "__new__") or "validator" in decorators


def _changed_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    parts = list(own_nodes(function))
    rebound = {name for part in parts if isinstance(part, ast.Global | ast.Nonlocal) for name in part.names}
    bound = {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    bound |= {part.arg for part in ast.walk(function.args) if isinstance(part, ast.arg)}
    yield from rebound & bound
    for part in parts:
        match part:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in _CHANGERS:
                changed = name
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=name), attr=method)) if method in _CHANGERS:
                changed = f".{name}"
            case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                changed = name
            case ast.Subscript(value=ast.Attribute(attr=name), ctx=ast.Store() | ast.Del()):
                changed = f".{name}"
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
                changed = f".{name}"
            case _:
                continue
        if changed not in bound - rebound:
            yield changed
