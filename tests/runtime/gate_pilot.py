"""Flies a graph through a gate as the runtime does, with rollbacks at given steps; and compares what savers hold.

`guarded(...)` runs a real compiled graph in attempts. `committed_line(...)` is all that a saver holds of a thread, ids
and times apart, so that the lines of two runs can be compared.
"""

import asyncio
import copy
import re
from collections.abc import Sequence
from typing import Any

from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.types import Interrupt, Send

from sherlock.runtime.gate import Gate

CONFIG: dict[str, Any] = {"configurable": {"thread_id": "1"}}


class Flight:
    """One run. `back`: pairs of a superstep and the one to roll back to when it has ended, each done once.

    A superstep commits when `lag` more have ended. `watch(gate, step)` is awaited before each decision.
    """

    def __init__(self, graph, base, *, durability="sync", back=(), lag=1, watch=None, config=CONFIG):
        self.graph, self.config = graph, config
        self.back = list(back)
        self.lag = lag
        self.watch = watch
        self.gate = Gate(base, durability=durability, config=config, on_step=self._on_step)
        self._turn: asyncio.Event | None = None
        self._step_back: int | None = None
        self.attempts = 0

    async def _on_step(self, step):
        if self.watch:
            await self.watch(self.gate, step)
        if self.back and step == self.back[0][0]:
            self._step_back = self.back.pop(0)[1]
            turn, self._turn = self._turn, asyncio.Event()
            self._released = asyncio.Event()
            turn.set()
            await self._released.wait()
        else:
            await self.gate.commit(step - self.lag)

    async def run(self, value, **options):
        """The run's result; what LangGraph raises, it raises."""
        saved = await self.gate.load()
        await self._prepare(saved)
        config = self.config
        while True:
            self._turn = asyncio.Event()
            view = self.gate.view()
            attempt = asyncio.ensure_future(self._attempt(view, value, config, options))
            turn = asyncio.ensure_future(self._turn.wait())
            await asyncio.wait([attempt, turn], return_when=asyncio.FIRST_COMPLETED)
            if not turn.done():
                turn.cancel()
                view.close()
                return await self._landed(attempt)
            attempt.cancel()
            view.close()
            self._released.set()
            await asyncio.wait([attempt])
            if not attempt.cancelled():
                attempt.exception()
            self.gate.rollback(self._step_back)
            value, config = None, CONFIG

    async def _prepare(self, saved):
        """For tests that have something to do between loading and the first attempt."""

    async def _attempt(self, view, value, config, options):
        self.attempts += 1
        twin = copy.copy(self.graph)
        twin.checkpointer = view
        return await twin.ainvoke(value, config, durability="sync", **options)

    async def _landed(self, attempt):
        if attempt.exception() is not None:
            await self.gate.finish()
            raise attempt.exception()
        await self.gate.finish()
        return attempt.result()


async def guarded(graph, base, value, **options):
    """The result of one guarded run."""
    return await Flight(graph, base, **options).run(value)


def with_saver(graph, saver):
    """The same graph, unguarded, on this saver."""
    twin = copy.copy(graph)
    twin.checkpointer = saver
    return twin


async def everything(saver, thread="1"):
    """Every checkpoint of the thread, newest first."""
    config = {"configurable": {"thread_id": thread}}
    try:
        return [saved async for saved in saver.alist(config)]
    except NotImplementedError:
        return list(saver.list(config))


async def committed_line(saver, thread="1") -> list[Any]:
    """All that the saver holds, ids and times apart, in an order that does not depend on them."""
    found = await everything(saver, thread)
    steps = {saved.checkpoint["id"]: saved.metadata["step"] for saved in found}
    return sorted((_described(saved, steps) for saved in found), key=repr)


def _described(saved, steps):
    parent = (saved.parent_config or {"configurable": {}})["configurable"].get("checkpoint_id")
    checkpoint = saved.checkpoint
    return {
        "ns": without_ids(saved.config["configurable"].get("checkpoint_ns", "")),
        "step": saved.metadata["step"],
        "source": saved.metadata.get("source"),
        "parent": steps.get(parent, "gone") if parent else None,
        "parents": {
            without_ids(ns): steps.get(checkpoint_id, "gone")
            for ns, checkpoint_id in (saved.metadata.get("parents") or {}).items()
        },
        "values": {channel: plain(value) for channel, value in sorted(checkpoint["channel_values"].items())},
        "versions": {channel: _number(version) for channel, version in sorted(checkpoint["channel_versions"].items())},
        "seen": {
            node: {channel: _number(version) for channel, version in sorted(seen.items())}
            # An attempt after the first resumes, and LangGraph notes for breakpoints what there was then.
            for node, seen in sorted(checkpoint["versions_seen"].items())
            if node != INTERRUPT
        },
        "pending": sorted((channel, repr(plain(value))) for _, channel, value in saved.pending_writes or ()),
    }


def history(states) -> list[Any]:
    """A state history, ids and times apart."""
    return [
        {
            "values": plain(state.values),
            "next": state.next,
            "metadata": {name: state.metadata.get(name) for name in ("source", "step")},
            "has_parent": state.parent_config is not None,
            "tasks": [
                (task.name, plain(task.path), plain(task.result), repr(task.error), plain(task.interrupts))
                for task in state.tasks
            ],
            "interrupts": plain(state.interrupts),
        }
        for state in states
    ]


def plain(value: Any) -> Any:
    """A value without the ids in it."""
    if isinstance(value, Interrupt):
        return ("interrupt", plain(value.value))
    if isinstance(value, Send):
        return ("send", value.node, plain(value.arg))
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, str):
        return without_ids(value)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(inner) for inner in value]
    if isinstance(value, BaseException):
        return repr(value)
    return value


def without_ids(text: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "id", text)


def _number(version: Any) -> int:
    return int(str(version).split(".")[0])
