"""Puts a plan into a file that is pleasant to read, and reads one that was edited, naming the line of every slip."""

import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

from pydantic import BaseModel, ValidationError

from sherlock.errors import GraphError, PlanError
from sherlock.graph import WorkflowGraph
from sherlock.placement import plan_yaml
from sherlock.placement.plan_yaml import Document, Flow

if TYPE_CHECKING:
    from sherlock.placement.plan import Plan

PlanT = TypeVar("PlanT", bound="Plan")

_BLOCKS: Mapping[tuple[str, ...], str] = {
    ("placements",): """\
What Sherlock verifies in this graph. Edit it by hand: `sherlock plan` makes a new one, `sherlock validate`
measures this one.

One block for each node that is verified; take a block out, and that node is not.
on_reject: correct (the verifier's answer flows on) | retry (the node runs again) | flag | raise""",
    ("expectation",): """\
What this does to a run, on average, and how that is known. Dollars, watt-hours, tokens and calls are what
verification adds; latency is until the last verdict. What is not here is not known.""",
    ("objective", "slo"): "What was asked for: limits on one run, and what to make best within them.",
    ("policy",): """\
How it is run. mode: speculate | blocking | auto; budget: dollars of wasted work per run; max_depth;
max_rollbacks; on_limit: raise | flag; verifier_timeout_s; max_verifiers_in_flight;
on_failure: closed | open; stream: hold | mark. What is left out has its default.""",
    ("rejected",): "What was not taken.",
    ("notes",): "Worth knowing.",
    ("kind", "schema_version", "fingerprint", "nodes", "graph"): """\
For the runtime: which graph this is for, and what its nodes take. Leave it as it is.""",
}
_ALWAYS = ("placements", "policy")
_ON_ONE_LINE = {"expected", "score", "gain", "wh", "latency_s", "execution_s", "blocking_s", "graph"}


def text_of(plan: "Plan") -> str:
    """The file's text: blocks in a fixed order, placements by name, each block with its comment."""
    data = plan.model_dump(mode="json", exclude_none=True)
    for node, placement in plan.placements.items():
        data["placements"][node]["settings"] = placement.settings  # with those that are None
    data["placements"] = {node: _without_empty(data["placements"][node]) for node in sorted(data["placements"])}
    data["rejected"] = [Flow(each) for each in data["rejected"]]
    data["nodes"] = {name: Flow(figures) for name, figures in data["nodes"].items()}
    blocks = []
    for keys, comment in _BLOCKS.items():
        block = {key: _folded(key, data[key]) for key in keys if key in _ALWAYS or data.get(key)}
        if block:
            blocks.append((comment, block))
    return plan_yaml.write(blocks)


def save(text: str, target: Path) -> None:
    """Write a file whole: it is renamed into place."""
    scratch = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(target)
    except OSError as error:
        raise PlanError(f"cannot write {str(target)!r}: {error.strerror}; choose another path") from error


