"""The part of a run that is not in the user's saver: what was put and not stored yet, and what a rollback needs.

Tasks of the event loop and nodes' threads put and read at the same time, so every method holds one lock, briefly.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID, uuid5

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import NS_END, NS_SEP
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
)
from langgraph.checkpoint.serde.types import RESUME

from sherlock.interpose.checkpoints import (
    NULL_TASK_ID,
    Key,
    container,
    is_transient,
    key_of,
    own_checkpoint,
    own_values,
    shallow,
)
from sherlock.runtime.gate_entries import CheckpointPut, Entry, WritesPut, pending, squash

BEFORE_ALL = -2
"""The superstep before that of a thread's first input."""

SLACK = 32
"""How many entries are put between two looks at what can be let go."""

Place = tuple[Key, str]
"""A line of checkpoints and the id of one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What memory says to a read: the answer, or what to lay over the saver's answer."""

    answered: bool
    saved: CheckpointTuple | None = None
    writes: Mapping[str, Sequence[WritesPut]] = field(default_factory=dict)
    distrusted: frozenset[str] = frozenset()

    def above(self, beneath: CheckpointTuple | None) -> CheckpointTuple | None:
        """The saver's answer with what was put on it since."""
        if beneath is None:
            return None
        stored = retire(beneath.pending_writes or [], self.distrusted)
        return beneath._replace(pending_writes=pending(stored, self.writes.get(beneath.checkpoint["id"], ())))


class Attempt(Protocol):
    """What puts: once `closed`, nothing that it puts is held."""

    closed: bool


