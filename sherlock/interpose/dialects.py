"""The HTTP dialects of model providers: where a request keeps its messages, an answer its text and its usage.

To add a provider, write one more `Dialect` and put it into `DIALECTS`; a request that none of them knows is
left alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sherlock.interpose.messages import Message, align, text_of, with_text

Body = dict[str, Any]
"""A request or an answer: parsed JSON."""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event. `data` is parsed where it is JSON, else text."""

    data: Any
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model answered. Tokens are None where the provider did not say.

    `generated` counts the characters of text and tool calls, to estimate from; `complete` says that the
    answer was seen to its end; `failed` that it reports an error.
    """

    text: str = ""
    generated: int = 0
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int = 0
    complete: bool = True
    failed: bool = False


class Dialect(Protocol):
    """One provider's way of writing requests and answers."""

    name: str
    endings: tuple[bytes, ...]
    """What the last event of a stream contains, and no other."""

    def matches(self, path: str, body: Body) -> bool: ...

    def read(self, body: Body) -> tuple[Message, ...]: ...

    def write(self, body: Body, old: Sequence[Message], new: Sequence[Message]) -> Body: ...

    def answer(self, body: Body) -> Answer: ...

    def stream_answer(self, events: Sequence[Event]) -> Answer: ...


class ChatCompletions:
    """OpenAI's chat completions, spoken by most servers."""

    name = "openai.chat"
    endings: tuple[bytes, ...] = (b"data: [DONE]", b"data:[DONE]")

    def matches(self, path: str, body: Body) -> bool:
        return path.endswith("/chat/completions") and isinstance(body.get("messages"), list)

    def read(self, body: Body) -> tuple[Message, ...]:
        return tuple(Message(_role(raw), text_of(_get(raw, "content"))) for raw in body["messages"])

    def write(self, body: Body, old: Sequence[Message], new: Sequence[Message]) -> Body:
        return body | {"messages": _rewritten(old, body["messages"], new)}

    def answer(self, body: Body) -> Answer:
        choices = _items(body, "choices")
        message = _get(choices[0], "message") if choices else None
        text = text_of(_get(message, "content"))
        generated = sum(_generated(_get(choice, "message")) for choice in choices)
        return _chat_usage(body.get("usage"), text, generated, complete=True, failed=bool(body.get("error")))

    def stream_answer(self, events: Sequence[Event]) -> Answer:
        texts: list[str] = []
        generated = 0
        usage: Any = None
        complete = failed = False
        for data in (event.data for event in events):
            complete = complete or data == "[DONE]"
            usage = _get(data, "usage") or usage
            failed = failed or bool(_get(data, "error"))
            for choice in _items(data, "choices"):
                generated += _generated(_get(choice, "delta"))
                complete = complete or _get(choice, "finish_reason") is not None
                if not _get(choice, "index"):
                    texts.append(text_of(_get(_get(choice, "delta"), "content")))
        return _chat_usage(usage, "".join(texts), generated, complete=complete, failed=failed)


