"""`[tool.sherlock]` in the nearest `pyproject.toml`: what stands there, checked."""

import difflib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sherlock.cli.options import SETTABLE, Asked, plain_type
from sherlock.errors import CasesError

_PATHS = ("cases", "store", "recordings", "output", "markdown")
_REFERENCES = ("graph", "scorer", "faults")


class SettingsError(CasesError):
    """A setting, in a file or on the command line, is wrong."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Values by the names of `Asked`; relative paths are relative to the working directory again."""

    values: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None


def asked(given: Mapping[str, Any], start: Path | None = None) -> Asked:
    """What was asked for: what was given, then the settings found from the folder `start` up, then the defaults."""
    values = {**read_settings(start or Path.cwd()).values, **given}
    if values.get("model") is not None and "concurrency" not in values:
        values["concurrency"] = 1  # its answers depend on what it was asked before, and it has one thread
    return Asked(**values, given=frozenset(values))


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
    values = {}
    for key, value in table.items():
        name = _known(key, file)
        values[name] = _located(name, _checked(name, key, value, file), file.parent)
    return Settings(values, file)


def _known(key: str, file: Path) -> str:
    name = key.replace("-", "_")
    if name in SETTABLE:
        return name
    near = difflib.get_close_matches(name, SETTABLE, n=1, cutoff=0.0)
    raise SettingsError(f"{_shown(file)}: [tool.sherlock] has an unknown key {key!r}: did you mean {near[0]!r}?")


def _checked(name: str, key: str, value: Any, file: Path) -> Any:
    """The value with the type that the option has."""
    kind = plain_type(name)
    if name == "config" and isinstance(value, dict):
        return value
    forms = _FORMS.get(kind, _FORMS[dict])
    wanted = forms[-1][1]
    for fits, _, make in forms:
        if fits(value):
            return make(value)
    raise SettingsError(f"{_shown(file)}: [tool.sherlock] has {key} = {value!r}: give {wanted}")


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
    if name in _REFERENCES and isinstance(value, str):
        place, colon, attribute = value.rpartition(":")
        is_file = place.endswith(".py") and not Path(place).is_absolute()
        return f"{folder / place}{colon}{attribute}" if is_file else value
    return value


def _shown(file: Path) -> str:
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)
