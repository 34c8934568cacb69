"""A checkpointer for one run that leaves no trace: the latest checkpoint of each namespace, held by reference.

A replay starts from a copy of one recorded checkpoint in a saver of its own, so replays never meet. It is a resume,
not a fork: LangGraph writes no extra checkpoint and step numbers stay those of the recorded run.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
)
from langgraph.checkpoint.memory import InMemorySaver

from sherlock.interpose.checkpoints import own_checkpoint, shallow

__all__ = ["THREAD", "HistorySaver", "LineSaver", "OnStep", "own_checkpoint"]

OnStep = Callable[[int, Checkpoint, CheckpointMetadata], None]

THREAD = "sherlock"


class LineSaver(BaseCheckpointSaver[int]):
    """Keeps one thread in memory and reports each superstep's checkpoint of the outermost graph to `on_step`."""

    def __init__(self, on_step: OnStep) -> None:
        super().__init__()
        self._on_step = on_step
        self._latest: dict[str, CheckpointTuple] = {}
        self._writes: dict[str, dict[tuple[str, int], PendingWrite]] = {}

    def start_from(self, checkpoint: Checkpoint, metadata: CheckpointMetadata) -> None:
        """Make `checkpoint` the thread's head; its tasks run next."""
        self._latest[""] = CheckpointTuple(_config("", checkpoint["id"]), checkpoint, metadata)
        self._writes[""] = {}

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        ns = config["configurable"].get("checkpoint_ns", "")
        found = self._latest.get(ns)
        if found is None:
            return None
        writes = list(self._writes[ns].values())
        return found._replace(checkpoint=own_checkpoint(found.checkpoint, shallow), pending_writes=writes)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return self.get_tuple(config)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002, ARG002  (LangGraph's signature)
        before: RunnableConfig | None = None,  # noqa: ARG002
        limit: int | None = None,  # noqa: ARG002
    ) -> Iterator[CheckpointTuple]:
        found = self.get_tuple(config) if config else None
        yield from (found,) if found else ()

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        for found in self.list(config, filter=filter, before=before, limit=limit):
            yield found

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002
    ) -> RunnableConfig:
        ns = config["configurable"].get("checkpoint_ns", "")
        at = _config(ns, checkpoint["id"])
        self._latest[ns] = CheckpointTuple(at, own_checkpoint(checkpoint, shallow), metadata)
        self._writes[ns] = {}
        if ns == "":
            self._on_step(metadata["step"], checkpoint, metadata)
        return at

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        return self.put(config, checkpoint, metadata, new_versions)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",  # noqa: ARG002
    ) -> None:
        at = config["configurable"]
        found = self._latest.get(at.get("checkpoint_ns", ""))
        if found is None or found.checkpoint["id"] != at.get("checkpoint_id"):
            return
        kept = self._writes[at.get("checkpoint_ns", "")]
        for position, (channel, value) in enumerate(writes):
            index = WRITES_IDX_MAP.get(channel, position)
            if index < 0 or (task_id, index) not in kept:
                kept[task_id, index] = (task_id, channel, value)

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        self.put_writes(config, writes, task_id, task_path)

    def delete_thread(self, thread_id: str) -> None:  # noqa: ARG002  (there is only one)
        self._latest.clear()

    def get_next_version(self, current: int | None, channel: None) -> int:  # noqa: ARG002
        return (current or 0) + 1


class HistorySaver(InMemorySaver):
    """A `LineSaver` that keeps all checkpoints, serialised: the value of a `DeltaChannel` is a sum over them."""

    def __init__(self, on_step: OnStep) -> None:
        super().__init__()
        self._on_step = on_step

    def start_from(self, checkpoint: Checkpoint, metadata: CheckpointMetadata) -> None:
        """Make `checkpoint` the thread's head; its tasks run next."""
        config: RunnableConfig = {"configurable": {"thread_id": THREAD, "checkpoint_ns": ""}}
        super().put(config, checkpoint, metadata, checkpoint["channel_versions"])

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        at = super().put(config, checkpoint, metadata, new_versions)
        if not config["configurable"].get("checkpoint_ns"):
            self._on_step(metadata["step"], checkpoint, metadata)
        return at


def _config(ns: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": THREAD, "checkpoint_ns": ns, "checkpoint_id": checkpoint_id}}
