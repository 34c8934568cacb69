"""Edits inside JSON values: where the leaves are, and copies with one place changed or gone."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

from sherlock.values import fields_of, is_dataclass, is_model, rebuild

Path = tuple[str | int, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every string, number, bool and null of a JSON value, with the path to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every field and item of a JSON value at any depth, containers included, with the path to it."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key), item
        yield from places(item, (*path, key))


def shuffled(found: Iterator[tuple[Path, Any]], rng: random.Random) -> list[tuple[Path, Any]]:
    """What was found in a random order."""
    listed = list(found)
    return rng.sample(listed, len(listed))


def without(value: Any, path: Path) -> Any:
    """A copy of a JSON value in which the field or item at `path` is gone."""
    key, rest = path[0], path[1:]
    if rest:
        return put(value, (key,), without(value[key], rest))
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if name != key}
    return [item for index, item in enumerate(value) if index != key]


def put(value: Any, path: Path, new: Any) -> Any:
    """A copy of a value with `new` at `path`, unchecked; dicts, lists, tuples, models and dataclasses on
    the way.

    Raises:
        LookupError: The value has no such place, because its JSON form differs from its Python one there.
    """
    if not path:
        return new
    key, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        return {**value, key: put(value[key], rest, new)}
    if isinstance(value, (list, tuple)) and isinstance(key, int):
        items = [*value[:key], put(value[key], rest, new), *value[key + 1 :]]
        return items if isinstance(value, list) else tuple(items)
    if (is_model(value) or is_dataclass(value)) and key in fields_of(value):
        return rebuild(value, {str(key): put(fields_of(value)[str(key)], rest, new)}, check=False)
    raise LookupError(key)
