"""The workflow as a graph: leaf nodes, edges, roles, fan-in, depth, dominator share, fingerprint.

`WorkflowGraph.of(graph)` reads a LangGraph builder or compiled graph; `describe()` and `from_description` carry it in
an artefact, so that it can be compared and drawn where the code is not at hand.

Conventions, where arXiv:2511.00330 is silent:

- A compiled subgraph that was added as a node is opened up: its nodes are `parent/child`, its entry and exit dissolve.
- Error handlers only run when a node raises, so they and their edges count for nothing; `handlers` lists them.
- A deferred node waits for whatever still runs; that adds no edge.
- An edge that is merely *possible* (an undeclared router whose source does not name its targets either) makes its
  target reachable and downstream. It counts in fan-in, depth and dominator share only where nothing else leads to its
  target, for one such router would otherwise make one big cycle of the graph.
- A node that has no way on ends the run, like one with an edge to END.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, Self

import networkx as nx

from sherlock.errors import GraphError
from sherlock.node_code import code_fingerprint
from sherlock.wiring import DECLARED, END, KINDS, START, EdgeKind, RawEdge, RawNode, Wiring, read

__all__ = ["Edge", "Node", "Role", "WorkflowGraph", "code_fingerprint", "difference"]

Role = Literal["terminal", "initial", "middle"]


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` may be `__start__`, `target` may be `__end__`; the kinds are those of `sherlock.wiring.EdgeKind`."""

    source: str
    target: str
    kind: EdgeKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A leaf node and where it stands.

    `role`: `terminal` has an edge, certain or possible, to the end, or no successor; else `initial` is reached from the
    start; else `middle` (a node that is both first and last is terminal, as Algorithm 1 of arXiv:2511.00330 puts
    those first). `fan_in`, `fan_out`: other nodes next to it. `depth`: steps that come before it on the longest path
    from the start, a cycle counting as one step. `dominator_share`: the part of all paths from start to end that pass
    through it, in [0, 1]; paths are counted with every cycle shrunk to one point, and each node of a cycle is on the
    paths that its cycle is on. Unreachable nodes have depth, fan-in, fan-out and share 0.
    """

    name: str
    role: Role
    fan_in: int
    fan_out: int
    depth: int
    dominator_share: float
    reachable: bool
    is_router: bool
    is_handler: bool
    deferred: bool


class WorkflowGraph:
    """An immutable view of a workflow; equal when the fingerprints are."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self._flat = _joined(wiring)
        self._normal = _without(self._flat, {"error"})
        handlers = {node.name for node in wiring.nodes if node.handler}
        self._live = ({START} | nx.descendants(self._normal, START)) - handlers
        self._measured = _measured(self._normal.subgraph(self._live | {END}))

    @classmethod
    def of(cls, graph: object) -> Self:
        """Read a `StateGraph` builder or a compiled graph, neither of which is changed.

        Raises `GraphError` for anything else, for a builder that does not compile, and for clashing names.
        """
        return cls(read(graph))

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Self:
        """The graph that `describe()` described.

        Raises `GraphError` when the description is malformed.
        """
        try:
            return cls(_read_description(description))
        except (KeyError, TypeError, ValueError, nx.NetworkXException) as error:
            raise GraphError(
                f"The description of a graph is malformed ({type(error).__name__}: {error}): make the artefact again."
            ) from error

    def describe(self) -> dict[str, Any]:
        """The wiring as plain JSON; what `from_description` takes."""
        return {
            "nodes": [
                {"name": node.name, "handler": node.handler, "deferred": node.deferred} for node in self.wiring.nodes
            ],
            "containers": list(self.wiring.containers),
            "edges": [[edge.source, edge.target, edge.kind] for edge in self.wiring.edges],
            "open_routers": list(self.wiring.open_routers),
            "channels": {scope: list(names) for scope, names in self.wiring.channels.items()},
        }

    @cached_property
    def nodes(self) -> Mapping[str, Node]:
        """All leaf nodes by full name, sorted; unreachable ones and error handlers included."""
        shape = _Shape(self._measured)
        return MappingProxyType({raw.name: self._node(raw, shape) for raw in self.wiring.nodes})

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The edges between leaf nodes, with those from `__start__` and to `__end__`, sorted."""
        return tuple(Edge(source, target, kind) for source, target, kind in sorted(_kinds(self._flat.edges)))

    @property
    def containers(self) -> tuple[str, ...]:
        """The nodes that are compiled subgraphs; only what is inside them is a node here."""
        return self.wiring.containers

    @property
    def channels(self) -> Mapping[str, tuple[str, ...]]:
        """State keys by scope; the outermost graph's scope is `""`, a subgraph's is its container's name."""
        return self.wiring.channels

    @cached_property
    def handlers(self) -> tuple[str, ...]:
        """Error handlers."""
        return tuple(node.name for node in self.wiring.nodes if node.handler)

    @cached_property
    def unreachable(self) -> tuple[str, ...]:
        """Nodes that no run without an error reaches, handlers apart: they are never analysed."""
        return tuple(node.name for node in self.wiring.nodes if not node.handler and node.name not in self._live)

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The reachable nodes, each after what leads to it; nodes of one cycle stand together, ties go by name."""
        condensed = nx.condensation(self._measured)
        members = {part: sorted(condensed.nodes[part]["members"]) for part in condensed}
        parts = nx.lexicographical_topological_sort(condensed, key=lambda part: members[part][0])
        return tuple(name for part in parts for name in members[part] if name not in (START, END))

    def downstream(self, node: str) -> frozenset[str]:
        """The other nodes that can run after `node`, by any edge but those of error handlers."""
        return frozenset(nx.descendants(self._normal, self.known(node))) - {START, END}

    def upstream(self, node: str) -> frozenset[str]:
        """The other nodes that can run before `node`."""
        return frozenset(nx.ancestors(self._normal, self.known(node))) - {START, END}

    def known(self, node: str) -> str:
        """Return `node` if there is such a node; `GraphError` with the nearest name if not."""
        if node in self.nodes:
            return node
        import difflib

        inside = [name for name in self.nodes if node in self.containers and name.startswith(f"{node}/")]
        near = inside[:1] or difflib.get_close_matches(node, self.nodes, n=1, cutoff=0.0)
        why = "is a subgraph, whose nodes are named one by one" if inside else "is not a node of this graph"
        raise GraphError(f"{node!r} {why}: did you mean {near[0]!r}?" if near else f"{node!r} {why}.")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of nodes, declared edges with their kinds, and state keys.

        It does not depend on the order of construction, on the code of nodes, nor on what was read from that code.
        """
        import hashlib
        import json

        declared = [edge for edge in self.wiring.edges if edge.kind in DECLARED]
        goes_on = {edge.source for edge in declared if not _is_plain_end(edge)}
        content = {
            "nodes": [node.name for node in self.wiring.nodes],
            "containers": list(self.wiring.containers),
            # An edge to END beside no other is what LangGraph does anyway.
            "edges": sorted(
                [edge.source, edge.target, edge.kind]
                for edge in declared
                if edge.source in goes_on or not _is_plain_end(edge)
            ),
            "open_routers": list(self.wiring.open_routers),
            "channels": {scope: list(names) for scope, names in self.wiring.channels.items()},
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WorkflowGraph) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"WorkflowGraph({len(self.wiring.nodes)} nodes, {self.fingerprint[:12]})"

    def _node(self, raw: RawNode, shape: "_Shape") -> Node:
        name = raw.name
        reachable = name in self._live
        followers = set(self._normal.successors(name)) - {name}
        role: Role = "middle"
        if END in followers or not followers:
            role = "terminal"
        elif reachable and self._measured.has_edge(START, name):
            role = "initial"
        return Node(
            name=name,
            role=role,
            fan_in=len(set(self._measured.predecessors(name)) - {name, START}) if reachable else 0,
            fan_out=len(set(self._measured.successors(name)) - {name, END}) if reachable else 0,
            depth=shape.depth.get(name, 0),
            dominator_share=shape.share.get(name, 0.0),
            reachable=reachable,
            is_router=any(kind not in ("plain", "join", "error") for _, _, kind in _kinds(self._flat.out_edges, name)),
            is_handler=raw.handler,
            deferred=raw.deferred,
        )


