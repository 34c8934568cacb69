"""What people do with LangGraph graphs, as scenarios that must go the same way when the graph is guarded.

A scenario builds a graph, has it guarded (or not) by `make`, uses it, and returns a record of all that it saw. Its
nodes take distinct times, so that the order of what they stream is settled.
"""

import asyncio
import operator
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.config import get_stream_writer
from langgraph.errors import NodeError
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, RetryPolicy, Send, StreamWriter
from plain_records import plain, result, taken
from pydantic import BaseModel
from typing_extensions import TypedDict

Make = Callable[[Any], Any]
Scenario = Callable[[Make], Awaitable[Any]]
SCENARIOS: dict[str, Scenario] = {}
THREAD = {"configurable": {"thread_id": "7"}}
MODES = ["values", "updates", "custom", "messages", "tasks", "checkpoints", "debug"]


class State(TypedDict, total=False):
    x: int
    log: Annotated[list, operator.add]


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__] = function
    return function


def step(name: str, seconds: float = 1.0, **written: Any) -> Any:
    """A node that logs its name."""

    async def node(state: State) -> dict[str, Any]:
        await asyncio.sleep(seconds)
        return {"log": [name], **written}

    return node


def chain(*names: str, schema: Any = State, **nodes: Any) -> StateGraph:
    """Nodes in a row; those not given as keyword log their names."""
    builder = StateGraph(schema)
    for name in names:
        builder.add_node(name, nodes.get(name) or step(name))
    for source, target in zip((START, *names), (*names, END), strict=True):
        builder.add_edge(source, target)
    return builder


def diamond(**nodes: Any) -> StateGraph:
    """`a`, then `b` and `c` side by side, then `d`."""
    builder = StateGraph(State)
    for seconds, name in enumerate("abcd", 1):
        builder.add_node(name, nodes.get(name) or step(name, seconds))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("a", "c")
    builder.add_edge(["b", "c"], "d")
    return builder


def nested(**nodes: Any) -> StateGraph:
    """A subgraph in a subgraph: `first`, `outer/inner/a..d`, `last`."""
    outer = chain("before", "inner", "after", inner=diamond(**nodes).compile())
    return chain("first", "outer", "last", outer=outer.compile())


# Results and streams


@scenario
async def invoke_and_its_shapes(make):
    agent = make(diamond().compile())
    return [
        await result(agent.ainvoke({"x": 1})),
        await result(agent.ainvoke({"x": 1}, stream_mode="updates")),
        await result(agent.ainvoke({"x": 1}, stream_mode=["values", "updates"])),
        await result(agent.ainvoke({"x": 1}, output_keys="log")),
        await result(agent.ainvoke({"x": 1}, version="v2")),
        await result(agent.ainvoke({"y": 1})),
        await result(agent.ainvoke(None)),
        await result(agent.abatch([{"x": 1}, {"x": 2}, {"x": 3}])),
    ]


@scenario
async def every_stream_mode(make):
    agent = make(diamond().compile(checkpointer=InMemorySaver()))
    found = {}
    for number, mode in enumerate([*MODES, MODES[:2], MODES]):
        config = {"configurable": {"thread_id": str(number)}}
        found[str(mode)] = await taken(agent.astream({"x": 1}, config, stream_mode=mode))
    return found


@scenario
async def streams_of_subgraphs(make):
    agent = make(nested().compile())
    return [
        await taken(agent.astream({"x": 1}, stream_mode=mode, subgraphs=subgraphs))
        for mode in ("updates", MODES)
        for subgraphs in (True, False)
    ]


@scenario
async def streams_of_the_second_version(make):
    agent = make(nested().compile())
    return [
        await taken(agent.astream({"x": 1}, stream_mode=mode, version="v2", subgraphs=True))
        for mode in ("updates", ["values", "custom", "tasks"])
    ]


