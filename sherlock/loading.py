"""Loads what a user names: `file.py:attr`, `package.module:attr`, or a graph's name in `langgraph.json`.

`load_object` imports; `opened_graph` turns whatever the user calls a graph (a reference, a builder, a compiled graph, a
factory) into a compiled graph. Everything that goes wrong is one sentence that names the place and the cure.
"""

import contextlib
import difflib
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sherlock.blame import blame
from sherlock.callables import called_name
from sherlock.errors import CasesError, GraphError, SherlockError
from sherlock.factories import compiled_graph

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

_importing = threading.RLock()


def load_object(reference: str, *, what: str) -> Any:
    """Import what `reference` names; `what` ("graph", "scorer", ...) is what messages call it.

    A file is imported once, with its folder importable, as a module that `inspect` and `pydantic` can find; a file
    inside a package as part of that package. A `package.module` is looked for in the working directory first. A name
    without a colon is a graph of `langgraph.json` in the working directory; that file's `env` and its local
    `dependencies` are taken into account, and variables that are already set win. Two files of one name in different
    folders are two modules, but what they import by one name is shared, as always in Python.

    Raises `GraphError` for a graph and `CasesError` for anything else.
    """
    with _importing:
        return _Loader(what).load(reference)


@contextlib.asynccontextmanager
async def opened_graph(
    graph: Any, config: Mapping[str, Any] | None = None
) -> "AsyncIterator[CompiledStateGraph[Any, Any, Any, Any]]":
    """The compiled graph behind `graph`, open until the block ends.

    `graph`: a reference as for `load_object`; a `StateGraph` builder (compiled without arguments); a compiled graph; or
    a factory: a function, async function or (async) context manager, with no parameter, a config, or a LangGraph
    server runtime. What was given is not changed.

    Raises `GraphError` when it is something else, an `@entrypoint` or remote graph included, and when it raises.
    """
    async with contextlib.AsyncExitStack() as stack:
        if isinstance(graph, str):
            name, thing = f"The graph {graph!r}", load_object(graph, what="graph")
        else:
            named = callable(graph) and not isinstance(graph, type)
            name, thing = f"The graph {called_name(graph)!r}" if named else "The graph", graph
        yield await compiled_graph(thing, name=name, config=config, stack=stack)


