"""Ways to the state that pass its parameter by: frames, LangGraph's own reads, and a Runnable that is returned."""

import ast
import builtins
import contextlib
import inspect
import sys
import sysconfig
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, is_typeddict

from langchain_core.runnables import Runnable
from langchain_core.runnables.config import var_child_runnable_config

from sherlock.interpose.reads_source import Function, Unknown, nested, static
from sherlock.interpose.reads_uses import bound_names

# Frames and closures; code made at run time; LangGraph's config, channels and checkpoints.
_FORBIDDEN = """
locals globals vars eval exec breakpoint __import__ __builtins__ __getattribute__ attrgetter methodcaller
settrace setprofile pythonapi _getframe _current_frames currentframe f_locals f_back tb_frame gi_frame cr_frame
ag_frame capture_locals __closure__ cell_contents getclosurevars getcoroutinelocals getgeneratorlocals getargvalues
get_objects get_referrers get_referents copy_context var_child_runnable_config
get_config ensure_config previous CONFIG_KEY_READ ChannelRead do_read ToolNode
get_state aget_state get_state_history aget_state_history get_tuple aget_tuple
"""
_FORBIDDEN_NAMES = frozenset(_FORBIDDEN.split())
_PATHS = sysconfig.get_paths()
_LIBRARIES = ("<frozen", *(_PATHS[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")))
_LARGE = 10_000
_DISPLAYS = (
    ast.Constant | ast.JoinedStr | ast.Dict | ast.List | ast.Tuple | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp
)
_CONSTRUCTORS = (object.__new__, dict.__new__, list.__new__, tuple.__new__, str.__new__)


def refuse_other_ways(function: FunctionType, target: Any) -> None:
    """Raise Unknown if `function`, or code of the user's that it refers to, names a way past its parameters.

    Followed are functions, methods and Runnables reached from globals, closures and `target`, the callable that
    LangGraph was given. Installed libraries are not looked into, unless the function is part of one.
    """
    todo, done = [function], set()
    while todo:
        each = todo.pop()
        if each.__code__ in done:
            continue
        done.add(each.__code__)
        words = {word for code in nested(each.__code__) for word in _words(code)}
        if words & _FORBIDDEN_NAMES or any("pregel" in word for word in words):
            raise Unknown(f"{each.__qualname__} names a way past its parameters")
        reached: dict[int, Any] = {}
        for value in [target, *_referents(each, words)]:
            _reach(value, words, reached)
        for value in reached.values():
            _refuse(value)
            if isinstance(value, FunctionType) and _is_own(value, function):
                if value is not function:
                    _refuse_config(value)
                todo.append(value)


def _refuse(value: Any) -> None:
    """Refuse what reads the state when it is called, under whatever name the code has it."""
    named = value if isinstance(value, FunctionType | BuiltinFunctionType | type) else type(value)
    if value is var_child_runnable_config or named.__name__ in _FORBIDDEN_NAMES:
        raise Unknown(f"the code refers to {named.__name__}, which may read the state")


def _refuse_config(function: FunctionType) -> None:
    code = function.__code__
    if "config" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        raise Unknown(f"{function.__qualname__} may be handed the config")


def _is_own(function: FunctionType, node: FunctionType) -> bool:
    """Whether code is the user's: of the node's own package, or not installed as a library."""
    package = (node.__module__ or "").split(".")[0]
    own_package = (function.__module__ or "").split(".")[0] == package
    return own_package or not function.__code__.co_filename.startswith(_LIBRARIES)


def _words(code: CodeType) -> Iterator[str]:
    """Names of globals and attributes, and string constants, which may come to be used as such."""
    yield from code.co_names
    for constant in code.co_consts:
        parts = constant if isinstance(constant, tuple) else (constant,)
        yield from (part for part in parts if isinstance(part, str))


def _reach(value: Any, words: Iterable[str], reached: dict[int, Any]) -> None:
    """Add to `reached` a value, what it wraps, and those of its methods that the words name."""
    if id(value) in reached or value is None or isinstance(value, str | bytes | int | float):
        return
    reached[id(value)] = value
    for part in _parts(value):
        _reach(part, words, reached)
    kind = value if isinstance(value, type) else type(value)
    if (kind.__module__ or "").split(".")[0] in sys.stdlib_module_names:
        return
    for name in {*words, "__call__", "__init__", "__new__", "__post_init__"}:
        attribute = static(kind, name)
        method = attribute.fget if isinstance(attribute, property) else getattr(attribute, "__func__", attribute)
        if isinstance(method, FunctionType):
            reached[id(method)] = method


def _parts(value: Any) -> Iterator[Any]:
    yield static(value, "__wrapped__")
    if isinstance(value, partial):
        yield from [value.func, *value.args, *value.keywords.values()]
    elif isinstance(value, MethodType):
        yield from [value.__func__, value.__self__]
    elif isinstance(value, list | tuple | set | frozenset | dict):
        if len(value) > _LARGE:
            raise Unknown("the code refers to more values than can be looked at")
        yield from value.values() if isinstance(value, dict) else value
    elif isinstance(value, FunctionType | Runnable) or _is_of_the_user(type(value)):
        yield from getattr(value, "__dict__", {}).values()


def _is_of_the_user(kind: type) -> bool:
    file = getattr(sys.modules.get(kind.__module__), "__file__", None) or ""
    return kind.__module__ not in sys.stdlib_module_names and not file.startswith(_LIBRARIES)


def _referents(function: FunctionType, names: Iterable[str]) -> Iterator[Any]:
    """What the names in a function stand for, as far as can be told without running it."""
    values = [function.__globals__[name] for name in names if name in function.__globals__]
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # not filled yet
            values.append(cell.cell_contents)
    yield from values
    for module in values:
        if isinstance(module, ModuleType):
            yield from (vars(module)[name] for name in names if name in vars(module))


def refuse_returned_runnables(function: FunctionType, source: Function) -> None:
    """LangGraph runs a Runnable that a node returns, on the node's whole input."""
    if isinstance(source, ast.Lambda):
        returned: list[ast.expr | None] = [source.body]
        parts: list[ast.AST] = [source.body]
    else:
        parts = list(_own_scope(source.body))
        returned = [part.value for part in parts if isinstance(part, ast.Return)]
    values = _Values(function, parts)
    if not all(value is None or values.is_plain(value) for value in returned):
        raise Unknown("what is returned may be a Runnable")


class _Values:
    """Tells expressions whose value is surely no Runnable, following local names through plain assignments."""

    def __init__(self, function: FunctionType, parts: Iterable[ast.AST]) -> None:
        self._function = function
        self._stored: Counter[str] = Counter()
        self._assigned: dict[str, list[ast.expr]] = defaultdict(list)
        for part in parts:
            self._note(part)
        code = function.__code__
        named = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
        named += bool(code.co_flags & inspect.CO_VARKEYWORDS)
        self._elsewhere = {*code.co_varnames[:named], *code.co_cellvars}

    def _note(self, part: ast.AST) -> None:
        if isinstance(part, ast.Name):
            self._stored[part.id] += not isinstance(part.ctx, ast.Load)
        elif isinstance(part, ast.Assign | ast.AnnAssign) and part.value is not None:
            for target in part.targets if isinstance(part, ast.Assign) else [part.target]:
                if isinstance(target, ast.Name):
                    self._assigned[target.id].append(part.value)
        elif isinstance(part, ast.alias):
            self._stored[part.asname or part.name.split(".")[0]] += 1
        else:
            self._stored.update(bound_names(part))

    def is_plain(self, value: ast.expr, following: frozenset[str] = frozenset()) -> bool:
        if isinstance(value, _DISPLAYS):
            return True
        if isinstance(value, ast.IfExp):
            return self.is_plain(value.body, following) and self.is_plain(value.orelse, following)
        if isinstance(value, ast.Name):
            return self._is_plain_local(value.id, following)
        return isinstance(value, ast.Call) and self._makes_no_runnable(value.func)

    def _is_plain_local(self, name: str, following: frozenset[str]) -> bool:
        local = name in self._function.__code__.co_varnames and name not in self._elsewhere
        if not local or name in following or self._stored[name] != len(self._assigned[name]):
            return False
        return all(self.is_plain(value, following | {name}) for value in self._assigned[name])

    def _makes_no_runnable(self, called: ast.expr) -> bool:
        if isinstance(called, ast.Subscript):  # Command[Literal["next"]](...)
            called = called.value
        if not isinstance(called, ast.Name):
            return False
        code = self._function.__code__
        if called.id in {*code.co_varnames, *code.co_cellvars, *code.co_freevars}:
            return False
        made = self._function.__globals__.get(called.id, getattr(builtins, called.id, None))
        if not isinstance(made, type) or issubclass(made, Runnable):
            return False
        ordinary = static(type(made), "__call__") is type.__dict__["__call__"] and made.__new__ in _CONSTRUCTORS
        return is_typeddict(made) or ordinary


def _own_scope(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes of a function's body but those inside functions and classes nested in it."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield from _own_scope(ast.iter_child_nodes(node))
