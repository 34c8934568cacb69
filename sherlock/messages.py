"""The text inside chat messages, in every form that LangGraph's message channels take.

A form is a langchain message, a `(role, text)` tuple, a dict with `role` (or `type`) and `content`, or a
list of these in which bare strings may stand too. The last message is the one that is read and written.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

JSONValue = Any


class CastError(ValueError):
    """A text or JSON value that cannot be made into the type that stood there."""


def is_messages(value: Any) -> bool:
    """Tell whether `value` is a message or a list of messages."""
    if isinstance(value, list):
        return any(map(is_message, value)) and all(isinstance(item, str) or is_message(item) for item in value)
    return is_message(value)


def is_message(value: Any) -> bool:
    """Tell whether `value` is one message in any form but a bare string."""
    if isinstance(value, tuple):
        return len(value) == 2 and _is_role(value[0]) and isinstance(value[1], (str, list))
    if isinstance(value, Mapping):
        return "content" in value and _is_role(value.get("role") or value.get("type"))
    return isinstance(value, loaded("langchain_core.messages.base", "BaseMessage"))


def read_messages(value: Any) -> JSONValue:
    """The last message's text, or the list of its tool calls (name and arguments) when the text is empty."""
    message = _last(value)
    text = _content_text(_content(message))
    calls = [] if text.strip() else [_call_json(call) for call in _calls(message)]
    return calls or text


def write_messages(value: Any, new: JSONValue) -> Any:
    """A copy of `value` whose last message says `new`: a text, or tool calls where it had them.

    Ids, names and every other field are kept. A text that is no JSON, written over tool calls, makes the
    message a plain reply without calls: that is what a model does that answers where it should have
    called.

    Raises:
        CastError: There is no message to write to, or the JSON written over tool calls is not a list of
            calls.
    """
    if not isinstance(value, list):
        return _write_one(value, new)
    index = _last_index(value)
    if index is None:
        raise CastError("holds only removals of messages, so there is no text to replace")
    return [*value[:index], _write_one(value[index], new), *value[index + 1 :]]


def replace_last(value: Any, message: Any) -> Any:
    """A copy of `value` with `message` where the last message stood."""
    if not isinstance(value, list):
        return message
    index = _last_index(value)
    return [*value, message] if index is None else [*value[:index], message, *value[index + 1 :]]


def loaded(module: str, name: str) -> Any:
    """A class for isinstance, or () if its module was never imported, for then no value can be of that class.

    Importing langchain or langgraph here would cost everyone who only reads plain values half a second.
    """
    return getattr(sys.modules.get(module), name, ())


_ROLES = frozenset(("human", "user", "ai", "assistant", "system", "developer", "tool", "function", "AIMessageChunk"))
_CALL_BLOCKS = frozenset(("tool_use", "tool_call", "function_call", "server_tool_call"))
_RAW_CALLS = ("tool_calls", "function_call")


def _is_role(value: Any) -> bool:
    return isinstance(value, str) and value in _ROLES


def _last_index(messages: list[Any]) -> int | None:
    for index in range(len(messages) - 1, -1, -1):
        if getattr(messages[index], "type", None) != "remove":
            return index
    return None


def _last(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    index = _last_index(value)
    return "" if index is None else value[index]


def _content(message: Any) -> Any:
    if isinstance(message, str):
        return message
    if isinstance(message, tuple):
        return message[1]
    return message["content"] if isinstance(message, Mapping) else message.content


def _content_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(_block_text(block) or "" for block in content)
    return "" if content is None else str(content)


def _block_text(block: Any) -> str | None:
    """The text of a content block, or None if it is of another kind."""
    if isinstance(block, str):
        return block
    if isinstance(block, Mapping) and block.get("type") == "text":
        return str(block.get("text") or "")
    return None


def _calls(message: Any) -> list[Any]:
    if isinstance(message, Mapping):
        return list(message.get("tool_calls") or [])
    return list(getattr(message, "tool_calls", None) or [])


def _call_json(call: Any) -> JSONValue:
    """Name and arguments only: call ids are random, and would make equal calls look different."""
    function = call.get("function")
    if not isinstance(function, Mapping):
        return {"name": call.get("name"), "args": call.get("args")}
    try:
        arguments = json.loads(function.get("arguments") or "{}")
    except ValueError:
        arguments = function.get("arguments")
    return {"name": function.get("name"), "args": arguments}


def _write_one(message: Any, new: JSONValue) -> Any:
    old = read_messages(message)
    if new == old:
        return message
    if isinstance(old, list):
        return _write_over_calls(message, new)
    return _with_content(message, _with_text(_content(message), _as_text(new)))


def _write_over_calls(message: Any, new: JSONValue) -> Any:
    calls = new
    if isinstance(new, str):
        try:
            calls = json.loads(new)
        except ValueError:
            return _with_calls(message, [], new)
    return _with_calls(message, _checked_calls(calls), "")


def _checked_calls(value: JSONValue) -> list[dict[str, Any]]:
    calls = [value] if isinstance(value, dict) else value
    good = isinstance(calls, list) and all(
        isinstance(call, dict) and isinstance(call.get("name"), str) and isinstance(call.get("args"), dict)
        for call in calls
    )
    if not good:
        raise CastError('cannot take what is no list of tool calls like [{"name": "f", "args": {}}]')
    return list(calls)


def _with_calls(message: Any, calls: list[dict[str, Any]], text: str) -> Any:
    content = _content(message)
    if isinstance(content, list):
        content = [b for b in content if not (isinstance(b, Mapping) and b.get("type") in _CALL_BLOCKS)]
    content = _with_text(content, text) if text or not isinstance(content, list) else content
    before = _calls(message)
    after = [_call_like(before[i] if i < len(before) else None, call, i) for i, call in enumerate(calls)]
    if isinstance(message, Mapping):
        return {**message, "content": content, "tool_calls": after}
    update: dict[str, Any] = {"content": content, "tool_calls": after, "invalid_tool_calls": []}
    # the provider's own copy of the calls would bring the old ones back when the message is loaded again
    kwargs = {key: value for key, value in message.additional_kwargs.items() if key not in _RAW_CALLS}
    update["additional_kwargs"] = kwargs
    if hasattr(message, "tool_call_chunks"):
        update["tool_call_chunks"] = []
    return message.model_copy(update=update)


def _call_like(old: Any, call: dict[str, Any], index: int) -> dict[str, Any]:
    if isinstance(old, Mapping) and isinstance(old.get("function"), Mapping):
        function = {**old["function"], "name": call["name"], "arguments": json.dumps(call["args"])}
        return {**old, "function": function}
    fresh: dict[str, Any] = {"id": f"call_{index}", "type": "tool_call"}
    return {**(old or fresh), "name": call["name"], "args": call["args"]}


def _with_content(message: Any, content: Any) -> Any:
    if isinstance(message, str):
        return content
    if isinstance(message, tuple):
        return (message[0], content)
    if isinstance(message, Mapping):
        return {**message, "content": content}
    return message.model_copy(update={"content": content})


def _with_text(content: Any, text: str) -> Any:
    """The text goes where the first text block stood; other text blocks go, blocks of other kinds stay."""
    if not isinstance(content, list):
        return text
    places = [index for index, block in enumerate(content) if _block_text(block) is not None]
    if not places:
        return [*content, {"type": "text", "text": text}]
    first = content[places[0]]
    block = text if isinstance(first, str) else {**first, "text": text}
    kept = [b for index, b in enumerate(content) if index not in places]
    return [*kept[: places[0]], block, *kept[places[0] :]]


def _as_text(value: JSONValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
