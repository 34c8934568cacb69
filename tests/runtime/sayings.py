"""What the nodes of random graphs say, and how it is corrected.

Sayings share no word, so that none means what another does. A saying with a word more means the same and is another
text all the same, which everything that reads it notices.
"""

import json
import zlib
from collections.abc import Callable
from typing import Any

from langgraph.types import Command

SAYINGS = (
    "quiet rivers bend before dawn",
    "seven lamps hang over doors",
    "bakers rise when owls sleep",
    "ships follow painted stars home",
    "old clocks count falling snow",
    "green apples roll down hills",
    "letters wait inside blue drawers",
)


def canonical(value: Any) -> str:
    """A value as text; the order of lists is left out, as that of parallel results is free."""
    return json.dumps(_ordered(value), sort_keys=True)


def number_of(value: Any) -> int:
    return zlib.crc32(canonical(value).encode())


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(each) for key, each in value.items()}
    return sorted(map(_ordered, value), key=repr) if isinstance(value, list | tuple) else value


def said_otherwise(text: str, salt: int) -> str:
    """Another saying in place of each in a text; the same text if there is none in it."""
    return _each_saying(text, lambda n: SAYINGS[(n + 1 + salt % (len(SAYINGS) - 1)) % len(SAYINGS)])


def said_alike(text: str) -> str:
    """Another text that means the same: a saying with a word more, JSON with a blank; else the text itself."""
    if text.startswith(("{", "[")):
        return f"{text} "
    return f"{text} indeed" if text in SAYINGS else text


def otherwise(update: Any, salt: int) -> Any:
    """Another update of the same form. Where it is a `Command`, it goes where it went."""
    if isinstance(update, Command):
        return Command(update=otherwise(update.update, salt), goto=update.goto)
    changed = {}
    for key, value in (update or {}).items():
        if isinstance(value, str):
            value = said_otherwise(value, salt)
        elif isinstance(value, list):
            value = [said_otherwise(each, salt) if isinstance(each, str) else each for each in value]
        elif key == "total":
            value = value + 1 + salt % 5
        changed[key] = value
    return changed


def _each_saying(text: str, change: Callable[[int], str]) -> str:
    for n, saying in enumerate(SAYINGS):
        text = text.replace(saying, f"<{n}>")
    for n in range(len(SAYINGS)):
        text = text.replace(f"<{n}>", change(n))
    return text
