"""Guarded graphs inside graphs, guarded or not, and agents made by LangChain."""

import asyncio
from typing import Any

import pytest
import virtual_clock
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt
from small_graphs import RIGHT, WRONG, Ruled, State, accepts, breaks, chain, rejects, saying

import sherlock
from sherlock import Plan, Verdict
from sherlock.runtime.events import RunFinished

START_STATE = {"x": "go"}
THREAD = {"configurable": {"thread_id": "1"}}


def around(inner):
    """A builder with `inner` as a node, then a node that repeats what came out."""
    builder = StateGraph(State)
    builder.add_node("child", inner)
    builder.add_node("after", saying("x", "after {c}"))
    builder.add_edge(START, "child")
    builder.add_edge("child", "after")
    return builder


def inner(verifier=None, on_event=None, **said):
    return sherlock.guard(chain(**said), Plan.attach({"a": verifier or Ruled(seconds=2)}), on_event=on_event)


# In a graph that is not guarded


def test_it_verifies_blocking_and_says_so():
    events = []
    log = []
    agent = inner(on_event=events.append, log=log)
    state = virtual_clock.run(around(agent).compile().ainvoke(START_STATE))
    assert state["x"] == f"after c has b has {RIGHT}"
    report = agent.report()
    assert report.blocking
    assert "not guarded" in report.notes[0]
    assert (report.node_executions, report.wasted_executions, report.rollbacks) == (3, 0, 0)
    assert report.end == "done"
    assert [type(event).__name__ for event in events] == [
        "ExecutionStarted",
        "ExecutionEnded",
        "VerificationStarted",
        "VerdictReached",
        *["ExecutionStarted", "ExecutionEnded"] * 2,
        "RunFinished",
    ]
    assert events[-1].report is report
    assert log == ["a", "b", "c"]


def test_each_run_has_its_report():
    events = []
    agent = inner(on_event=events.append)
    parent = around(agent).compile()

    async def main():
        await asyncio.gather(*(parent.ainvoke(START_STATE) for _ in range(3)))

    virtual_clock.run(main())
    reports = [event.report for event in events if isinstance(event, RunFinished)]
    assert len({report.run_id for report in reports}) == 3
    assert all(len(report.verdicts) == 1 for report in reports)
    assert all(agent.report(report.run_id) is report for report in reports)


def test_a_retry_counts():
    agent = inner(Ruled(rejects))
    virtual_clock.run(around(agent).compile().ainvoke(START_STATE))
    report = agent.report()
    assert [verdict.accepted for verdict in report.verdicts] == [False, False]
    assert (report.node_executions, report.wasted_executions) == (4, 1)
    assert [flagged.node for flagged in report.flagged] == ["a"]


def test_a_failure_is_reported():
    agent = inner(Ruled(breaks))
    with pytest.raises(sherlock.VerifierError):
        virtual_clock.run(around(agent).compile().ainvoke(START_STATE))
    assert agent.report().end == "failed"
    assert [failure.reason for failure in agent.report().failures] == ["raised"]


def test_an_interrupt_is_reported():
    def ask(state: State) -> State:
        return {"a": interrupt("what?")}

    builder = StateGraph(State)
    builder.add_node("a", ask)
    builder.add_edge(START, "a")
    agent = sherlock.guard(builder, Plan.attach({"a": Ruled()}))
    parent = around(agent).compile(checkpointer=InMemorySaver())
    asyncio.run(parent.ainvoke(START_STATE, THREAD))
    assert agent.report().end == "interrupted"


@pytest.mark.parametrize("how", ["ainvoke", "astream"])
def test_called_by_a_nodes_function(how):
    agent = inner()

    async def call(state: State) -> State:
        if how == "ainvoke":
            return {"a": (await agent.ainvoke(START_STATE))["a"]}
        chunks = [chunk async for chunk in agent.astream(START_STATE)]
        return {"a": chunks[0]["a"]["a"]}

    builder = StateGraph(State)
    builder.add_node("call", call)
    builder.add_edge(START, "call")
    assert virtual_clock.run(builder.compile().ainvoke(START_STATE))["a"] == RIGHT
    assert agent.report().blocking


