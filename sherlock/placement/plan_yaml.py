"""YAML that people edit: read with the line of every key, written with a comment above every block.

Only plain data are read: the scalars of YAML's core schema, no tags, no aliases, every key a text and given once. So
`no` is a text, `1e-3` a number, and a file cannot run code or blow up.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from sherlock.errors import PlanError

Path = tuple[str | int, ...]

_STR, _MAP, _SEQ = "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"
_SCALARS = (
    ("null", re.compile(r"(?:~|null|)$"), ["~", "n", ""]),
    ("bool", re.compile(r"(?:true|false)$"), ["t", "f"]),
    ("int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789")),
    ("float", re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"), list("-+.0123456789")),
)


class _Loader(yaml.SafeLoader):
    """Knows the core schema only."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (PyYAML's own way)


class _Dumper(yaml.SafeDumper):
    """Quotes what this schema or that of YAML 1.1 would take for something other than text."""


class Flow(dict[str, Any]):
    """A mapping that is written on one line."""


for _name, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, _first)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """PyYAML loses the rarer line breaks unless they are escaped."""
    return dumper.represent_scalar(_STR, text, style='"' if re.search("[\x85\u2028\u2029\ufeff]", text) else None)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(Flow, lambda dumper, data: dumper.represent_mapping(_MAP, data.items(), flow_style=True))


@dataclass(slots=True)
class Document:
    """The data of a file, and where it stands: the line of every key, by the path of keys to it."""

    source: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of the key at `path`, or of the nearest above it that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def error(self, path: Path, words: str) -> PlanError:
        """An error that names file and line."""
        return PlanError(f"{self.source}, line {self.line(path)}: {words}")


def read(text: str, source: str) -> Document:
    """Read a mapping. Raises `PlanError` that names the line for what is not plain YAML."""
    document = Document(source)
    try:
        node = yaml.compose(_without_aliases(text, source), Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise PlanError(f"{source}, line {line}: this is not YAML ({error.problem}); mend it by hand") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise PlanError(f"{source} is not YAML ({type(error).__name__}); make the plan again") from error
    if not isinstance(node, yaml.MappingNode):
        raise PlanError(f"{source} holds no keys; it is no plan, so make one with `sherlock plan`")
    data = _value(document, node, ())
    document.data.update(data)
    return document


def write(blocks: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Blocks of keys, each with the comment that stands above it; lines of a comment as given."""
    parts = []
    for comment, block in blocks:
        above = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
        below = yaml.dump(dict(block), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110) if block else ""
        parts.append(above + below)
    return "\n".join(parts)


def _without_aliases(text: str, source: str) -> str:
    """Aliases could make a small file endless; a plan has no use for them."""
    for token in yaml.scan(text, Loader=_Loader):
        if isinstance(token, yaml.AliasToken | yaml.AnchorToken):
            raise PlanError(
                f"{source}, line {token.start_mark.line + 1}: anchors and aliases are not allowed; repeat it"
            )
    return text


def _value(document: Document, node: yaml.Node, path: Path) -> Any:
    if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
        return _mapping(document, node, path)
    if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
        return [_value(document, item, _located(document, item, (*path, n))) for n, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode):
        kind = node.tag.rpartition(":")[2]
        if node.tag == _STR:
            return node.value
        if node.tag.startswith("tag:yaml.org,2002:") and kind in _READ:
            return _scalar(document, node, kind)
    raise PlanError(f"{document.source}, line {_line(node)}: the tag {node.tag!r} is not allowed; write plain values")


def _mapping(document: Document, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise PlanError(f"{document.source}, line {_line(key)}: a key must be a plain text")
        name, where = key.value, _shown(path)
        if name in found:
            first = document.lines[*path, name]
            raise PlanError(
                f"{document.source}, line {_line(key)}: {name!r} stands twice{where}, first on line {first}; keep one"
            )
        found[name] = _value(document, value, _located(document, key, (*path, name)))
    return found


def _located(document: Document, node: yaml.Node, path: Path) -> Path:
    document.lines[path] = _line(node)
    return path


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _shown(path: Path) -> str:
    return f" under {'.'.join(map(str, path))!r}" if path else ""


def _scalar(document: Document, node: yaml.ScalarNode, kind: str) -> Any:
    try:
        return _READ[kind](node.value)
    except ValueError as error:
        raise PlanError(f"{document.source}, line {_line(node)}: {node.value[:40]!r} is no {kind}") from error


_READ: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda text: text == "true",
    "int": int,
    "float": float,
}
