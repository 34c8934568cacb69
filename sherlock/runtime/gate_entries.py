"""What the gate holds: checkpoints and writes in the order in which they were put, and how they read back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_metadata,
    writes_sort_key,
)
from langgraph.checkpoint.serde.types import RESUME

from sherlock.interpose.checkpoints import NULL_TASK_ID, Key, own_checkpoint, shallow


@dataclass(slots=True, kw_only=True, eq=False)
class CheckpointPut:
    """One checkpoint as LangGraph gave it. `tag`: the root superstep it belongs to."""

    key: Key
    tag: int
    config: RunnableConfig
    checkpoint: Checkpoint
    metadata: CheckpointMetadata
    new_versions: ChannelVersions
    due: bool = False
    stored: bool = False

    @property
    def id(self) -> str:
        return self.checkpoint["id"]

    @property
    def parent(self) -> str | None:
        return self.config["configurable"].get("checkpoint_id") or None

    @property
    def uses_deltas(self) -> bool:
        """Whether a `DeltaChannel` may need the checkpoints before this one: its value is a sum over them."""
        return bool(self.metadata.get("counters_since_delta_snapshot"))

    def read(self, writes: Iterable["WritesPut"]) -> CheckpointTuple:
        """The checkpoint as a saver would return it."""
        return CheckpointTuple(
            _address(self.key, self.id),
            own_checkpoint(self.checkpoint, shallow),
            get_checkpoint_metadata(self.config, self.metadata),
            _address(self.key, self.parent) if self.parent else None,
            pending([], writes),
        )


@dataclass(slots=True, kw_only=True, eq=False)
class WritesPut:
    """Writes of one task, put on the checkpoint `target` that the task started from."""

    key: Key
    tag: int
    config: RunnableConfig
    target: str
    writes: Sequence[tuple[str, Any]]
    task_id: str
    task_path: str
    due: bool = False
    stored: bool = False

    @property
    def has_output(self) -> bool:
        """Whether there is more than errors, interrupts and answers in it."""
        return any(channel not in WRITES_IDX_MAP for channel, _ in self.writes)


Entry = CheckpointPut | WritesPut


def pending(stored: Sequence[PendingWrite], held: Iterable[WritesPut]) -> list[PendingWrite]:
    """The pending writes of a checkpoint: those in the saver beneath, and those put since, as a saver merges them.

    A task's output is written once; errors, interrupts and answers replace their predecessors. What is held sorts as
    LangGraph applies it; the writes of a saver carry no path and stand before it.
    """
    beneath = list(stored)
    finished = {task for task, channel, _ in beneath if task != NULL_TASK_ID and channel not in WRITES_IDX_MAP}
    inputs = sum(task == NULL_TASK_ID and channel not in WRITES_IDX_MAP for task, channel, _ in beneath)
    above: dict[tuple[str, int], tuple[str, PendingWrite]] = {}
    for put in held:
        for position, (channel, value) in enumerate(put.writes):
            index = WRITES_IDX_MAP.get(channel, position)
            known = put.task_id in finished or (put.task_id == NULL_TASK_ID and position < inputs)
            if index >= 0 and (known or (put.task_id, index) in above):
                continue
            if index < 0:
                beneath = [write for write in beneath if write[:2] != (put.task_id, channel)]
            # The answer itself, not a copy: rolling back asks whether a task has taken this very one.
            own = value if channel == RESUME else shallow(value)
            above[put.task_id, index] = (put.task_path, (put.task_id, channel, own))
    ordered = sorted(above.items(), key=lambda item: writes_sort_key(item[1][0], *item[0]))
    return [*beneath, *(write for _, (_, write) in ordered)]


def squash(entries: Sequence[Entry]) -> list[Entry]:
    """Only the last checkpoint of each namespace, and the writes on it, as if those before it had never been put.

    That is what LangGraph stores with `durability="exit"`. A namespace that holds a `DeltaChannel` keeps everything:
    its value is a sum over the line.
    """
    puts: dict[Key, list[CheckpointPut]] = {}
    for entry in entries:
        if isinstance(entry, CheckpointPut):
            puts.setdefault(entry.key, []).append(entry)
    last: dict[Key, CheckpointPut] = {}
    for key, line in puts.items():
        if any(put.uses_deltas for put in line):
            continue
        last[key] = line[-1]
        versions = line[-1].checkpoint["channel_versions"]
        changed = {channel for put in line for channel in put.new_versions}
        line[-1].new_versions = {channel: version for channel, version in versions.items() if channel in changed}
        line[-1].config = _with_parent(line[-1].config, line[0].parent)
    return [entry for entry in entries if entry.key not in last or _id(entry) == last[entry.key].id]


def _id(entry: Entry) -> str:
    return entry.id if isinstance(entry, CheckpointPut) else entry.target


def _with_parent(config: RunnableConfig, parent: str | None) -> RunnableConfig:
    return {**config, "configurable": {**config["configurable"], "checkpoint_id": parent}}


def _address(key: Key, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": key[0], "checkpoint_ns": key[1], "checkpoint_id": checkpoint_id}}
