"""Small graphs for the gate: nodes whose first answer is wrong, so that a rollback that leaves a trace is seen.

A node of `Slips` returns something wrong until it has been told that a rollback took place. `mended` graphs never slip:
they are what an unguarded run would have been.
"""

import operator
from typing import Annotated, Any, TypedDict

from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    asked: str
    count: int


class Slips:
    """Names of nodes, each wrong `times` times."""

    def __init__(self, **times: int) -> None:
        self.times = dict(times)

    def __call__(self, name: str) -> str:
        left = self.times.get(name, 0)
        if left:
            self.times[name] = left - 1
            return f"{name}!"
        return name


NONE = Slips()


def says(name: str, slips: Slips = NONE) -> Any:
    async def node(state: State) -> dict[str, Any]:
        return {"log": [slips(name)]}

    node.__name__ = name
    return node


def chain(slips: Slips = NONE, names: str = "abcd", **compiled: Any) -> Any:
    builder = StateGraph(State)
    for name in names:
        builder.add_node(name, says(name, slips))
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile(**compiled)


def nested(slips: Slips = NONE, *, remembers: bool = False) -> Any:
    """a, then a subgraph of x and y, then b, then the subgraph again, then c."""
    inner = chain(slips, "xy", checkpointer=True if remembers else None)
    builder = StateGraph(State)
    for name in "abc":
        builder.add_node(name, says(name, slips))
    builder.add_node("sub", inner)
    builder.add_node("again", inner if not remembers else chain(slips, "xy", checkpointer=True))
    for before, after in zip([START, "a", "sub", "b", "again", "c"], ["a", "sub", "b", "again", "c", END], strict=True):
        builder.add_edge(before, after)
    return builder.compile()


class One(TypedDict, total=False):
    item: int
    log: Annotated[list[str], operator.add]


class Logged(TypedDict):
    log: Annotated[list[str], operator.add]


def fanned(slips: Slips = NONE) -> Any:
    """`split` sends three items to a node and to a subgraph; `join` gathers."""

    async def work(state: One) -> dict[str, Any]:
        return {"log": [slips(f"work{state['item']}")]}

    async def first(state: One) -> dict[str, Any]:
        return {"log": [slips(f"first{state['item']}")]}

    async def second(state: One) -> dict[str, Any]:
        return {"log": [slips(f"second{state['item']}")]}

    inner = StateGraph(One, output_schema=Logged)
    inner.add_node("first", first)
    inner.add_node("second", second)
    inner.add_edge(START, "first")
    inner.add_edge("first", "second")
    builder = StateGraph(State)
    builder.add_node("split", says("split", slips))
    builder.add_node("work", work)
    builder.add_node("deep", inner.compile())
    builder.add_node("join", says("join", slips))
    builder.add_edge(START, "split")
    builder.add_conditional_edges(
        "split",
        lambda _: [Send(node, {"item": item, "log": []}) for node in ("work", "deep") for item in range(3)],
        ["work", "deep"],
    )
    builder.add_edge(["work", "deep"], "join")
    return builder.compile()


def asking(slips: Slips = NONE, *, inside: bool = False) -> Any:
    """a, then a node that asks twice (in a subgraph if `inside`) beside one that does not, then b."""

    async def ask(state: State) -> dict[str, Any]:
        first = interrupt("first?")
        second = interrupt("second?")
        return {"log": [slips("ask"), first, second]}

    builder = StateGraph(State)
    for name in "abp":
        builder.add_node(name, says(name, slips))
    if inside:
        inner = StateGraph(State)
        inner.add_node("x", says("x", slips))
        inner.add_node("ask", ask)
        inner.add_edge(START, "x")
        inner.add_edge("x", "ask")
        builder.add_node("question", inner.compile())
    else:
        builder.add_node("question", ask)
    builder.add_edge(START, "a")
    builder.add_edge("a", "question")
    builder.add_edge("a", "p")
    builder.add_edge(["question", "p"], "b")
    return builder.compile()


def _joined(base: list[str], writes: list[list[str]]) -> list[str]:
    return [*base, *(item for write in writes for item in write)]


class Delta(TypedDict, total=False):
    log: Annotated[list[str], DeltaChannel(_joined, snapshot_frequency=4)]
    other: Annotated[list[str], operator.add]


def delta(slips: Slips = NONE, rounds: int = 3) -> Any:
    """A loop over two parallel nodes and one more, on a channel that stores sums."""

    def node(name: str) -> Any:
        async def run(state: Delta) -> dict[str, Any]:
            return {"log": [slips(f"{name}{len(state['other'])}")], "other": [name] if name == "c" else []}

        return run

    builder = StateGraph(Delta)
    for name in "abc":
        builder.add_node(name, node(name))
    builder.add_edge(START, "a")
    builder.add_edge(START, "b")
    builder.add_edge(["a", "b"], "c")
    builder.add_conditional_edges("c", lambda s: ["a", "b"] if len(s["other"]) < rounds else END, ["a", "b", END])
    return builder.compile()