def spoken(text: str) -> Any:
    model = GenericFakeChatModel(messages=iter([AIMessage(text, id="said")] * 50))

    async def speak(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return speak


@scenario
async def tokens_of_models(make):
    inner = chain("one", "two", schema=MessagesState, one=spoken("good day to you"), two=spoken("and you"))
    nodes = {"ask": spoken("who is there"), "sub": inner.compile(), "end": spoken("so long")}
    builder = chain(*nodes, schema=MessagesState, **nodes)
    agent = make(builder.compile())
    start = {"messages": [HumanMessage("hello", id="first")]}
    return [
        await taken(agent.astream(start, stream_mode="messages")),
        await taken(agent.astream(start, stream_mode=["messages", "updates"], subgraphs=True)),
        await result(agent.ainvoke(start)),
    ]


@scenario
async def custom_chunks(make):
    async def written(state: State, writer: StreamWriter) -> dict[str, Any]:
        writer({"progress": 1})
        await asyncio.sleep(1.5)
        get_stream_writer()("half way")
        return {"log": ["b"]}

    def sync(state: State) -> dict[str, Any]:
        get_stream_writer()("from a thread")
        return {"log": ["d"]}

    graph = diamond(b=written, d=sync)
    outer = chain("first", "sub", sub=graph.compile())
    return [
        await taken(make(graph.compile()).astream({"x": 1}, stream_mode="custom")),
        await taken(make(graph.compile()).astream({"x": 1}, stream_mode=["custom", "updates"])),
        await taken(make(outer.compile()).astream({"x": 1}, stream_mode="custom", subgraphs=True)),
        await taken(make(outer.compile()).astream({"x": 1}, stream_mode="custom")),
    ]


@scenario
async def events(make):
    agent = make(chain("a", "b", schema=MessagesState, a=spoken("good day"), b=spoken("and you")).compile())
    found = []
    async for event in agent.astream_events({"messages": [HumanMessage("hello", id="first")]}, version="v2"):
        data = {key: plain(value) for key, value in event["data"].items()}
        found.append([event["event"], event["name"], event["tags"], data, len(event["parent_ids"])])
    return found


# Control flow


@scenario
async def routing_by_commands(make):
    async def go(state: State) -> Command:
        return Command(update={"log": ["go"]}, goto="c" if state["x"] else ["b", "c"])

    async def up(state: State) -> Command:
        return Command(graph=Command.PARENT, update={"log": ["up"]}, goto="b")

    inner = chain("up", "never", up=up).compile()
    builder = StateGraph(State)
    builder.add_node("go", go, destinations=("b", "c"))
    builder.add_node("b", step("b", 2))
    builder.add_node("c", step("c", 3))
    builder.add_node("sub", inner)
    builder.add_edge(START, "go")
    builder.add_edge("c", "sub")
    agent = make(builder.compile())
    modes = ["updates", "values"]
    return [await taken(agent.astream({"x": x}, stream_mode=modes, subgraphs=True)) for x in (0, 1)]


@scenario
async def sends_and_deferred_nodes(make):
    async def work(packet: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(1 + packet["n"])
        return {"log": [f"work {packet['n']}"]}

    builder = StateGraph(State)
    builder.add_node("plan", step("plan"))
    builder.add_node("work", work)
    builder.add_node("sub", chain("one", "two").compile())
    builder.add_node("end", step("end"), defer=True)
    builder.add_edge(START, "plan")
    sends = lambda state: [*(Send("work", {"n": n}) for n in range(3)), Send("sub", {"x": 5}), "end"]
    builder.add_conditional_edges("plan", sends, ["work", "sub", "end"])
    builder.add_edge("work", "end")
    builder.add_edge("sub", "end")
    agent = make(builder.compile())
    return [
        await taken(agent.astream({"x": 1}, stream_mode=["updates", "values"], subgraphs=True)),
        await result(agent.ainvoke({"x": 1}, {"max_concurrency": 1})),
    ]


@scenario
async def recursion_limits(make):
    builder = chain("a", "b")
    builder.edges.discard(("b", END))
    builder.add_edge("b", "a")
    inner = make(chain("first", "sub", sub=builder.compile()).compile())
    agent = make(builder.compile())
    return [
        await taken(agent.astream({"x": 1}, {"recursion_limit": 5}, stream_mode="updates")),
        await result(agent.ainvoke({"x": 1}, {"recursion_limit": 4})),
        await result(inner.ainvoke({"x": 1}, {"recursion_limit": 6})),
        *[await result(make(chain("a", "b").compile()).ainvoke({"x": 1}, {"recursion_limit": n})) for n in (1, 2, 3)],
    ]


# Failure


def failing(times: int, error: Exception) -> Any:
    left = iter([error] * times)

    async def fail(state: State) -> dict[str, Any]:
        await asyncio.sleep(2.5)
        if (now := next(left, None)) is not None:
            raise now
        return {"log": ["came round"]}

    return fail


@scenario
async def errors(make):
    saver = InMemorySaver()
    agent = make(diamond(b=failing(1, ValueError("bad b"))).compile(checkpointer=saver))
    first = await taken(agent.astream({"x": 1}, THREAD, stream_mode=["updates", "values"]))
    state = await agent.aget_state(THREAD)
    again = await taken(agent.astream(None, THREAD, stream_mode=["updates", "values"]))
    deep = make(nested(c=failing(1, KeyError("deep"))).compile())
    return [
        first,
        plain([state.values, state.next, state.metadata, [task.error for task in state.tasks]]),
        again,
        await taken(deep.astream({"x": 1}, stream_mode="updates", subgraphs=True)),
    ]


@scenario
async def retries_and_handlers(make):
    def handler(state: State, error: NodeError) -> Command:
        return Command(update={"log": [f"handled {error.error}"]}, goto="b")

    policy = RetryPolicy(max_attempts=3, initial_interval=4.0, jitter=False, retry_on=ConnectionError)
    builder = StateGraph(State)
    builder.add_node("a", failing(2, ConnectionError("down")), retry_policy=policy)
    builder.add_node("b", step("b"))
    builder.add_node("c", failing(9, ConnectionError("down")), retry_policy=policy)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    handled = StateGraph(State)
    handled.add_node("a", failing(1, ValueError("bad")), error_handler=handler)
    handled.add_node("b", step("b"))
    handled.add_edge(START, "a")
    return [
        await taken(make(builder.compile()).astream({"x": 1}, stream_mode="updates")),
        await taken(make(handled.compile()).astream({"x": 1}, stream_mode="updates")),
        await result(make(handled.compile()).ainvoke({"x": 1})),
    ]


@scenario
async def timeouts(make):
    builder = StateGraph(State)
    builder.add_node("a", step("a", 2), timeout=3.0)
    builder.add_node("b", step("b", 5), timeout=3.0)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    limited = diamond().compile()
    limited.step_timeout = 2.5

    async def given_up(agent: Any) -> Any:
        async with asyncio.timeout(4):
            return await agent.ainvoke({"x": 1})

    return [
        (await result(make(builder.compile()).ainvoke({"x": 1})))[:40],
        await result(make(limited).ainvoke({"x": 1})),
        await result(given_up(make(diamond().compile()))),
    ]


# Context, configuration, stores, schemas


@dataclass
class Who:
    user: str = "nobody"


@scenario
async def context_and_configuration(make):
    async def look(state: State, config: RunnableConfig, runtime: Runtime[Who]) -> dict[str, Any]:
        await runtime.store.aput(("seen",), "who", {"name": runtime.context.user})
        configurable = {key: each for key, each in config["configurable"].items() if not key.startswith("__")}
        metadata = {key: each for key, each in config["metadata"].items() if key != "checkpoint_ns"}
        return {"log": [sorted(config["tags"]), plain(metadata), sorted(configurable), runtime.previous]}

    async def recall(state: State, runtime: Runtime[Who]) -> dict[str, Any]:
        found = await runtime.store.aget(("seen",), "who")
        return {"log": [found.value]}

    builder = StateGraph(State, context_schema=Who)
    builder.add_node("look", look, metadata={"mine": 1})
    builder.add_node("recall", recall)
    builder.add_edge(START, "look")
    builder.add_edge("look", "recall")
    store = InMemoryStore()
    agent = make(builder.compile(store=store))
    config = {"tags": ["t"], "metadata": {"m": 1}, "configurable": {"own": 3}, "run_name": "named"}
    bound = agent.with_config({"tags": ["bound"], "configurable": {"more": 1}})
    return [
        await result(agent.ainvoke({"x": 1}, config, context=Who("ann"))),
        await result(agent.ainvoke({"x": 1}, config, context={"user": "bob"})),
        await result(bound.ainvoke({"x": 1}, config, context=Who("cy"))),
        plain([(item.key, item.value) for item in store.search(("seen",))]),
    ]


class Form(BaseModel):
    x: int
    log: Annotated[list[str], operator.add] = []


@scenario
async def schemas(make):
    async def typed(state: Form) -> dict[str, Any]:
        return {"x": state.x + 1, "log": [type(state).__name__]}

    def sync(state: Form) -> dict[str, Any]:
        return {"x": state.x * 2}

    class Out(TypedDict):
        x: int

    builder = StateGraph(Form, output_schema=Out)
    builder.add_node("typed", typed)
    builder.add_node("sync", sync)
    builder.add_edge(START, "typed")
    builder.add_edge("typed", "sync")
    agent = make(builder.compile(name="form"))
    return [
        await result(agent.ainvoke({"x": 1})),
        await result(agent.ainvoke(Form(x=3))),
        await result(agent.ainvoke({"x": "no number"})),
        agent.get_input_jsonschema(),
        agent.get_output_jsonschema(),
        agent.get_graph().draw_mermaid(),
        agent.name,
        sorted(agent.nodes),
        sorted(agent.channels),
    ]
