"""Which verifiers are meant: by name, as JSON, for one node only, or in the settings."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sherlock.cli.settings import SettingsError
from sherlock.errors import VerifierError

EVERYWHERE = None
EXAMPLE = """--verifier resolve, --verifier '{"use": "check", "regex": "[0-9]+"}', or --verifier NODE=resolve"""

Spec = str | Mapping[str, Any]


def tried(given: Sequence[str], table: Mapping[str, Any]) -> dict[str | None, list[Spec]]:
    """The verifiers to try at each node, by its name; under `EVERYWHERE` those for all other nodes.

    `given`: what the command line says; if it says nothing, all of `table` is tried. A name that stands in `table`
    means what it says there. What is for one node is tried there beside what is for every node.

    Raises `SettingsError` or a `VerifierError` for what is no verifier, before anything is run.
    """
    entries = {name: _entry(name, entry) for name, entry in table.items()}
    if given:
        asked = [(node, _meant(spec, table)) for node, spec in map(_read, given)]
    else:
        asked = [(node, spec) for nodes, spec in entries.values() for node in nodes]
    if not asked:
        raise SettingsError(f"no verifier given: say {EXAMPLE}, or list them under [tool.sherlock.verifiers]")
    for node, spec in asked:
        _check(node, spec)
    everywhere = [spec for node, spec in asked if node is EVERYWHERE]
    found: dict[str | None, list[Spec]] = {EVERYWHERE: everywhere}
    for node, spec in asked:
        if node is not EVERYWHERE:
            found.setdefault(node, list(everywhere)).append(spec)
    return {node: _distinct(specs) for node, specs in found.items() if specs}


def verifier_named(text: str, table: Mapping[str, Any]) -> Spec:
    """One verifier for no node in particular: a name, a name in `table`, or JSON. Raises as `tried` does."""
    node, spec = _read(text)
    if node is not EVERYWHERE:
        raise SettingsError(f"{text}: this is for every node, so name a verifier only")
    found = _meant(spec, table)
    _check(EVERYWHERE, found)
    return found


def _meant(spec: Spec, table: Mapping[str, Any]) -> Spec:
    """What a name stands for."""
    return _entry(spec, table[spec])[1] if isinstance(spec, str) and spec in table else spec


def _read(text: str) -> tuple[str | None, Spec]:
    """A node, or `EVERYWHERE`, and what is meant."""
    if text.lstrip().startswith("{"):
        return EVERYWHERE, _json(text)
    node, equals, rest = text.partition("={") if "={" in text else text.rpartition("=")
    if not equals:
        return EVERYWHERE, text.strip()
    if not node.strip() or not rest.strip():
        raise SettingsError(
            f"the verifier {text} lacks what belongs on both sides of =, a node and a verifier; say {EXAMPLE}"
        )
    return node.strip(), _json("{" + rest) if equals == "={" else rest.strip()


def _json(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"the verifier {text} is not JSON ({error}); say {EXAMPLE}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"the verifier {text} is no JSON object; say {EXAMPLE}")
    return found


def _entry(name: str, entry: Any) -> tuple[Sequence[str | None], Mapping[str, Any]]:
    """The nodes and the verifier that an entry of the table means."""
    if not isinstance(entry, Mapping):
        raise SettingsError(
            f"[tool.sherlock.verifiers] has {name} = {entry!r}: give a table of its settings, {{}} for none"
        )
    settings = dict(entry)
    if "nodes" not in settings:
        return [EVERYWHERE], {"use": name, **settings}
    nodes = settings.pop("nodes")
    nodes = [nodes] if isinstance(nodes, str) else nodes
    if not isinstance(nodes, list) or not nodes or not all(isinstance(node, str) for node in nodes):
        raise SettingsError(f"[tool.sherlock.verifiers] has {name}.nodes = {nodes!r}: give a list of names of nodes")
    return nodes, {"use": name, **settings}


def _check(node: str | None, spec: Spec) -> None:
    from sherlock.registry import make_verifier

    try:
        make_verifier(spec)
    except VerifierError as error:
        if node is EVERYWHERE:
            raise
        raise type(error)(f"at {node!r}: {error}") from error


def _distinct(specs: Sequence[Spec]) -> list[Spec]:
    seen: dict[str, Spec] = {}
    for spec in specs:
        whole = {"use": spec} if isinstance(spec, str) else spec
        seen.setdefault(json.dumps(whole, sort_keys=True, default=str), spec)
    return list(seen.values())
