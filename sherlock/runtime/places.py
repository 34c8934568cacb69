"""What the guard knows of each node before it runs: its verifier, what it reads, what it does to the world."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.pregel._read import PregelNode
from langgraph.pregel._write import ChannelWrite

from sherlock.errors import PlanMismatch
from sherlock.graph import WorkflowGraph
from sherlock.interpose.nodes import leaf_nodes
from sherlock.interpose.reads import reads_of
from sherlock.placement.plan import Plan
from sherlock.registry import make_verifier
from sherlock.side_effects import EffectSpec, effect_of, tool_effects
from sherlock.verified_nodes import placement_of
from sherlock.verifier import Verifier

Keys = frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """A verifier at a node, and what becomes of an output that it rejects."""

    verifier: Verifier
    name: str
    on_reject: str = "correct"
    category: str | None = None
    speculate: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A leaf node by its full name. `reads` and `inputs` are state keys, None for all of them.

    `has_router`: a conditional edge leaves it.
    """

    node: str
    attached: Attached | None = None
    reads: Keys = None
    inputs: Keys = None
    effect: EffectSpec | None = None
    tools: Mapping[str, EffectSpec] | None = None
    has_router: bool = False
    effects: str = field(init=False)
    """The kind of effect that the runtime has to reckon with."""

    def __post_init__(self) -> None:
        kind = "none" if self.effect is None else self.effect.kind
        if self.effect is not None and kind == "compensable" and self.effect.undo is None:
            kind = "irreversible"  # what nobody can undo must not be done too early
        object.__setattr__(self, "effects", kind)

    @property
    def is_watched(self) -> bool:
        """Whether a run has to do more about the node than to let it run."""
        return self.attached is not None or self.effects != "none"


def places_of(
    graph: CompiledStateGraph[Any, Any, Any, Any], plan: Plan | None, inherited: Mapping[str, Attached] | None = None
) -> dict[str, Place]:
    """All leaf nodes, with the plan's placements, or where it has none for a node, those that the code declares.

    `inherited`: what guards within the graph have attached; it comes after the plan, and before the code.

    Raises `PlanMismatch` when the plan is for another graph, and what `make_verifier` and `effect_of` raise.
    """
    if plan is not None:
        plan.check(WorkflowGraph.of(graph))
    placements = dict(plan.placements) if plan else {}
    found = {}
    for name, node in leaf_nodes(graph):
        found[name] = Place(
            node=name,
            attached=_attached(node, placements.pop(name, None), (inherited or {}).get(name)),
            reads=reads_of(node),
            inputs=frozenset(node.channels) if isinstance(node.channels, list) else None,
            effect=effect_of(node),
            tools=tool_effects(node) or None,
            has_router=any(not isinstance(writer, ChannelWrite) for writer in node.writers),
        )
    if placements:  # a handler, or a node that never runs
        raise PlanMismatch(f"the plan places a verifier on {', '.join(sorted(placements))}, which no run reaches")
    return found


def uncached(graph: CompiledStateGraph[Any, Any, Any, Any], verified: Collection[str]) -> None:
    """Take the cache policy from the nodes whose output is not final when they end; `graph` is a copy of our own.

    LangGraph would store such an output at once, and answer from it when the node is to run again.
    """
    _uncache(graph, frozenset(verified), "")


def _uncache(graph: Pregel[Any, Any, Any, Any], verified: frozenset[str], prefix: str) -> None:
    from sherlock.interpose.nodes import full_name

    default = graph.cache_policy
    graph.cache_policy = None
    for name, node in list(graph.nodes.items()):
        full = full_name(prefix, name)
        inner = getattr(node.bound, "inner", None)
        has_inner = isinstance(inner, Pregel)
        if isinstance(inner, Pregel):
            _uncache(inner, verified, full)
        # A subgraph's result is as little final as that of the nodes in it.
        is_open = full in verified or (has_inner and any(v.startswith(f"{full}/") for v in verified))
        graph.nodes[name] = node.copy({"cache_policy": None if is_open else node.cache_policy or default})


def _attached(node: PregelNode, placement: Any, inherited: Attached | None) -> Attached | None:
    if placement is None and inherited is not None:
        return inherited
    marked = placement_of(node)
    if placement is not None:
        verifier = make_verifier(placement.spec)
        return Attached(
            verifier=verifier,
            name=verifier.name,
            on_reject=placement.on_reject,
            category=placement.category or (marked.category if marked else None),
            speculate=marked.speculate if marked else True,
        )
    if marked is None:
        return None
    verifier = make_verifier(marked.verifier)
    return Attached(
        verifier=verifier,
        name=verifier.name,
        on_reject=marked.on_reject,
        category=marked.category,
        speculate=marked.speculate,
    )
