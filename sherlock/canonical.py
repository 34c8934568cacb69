"""One stable form for any state value, so that equal states have equal digests, in every process.

What carries no meaning for the workflow is left out: message ids and the metadata of a model's answer.
"""

import dataclasses
import datetime as dt
import enum
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from langchain_core.messages import BaseMessage
from langgraph.types import Command, Send
from pydantic import BaseModel

_opaque = itertools.count()


def digest(value: Any) -> str:
    """A short hash of `canonical(value)`: 32 hexadecimal digits."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def canonical(value: Any) -> Any:  # noqa: PLR0911  (one return for each kind of value)
    """Return `value` as plain JSON data. Values with no readable content are never equal to anything."""
    if value is None or isinstance(value, bool | str) or type(value) is int:
        return value
    if isinstance(value, enum.Enum):
        return canonical(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, AbstractSet):
        return sorted((canonical(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return _canonical_object(value)


def _canonical_object(value: Any) -> Any:  # noqa: PLR0911  (one return for each kind of value)
    if isinstance(value, BaseMessage):
        fields = value.model_dump(exclude={"id", "response_metadata", "usage_metadata"}, warnings=False)
        return {"message": canonical({k: v for k, v in fields.items() if v not in (None, {}, [])})}
    if isinstance(value, BaseModel):
        return {type(value).__qualname__: {k: canonical(v) for k, v in value.__dict__.items()}}
    if isinstance(value, Command):
        return {"command": [canonical(value.update), canonical(value.goto), value.graph, canonical(value.resume)]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            type(value).__qualname__: {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
        }
    if isinstance(value, Send):
        return {"send": [value.node, canonical(value.arg)]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, dt.date | dt.time | dt.timedelta):
        return str(value)
    if isinstance(value, int):
        return int(value)
    if hasattr(value, "tobytes") and hasattr(value, "dtype"):  # an array's repr leaves elements out
        return {"array": [str(value.dtype), list(value.shape), value.tobytes().hex()]}
    return _fallback(value)


def _fallback(value: Any) -> Any:
    """UUIDs, decimals and the like through their own text, if it does not carry a memory address."""
    text = repr(value)
    if " at 0x" in text or "object at" in text:
        return {"opaque": next(_opaque)}
    return {type(value).__qualname__: text}
