"""Test cases: what goes in, what should come out, and how they are read from JSON Lines."""

import dataclasses
import difflib
import enum
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sherlock.errors import CasesError


@dataclass(frozen=True, slots=True)
class Case:
    """One input of the workflow, with what is known about the right answer.

    `inputs` is what the graph is invoked with; a list means successive turns on one thread. `references` maps
    node names to gold text for that node's output. `resume` answers the case's interrupts, in order. A field
    of the wrong type is a `CasesError`.
    """

    inputs: Any
    expected: Any = None
    references: Mapping[str, str] | None = None
    id: str | None = None
    tags: Sequence[str] = ()
    config: Mapping[str, Any] | None = None
    context: Any = None
    resume: Sequence[Any] = field(default=())

    def __post_init__(self) -> None:
        if self.id is not None and not (isinstance(self.id, str) and self.id):
            raise CasesError(f"`id` is {self.id!r}: give a text that is not empty, or leave it out")
        if self.references is not None and not _is_text_mapping(self.references):
            shown = _short(self.references)
            raise CasesError(f"`references` is {shown}: give an object of node names to gold texts")
        if not _is_list(self.tags) or not all(isinstance(tag, str) for tag in self.tags):
            raise CasesError(f"`tags` is {_short(self.tags)}: give a list of texts")
        if self.config is not None and not isinstance(self.config, Mapping):
            raise CasesError(f"`config` is {_short(self.config)}: give an object")
        if not _is_list(self.resume):
            raise CasesError(f"`resume` is {_short(self.resume)}: give a list, one answer per interrupt")


FIELDS = tuple(spec.name for spec in dataclasses.fields(Case))


def read_cases(source: str | Path | Iterable[Case | Mapping[str, Any]]) -> list[Case]:
    """Read cases from a JSON Lines file, or from an iterable of `Case` or of objects with a case's fields.

    Every case comes back with an id: its own, else its line number (its position, for an iterable) as text. A
    byte order mark and blank lines are skipped. Whatever is wrong is a `CasesError` of one sentence that
    names the place.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        cases = [_numbered(_line(text, place), place, number) for number, place, text in _lines(path)]
        empty = f"{path}: no case in the file, write one JSON object with `inputs` per line"
    elif isinstance(source, Case | Mapping):
        raise CasesError(f"cases is a single {type(source).__name__}: give a list or the path of a file")
    elif isinstance(source, Iterable):
        cases = [_numbered(item, f"case {number}", number) for number, item in enumerate(source, 1)]
        empty = "cases: there is none, give at least one `Case(inputs=...)`"
    else:
        raise CasesError(f"cases is {_short(source)}: give a list of cases or the path of a JSON Lines file")
    if not cases:
        raise CasesError(empty)
    _refuse_duplicates(cases, str(source) if isinstance(source, str | os.PathLike) else "cases")
    return [case for _, case in cases]


def write_cases(path: str | Path, cases: Iterable[Case]) -> None:
    """Write cases as JSON Lines, whole or not at all; fields that are at their default are left out.

    Messages are written as role and content, pydantic models and dataclasses as objects. A value that has no
    JSON form is a `CasesError` that names the case and the field.
    """
    lines = [_dump(case, position) for position, case in enumerate(cases, 1)]
    target = Path(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise CasesError(f"{target}: cannot be written ({error.strerror}), choose another folder") from error
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def case_key(case: Case) -> str:
    """A hash of everything in the case, equal in every process as long as the case is unchanged.

    The id counts, because a scorer may look at it. Values that are not JSON are hashed by type and content;
    memory addresses never count.
    """
    return digest({name: getattr(case, name) for name in FIELDS})


def digest(value: Any) -> str:
    """A hash of any value that is the same in every process: 32 hexadecimal digits."""
    text = json.dumps(_canonical(value, ()), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


# Reading


def _lines(path: Path) -> Iterator[tuple[int, str, str]]:
    """Number, place and text of each line that is not blank."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise CasesError(f"{path}: there is no such file, check the path of the cases") from error
    except OSError as error:
        raise CasesError(f"{path}: cannot be read ({error.strerror}), give a JSON Lines file") from error
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        place = f"{path}, line {number}"
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            byte = line[error.start]
            raise CasesError(f"{place}: byte 0x{byte:02x} is not UTF-8, save the file as UTF-8") from error
        if text:
            yield number, place, text


