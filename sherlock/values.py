"""Any Python value as JSON, and JSON back as a value of the type that was there.

`encode` reads; `decode` writes. `decode` gives back the old object itself wherever nothing changed, so
that what has no faithful JSON form survives as long as it is not what is written to.
"""

import copy
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import numbers
import pathlib
import re
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from sherlock.messages import CastError, JSONValue, is_messages, loaded, read_messages, write_messages


def encode(value: Any) -> JSONValue:
    """`value` as JSON. Messages are their text or tool calls; what JSON has no word for is a stable string."""
    if isinstance(value, enum.Enum):
        return encode(value.value)
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if _is_real(value):
        return float(value)
    return _encode_compound(value)


def text_of(value: JSONValue) -> str:
    """The text of a JSON value: a string as it is, None as nothing, everything else as sorted JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else dump(value)


def dump(value: JSONValue) -> str:
    """Sorted JSON, letters of all alphabets left readable."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def decode_text(text: str, old: Any) -> Any:
    """The value that stands for `text`, of the type of `old`, or `old` itself if that is its text.

    Raises:
        CastError: The text cannot be made into that type.
    """
    if is_overwrite(old):
        return dataclasses.replace(old, value=decode_text(text, old.value))
    encoded = encode(old)
    if text == text_of(encoded):
        return old
    if old is None:
        return text
    if is_messages(old):
        return write_messages(old, text)
    if not isinstance(encoded, (dict, list)):
        return decode(text, old)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise CastError(f"{shorten(text)} is no JSON, so no {_kind(old)} can be made of it") from None
    return decode(value, old)


def decode(new: JSONValue, old: Any) -> Any:
    """`new` as a value of the type of `old`, or `old` itself where they are equal.

    Inside plain dicts and lists a leaf that does not fit the old leaf's type is taken as it is; fields of
    models and dataclasses are checked.

    Raises:
        CastError: `new` cannot be made into that type.
    """
    if old is None or dump(new) == dump(encode(old)):
        return new if old is None else old
    if is_overwrite(old):
        return dataclasses.replace(old, value=decode(new, old.value))
    for kind, cast in _CASTS:
        if isinstance(old, kind):
            return cast(new, old)
    if is_messages(old):
        return write_messages(old, new)
    if is_model(old) or is_dataclass(old):
        if not isinstance(new, dict):
            raise _cannot(new, old)
        return rebuild(old, {key: _loosely(value, _field(old, key)) for key, value in new.items()})
    raise CastError(f"a {_kind(old)} cannot be made from text ({shorten(new)})")


def rebuild(old: Any, values: Mapping[str, Any], *, check: bool = True) -> Any:
    """A pydantic model or dataclass of the type of `old` with `values`; what is missing takes its default.

    `check=False` skips all validation and keeps what is missing, so that wrong types can be put in.
    """
    if is_model(old):
        return _rebuild_model(old, values) if check else old.model_copy(update=dict(values))
    if not check:
        changed = copy.copy(old)
        for key, value in values.items():
            object.__setattr__(changed, key, value)
        return changed
    return _rebuild_dataclass(old, values)


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a pydantic model or dataclass that its constructor takes, with their values."""
    if is_model(value):
        return {**{name: getattr(value, name) for name in type(value).model_fields}, **(value.model_extra or {})}
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}


def is_model(value: Any) -> bool:
    """Tell whether `value` is a pydantic model."""
    return isinstance(value, loaded("pydantic.main", "BaseModel"))


def is_dataclass(value: Any) -> bool:
    """Tell whether `value` is an instance of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def is_overwrite(value: Any) -> bool:
    """Tell whether `value` is LangGraph's `Overwrite`, the wrapper that goes past a reducer."""
    return isinstance(value, loaded("langgraph.types", "Overwrite"))


def shorten(value: Any) -> str:
    """A value for an error message, at most 80 characters of it."""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


