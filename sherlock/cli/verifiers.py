"""`sherlock verifiers`: what is installed, what it does, what can be set."""

import difflib
import inspect
import json
from typing import TYPE_CHECKING, Any

from sherlock.cli import console
from sherlock.errors import VerifierNotFound

if TYPE_CHECKING:
    from sherlock.registry import Info


def show(name: str | None, *, as_json: bool) -> None:
    """Print all verifiers, or all about one.

    Raises `VerifierNotFound` for a name that is not installed, and `VerifierError` for one that cannot be used.
    """
    from sherlock.registry import verifiers

    installed = verifiers()
    if name is not None and name not in installed:
        near = difflib.get_close_matches(name, installed, n=1, cutoff=0.0)
        raise VerifierNotFound(f"there is no verifier {name!r}{f': did you mean {near[0]!r}?' if near else ''}")
    found = [_row(info) for info in installed.values()] if name is None else _details(installed[name])
    if as_json:
        console.print_json(json.dumps(found, indent=1, ensure_ascii=False))
        return
    from sherlock.report.terminal_lists import print_verifier, print_verifiers

    if isinstance(found, list):
        print_verifiers(found, console.for_results())
    else:
        print_verifier(found, console.for_results())


def _row(info: "Info") -> dict[str, Any]:
    return {
        "name": info.name,
        "summary": info.summary,
        "settings": {key: _default(value) for key, value in info.settings.items()},
        "package": info.package,
        "reference": info.reference,
        "error": info.error,
    }


def _details(info: "Info") -> dict[str, Any]:
    """With its whole documentation; raises for one that cannot be used, as whoever named it must be told."""
    made = info.load()
    return {**_row(info), "documentation": inspect.getdoc(made) or ""}


def _default(value: Any) -> dict[str, Any]:
    """A default as JSON: the value, or what it looks like."""
    if value is inspect.Parameter.empty:
        return {"required": True}
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return {"required": False, "default": repr(value)}
    return {"required": False, "default": value}
