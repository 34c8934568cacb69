"""Reads from a function's source where it sends control: the targets of routers, `Send` and `Command(goto=...)`.

LangGraph lets a router, or a node that returns a `Command`, leave its targets undeclared. Where the source names them
by constants they are found here; what is computed stays unknown, and is never guessed.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import FunctionType

from sherlock.callables import functions

_UNKNOWN = object()
_GROWERS = ("append", "extend", "add", "update", "insert")


@dataclass(frozen=True, slots=True)
class Jumps:
    """Targets of the `Command(goto=...)` in a node: in its own graph, and in the enclosing one (`Command.PARENT`).

    `open` and `open_parent`: there are targets that the source does not name.
    """

    local: frozenset[str] = frozenset()
    parent: frozenset[str] = frozenset()
    open: bool = False
    open_parent: bool = False


def router_targets(router: object) -> frozenset[str] | None:
    """The node names that a router can return or `Send` to, or None when its source does not name them all."""
    found = functions(router)
    if not found:
        return None
    source = _Source.of(found[-1])
    returned = source.returned() if source else []
    if source is None or not returned:
        return None
    return source.targets(ast.Tuple(elts=returned))


def sent_targets(router: object) -> frozenset[str]:
    """The constant targets of `Send` in a router that declares its others: `Send` bypasses the path map."""
    targets: frozenset[str] = frozenset()
    for function in functions(router)[-1:]:
        source = _Source.of(function)
        for call in source.calls("Send") if source else ():
            targets |= (source.targets(call) if source else None) or frozenset()
    return targets


def jumps(node: object) -> Jumps:
    """The `Command(goto=...)` targets in the source of a node's own functions; not in what they call."""
    local: frozenset[str] = frozenset()
    parent: frozenset[str] = frozenset()
    is_open = open_parent = False
    for function in functions(node):
        source = _Source.of(function)
        for call in source.calls("Command") if source else ():
            given = {word.arg: word.value for word in call.keywords}
            if source is None or "goto" not in given:
                continue
            targets = source.targets(given["goto"])
            if "graph" in given and source.value(given["graph"]) == "__parent__":
                parent |= targets or frozenset()
                open_parent |= targets is None
            else:
                local |= targets or frozenset()
                is_open |= targets is None
    return Jumps(local, parent, is_open, open_parent)