_PARSED_FROM_TEXT = (
    decimal.Decimal,
    fractions.Fraction,
    complex,
    uuid.UUID,
    pathlib.PurePath,
    dt.date,
    dt.time,
)
_WHOLE = re.compile(r"[-+]?\d+(?:\.0*)?")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def _is_real(value: Any) -> bool:
    """Floats and what is like them (NumPy's scalars too), but not fractions, which a float would round."""
    return isinstance(value, numbers.Real) and not isinstance(value, numbers.Rational)


def _encode_compound(value: Any) -> JSONValue:
    if is_overwrite(value):
        return encode(value.value)
    if is_messages(value):
        return read_messages(value)
    if is_model(value) or is_dataclass(value):
        return {name: encode(item) for name, item in fields_of(value).items()}
    for kind, plain in _PLAIN:
        if isinstance(value, kind):
            return plain(value)
    # an address in a default repr changes from run to run
    return _ADDRESS.sub("", str(value))


_PLAIN: tuple[tuple[Any, Callable[[Any], JSONValue]], ...] = (
    (Mapping, lambda value: {_key_text(key): encode(item) for key, item in value.items()}),
    ((set, frozenset), lambda value: sorted(map(encode, value), key=dump)),
    ((list, tuple, deque), lambda value: [encode(item) for item in value]),
    ((dt.date, dt.time), lambda value: value.isoformat()),
    ((bytes, bytearray), lambda value: value.decode("utf-8", "backslashreplace")),
)


def _key_text(key: Any) -> str:
    return key if type(key) is str else text_of(encode(key))


def _cannot(new: Any, old: Any) -> CastError:
    return CastError(f"{shorten(new)} cannot be made a {_kind(old)}")


def _kind(value: Any) -> str:
    return type(value).__name__


def _loosely(new: JSONValue, old: Any) -> Any:
    """Cast where that is possible; where not, JSON types may replace each other."""
    try:
        return decode(new, old)
    except CastError:
        if type(old) in (str, int, float, bool, list, dict) and not is_messages(old):
            return new
        raise


def _field(value: Any, name: str) -> Any:
    return getattr(value, name, None)


def _cast_enum(new: JSONValue, old: enum.Enum) -> Any:
    kind = type(old)
    for member in kind:
        if new == member.name or dump(encode(member.value)) == dump(new) or text_of(encode(member)) == new:
            return member
    raise CastError(f"{shorten(new)} is none of the members of {kind.__name__}")


def _cast_bool(new: JSONValue, old: Any) -> bool:
    if isinstance(new, bool):
        return new
    word = new.strip().casefold() if isinstance(new, str) else ""
    if word not in ("true", "false"):
        raise _cannot(new, old)
    return word == "true"


def _cast_str(new: JSONValue, old: str) -> Any:
    if new is None or isinstance(new, (dict, list)):
        raise _cannot(new, old)
    text = text_of(new)
    return text if type(old) is str else _construct(type(old), text, old)


def _cast_int(new: JSONValue, old: Any) -> Any:
    if isinstance(new, str) and _WHOLE.fullmatch(new.strip()):
        return _construct(type(old), _construct(int, new.strip().split(".")[0], old), old)
    if not isinstance(new, bool) and isinstance(new, (int, float)) and new == new // 1:
        return _construct(type(old), int(new), old)
    raise _cannot(new, old)


def _cast_float(new: JSONValue, old: Any) -> Any:
    if isinstance(new, bool) or not isinstance(new, (str, int, float)):
        raise _cannot(new, old)
    return _construct(type(old), _construct(float, new, old), old)


def _cast_parsed(new: JSONValue, old: Any) -> Any:
    if isinstance(new, bool) or not isinstance(new, (str, int, float)):
        raise _cannot(new, old)
    dated = isinstance(old, (dt.date, dt.time))
    return _construct(type(old).fromisoformat if dated else type(old), str(new).strip(), old)


def _cast_bytes(new: JSONValue, old: Any) -> Any:
    if not isinstance(new, str):
        raise _cannot(new, old)
    return type(old)(new.encode("utf-8", "surrogatepass"))


def _construct(make: Callable[[Any], Any], value: Any, old: Any) -> Any:
    try:
        return make(value)
    except (ValueError, TypeError, ArithmeticError):
        raise _cannot(value, old) from None


