"""The virtual clock itself: it jumps, stands while threads work, and tells when nothing can happen any more."""

import asyncio
import random
import time

import pytest
import virtual_clock
from virtual_clock import Deadlock


def now():
    return asyncio.get_running_loop().time()


def test_sleep_takes_virtual_time_only():
    async def main():
        await asyncio.gather(asyncio.sleep(1e6), asyncio.sleep(2.5e6))
        return now()

    started = time.perf_counter()
    assert virtual_clock.run(main()) == 2.5e6
    assert time.perf_counter() - started < 5


def test_wakes_in_order_of_time():
    order = []

    async def nap(seconds):
        await asyncio.sleep(seconds)
        order.append((now(), seconds))

    async def main():
        naps = [random.Random(n).randrange(1000) / 7 for n in range(200)]
        await asyncio.gather(*map(nap, naps))
        return naps

    naps = virtual_clock.run(main())
    assert order == [(pytest.approx(each), each) for each in sorted(naps)]


def test_timeouts_are_virtual():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.sleep(61)
        return now()

    assert virtual_clock.run(main()) == 60


def test_the_clock_stands_while_a_thread_works():
    async def main():
        late = asyncio.create_task(asyncio.sleep(5))
        await asyncio.to_thread(time.sleep, 0.05)
        return now(), late.done()

    assert virtual_clock.run(main()) == (0, False)


def test_threads_sleep_in_virtual_time():
    async def main():
        def nap(seconds):
            virtual_clock.sleep(seconds)
            return seconds

        async def timed(seconds):
            await asyncio.to_thread(nap, seconds)
            return now()

        return await asyncio.gather(timed(30), timed(10), timed(20))

    assert virtual_clock.run(main()) == [30, 10, 20]


def test_a_cancelled_thread_goes_on_and_does_not_upset_the_clock():
    ended = []

    async def main():
        def nap():
            virtual_clock.sleep(3)
            ended.append(True)

        task = asyncio.create_task(asyncio.to_thread(nap))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(10)
        return now(), list(ended), asyncio.get_running_loop().working

    assert virtual_clock.run(main()) == (11, [True], 0)


def test_threads_that_still_sleep_at_the_end_are_woken():
    async def main():
        task = asyncio.create_task(asyncio.to_thread(virtual_clock.sleep, 1e9))
        await asyncio.sleep(1)
        task.cancel()

    started = time.perf_counter()
    virtual_clock.run(main())
    assert time.perf_counter() - started < 5


def test_sleep_outside_a_virtual_loop_does_not_wait():
    started = time.perf_counter()
    virtual_clock.sleep(60)
    assert time.perf_counter() - started < 5


def test_a_deadlock_is_an_error_that_names_the_tasks():
    async def waits_for_ever():
        await asyncio.Event().wait()

    async def main():
        await asyncio.create_task(waits_for_ever(), name="the stuck one")

    with pytest.raises(Deadlock, match=r"the stuck one: .*Event.wait") as caught:
        virtual_clock.run(main())
    assert "main" in str(caught.value)


def test_what_is_left_is_cancelled_at_the_end():
    ended = []

    async def linger():
        try:
            await asyncio.sleep(99)
        finally:
            ended.append(now())

    async def main():
        tasks.add(asyncio.create_task(linger()))
        await asyncio.sleep(1)

    tasks = set()
    virtual_clock.run(main())
    assert ended == [1]
