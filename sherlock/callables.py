"""What stands behind a runnable: the partials, methods, wrappers and functions that a node or tool is made of."""

import functools
import inspect
from collections.abc import Iterator
from types import FunctionType


def layers(thing: object) -> Iterator[object]:
    """Everything that runs when `thing` is called, outermost first: runnable, partial, method, wrapper, function.

    A runnable's synchronous and asynchronous function both appear; steps of a sequence do not (see `steps`).
    """
    seen: set[int] = set()
    waiting = [thing]
    while waiting:
        layer = waiting.pop(0)
        if layer is None or id(layer) in seen:
            continue
        seen.add(id(layer))
        yield layer
        waiting.extend(_beneath(layer))


def functions(thing: object) -> list[FunctionType]:
    """The plain functions among the layers of `thing`."""
    return [layer for layer in layers(thing) if isinstance(layer, FunctionType)]


def steps(thing: object) -> list[object]:
    """The parts of a sequence (`a | b`) or of a parallel runnable; none for anything else."""
    by_name = getattr(thing, "steps__", None)
    if isinstance(by_name, dict):
        return list(by_name.values())
    parts = getattr(thing, "steps", None)
    return list(parts) if isinstance(parts, list | tuple) else []


def called_name(thing: object) -> str:
    """A name for messages: the function's, else the type's."""
    for layer in layers(thing):
        name = getattr(layer, "__qualname__", None)
        if isinstance(name, str) and not isinstance(layer, type):
            return name.replace(".<locals>", "")
    return type(thing).__name__


def _beneath(layer: object) -> list[object]:
    if isinstance(layer, functools.partial):
        return [layer.func]
    if inspect.ismethod(layer):
        return [layer.__func__]
    if isinstance(layer, FunctionType):
        wrapped = getattr(layer, "__wrapped__", None)
        return [wrapped] if callable(wrapped) else []
    if isinstance(layer, type) or inspect.isbuiltin(layer):
        return []
    held = [part for name in ("bound", "func") if _is_code(part := _attribute(layer, name))]
    # LangGraph gives a synchronous function an asynchronous twin that only calls it in a thread.
    twins = [part for name in ("afunc", "coroutine") if _is_code(part := _attribute(layer, name))]
    held += [twin for twin in twins if not hasattr(twin, "__wrapped__")]
    if held:
        return held
    method = getattr(type(layer), "__call__", None)  # noqa: B004 - the method itself is wanted
    return [method] if inspect.isfunction(method) else []


def _is_code(thing: object) -> bool:
    return callable(thing) or hasattr(thing, "ainvoke")


def _attribute(owner: object, name: str) -> object:
    # langchain-core raises AttributeError, or worse, from some of these properties.
    try:
        return getattr(owner, name, None)
    except (TypeError, ValueError, NotImplementedError):
        return None
