import functools

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import StructuredTool, tool
from langgraph.graph import START, StateGraph
from langgraph.prebuilt import ToolNode
from sample_graphs import State, agent, look_up, step

from sherlock.errors import GraphError
from sherlock.side_effects import EffectSpec, effect_of, effects, strongest, tool_effects


def undo(inputs, output):
    return None


def stub(inputs):
    return {"log": ["stub"]}


def node_of(action, **kwargs):
    """The `PregelNode` of a real graph."""
    builder = StateGraph(State)
    builder.add_node("node", action, **kwargs)
    builder.add_edge(START, "node")
    return builder.compile().nodes["node"]


def pay(state):
    return {"log": ["paid"]}


def test_decorator_marks_without_wrapping():
    @effects("compensable", undo=undo, stub=stub)
    def send(state):
        return {"log": ["sent"]}

    assert send({"log": []}) == {"log": ["sent"]}
    assert type(send) is type(undo)
    assert effect_of(node_of(send)) == EffectSpec("compensable", undo=undo, stub=stub)


def test_nothing_said():
    assert effect_of(node_of(step)) is None
    assert tool_effects(node_of(step)) == {}


@effects("irreversible")
async def asynchronous(state):
    return {"log": []}


@effects("idempotent")
class Callable:
    def __call__(self, state):
        return {"log": []}


class Agent:
    @effects("irreversible")
    def method(self, state):
        return {"log": []}


class Holder:
    @effects("none")
    def __call__(self, state):
        return {"log": []}


@effects("compensable")
def inner(state, extra=None):
    return {"log": []}


@functools.wraps(inner)
def wrapped(state):
    return inner(state)


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        (asynchronous, "irreversible"),
        (Callable(), "idempotent"),
        (Agent().method, "irreversible"),
        (Holder(), "none"),
        (functools.partial(inner, extra=1), "compensable"),
        (functools.partial(functools.partial(inner), extra=1), "compensable"),
        (wrapped, "compensable"),
        (RunnableLambda(inner), "compensable"),
        (RunnableLambda(inner).with_config(tags=["x"]), "compensable"),
        (RunnableLambda(step) | RunnableLambda(inner) | RunnableLambda(asynchronous), "irreversible"),
    ],
)
def test_found_behind_anything_callable(action, kind):
    assert effect_of(node_of(action)) == EffectSpec(kind)


def test_metadata_come_first():
    said = {"sherlock": {"effects": "idempotent", "stub": stub, "verifier": "x"}}
    assert effect_of(node_of(asynchronous, metadata=said)) == EffectSpec("idempotent", stub=stub)
    assert effect_of(node_of(asynchronous, metadata={"sherlock": {"verifier": "x"}})) == EffectSpec("irreversible")
    assert effect_of(node_of(asynchronous, metadata={"other": 1})) == EffectSpec("irreversible")


def test_node_specs_of_a_builder_are_read_too():
    builder = StateGraph(State)
    builder.add_node("node", asynchronous)
    assert effect_of(builder.nodes["node"]) == EffectSpec("irreversible")


def make_tool(name, **kwargs):
    return StructuredTool.from_function(func=lambda x: x, name=name, description="a tool", **kwargs)


def test_tool_nodes_are_irreversible_unless_every_tool_says_otherwise():
    harmless = make_tool("harmless", metadata={"sherlock": {"effects": "none"}})
    repeatable = effects("idempotent")(make_tool("repeatable"))
    silent = make_tool("silent")
    assert effect_of(node_of(ToolNode([silent]))) == EffectSpec("irreversible")
    assert effect_of(node_of(ToolNode([harmless]))) == EffectSpec("none")
    assert effect_of(node_of(ToolNode([harmless, repeatable]))) == EffectSpec("idempotent")
    assert effect_of(node_of(ToolNode([harmless, repeatable, silent]))) == EffectSpec("irreversible")
    assert tool_effects(node_of(ToolNode([harmless, silent]))) == {
        "harmless": EffectSpec("none"),
        "silent": EffectSpec("irreversible"),
    }
    said = {"sherlock": {"effects": "none"}}
    assert effect_of(node_of(ToolNode([silent]), metadata=said)) == EffectSpec("none")


def test_decorator_on_either_side_of_tool():
    @effects("none")
    @tool
    def outside(x: int) -> int:
        """A tool."""
        return x

    @tool
    @effects("idempotent", stub=stub)
    def inside(x: int) -> int:
        """A tool."""
        return x

    assert outside.invoke({"x": 1}) == inside.invoke({"x": 1}) == 1
    assert tool_effects(node_of(ToolNode([outside, inside]))) == {
        "outside": EffectSpec("none"),
        "inside": EffectSpec("idempotent", stub=stub),
    }


def test_marking_a_tool_keeps_its_metadata():
    marked = effects("none")(make_tool("t", metadata={"a": 1, "sherlock": {"verifier": "x"}}))
    assert marked.metadata == {"a": 1, "sherlock": {"verifier": "x", "effects": EffectSpec("none")}}


def test_agents_tools():
    assert effect_of(agent().nodes["tools"]) == EffectSpec("irreversible")
    assert effect_of(agent().nodes["model"]) is None
    assert look_up.metadata is None


def test_the_strongest_of_several():
    assert strongest([]) is None
    assert strongest([EffectSpec("none", stub=stub)]) == EffectSpec("none", stub=stub)
    kinds = ["none", "compensable", "idempotent"]
    assert strongest([EffectSpec(kind) for kind in kinds]) == EffectSpec("compensable")


def test_a_wrong_kind_names_the_nearest():
    with pytest.raises(ValueError, match=r"no kind of effect 'ireversible': .*\('irreversible'\?\)"):
        effects("ireversible")
    with pytest.raises(GraphError, match=r"\('none'\?\)"):
        effect_of(node_of(step, metadata={"sherlock": {"effects": "non"}}))
    with pytest.raises(ValueError, match="'compensable'"):
        effect_of(node_of(ToolNode([make_tool("t", metadata={"sherlock": {"effects": "compensate"}})])))


def test_what_cannot_be_marked():
    with pytest.raises(ValueError, match="builtin_function_or_method cannot be marked: give its node metadata="):
        effects("none")(len)
