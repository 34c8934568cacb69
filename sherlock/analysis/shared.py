"""Results of deterministic nodes that the replays of one case share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sherlock.analysis.executions import private


class Shared:
    """Results by input; one execution serves all that ask at the same time."""

    def __init__(self) -> None:
        self._results: dict[str, asyncio.Future[Any]] = {}

    def seed(self, key: str, update: Any) -> None:
        """Put a result in that is known already."""
        if key not in self._results:
            self._results[key] = asyncio.get_running_loop().create_future()
            self._results[key].set_result(update)

    async def get(self, key: str, make: Callable[[], Awaitable[tuple[Any, bool]]]) -> tuple[Any, bool]:
        """Return the result for `key`, making it if nobody has, and whether it is shared.

        `make` says whether its result may be: one that may not, like a failure, is nobody else's result.
        """
        while (found := self._results.get(key)) is not None:
            try:
                return private(await asyncio.shield(found)), True
            except _NotMade:
                continue
        mine: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._results[key] = mine
        may_be_shared = False
        try:
            update, may_be_shared = await make()
        finally:
            if not may_be_shared:
                del self._results[key]
                mine.set_exception(_NotMade())
                mine.exception()  # nobody may be waiting
        if may_be_shared:
            mine.set_result(private(update))
        return update, may_be_shared


class _NotMade(Exception):
    """A signal to those who wait: the execution that they waited for is of no use to them."""
