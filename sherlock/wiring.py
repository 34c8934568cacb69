"""Reads how a LangGraph graph is wired: its nodes, its edges and their kinds, through every nested subgraph.

This is what the graph declares, scope by scope, in names that are unique over the whole graph. `sherlock.graph` joins
the scopes and measures the result.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from sherlock.callables import called_name
from sherlock.errors import GraphError
from sherlock.routing import jumps, router_targets, sent_targets

if TYPE_CHECKING:
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph

START = "__start__"
END = "__end__"

EdgeKind = Literal["plain", "join", "conditional", "command", "inferred", "possible", "error"]
"""How control passes along an edge, from the most to the least certain.

`plain`: always. `join`: when all sources of the join have run. `conditional`: a router with declared targets.
`command`: a declared target of `Command(goto=...)`. `inferred`: a target that only the source of a router or node
names (`Send`, `Command`, undeclared routers). `possible`: an undeclared target that the source does not name either, so
every node of its graph. `error`: to and from an error handler, which only runs when its node raises.
"""

KINDS: tuple[EdgeKind, ...] = get_args(EdgeKind)
DECLARED = frozenset[str]({"plain", "join", "conditional", "command"})


@dataclass(frozen=True, slots=True)
class RawEdge:
    """An edge as declared; a subgraph is entered at `name/__start__` and left at `name/__end__`."""

    source: str
    target: str
    kind: EdgeKind


@dataclass(frozen=True, slots=True)
class RawNode:
    """A leaf node: no compiled subgraph stands behind it."""

    name: str
    handler: bool = False
    deferred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """All scopes of a graph.

    `open_routers`: nodes, containers or entries whose router declares no targets. `channels`: state keys by scope, the
    outermost being `""`.
    """

    nodes: tuple[RawNode, ...]
    containers: tuple[str, ...]
    edges: tuple[RawEdge, ...]
    open_routers: tuple[str, ...]
    channels: dict[str, tuple[str, ...]]


def full_name(scope: str, name: str) -> str:
    """The name of a node over the whole graph: `parent/child`, with a slash inside a name doubled."""
    name = name.replace("/", "//")
    return f"{scope}/{name}" if scope else name


def inner_graph(runnable: object) -> "CompiledStateGraph[Any, Any, Any, Any] | None":
    """The compiled subgraph that a node consists of, if it is one; a graph called inside a function is not seen."""
    from langgraph.graph.state import CompiledStateGraph

    return runnable if isinstance(runnable, CompiledStateGraph) else None


def leaves(graph: "CompiledStateGraph[Any, Any, Any, Any]", scope: str = "") -> Iterator[tuple[str, Any]]:
    """The full name and the node spec (`runnable`, `metadata`, `ends`, ...) of every leaf node, subgraphs included."""
    for name, spec in graph.builder.nodes.items():
        if name not in graph.nodes:  # added after compiling
            continue
        inner = inner_graph(spec.runnable)
        if inner is None:
            yield full_name(scope, name), spec
        else:
            yield from leaves(inner, full_name(scope, name))


def compiled(builder: "StateGraph[Any, Any, Any, Any]") -> "CompiledStateGraph[Any, Any, Any, Any]":
    """Compile a builder without arguments, and without the marks that compiling leaves on it.

    Raises `GraphError` with LangGraph's own complaint when the builder is not valid.
    """
    twin = copy.copy(builder)
    twin.nodes = {name: copy.copy(spec) for name, spec in builder.nodes.items()}
    try:
        return twin.compile()
    except (ValueError, KeyError, TypeError) as error:
        raise GraphError(f"The StateGraph does not compile: {_one_line(error)}") from error


def read(graph: object) -> Wiring:
    """The wiring of a builder or a compiled graph.

    Raises `GraphError` for anything else, and when two nodes get one full name.
    """
    from langgraph.graph import StateGraph

    top = inner_graph(compiled(graph) if isinstance(graph, StateGraph) else graph)
    if top is None:
        raise GraphError(f"{called_name(graph)} is no LangGraph graph: pass a StateGraph builder or a compiled graph.")
    reading = _Reading()
    _Scope.of(top, "", reading)
    names = [node.name for node in reading.nodes] + reading.containers
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise GraphError(f"Two nodes are both called {twice[0]!r} in full: rename the one with a slash in its name.")
    return Wiring(
        nodes=tuple(sorted(reading.nodes, key=lambda node: node.name)),
        containers=tuple(sorted(reading.containers)),
        edges=tuple(sorted(reading.edges, key=lambda edge: (edge.source, edge.target, edge.kind))),
        open_routers=tuple(sorted(reading.open_routers)),
        channels=dict(sorted(reading.channels.items())),
    )


@dataclass(slots=True)
class _Reading:
    """What has been read so far."""

    nodes: list[RawNode] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    edges: set[RawEdge] = field(default_factory=set)
    open_routers: set[str] = field(default_factory=set)
    channels: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Scope:
    """One graph of the nest. `leaving`: the nodes that have a way on."""

    reading: _Reading
    name: str
    specs: dict[str, Any]
    parent: "_Scope | None" = None
    leaving: set[str] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        graph: "CompiledStateGraph[Any, Any, Any, Any]",
        name: str,
        reading: _Reading,
        parent: "_Scope | None" = None,
    ) -> None:
        """Read a graph, and those inside it, into `reading`."""
        builder = graph.builder
        here = cls(reading, name, {key: spec for key, spec in builder.nodes.items() if key in graph.nodes}, parent)
        reading.channels[name] = tuple(sorted([*builder.channels, *builder.managed]))
        for source, target in builder.edges:
            here.edge(source, target, "plain")
        for sources, target in builder.waiting_edges:
            for source in sources:
                here.edge(source, target, "join")
        for source, branches in builder.branches.items():
            for branch in branches.values():
                here.branch(source, branch)
        for key, spec in here.specs.items():
            here.node(key, spec)

    def edge(self, source: str, target: str, kind: EdgeKind) -> None:
        if (source != START and source not in self.specs) or (target != END and target not in self.specs):
            return
        if source in self.specs and self.specs[source].is_error_handler:
            kind = "error"
        self.leaving.add(source)
        self.reading.edges.add(RawEdge(self.exit_of(source), self.entry_of(target), kind))

    def branch(self, source: str, branch: Any) -> None:
        if branch.ends is not None:
            for target in branch.ends.values():
                self.edge(source, target, "conditional")
            for target in sent_targets(branch.path) - set(branch.ends.values()):
                self.edge(source, target, "inferred")
            return
        self.reading.open_routers.add(full_name(self.name, source))
        targets = router_targets(branch.path)
        kind: EdgeKind = "possible" if targets is None else "inferred"
        for target in self.anywhere(source) if targets is None else targets:
            self.edge(source, target, kind)

    def node(self, key: str, spec: Any) -> None:
        full = full_name(self.name, key)
        for target in spec.ends or ():
            self.edge(key, target, "command")
        if spec.error_handler_node in self.specs:
            self.reading.edges.add(RawEdge(self.exit_of(key), self.entry_of(spec.error_handler_node), "error"))
        inner = inner_graph(spec.runnable)
        if inner is None:
            self.reading.nodes.append(RawNode(full, bool(spec.is_error_handler), bool(spec.defer)))
            hands_over = self.jumps(key, spec)
        else:
            self.reading.containers.append(full)
            _Scope.of(inner, full, self.reading, self)
            hands_over = False
        if key not in self.leaving:  # a node without a way on ends its graph
            self.edge(key, END, "inferred" if hands_over else "plain")

    def jumps(self, key: str, spec: Any) -> bool:
        """Add the edges of undeclared `Command`s; true if the node can hand over to the enclosing graph."""
        found = jumps(spec.runnable)
        for target in found.local - set(spec.ends or ()):
            self.edge(key, target, "inferred")
        if found.open and not spec.ends:
            for target in self.anywhere(key):
                self.edge(key, target, "possible")
        if self.parent is None:
            return False
        for target in found.parent & {*self.parent.specs, END}:
            self.hand_over(key, target, "inferred")
        if found.open_parent:
            for target in self.parent.anywhere(""):
                self.hand_over(key, target, "possible")
        return bool(found.parent) or found.open_parent

    def hand_over(self, key: str, target: str, kind: EdgeKind) -> None:
        if self.parent is not None:
            self.reading.edges.add(RawEdge(self.exit_of(key), self.parent.entry_of(target), kind))

    def anywhere(self, source: str) -> list[str]:
        """An unknown target: any node but the source itself, as in LangGraph's own drawing, or the end."""
        nodes = [key for key, spec in self.specs.items() if key != source and not spec.is_error_handler]
        return [*nodes, END]

    def exit_of(self, key: str) -> str:
        return self._place(key, END)

    def entry_of(self, key: str) -> str:
        return self._place(key, START)

    def _place(self, key: str, side: str) -> str:
        full = full_name(self.name, key)
        spec = self.specs.get(key)
        return full if spec is None or inner_graph(spec.runnable) is None else full_name(full, side)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
