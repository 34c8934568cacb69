"""The commit-gated saver: what is not verified stays in memory, what commits is stored in order, once.

It stands in front of the user's checkpointer for one guarded run. Crash-safety rests on one sentence: *at any instant
the user's saver holds a prefix of the committed line of each namespace*. Only committed entries become due; due ones
are stored one at a time, in the order in which LangGraph put them, each after its predecessor is stored, and none after
a failure; an entry is stored exactly as LangGraph gave it, with its own id and its parent's. So whatever LangGraph
finds when it resumes the thread after a crash is a state that an unguarded run would have left, made of verified
parts. (With `durability="exit"` the line is that of its last checkpoints, and the same holds of it.)

A rollback forgets what is not due. The next attempt then resumes from the head, as after a crash, with no checkpoint
written for it: history is the committed line, and superstep numbers never shift.

Where it differs from a saver without a gate: with `exit`, a graph with a `DeltaChannel` has its whole line stored at
the end, for the channel's value is a sum over it. A superstep that was half done when the run began, and whose
checkpoint is not yet stored, gives a `DeltaChannel` the writes of the earlier run first after a rollback, whatever the
order of the tasks. Values are held by reference until they are stored, containers apart: a node that changes what it
was given changes what is stored.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    CheckpointTuple,
)

from sherlock.errors import SpeculationError
from sherlock.interpose.checkpoints import key_of
from sherlock.runtime.gate_base import Base
from sherlock.runtime.gate_entries import CheckpointPut, Entry, WritesPut, squash
from sherlock.runtime.gate_marks import VERIFIED, mark_id
from sherlock.runtime.gate_memory import BEFORE_ALL, Memory
from sherlock.runtime.gate_view import GateView

Durability = Literal["sync", "async", "exit"]
OnStep = Callable[[int], Awaitable[None]]
OnInnerStep = Callable[[int, str], Awaitable[None]]


class Gate:
    """One run's line of checkpoints in front of `base`, or alone in memory where there is none.

    Every entry belongs to a root superstep: a checkpoint of the outermost graph to its own, the writes on it to the
    next, an entry of a subgraph to the one in progress. `on_step` is awaited after each checkpoint of the outermost
    graph is in memory; the outermost graph goes no further until it returns. `on_inner_step`, where there is one, is
    awaited likewise for subgraphs, with the subgraph's own superstep and its namespace, unless they run in a thread.
    Both must return, or raise, when the attempt is cancelled: LangGraph waits for its saves.

    `verified_tasks` are the ids of tasks whose output has been verified: where their writes are stored and no later
    checkpoint with them, a mark is stored beside them.

    A store that fails makes every later call raise its error; with `async` the first one that comes.
    """

    def __init__(
        self,
        base: BaseCheckpointSaver[Any] | None,
        *,
        durability: Durability,
        config: RunnableConfig,
        on_step: OnStep,
    ) -> None:
        self.base = Base(base) if base is not None else None
        self.on_step = on_step
        self.on_inner_step: OnInnerStep | None = None
        self.verified_tasks: set[str] = set()
        self._durability = durability
        self._config = _root_config(config)
        self.memory = Memory(key_of(self._config), has_base=base is not None)
        self._due: deque[Entry] = deque()
        self._storing: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._marked: set[str] = set()
        self._started = False
        self._start: CheckpointTuple | None = None

    @property
    def committed(self) -> int:
        """The last root superstep that is committed; -2 on a new thread. With `async` its storing may lag behind."""
        return self.memory.committed

    def view(self) -> GateView:
        """A checkpointer for one attempt; close it before the next one begins."""
        return GateView(self)

    async def load(self) -> CheckpointTuple | None:
        """The checkpoint the run starts from: the one its config asks for, else the thread's latest. Read once."""
        if not self._started and self.base is not None:
            self._start = await self.base.get_tuple(self._config)
            self.memory.begin(self._start, is_latest=await self._is_latest(self._start))
        elif not self._started:
            self.memory.begin(None, is_latest=True)
        self._started = True
        return self._start

    def distrust(self, task_ids: Collection[str]) -> None:
        """Hide the output that these tasks stored before this run, so that LangGraph runs them again.

        A saver keeps the first output that it was given for a task, so the new one is not stored beside it: the next
        checkpoint holds it. A run that stops before that runs these tasks once more.
        """
        self.memory.distrusted |= frozenset(task_ids)

    async def commit(self, step: int) -> None:
        """Store everything up to root superstep `step`: it is verified. With `async` it returns before that is done."""
        self._raise_failure()
        self.memory.committed = max(self.memory.committed, step)
        if self._durability == "exit" and self.base is not None:
            self.memory.condense()
            self.memory.prune()
            return
        self._make_due(self.memory.take(lambda entry: entry.tag <= step))
        await self._store(wait=self._durability == "sync")

    async def commit_path(self, step: int, namespaces: Sequence[str]) -> None:
        """Store what leads to one node of superstep `step`: all earlier supersteps and, of these inner namespaces, the
        supersteps that have ended. Done when it returns, whatever the durability: a claim must stand on it.
        """
        await self.commit(step - 1)

        def leads_there(entry: Entry) -> bool:
            if entry.tag < step:
                return True
            # With no checkpoint of this run there, the writes are on one that an earlier run has stored.
            in_progress = isinstance(entry, WritesPut) and self.memory.head_of(entry.key) in {None, entry.target}
            return entry.key != self.memory.root and entry.key[1] in namespaces and not in_progress

        taken = self.memory.take(leads_there)
        self._make_due(squash(taken) if self._durability == "exit" else taken)
        await self._store(wait=True)

    async def finish(self) -> None:
        """Store all that is left, the writes on the head included: the run has ended, and everything is verified."""
        self._raise_failure()
        self.memory.committed = max(self.memory.committed, self.memory.head_step)
        if self._durability == "exit":
            self.memory.forget_taken_answers()
        taken = self.memory.take(lambda _: True)
        if self._durability == "exit":
            live = {key for key in {entry.key for entry in taken} if self.memory.is_live(key)}
            taken = squash([entry for entry in taken if entry.key in live])
        self._make_due(taken)
        await self._store(wait=True)

    async def settle(self) -> None:
        """Wait until no store is under way; raises nothing. For a run that is given up."""
        if self._storing is not None:
            await asyncio.wait([self._storing])

    def rollback(self, step: int) -> None:
        """Forget root superstep `step` and all after it, in every namespace; close the attempt's view first.

        Of the writes on the checkpoint before it, a person's answers and the run's input stay, and what was stored
        before this run. An answer that a task has taken stays with that task only.

        Raises:
            SpeculationError: `step` is committed.
        """
        if step <= self.committed:
            raise SpeculationError(
                f"cannot roll back to superstep {step}: superstep {self.committed} is committed; roll back to "
                f"{self.committed + 1} or later"
            )
        self.memory.rollback(step)

    async def mark(self, config: RunnableConfig, task_id: str, channel: str, value: Any) -> None:
        """Store a mark beside a task, at once. `config` addresses the checkpoint that the task started from.

        Raises:
            SpeculationError: that checkpoint is not committed.
        """
        self._raise_failure()
        if not self.memory.is_stored(config):
            raise SpeculationError(
                f"cannot mark task {task_id}: its checkpoint {config['configurable'].get('checkpoint_id')} is not "
                "committed; call commit_path first"
            )
        self._marked.add(task_id)
        self._due.append(_mark(config, task_id, channel, value))
        await self._store(wait=True)

    def append(self, entries: Sequence[Entry]) -> None:
        """Have entries of the library's own stored after all that is due, and before what is stored next."""
        self._raise_failure()
        self._due.extend(entries)

    async def has(self, config: RunnableConfig) -> bool:
        """Whether this checkpoint has been put, in this run or before."""
        if self.memory.head_of(key_of(config)) == config["configurable"]["checkpoint_id"]:
            return True
        return self.base is not None and await self.base.get_tuple(config) is not None

    async def _is_latest(self, start: CheckpointTuple | None) -> bool:
        if start is None or self.base is None or not self._config["configurable"].get("checkpoint_id"):
            return True
        configurable = {**self._config["configurable"], "checkpoint_id": None}
        latest = await self.base.get_tuple({**self._config, "configurable": configurable})
        return latest is not None and latest.checkpoint["id"] == start.checkpoint["id"]

    def _make_due(self, entries: Sequence[Entry]) -> None:
        verified = self.verified_tasks
        heads = {entry.key: entry.id for entry in entries if isinstance(entry, CheckpointPut)} if verified else {}
        for entry in entries:
            entry.due = True
            wanted = entry if isinstance(entry, CheckpointPut) else self._trusted(entry)
            if wanted is None:
                entry.stored = True
                continue
            self._due.append(wanted)
            if isinstance(entry, WritesPut) and entry.task_id in verified and entry.has_output:
                stays_pending = heads.get(entry.key, entry.target) == entry.target
                # Done again, an effect would ask a person: it is marked even if a crash could do no more than that.
                if stays_pending or entry.task_id in self._marked:
                    self._due.append(_mark(entry.config, entry.task_id, VERIFIED, True))

    def _trusted(self, entry: WritesPut) -> WritesPut | None:
        """What to store of a task's writes: no output beside that which it is not trusted for."""
        if entry.task_id in self.memory.distrusted:
            entry.writes = [write for write in entry.writes if write[0] in WRITES_IDX_MAP]
        return entry if entry.writes else None

    async def _store(self, *, wait: bool) -> None:
        if self.base is None or self.base.at_once:
            self._store_at_once()
        elif self._due:
            if self._storing is None or self._storing.done():
                self._storing = asyncio.create_task(self._store_in_order())
            if wait:
                # A caller that is cancelled must not leave an entry half stored.
                await asyncio.shield(self._storing)
        elif wait and self._storing is not None:
            await asyncio.shield(self._storing)
        if wait:
            self._raise_failure()
        self.memory.prune()

    def _store_at_once(self) -> None:
        while self._due:
            if self.base is not None:
                self.base.store_at_once(self._due[0])
            self._due.popleft().stored = True

    async def _store_in_order(self) -> None:
        assert self.base is not None
        while self._due:
            try:
                await self.base.store(self._due[0])
            except Exception as error:  # noqa: BLE001  (told to whoever calls next; nothing later may be stored)
                self._failure = error
                return
            self._due.popleft().stored = True

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure


def _root_config(config: RunnableConfig) -> RunnableConfig:
    configurable = {**config.get("configurable", {}), "checkpoint_ns": ""}
    if "thread_id" in configurable:
        configurable["thread_id"] = str(configurable["thread_id"])
    return {**config, "configurable": configurable}


def _mark(config: RunnableConfig, task_id: str, channel: str, value: Any) -> WritesPut:
    return WritesPut(
        key=key_of(config),
        tag=BEFORE_ALL,
        config=config,
        target=config["configurable"]["checkpoint_id"],
        writes=[(channel, value)],
        task_id=mark_id(task_id, channel),
        task_path="",
    )
