"""What one attempt of a guarded run sees as its checkpointer: the gate's line in front of the user's saver."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)

from sherlock.interpose.checkpoints import begin_anew_unless_begun
from sherlock.runtime.gate_deltas import DeltaWalk

if TYPE_CHECKING:
    from sherlock.runtime.gate import Gate


class GateView(BaseCheckpointSaver[Any]):
    """A checkpointer for one attempt; once closed, everything put through it is dropped without a word.

    The synchronous methods serve subgraphs that run in a node's thread. The outermost graph saves by `aput`, which
    alone waits for the driver.
    """

    def __init__(self, gate: "Gate") -> None:
        saver = gate.base.saver if gate.base else None
        super().__init__(serde=saver.serde if saver else None)
        self._gate = gate
        self._memory = gate.memory
        self.closed = False

    def close(self) -> None:
        """Let nothing through any more; reads still answer."""
        self.closed = True

    @property
    def config_specs(self) -> list[Any]:
        return self._gate.base.saver.config_specs if self._gate.base else []

    def get_next_version(self, current: Any, channel: None) -> Any:
        if self._gate.base:
            return self._gate.base.saver.get_next_version(current, channel)
        return (current or 0) + 1

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> BaseCheckpointSaver[Any]:
        if self._gate.base:
            self._gate.base.allow(extra_allowlist)
        return self

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        found = await self._find(config)
        begin_anew_unless_begun(config, found)
        return found

    async def _find(self, config: RunnableConfig) -> CheckpointTuple | None:
        held = self._memory.held(config)
        if held.answered or self._gate.base is None:
            return held.saved
        return held.above(await self._gate.base.get_tuple(config))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        held, base = self._memory.held(config), self._gate.base
        found = held.saved if held.answered or base is None else held.above(base.call("get_tuple", config))
        begin_anew_unless_begun(config, found)
        return found

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002  (LangGraph's signature)
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        held = self._memory.listed(config, filter, before)
        beneath: Sequence[CheckpointTuple] = ()
        if self._gate.base and (limit is None or len(held) < limit):
            more = limit and limit + len(held)
            beneath = await self._gate.base.list(config, filter=filter, before=before, limit=more)
        for saved in _joined(held, beneath)[:limit]:
            yield saved

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,  # noqa: A002
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        held = self._memory.listed(config, filter, before)
        beneath: Sequence[CheckpointTuple] = ()
        if self._gate.base and (limit is None or len(held) < limit):
            more = limit and limit + len(held)
            beneath = list(self._gate.base.call("list", config, filter=filter, before=before, limit=more))
        yield from _joined(held, beneath)[:limit]

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        entry = self._memory.put(self, config, checkpoint, metadata, new_versions)
        if entry is not None and entry.key == self._memory.root:
            await self._gate.on_step(entry.tag)
        elif entry is not None and self._gate.on_inner_step is not None:
            await self._gate.on_inner_step(metadata["step"], entry.key[1])
        return _at(config, checkpoint["id"])

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        self._memory.put(self, config, checkpoint, metadata, new_versions)
        return _at(config, checkpoint["id"])

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        entry = self._memory.put_writes(self, config, writes, task_id, task_path)
        if entry is not None and entry.tag <= self._gate.committed:
            await self._gate.commit(self._gate.committed)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        self._memory.put_writes(self, config, writes, task_id, task_path)

    async def aget_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        target = await self.aget_tuple(config) if channels else None
        walk = DeltaWalk(channels)
        cursor = target.parent_config if target else None
        while cursor and walk.remaining:
            saved = await self.aget_tuple(cursor)
            if saved is None:
                break
            walk.visit(saved)
            if self._gate.base and walk.remaining and self._memory.is_stored(cursor):
                walk.continue_with(await self._gate.base.history(cursor, walk.remaining))
                break
            cursor = saved.parent_config
        return walk.histories

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        target = self.get_tuple(config) if channels else None
        walk = DeltaWalk(channels)
        cursor = target.parent_config if target else None
        while cursor and walk.remaining:
            saved = self.get_tuple(cursor)
            if saved is None:
                break
            walk.visit(saved)
            if self._gate.base and walk.remaining and self._memory.is_stored(cursor):
                history = self._gate.base.call(
                    "get_delta_channel_history", config=cursor, channels=list(walk.remaining)
                )
                walk.continue_with(history)
                break
            cursor = saved.parent_config
        return walk.histories

    async def adelete_thread(self, thread_id: str) -> None:
        self._memory.forget(thread_id)
        if self._gate.base:
            await self._gate.base.delete_thread(thread_id)

    def delete_thread(self, thread_id: str) -> None:
        self._memory.forget(thread_id)
        if self._gate.base:
            self._gate.base.call("delete_thread", thread_id)


def _joined(held: Sequence[CheckpointTuple], beneath: Sequence[CheckpointTuple]) -> list[CheckpointTuple]:
    known = {_place(saved) for saved in held}
    return [*held, *(saved for saved in beneath if _place(saved) not in known)]


def _place(saved: CheckpointTuple) -> tuple[str, str]:
    return saved.config["configurable"].get("checkpoint_ns", ""), saved.checkpoint["id"]


def _at(config: RunnableConfig, checkpoint_id: str) -> RunnableConfig:
    configurable = config["configurable"]
    return {
        "configurable": {
            "thread_id": configurable.get("thread_id"),
            "checkpoint_ns": configurable.get("checkpoint_ns", ""),
            "checkpoint_id": checkpoint_id,
        }
    }
