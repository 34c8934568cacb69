"""Reads and writes the text inside what a node returns, and says of what kind that text is.

What a node returns is its *update*: a dict, a `Command`, a list of these, a pydantic model, a dataclass,
None, or, in a graph whose state is one bare value, that value. How each value becomes text and comes back
is in `values.py`, and for chat messages in `messages.py`.
"""

import ast
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from sherlock.equivalence import NOT_JSON, json_container, parse_number
from sherlock.errors import InjectionError
from sherlock.messages import (
    CastError,
    JSONValue,
    is_message,
    is_messages,
    loaded,
    read_messages,
    replace_last,
    write_messages,
)
from sherlock.values import (
    decode,
    decode_text,
    encode,
    fields_of,
    is_dataclass,
    is_model,
    is_overwrite,
    rebuild,
    shorten,
    text_of,
)


def read_text(update: Any) -> str:
    """The text of a node's update.

    One written key: its text (a string as it is; numbers, bools, lists, dicts, models as sorted JSON).
    Several keys: one sorted JSON object. Messages: the last one's text, or its tool calls as JSON when
    that is empty. A `Command`: its `update`; a list of updates: merged, the last writer of a key wins.
    None, or a `Command` that only goes somewhere: "".
    """
    return text_of(read_json(update))


def read_json(update: Any) -> JSONValue:
    """What `read_text` shows, as a JSON value: of the one written key, or an object of all written keys."""
    keys = written(update)
    if not keys:
        return None
    encoded = {key: encode(value) for key, value in keys.items()}
    return next(iter(encoded.values())) if len(keys) == 1 else encoded


def read_value(update: Any) -> Any:
    """The value itself, not as text: of the one written key, else a dict of all written keys, else None."""
    keys = written(update)
    if len(keys) == 1:
        return next(iter(keys.values()))
    return keys or None


def write_text(update: Any, text: str, *, node: str = "") -> Any:
    """A copy of `update` whose text is `text`, cast to the type that was there; `update` is never changed.

    `goto`, `graph` and `resume` of a `Command`, ids and names of messages, and keys that are not written
    to are kept. Where several keys were written, a key that the JSON object leaves out is no longer
    written.

    Raises:
        InjectionError: The text cannot be cast; the message names `node` and the key.
    """
    keys = written(update)
    if text == read_text(update):
        return update
    if not keys:
        raise InjectionError(f"{_place(node)} wrote nothing, so {shorten(text)} has no place to go; leave it out")
    if len(keys) == 1:
        [(key, old)] = keys.items()
        return _replace(update, {key: _cast(decode_text, text, old, node, key)}, node)
    new = json_container(text)
    if not isinstance(new, dict):
        names = ", ".join(map(repr, keys))
        raise InjectionError(
            f"{_place(node)} wrote the keys {names}, but {shorten(text)} is no JSON object; give one with these keys"
        )
    return _replace(update, {key: _cast(decode, value, keys.get(key), node, key) for key, value in new.items()}, node)


def write_value(update: Any, value: Any, *, node: str = "") -> Any:
    """A copy of `update` with `value` where the text stood, uncast, so that a wrong type can be put in.

    In messages a message takes the last one's place and a string its text. Where several keys were
    written, `value` is a mapping of the keys to write.

    Raises:
        InjectionError: Nothing was written, or `value` is no mapping though several keys were.
    """
    keys = written(update)
    if not keys:
        raise InjectionError(f"{_place(node)} wrote nothing, so {shorten(value)} has no place to go; leave it out")
    if len(keys) == 1:
        [(key, old)] = keys.items()
        return _replace(update, {key: _put(old, value)}, node, check=False)
    if not isinstance(value, Mapping):
        names = ", ".join(map(repr, keys))
        raise InjectionError(
            f"{_place(node)} wrote the keys {names}, but {shorten(value)} is no mapping; give one with these keys"
        )
    return _replace(update, dict(value), node, check=False)


