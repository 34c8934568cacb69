"""Takes a case through a graph: its turns on a fresh thread, one after another, its answers to whoever interrupts."""

import copy
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Interrupt

from sherlock.cases import Case
from sherlock.interpose.overlay import OverlayStore

_INTERRUPT = "__interrupt__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """How a case went: what the graph returned, the seconds of all its invocations, and the interrupt it stopped at."""

    output: Any
    seconds: float
    unanswered: str | None = None


async def drive(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    case: Case,
    *,
    config: Mapping[str, Any] | None = None,
    context: Any = None,
) -> Driven:
    """Run `case` on a copy of `graph` that leaves no trace: checkpoints and store writes are gone with it.

    Answers come from `case.resume`, in order; breakpoints are passed. Raises what the graph raises.
    """
    turns = list(case.inputs) if isinstance(case.inputs, list) else [case.inputs]
    twin = traceless(graph, saves=len(turns) > 1 or bool(case.resume))
    settings = config_of(case, config or {}, thread=str(uuid.uuid4()))
    context = case.context if case.context is not None else context
    return await converse(twin, turns, case.resume, settings, context=context)


async def converse(
    graph: CompiledStateGraph[Any, Any, Any, Any],
    turns: Sequence[Any],
    answers: Sequence[Any],
    config: Any,
    *,
    context: Any = None,
) -> Driven:
    """Invoke `graph` with each of `turns`, on the thread of `config`, answering its interrupts."""
    waiting, left, seconds = list(turns), list(answers), 0.0
    value = _own(waiting.pop(0))
    while True:
        began = time.perf_counter()
        output = await graph.ainvoke(value, config, context=context)
        seconds += time.perf_counter() - began
        pending = await _pending(graph, config, output)
        if pending is None and not waiting:
            return Driven(output=output, seconds=seconds)
        if pending is None:
            value = _own(waiting.pop(0))
        elif len(pending) > len(left) or not graph.checkpointer:
            asked = str(pending[0].value) if pending else "a breakpoint"
            return Driven(output=output, seconds=seconds, unanswered=asked)
        else:
            given = {interrupt.id: _own(left.pop(0)) for interrupt in pending}
            value = Command(resume=given) if given else None


def traceless(
    graph: CompiledStateGraph[Any, Any, Any, Any], *, saves: bool = False
) -> CompiledStateGraph[Any, Any, Any, Any]:
    """A copy of a graph whose runs are seen by nothing else: no cache, a checkpointer and a store of its own.

    It has a checkpointer where `graph` has one, and where `saves` asks for it.
    """
    twin = copy.copy(graph)
    twin.cache = None
    twin.checkpointer = InMemorySaver() if saves or graph.checkpointer else None
    if graph.store is not None:
        twin.store = OverlayStore(graph.store)
    return twin


async def _pending(
    graph: CompiledStateGraph[Any, Any, Any, Any], config: Any, output: Any
) -> Sequence[Interrupt] | None:
    """What waits for an answer: nothing at a breakpoint; None where the graph has come to its end."""
    shown = output.get(_INTERRUPT) if isinstance(output, Mapping) else None
    if not graph.checkpointer:
        return shown
    state = await graph.aget_state(config)
    return state.interrupts if state.interrupts or state.next else None


def config_of(case: Case, base: Mapping[str, Any], *, thread: str) -> Any:
    """The config of a case, its own parts before those of `base`, on the thread `thread`."""
    own = case.config or {}
    merged: dict[str, Any] = {**base, **own}
    for part in ("configurable", "metadata"):
        merged[part] = {**(base.get(part) or {}), **(own.get(part) or {})}
    merged["configurable"]["thread_id"] = thread
    return merged


def _own(value: Any) -> Any:
    """A copy, so that a node that changes what it was given does not change the case; else the value itself."""
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001  (clients, locks, generators: anything may refuse to be copied)
        return value
