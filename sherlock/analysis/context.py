"""What a node sees of the work upstream of it, as a list of texts, and how to take some of it away.

A piece of history is a value that an upstream node wrote into the node's input, or one exchange of a list of messages
(a tool call and its answers stay together, or providers refuse the prompt). The case's own inputs, system messages, and
the last message of the user, are no history. Nearest comes last. arXiv:2511.00330, section 5 ("context loss").
"""

import copy
import dataclasses
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel

from sherlock.errors import InjectionError
from sherlock.lens import read_text


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a node's input: a whole key (`span` None), or the messages of a key from `span[0]` up to `span[1]`."""

    key: str
    text: str
    span: tuple[int, int] | None = None


def history(value: Any, written: Sequence[str], reads: frozenset[str] | None = None) -> list[Piece]:
    """The pieces of upstream history in the input `value`.

    `written` names the state keys that upstream nodes wrote, earliest first; `reads` restricts them to those that the
    node is known to read.
    """
    fields = _fields(value)
    if fields is None:
        return []
    pieces: list[Piece] = []
    for key in written:
        if key in fields and (reads is None or key in reads):
            pieces += _pieces(key, fields[key])
    return pieces


def with_history(value: Any, pieces: Sequence[Piece], new: Sequence[str]) -> Any:
    """Return a copy of the input `value` whose history is `new`.

    As many texts as pieces: each takes its place, in order. Fewer: they are matched in order, and what is left out is
    blanked (a key) or removed (messages).

    Raises:
        InjectionError: a text is no piece of the history, or does not fit the place it is put into.
    """
    placed = _place(pieces, new)
    fields = dict(_fields(value) or {})
    for key in dict.fromkeys(piece.key for piece in pieces):
        mine = [(piece, text) for piece, text in zip(pieces, placed, strict=True) if piece.key == key]
        fields[key] = _messages(fields[key], mine) if mine[0][0].span else _whole(fields[key], *mine[0])
    return _with_fields(value, fields)


def _fields(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, BaseModel):
        return value.__dict__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return None


def _with_fields(value: Any, fields: dict[str, Any]) -> Any:
    if isinstance(value, Mapping):
        return fields
    if isinstance(value, BaseModel):
        return value.model_copy(update=fields)
    changed = copy.copy(value)
    for name, item in fields.items():
        object.__setattr__(changed, name, item)
    return changed


def _pieces(key: str, value: Any) -> list[Piece]:
    if isinstance(value, list) and value and all(isinstance(item, BaseMessage) for item in value):
        last = max((i for i, m in enumerate(value) if isinstance(m, HumanMessage)), default=-1)
        return [
            Piece(key, "\n".join(read_text({key: [m]}) for m in value[start:end]), (start, end))
            for start, end in _exchanges(value)
            if not start <= last < end and not isinstance(value[start], SystemMessage)
        ]
    if isinstance(value, BaseMessage) or not _can_be_blank(value) or value == _blank(value):
        return []
    return [Piece(key, read_text({key: value}))]


def _exchanges(messages: Sequence[BaseMessage]) -> list[tuple[int, int]]:
    """Group messages so that tool calls and the answers to them are one exchange."""
    spans: list[tuple[int, int]] = []
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage) and spans and _calls_tools(messages[spans[-1][0]]):
            spans[-1] = (spans[-1][0], index + 1)
        else:
            spans.append((index, index + 1))
    return spans


def _calls_tools(message: BaseMessage) -> bool:
    return isinstance(message, AIMessage) and bool(message.tool_calls)


_BLANKS = (str, int, float, list, tuple, dict, set)


def _can_be_blank(value: Any) -> bool:
    return isinstance(value, _BLANKS) and not isinstance(value, enum.Enum)


def _blank(value: Any) -> Any:
    """The empty value of a type; of the plain type behind one that has none, such as a message's `text`."""
    try:
        return type(value)()
    except (TypeError, ValueError):
        return next(kind for kind in _BLANKS if isinstance(value, kind))()


def _place(pieces: Sequence[Piece], new: Sequence[str]) -> list[str | None]:
    if len(new) == len(pieces):
        return list(new)
    placed: list[str | None] = []
    rest = list(new)
    for piece in pieces:
        if rest and rest[0] == piece.text:
            placed.append(rest.pop(0))
        else:
            placed.append(None)
    if rest:
        raise InjectionError(
            f"a context fault returned {rest[0][:60]!r}, which is not in the history or not in its order; "
            "return some of the given texts, or exactly as many as were given"
        )
    return placed


def _whole(value: Any, piece: Piece, text: str | None) -> Any:
    if text is None:
        return _blank(value)
    if text == piece.text:
        return value
    from sherlock.lens import write_text

    return write_text({piece.key: value}, text)[piece.key]


def _messages(value: list[BaseMessage], placed: Sequence[tuple[Piece, str | None]]) -> list[BaseMessage]:
    spans = {piece.span: (piece, text) for piece, text in placed}
    by_text: dict[str, list[list[BaseMessage]]] = {}
    for piece, _ in placed:
        if piece.span:
            by_text.setdefault(piece.text, []).append(value[slice(*piece.span)])
    result: list[BaseMessage] = []
    for span in _exchanges(value):
        if span not in spans:
            result += value[slice(*span)]
        elif (text := spans[span][1]) is not None:
            known = by_text.get(text)
            result += known.pop(0) if known else [value[span[0]].model_copy(update={"content": text})]
    return result
