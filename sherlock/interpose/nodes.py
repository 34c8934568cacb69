"""Wraps the nodes of a compiled graph so that a hook sees, and may replace, every execution's input and output.

`interpose(graph)` returns a copy whose nodes ask for the hook of the current context; without one they run as they
are. Analysis and runtime both hook in here, and nowhere else. The graph that was given is never changed.
"""

import contextlib
import copy
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol, cast

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.pregel._read import DEFAULT_BOUND, PregelNode
from langgraph.pregel._write import ChannelWrite

Level = tuple[int, str, int]
"""Superstep, node name, and index among the tasks that `Send` started (-1: started by an edge)."""

Address = tuple[Level, ...]
"""Where an execution stands in its run: one level for each enclosing graph, outermost first.

Step and node alone are not unique: several `Send`s to one subgraph share their inner steps. Addresses of one run sort
in the order of its supersteps.
"""


@dataclass(frozen=True, slots=True)
class Visit:
    """An execution that is about to happen. `node` is the full name, `parent/child` inside subgraphs."""

    address: Address
    node: str
    is_container: bool
    config: RunnableConfig


class NodeHook(Protocol):
    """What stands round every node execution of a run."""

    async def around(self, visit: Visit, value: Any, run: Callable[[Any], Awaitable[Any]]) -> Any:
        """Return the node's update: `await run(value)`, or something else in its place."""
        ...

    def routing(self, visit: Visit) -> contextlib.AbstractContextManager[None]:
        """Stand round the functions of the conditional edges that leave the node."""
        ...


_hook: ContextVar[NodeHook | None] = ContextVar("sherlock_node_hook", default=None)
_enclosing: ContextVar[Address] = ContextVar("sherlock_enclosing", default=())


@contextlib.contextmanager
def hooked(hook: NodeHook) -> Iterator[None]:
    """Let `hook` stand round the node executions of every run started in this block."""
    token = _hook.set(hook)
    level = _enclosing.set(())
    try:
        yield
    finally:
        _enclosing.reset(level)
        _hook.reset(token)


def interpose(
    graph: CompiledStateGraph[Any, Any, Any, Any], hook: NodeHook | None = None
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Return a copy of `graph` whose nodes, and those of its subgraphs, can be hooked, or always have this `hook`."""
    return cast("CompiledStateGraph[Any, Any, Any, Any]", _interposed(graph, "", hook))


def full_name(prefix: str, name: str) -> str:
    """The name of an inner node: `parent/child`; a slash inside a name is doubled."""
    name = name.replace("/", "//")
    return f"{prefix}/{name}" if prefix else name


def show_address(address: Address) -> str:
    """An address as text, for stores and messages: `2:sub/1:draft#0`."""
    return "/".join(
        f"{step}:{name.replace('/', '//')}" + (f"#{index}" if index >= 0 else "") for step, name, index in address
    )


def follows(address: Address, at: Address) -> bool:
    """Whether `address` is `at` itself, encloses it, lies in it, or comes after it."""
    for mine, its in zip(address, at, strict=False):
        if mine != its:
            return mine[0] > its[0]
    return True


def precedes(address: Address, at: Address) -> bool:
    """Whether `address` was over before `at` began, whatever took how long."""
    for mine, its in zip(address, at, strict=False):
        if mine != its:
            return mine[0] < its[0]
    return False


def leaf_nodes(graph: Pregel[Any, Any, Any, Any], prefix: str = "") -> Iterator[tuple[str, PregelNode]]:
    """The nodes of a compiled graph, those of its subgraphs in place of the subgraphs, with their full names."""
    for name, node in graph.nodes.items():
        full = full_name(prefix, name)
        if isinstance(node.bound, Pregel):
            yield from leaf_nodes(node.bound, full)
        elif node.bound is not DEFAULT_BOUND:
            yield full, node


def _interposed(graph: Pregel[Any, Any, Any, Any], prefix: str, hook: NodeHook | None) -> Pregel[Any, Any, Any, Any]:
    twin = copy.copy(graph)
    twin.nodes = {name: _wrap(node, name, full_name(prefix, name), hook) for name, node in graph.nodes.items()}
    return twin


def _wrap(node: PregelNode, name: str, full: str, hook: NodeHook | None) -> PregelNode:
    writers = [w if isinstance(w, ChannelWrite) else _Router(w, name, full, hook) for w in node.writers]
    if node.bound is DEFAULT_BOUND:  # the start, whose routers may call models too
        return node.copy({"writers": writers})
    inner = node.bound
    subgraphs = node.subgraphs
    if isinstance(inner, Pregel):
        inner = _interposed(inner, full, hook)
        subgraphs = [inner if sub is node.bound else sub for sub in subgraphs]
    bound = _Interposed(inner, name, full, hook, is_container=inner is not node.bound)
    return node.copy({"bound": bound, "writers": writers, "subgraphs": subgraphs})


class _Interposed(Runnable[Any, Any]):
    """A node's own runnable, behind the hook of the current context."""

    def __init__(
        self, inner: Runnable[Any, Any], name: str, full: str, hook: NodeHook | None, *, is_container: bool
    ) -> None:
        self.inner = inner
        self.hook = hook
        self.node = self.name = name
        self.full = full
        self.is_container = is_container

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        return self.inner.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        hook = self.hook or _hook.get()
        if hook is None or config is None:
            return await self.inner.ainvoke(input, config, **kwargs)
        visit = _visit(self, config)
        level = _enclosing.set(visit.address) if self.is_container else None

        async def run(value: Any) -> Any:
            return await self.inner.ainvoke(value, config, **kwargs)

        try:
            return await hook.around(visit, input, run)
        finally:
            if level is not None:
                _enclosing.reset(level)


class _Router(Runnable[Any, Any]):
    """The function of a conditional edge, which runs after its node and may call models too."""

    def __init__(self, inner: Runnable[Any, Any], name: str, full: str, hook: NodeHook | None) -> None:
        self.inner = inner
        self.hook = hook
        self.node = self.name = name
        self.full = full
        self.is_container = False

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        return self.inner.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        hook = self.hook or _hook.get()
        if hook is None or config is None:
            return await self.inner.ainvoke(input, config, **kwargs)
        with hook.routing(_visit(self, config)):
            return await self.inner.ainvoke(input, config, **kwargs)


def _visit(node: _Interposed | _Router, config: RunnableConfig) -> Visit:
    metadata = config.get("metadata") or {}
    path = metadata.get("langgraph_path") or ()
    index = _send_index(path)
    level = (int(metadata.get("langgraph_step", -1)), node.node, index)
    return Visit((*_enclosing.get(), level), node.full, node.is_container, config)


def _send_index(path: Any) -> int:
    """`("__pregel_push", 2, False)` is the third task that `Send` started in its step; a pull has no index."""
    if path and path[0] == "__pregel_push":
        numbers = [part for part in path[1:] if isinstance(part, int) and not isinstance(part, bool)]
        return numbers[-1] if numbers else 0
    return -1