def _line(text: str, place: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        cure = "write one whole JSON object per line"
        raise CasesError(f"{place}: not JSON ({error.msg} at column {error.colno}), {cure}") from error
    except (ValueError, RecursionError) as error:
        raise CasesError(f"{place}: not JSON that can be read ({error}), write plain values") from error
    if not isinstance(value, Mapping):
        raise CasesError(f"{place}: {_short(value)} is not an object, write one object with `inputs` per line")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _numbered(item: Case | Mapping[str, Any], place: str, number: int) -> tuple[str, Case]:
    """The case at a place, with its id filled in."""
    if isinstance(item, Mapping):
        case = _from_mapping(item, place)
    elif isinstance(item, Case):
        case = item
    else:
        raise CasesError(f"{place}: {_short(item)} is no case, give `Case(inputs=...)`")
    if case.inputs is None or (isinstance(case.inputs, list) and not case.inputs):
        raise CasesError(f"{place}: `inputs` is {case.inputs!r}, give what the graph is invoked with")
    return place, case if case.id is not None else dataclasses.replace(case, id=str(number))


def _from_mapping(record: Mapping[str, Any], place: str) -> Case:
    for name in record:
        if name not in FIELDS:
            near = difflib.get_close_matches(str(name), FIELDS, n=1)
            cure = f"did you mean `{near[0]}`?" if near else f"a case has {', '.join(FIELDS)}"
            raise CasesError(f"{place}: unknown field `{name}`, {cure}")
    if "inputs" not in record:
        raise CasesError(f"{place}: no `inputs`, give what the graph is invoked with")
    given = {name: value for name, value in record.items() if value is not None or name == "inputs"}
    if isinstance(given.get("id"), int) and not isinstance(given["id"], bool):
        given["id"] = str(given["id"])
    try:
        return Case(**given)
    except CasesError as error:
        raise CasesError(f"{place}: {error}") from None


def _refuse_duplicates(cases: Sequence[tuple[str, Case]], source: str) -> None:
    seen: dict[str | None, str] = {}
    for place, case in cases:
        if case.id in seen:
            where = f"{seen[case.id].removeprefix(f'{source}, ')} and {place.removeprefix(f'{source}, ')}"
            raise CasesError(f"{source}: {where} have the same id {case.id!r}, give each its own")
        seen[case.id] = place


def _is_text_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(text, str) for pair in value.items() for text in pair)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


# Writing


def _dump(case: Case, position: int) -> str:
    record = {}
    for name in FIELDS:
        value = getattr(case, name)
        at_default = value is None or (name in {"tags", "resume"} and not len(value))
        if not at_default or name == "inputs":
            record[name] = _json_ready(value, f"case {case.id or position}: `{name}`")
    return json.dumps(record, ensure_ascii=False) + "\n"


def _json_ready(value: Any, place: str) -> Any:
    value = opened(value)
    if isinstance(value, float) and value - value != 0:
        raise CasesError(f"{place} holds {value!r}, which JSON cannot hold: use a text or leave it out")
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise CasesError(f"{place} has a key that is not text, which JSON cannot hold: use texts as keys")
        return {key: _json_ready(item, place) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(item, place) for item in value]
    raise CasesError(f"{place} holds a {type(value).__name__}, which has no JSON form: use plain values")


def opened(value: Any) -> Any:
    """A message, pydantic model, dataclass or enum as the plain value it stands for; others as they are."""
    messages = sys.modules.get("langchain_core.messages")
    if messages is not None and isinstance(value, messages.BaseMessage):
        return messages.convert_to_openai_messages(value)
    if isinstance(value, enum.Enum):
        return value.value
    if hasattr(type(value), "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {spec.name: getattr(value, spec.name) for spec in dataclasses.fields(value)}
    return value


# Hashing

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def _canonical(value: Any, above: tuple[int, ...]) -> Any:
    """A JSON tree that stands for the value; `above` holds the ids of what is around it, against cycles."""
    if value is None or type(value) in {bool, str, int}:
        return value
    if id(value) in above:
        return ["cycle", len(above) - above.index(id(value))]
    above = (*above, id(value))
    if isinstance(value, Mapping):
        items = [[_canonical(key, above), _canonical(item, above)] for key, item in value.items()]
        return ["mapping", *sorted(items, key=json.dumps)]
    if isinstance(value, list | tuple):
        return ["list", *(_canonical(item, above) for item in value)]
    if isinstance(value, AbstractSet):
        return ["set", *sorted((_canonical(item, above) for item in value), key=json.dumps)]
    return [f"{type(value).__module__}.{type(value).__qualname__}", _content(value, above)]


def _content(value: Any, above: tuple[int, ...]) -> Any:
    """What an object holds: its fields where it has some, else its text without memory addresses."""
    if isinstance(value, type) or hasattr(value, "__code__"):
        return f"{value.__module__}.{value.__qualname__}"
    if dataclasses.is_dataclass(value):
        fields = {spec.name: getattr(value, spec.name) for spec in dataclasses.fields(value)}
        return _canonical(fields, above)
    if hasattr(type(value), "model_fields"):
        return _canonical({**vars(value), **(value.model_extra or {})}, above)
    if hasattr(value, "__dict__") and "object at 0x" in repr(value):
        return _canonical(vars(value), above)
    if hasattr(value, "tolist"):  # an array's text leaves out its middle
        return _canonical(value.tolist(), above)
    return _ADDRESS.sub("", repr(value))