def test_cancelled():
    agent = inner(Ruled(seconds=99))

    async def main():
        task = asyncio.ensure_future(around(agent).compile().ainvoke(START_STATE))
        await asyncio.sleep(5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert not virtual_clock.run(main())
    assert agent.report().end == "cancelled"


# In a graph that is guarded


def begun_before(events, node, verdict_on):
    kinds = [(type(event).__name__, event.node) for event in events]
    return kinds.index(("ExecutionStarted", node)) < kinds.index(("VerdictReached", verdict_on))


def test_a_guarded_parent_takes_the_placements_over():
    """And runs past them, which the inner guard could not."""
    mine, theirs = Ruled(accepts, 2), Ruled(seconds=2.5)
    events = []
    child = inner(theirs)
    agent = sherlock.guard(around(child), Plan.attach({"child/b": mine}), on_event=events.append)
    state = virtual_clock.run(agent.ainvoke(START_STATE))
    assert state["x"] == f"after c has b has {RIGHT}"
    assert {verdict.node for verdict in agent.report().verdicts} == {"child/a", "child/b"}
    assert begun_before(events, "child/b", "child/a")
    assert agent.report().rollbacks == 1
    assert not agent.report().blocking
    assert child.report() is None


def test_the_parents_plan_comes_first():
    mine, theirs = Ruled(accepts), Ruled()
    agent = sherlock.guard(around(inner(theirs)), Plan.attach({"child/a": mine}))
    state = virtual_clock.run(agent.ainvoke(START_STATE))
    assert (mine.asked, theirs.asked) == (["child/a"], [])
    assert state["a"] == WRONG


def test_a_guard_two_levels_down():
    middle = StateGraph(State)
    middle.add_node("child", inner())
    middle.add_edge(START, "child")
    builder = around(middle.compile())
    agent = sherlock.guard(builder)
    assert virtual_clock.run(agent.ainvoke(START_STATE))["x"] == f"after c has b has {RIGHT}"
    assert [verdict.node for verdict in agent.report().verdicts] == ["child/child/a"]


def test_guards_all_the_way_down():
    """A guarded graph, in a guarded graph, in a guarded graph."""
    middle = StateGraph(State)
    middle.add_node("child", inner())
    middle.add_edge(START, "child")
    guarded_middle = sherlock.guard(middle, Plan.attach({"child/b": Ruled(accepts)}))
    agent = sherlock.guard(around(guarded_middle), Plan.attach({"child/child/c": Ruled(accepts)}))
    assert virtual_clock.run(agent.ainvoke(START_STATE))["x"] == f"after c has b has {RIGHT}"
    assert {verdict.node for verdict in agent.report().verdicts} == {f"child/child/{key}" for key in "abc"}


def test_guarding_again_adds():
    once = inner()
    twice = sherlock.guard(once, Plan.attach({"b": Ruled(accepts)}))
    assert virtual_clock.run(twice.ainvoke(START_STATE))["a"] == RIGHT
    assert {verdict.node for verdict in twice.report().verdicts} == {"a", "b"}
    assert once.report() is None


def test_the_inner_guard_is_not_changed():
    child = inner(seconds=0, verifier=Ruled(seconds=0))
    sherlock.guard(around(child), Plan.attach({"child/a": Ruled(accepts)}))
    assert isinstance(child, sherlock.GuardedGraph)
    assert child.invoke(START_STATE)["a"] == RIGHT


# `create_agent`


class ScriptedModel(GenericFakeChatModel):
    """Says what is written, in order; takes tools without a word."""

    def bind_tools(self, tools, **options):
        return self


def call(number, called="1"):
    return AIMessage("", tool_calls=[{"name": "double", "args": {"number": number}, "id": called}], id=f"call {called}")


def agent_of(answers, verifier, *, effects="none", on_reject="correct", **policy) -> tuple[Any, list[int]]:
    """A guarded agent of LangChain's with one tool, and what that was called with."""
    called = []

    @tool
    def double(number: int) -> int:
        """Twice the number."""
        called.append(number)
        return 2 * number

    if effects is not None:
        double = sherlock.effects(effects)(double)
    graph = create_agent(ScriptedModel(messages=iter(answers)), [double])
    plan = Plan.attach({"model": verifier}, policy=policy)
    placement = plan.placements["model"].model_copy(update={"on_reject": on_reject})
    return sherlock.guard(graph, plan.model_copy(update={"placements": {"model": placement}})), called


def asked(agent):
    start = {"messages": [HumanMessage("What is twice 4?", id="question")]}
    return virtual_clock.run(agent.ainvoke(start))["messages"]


def test_an_agents_answer_is_corrected():
    def rule(subject):
        wrong = subject.text == "It is 9, I think."
        return Verdict(False, corrected="Twice four makes 8 in all.") if wrong else Verdict(True)

    agent, called = agent_of([call(4), AIMessage("It is 9, I think.", id="answer")], Ruled(rule))
    messages = asked(agent)
    assert [type(message).__name__ for message in messages] == ["HumanMessage", "AIMessage", "ToolMessage", "AIMessage"]
    assert messages[-1].content == "Twice four makes 8 in all."
    assert messages[-1].id == "answer"
    assert called == [4]


def test_an_agents_tool_call_is_rolled_back():
    """The tool has run on the wrong number when the verdict comes; it runs again, and the model after it."""

    def rule(subject):
        if '"number": 5' in subject.text:
            return Verdict(False, corrected=subject.text.replace('"number": 5', '"number": 4'))
        return Verdict(True)

    answers = [call(5), AIMessage("It is 10.", id="first"), AIMessage("It is 8.", id="second")]
    agent, called = agent_of(answers, Ruled(rule, 2))
    messages = asked(agent)
    assert called == [5, 4]
    assert [message.content for message in messages if isinstance(message, ToolMessage)] == ["8"]
    assert messages[1].tool_calls[0]["args"] == {"number": 4}
    assert messages[-1].content == "It is 8."
    assert agent.report().rollbacks == 1
    assert "10" not in str(messages)


def test_an_agent_is_asked_again():
    def rule(subject):
        return Verdict(subject.text != "I cannot say.")

    answers = [AIMessage("I cannot say.", id="first"), AIMessage("It is 8.", id="second")]
    agent, _ = agent_of(answers, Ruled(rule), on_reject="retry")
    assert [message.content for message in asked(agent)] == ["What is twice 4?", "It is 8."]
    assert agent.report().rollbacks == 1


def test_a_tool_that_says_nothing_waits_for_the_verdict():
    """For all that is known, it cannot be undone."""

    def rule(subject):
        if '"number": 5' in subject.text:
            return Verdict(False, corrected=subject.text.replace('"number": 5', '"number": 4'))
        return Verdict(True)

    agent, called = agent_of([call(5), AIMessage("It is 8.", id="a")], Ruled(rule, 2), effects=None)
    assert asked(agent)[-1].content == "It is 8."
    assert called == [4]
