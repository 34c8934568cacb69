"""Says in words how one workflow graph differs from another, so that a mismatch can be put right."""

import difflib
from typing import TYPE_CHECKING

from sherlock.wiring import END, START

if TYPE_CHECKING:
    from sherlock.graph import WorkflowGraph


def changes(a: "WorkflowGraph", b: "WorkflowGraph") -> list[str]:
    """One phrase for each thing that changed from `a` to `b`; none if the fingerprints are equal."""
    if a.fingerprint == b.fingerprint:
        return []
    renamed = _renamed(a, b)
    said = [f"node {old!r} is probably called {new!r} now" for old, new in sorted(renamed.items())]
    said += [f"node {name!r} is gone" for name in sorted(a.nodes.keys() - b.nodes.keys() - renamed.keys())]
    said += [f"node {name!r} is new" for name in sorted(b.nodes.keys() - a.nodes.keys() - {*renamed.values()})]
    said += _edge_changes(a, b, renamed)
    said += _state_changes(a, b)
    return said or ["the same nodes are wired in other subgraphs"]


def _renamed(a: "WorkflowGraph", b: "WorkflowGraph") -> dict[str, str]:
    """Old name to new name, for nodes with the same neighbours, those with the most known neighbours first."""
    known = {name: name for name in (START, END, *(a.nodes.keys() & b.nodes.keys()))}
    while True:
        gone = {name: _neighbours(a, name, known) for name in a.nodes if name not in known}
        kept = {name: name for name in known.values()}
        new = {name: _neighbours(b, name, kept) for name in b.nodes if name not in kept}
        fits = [(old, name) for old in sorted(gone) for name in sorted(new) if gone[old] == new[name] and gone[old]]
        if not fits:
            return {old: name for old, name in known.items() if old != name}
        old, name = max(fits, key=lambda fit: (len(gone[fit[0]]), difflib.SequenceMatcher(None, *fit).ratio()))
        known[old] = name


def _neighbours(graph: "WorkflowGraph", name: str, known: dict[str, str]) -> frozenset[tuple[str, str]]:
    """The neighbours of a node that are known, each by its new name."""
    before = {("from", edge.source) for edge in graph.edges if edge.target == name != edge.source}
    after = {("to", edge.target) for edge in graph.edges if edge.source == name != edge.target}
    return frozenset((way, known[other]) for way, other in before | after if other in known)


def _edge_changes(a: "WorkflowGraph", b: "WorkflowGraph", renamed: dict[str, str]) -> list[str]:
    old = {(renamed.get(e.source, e.source), renamed.get(e.target, e.target)): e.kind for e in a.edges}
    new = {(e.source, e.target): e.kind for e in b.edges}
    both = {START, END, *renamed.values(), *(a.nodes.keys() & b.nodes.keys())}
    said = []
    for edge in sorted(old.keys() | new.keys()):
        if not both.issuperset(edge) or old.get(edge) == new.get(edge):
            continue
        shown = f"edge {edge[0]!r} -> {edge[1]!r}"
        if edge in old and edge in new:
            said.append(f"{shown} is {new[edge]}, not {old[edge]}")
        else:
            said.append(f"{shown} is {'new' if edge in new else 'gone'}")
    return said


def _state_changes(a: "WorkflowGraph", b: "WorkflowGraph") -> list[str]:
    said = []
    for scope in sorted(a.channels.keys() & b.channels.keys()):
        where = f" of {scope!r}" if scope else ""
        old, new = set(a.channels[scope]), set(b.channels[scope])
        said += [f"state key {key!r}{where} is gone" for key in sorted(old - new)]
        said += [f"state key {key!r}{where} is new" for key in sorted(new - old)]
    return said
