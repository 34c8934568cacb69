"""How a function uses its parameters: which keys of the state it reads, if it does nothing else with the state."""

import ast
from collections.abc import Iterator, Sequence

from sherlock.interpose.reads_source import Unknown

# What may be read of LangGraph's config and runtime: neither state, nor a way to it.
_CONFIG_KEYS = {"metadata", "tags", "run_name", "recursion_limit", "max_concurrency"}
_CONFIG_TAKERS = {"invoke", "ainvoke", "stream", "astream", "batch", "abatch", "astream_events"}
_RUNTIME_FIELDS = {"context", "store", "stream_writer", "heartbeat", "execution_info", "server_info", "control"}


class Uses(ast.NodeVisitor):
    """Collects the keys of the state in a function's body; raises at any use that could read more, or hide one.

    Nested functions see the same names, so they are read likewise; what would rebind a name is refused anywhere.
    """

    def __init__(self, state: str, injected: frozenset[str], fields: frozenset[str] | None) -> None:
        self.keys: set[str] = set()
        self._state = state
        self._guarded = injected | {state}
        self._fields = fields

    def visit(self, node: ast.AST) -> None:
        root, keys, defaults = _chain(node)
        if root is None or root not in self._guarded or not keys:
            super().visit(node)
            return
        if root == self._state and self._fields is None:
            self.keys.add(keys[0])
        elif root != "config" or root == self._state or not _is_plain_setting(keys):
            raise Unknown(f"{root} is subscripted in a way that may read more")
        for default in defaults:
            self.visit(default)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._guarded:
            raise Unknown(f"{node.id} is used as a whole")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        root = node.value.id if isinstance(node.value, ast.Name) and isinstance(node.ctx, ast.Load) else None
        if root == self._state and self._fields is not None and node.attr in self._fields:
            self.keys.add(node.attr)
        elif root != "runtime" or root == self._state or node.attr not in _RUNTIME_FIELDS:
            self.visit(node.value)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id == "getattr" and not _is_key(node.args[1:2]):
            raise Unknown("getattr with a computed name")
        takes_config = isinstance(node.func, ast.Attribute) and node.func.attr in _CONFIG_TAKERS
        self.visit(node.func)
        for value in [*node.args, *(keyword.value for keyword in node.keywords)]:
            passed_on = isinstance(value, ast.Name) and value.id == "config" and value.id != self._state
            if not (takes_config and passed_on):
                self.visit(value)

    def visit_arg(self, node: ast.arg) -> None:
        # LangChain hands its config to any function that it runs with a parameter of this name.
        if node.arg in self._guarded | {"config", "runtime"}:
            raise Unknown(f"{node.arg} is a parameter of a nested function")
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        if (node.asname or node.name.split(".")[0]) in self._guarded:
            raise Unknown("an import rebinds a parameter")

    def generic_visit(self, node: ast.AST) -> None:
        if self._guarded.intersection(bound_names(node)):
            raise Unknown("a parameter is rebound")
        super().generic_visit(node)


def _chain(node: ast.AST) -> tuple[str | None, list[str], list[ast.expr]]:
    """For `name["a"].get("b", default)`: the name, ["a", "b"], and the defaults; a name of None if it is not such."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        return node.id, [], []
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_key([node.slice]):
        inner, arguments = node.value, [node.slice]
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "get"
        and not node.keywords
        and len(node.args) in {1, 2}
        and _is_key(node.args[:1])
    ):
        inner, arguments = node.func.value, node.args
    else:
        return None, [], []
    root, keys, defaults = _chain(inner)
    return root, [*keys, ast.literal_eval(arguments[0])], [*defaults, *arguments[1:]]


def _is_key(arguments: Sequence[ast.expr]) -> bool:
    return bool(arguments) and isinstance(arguments[0], ast.Constant) and isinstance(arguments[0].value, str)


def _is_plain_setting(keys: Sequence[str]) -> bool:
    if keys[0] == "configurable":
        return len(keys) > 1 and not keys[1].startswith("__")
    return keys[0] in _CONFIG_KEYS


def bound_names(node: ast.AST) -> Iterator[str]:
    """The names that a node binds itself, other than as a variable: of a def, a class, an except, a match pattern."""
    if isinstance(node, ast.Constant | ast.keyword | ast.Attribute):
        return
    for _, value in ast.iter_fields(node):
        yield from (each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str))