class Memory:
    """Checkpoints and writes of one run, with the root superstep that each belongs to."""

    def __init__(self, root: Key, *, has_base: bool) -> None:
        self.root = root
        self.committed = BEFORE_ALL
        self.head_step = BEFORE_ALL
        self.distrusted: frozenset[str] = frozenset()
        self._has_base = has_base
        self._lock = threading.RLock()
        self._loaded = False
        self._start: CheckpointTuple | None = None
        self._start_is_latest = True
        self._rolled_back = False
        self._unpruned = 0
        self._line: list[Entry] = []  # neither stored nor due, in the order in which they were put
        self._records: dict[Key, list[CheckpointPut]] = {}
        self._writes: dict[Place, list[WritesPut]] = {}

    def begin(self, start: CheckpointTuple | None, *, is_latest: bool) -> None:
        """Start from `start`; `is_latest`: the thread has not moved past it."""
        with self._lock:
            self._loaded = True
            self._start, self._start_is_latest = start, is_latest
            if start is not None:
                self.committed = self.head_step = start.metadata.get("step", BEFORE_ALL)

    # What LangGraph puts

    def put(
        self,
        attempt: Attempt,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        versions: ChannelVersions,
    ) -> CheckpointPut | None:
        """Hold a checkpoint; None if the attempt is over."""
        with self._lock:
            if attempt.closed:
                return None
            key = key_of(config)
            is_root = key == self.root
            entry = CheckpointPut(
                key=key,
                tag=metadata["step"] if is_root else self.head_step + 1,
                config=config,
                checkpoint=own_values(checkpoint, shallow),
                metadata=metadata,
                new_versions=versions,
            )
            if is_root:
                self.head_step = entry.tag
            self._records.setdefault(key, []).append(entry)
            self._line.append(entry)
            self._unpruned += 1
            return entry

    def put_writes(
        self,
        attempt: Attempt,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str,
    ) -> WritesPut | None:
        """Hold writes on a checkpoint; None if the attempt is over."""
        with self._lock:
            if attempt.closed:
                return None
            key, target = key_of(config), config["configurable"]["checkpoint_id"]
            base_step = self._step_of(target) if key == self.root else self.head_step
            # The run's own input (`Command`) is not the work of a task: there is nothing to verify in it.
            is_input = key == self.root and task_id == NULL_TASK_ID
            entry = WritesPut(
                key=key,
                tag=base_step if is_input else base_step + 1,
                config=config,
                target=target,
                writes=[(channel, value if channel == RESUME else shallow(value)) for channel, value in writes],
                task_id=task_id,
                task_path=task_path,
            )
            self._writes.setdefault((key, target), []).append(entry)
            self._line.append(entry)
            self._unpruned += 1
            return entry

    def _step_of(self, target: str) -> int:
        known = (put.tag for put in reversed(self._records.get(self.root, ())) if put.id == target)
        return next(known, self.head_step)

    # What LangGraph reads

    def held(self, config: RunnableConfig) -> Held:
        """The checkpoint that `config` asks for, by its id or the latest."""
        with self._lock:
            key, wanted = key_of(config), get_checkpoint_id(config)
            records = self._records.get(key, [])
            for put in reversed(records):
                if wanted in {None, put.id}:
                    return Held(answered=True, saved=put.read(self._writes.get((key, put.id), ())))
            if key == self.root and not records and self._loaded and self._answers_start(wanted):
                return Held(answered=True, saved=self._read_start())
            if self._is_of_distrusted(key):
                return Held(answered=True)
            unstored = {
                target: [put for put in puts if not put.stored]
                for (of, target), puts in self._writes.items()
                if of == key
            }
            return Held(answered=False, writes=unstored, distrusted=self.distrusted)

    def listed(
        self, config: RunnableConfig | None, metadata: dict[str, Any] | None, before: RunnableConfig | None
    ) -> list[CheckpointTuple]:
        """The checkpoints in memory that a saver would list, latest first."""
        asked = (config or {}).get("configurable", {})
        ns, wanted = asked.get("checkpoint_ns"), asked.get("checkpoint_id")
        bound = get_checkpoint_id(before) if before else None
        with self._lock:
            found = [
                put.read(self._writes.get((key, put.id), ()))
                for key, records in self._records.items()
                if (config is None or key[0] == key_of(config)[0]) and ns in {None, key[1]}
                for put in records
                if wanted in {None, put.id} and (not bound or put.id < bound)
            ]
        wished = (metadata or {}).items()
        matching = [saved for saved in found if all(saved.metadata.get(name) == value for name, value in wished)]
        return sorted(matching, key=lambda saved: saved.checkpoint["id"], reverse=True)

    def is_stored(self, config: RunnableConfig) -> bool:
        """Whether the saver beneath has this checkpoint, or will before anything that is put from now on."""
        key, wanted = key_of(config), get_checkpoint_id(config)
        with self._lock:
            return all(put.stored or put.due for put in self._records.get(key, ()) if put.id == wanted)

    def _is_of_distrusted(self, key: Key) -> bool:
        """Whether the namespace is that of a subgraph which is to run again from its beginning."""
        if not self.distrusted or not key[1]:
            return False
        return any(part.rpartition(NS_END)[2] in self.distrusted for part in key[1].split(NS_SEP))

    def _answers_start(self, wanted: str | None) -> bool:
        if wanted is None:  # until a rollback, LangGraph asks for the latest to learn whether the start still is
            return self._start_is_latest or self._rolled_back
        return self._start is not None and self._start.checkpoint["id"] == wanted

    def _read_start(self) -> CheckpointTuple | None:
        if self._start is None:
            return None
        kept = retire(self._start.pending_writes or [], self.distrusted)
        own = [(task, channel, value if channel == RESUME else shallow(value)) for task, channel, value in kept]
        put = self._writes.get((self.root, self._start.checkpoint["id"]), ())
        return self._start._replace(
            checkpoint=own_checkpoint(self._start.checkpoint, shallow), pending_writes=pending(own, put)
        )

    # What the driver decides

    def take(self, chosen: Callable[[Entry], bool]) -> list[Entry]:
        """Remove the chosen entries from the line, in the order in which they were put."""
        with self._lock:
            taken = [entry for entry in self._line if chosen(entry)]
            self._line = [entry for entry in self._line if not chosen(entry)]
            return taken

    def head_of(self, key: Key) -> str | None:
        """The id of the latest checkpoint that this run put there, or started from."""
        with self._lock:
            if records := self._records.get(key):
                return records[-1].id
            return self._start.checkpoint["id"] if key == self.root and self._start else None

    def condense(self) -> None:
        """Keep of what is committed the last of each lasting namespace: with `exit` no more is ever stored."""
        with self._lock:
            early = [entry for entry in self._line if entry.tag <= self.committed]
            kept = squash([entry for entry in early if not is_transient(entry.key[1])])
            wanted = set(map(id, kept))
            for entry in early:
                entry.stored = id(entry) not in wanted
            self._line = [*kept, *(entry for entry in self._line if entry.tag > self.committed)]

    def is_live(self, key: Key) -> bool:
        """Whether the task that runs this namespace is unfinished: `exit` stores its checkpoints only then."""
        thread, ns = key
        if not is_transient(ns):
            return True
        parent_ns, task_id = container(ns)
        parent = (thread, parent_ns)
        with self._lock:
            head, records = self.head_of(parent), self._records.get(key)
            if head is None or not records:
                return True
            started_from = records[-1].metadata.get("parents", {}).get(parent_ns)
            puts = self._writes.get((parent, head), ())
            has_finished = any(put.task_id == task_id and put.has_output for put in puts)
        return started_from == head and not has_finished and self.is_live(parent)

    def rollback(self, step: int) -> None:
        """Forget everything of root superstep `step` and later that is still in the line."""
        with self._lock:
            gone = {(put.key, put.id) for put in self._line if isinstance(put, CheckpointPut) and put.tag >= step}
            kept = [entry for entry in self._line if entry.tag < step or self._outlives(entry, gone)]
            self._line = kept
            self._drop_outside(set(map(id, kept)), gone)
            self.forget_taken_answers()
            self._rolled_back = True
            root = self._records.get(self.root)
            start_step = self._start.metadata.get("step", BEFORE_ALL) if self._start else BEFORE_ALL
            self.head_step = root[-1].tag if root else start_step
            if self._start and not self._start_is_latest:
                # LangGraph ran these tasks anew because others have gone on from here; it must do so again.
                kept_writes = [write for write in self._start.pending_writes or [] if not _is_output(write)]
                self._start = self._start._replace(pending_writes=kept_writes)

    def _outlives(self, entry: Entry, gone: set[Place]) -> bool:
        """Whether a person's answer, or an input, is in it: these are not the work of a task. Strips the rest."""
        if isinstance(entry, CheckpointPut) or (entry.key, entry.target) in gone:
            return False
        if entry.task_id != NULL_TASK_ID:
            entry.writes = [write for write in entry.writes if write[0] == RESUME]
        return bool(entry.writes)

    def _drop_outside(self, kept: set[int], gone: set[Place]) -> None:
        for key, records in list(self._records.items()):
            self._records[key] = [put for put in records if (key, put.id) not in gone]
        for place, puts in list(self._writes.items()):
            self._writes[place] = [put for put in puts if put.due or id(put) in kept] if place not in gone else []

    def forget_taken_answers(self) -> None:
        """Drop the run's answer to an interrupt if a task has taken it: the next to ask must not get it again."""
        with self._lock:
            puts = [put for put in self._line if isinstance(put, WritesPut) and put.task_id != NULL_TASK_ID]
            lists = [value for put in puts for channel, value in put.writes if channel == RESUME]
            taken = {id(value[-1]) for value in lists if isinstance(value, list) and value}
            self._forget(taken)

    def _forget(self, taken: set[int]) -> None:
        def is_taken(write: tuple[str, Any]) -> bool:
            return write[0] == RESUME and id(write[1]) in taken

        for (key, _), puts in self._writes.items():
            for put in puts:
                if key == self.root and put.task_id == NULL_TASK_ID:
                    put.writes = [write for write in put.writes if not is_taken(write)]
        if self._start:
            stored = self._start.pending_writes or []
            kept = [write for write in stored if write[0] != NULL_TASK_ID or not is_taken(write[1:])]
            self._start = self._start._replace(pending_writes=kept)

    def prune(self) -> None:
        """Let go of what is stored and no rollback can need, once there may be enough of it to be worth a look."""
        with self._lock:
            if self._unpruned < SLACK:
                return
            self._unpruned = 0
            for key, records in list(self._records.items()):
                first = self._first_needed(key, records)
                kept = [put for index, put in enumerate(records) if index >= first or not put.stored]
                if kept:
                    self._records[key] = kept
                else:
                    del self._records[key]
            for place, puts in list(self._writes.items()):
                if not self._needs_writes(place, puts):
                    del self._writes[place]

    def forget(self, thread_id: str) -> None:
        """The thread has been deleted."""
        with self._lock:
            self._line = [entry for entry in self._line if entry.key[0] != thread_id]
            self._records = {key: puts for key, puts in self._records.items() if key[0] != thread_id}
            self._writes = {place: puts for place, puts in self._writes.items() if place[0][0] != thread_id}
            if self.root[0] == thread_id:
                self._start = None

    def _first_needed(self, key: Key, records: Sequence[CheckpointPut]) -> int:
        """The index of the first checkpoint to keep: the one that a rollback to the first uncommitted goes back to."""
        settled = sum(put.tag <= self.committed for put in records)
        if settled == 0:
            return 0
        if key != self.root and (self._has_base or is_transient(key[1])):
            return settled
        if self._has_base:
            return settled - 1
        counters = records[settled - 1].metadata.get("counters_since_delta_snapshot", {})
        return max(0, settled - 1 - max((steps for _, steps in counters.values()), default=0))

    def _needs_writes(self, place: Place, puts: Sequence[WritesPut]) -> bool:
        key, target = place
        records = self._records.get(key, [])
        if any(put.id == target for put in records) or not all(put.stored for put in puts):
            return True
        if key == self.root:
            return not records  # they hang on the start, which is the head
        return any(put.tag > self.committed for put in puts)


def retire(writes: Sequence[PendingWrite], task_ids: frozenset[str]) -> list[PendingWrite]:
    """The writes with the output of these tasks under ids that no task has.

    LangGraph then runs the tasks again. Were the writes left out instead, it would not know that the sums of a
    `DeltaChannel` must not start from before them.
    """
    if not task_ids:
        return list(writes)
    return [
        (str(uuid5(UUID(write[0]), "retired")), *write[1:]) if write[0] in task_ids and _is_output(write) else write
        for write in writes
    ]


def _is_output(write: PendingWrite) -> bool:
    return write[0] != NULL_TASK_ID and write[1] not in WRITES_IDX_MAP
