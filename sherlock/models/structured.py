"""Answers with a shape: what is sent to ask for one, and how it is read out of the text."""

import contextlib
import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

from sherlock.errors import ModelError

Schema = Mapping[str, Any] | type
"""A JSON schema, or a pydantic model class."""


def json_schema(schema: Schema) -> dict[str, Any]:
    """The JSON schema of either kind. Anything else is a `ModelError`."""
    if isinstance(schema, Mapping):
        return dict(schema)
    if hasattr(schema, "model_json_schema"):
        found: dict[str, Any] = schema.model_json_schema()
        return found
    raise ModelError(f"the schema is {schema!r}, give a JSON schema or a pydantic model class")


def response_format(schema: Schema) -> dict[str, Any]:
    """The `response_format` of the OpenAI dialect.

    Objects are closed to keys that they do not name, which keeps every answer valid; `strict`, which also demands that
    all keys are required, is asked for where that holds.
    """
    closed = _closed(json_schema(schema))
    name = re.sub(r"\W", "_", str(closed.get("title") or "answer"))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": closed, "strict": _is_strict(closed)}}


def parse(text: str, schema: Schema) -> Any:
    """The value in the text: an instance of a model class, plain data for a JSON schema, or None if it does not fit.

    A code fence around the JSON, and words before and after it, are passed over.
    """
    for value in _json_values(text):
        if isinstance(schema, Mapping):
            if _fits(value, schema, schema):
                return value
        elif (made := _validated(value, schema)) is not None:
            return made
    return None


def _validated(value: Any, model: Any) -> Any:
    from pydantic import ValidationError

    try:
        return model.model_validate(value)
    except ValidationError:
        return None


def _json_values(text: str) -> list[Any]:
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError):
        pass
    decoder = json.JSONDecoder()
    found: list[Any] = []
    at = 0
    for start in itertools.islice(re.finditer(r"[{\[]", text), _STARTS):
        if start.start() < at:
            continue
        with contextlib.suppress(ValueError, RecursionError):
            value, at = decoder.raw_decode(text, start.start())
            found.append(value)
    return found


# A model that is stuck repeats brackets by the thousand: looking behind each takes quadratic time.
_STARTS = 100


def _closed(node: Any) -> Any:
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    closed = {key: item if key in {"enum", "const", "default"} else _closed(item) for key, item in node.items()}
    if isinstance(node.get("properties"), Mapping) and node.get("type", "object") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _is_strict(node: Any) -> bool:
    if isinstance(node, list):
        return all(map(_is_strict, node))
    if not isinstance(node, Mapping):
        return True
    if node.get("type") == "object" or isinstance(node.get("properties"), Mapping):
        keys = set(node.get("properties") or {})
        if node.get("additionalProperties") is not False or keys != set(node.get("required") or ()):
            return False
    return all(_is_strict(item) for key, item in node.items() if key not in {"enum", "const", "default"})


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "number": (int, float),
    "integer": (int,),
}


def _fits(value: Any, schema: Any, root: Mapping[str, Any]) -> bool:
    """Whether the value has the schema's shape: types, keys, items, enumerations and references into the schema.

    Bounds, lengths and patterns are not looked at: they are the asker's to judge.
    """
    if not isinstance(schema, Mapping):
        return schema is not False
    if "$ref" in schema:
        return _fits(value, _referred(str(schema["$ref"]), root), root)
    choices = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return (
        ("type" not in schema or _is_type(value, schema["type"]))
        and ("enum" not in schema or value in schema["enum"])
        and ("const" not in schema or value == schema["const"])
        and all(_fits(value, part, root) for part in schema.get("allOf", ()))
        and (not choices or any(_fits(value, choice, root) for choice in choices))
        and _fits_inside(value, schema, root)
    )


def _fits_inside(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if isinstance(value, list):
        return "items" not in schema or all(_fits(item, schema["items"], root) for item in value)
    if not isinstance(value, dict):
        return True
    named, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    if not set(schema.get("required", ())) <= value.keys():
        return False
    return all(_fits(item, named.get(key, others), root) for key, item in value.items())


def _is_type(value: Any, name: Any) -> bool:
    if isinstance(name, list):
        return any(_is_type(value, one) for one in name)
    if isinstance(value, bool):
        return bool(name == "boolean")
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, (object,)))


def _referred(pointer: str, root: Mapping[str, Any]) -> Any:
    node: Any = root
    for part in pointer.removeprefix("#").split("/")[1:]:
        if not isinstance(node, Mapping) or part not in node:
            raise ModelError(f"the schema refers to {pointer!r}, which it does not hold: correct the reference")
        node = node[part]
    return node
