"""Tasks for a simulated driver: generators that a seeded scheduler resumes in a random order. No clock, no threads.

A generator yields a number, to be resumed that many turns later at the earliest, or a condition, to be resumed when it
holds. Cancelling a task raises `Cancelled` in it at its next turn; other things may happen before.
"""

import random
from collections.abc import Callable, Generator
from typing import Any

Wait = int | Callable[[], Any]
Work = Generator[Wait, None, Any]


class Cancelled(BaseException):
    """The task is to end."""


class Deadlock(AssertionError):
    """Nothing can happen any more."""


class Task:
    """`result` and `error`: how it ended; a cancelled one has the error `Cancelled`."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.wait: Callable[[], Any] | None = None
        self.due = 0
        self.cancelling = self.done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def cancel(self) -> None:
        self.cancelling = True

    def advance(self, turn: int) -> None:
        """Resume the work until it waits again."""
        try:
            if self.cancelling:
                self.cancelling = False
                wait = self.work.throw(Cancelled())
            else:
                wait = next(self.work)
        except StopIteration as end:
            self.done, self.result = True, end.value
        except (Cancelled, Exception) as error:
            if isinstance(error, AssertionError):
                raise
            self.done, self.error = True, error
        else:
            self.wait, self.due = (None, turn + wait) if isinstance(wait, int) else (wait, 0)


class Scheduler:
    """Resumes tasks in an order that the seed decides."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.turn = 0
        self.tasks: list[Task] = []

    def spawn(self, work: Work) -> Task:
        task = Task(work)
        self.tasks.append(task)
        return task

    def run(self, until: Callable[[], bool], most: int = 300_000) -> None:
        """Go on until the condition holds. Raises `Deadlock`."""
        while not until():
            self.turn += 1
            self.tasks = [task for task in self.tasks if not task.done]
            ready = [task for task in self.tasks if task.cancelling or (self.due(task) and self.holds(task))]
            if not ready:
                later = [task.due for task in self.tasks if not self.due(task)]
                if not later or self.turn > most:
                    raise Deadlock(f"nothing can happen any more, after {self.turn} turns")
                self.turn = min(later)
                continue
            self.random.choice(ready).advance(self.turn)

    def due(self, task: Task) -> bool:
        return task.due <= self.turn

    def holds(self, task: Task) -> bool:
        return task.wait is None or bool(task.wait())


def gone(task: Task) -> Work:
    """Cancel a task and wait for its end."""
    if not task.done:
        task.cancel()
        yield lambda: task.done


def gathered(spawned: list[Task], passing: type[Exception]) -> Work:
    """The results of all tasks. One that raises has the others cancelled, `passing` apart, which waits for all."""
    try:
        yield lambda: all(task.done for task in spawned) or _failed(spawned, passing)
        failed = _failed(spawned, passing)
    finally:
        for task in spawned:
            if not task.done:
                task.cancel()
        yield lambda: all(task.done for task in spawned)
    if failed := failed or [task.error for task in spawned if task.error is not None]:
        raise failed[0]
    return [task.result for task in spawned]


def _failed(tasks: list[Task], passing: type[Exception]) -> list[BaseException]:
    return [task.error for task in tasks if task.error is not None and not isinstance(task.error, passing)]
