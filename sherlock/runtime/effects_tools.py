"""What a `ToolNode` is about to do: which of its tools are called, and what they do to the world.

The calls of one execution of a `ToolNode` are one effect, with one key.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, ToolMessage

from sherlock.side_effects import KINDS, EffectSpec

_DONE = "The call was made. Its answer is not known."


def kind_of_calls(tools: Mapping[str, EffectSpec], value: Any) -> str | None:
    """What the tools that are called do, by the strongest of them; None where the input does not tell.

    A compensable tool counts as irreversible: a tool's `undo` takes the tool's arguments, and is not asked.
    """
    calls = calls_in(value)
    if calls is None:
        return None
    kinds = [tools[call["name"]].kind for call in calls if call["name"] in tools]
    strongest = max(kinds, key=KINDS.index, default="none")
    return "irreversible" if strongest == "compensable" else strongest


def calls_in(value: Any) -> list[dict[str, Any]] | None:
    """The tool calls that a `ToolNode` makes when it is given `value`; None where that cannot be told."""
    if isinstance(value, Mapping) and value.get("__type") == "tool_call_with_context":
        return [value["tool_call"]]
    if isinstance(value, list) and value and isinstance(value[-1], Mapping) and value[-1].get("type") == "tool_call":
        return [dict(call) for call in value]
    messages = value if isinstance(value, list) else _messages(value)
    latest = next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)
    return None if latest is None else [dict(call) for call in latest.tool_calls]


def only_call(tools: Mapping[str, EffectSpec], value: Any) -> tuple[dict[str, Any], EffectSpec] | None:
    """The call and the tool, where it is the only one of this execution: then the tool's functions speak for it."""
    calls = calls_in(value) or []
    return (calls[0], tools[calls[0]["name"]]) if len(calls) == 1 and calls[0]["name"] in tools else None


def answered(value: Any, calls: Sequence[Mapping[str, Any]], content: Any = _DONE) -> Any:
    """A `ToolNode`'s update in which every call is answered with `content`."""
    text = content if isinstance(content, str) else json.dumps(content, default=str)
    messages = [ToolMessage(content=text, name=call["name"], tool_call_id=call["id"]) for call in calls]
    is_messages = isinstance(value, list) and not (value and isinstance(value[-1], Mapping))
    return messages if is_messages else {"messages": messages}


def _messages(value: Any) -> Sequence[Any]:
    found = value.get("messages") if isinstance(value, Mapping) else getattr(value, "messages", None)
    return found if isinstance(found, list) else []
