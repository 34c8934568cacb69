"""Threads started inside a `CallScope` belong to it: pools and plain threads do not carry the context by themselves."""

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from sherlock.interpose.scope import current_scope, outside


def patch_threads() -> None:
    """Patch `ThreadPoolExecutor.submit` and `Thread.start`."""
    ThreadPoolExecutor.submit = _submit(ThreadPoolExecutor.submit)  # type: ignore[method-assign]
    threading.Thread.start = _start(threading.Thread.start)  # type: ignore[method-assign]


def _submit(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def submit(pool: Any, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if current_scope() is None:
            return original(pool, function, *args, **kwargs)  # type: ignore[no-any-return]
        context = copy_context()
        with outside():  # a worker that is started now outlives the scope
            return original(pool, context.run, function, *args, **kwargs)  # type: ignore[no-any-return]

    return submit


def _start(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def start(thread: Any) -> None:
        if current_scope() is not None:
            context, run = copy_context(), thread.run
            thread.run = lambda: context.run(run)
        original(thread)

    return start
