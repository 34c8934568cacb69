"""Messages as faults see them, a role and a text, and how a changed list is matched with its raw form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Message:
    """A role (`system`, `user`, `assistant`, `tool`) and a text, content blocks joined by newlines."""

    role: str
    text: str


def align(old: Sequence[Message], new: Sequence[Message]) -> list[int | None]:
    """For each new message, the index of the old one whose raw form it takes over; None if it was added.

    The same object wins, then an equal one (at its own place if it can be), then one of the same role that
    nothing else claimed, between the neighbours' places: that one had its text changed.
    """
    sources: list[int | None] = [None] * len(new)
    free = dict.fromkeys(range(len(old)))

    def take(place: int, index: int | None) -> None:
        if index is not None:
            sources[place] = index
            del free[index]

    for place, message in enumerate(new):
        take(place, next((i for i in free if old[i] is message), None))
    for place, message in enumerate(new):
        if sources[place] is None:
            equal = [i for i in free if old[i] == message]
            take(place, place if place in equal else next(iter(equal), None))
    for place, message in enumerate(new):
        if sources[place] is None:
            alike = [i for i in free if old[i].role == message.role]
            take(place, _between_neighbours(alike, sources, place))
    return sources


def _between_neighbours(candidates: list[int], sources: list[int | None], place: int) -> int | None:
    before = next((i for i in reversed(sources[:place]) if i is not None), -1)
    after = next((i for i in sources[place + 1 :] if i is not None), None)
    inside = [i for i in candidates if i > before and (after is None or i < after)]
    return next(iter(inside or candidates), None)


def text_of(content: Any) -> str:
    """The text in a message's content: a string, a block, or a list of blocks, nested ones included."""
    if isinstance(content, str):
        return content
    if isinstance(content, list | tuple):
        return "\n".join(text for text in map(text_of, content) if text)
    if isinstance(content, dict):
        nested = content.get("content") if content.get("type") == "tool_result" else None
        return text_of(content.get("text", nested))
    return ""


def with_text(content: Any, text: str, block_type: str = "text") -> Any:
    """`content` saying `text` instead: a string becomes it, blocks that hold no text stay as they are."""
    if not isinstance(content, list):
        return text if text or content is not None else None
    blocks: list[Any] = []
    placed = False
    for block in content:
        if not _holds_text(block):
            blocks.append(block)
        elif not placed:
            blocks.append(_block_with_text(block, text))
            placed = True
        elif isinstance(block, dict) and block.get("type") == "tool_result":
            # its call must stay answered, or providers refuse the request
            blocks.append(block | {"content": ""})
    return blocks if placed else [{"type": block_type, "text": text}, *blocks]


def _holds_text(block: Any) -> bool:
    return isinstance(block, str) or (
        isinstance(block, dict) and (isinstance(block.get("text"), str) or block.get("type") == "tool_result")
    )


def _block_with_text(block: Any, text: str) -> Any:
    if isinstance(block, str):
        return text
    return block | ({"content": text} if block.get("type") == "tool_result" else {"text": text})
