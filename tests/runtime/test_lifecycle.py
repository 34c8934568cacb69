"""What lifecycle callbacks hear of a guarded run: one interrupt and one resumption, as without the guard."""

import asyncio
from typing import TypedDict

import pytest
from langgraph.callbacks import GraphCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

import sherlock

THREAD = {"thread_id": "1"}


class State(TypedDict, total=False):
    text: str
    answer: str


class Ears(GraphCallbackHandler):
    def __init__(self):
        self.heard = []

    def on_interrupt(self, event):
        self.heard.append(("interrupt", [each.value for each in event.interrupts]))

    def on_resume(self, event):
        self.heard.append(("resume", event.status))


class Corrects:
    """Says no once to everything, a little later than the nodes after it begin."""

    name = "corrects"

    async def verify(self, subject):
        await asyncio.sleep(0.02)
        right = subject.text.startswith("right")
        return sherlock.Verdict(right, corrected=None if right else f"right {subject.text}")


async def write(state: State) -> State:
    return {"text": "draft"}


async def ask(state: State) -> State:
    return {"answer": interrupt(f"send {state['text']}?")}


def build():
    builder = StateGraph(State)
    builder.add_node("write", write)
    builder.add_node("ask", ask)
    builder.add_edge(START, "write")
    builder.add_edge("write", "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=InMemorySaver())


async def asked_and_answered(agent, ears):
    config = {"configurable": THREAD, "callbacks": [ears]}
    first = await agent.ainvoke({"text": ""}, config)
    ends = [agent.report().end] if isinstance(agent, sherlock.GuardedGraph) else []
    last = await agent.ainvoke(Command(resume="yes"), config)
    ends += [agent.report().end] if ends else []
    return first["__interrupt__"][0].value, last["answer"], ends


def test_an_interrupt_and_its_resumption_are_told_once():
    plain, guarded = Ears(), Ears()
    agent = sherlock.guard(build(), sherlock.Plan.attach({"write": Corrects()}))
    question, answer, ends = asyncio.run(asked_and_answered(agent, guarded))
    asyncio.run(asked_and_answered(build(), plain))
    assert (question, answer, ends) == ("send right draft?", "yes", ["interrupted", "done"])
    assert [kind for kind, _ in guarded.heard] == [kind for kind, _ in plain.heard] == ["interrupt", "resume"]
    assert guarded.heard[0] == ("interrupt", ["send right draft?"])  # never what was asked on unverified grounds


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
def test_a_breakpoint_interrupts_too(where):
    async def main():
        agent = sherlock.guard(build(), sherlock.Plan.attach({"write": Corrects()}))
        node = ["ask"] if where == "interrupt_before" else ["write"]
        state = await agent.ainvoke({"text": ""}, {"configurable": THREAD}, **{where: node})
        return state["text"], agent.report().end

    assert asyncio.run(main()) == ("right draft", "interrupted")