@dataclass(frozen=True, slots=True)
class _Loader:
    """`what` decides how things are called in messages, and the type of error."""

    what: str

    def load(self, reference: str) -> Any:
        place, colon, attribute = reference.rpartition(":")
        if not colon and self.what == "graph" and not reference.endswith(".py"):
            return self.load(self.listed(reference))
        if not place or not attribute or attribute.endswith(".py"):
            example = f"{reference}:{self.what}" if reference.endswith(".py") else f"file.py:{self.what}"
            raise self.error(f"The {self.what} {reference!r} names no attribute: write it as {example!r}.")
        module = self.file(Path(place)) if _is_file(place) else self.module(place)
        return self.attribute(module, place, attribute)

    def attribute(self, module: ModuleType, place: str, attribute: str) -> Any:
        value: Any = module
        for part in attribute.split("."):
            if not hasattr(value, part):
                names = [name for name in vars(value) if not name.startswith("_")] if hasattr(value, "__dict__") else []
                raise self.error(f"{place} has no attribute {attribute!r}{_did_you_mean(part, names)}.")
            value = getattr(value, part)
        return value

    def file(self, path: Path) -> ModuleType:
        path = path.expanduser().resolve()
        if not path.is_file():
            siblings = [other.name for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
            raise self.error(f"There is no file {str(path)!r}{_did_you_mean(path.name, siblings)}.")
        for module in list(sys.modules.values()):
            if _comes_from(module, path):
                return module
        root, dotted = _package_of(path)
        if dotted is not None:
            _make_importable(root)
            return self.run(lambda: importlib.import_module(dotted), str(path))
        name = path.stem if _is_free(path) else _own_name(path)
        _make_importable(root)
        return self.run(lambda: _executed(path, name), str(path))

    def module(self, name: str) -> ModuleType:
        _make_importable(Path.cwd())
        return self.run(lambda: importlib.import_module(name), name)

    def run(self, load: Callable[[], ModuleType], place: str) -> ModuleType:
        try:
            return load()
        except SherlockError:
            raise
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and f"{place}.".startswith(f"{error.name}."):
                raise self.no_module(place) from error
            raise self.error(f"Importing {place!r} failed: {blame(error)}.") from error

    def no_module(self, name: str) -> SherlockError:
        here = Path.cwd()
        hint = _did_you_mean(name, [path.stem for path in here.glob("*.py")])
        return self.error(f"There is no module {name!r} in {str(here)!r} or among the installed packages{hint}.")

    def listed(self, name: str) -> str:
        """The reference that `langgraph.json` gives for a graph's name, its environment prepared."""
        path = Path.cwd() / "langgraph.json"
        if not path.is_file():
            raise self.error(
                f"The graph {name!r} is neither 'file.py:attribute' nor 'package.module:attribute', "
                f"and there is no langgraph.json in {str(path.parent)!r} that could list it."
            )
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise self.error(f"{str(path)!r} is not JSON: {error}.") from error
        graphs = settings.get("graphs") if isinstance(settings, dict) else None
        if not isinstance(graphs, dict) or name not in graphs:
            names = list(graphs) if isinstance(graphs, dict) else []
            raise self.error(f"{str(path)!r} lists no graph {name!r}{_did_you_mean(name, names)}.")
        entry = graphs[name]
        reference = entry.get("path") if isinstance(entry, dict) else entry
        if not isinstance(reference, str) or ":" not in reference:
            raise self.error(f"{str(path)!r} gives {entry!r} for the graph {name!r}: it should be 'file.py:attribute'.")
        self.prepare(settings, path)
        return reference

    def prepare(self, settings: Mapping[str, Any], path: Path) -> None:
        """Make the local dependencies importable and set the variables of `env`, as LangGraph's server does."""
        for dependency in settings.get("dependencies") or []:
            folder = path.parent / str(dependency)
            if str(dependency).startswith(".") and folder.is_dir():
                _make_importable(folder.resolve())
        env = settings.get("env") or {}
        if isinstance(env, str):
            from dotenv import dotenv_values

            if not (path.parent / env).is_file():
                raise self.error(f"{str(path)!r} names the env file {env!r}, which does not exist: create or drop it.")
            env = dotenv_values(path.parent / env)
        for variable, value in env.items():
            if value is not None:
                os.environ.setdefault(variable, str(value))

    @property
    def error(self) -> type[SherlockError]:
        return GraphError if self.what == "graph" else CasesError


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or os.sep in place


def _comes_from(module: Any, path: Path) -> bool:
    file = getattr(module, "__file__", None)
    spec = getattr(module, "__spec__", None)
    if not isinstance(file, str) or Path(file).name != path.name or getattr(spec, "_initializing", False):
        return False
    return getattr(module, "__name__", "") != "__main__" and Path(file).resolve() == path


def _package_of(path: Path) -> tuple[Path, str | None]:
    """The folder to import from, and the dotted name if the file lies in a package."""
    folder, parts = path.parent, [] if path.stem == "__init__" else [path.stem]
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts) if folder != path.parent else None


def _is_free(path: Path) -> bool:
    """A file called `json.py`, or like one from another folder, must not stand in for that module."""
    if not path.stem.isidentifier() or path.stem in sys.modules:
        return False
    spec = importlib.util.find_spec(path.stem)
    return spec is None or (spec.origin is not None and Path(spec.origin).resolve() == path)


def _own_name(path: Path) -> str:
    plain = "".join(letter if letter.isalnum() else "_" for letter in path.stem)
    return f"{plain}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"


def _executed(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
    return f" (did you mean {near[0]!r}?)" if near else ""
