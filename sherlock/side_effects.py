"""What a node does to the world: the `effects` decorator, and finding what was said about a node.

An analysis never executes an effect, and the runtime never executes an irreversible one on unverified input; both ask
`effect_of` what a node may do.
"""

import asyncio
import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast, get_args

from sherlock.callables import layers, steps
from sherlock.errors import GraphError

EffectKind = Literal["none", "idempotent", "compensable", "irreversible"]
KINDS: tuple[EffectKind, ...] = get_args(EffectKind)
"""From the weakest to the strongest."""

_MARK = "__sherlock_effects__"
_Marked = TypeVar("_Marked")


class EffectError(GraphError, ValueError):
    """An effect was declared that does not exist, or on something that cannot carry it."""


@dataclass(frozen=True, slots=True)
class EffectSpec:
    """What a node or tool does, and the functions that deal with it; each may be sync or async.

    `undo(inputs, output)` takes a `compensable` effect back; `reconcile(key, inputs)` returns the update of an effect
    that already happened, or None; `stub(inputs)` returns an update without any effect.
    Raises `EffectError` (a `ValueError` too) for an unknown kind.
    """

    kind: EffectKind
    undo: Callable[..., Any] | None = None
    reconcile: Callable[..., Any] | None = None
    stub: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            near = difflib.get_close_matches(str(self.kind), KINDS, n=1, cutoff=0.0)[0]
            raise EffectError(f"There is no kind of effect {self.kind!r}: use one of {', '.join(KINDS)} ({near!r}?).")


def effects(
    kind: EffectKind,
    *,
    undo: Callable[..., Any] | None = None,
    reconcile: Callable[..., Any] | None = None,
    stub: Callable[..., Any] | None = None,
) -> Callable[[_Marked], _Marked]:
    """Declare what a node's function, a callable class, or a langchain tool does; it is marked, not wrapped.

    Raises `EffectError` for an unknown kind, and for something that cannot be marked.
    """
    spec = EffectSpec(kind, undo, reconcile, stub)

    def mark(thing: _Marked) -> _Marked:
        if _is_tool(thing):
            tool = cast("Any", thing)
            said = (tool.metadata or {}).get("sherlock") or {}
            tool.metadata = {**(tool.metadata or {}), "sherlock": {**said, "effects": spec}}
            return thing
        try:
            setattr(thing, _MARK, spec)
        except (AttributeError, TypeError, ValueError) as error:
            raise EffectError(
                f"A {type(thing).__name__} cannot be marked: give its node "
                f"metadata={{'sherlock': {{'effects': {kind!r}}}}} instead."
            ) from error
        return thing

    return mark


def effect_of(node: Any) -> EffectSpec | None:
    """What a node (LangGraph's `PregelNode` or node spec) was declared to do; None when nothing was said.

    The node's metadata come first, then the function, class or partial behind it, then its parts if it is a sequence
    (the strongest counts). A `ToolNode` does what the strongest of its tools does, and a tool that says nothing is
    irreversible; what its tools say one by one is in `tool_effects`.
    """
    said = _from_metadata(getattr(node, "metadata", None))
    return said or _of_runnable(getattr(node, "bound", None) or getattr(node, "runnable", None))


def tool_effects(node: Any) -> dict[str, EffectSpec]:
    """What each tool of a `ToolNode` does, by tool name; empty for any other node."""
    runnable = getattr(node, "bound", None) or getattr(node, "runnable", None)
    tools = getattr(runnable, "tools_by_name", None)
    if not isinstance(tools, Mapping):
        return {}
    return {name: _of_tool(tool) or EffectSpec("irreversible") for name, tool in tools.items()}


async def called(function: Callable[..., Any], *arguments: Any) -> Any:
    """What an effect's function returns: one that is not a coroutine function is called in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(*arguments)
    made = await asyncio.to_thread(function, *arguments)
    return await made if inspect.isawaitable(made) else made


def strongest(specs: list[EffectSpec]) -> EffectSpec | None:
    """The strongest of several effects; its functions are kept only where it stands alone."""
    if len(specs) < 2:
        return specs[0] if specs else None
    return EffectSpec(max((spec.kind for spec in specs), key=KINDS.index))


def _of_runnable(runnable: Any) -> EffectSpec | None:
    for layer in layers(runnable):
        mark = getattr(layer, _MARK, None)
        if isinstance(mark, EffectSpec):
            return mark
        if isinstance(getattr(layer, "tools_by_name", None), Mapping):
            return _of_tools(layer)
        if parts := steps(layer):
            return strongest([spec for part in parts if (spec := _of_runnable(part)) is not None])
    return None


def _of_tools(tool_node: Any) -> EffectSpec:
    specs = [_of_tool(tool) or EffectSpec("irreversible") for tool in tool_node.tools_by_name.values()]
    # A tool's functions take the tool's arguments, not the node's input, so they are not the node's.
    kinds = [spec.kind for spec in specs]
    return EffectSpec(max(kinds, key=KINDS.index, default="none"))


def _of_tool(tool: Any) -> EffectSpec | None:
    return _from_metadata(getattr(tool, "metadata", None)) or _of_runnable(tool)


def _from_metadata(metadata: Any) -> EffectSpec | None:
    said = metadata.get("sherlock") if isinstance(metadata, Mapping) else None
    if not isinstance(said, Mapping) or said.get("effects") is None:
        return None
    kind = said["effects"]
    if isinstance(kind, EffectSpec):
        return kind
    return EffectSpec(kind, said.get("undo"), said.get("reconcile"), said.get("stub"))


def _is_tool(thing: object) -> bool:
    # Told by its shape: importing langchain-core for this would make `import sherlock` slow.
    return hasattr(thing, "args_schema") and hasattr(thing, "metadata") and not isinstance(thing, type)