class Responses:
    """OpenAI's responses. `instructions` come first, as the system message."""

    name = "openai.responses"
    endings: tuple[bytes, ...] = tuple(
        b'"type":' + space + b'"response.' + end + b'"'
        for end in (b"completed", b"incomplete", b"failed")
        for space in (b"", b" ")
    )

    def matches(self, path: str, body: Body) -> bool:
        return path.endswith("/responses") and isinstance(body.get("input"), str | list)

    def read(self, body: Body) -> tuple[Message, ...]:
        directive = [Message("system", text_of(body["instructions"]))] if body.get("instructions") else []
        given = body["input"]
        if isinstance(given, str):
            return (*directive, Message("user", given))
        return (*directive, *(Message(_role(raw), text_of(_item_content(raw))) for raw in given))

    def write(self, body: Body, old: Sequence[Message], new: Sequence[Message]) -> Body:
        given = body["input"]
        raws: list[Any] = [given] if isinstance(given, str) else given
        directive: list[Any] = [body["instructions"]] if body.get("instructions") else []
        first, rest = _split_directive(old, new, bool(directive))
        out = body | {"input": _rewritten(old[len(directive) :], raws, rest)}
        if first is None:
            out.pop("instructions", None)
        else:
            out["instructions"] = first
        if len(out["input"]) == 1 and isinstance(out["input"][0], str):
            out["input"] = out["input"][0]
        else:
            out["input"] = [{"role": "user", "content": i} if isinstance(i, str) else i for i in out["input"]]
        return out

    def answer(self, body: Body) -> Answer:
        output = _items(body, "output")
        text = "\n".join(text_of(_get(i, "content")) for i in output if _get(i, "type") == "message")
        usage = body.get("usage")
        return Answer(
            text=text,
            generated=len(text) + sum(len(str(_get(i, "arguments") or "")) for i in output),
            tokens_in=_count(usage, "input_tokens"),
            tokens_out=_count(usage, "output_tokens"),
            tokens_cached=_count(_get(usage, "input_tokens_details"), "cached_tokens") or 0,
            failed=bool(body.get("error")),
        )

    def stream_answer(self, events: Sequence[Event]) -> Answer:
        ends = ("response.completed", "response.incomplete", "response.failed")
        for data in (event.data for event in reversed(events)):
            if _get(data, "type") in ends and isinstance(_get(data, "response"), dict):
                return self.answer(data["response"])
        deltas = [e.data for e in events if str(_get(e.data, "type")).endswith(".delta")]
        text = "".join(str(d.get("delta")) for d in deltas if d["type"] == "response.output_text.delta")
        generated = sum(len(str(d.get("delta"))) for d in deltas)
        failed = any(_get(event.data, "type") == "error" for event in events)
        return Answer(text=text, generated=generated, complete=False, failed=failed)


class AnthropicMessages:
    """Anthropic's messages. `system` comes first; a user message with tool results has the role `tool`."""

    name = "anthropic.messages"
    endings: tuple[bytes, ...] = (b'"type":"message_stop"', b'"type": "message_stop"')

    def matches(self, path: str, body: Body) -> bool:
        return path.endswith("/messages") and isinstance(body.get("messages"), list) and "max_tokens" in body

    def read(self, body: Body) -> tuple[Message, ...]:
        directive = [Message("system", text_of(body["system"]))] if body.get("system") else []
        return (*directive, *(Message(_role(m), text_of(_get(m, "content"))) for m in body["messages"]))

    def write(self, body: Body, old: Sequence[Message], new: Sequence[Message]) -> Body:
        directive = bool(body.get("system"))
        first, rest = _split_directive(old, new, directive)
        out = body | {"messages": _rewritten(old[int(directive) :], body["messages"], rest)}
        if first is None:
            out.pop("system", None)
        elif not directive or first != text_of(body["system"]):
            out["system"] = with_text(body.get("system"), first)
        return out

    def answer(self, body: Body) -> Answer:
        blocks = _items(body, "content")
        text = text_of(blocks)
        calls = [json.dumps(_get(block, "input")) for block in blocks if _get(block, "type") == "tool_use"]
        generated = len(text) + sum(map(len, calls))
        failed = body.get("type") == "error"
        return self._metered(body.get("usage"), text, generated, complete=True, failed=failed)

    def stream_answer(self, events: Sequence[Event]) -> Answer:
        texts: list[str] = []
        generated = 0
        usage: Body = {}
        kinds = [_get(event.data, "type") for event in events]
        for data in (event.data for event in events):
            delta = _get(data, "delta")
            texts.append(_get(delta, "text") or "")
            generated += len(_get(delta, "text") or _get(delta, "partial_json") or "")
            for reported in (_get(_get(data, "message"), "usage"), _get(data, "usage")):
                if isinstance(reported, dict):
                    usage |= {k: v for k, v in reported.items() if v is not None}
        # some clients stop reading here, before the event that says no more than that it was the last
        complete = any(_get(_get(event.data, "delta"), "stop_reason") for event in events)
        if not complete:
            usage.pop("output_tokens", None)  # the opening event announces one token, whatever follows
        return self._metered(usage, "".join(texts), generated, complete=complete, failed="error" in kinds)

    def _metered(self, usage: Any, text: str, generated: int, *, complete: bool, failed: bool) -> Answer:
        cached = _count(usage, "cache_read_input_tokens") or 0
        uncached = _count(usage, "input_tokens")
        written = _count(usage, "cache_creation_input_tokens") or 0
        return Answer(
            text=text,
            generated=generated,
            tokens_in=None if uncached is None else uncached + written + cached,
            tokens_out=_count(usage, "output_tokens"),
            tokens_cached=cached,
            complete=complete,
            failed=failed,
        )


