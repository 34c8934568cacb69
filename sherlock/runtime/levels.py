"""Which nodes may run one, two, three supersteps after a node: the levels D_l of arXiv:2511.00330, section 7, eq. 8.

A superstep is one of the outermost graph, for it is there that a run is held. So a subgraph is one step, in which all
of its leaf nodes run, and what follows a node inside its own subgraph runs in the same step as the node.
"""

from collections import defaultdict
from collections.abc import Iterable

from sherlock.graph import WorkflowGraph
from sherlock.wiring import END, START, RawEdge


def levels_below(workflow: WorkflowGraph, node: str, max_depth: int) -> tuple[frozenset[str], ...]:
    """The leaf nodes that may run 1, 2, ... supersteps after `node`; at most `max_depth` levels, fewer at the end.

    Of a router every target is in, a join is in when all of its sources below `node` have run, a deferred node when
    nothing else is left, and a node of a loop stands in every level in which the loop may come by it again. Error
    handlers are left out.

    Raises `GraphError` for a node that there is not.
    """
    steps = _Steps(workflow)
    start = steps.of(workflow.known(node))
    waiting: dict[str, set[str]] = defaultdict(set)
    deferred: set[str] = set()
    levels: list[frozenset[str]] = []
    level = {start}
    below = steps.below(start)
    while len(levels) < max_depth:
        level = steps.after(level, waiting, below)
        deferred |= level & steps.deferred
        level -= steps.deferred
        if not level:
            level, deferred = deferred, set()
        if not level:
            break
        levels.append(frozenset(leaf for step in level for leaf in steps.leaves[step]))
    return tuple(levels)


def step_of(node: str) -> str:
    """The node or subgraph of the outermost graph that a leaf node is in, by its full name alone.

    A name with slashes at its very ends can be read in two ways; then the longer outer name is taken.
    """
    position = 0
    while (position := node.find("/", position)) >= 0:
        if node[position + 1 : position + 2] != "/":
            return node[:position]
        position += 2
    return node


class _Steps:
    """The outermost graph, each of its subgraphs one point."""

    def __init__(self, workflow: WorkflowGraph) -> None:
        self._outer = [name for name in workflow.containers if not _within(name, workflow.containers)]
        self.leaves: dict[str, set[str]] = defaultdict(set)
        for name, leaf in workflow.nodes.items():
            if leaf.reachable:
                self.leaves[self.of(name)].add(name)
        self.deferred = {name for name, leaf in workflow.nodes.items() if leaf.deferred and self.of(name) == name}
        self._next: dict[str, set[str]] = defaultdict(set)
        self._joins: dict[str, set[str]] = defaultdict(set)
        self._joined: dict[str, set[str]] = defaultdict(set)
        for edge in workflow.wiring.edges:
            self._add(edge)

    def of(self, place: str) -> str:
        """The node or subgraph of the outermost graph that this place is in."""
        return next((name for name in self._outer if _within(place, [name])), place)

    def below(self, step: str) -> set[str]:
        """What may run after a step, the step itself included."""
        found, new = {step}, {step}
        while new := {target for each in new for target in self._next[each] | self._joins[each]} - found:
            found |= new
        return found

    def after(self, level: Iterable[str], waiting: dict[str, set[str]], below: set[str]) -> set[str]:
        """The next superstep; `waiting` holds the sources that have run, of joins that still wait for others."""
        following: set[str] = set()
        for step in level:
            following |= self._next[step]
            for target in self._joins[step]:
                waiting[target].add(step)
        for target, ran in list(waiting.items()):
            if ran >= self._joined[target] & below:
                following.add(target)
                del waiting[target]
        return following

    def _add(self, edge: RawEdge) -> None:
        source, target = self.of(edge.source), self.of(edge.target)
        through = edge.source == f"{source}/{END}" or edge.target == f"{target}/{START}"
        inside = source == target and source in self._outer and not through
        if edge.kind == "error" or inside or target not in self.leaves:
            return
        if edge.kind == "join":
            self._joins[source].add(target)
            self._joined[target].add(source)
        else:
            self._next[source].add(target)


def _within(place: str, containers: Iterable[str]) -> bool:
    """Whether a place lies in one of the containers: after the name comes a slash that is not doubled."""
    for name in containers:
        if place.startswith(f"{name}/"):
            inner = place[len(name) + 1 :]
            if (len(inner) - len(inner.lstrip("/"))) % 2 == 0:
                return True
    return False
