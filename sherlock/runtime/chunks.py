"""The stream of a guarded run: which superstep a chunk belongs to, and which chunks may be given out.

A chunk is held until its superstep is committed, and dropped when that is rolled back. What an execution streams by
itself (messages, custom data, tool calls) is kept with it, because LangGraph does not say it again when the execution
is repeated from its record.
"""

import copy
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

BY_EXECUTIONS = frozenset({"messages", "custom", "tools"})
"""Stream modes whose chunks come from within a node, not from LangGraph's loop."""

Namespace = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Form:
    """How the caller wants chunks: as LangGraph's `stream_mode`, `subgraphs` and `version` have it."""

    stream_mode: Any
    subgraphs: bool
    version: str

    @property
    def modes(self) -> frozenset[str]:
        return frozenset([self.stream_mode] if isinstance(self.stream_mode, str) else self.stream_mode)

    def read(self, chunk: Any) -> tuple[Namespace, str, Any]:
        """Namespace, mode and payload of a chunk in this form."""
        if self.version == "v2":
            return chunk["ns"], chunk["type"], chunk["data"]
        if isinstance(self.stream_mode, list):
            return chunk if self.subgraphs else ((), *chunk)
        mode = self.stream_mode if isinstance(self.stream_mode, str) else ""
        return (chunk[0], mode, chunk[1]) if self.subgraphs else ((), mode, chunk)

    def write(self, ns: Namespace, mode: str, payload: Any) -> Any:
        """A chunk in this form."""
        if self.version == "v2":
            return {"type": mode, "ns": ns, "data": payload}
        if isinstance(self.stream_mode, list):
            return (ns, mode, payload) if self.subgraphs else (mode, payload)
        return (ns, payload) if self.subgraphs else payload


@dataclass(slots=True)
class Held:
    """Chunks in the order in which they came, each with its superstep; `released` are ready to be given out.

    With `marks` they are given out at once, and what waits is their positions in the stream.
    """

    marks: bool = False
    waiting: deque[tuple[int, Any]] = field(default_factory=deque)
    released: deque[Any] = field(default_factory=deque)
    given: int = 0

    def put(self, step: int, chunk: Any, committed: int) -> int | None:
        """Take in a chunk of superstep `step`. Return its position if it is given out before it is final."""
        if self.marks:
            position, self.given = self.given, self.given + 1
            self.released.append(chunk)
            if step <= committed:
                return None
            self.waiting.append((step, position))
            return position
        if step <= committed and not self.waiting:
            self.released.append(chunk)
        else:
            self.waiting.append((step, chunk))
        return None

    def commit(self, step: int) -> tuple[int, ...]:
        """Release everything up to superstep `step`. Return the positions of what was given out already."""
        final = [item for at, item in self.waiting if at <= step]
        self.waiting = deque(item for item in self.waiting if item[0] > step)
        if self.marks:
            return tuple(final)
        self.released.extend(final)
        return ()

    def roll_back(self, step: int) -> tuple[int, ...]:
        """Drop everything from superstep `step` on. Return the positions of what was given out already."""
        gone = [item for at, item in self.waiting if at >= step]
        self.waiting = deque(item for item in self.waiting if item[0] < step)
        return tuple(gone) if self.marks else ()


def step_of(mode: str, payload: Any, ns: Namespace, *, ended: int, begun: int, task_steps: Mapping[str, int]) -> int:
    """The superstep of a chunk from LangGraph's loop; `ended` was the last to end, `begun` the last to begin.

    What a loop reports when a superstep ends comes out at the beginning of the next, before any node of that begins;
    only what it reports of the nodes that are about to run is of the next.
    What a subgraph reports belongs to the task that runs it.
    """
    if ns:
        return task_steps.get(ns[0].rpartition(":")[2], begun)
    if mode == "messages":
        return int(payload[1].get("langgraph_step", begun))
    kind = payload.get("type") if mode == "debug" else mode
    if kind == "task" or (kind == "tasks" and "result" not in payload):
        return ended + 1
    return max(ended, begun)


def redirected(config: Any, sink: Callable[[Namespace, str, Any], None]) -> None:
    """Let what the execution with this config streams by itself go to `sink`; the config is changed in place."""
    from langchain_core.callbacks import BaseCallbackManager

    manager = config.get("callbacks")
    if isinstance(manager, BaseCallbackManager):
        manager = manager.copy()
        for name in ("handlers", "inheritable_handlers"):
            setattr(manager, name, [_redirected(handler, sink) for handler in getattr(manager, name)])
        config["callbacks"] = manager


def seen_already(config: Any, chunks: Sequence[tuple[Namespace, str, Any]]) -> None:
    """Have LangGraph not report messages that an earlier copy of the execution has streamed."""
    from langgraph.pregel._messages import StreamMessagesHandler

    ids = {payload[0].id for _, mode, payload in chunks if mode == "messages"}
    for handler in getattr(config.get("callbacks"), "handlers", ()):
        if isinstance(handler, StreamMessagesHandler):
            handler.seen.update(ids)


def is_own_stream(handler: Any) -> bool:
    """Whether it is one of LangGraph's own handlers, which carry out a stream mode."""
    return hasattr(handler, "stream") and type(handler).__module__.startswith("langgraph.")


def _redirected(handler: Any, sink: Callable[[Namespace, str, Any], None]) -> Any:
    if not is_own_stream(handler):
        return handler
    twin = copy.copy(handler)
    twin.stream = lambda chunk: sink(*chunk)
    return twin
