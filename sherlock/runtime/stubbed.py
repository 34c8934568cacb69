"""A graph with stand-ins where nodes have effects, so that it can be run again and again without harm."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel

from sherlock import background
from sherlock.cases import Case
from sherlock.interpose.nodes import full_name
from sherlock.side_effects import effect_of
from sherlock.stand_ins import StandIn

_case: ContextVar[Case | None] = ContextVar("sherlock_case_run", default=None)


@contextmanager
def running(case: Case) -> Iterator[None]:
    """Let the stand-ins answer for this case."""
    token = _case.set(case)
    try:
        yield
    finally:
        _case.reset(token)


def stubbed(
    graph: CompiledStateGraph[Any, Any, Any, Any], stand_ins: Mapping[str, StandIn]
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A copy of `graph` with `stand_ins` in place of the nodes of these full names.

    What is said about their effects stays, so that a guarded run waits for them as ever; there is nothing to undo.
    """
    return _stubbed(graph, stand_ins, "") if stand_ins else graph


def _stubbed(graph: Any, stand_ins: Mapping[str, StandIn], prefix: str) -> Any:
    twin = copy.copy(graph)
    twin.nodes = {name: _node(node, full_name(prefix, name), stand_ins) for name, node in graph.nodes.items()}
    return twin


def _node(node: Any, name: str, stand_ins: Mapping[str, StandIn]) -> Any:
    if isinstance(node.bound, Pregel):
        inner = _stubbed(node.bound, stand_ins, name)
        subgraphs = [inner if sub is node.bound else sub for sub in node.subgraphs]
        return node.copy({"bound": inner, "subgraphs": subgraphs})
    stand_in = stand_ins.get(name)
    effect = effect_of(node)
    if stand_in is None or effect is None:
        return node
    harmless = replace(effect, undo=None if effect.undo is None else _nothing_to_undo, reconcile=None)
    said = (node.metadata or {}).get("sherlock") or {}
    metadata = {**(node.metadata or {}), "sherlock": {**said, "effects": harmless}}
    return node.copy({"bound": _Stub(stand_in, name), "metadata": metadata})


def _nothing_to_undo(inputs: Any, output: Any) -> None:
    """The effect was a stand-in's."""


class _Stub(Runnable[Any, Any]):
    """Answers with a stand-in, for the case that is running."""

    def __init__(self, stand_in: StandIn, name: str) -> None:
        self.stand_in = stand_in
        self.name = name

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002
        case = _case.get()
        assert case is not None
        return await self.stand_in(input, case, config)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **_: Any) -> Any:  # noqa: A002
        return background.run(self.ainvoke(input, config))
