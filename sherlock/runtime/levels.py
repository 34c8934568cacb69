"""Which nodes may run one, two, three supersteps after a node: the levels D_l of arXiv:2511.00330, section 7, eq. 8.

Supersteps are counted in every graph of the nest by itself. Past a node of a subgraph, level 1 holds what follows in
the subgraph, and what follows the subgraph in its parent; a subgraph that is among those is one step, with all of its
leaf nodes. So a run that may go so many supersteps on past a node, in each graph, runs no node beyond these levels.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

from sherlock.graph import WorkflowGraph
from sherlock.wiring import END, START, RawEdge


def levels_below(workflow: WorkflowGraph, node: str, max_depth: int) -> tuple[frozenset[str], ...]:
    """The leaf nodes that may run 1, 2, ... supersteps after `node`; at most `max_depth` levels, fewer at the end.

    Of a router every target is in; a join is in when all of its sources below `node` have run, a deferred node when
    nothing else is left, and a node of a loop stands in every level in which the loop may come by it again. Error
    handlers are left out.

    Raises `GraphError` for a node that there is not.
    """
    place = workflow.known(node)
    places = _Places(workflow)
    found: list[set[str]] = []
    while place:
        scope = places.parent(place)
        for number, level in enumerate(_Scope(places, scope, workflow).levels(place, max_depth)):
            if number == len(found):
                found.append(set())
            found[number] |= level
        place = scope
    return tuple(map(frozenset, found))


def step_of(name: str, beside: str = "") -> str:
    """The part of a full name that is one step in the innermost graph that it shares with the node `beside`.

    That is the leaf node itself, or the subgraph that it is in. Told by the names alone: one with slashes at its very
    ends can be read in two ways.
    """
    parts, others = _PART.findall(name), _PART.findall(beside)[:-1]
    shared = 0
    while shared < min(len(parts) - 1, len(others)) and parts[shared] == others[shared]:
        shared += 1
    return "/".join(parts[: shared + 1])


_PART = re.compile(r"(?:[^/]|//)+")


class _Places:
    """Where nodes and subgraphs are. A place is a full name; `""` is the outermost graph."""

    def __init__(self, workflow: WorkflowGraph) -> None:
        self._containers = sorted(workflow.containers, key=len, reverse=True)

    def parent(self, place: str) -> str:
        """The innermost subgraph that holds a place."""
        return next((name for name in self._containers if _within(place, name)), "")

    def child(self, scope: str, place: str) -> str | None:
        """What holds a place, or is it, among the nodes of a graph; None for a place outside the graph."""
        while (parent := self.parent(place)) != scope:
            if not parent:
                return None
            place = parent
        return place


class _Scope:
    """One graph of the nest, each of its subgraphs one point."""

    def __init__(self, places: _Places, scope: str, workflow: WorkflowGraph) -> None:
        self._leaves: dict[str, set[str]] = defaultdict(set)
        for name, leaf in workflow.nodes.items():
            if leaf.reachable and (step := places.child(scope, name)) is not None:
                self._leaves[step].add(name)
        self._deferred = {name for name in self._leaves if name in workflow.nodes and workflow.nodes[name].deferred}
        self._next: dict[str, set[str]] = defaultdict(set)
        self._joins: dict[str, set[str]] = defaultdict(set)
        self._sources: dict[str, set[str]] = defaultdict(set)
        for edge in workflow.wiring.edges:
            source, target = places.child(scope, edge.source), places.child(scope, edge.target)
            if source is None or target is None or _inside(edge, source, target):
                continue
            if target in self._leaves:  # error handlers are not: nothing reaches them without an error
                self._add(edge, source, target)

    def levels(self, start: str, most: int) -> list[set[str]]:
        """The leaf nodes of the supersteps after `start`, level by level."""
        waiting: dict[str, set[str]] = defaultdict(set)
        below = self._below(start)
        level, deferred = {start}, set[str]()
        found: list[set[str]] = []
        while len(found) < most:
            level = self._after(level, waiting, below)
            deferred |= level & self._deferred
            level -= self._deferred
            if not level:
                level, deferred = deferred, set()
            if not level:
                break
            found.append({leaf for step in level for leaf in self._leaves[step]})
        return found

    def _add(self, edge: RawEdge, source: str, target: str) -> None:
        if edge.kind == "join":
            self._joins[source].add(target)
            self._sources[target].add(source)
        else:
            self._next[source].add(target)

    def _below(self, step: str) -> set[str]:
        """What may run after a step, the step itself included."""
        found, new = {step}, {step}
        while new := {target for each in new for target in self._next[each] | self._joins[each]} - found:
            found |= new
        return found

    def _after(self, level: Iterable[str], waiting: dict[str, set[str]], below: set[str]) -> set[str]:
        """The next superstep; `waiting` holds the sources that have run, of joins that still wait for others."""
        following: set[str] = set()
        for step in level:
            following |= self._next[step]
            for target in self._joins[step]:
                waiting[target].add(step)
        for target, ran in list(waiting.items()):
            if ran >= self._sources[target] & below:
                following.add(target)
                del waiting[target]
        return following


def _inside(edge: RawEdge, source: str, target: str) -> bool:
    """Whether an edge is one within a subgraph, not one that leaves it and comes back."""
    through = edge.source in (source, f"{source}/{END}") or edge.target in (target, f"{target}/{START}")
    return source == target and not through


def _within(place: str, container: str) -> bool:
    """Whether a place lies in a subgraph: after its name comes a slash that is not doubled."""
    inner = place.removeprefix(f"{container}/")
    return inner != place and (len(inner) - len(inner.lstrip("/"))) % 2 == 0
