"""What the user's callbacks see: one root run, however many attempts LangGraph makes of it, and each verification."""

import contextlib
import dataclasses
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
from langchain_core.runnables.config import get_async_callback_manager_for_config, var_child_runnable_config
from langchain_core.tracers._streaming import _StreamingCallbackHandler
from langgraph.callbacks import (
    GraphCallbackHandler,
    GraphInterruptEvent,
    GraphResumeEvent,
    get_async_graph_callback_manager_for_config,
)

from sherlock.runtime.chunks import is_own_stream


class RootRun:
    """The run that the user's callbacks see: it begins once and ends once. Nodes of all attempts are its children."""

    def __init__(self, manager: AsyncCallbackManagerForChainRun, config: RunnableConfig) -> None:
        self._manager = manager
        self._lifecycle = get_async_graph_callback_manager_for_config(config, run_id=manager.run_id)
        self._attempts = 0
        self.output: Any = None
        self.interrupt: GraphInterruptEvent | None = None
        """What the last attempt was interrupted by, if it was."""

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
        return cls(started, config)

    def config(self, config: RunnableConfig) -> RunnableConfig:
        """The config of one attempt, which goes under the root's id, and whose beginning and end nobody hears of.

        LangGraph tells them to the handlers that are not inheritable, and its nodes have the others.
        """
        run = self._manager
        self._attempts += 1
        self.interrupt = None
        silent: list[BaseCallbackHandler] = [_Output(self), _Lifecycle(self)]
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

    @property
    def below(self) -> AsyncCallbackManager:
        """For what is a child of the root, and no node."""
        return self._manager.get_child()

    async def resumed(self, event: GraphResumeEvent) -> None:
        """Announce that the run goes on from where it was interrupted, and not that an attempt does."""
        if self._attempts == 1:
            await self._lifecycle.on_resume(dataclasses.replace(event, run_id=self._manager.run_id))

    async def end(self, error: BaseException | None) -> None:
        """Announce the end."""
        if error is None and self.interrupt is not None:
            await self._lifecycle.on_interrupt(dataclasses.replace(self.interrupt, run_id=self._manager.run_id))
        if error is None:
            await self._manager.on_chain_end(self.output)
        else:
            await self._manager.on_chain_error(error)


class VerifierRun:
    """A verification, as the user's callbacks see it: a run with whatever models the verifier asks below it.

    `result`: what is told at the end; `error`: what is told in its place.
    """

    def __init__(self) -> None:
        self.result: dict[str, Any] = {}
        self.error: BaseException | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, node: str, text: str, above: Any) -> "AsyncIterator[VerifierRun]":
        """A block in which LangChain's models are below the run `verify:<node>`, which is below `above`.

        Handlers that stream to the user are left out: a verifier's words are none of the graph's.
        """
        run = cls()
        manager = _hearing(above)
        started = None
        if manager is not None:
            started = await manager.on_chain_start(None, {"node": node, "text": text}, name=f"verify:{node}")
        config = RunnableConfig() if started is None else RunnableConfig(callbacks=started.get_child())
        # Also without callbacks: the node's own config, which may be in this context, is not the verifier's.
        token = var_child_runnable_config.set(config)
        try:
            with _traced(started):
                yield run
        except BaseException as error:
            run.error = error
            raise
        finally:
            var_child_runnable_config.reset(token)
            if started is not None and run.error is not None:
                await started.on_chain_error(run.error)
            elif started is not None:
                await started.on_chain_end(run.result)


def _hearing(above: Any) -> AsyncCallbackManager | None:
    """A manager for a child of the run that `above` is for; None if nobody would hear of the child."""
    handlers = [h for h in getattr(above, "inheritable_handlers", ()) if not _streams(h)]
    if not handlers:
        return None
    metadata = {key: value for key, value in above.inheritable_metadata.items() if not key.startswith("langgraph_")}
    return AsyncCallbackManager(
        handlers=handlers,
        inheritable_handlers=handlers,
        parent_run_id=above.parent_run_id,
        tags=list(above.inheritable_tags),
        inheritable_tags=list(above.inheritable_tags),
        metadata=metadata,
        inheritable_metadata=metadata,
    )


def _streams(handler: Any) -> bool:
    """Whether it takes what runs stream: of LangGraph's stream modes, of `astream_events`, of `astream_log`."""
    return is_own_stream(handler) or isinstance(handler, _StreamingCallbackHandler)


def _traced(started: AsyncCallbackManagerForChainRun | None) -> "contextlib.AbstractContextManager[Any]":
    """Let what LangSmith traces by itself be below the run too."""
    handlers: list[Any] = [] if started is None else started.handlers
    tracers = [handler for handler in handlers if type(handler).__name__ == "LangChainTracer"]
    run = tracers[0].run_map.get(str(started.run_id)) if tracers and started is not None else None
    if run is None:
        return contextlib.nullcontext()
    from langsmith.run_helpers import tracing_context

    return tracing_context(parent=run)


class _Output(AsyncCallbackHandler):
    """Takes down what an attempt returned."""

    def __init__(self, root: RootRun) -> None:
        self._root = root

    async def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._root.output = outputs


class _Lifecycle(GraphCallbackHandler):
    """Takes down how an attempt began and ended; that of an attempt which is given up is nobody's business."""

    def __init__(self, root: RootRun) -> None:
        self._root = root

    def on_interrupt(self, event: GraphInterruptEvent) -> Any:
        self._root.interrupt = event

    async def on_resume(self, event: GraphResumeEvent) -> Any:
        await self._root.resumed(event)


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

        ignore_chain = True

        def copy_with_metadata_defaults(self, **defaults: Any) -> Any:  # noqa: ARG002
            return self

    return SilentTracer()
