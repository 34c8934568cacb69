"""Tools in a guarded run: what is called decides what waits, and each call is made once."""

import asyncio

import pytest
from effect_graphs import CONFIG, Dying, Judge, World, placed
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command, Send

import sherlock
from sherlock.runtime.effects_tools import calls_in, kind_of_calls
from sherlock.side_effects import EffectSpec


def tools(world, then=lambda: None, reconcile=None):
    @sherlock.effects("irreversible", reconcile=reconcile)
    @tool
    def pay(amount: int) -> str:
        """Pays."""
        world.send(f"pay {amount}")
        then()
        return f"paid {amount}"

    @sherlock.effects("none")
    @tool
    def look(amount: int) -> str:
        """Looks."""
        world.send(f"look {amount}")
        return "seen"

    @tool
    def anything(amount: int) -> str:
        """Says nothing about itself."""
        world.send(f"anything {amount}")
        return "done"

    return ToolNode([pay, look, anything])


def call(name, amount=1, id="call"):  # noqa: A002
    return {"name": name, "args": {"amount": amount}, "id": id, "type": "tool_call"}


def graph(node, *calls, by_send=False) -> StateGraph:
    """model -> tools, all calls in one execution or, as `create_agent` has it, each in its own."""
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda state: {"messages": [AIMessage("", tool_calls=list(calls))]})
    builder.add_node("tools", node)
    builder.add_edge(START, "model")
    if by_send:
        builder.add_conditional_edges("model", lambda state: [Send("tools", [each]) for each in calls], ["tools"])
    else:
        builder.add_edge("model", "tools")
    return builder


def run(compiled, value, plan=None):
    return asyncio.run(sherlock.guard(compiled, plan).ainvoke(value, CONFIG))


HELLO = {"messages": [HumanMessage("hello")]}


class Slow(Judge):
    def __init__(self, world):
        super().__init__()
        self.world = world
        self.before = []

    async def verify(self, subject):
        await asyncio.sleep(0.1)
        self.before += self.world.names
        return sherlock.Verdict(True)


@pytest.mark.parametrize(("name", "waits"), [("pay", True), ("look", False), ("anything", True)])
def test_only_what_is_called_waits(name, waits):
    world = World()
    judge = Slow(world)
    run(graph(tools(world), call(name)).compile(), HELLO, placed(model=judge))
    assert world.names == [f"{name} 1"]
    assert judge.before == ([] if waits else ["look 1"])
    assert (world.keys[0] is None) is not waits


def test_each_call_has_a_key_inside_the_tool():
    world = World()
    run(graph(tools(world), call("pay", id="a"), call("pay", id="b"), by_send=True).compile(), HELLO)
    assert world.names == ["pay 1", "pay 1"]
    assert len(set(world.keys)) == 2


@pytest.mark.parametrize("by_send", [True, False])
@pytest.mark.parametrize("found", ["paid before", None])
def test_a_tool_is_asked_what_became_of_its_call(by_send, found):
    world, saver, asked = World(), Dying(10_000), []

    def reconcile(key, inputs):
        asked.append((key, inputs))
        return found

    node = tools(world, lambda: world.sent[1:] or saver.die(), reconcile)
    compiled = graph(node, call("pay", 7), by_send=by_send).compile(checkpointer=saver)
    with pytest.raises(ConnectionError):
        run(compiled, HELLO)
    saver.left = 10_000
    state = run(compiled, None)
    assert asked == [(world.keys[0], {"amount": 7})]
    assert state["messages"][-1].content == (found or "paid 7")
    assert isinstance(state["messages"][-1], ToolMessage)
    assert len(world.sent) == (1 if found else 2)
    assert len(set(world.keys)) == 1


def test_a_person_may_say_that_all_calls_were_made():
    world, saver = World(), Dying(10_000)
    calls = call("pay", id="a"), call("look", id="b")
    compiled = graph(tools(world, saver.die), *calls).compile(checkpointer=saver)
    with pytest.raises(ConnectionError):
        run(compiled, HELLO)
    saver.left = 10_000
    assert run(compiled, None)["__interrupt__"][0].value["node"] == "tools"
    answers = run(compiled, Command(resume="done"))["messages"][-2:]
    assert [message.tool_call_id for message in answers] == ["a", "b"]
    assert world.names.count("pay 1") == 1


def test_what_is_called_is_read_from_every_kind_of_input():
    message = AIMessage("", tool_calls=[call("pay")])
    state = {"messages": [HumanMessage("x"), message, HumanMessage("y")]}
    for value in (
        state,
        state["messages"],
        [call("pay")],
        {"__type": "tool_call_with_context", "tool_call": call("pay")},
    ):
        assert [each["name"] for each in calls_in(value)] == ["pay"]
    assert calls_in({"messages": []}) is None
    specs = {"pay": EffectSpec("irreversible"), "look": EffectSpec("none"), "book": EffectSpec("compensable")}
    assert kind_of_calls(specs, [call("look")]) == "none"
    assert kind_of_calls(specs, [call("look"), call("pay")]) == "irreversible"
    assert kind_of_calls(specs, [call("book")]) == "irreversible"
    assert kind_of_calls(specs, [call("unknown")]) == "none"
    assert kind_of_calls(specs, {}) is None