def _cast_mapping(new: JSONValue, old: Mapping[Any, Any]) -> Any:
    if is_messages(old):
        return write_messages(old, new)
    if not isinstance(new, dict):
        raise _cannot(new, old)
    own = {_key_text(key): key for key in old}
    values = {own.get(key, key): _loosely(value, old[own[key]]) if key in own else value for key, value in new.items()}
    ordered = {key: values[key] for key in [*(k for k in old if k in values), *(k for k in values if k not in old)]}
    if type(old) is dict or not isinstance(old, dict):
        return ordered
    filled = copy.copy(old)
    filled.clear()
    filled.update(ordered)
    return filled


def _cast_sequence(new: JSONValue, old: Any) -> Any:
    if is_messages(old):
        return write_messages(old, new)
    if not isinstance(new, list):
        raise _cannot(new, old)
    forms = [dump(encode(item)) for item in old]
    kept = dict(zip(forms, old, strict=True))
    before = sorted(old, key=lambda item: dump(encode(item))) if isinstance(old, (set, frozenset)) else list(old)
    items = []
    for index, item in enumerate(new):
        form = dump(item)
        like = before[min(index, len(before) - 1)] if before else None
        items.append(kept[form] if form in kept else _loosely(item, like))
    make = getattr(type(old), "_make", type(old))
    return _construct(make, items, old)


def _rebuild_model(old: Any, values: Mapping[str, Any]) -> Any:
    kind = type(old)
    untouched = {n for n in kind.model_fields if n not in old.model_fields_set and values.get(n) is getattr(old, n)}
    payload = {_input_name(kind, key): value for key, value in values.items() if key not in untouched}
    try:
        return kind.model_validate(payload)
    except (ValueError, TypeError) as error:
        raise CastError(f"no {kind.__name__} can be made of it: {_first_line(error)}") from None


def _input_name(kind: Any, name: str) -> str:
    """The name under which a model takes a field: its alias, where it has one."""
    field = kind.model_fields.get(name)
    alias = getattr(field, "validation_alias", None)
    choices = [alias, *getattr(alias, "choices", ())]
    return next((choice for choice in choices if isinstance(choice, str)), name)


def _first_line(error: Exception) -> str:
    details = getattr(error, "errors", None)
    if not callable(details):
        return str(error)
    first = details()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def _rebuild_dataclass(old: Any, values: Mapping[str, Any]) -> Any:
    kind = type(old)
    known = fields_of(old)
    unknown = [key for key in values if key not in known]
    if unknown:
        raise CastError(f"{kind.__name__} has no field {unknown[0]!r}")
    hints = _hints(kind)
    arguments = {
        key: value if value is known[key] else _checked(value, known[key], hints.get(key))
        for key, value in values.items()
    }
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:
        raise CastError(f"no {kind.__name__} can be made of it: {error}") from None


def _hints(kind: type) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except (NameError, TypeError):
        return {}


def _checked(value: Any, old: Any, hint: Any) -> Any:
    """A dataclass field checked against its annotation, or, where pydantic cannot, against what stood there."""
    import pydantic

    try:
        adapter = pydantic.TypeAdapter(hint) if hint is not None else None
    except pydantic.errors.PydanticUserError:
        adapter = None
    if adapter is None:
        return value if isinstance(value, type(old)) else decode(value, old)
    try:
        return adapter.validate_python(value)
    except (ValueError, TypeError) as error:
        raise CastError(f"{shorten(value)} does not fit: {_first_line(error)}") from None


_CASTS: tuple[tuple[Any, Callable[[Any, Any], Any]], ...] = (
    (enum.Enum, _cast_enum),
    (bool, _cast_bool),
    (str, _cast_str),
    (fractions.Fraction, _cast_parsed),
    (numbers.Integral, _cast_int),
    (_PARSED_FROM_TEXT, _cast_parsed),
    (numbers.Real, _cast_float),
    ((bytes, bytearray), _cast_bytes),
    (Mapping, _cast_mapping),
    ((list, tuple, deque, set, frozenset), _cast_sequence),
)
