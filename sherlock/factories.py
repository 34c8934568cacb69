"""Turns whatever a user calls a graph into a compiled graph: builders, factories, context managers."""

import contextlib
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sherlock.blame import blame
from sherlock.errors import GraphError, SherlockError
from sherlock.wiring import compiled, inner_graph

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

_CONFIG, _RUNTIME = "config", "runtime"
_NAME_ONE = "no graph: name a StateGraph, a compiled graph, or a factory that returns one"


async def compiled_graph(
    thing: Any, *, name: str, config: Mapping[str, Any] | None, stack: contextlib.AsyncExitStack
) -> "CompiledStateGraph[Any, Any, Any, Any]":
    """Compile, call or enter `thing` until it is a compiled graph; what was entered is left to `stack` to close.

    Raises `GraphError`, in one sentence that starts with `name`, when that leads nowhere or raises.
    """
    from langgraph.graph import StateGraph

    # A factory may be a function that returns a context manager that gives a builder.
    for _ in range(3):
        if (graph := inner_graph(thing)) is not None:
            return graph
        if isinstance(thing, StateGraph):
            return compiled(thing)
        if cure := _no_graph(thing):
            raise GraphError(f"{name} {cure}.")
        try:
            thing = await _next(thing, name, config or {}, stack)
        except SherlockError:
            raise
        except (Exception, SystemExit) as error:
            raise GraphError(f"{name} raised when it was called for the graph: {blame(error)}.") from error
    raise GraphError(f"{name} gives a {type(thing).__name__} in the end: let it return a graph.")


async def _next(thing: Any, name: str, config: Mapping[str, Any], stack: contextlib.AsyncExitStack) -> Any:
    if hasattr(type(thing), "__aenter__"):
        return await stack.enter_async_context(thing)
    if hasattr(type(thing), "__enter__"):
        return stack.enter_context(thing)
    made = thing(**_arguments(thing, name, config))
    return await made if inspect.isawaitable(made) else made


def _no_graph(thing: Any) -> str | None:
    """What is wrong with something that can be neither compiled, called nor entered, and what to do."""
    from langchain_core.runnables import Runnable
    from langgraph.pregel import Pregel
    from langgraph.pregel.protocol import PregelProtocol

    kind = type(thing).__name__
    if inspect.iscoroutine(thing):
        thing.close()  # or Python warns that it was never awaited
    can_open = any(hasattr(thing, method) for method in ("__aenter__", "__enter__"))
    wrong = [
        (isinstance(thing, Pregel), "is an @entrypoint function: write it as a StateGraph, whose steps have names"),
        (isinstance(thing, PregelProtocol), f"is a {kind}, which runs elsewhere: pass the graph where its code is"),
        (isinstance(thing, Runnable), f"is a {kind}, no graph: add it to a StateGraph as a node, and pass that"),
        (inspect.iscoroutine(thing), "is a coroutine, no graph: pass the async function without calling it"),
        (inspect.isgenerator(thing), "is a plain generator: decorate its function with contextlib.contextmanager"),
        (inspect.isasyncgen(thing), "is a plain generator: decorate its function with contextlib.asynccontextmanager"),
        (isinstance(thing, type) and not can_open, f"is the class {getattr(thing, '__name__', '')}, {_NAME_ONE}"),
        (not can_open and not callable(thing), f"is of type {kind}, {_NAME_ONE}"),
    ]
    return next((cure for is_so, cure in wrong if is_so), None)


def _arguments(factory: Callable[..., Any], name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A factory takes nothing, a config, a server runtime, or both; by annotation, else by name, else a config."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # some built-in callables tell nothing
        return {}
    given: dict[str, Any] = {}
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        wanted = _wanted(parameter)
        if wanted is None and parameter.default is not parameter.empty:
            continue
        wanted = wanted or _CONFIG
        if wanted in given.values() or parameter.kind is parameter.POSITIONAL_ONLY:
            raise GraphError(
                f"{name} takes the parameter {parameter.name!r}, which nobody can give: "
                "a factory takes no parameter, a config, or a runtime."
            )
        given[parameter.name] = wanted
    return {key: dict(config) if wanted == _CONFIG else _runtime() for key, wanted in given.items()}


def _wanted(parameter: inspect.Parameter) -> str | None:
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    if "Runtime" in text or "Runtime" in str(annotation) or parameter.name == _RUNTIME:
        return _RUNTIME
    return _CONFIG if "RunnableConfig" in text or parameter.name == _CONFIG else None


def _runtime() -> Any:
    """The runtime that LangGraph's server gives a factory when it is about to run the graph."""
    from typing import get_args, get_origin

    from langgraph.store.memory import InMemoryStore
    from langgraph_sdk.runtime import ServerRuntime

    executing = get_args(ServerRuntime.__value__)[0]
    return (get_origin(executing) or executing)(access_context="threads.create_run", store=InMemoryStore())
