"""Hooks LangChain's chat models: prompts change above its LLM cache, and models without HTTP are seen at all.

What happens below is noted in a `Frame`, so that a model that does use HTTP is counted there and not here as well.
The hooked names are private; a contract test guards them.
"""

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel

from sherlock.interpose.chat_model import ChatModelCall, StandIn, call_of
from sherlock.interpose.http import LONGEST_WAIT_S, await_future, wait_future
from sherlock.interpose.scope import current_frame, current_scope

HOOKED = ("_generate_with_cache", "_agenerate_with_cache", "stream", "astream", "_convert_cached_generations")
"""The names of `BaseChatModel` that are replaced."""


def patch_chat_models() -> None:
    """Patch LangChain's base class of all chat models."""
    for name, wrapped in zip(HOOKED, (_generate, _agenerate, _stream, _astream, _cached), strict=True):
        setattr(BaseChatModel, name, wrapped(getattr(BaseChatModel, name)))


def _generate(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def generate(model: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        scope = current_scope()
        if scope is None:
            return original(model, messages, stop=stop, run_manager=run_manager, **kwargs)
        call = call_of(scope, model, messages, stop, kwargs, streamed=False)
        if _settled(call):
            return call.result(run_manager)
        with call, _in_frame(call):
            result = original(model, call.messages, stop=stop, run_manager=run_manager, **kwargs)
            call.answered(result)
        return result

    return generate


def _agenerate(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def agenerate(model: Any, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        scope = current_scope()
        if scope is None:
            return await original(model, messages, stop=stop, run_manager=run_manager, **kwargs)
        call = call_of(scope, model, messages, stop, kwargs, streamed=False)
        if await _asettled(call):
            return call.result(run_manager)
        with call, _in_frame(call):
            result = await original(model, call.messages, stop=stop, run_manager=run_manager, **kwargs)
            call.answered(result)
        return result

    return agenerate


def _stream(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def stream(model: Any, input: Any, config: Any = None, *, stop: Any = None, **kwargs: Any) -> Iterator[Any]:  # noqa: A002  (the hooked method's own name)
        scope = current_scope()
        if scope is None or isinstance(model, StandIn):
            yield from original(model, input, config, stop=stop, **kwargs)
            return
        call = call_of(scope, model, _messages(model, input), stop, kwargs, streamed=True)
        if _settled(call):
            yield from original(call.stand_in(), call.messages, config)
            return
        with call:
            chunks = original(model, call.messages, config, stop=stop, **kwargs)
            with contextlib.closing(chunks):
                while True:
                    with _in_frame(call):
                        chunk = next(chunks, None)
                    if chunk is None:
                        break
                    call.feed(chunk)
                    yield chunk
            call.drained()

    return stream


def _astream(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def astream(
        model: Any,
        input: Any,  # noqa: A002  (the hooked method's own name)
        config: Any = None,
        *,
        stop: Any = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        scope = current_scope()
        if scope is None or isinstance(model, StandIn):
            async for chunk in original(model, input, config, stop=stop, **kwargs):
                yield chunk
            return
        call = call_of(scope, model, _messages(model, input), stop, kwargs, streamed=True)
        if await _asettled(call):
            async for chunk in original(call.stand_in(), call.messages, config):
                yield chunk
            return
        with call:
            chunks = original(model, call.messages, config, stop=stop, **kwargs)
            async with contextlib.aclosing(chunks):
                while True:
                    with _in_frame(call):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        break
                    call.feed(chunk)
                    yield chunk
            call.drained()

    return astream


def _cached(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def convert(model: Any, cached: Any) -> Any:
        frame = current_frame.get()
        if frame is not None and current_scope() is not None:
            frame.cached = True
        return original(model, cached)

    return convert


def _messages(model: Any, given: Any) -> list[Any]:
    return model._convert_input(given).to_messages()  # type: ignore[no-any-return]  # noqa: SLF001  (the hooked method does the same)


@contextlib.contextmanager
def _in_frame(call: ChatModelCall) -> Iterator[None]:
    """Only while LangChain runs: a generator shares its context with whoever iterates it."""
    token = current_frame.set(call.frame)
    try:
        yield
    finally:
        current_frame.reset(token)


def _settled(call: ChatModelCall) -> bool:
    """True if the call is answered from a recording."""
    turn = call.turn(blocking=True)
    while isinstance(turn, Future):
        turn = call.turn(blocking=True, waited_out=not wait_future(turn, LONGEST_WAIT_S))
    return turn


async def _asettled(call: ChatModelCall) -> bool:
    turn = call.turn(blocking=False)
    while isinstance(turn, Future):
        turn = call.turn(blocking=False, waited_out=not await await_future(turn, LONGEST_WAIT_S))
    return turn