def category_of(text: str, value: Any = None, directive: str = "") -> str:
    """The kind of content: `tool`, `number`, `json`, `code`, `maths` or `instruction`; the first that holds.

    `tool`: `value` (an update, or what one holds) is a message that calls tools. `number`: one number and
    nothing else, a unit or currency allowed. `json`: a JSON object or list. `code`: a fenced block, Python
    that parses and imports or defines something, a statement of a usual language, or text with the signs of
    code under a `directive` that asks to write some. `maths`: an equation, LaTeX, or text with digits under a
    `directive` that asks to compute or solve. `instruction`: everything else.
    """
    if _calls_tools(value):
        return "tool"
    if parse_number(text) is not None:
        return "number"
    if json_container(text) is not NOT_JSON:
        return "json"
    if _is_code(text, directive):
        return "code"
    if _EQUATION.search(text) or (_COMPUTE.search(directive) and re.search(r"\d", text)):
        return "maths"
    return "instruction"


_ROOT = "__root__"
_EQUATION = re.compile(r"[\d)]\s*[-+*/\u00d7\u00f7^]\s*[\d(][^=\n]*=\s*[-\w(]|\\(?:frac|boxed|sqrt|sum|int|begin)\b")
_COMPUTE = re.compile(
    r"(?i)\b(comput|calculat|solv(e|ing)\b|evaluat|equation|arithmetic|integral|derivative|differentiate|polynomial"
    r"|probabilit|maths?\b|mathematic|algebra|how (much|many)\b)"
)
_STATEMENT = re.compile(
    r"(?m)^[ \t]*(?:#include\s*[<\"]|(?:const|let|var)\s+\w+\s*=|(?:async\s+)?function\s+\w+\s*\("
    r"|(?:public|private|static)\s[^\n]*[{;][ \t]*$|SELECT\s[^;]{1,500}?\sFROM\s|[\w.]+\([^\n]*\);?[ \t]*$"
    r"|(?:for\s+\w+\s+in\s|while\s|if\s)[^\n]{0,100}[=<>(][^\n]{0,100}:[ \t]*$)"
)
_CODE_SIGN = re.compile(r"(?m)[{}=|\\^]|;[ \t]*$|\w\(|^[ \t]*lambda\b")
_ASKS_FOR_CODE = re.compile(
    r"(?i)\b(writ(e|es|ing)|implement|complete|generate|produce|give|return|output|translate|fix|debug|refactor)\b"
    r"[^.\n]{0,40}\b(code|functions?|scripts?|sql|regex|regular expressions?|shell|bash|python|javascript|typescript"
    r"|java|c\+\+|rust|html|css)(?!\w)"
)


def written(update: Any) -> dict[str, Any]:
    """The keys that an update writes, with their values; a bare value is written to LangGraph's root key."""
    if update is None:
        return {}
    if isinstance(update, _command()):
        return _pairs(update.update)
    if _is_batch(update):
        return {key: value for part in update for key, value in written(part).items()}
    if _is_keyed(update):
        return dict(update)
    if is_whole_state(update):
        return _written_fields(update)
    return {_ROOT: update}


def is_whole_state(update: Any) -> bool:
    """Tell whether a model or dataclass stands for a whole update, each field a key."""
    return (is_model(update) or is_dataclass(update)) and not is_messages(update) and not is_overwrite(update)


def _written_fields(update: Any) -> dict[str, Any]:
    """LangGraph writes a field unless it is None by default and was left so."""
    if is_dataclass(update):
        fields = dataclasses.fields(update)
        defaults = {f.name: None if f.default is None else _ROOT for f in fields}
        assigned: set[str] = set()
    else:
        defaults = {name: field.default for name, field in type(update).model_fields.items()}
        assigned = update.model_fields_set
    return {
        name: value
        for name, value in fields_of(update).items()
        if value is not None or defaults.get(name, _ROOT) is not None or name in assigned
    }


def _pairs(update: Any) -> dict[str, Any]:
    return dict(update) if _is_pairs(update) else written(update)


def _is_pairs(update: Any) -> bool:
    """LangGraph takes a `Command`'s update as (key, value) tuples too."""
    return isinstance(update, (list, tuple)) and all(
        isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) for item in update
    )


def _is_batch(update: Any) -> bool:
    """A list of updates: any `Command` makes it one; without, it takes dicts that are no messages."""
    if not isinstance(update, (list, tuple)) or not update or is_messages(update):
        return False
    if any(isinstance(part, _command()) for part in update):
        return True
    return any(part is not None for part in update) and all(
        part is None or (isinstance(part, Mapping) and not is_message(part)) for part in update
    )