def load(kind: type[PlanT], path: Path) -> PlanT:
    """Read a plan; see `Plan.load`."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PlanError(f"{str(path)!r} is not text in UTF-8; make the plan again") from error
    except OSError as error:
        raise PlanError(f"cannot read {str(path)!r}: {error.strerror}; check the path") from error
    document = plan_yaml.read(text, str(path))
    _check_header(document)
    try:
        plan = kind.model_validate({key: value for key, value in document.data.items() if value is not None})
    except ValidationError as error:
        raise _mistake(kind, document, error) from error
    _check_names(document)
    return plan


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?`, nothing if there is nothing to mean."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.0)
    return f"; did you mean {near[0]!r}?" if near else ""


def no_such_node(node: str, graph: WorkflowGraph) -> str:
    """What is wrong with the name of a node that has to be one that is run."""
    if node in graph.handlers:
        return f"{node!r}, an error handler, whose output nothing verifies; take it out"
    inside = [name for name in graph.nodes if node in graph.containers and name.startswith(f"{node}/")]
    if inside:
        return f"{node!r}, a subgraph, whose nodes are placed one by one; did you mean {inside[0]!r}?"
    return f"{node!r}, which is no node of the graph{nearest(node, set(graph.nodes) - set(graph.handlers))}"


def _check_header(document: Document) -> None:
    kind, version = document.data.get("kind", "plan"), document.data.get("schema_version", 1)
    if kind != "plan":
        raise document.error(("kind",), f"this holds {kind!r}, not a plan; make one with `sherlock plan`")
    if version != 1:
        raise document.error(
            ("schema_version",),
            f"schema version {version!r} is not 1, which this library reads; "
            "install the version of sherlock-langgraph that wrote it, or plan again",
        )


def _check_names(document: Document) -> None:
    """Verifiers must be installed, nodes be in the graph that the file describes. Nothing of theirs is imported."""
    from sherlock.registry import verifiers

    installed = verifiers()
    graph = _graph(document)
    for node, placement in (document.data.get("placements") or {}).items():
        name = placement["verifier"]
        if name not in installed:
            words = f"there is no verifier {name!r} for {node!r}{nearest(name, installed)}"
            raise document.error(("placements", node, "verifier"), words)
        if graph is not None and (node not in graph.nodes or node in graph.handlers):
            raise document.error(("placements", node), f"placements has {no_such_node(node, graph)}")


def _graph(document: Document) -> WorkflowGraph | None:
    if document.data.get("graph") is None:
        return None
    try:
        return WorkflowGraph.from_description(document.data["graph"])
    except GraphError as error:
        raise document.error(("graph",), f"{error}") from error


def _mistake(kind: type[BaseModel], document: Document, error: ValidationError) -> PlanError:
    """One mistake of a file in words: unknown keys before missing ones, which they often are, and then by line."""
    found = min(error.errors(), key=lambda each: (each["type"] == "missing", document.line(each["loc"])))
    path = found["loc"]
    where = ".".join(map(str, path[:-1])) or "the plan"
    if found["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _keys(_kind_at(kind, path[:-1]))
        return document.error(path, f"{where} has an unknown key {path[-1]!r}{nearest(str(path[-1]), known)}")
    if found["type"] == "missing":
        return document.error(path[:-1], f"{where} has no {path[-1]!r}; add it")
    shown = [part for place, part in enumerate(path) if _stands(document.data, path[: place + 1])]
    words = found["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if (named := (*path, words.partition(" ")[0])) in document.lines:  # an SLO's own words begin with the key
        return document.error(named, words)
    given = repr(found["input"])
    given = given if len(given) <= 40 else f"{given[:39]}…"
    return document.error(path, f"{'.'.join(map(str, shown))} is {given}: {words[:1].lower()}{words[1:]}")


def _stands(data: Any, path: tuple[str | int, ...]) -> bool:
    """Whether a path of pydantic's leads to something in the file; it also names the members of unions."""
    for part in path:
        if isinstance(data, Mapping) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int):
            data = data[part]
        else:
            return False
    return True


def _kind_at(kind: Any, path: tuple[str | int, ...]) -> Any:
    """The type that a model has at a path."""
    for part in path:
        kind = _plain(kind)
        members = _members(kind)
        if part in members:
            kind = members[str(part)]
        elif typing.get_args(kind):
            kind = typing.get_args(kind)[-1 if typing.get_origin(kind) is dict else 0]
    return _plain(kind)


def _plain(kind: Any) -> Any:
    """A type without its annotation, and without the None that it may be."""
    while typing.get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
    return kind


def _members(kind: Any) -> dict[str, Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return typing.get_type_hints(kind) if hasattr(kind, "__annotations__") else {}


def _keys(kind: Any) -> list[str]:
    return [name for name in _members(kind) if not name.startswith("_")]


def _without_empty(placement: dict[str, Any]) -> dict[str, Any]:
    return {key: _folded(key, value) for key, value in placement.items() if value != {}}


def _folded(key: str, value: Any) -> Any:
    """Figures on one line each."""
    if not isinstance(value, dict):
        return value
    if key == "expected":
        return {name: _folded(name, figure) for name, figure in value.items()}
    if key in _ON_ONE_LINE:
        return Flow(value)
    return {name: _folded(name, inner) for name, inner in value.items()} if key == "expectation" else value
