"""Whether a value came back from a file as it was, and what a serialiser that has no tuples needs for that.

A list in place of a tuple is enough to make a node raise; what is not the same again must not be read back.
"""

import dataclasses
import enum
from collections import deque
from collections.abc import Mapping
from typing import Any

from sherlock.canonical import digest

_TUPLE = "\0tuple"


def frozen(value: Any) -> Any:
    """`value` with the tuples in its plain dicts, lists and tuples marked, so that they outlive a list."""
    if type(value) is dict:
        return {key: frozen(item) for key, item in value.items()}
    if type(value) is list:
        return [frozen(item) for item in value]
    return {_TUPLE: [frozen(item) for item in value]} if type(value) is tuple else value


def thawed(value: Any) -> Any:
    """The reverse of `frozen`."""
    if type(value) is dict:
        if value.keys() == {_TUPLE}:
            return tuple(thawed(item) for item in value[_TUPLE])
        return {key: thawed(item) for key, item in value.items()}
    return [thawed(item) for item in value] if type(value) is list else value


def is_faithful(back: Any, value: Any) -> bool:
    """Whether `back` is as good as `value`: equal, and of the same types, but for subclasses of text and numbers."""
    if isinstance(value, str | int | float) and not isinstance(value, enum.Enum):
        return isinstance(back, str | int | float) and digest(back) == digest(value)
    if type(back) is not type(value):
        return False
    if isinstance(value, Mapping):
        return list(back) == list(value) and all(is_faithful(back[key], item) for key, item in value.items())
    if isinstance(value, list | tuple | deque):
        return len(back) == len(value) and all(map(is_faithful, back, value))
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return all(is_faithful(getattr(back, name), getattr(value, name)) for name in names)
    return is_faithful(vars(back), vars(value)) if hasattr(value, "__dict__") else digest(back) == digest(value)
