"""Puts what LangGraph returns and streams into plain data that two runs can be compared by.

Ids and times differ from run to run, so they are blotted out; everything else stays.
"""

import dataclasses
import re
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

_IDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
_TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?")


def plain(value: Any) -> Any:
    """The value as plain data, without ids and times."""
    if isinstance(value, str):
        return _TIMES.sub("<time>", _IDS.sub("<id>", value))
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, BaseMessage):
        shown = {"content": value.content, "name": value.name, "tool_calls": getattr(value, "tool_calls", None)}
        return {type(value).__name__: plain(shown)}
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {plain(str(value))}"
    if isinstance(value, BaseModel):
        return {type(value).__name__: plain(dict(value))}
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {type(value).__name__: plain(value._asdict())}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value), key=repr)
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {type(value).__name__: plain(fields)}
    slots = getattr(type(value), "__slots__", None)
    if slots:
        return {type(value).__name__: plain({name: getattr(value, name, None) for name in slots})}
    return plain(re.sub(r" at 0x[0-9a-f]+", "", repr(value)))


async def taken(chunks: AsyncIterator[Any]) -> list[Any]:
    """Everything that a stream gives, and at its end the error that it raised, if it did."""
    found = []
    try:
        async for chunk in chunks:
            found.append(plain(chunk))
    except Exception as error:
        found.append(plain(error))
    return found


async def result(work: Awaitable[Any]) -> Any:
    """What is returned, or the error that is raised."""
    try:
        return plain(await work)
    except Exception as error:
        return plain(error)


def sync_result(call: Any, *args: Any, **options: Any) -> Any:
    """What a call returns (the list of it, if it is an iterator), or the error that it raises."""
    try:
        found = call(*args, **options)
        return plain(found if isinstance(found, dict | list | BaseModel) else list(found))
    except Exception as error:
        return plain(error)
