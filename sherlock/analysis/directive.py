"""Finds a node's directive in its model calls, and rewrites it.

The directive is the part of the prompt that does not change from case to case: the system text where there is one;
else the leading messages that every case shares (few-shot turns); else the leading text of the first message that
every case shares. arXiv:2511.00330, section 5, takes a node apart into context, directive, executor and output.
"""

import os.path
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sherlock.interpose.calls import Message

SYSTEM = ("system", "developer")
SHORTEST_PREFIX = 24
"""A shared beginning with fewer characters is chance, not a directive."""

Rewrite = Callable[[tuple[Message, ...]], Sequence[Message]]


@dataclass(frozen=True, slots=True)
class Directive:
    """The constant part of a node's prompt. `size` is how many messages, or characters, it takes up at the start."""

    text: str
    where: Literal["system", "turns", "prefix"]
    size: int = 0

    def rewritten(self, text: str) -> Rewrite:
        """Return the rewriting of a call's messages that puts `text` in place of the directive."""

        def rewrite(messages: tuple[Message, ...]) -> Sequence[Message]:
            if self.where == "system":
                return _replace_system(messages, self.text, text)
            if self.where == "turns":
                return _replace_turns(messages, self.size, text)
            return _replace_prefix(messages, self.text, text)

        return rewrite


def system_text(messages: Iterable[Message]) -> str:
    """The system text of a call: its system messages, joined."""
    return "\n\n".join(m.text for m in messages if m.role in SYSTEM)


def find_directive(prompts: Sequence[tuple[Message, ...]]) -> Directive | None:
    """Find the directive of a node from the messages of its first model call in several cases (in case order)."""
    if not prompts:
        return None
    if text := system_text(prompts[0]):
        return Directive(text, "system")
    distinct = set(prompts)
    if len(distinct) < 3:  # two prompts may agree by chance
        return None
    shared = _shared_turns(distinct)
    if shared:
        return Directive("\n\n".join(m.text for m in prompts[0][:shared]), "turns", shared)
    prefix = os.path.commonprefix([p[0].text for p in distinct if p])  # noqa: RUF071  (no paths)
    prefix = prefix[: max(prefix.rfind(end) + 1 for end in (" ", "\n"))]
    return Directive(prefix, "prefix", len(prefix)) if len(prefix.strip()) >= SHORTEST_PREFIX else None


def _shared_turns(prompts: Iterable[tuple[Message, ...]]) -> int:
    """How many leading messages all prompts share; the last message of a prompt is never its directive."""
    shared = 0
    for column in zip(*(p[:-1] for p in prompts), strict=False):
        if len(set(column)) > 1:
            break
        shared += 1
    return shared


def _replace_system(messages: tuple[Message, ...], old: str, new: str) -> Sequence[Message]:
    if system_text(messages) != old:
        return messages
    rest = [m for m in messages if m.role not in SYSTEM]
    first = next(m for m in messages if m.role in SYSTEM)
    return [Message(first.role, new), *rest] if new else rest


def _replace_turns(messages: tuple[Message, ...], size: int, new: str) -> Sequence[Message]:
    turns, rest = messages[:size], messages[size:]
    if not new:
        return rest
    parts = new.split("\n\n")
    if len(parts) == len(turns):
        return [*(Message(m.role, part) for m, part in zip(turns, parts, strict=True)), *rest]
    return [Message("system", new), *rest]


def _replace_prefix(messages: tuple[Message, ...], old: str, new: str) -> Sequence[Message]:
    if not messages or not messages[0].text.startswith(old):
        return messages
    return [Message(messages[0].role, new + messages[0].text[len(old) :]), *messages[1:]]
