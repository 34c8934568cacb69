"""One root run for the user's callbacks, however many attempts LangGraph makes of it."""

import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackHandler,
)
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_async_callback_manager_for_config
from langchain_core.tracers._streaming import _StreamingCallbackHandler

from sherlock.runtime.chunks import is_own_stream


class RootRun:
    """The run that the user's callbacks see: it begins once and ends once. Nodes of all attempts are its children."""

    def __init__(self, manager: AsyncCallbackManagerForChainRun) -> None:
        self._manager = manager
        self.output: Any = None

    @classmethod
    async def begin(cls, config: RunnableConfig, value: Any, name: str) -> "RootRun":
        """Announce the run."""
        manager = get_async_callback_manager_for_config(config)
        # What streams for a graph above this one is LangGraph's to keep or drop, attempt by attempt.
        if "ls_integration" not in manager.metadata:
            manager.add_metadata({"ls_integration": "langgraph"})
        started = await manager.on_chain_start(
            None, value, name=config.get("run_name", name), run_id=config.get("run_id")
        )
        return cls(started)

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """The config of one attempt, which goes under the root's id, and whose beginning and end nobody hears of.

        LangGraph tells them to the handlers that are not inheritable, and its nodes have the others.
        """
        run = self._manager
        silent: list[BaseCallbackHandler] = [_Output(self)]
        if any(isinstance(h, _StreamingCallbackHandler) and not is_own_stream(h) for h in run.handlers):
            silent.append(_Streams())
        if any(type(h).__name__ == "LangChainTracer" for h in run.handlers):
            silent.append(_silent_tracer())
        manager = AsyncCallbackManager(
            handlers=silent,
            inheritable_handlers=list(run.inheritable_handlers),
            parent_run_id=run.parent_run_id,
            tags=list(run.tags),
            inheritable_tags=list(run.inheritable_tags),
            metadata=dict(run.metadata),
            inheritable_metadata=dict(run.inheritable_metadata),
        )
        return {**config, "callbacks": manager, "run_id": run.run_id}

    async def end(self, error: BaseException | None) -> None:
        """Announce the end."""
        if error is None:
            await self._manager.on_chain_end(self.output)
        else:
            await self._manager.on_chain_error(error)


class _Output(AsyncCallbackHandler):
    """Takes down what an attempt returned."""

    def __init__(self, root: RootRun) -> None:
        self._root = root

    async def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._root.output = outputs


class _Streams(BaseCallbackHandler, _StreamingCallbackHandler[Any]):
    """Has LangGraph run the nodes as streams, as a handler of the user's expects it."""

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:  # noqa: ARG002
        return output

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:  # noqa: ARG002
        return output


@functools.cache
def _silent_tracer() -> BaseCallbackHandler:
    """A LangSmith tracer that traces nothing: where there is none, LangChain adds one, as the environment says."""
    from langchain_core.tracers.langchain import LangChainTracer

    class SilentTracer(LangChainTracer):
        def __init__(self) -> None:
            self.order_map, self.run_map, self._external_run_ids = {}, {}, {}

        ignore_chain = True  # type: ignore[assignment]

        def copy_with_metadata_defaults(self, **defaults: Any) -> Any:  # noqa: ARG002
            return self

    return SilentTracer()
