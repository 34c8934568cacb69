"""An asyncio event loop whose time is virtual: a run of many virtual seconds takes as long as its computing takes.

`run(work)` runs a coroutine on it, as `asyncio.run` does. When nothing is ready the clock jumps to the next timer, so
`await asyncio.sleep(3)` costs nothing and always takes exactly 3. Code under test reads the clock by
`asyncio.get_running_loop().time()`; what it reads from the `time` module is not virtual.

Work given to threads (sync nodes, `asyncio.to_thread`) takes no virtual time: the clock stands while a thread works. A
thread that wants to take virtual time calls `sleep(seconds)`. When nothing is ready, no timer is set and no thread
works, nothing can ever happen any more: that is a `Deadlock`, which lists the tasks and where they stand. Real sockets
are not for this loop: it would not wait for an answer.
"""

import asyncio
import contextlib
import contextvars
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

_MOST = 12
"""How many tasks a deadlock lists."""

_HUNG_S = 20.0
"""Real seconds after which a thread that still works is taken for stuck."""

_clock: contextvars.ContextVar["VirtualLoop | None"] = contextvars.ContextVar("virtual_clock", default=None)


class Deadlock(Exception):
    """Nothing can happen any more. The message lists the tasks that wait."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on a new virtual loop, from time 0, and return its result. Raises `Deadlock`."""

    async def main() -> T:
        _clock.set(asyncio.get_running_loop())
        return await work

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())


def sleep(seconds: float) -> None:
    """`time.sleep` for a thread that works for a virtual loop; a thread of another loop does not wait at all."""
    loop = _clock.get()
    if loop is not None:
        loop.sleep_in_thread(seconds)


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `working`: threads that work now, those that sleep in virtual time left out."""

    def __init__(self) -> None:
        super().__init__(_Jumping(self))
        self.now = 0.0
        self.working = 0
        self.sleeping: set[threading.Event] = set()

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor, func, *args):
        if executor is None:
            executor = self._default_executor = self._default_executor or ThreadPoolExecutor(64)
        self.working += 1
        future = executor.submit(func, *args)
        result = asyncio.wrap_future(future, loop=self)
        # Not on `result`, which is done when it is cancelled and leaves its thread at work; and after its own callback,
        # so that the loop hears of the result before it hears that nobody works.
        future.add_done_callback(lambda _: self._tell(self._rest))
        return result

    def _tell(self, callback: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.call_soon_threadsafe(callback)

    def _rest(self) -> None:
        self.working -= 1

    def sleep_in_thread(self, seconds: float) -> None:
        woken = threading.Event()

        def fall_asleep() -> None:
            self.sleeping.add(woken)
            self.working -= 1
            self.call_later(seconds, wake)

        def wake() -> None:
            self.working += 1
            self.sleeping.discard(woken)
            woken.set()

        self._tell(fall_asleep)
        if not woken.wait(_HUNG_S):
            raise TimeoutError(f"the virtual clock did not reach a thread's wake-up within {_HUNG_S:g} real seconds")

    async def shutdown_default_executor(self) -> None:
        """Threads still asleep are woken at once; asyncio's own way waits in a thread that the clock cannot see."""
        for woken in self.sleeping:
            woken.set()
        if self._default_executor is not None:
            self._default_executor.shutdown(wait=True)
            self._default_executor = None


class _Jumping(selectors.DefaultSelector):
    """Waits in virtual time: by setting the loop's clock forward, or, while a thread works, for that thread."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self._loop.working:
            ready = super().select(_HUNG_S)
            if not ready:
                raise Deadlock(f"{self._loop.working} threads worked for {_HUNG_S:g} s without an end\n{_where()}")
            return ready
        if timeout is None:
            raise Deadlock(f"nothing can happen any more\n{_where()}")
        self._loop.now += timeout
        return ready


def _where() -> str:
    lines = sorted(f"  {task.get_name()}: {_stands(task)}" for task in asyncio.all_tasks())
    return "\n".join([*lines[:_MOST], *([f"  and {len(lines) - _MOST} more"] if len(lines) > _MOST else [])])


def _stands(task: asyncio.Task[Any]) -> str:
    """Where a task waits: the innermost coroutine that has a frame."""
    inner: Any = task.get_coro()
    place = repr(inner)
    while inner is not None:
        frame = getattr(inner, "cr_frame", None) or getattr(inner, "ag_frame", None)
        if frame is not None:
            place = f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"
        inner = getattr(inner, "cr_await", None) or getattr(inner, "ag_await", None)
    return place
