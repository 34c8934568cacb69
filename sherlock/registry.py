"""Verifiers by name: those that installed packages offer under the entry point group `sherlock.verifiers`.

An entry point is a class, or a function that returns a verifier; its keyword arguments are the verifier's settings.
"""

import dataclasses
import difflib
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sherlock.blame import blame
from sherlock.errors import SherlockError, VerifierError, VerifierNotFound
from sherlock.verifier import Verifier

GROUP = "sherlock.verifiers"

_MARK = "__sherlock_spec__"
_REQUIRED: Any = inspect.Parameter.empty
# For verifiers that take no new attribute; held on to, or another object could come to have the same id.
_unmarked: dict[int, tuple[Any, dict[str, Any]]] = {}


@dataclass(frozen=True)
class Info:
    """An installed verifier. It is imported when something but its name, package and reference is asked for."""

    name: str
    package: str
    reference: str
    _points: tuple[EntryPoint, ...] = dataclasses.field(repr=False, compare=False)

    @cached_property
    def error(self) -> str | None:
        """Why the verifier cannot be used, in one sentence; None when it can."""
        try:
            self.load()
        except VerifierError as error:
            return str(error)
        return None

    @cached_property
    def summary(self) -> str:
        """The first line of its docstring; "" without one, or when it cannot be used."""
        text = "" if self.error else inspect.getdoc(self.load()) or ""
        return text.partition("\n")[0]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its settings and their defaults; a setting that must be given has `inspect.Parameter.empty`."""
        return {} if self.error else {name: p.default for name, p in _parameters(self.load()).items()}

    def load(self) -> Callable[..., Verifier]:
        """The class or function behind the name. Raises `VerifierError` when it cannot be had."""
        if len(self._points) > 1:
            raise VerifierError(
                f"the verifier {self.name!r} is offered by {self.package}: uninstall all of these but one"
            )
        try:
            found = self._points[0].load()
        except (Exception, SystemExit) as error:
            raise VerifierError(
                f"the verifier {self.name!r} of {self.package} cannot be imported: {blame(error)}"
            ) from error
        if not callable(found):
            raise VerifierError(
                f"the verifier {self.name!r} of {self.package} is a {type(found).__name__}: "
                "its entry point must name a class or a function"
            )
        made: Callable[..., Verifier] = found
        return made


def verifiers() -> Mapping[str, Info]:
    """The installed verifiers by name, in order of name. Nothing of theirs is imported yet."""
    points: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        others = points.setdefault(point.name, [])
        if point.value not in [other.value for other in others]:
            others.append(point)
    return {
        name: Info(
            name=name,
            package=" and ".join(sorted(_package(point) for point in found)),
            reference=found[0].value,
            _points=tuple(found),
        )
        for name, found in sorted(points.items())
    }


def make_verifier(spec: "str | Mapping[str, Any] | Verifier") -> Verifier:
    """The verifier that `spec` asks for: a name, `{"use": name, **settings}`, or a verifier, returned as it is.

    Raises `VerifierNotFound` for a name that is not installed, and `VerifierError` for a verifier that cannot be
    imported and for settings that it does not have or cannot take.
    """
    if isinstance(spec, str):
        return _made(spec, {})
    if isinstance(spec, Mapping):
        settings = dict(spec)
        name = settings.pop("use", None)
        if not isinstance(name, str):
            raise VerifierError(f'{spec!r:.120} names no verifier: write it as {{"use": name, ...settings}}')
        return _made(name, settings)
    return _checked(spec, f"{spec!r:.80}")


def settings_of(verifier: Verifier) -> dict[str, Any]:
    """The spec that a verifier was made from by name, `{"use": name, **settings}`, as JSON has it.

    Raises `VerifierError` for a verifier that was not made from a name, and for settings that JSON cannot hold.
    """
    spec = getattr(verifier, _MARK, None) or _unmarked.get(id(verifier), (None, None))[1]
    name = str(getattr(verifier, "name", type(verifier).__name__))
    if spec is None:
        raise VerifierError(
            f"the verifier {name!r} was not made from a name, so it cannot be saved: "
            f"offer its class as an entry point of {GROUP!r} and use its name"
        )
    try:
        found: dict[str, Any] = json.loads(json.dumps(spec, allow_nan=False))
    except (TypeError, ValueError) as error:
        wrong = [key for key, value in spec.items() if not _is_json(value)]
        raise VerifierError(
            f"the setting {', '.join(map(repr, wrong))} of the verifier {name!r} cannot be saved: give it as text, "
            "a number, or a list or mapping of these"
        ) from error
    return found


def _made(name: str, settings: dict[str, Any]) -> Verifier:
    installed = verifiers()
    if name not in installed:
        raise VerifierNotFound(f"there is no verifier {name!r}{_did_you_mean(name, installed)}")
    make = installed[name].load()
    given = _fitted(name, make, settings)
    try:
        verifier = make(**given)
    except SherlockError as error:
        raise VerifierError(f"the verifier {name!r} cannot be made: {error}") from error
    except Exception as error:
        raise VerifierError(f"the verifier {name!r} cannot be made with {settings!r}: {error}") from error
    verifier = _checked(verifier, f"what the verifier {name!r} makes, {verifier!r:.60},")
    spec = {"use": name, **settings}
    try:
        object.__setattr__(verifier, _MARK, spec)
    except (AttributeError, TypeError):
        _unmarked[id(verifier)] = (verifier, spec)
    return verifier


def _checked(thing: Any, words: str) -> Verifier:
    if isinstance(thing, type):
        raise VerifierError(f"{words} is a class: give an instance of it")
    if not isinstance(getattr(thing, "name", None), str) or not callable(getattr(thing, "verify", None)):
        raise VerifierError(f"{words} is no verifier: it needs a `name` and an async method `verify(subject)`")
    verifier: Verifier = thing
    return verifier


def _fitted(name: str, make: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, each checked against the constructor's parameter of its name."""
    parameters = _parameters(make)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in _signature(make))
    hints = _hints(make)
    given = {}
    for key, value in settings.items():
        if key not in parameters and not open_ended:
            raise VerifierError(f"the verifier {name!r} has no setting {key!r}{_did_you_mean(key, parameters)}")
        given[key] = _cast(name, key, value, hints.get(key, Any))
    missing = [key for key, p in parameters.items() if p.default is _REQUIRED and key not in given]
    if missing:
        raise VerifierError(f"the verifier {name!r} needs the setting {missing[0]!r}: give it one")
    return given


def _cast(verifier: str, key: str, value: Any, hint: Any) -> Any:
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # pydantic's own types bring their own configuration
        adapter = TypeAdapter(hint)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        words = error.errors()[0]["msg"].replace("Input ", "it ", 1)
        raise VerifierError(
            f"the verifier {verifier!r} cannot take {value!r:.60} for its setting {key!r}: {words}"
        ) from error


def _signature(make: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    try:
        return inspect.signature(make).parameters.values()
    except (TypeError, ValueError):  # some built-in callables tell nothing
        return ()


def _parameters(make: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p for p in _signature(make) if p.kind in kinds}


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    """The parameters' types; none where they cannot be told, and the constructor is left to check."""
    made_by = make.__init__ if isinstance(make, type) and not dataclasses.is_dataclass(make) else make  # type: ignore[misc]
    try:
        return typing.get_type_hints(made_by)
    except (NameError, TypeError, AttributeError):
        return {}


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    return f": did you mean {near[0]!r}?" if near else ""
