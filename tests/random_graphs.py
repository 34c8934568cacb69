"""Random LangGraph graphs as descriptions that print and shrink well, and the strategy that draws them.

A graph is an `Outline`: stages, each leading into the next, of the shapes in `SHAPES`. What its nodes do is not said
here: `Outline.build(nodes)` asks `nodes` for the function of every leaf. Keys that every schema must have: `count`
(rounds of loops, a reducer that adds), `sent` (a list, added to), `total` (a number, a reducer), `i` (which packet).
"""

from dataclasses import MISSING, dataclass, fields
from typing import Any, Protocol

from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send


def unchanged(update):
    return update


class Brief:
    """Shows a dataclass as one would write it down: without what has its default."""

    def __repr__(self):
        shown = []
        for field in fields(self):
            value = getattr(self, field.name)
            default = field.default if field.default_factory is MISSING else field.default_factory()
            if field.repr and (default is MISSING or value != default):
                shown.append(f"{value!r}" if default is MISSING else f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class Nodes(Protocol):
    """What an outline's nodes are made of. `visible`: the keys that a subgraph gives back to its parent."""

    schema: type
    visible: type

    def function(self, leaf: Any, full: str, after: Any = unchanged) -> Any:
        """The node function of a leaf; `after` turns its update into what LangGraph gets. `full`: `parent/child`."""

    def options(self, leaf: Any) -> dict[str, Any]:
        """What `add_node` is given beside the function."""

    def number(self, state: Any, key: str) -> int:
        """What routers go by."""

    def packet(self, state: Any, n: int) -> dict[str, Any]:
        """The input of the `n`th task that `Send` starts."""


@dataclass(frozen=True, repr=False)
class Stage(Brief):
    """Some leaves (each with a `name` and the `key` that it writes), and how they hang together."""

    shape: str
    leaves: tuple[Any, ...]
    inner: "Outline | None" = None


@dataclass(frozen=True, repr=False)
class Outline(Brief):
    stages: tuple[Stage, ...]

    def build(self, nodes: Nodes, **compiling):
        return self.builder(nodes, "", nodes.schema).compile(**compiling)

    def builder(self, nodes, prefix, output):
        drawing = _Drawing(StateGraph(nodes.schema, output_schema=output), nodes, prefix)
        graph = drawing.graph
        gate, joins = [START], False
        for number, stage in enumerate(self.stages):
            entries, exits, joins_next = SHAPES[stage.shape](drawing, stage, number)
            for entry in entries:
                if joins and len(gate) > 1:
                    graph.add_edge(gate, entry)
                else:
                    for source in gate:
                        graph.add_edge(source, entry)
            gate, joins = exits, joins_next
        for source in gate:
            graph.add_edge(source, END)
        return graph


@dataclass(frozen=True)
class _Drawing:
    """A graph in the making. A shape returns its entries, its exits, and whether what follows waits for all exits."""

    graph: StateGraph
    nodes: Nodes
    prefix: str

    def add(self, leaf, after=unchanged, name=None, **options):
        name = name or leaf.name
        function = self.nodes.function(leaf, f"{self.prefix}{name}", after)
        self.graph.add_node(name, function, **self.nodes.options(leaf), **options)
        return name

    def add_inner(self, name, outline):
        inner = outline.builder(self.nodes, f"{self.prefix}{name}/", self.nodes.visible)
        self.graph.add_node(name, inner.compile())


def _single(drawing, stage, number):
    name = drawing.add(stage.leaves[0])
    return [name], [name], False


def _parallel(drawing, stage, number):
    names = [drawing.add(leaf) for leaf in stage.leaves]
    return names, names, True


def _loose(drawing, stage, number):
    """Parallel branches of uneven length without a join: what follows runs twice."""
    names = [drawing.add(leaf) for leaf in stage.leaves[:3]]
    if len(names) < 3:
        return names, names, False
    drawing.graph.add_edge(names[0], names[2])
    return names[:2], names[1:], False


def _uneven(drawing, stage, number):
    """One branch is a step longer than the other, and a join waits for both."""
    names = [drawing.add(leaf) for leaf in stage.leaves[:3]]
    if len(names) < 3:
        return names, names, True
    drawing.graph.add_edge(names[0], names[2])
    return names[:2], names[1:], True


def _deferred(drawing, stage, number):
    """A node that waits until nothing else is left to do, however it was reached."""
    if len(stage.leaves) < 3:
        return _single(drawing, stage, number)
    first, *between, last = stage.leaves
    source, target = drawing.add(first), drawing.add(last, defer=True)
    drawing.graph.add_edge(source, target)
    previous = source
    for leaf in between:
        name = drawing.add(leaf)
        drawing.graph.add_edge(previous, name)
        drawing.graph.add_edge(name, target)
        previous = name
    return [source], [target], False


def _conditional(drawing, stage, number):
    names = [drawing.add(leaf) for leaf in stage.leaves]
    if len(names) < 3:
        return names[:1], names[:1], False
    key, number_in = stage.leaves[0].key, drawing.nodes.number
    drawing.graph.add_conditional_edges(names[0], lambda state: names[1 + number_in(state, key) % 2], names[1:3])
    return names[:1], names[1:3], False


def _command(drawing, stage, number):
    first, *rest = stage.leaves[:3]
    targets = tuple(leaf.name for leaf in rest) or (END,)

    def routed(update):
        written = dict(update or {})
        key = next(iter(written), None)
        return Command(update=update, goto=targets[drawing.nodes.number(written, key) % len(targets)])

    name = drawing.add(first, routed, destinations=targets)
    names = [drawing.add(leaf) for leaf in rest]
    return [name], names or [name], False


def _loop(drawing, stage, number):
    """Round and round until a key or the count of rounds says so."""
    first, last = stage.leaves[0], stage.leaves[-1]
    drawing.add(first)
    if last is not first:
        drawing.add(last, lambda update: {**(update or {}), "count": 1})
        drawing.graph.add_edge(first.name, last.name)
    done, number_in = f"out{number}", drawing.nodes.number
    drawing.graph.add_node(done, lambda state: None)

    def more(state):
        rounds = state.get("count", 0) if last is not first else 99
        return first.name if number_in(state, first.key) % 3 == 1 and rounds < 4 else done

    drawing.graph.add_conditional_edges(last.name, more, [first.name, done])
    return [first.name], [done], False


def _fan_out(drawing, stage, number):
    """`Send` to one node, or to a subgraph, as often as a key says; then on, whatever came."""
    source, worker = stage.leaves[0], stage.leaves[-1]
    drawing.add(source)
    target, collect, nodes = f"each{number}", f"all{number}", drawing.nodes
    if stage.inner is not None:
        drawing.add_inner(target, stage.inner)
    else:
        drawing.add(worker, lambda update: {"sent": [next(iter((update or {"": 0}).values()))]}, name=target)
    drawing.graph.add_node(collect, lambda state: {"total": len(state.get("sent", []))})

    def sends(state):
        packets = nodes.number(state, source.key) % 4
        return [Send(target, nodes.packet(state, n)) for n in range(packets)] or collect

    drawing.graph.add_conditional_edges(source.name, sends, [target, collect])
    drawing.graph.add_edge(target, collect)
    return [source.name], [collect], False


def _subgraph(drawing, stage, number):
    if stage.inner is None:
        return _single(drawing, stage, number)
    name = f"sub{number}"
    drawing.add_inner(name, stage.inner)
    side = drawing.add(stage.leaves[0])
    return [name, side], [name, side], True


SHAPES = {
    "single": _single,
    "parallel": _parallel,
    "loose": _loose,
    "uneven": _uneven,
    "deferred": _deferred,
    "conditional": _conditional,
    "command": _command,
    "loop": _loop,
    "fan_out": _fan_out,
    "subgraph": _subgraph,
}
"""Each shape adds a stage to a drawing. Nodes named `out...` and `all...` are its own, and no leaf's."""


@st.composite
def outlines(draw, leaf, *, shapes=None, depth=2, most=4, widest=3):
    """`leaf(draw, name)` draws a leaf; subgraphs nest `depth` deep, of at most two stages each."""
    names = iter(f"n{k}" for k in range(99))
    stages = []
    for _ in range(draw(st.integers(1, most))):
        shape = draw(st.sampled_from(shapes or sorted(SHAPES)))
        inner = None
        if depth and shape in ("subgraph", "fan_out") and draw(st.booleans()):
            inner = draw(outlines(leaf, shapes=shapes, depth=depth - 1, most=2, widest=widest))
        leaves = tuple(leaf(draw, next(names)) for _ in range(draw(st.integers(1, widest))))
        stages.append(Stage(shape, leaves, inner))
    return Outline(tuple(stages))
