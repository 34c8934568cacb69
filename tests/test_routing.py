import functools

import pytest
from langgraph.graph import END
from langgraph.types import Command, Send

from sherlock.routing import Jumps, jumps, router_targets, sent_targets

NEXT = "from a constant"


class Names:
    reply = "from a class"


def constant(state):
    return "a"


def several(state):
    if state:
        return NEXT
    return ["a", END] if state is None else Names.reply


def variable(state):
    where = "a"
    if state:
        where = "b"
    return where


def growing(state):
    found = [Send("a", state)]
    found.append(Send(node="b", arg=1))
    found += ["c"]
    found.extend(Send("d", part) for part in state)
    return found or END


def nested(state):
    def inner():
        return "not returned by the router"

    return "a"


def local_import(state):
    from langgraph.types import Send as Sending

    return [Sending("a", state)]


class Router:
    def __call__(self, state):
        return "a"

    async def method(self, state):
        return "b"


def closure(name):
    def route(state):
        return [Send(name, state)]

    return route


def computed(state):
    return state["next"]


def half_computed(state):
    return "a" if state else str(state)


def parameter(state, where="a"):
    return where


def looped(state):
    for name in state:
        where = name
    return where


def poisoned(state):
    found = ["a"]
    found.pop()
    return found


def generating(state):
    yield "a"


def nothing(state):
    pass


@pytest.mark.parametrize(
    ("router", "targets"),
    [
        (constant, {"a"}),
        (several, {"from a constant", "a", END, "from a class"}),
        (variable, {"a", "b"}),
        (growing, {"a", "b", "c", "d", END}),
        (nested, {"a"}),
        (Router(), {"a"}),
        (Router().method, {"b"}),
        (closure("x"), {"x"}),
        (functools.partial(constant), {"a"}),
        (lambda state: [Send("a", part) for part in state], {"a"}),
        (computed, None),
        (half_computed, None),
        (parameter, None),
        (looped, None),
        (poisoned, None),
        (generating, None),
        (nothing, None),
        (local_import, None),  # under another name it cannot be told
        (len, None),
        (eval("lambda state: 'a'"), None),
    ],
)
def test_router_targets(router, targets):
    assert router_targets(router) == targets


def test_lambdas_are_told_apart_on_one_line_and_within_a_chain_of_calls():
    first, second, nested = (lambda state: "a"), (lambda state: ["b"]), (lambda state: (lambda: "c") and "d")
    assert [router_targets(router) for router in (first, second)] == [{"a"}, {"b"}]
    assert router_targets(nested) is None  # `and` may return the inner function
    chained = [str].copy().__add__(
        [lambda state: Command(goto="a" if state else END)],
    )
    assert jumps(chained[1]) == Jumps(local=frozenset({"a", END}))


def test_sent_targets_leave_out_what_is_returned_by_name():
    assert sent_targets(growing) == {"a", "b", "d"}
    assert sent_targets(computed) == frozenset()


def to_parent(state):
    if state:
        return Command(goto="sibling", graph=Command.PARENT)
    return Command(goto=["a", Send("b", state)], update={})


def to_anywhere(state):
    return [Command(goto=state["next"]), Command(graph=Command.PARENT, goto=state["next"])]


def no_goto(state):
    return Command(update={"goto": "a"})


def local_command(state):
    from langgraph.types import Command

    return Command(goto="a")


def test_jumps():
    assert jumps(to_parent) == Jumps(local=frozenset({"a", "b"}), parent=frozenset({"sibling"}))
    assert jumps(to_anywhere) == Jumps(open=True, open_parent=True)
    assert jumps(no_goto) == jumps(constant) == jumps(len) == Jumps()
    assert jumps(local_command) == Jumps(local=frozenset({"a"}))
