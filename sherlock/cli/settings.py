"""`[tool.sherlock]` in the nearest `pyproject.toml`: what stands there, checked."""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sherlock.cli.options import KINDS, Asked, plain_type, settable
from sherlock.errors import CasesError

_PATHS = ("cases", "store", "recordings", "output", "markdown", "analysis", "calibration", "plan")
_REFERENCES = ("graph", "scorer", "faults")
_FILE_REFERENCE = re.compile(r"[\w./-]+\.py:\w+")

AskedT = TypeVar("AskedT", bound=Asked)


class SettingsError(CasesError):
    """A setting, in a file or on the command line, is wrong."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Values by the names of the options; relative paths are relative to the working directory again.

    `values` hold for every command that has them, `tables` for the one command that they are named after.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file: Path | None = None

    def of(self, kind: type[Asked]) -> dict[str, Any]:
        """What the settings say to one command."""
        shared = {name: value for name, value in self.values.items() if name in _shared(kind)}
        return {**shared, **self.tables.get(kind.command, {})}


def asked(kind: type[AskedT], given: Mapping[str, Any], start: Path | None = None) -> AskedT:
    """What was asked for: what was given, then the settings found from the folder `start` up, then the defaults."""
    values = {**read_settings(start or Path.cwd()).of(kind), **given}
    if values.get("model") is not None and "concurrency" in settable(kind) and "concurrency" not in values:
        values["concurrency"] = 1  # its answers depend on what it was asked before, and it has one thread
    return kind(**values, given=frozenset(values))


def read_settings(start: Path) -> Settings:
    """The settings in the nearest `pyproject.toml`, from `start` up.

    Raises `SettingsError` for a file that is not TOML, an unknown key, or a value of the wrong type.
    """
    folders = [start, *start.parents]
    file = next((folder / "pyproject.toml" for folder in folders if (folder / "pyproject.toml").is_file()), None)
    if file is None:
        return Settings()
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{_shown(file)} cannot be read as TOML ({error}): mend it") from error
    tool = data.get("tool")
    table = tool.get("sherlock", {}) if isinstance(tool, dict) else {}
    if not isinstance(table, dict):
        raise SettingsError(f"{_shown(file)}: tool.sherlock is no table: write [tool.sherlock] and settings below it")
    commands = {kind.command: kind for kind in KINDS}
    own = {name: part for name, part in table.items() if name in commands and isinstance(part, dict)}
    shared = {key: value for key, value in table.items() if key not in own}
    return Settings(
        values=_read(shared, "[tool.sherlock]", _homes(KINDS), file),
        tables={name: _read(part, f"[tool.sherlock.{name}]", _own(commands[name]), file) for name, part in own.items()},
        file=file,
    )


def _read(table: Mapping[str, Any], where: str, homes: Mapping[str, type[Asked]], file: Path) -> dict[str, Any]:
    """The values of a table. `homes`: the keys that it may have, each with a command that has the option."""
    values = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in homes:
            near = difflib.get_close_matches(name, homes, n=1, cutoff=0.0)
            raise SettingsError(f"{_shown(file)}: {where} has an unknown key {key!r}: did you mean {near[0]!r}?")
        checked = _checked(homes[name], name, value, f"{_shown(file)}: {where} has {key} = {value!r}")
        values[name] = _located(name, checked, file.parent)
    return values


def _homes(kinds: Iterable[type[Asked]]) -> dict[str, type[Asked]]:
    found: dict[str, type[Asked]] = {}
    for kind in kinds:
        found = {**dict.fromkeys(_shared(kind), kind), **found}
    return found


def _own(kind: type[Asked]) -> dict[str, type[Asked]]:
    return dict.fromkeys(settable(kind), kind)


def _shared(kind: type[Asked]) -> list[str]:
    return [name for name in settable(kind) if name not in kind.apart]


def _checked(command: type[Asked], name: str, value: Any, said: str) -> Any:
    """The value with the type that the option has."""
    kind = plain_type(command, name)
    if name == "config" and isinstance(value, dict):
        return value
    forms = _FORMS.get(kind, _FORMS[dict])
    wanted = forms[-1][1]
    for fits, _, make in forms:
        if fits(value):
            return make(value)
    raise SettingsError(f"{said}: give {wanted}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_Form = tuple[Callable[[Any], bool], str, Callable[[Any], Any]]
_FORMS: dict[Any, list[_Form]] = {
    str: [(_is_text, "a text", str)],
    Path: [(_is_text, "a path", Path)],
    float: [(_is_number, "a number", float)],
    int: [(lambda value: _is_number(value) and isinstance(value, int), "a whole number", int)],
    bool: [(lambda value: isinstance(value, bool), "true or false", bool)],
    list[str]: [
        (_is_text, "", lambda value: [value]),
        (lambda value: isinstance(value, list) and all(map(_is_text, value)), "a text, or a list of texts", list),
    ],
    dict: [(lambda value: isinstance(value, dict), "a table", dict)],
}
"""For each type of option: what TOML has for it, what to call that, and how to convert it."""


def _located(name: str, value: Any, folder: Path) -> Any:
    """Paths in a file are meant from where the file is."""
    if folder == Path.cwd():
        return value
    if name in _PATHS:
        return value if value.is_absolute() else folder / value
    return _with_files_located(value, folder) if name in (*_REFERENCES, "verifiers") else value


def _with_files_located(value: Any, folder: Path) -> Any:
    """References such as `file.py:attr`, in the settings of verifiers too, and there what is called a file."""
    if isinstance(value, dict):
        return {
            key: str(folder / part)
            if key.endswith("_file") and isinstance(part, str)
            else _with_files_located(part, folder)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_with_files_located(part, folder) for part in value]
    if not isinstance(value, str) or not _FILE_REFERENCE.fullmatch(value) or Path(value).is_absolute():
        return value
    return f"{folder / value}"


def _shown(file: Path) -> str:
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)
