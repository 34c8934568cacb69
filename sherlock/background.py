"""One event loop for the whole process, in a thread of its own: what the sync calls of this library run on.

Clients that a user's code keeps between calls stay bound to a loop that is alive, and a sync call works inside a
notebook, where another loop is already running.
"""

import asyncio
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T], *, on_interrupt: Callable[[], None] | None = None) -> T:
    """Run `work` on the background loop and wait for it.

    On Ctrl-C `on_interrupt` is called, once, and is expected to make `work` return soon; without one, and on a second
    Ctrl-C, `work` is cancelled. Either way it is waited for until it is really gone.
    """
    if threading.current_thread() is _thread():  # started here, if it was not
        work.close()
        raise RuntimeError("a sync call of sherlock was made on sherlock's own event loop; await its async twin")
    task = asyncio.run_coroutine_threadsafe(_started(work), _loop()).result()
    waiting = asyncio.run_coroutine_threadsafe(_ended(task), _loop())
    while True:
        try:
            waiting.result()
            return task.result()
        except KeyboardInterrupt:
            if on_interrupt is None:
                _loop().call_soon_threadsafe(task.cancel)
                waiting.result()
                raise
            on_interrupt()
            on_interrupt = None


async def _started(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    return asyncio.ensure_future(work)


async def _ended(task: "asyncio.Task[Any]") -> None:
    """Wait until the task is really gone, however it ended."""
    await asyncio.wait([task])


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@functools.cache
def _thread() -> threading.Thread:
    loop = _loop()
    thread = threading.Thread(target=loop.run_forever, name="sherlock", daemon=True)
    thread.start()
    return thread