def _is_keyed(update: Any) -> bool:
    """State keys are strings; a mapping with others is a bare value."""
    return isinstance(update, Mapping) and all(isinstance(key, str) for key in update)


def _command() -> Any:
    return loaded("langgraph.types", "Command")


def _cast(cast: Any, new: Any, old: Any, node: str, key: str) -> Any:
    try:
        return cast(new, old)
    except CastError as error:
        raise InjectionError(
            f"{_place(node)}, key {key!r}: {error}; give a text that fits, or a Raw value to inject a wrong type"
        ) from error


def _place(node: str) -> str:
    return f"Node {node!r}" if node else "The update"


def _put(old: Any, value: Any) -> Any:
    if is_overwrite(old):
        return dataclasses.replace(old, value=_put(old.value, value))
    if is_messages(old) and isinstance(value, str):
        return write_messages(old, value)
    if is_messages(old) and is_message(value):
        return replace_last(old, value)
    return value


def _replace(update: Any, values: dict[str, Any], node: str, *, check: bool = True) -> Any:
    """`update` with exactly `values` written."""
    if isinstance(update, _command()):
        return dataclasses.replace(update, update=_replace_pairs(update.update, values, node, check=check))
    if _is_batch(update):
        return _replace_in_batch(update, values, node, check=check)
    if _is_keyed(update):
        own = {key: values[key] for key in update if key in values}
        return {**own, **values}
    if is_whole_state(update):
        return _replace_fields(update, values, node, check=check)
    return values.get(_ROOT, update)


def _replace_pairs(update: Any, values: dict[str, Any], node: str, *, check: bool) -> Any:
    if not _is_pairs(update):
        return _replace(update, values, node, check=check)
    last = {key: index for index, (key, _) in enumerate(update)}
    kept = [
        (key, values[key] if last[key] == index else value)
        for index, (key, value) in enumerate(update)
        if key in values
    ]
    return type(update)([*kept, *((key, value) for key, value in values.items() if key not in last)])


def _replace_in_batch(update: Any, values: dict[str, Any], node: str, *, check: bool) -> Any:
    """Each value goes to the part that held it, a new key to the last part that wrote anything."""
    parts = [written(part) for part in update]
    holder = {key: index for index, keys in enumerate(parts) for key in keys}
    last = max(holder.values())
    changed = []
    for index, (part, keys) in enumerate(zip(update, parts, strict=True)):
        own = {key: values[key] if holder[key] == index else value for key, value in keys.items() if key in values}
        if index == last:
            own.update({key: value for key, value in values.items() if key not in holder})
        same = own.keys() == keys.keys() and all(own[key] is keys[key] for key in own)
        changed.append(part if same else _replace(part, own, node, check=check))
    return type(update)(changed)


def _replace_fields(update: Any, values: dict[str, Any], node: str, *, check: bool) -> Any:
    unwritten = {key: value for key, value in fields_of(update).items() if key not in _written_fields(update)}
    try:
        return rebuild(update, {**unwritten, **values}, check=check)
    except CastError as error:
        names = ", ".join(map(repr, values))
        raise InjectionError(
            f"{_place(node)}, key {names}: {error}; give values that its {type(update).__name__} takes"
        ) from error


def _calls_tools(value: Any) -> bool:
    if is_messages(value):
        return isinstance(read_messages(value), list)
    keys = written(value)
    return any(is_messages(v) and isinstance(read_messages(v), list) for v in keys.values())


def _is_code(text: str, directive: str) -> bool:
    if "```" in text or _STATEMENT.search(text) or _is_python(text):
        return True
    return bool(_CODE_SIGN.search(text) and _ASKS_FOR_CODE.search(directive))


def _is_python(text: str) -> bool:
    if not re.search(r"(?m)^[ \t]*(def|class|import|from|async def)\s", text):
        return False
    try:
        # escapes say nothing about the kind of text, and unknown ones would make the parser warn
        tree = ast.parse(re.sub(r"\\[^\n'\"]", "", text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)
    return any(isinstance(statement, kinds) for statement in tree.body)
