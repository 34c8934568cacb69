"""Stand-ins for nodes with effects, which an analysis never executes: their stub, else the case's reference."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from sherlock.cases import Case
from sherlock.side_effects import effect_of
from sherlock.errors import CasesError, GraphError


def stand_ins(leaves: Mapping[str, Any], cases: Sequence[Case]) -> dict[str, Callable[[Any, Case], Any]]:
    """What stands in for nodes with effects: their stub, else each case's reference.

    Raises:
        GraphError: there is neither.
    """
    stubs: dict[str, Callable[[Any, Case], Any]] = {}
    for name, node in leaves.items():
        spec = effect_of(node)
        if spec is None or spec.kind == "none":
            continue
        if spec.stub is not None:
            stubs[name] = _calling(spec.stub)
        elif all(name in (case.references or {}) for case in cases):
            stubs[name] = _from_reference(name)
        else:
            raise GraphError(
                f"node {name!r} has effects, which an analysis never executes: give it a stub with "
                "@sherlock.effects(..., stub=...), or put its output into each case's `references`"
            )
    return stubs


def _calling(stub: Callable[[Any], Any]) -> Callable[[Any, Case], Any]:
    async def call(value: Any, case: Case) -> Any:  # noqa: ARG001  (all stand-ins are called alike)
        update = stub(value)
        return await update if inspect.isawaitable(update) else update

    return call


def _from_reference(node: str) -> Callable[[Any, Case], Any]:
    async def answer(value: Any, case: Case) -> Any:
        return update_from_reference(node, (case.references or {})[node], value)

    return answer


def update_from_reference(node: str, gold: str, value: Any) -> Any:
    """The update that a reference stands for: a JSON object is one; a text answers the pending tool calls.

    Raises:
        CasesError: it is neither.
    """
    messages = value.get("messages") if isinstance(value, Mapping) else getattr(value, "messages", None)
    last = messages[-1] if isinstance(messages, list) and messages else None
    if isinstance(last, AIMessage) and last.tool_calls:
        return {
            "messages": [
                ToolMessage(content=gold, tool_call_id=call["id"] or "", name=call["name"]) for call in last.tool_calls
            ]
        }
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
