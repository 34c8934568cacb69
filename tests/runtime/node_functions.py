"""The node functions of the random graphs, one for each set of keys that a node may read.

Each names what it reads by constant keys, so that its reads can be found in its source; two take the whole state.
`work` is what the node does with what it has read. None of them refers to anything else.
"""

from collections.abc import Callable
from typing import Any

from langgraph.types import Command


def _x(work):
    async def node(state):
        done = await work.slowly(x=state.get("x"))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _a(work):
    async def node(state):
        done = await work.slowly(a=state.get("a"))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _b(work):
    async def node(state):
        done = await work.slowly(b=state.get("b"))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _a_b(work):
    async def node(state):
        done = await work.slowly(a=state.get("a"), b=state.get("b"))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _b_c(work):
    async def node(state):
        done = await work.slowly(b=state.get("b"), c=state.get("c", ""))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _c_solo(work):
    async def node(state):
        done = await work.slowly(c=state.get("c"), solo=state.get("solo"))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _sums(work):
    async def node(state):
        done = await work.slowly(sent=state.get("sent"), total=state.get("total"))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _packet(work):
    async def node(state):
        done = await work.slowly(i=state.get("i"), x=state.get("x"), a=state.get("a"))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _whole(work):
    async def node(state):
        return await work.slowly(**state)

    return node


def _x_sync(work):
    def node(state):
        done = work.in_a_thread(x=state.get("x"))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _b_c_sync(work):
    def node(state):
        done = work.in_a_thread(b=state.get("b"), c=state.get("c"))
        return Command(update=done.update, goto=done.goto) if isinstance(done, Command) else dict(done)

    return node


def _whole_sync(work):
    def node(state):
        return work.in_a_thread(**state)

    return node


Maker = Callable[[Any], Callable[..., Any]]

FUNCTIONS: dict[str, Maker] = {
    "x": _x,
    "a": _a,
    "b": _b,
    "a b": _a_b,
    "b c": _b_c,
    "c solo": _c_solo,
    "sent total": _sums,
    "i x a": _packet,
    "everything": _whole,
}
SYNC_FUNCTIONS: dict[str, Maker] = {
    **dict.fromkeys(("x", "a"), _x_sync),
    **dict.fromkeys(("b", "a b", "b c", "c solo"), _b_c_sync),
    **dict.fromkeys(("sent total", "i x a", "everything"), _whole_sync),
}
"""As `FUNCTIONS`, for nodes that are no coroutines; several of its names share a function."""
