"""Small real graphs that several tests read."""

import operator
from typing import Annotated, TypedDict

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph


class State(TypedDict):
    log: Annotated[list[str], operator.add]


def step(state):
    return {"log": ["step"]}


def wired(*edges, nodes=(), schema=State):
    """A builder from edges; a tuple of sources is a join."""
    builder = StateGraph(schema)
    named = {name for sources, target in edges for name in ([sources] if isinstance(sources, str) else [*sources])}
    named |= {target for _, target in edges}
    for name in sorted({*named, *nodes} - {START, END}):
        builder.add_node(name, step)
    for sources, target in edges:
        builder.add_edge(sources if isinstance(sources, str) else list(sources), target)
    return builder


def inner(*edges):
    return wired(*edges).compile()


def nested():
    deepest = inner((START, "z"))
    middle = StateGraph(State)
    middle.add_node("deep", deepest)
    middle.add_node("y", step)
    middle.add_edge(START, "deep")
    middle.add_edge("deep", "y")
    outer = StateGraph(State)
    outer.add_node("mid", middle.compile())
    outer.add_edge(START, "mid")
    top = StateGraph(State)
    top.add_node("out", outer.compile())
    top.add_node("x", step)
    top.add_edge(START, "out")
    top.add_edge("out", "x")
    return top


class Model(GenericFakeChatModel):
    def bind_tools(self, tools, **kwargs):
        return self


@tool
def look_up(name: str) -> str:
    """Look a name up."""
    return name


def agent(**kwargs):
    return create_agent(Model(messages=iter([AIMessage("hello")])), tools=[look_up], **kwargs)
