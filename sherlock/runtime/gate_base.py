"""The user's checkpointer, whatever kind it is, behind one set of coroutines."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, DeltaChannelHistory
from langgraph.checkpoint.memory import InMemorySaver

from sherlock.runtime.gate_entries import CheckpointPut, Entry

T = TypeVar("T")


class Base:
    """Calls an asynchronous saver as it is, one that is only synchronous in a thread, the in-memory one at once.

    `at_once`: its calls never wait, so that they need no task.
    """

    def __init__(self, saver: BaseCheckpointSaver[Any]) -> None:
        self.saver = saver
        self.at_once = type(saver) is InMemorySaver
        self._takes_path = "task_path" in inspect.signature(saver.put_writes).parameters
        self._is_async: bool | None = None  # unknown until it has been asked
        self._lock = threading.Lock()

    def allow(self, types: Collection[tuple[str, ...]]) -> None:
        """Let its serialiser load `types` too."""
        self.saver = self.saver.with_allowlist(types)

    async def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        found: CheckpointTuple | None = await self._call("get_tuple", config)
        return found

    async def list(self, config: RunnableConfig | None, **options: Any) -> list[CheckpointTuple]:
        if self._is_async is None:
            await self._call("get_tuple", config)
        if self._is_async:
            return [saved async for saved in self.saver.alist(config, **options)]
        return await self._in_thread(lambda: list(self.saver.list(config, **options)))

    async def history(self, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        found: Mapping[str, DeltaChannelHistory] = await self._call(
            "get_delta_channel_history", config=config, channels=channels
        )
        return found

    async def delete_thread(self, thread_id: str) -> None:
        await self._call("delete_thread", thread_id)

    async def store(self, entry: Entry) -> None:
        """Put the entry exactly as LangGraph gave it."""
        name, arguments = self._put(entry)
        await self._call(name, *arguments)

    def store_at_once(self, entry: Entry) -> None:
        """`store`, for a saver that is `at_once`."""
        name, arguments = self._put(entry)
        getattr(self.saver, name)(*arguments)

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        """Call the synchronous method; from a thread that no event loop runs in."""
        return self._guarded(lambda: getattr(self.saver, name)(*arguments, **named))

    def _put(self, entry: Entry) -> tuple[str, tuple[Any, ...]]:
        if isinstance(entry, CheckpointPut):
            return "put", (entry.config, entry.checkpoint, entry.metadata, entry.new_versions)
        path = (entry.task_path,) if self._takes_path else ()
        return "put_writes", (entry.config, entry.writes, entry.task_id, *path)

    async def _call(self, name: str, *arguments: Any, **named: Any) -> Any:
        if self.at_once:
            return getattr(self.saver, name)(*arguments, **named)
        if self._is_async is not False:
            try:
                answer = await getattr(self.saver, f"a{name}")(*arguments, **named)
            except NotImplementedError:
                if self._is_async:
                    raise
                self._is_async = False
            else:
                self._is_async = True
                return answer
        return await self._in_thread(lambda: getattr(self.saver, name)(*arguments, **named))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(self._guarded, work)

    def _guarded(self, work: Callable[[], T]) -> T:
        with self._lock:
            return work()