@dataclass(frozen=True, slots=True)
class _Source:
    """A function's syntax tree, with the values that its free names have."""

    tree: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    function: FunctionType

    @classmethod
    def of(cls, function: FunctionType) -> "_Source | None":
        try:
            tree = _lambda_tree(function) if function.__name__ == "<lambda>" else _def_tree(function)
        except (OSError, TypeError, SyntaxError, ValueError):
            return None
        return cls(tree, function) if tree is not None else None

    def returned(self) -> list[ast.expr]:
        """What the function itself returns; functions defined inside it are left out. Empty: cannot be told."""
        if isinstance(self.tree, ast.Lambda):
            return [self.tree.body]
        own = list(own_nodes(self.tree))
        if any(isinstance(part, ast.Yield | ast.YieldFrom) for part in own):
            return []
        return [part.value for part in own if isinstance(part, ast.Return) and part.value is not None]

    def calls(self, name: str) -> list[ast.Call]:
        """The calls of `Send` or `Command`, under whatever name they were imported."""
        return [
            part for part in ast.walk(self.tree) if isinstance(part, ast.Call) and self._is_langgraph(part.func, name)
        ]

    def targets(self, given: ast.expr, visiting: frozenset[str] = frozenset()) -> frozenset[str] | None:
        """The node names that an expression can stand for, or None."""
        if isinstance(given, ast.Constant) and given.value is None:
            return frozenset()
        if isinstance(given, ast.Name) and given.id in self._locals():
            return self._of_local(given.id, visiting)
        if (parts := self._parts(given)) is not None:
            return self._all(parts, visiting)
        value = self.value(given)
        return frozenset([value]) if isinstance(value, str) else None

    def _parts(self, given: ast.expr) -> list[ast.expr] | None:
        """The expressions whose targets together are those of `given`, if it is made of such."""
        parts: list[ast.expr] | None = None
        match given:
            case ast.Call() if self._is_langgraph(given.func, "Send"):
                parts = given.args[:1] or [word.value for word in given.keywords if word.arg == "node"]
            case ast.IfExp():
                parts = [given.body, given.orelse]
            case ast.BoolOp():
                parts = given.values
            case ast.Tuple() | ast.List() | ast.Set():
                parts = given.elts
            case ast.BinOp(op=ast.Add()):
                parts = [given.left, given.right]
            case ast.Starred():
                parts = [given.value]
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                parts = [given.elt]
        return parts

    def value(self, given: ast.expr) -> object:
        """The value of a constant, a free name, or an attribute of one."""
        match given:
            case ast.Constant():
                return given.value
            case ast.Name() if given.id not in self._locals():
                return self._free_names().get(given.id, _UNKNOWN)
            case ast.Attribute():
                owner = self.value(given.value)
                known = inspect.ismodule(owner) or isinstance(owner, type)
                return getattr(owner, given.attr, _UNKNOWN) if known else _UNKNOWN
        return _UNKNOWN

    def _all(self, parts: list[ast.expr], visiting: frozenset[str]) -> frozenset[str] | None:
        found = [self.targets(part, visiting) for part in parts]
        known = [targets for targets in found if targets is not None]
        return frozenset().union(*known) if len(known) == len(found) else None

    def _of_local(self, name: str, visiting: frozenset[str]) -> frozenset[str] | None:
        """A local variable holds what is assigned or appended to it, if nothing else binds it."""
        if name in visiting:
            return frozenset()
        given: list[ast.expr] = []
        bindings = 0
        for part in ast.walk(self.tree):
            match part:
                case ast.Name(id=found, ctx=ast.Store()) if found == name:
                    bindings += 1
                case ast.arg(arg=found) if found == name:
                    return None
                case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                    given.append(value)
                    bindings -= 1
                case ast.AnnAssign(target=ast.Name(id=found), value=value) if found == name:
                    given += [value] if value else []
                    bindings -= 1
                case ast.AugAssign(target=ast.Name(id=found), op=ast.Add(), value=value) if found == name:
                    given.append(value)
                    bindings -= 1
                case ast.Call(func=ast.Attribute(value=ast.Name(id=found), attr=method)) if found == name:
                    if method not in _GROWERS or part.keywords:
                        return None
                    given += part.args[-1:]
        return self._all(given, visiting | {name}) if given and bindings == 0 else None

    def _is_langgraph(self, called: ast.expr, name: str) -> bool:
        value = self.value(called)
        if value is _UNKNOWN:  # imported inside the function
            return isinstance(called, ast.Name) and called.id == name
        return getattr(value, "__name__", "") == name and getattr(value, "__module__", "") == "langgraph.types"

    def _locals(self) -> set[str]:
        parts = list(ast.walk(self.tree))
        stored = {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
        return stored | {part.arg for part in parts if isinstance(part, ast.arg)}

    def _free_names(self) -> dict[str, object]:
        code = self.function.__code__
        known: dict[str, object] = dict(self.function.__globals__)
        for name, cell in zip(code.co_freevars, self.function.__closure__ or (), strict=True):
            try:
                known[name] = cell.cell_contents
            except ValueError:  # not bound yet
                known.pop(name, None)
        return known


def _def_tree(function: FunctionType) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    module = ast.parse(textwrap.dedent(inspect.getsource(function)))
    trees = [tree for tree in ast.walk(module) if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef)]
    return trees[0] if trees else None


def _lambda_tree(function: FunctionType) -> ast.Lambda | None:
    """The lambda of that line whose body stands where the code says: a line may hold several."""
    lines, _ = inspect.findsource(function)
    code = function.__code__
    found = [tree for tree in _lambdas("".join(lines)) if tree.lineno == code.co_firstlineno]
    spans = set(code.co_positions())
    exact = [
        tree
        for tree in found
        if (tree.body.lineno, tree.body.end_lineno, tree.body.col_offset, tree.body.end_col_offset) in spans
    ]
    best = exact or found
    return best[0] if len(best) == 1 else None


@functools.lru_cache(maxsize=64)
def _lambdas(source: str) -> list[ast.Lambda]:
    return [tree for tree in ast.walk(ast.parse(source)) if isinstance(tree, ast.Lambda)]


def own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """The parts of a function's syntax tree, without the functions and classes defined inside it."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        yield child
        yield from own_nodes(child)
