"""Guarded graphs inside the graph that is to be guarded: the outer guard takes their placements over.

An inner guard could only verify blocking. Its graph is put in its place, plain, and its verifiers are the outer one's.
"""

import copy
from typing import Any

from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from sherlock.interpose.nodes import full_name
from sherlock.runtime.places import Attached


def plain_within(
    graph: CompiledStateGraph[Any, Any, Any, Any],
) -> tuple[CompiledStateGraph[Any, Any, Any, Any], dict[str, Attached]]:
    """The graph without guards in it, and what these had attached, by the nodes' full names (`parent/child`).

    The graph itself is returned where there is no guard, and a copy otherwise. What inner guards had besides
    placements (a policy, a callback) is not taken over.
    """
    attached: dict[str, Attached] = {}
    return _plain(graph, "", attached), attached


def _plain(graph: Any, prefix: str, attached: dict[str, Attached]) -> Any:
    from sherlock.runtime.guard import GuardedGraph

    inner = {name: node.bound for name, node in graph.nodes.items() if isinstance(node.bound, Pregel)}
    plain = {name: _plain(bound, full_name(prefix, name), attached) for name, bound in inner.items()}
    changed = {name: bound for name, bound in plain.items() if bound is not inner[name]}
    is_guarded = isinstance(graph, GuardedGraph)
    if is_guarded:
        for place in graph.guard.places.values():
            if place.attached is not None:
                attached[f"{prefix}/{place.node}" if prefix else place.node] = place.attached
    if not changed and not is_guarded:
        return graph
    twin = copy.copy(graph)
    twin.nodes = {name: _holding(node, changed.get(name)) for name, node in graph.nodes.items()}
    if is_guarded:
        twin.__class__ = CompiledStateGraph
        del twin.guard
    return twin


def _holding(node: Any, bound: Any) -> Any:
    if bound is None:
        return node
    subgraphs = [bound if each is node.bound else each for each in node.subgraphs]
    return node.copy({"bound": bound, "subgraphs": subgraphs})