def difference(a: WorkflowGraph, b: WorkflowGraph) -> str:
    """What changed from `a` to `b`, in words: nodes renamed (probably), gone, new; edges; state keys.

    Empty if the fingerprints are equal. A node counts as renamed when its neighbours are the same.
    """
    from sherlock.graph_difference import changes

    return "; ".join(changes(a, b))


class _Shape:
    """Depth and dominator share of every node, from the graph with its cycles shrunk."""

    def __init__(self, measured: "nx.DiGraph[str]") -> None:
        condensed = nx.condensation(measured)
        start, end = condensed.graph["mapping"][START], condensed.graph["mapping"][END]
        condensed.add_edges_from([(part, end) for part in condensed if part != end and not condensed.out_degree(part)])
        ways_in, ways_out, steps = {start: 1}, {end: 1}, {start: -1}
        parts = list(nx.topological_sort(condensed))
        for part in parts:
            if part != start:
                before = list(condensed.predecessors(part))
                ways_in[part] = sum(ways_in[other] for other in before)
                steps[part] = max((steps[other] + 1 for other in before), default=-1)
        for part in reversed(parts):
            if part != end:
                ways_out[part] = sum(ways_out[other] for other in condensed.successors(part))
        paths = ways_in[end]
        place: dict[str, int] = condensed.graph["mapping"]
        self.depth = {name: steps[part] for name, part in place.items()}
        self.share = {name: ways_in[part] * ways_out[part] / paths for name, part in place.items()}


