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
    future = asyncio.run_coroutine_threadsafe(work, _loop())
    while True:
        try:
            return future.result()
        except KeyboardInterrupt:
            if on_interrupt is None:
                _cancel(future)
                raise
            on_interrupt()
            on_interrupt = None


def _cancel(future: Any) -> None:
    future.cancel()
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    done.wait(timeout=5)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@functools.cache
def _thread() -> threading.Thread:
    loop = _loop()
    thread = threading.Thread(target=loop.run_forever, name="sherlock", daemon=True)
    thread.start()
    return thread