DIALECTS: tuple[Dialect, ...] = (ChatCompletions(), Responses(), AnthropicMessages())


def find_dialect(path: str, body: Any) -> Dialect | None:
    """The dialect that a POST of `body` to `path` is written in; None if it is no model call that we know."""
    if not isinstance(body, dict):
        return None
    return next((dialect for dialect in DIALECTS if dialect.matches(path.rstrip("/"), body)), None)


def _split_directive(
    old: Sequence[Message], new: Sequence[Message], had_directive: bool
) -> tuple[str | None, list[Message]]:
    """Set apart the text that goes where the API keeps its directive, outside the list of messages."""
    own = old[0] if had_directive else None
    if own is not None and any(message is own for message in new):
        return own.text, [message for message in new if message is not own]
    elsewhere = any(message.role == "system" for message in old[int(had_directive) :])
    if new and new[0].role == "system" and (had_directive or not elsewhere):
        return new[0].text, list(new[1:])
    return None, list(new)


def _rewritten(old: Sequence[Message], raws: Sequence[Any], new: Sequence[Message]) -> list[Any]:
    out: list[Any] = []
    for message, source in zip(new, align(old, new), strict=True):
        if source is None:
            out.append({"role": message.role, "content": message.text})
        elif old[source].text == message.text:
            out.append(raws[source])
        else:
            out.append(_with_message_text(raws[source], message.text))
    return out


def _with_message_text(raw: Any, text: str) -> Any:
    if not isinstance(raw, dict):
        return text
    if raw.get("type") == "function_call_output":
        return raw | {"output": with_text(raw.get("output"), text, "input_text")}
    if "content" not in raw and "type" in raw:
        return raw  # a function call or a reasoning item: there is no text to change
    block_type = "input_text" if raw.get("type") == "message" else "text"
    return raw | {"content": with_text(raw.get("content"), text, block_type)}


def _role(raw: Any) -> str:
    role = _get(raw, "role") or {"function_call_output": "tool"}.get(str(_get(raw, "type")), "assistant")
    if role in ("developer", "system"):
        return "system"
    content = _get(raw, "content")
    if role == "user" and isinstance(content, list) and any(_get(b, "type") == "tool_result" for b in content):
        return "tool"
    return "tool" if role == "function" else str(role)


def _item_content(raw: Any) -> Any:
    return _get(raw, "output") if _get(raw, "type") == "function_call_output" else _get(raw, "content")


def _generated(message: Any) -> int:
    calls = _items(message, "tool_calls")
    return len(text_of(_get(message, "content"))) + sum(
        len(str(_get(_get(call, "function"), part) or "")) for call in calls for part in ("name", "arguments")
    )


def _chat_usage(usage: Any, text: str, generated: int, *, complete: bool, failed: bool) -> Answer:
    return Answer(
        text=text,
        generated=generated,
        tokens_in=_count(usage, "prompt_tokens"),
        tokens_out=_count(usage, "completion_tokens"),
        tokens_cached=_count(_get(usage, "prompt_tokens_details"), "cached_tokens") or 0,
        complete=complete,
        failed=failed,
    )


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _items(value: Any, key: str) -> list[Any]:
    found = _get(value, key)
    return found if isinstance(found, list) else []


def _count(usage: Any, key: str) -> int | None:
    found = _get(usage, key)
    return int(found) if isinstance(found, int | float) else None