def _joined(wiring: Wiring) -> "nx.DiGraph[str]":
    """Join the scopes: dissolve the entry and exit of every subgraph into edges between leaf nodes.

    Of several edges between two nodes the most certain counts; a way through an entry or exit is as certain as its
    least certain part.
    """
    flat: nx.DiGraph[str] = nx.DiGraph()
    flat.add_nodes_from([START, END, *(node.name for node in wiring.nodes)])
    for edge in wiring.edges:
        _connect(flat, edge.source, edge.target, edge.kind)
    for container in wiring.containers:
        for place in (f"{container}/{START}", f"{container}/{END}"):
            if place not in flat:
                continue
            into, out = _kinds(flat.in_edges, place), _kinds(flat.out_edges, place)
            flat.remove_node(place)
            for source, _, first in into:
                for _, target, second in out:
                    if place not in (source, target):
                        _connect(flat, source, target, max(first, second, key=KINDS.index))
    return flat


def _connect(flat: "nx.DiGraph[str]", source: str, target: str, kind: EdgeKind) -> None:
    known = flat.get_edge_data(source, target)
    best = min(kind, known["kind"], key=KINDS.index) if known else kind
    flat.add_edge(source, target, kind=best)


def _without(graph: "nx.DiGraph[str]", kinds: Iterable[str]) -> "nx.DiGraph[str]":
    kept: nx.DiGraph[str] = nx.DiGraph()
    kept.add_nodes_from(graph)
    kept.add_edges_from((s, t, {"kind": kind}) for s, t, kind in _kinds(graph.edges) if kind not in kinds)
    return kept


def _measured(live: "nx.DiGraph[str]") -> "nx.DiGraph[str]":
    """The graph that is measured: possible edges only where nothing else leads to their target."""
    measured = _without(live, {"possible"})
    possible = sorted((s, t) for s, t, kind in _kinds(live.edges) if kind == "possible")
    while missing := _beyond(measured):
        reached = set(measured) - missing - {END}
        open_edges = [(s, t) for s, t in possible if s in reached and t in missing]
        # The first node of a part that hangs together lets the rest be reached by its own edges.
        first = [(s, t) for s, t in open_edges if not set(measured.predecessors(t)) & missing - {t}]
        measured.add_edges_from(first or open_edges)
    measured.add_edges_from((s, t) for s, t in possible if t == END and not set(measured.successors(s)) - {s})
    return measured


def _beyond(measured: "nx.DiGraph[str]") -> set[str]:
    reached: set[str] = nx.descendants(measured, START)
    return set(measured) - reached - {START, END}


def _kinds(view: Callable[..., Iterable[Any]], place: str | None = None) -> list[tuple[str, str, EdgeKind]]:
    """The edges of a networkx view with their kinds: of one place, or all."""
    return list(view(data="kind") if place is None else view(place, data="kind"))


def _is_plain_end(edge: RawEdge) -> bool:
    return edge.kind == "plain" and (edge.target == END or edge.target.endswith(f"/{END}"))


def _read_description(description: Mapping[str, Any]) -> Wiring:
    for _, _, kind in description["edges"]:
        KINDS.index(kind)
    return Wiring(
        nodes=tuple(RawNode(node["name"], node["handler"], node["deferred"]) for node in description["nodes"]),
        containers=tuple(description["containers"]),
        edges=tuple(RawEdge(source, target, kind) for source, target, kind in description["edges"]),
        open_routers=tuple(description["open_routers"]),
        channels={scope: tuple(names) for scope, names in description["channels"].items()},
    )
