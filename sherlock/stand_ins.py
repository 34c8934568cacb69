"""Stand-ins for nodes with effects, which no study executes: their stub, else the case's reference."""

import copy
import inspect
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool

from sherlock.cases import Case
from sherlock.errors import CasesError, GraphError
from sherlock.node_code import object_fingerprint
from sherlock.side_effects import EffectKind, EffectSpec, effect_of, tool_effects

HARMLESS: tuple[EffectKind, ...] = ("none",)

StandIn = Callable[[Any, Case, Any], Awaitable[Any]]
"""From a node's input, the case and the run's config to the update."""


def stand_ins(
    leaves: Mapping[str, Any],
    cases: Sequence[Case],
    *,
    executed: Collection[EffectKind] = HARMLESS,
    study: str = "an analysis",
) -> dict[str, StandIn]:
    """What stands in for nodes with effects: their stub, else each case's reference.

    A tool node whose tools with effects all have stubs of their own runs with these in their place. Effects of the
    kinds `executed` are left as they are where they have no stub. `study` is what messages call it.

    Raises:
        GraphError: there is neither.
    """
    found: dict[str, StandIn] = {}
    for name, node in leaves.items():
        spec = effect_of(node)
        if spec is None or spec.kind == "none":
            continue
        tools = tool_effects(node)
        if spec.stub is not None:
            found[name] = _calling(spec.stub)
        elif tools and all(tool.kind in executed or tool.stub is not None for tool in tools.values()):
            found[name] = _with_stubs(node.bound, tools)
        elif spec.kind in executed:
            continue
        elif all(name in (case.references or {}) for case in cases):
            found[name] = _from_reference(name)
        else:
            raise GraphError(
                f"node {name!r} has effects{_which(tools, executed)}, which {study} never executes: give it a stub "
                "with @sherlock.effects(..., stub=...), or put its output into each case's `references`"
            )
    return found


def stubs_fingerprint(leaves: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 (hex) of the code of the stubs, by node and by tool: results of trials depend on it."""
    specs = [(name, spec) for name, node in leaves.items() if (spec := effect_of(node)) is not None]
    specs += [(f"{name}#{tool}", spec) for name, node in leaves.items() for tool, spec in tool_effects(node).items()]
    return {name: object_fingerprint(spec.stub) for name, spec in specs if spec.stub is not None}


def _which(tools: Mapping[str, EffectSpec], executed: Collection[EffectKind]) -> str:
    bare = [name for name, tool in tools.items() if tool.kind not in executed and tool.stub is None]
    return f" (its tool {bare[0]!r} has no stub)" if bare else ""


def _calling(stub: Callable[[Any], Any]) -> StandIn:
    async def call(value: Any, case: Case, config: Any) -> Any:  # noqa: ARG001  (all stand-ins are called alike)
        return await _awaited(stub(value))

    return call


def _with_stubs(tool_node: Any, tools: Mapping[str, EffectSpec]) -> StandIn:
    """The tool node itself, with stubs in place of the tools that have effects."""
    twin = copy.copy(tool_node)
    twin._tools_by_name = {  # noqa: SLF001  (a tool node has no other way to exchange a tool)
        name: tool if tools[name].stub is None else _stub_tool(tool, tools[name].stub)
        for name, tool in tool_node.tools_by_name.items()
    }

    async def call(value: Any, case: Case, config: Any) -> Any:  # noqa: ARG001
        # The methods that LangGraph calls were bound when the node was made.
        return await twin.ainvoke(value, config)

    twin.func, twin.afunc = twin._func, twin._afunc  # noqa: SLF001
    return call


def _stub_tool(tool: BaseTool, stub: Callable[[Any], Any] | None) -> BaseTool:
    assert stub is not None

    async def call(**arguments: Any) -> Any:
        return await _awaited(stub(arguments))

    schema = tool.args_schema or {}
    return StructuredTool(name=tool.name, description=tool.description, args_schema=schema, coroutine=call)


async def _awaited(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


def _from_reference(node: str) -> StandIn:
    async def answer(value: Any, case: Case, config: Any) -> Any:  # noqa: ARG001
        return update_from_reference(node, (case.references or {})[node], value)

    return answer


def update_from_reference(node: str, gold: str, value: Any) -> Any:
    """The update that a reference stands for: a JSON object is one; a text answers the pending tool calls.

    Raises:
        CasesError: it is neither.
    """
    calls = _pending_calls(value)
    if calls:
        answers = [ToolMessage(content=gold, tool_call_id=call["id"] or "", name=call["name"]) for call in calls]
        return answers if calls is not value and isinstance(value, list) else {"messages": answers}
    try:
        update = json.loads(gold)
    except ValueError:
        update = None
    if not isinstance(update, dict):
        raise CasesError(
            f"the reference for node {node!r} stands in for its effect, so it must be a JSON object "
            f"of state keys, not {gold[:60]!r}; or give the node a stub"
        )
    return update


def _pending_calls(value: Any) -> Sequence[Any]:
    """The tool calls that a node's input asks for: those of the last message, or those that `Send` gave to it."""
    if isinstance(value, Mapping) and "tool_call" in value:
        return [value["tool_call"]]
    if isinstance(value, list) and value and isinstance(value[-1], Mapping) and value[-1].get("type") == "tool_call":
        return value
    messages = value.get("messages") if isinstance(value, Mapping) else getattr(value, "messages", value)
    last = messages[-1] if isinstance(messages, list) and messages else None
    return last.tool_calls if isinstance(last, AIMessage) else ()
