"""A guarded graph is used, and answers, as the graph itself (invariant 9)."""

import pytest
import transparent_threads  # noqa: F401  (it adds its scenarios)
import virtual_clock
from blocking_oracle import BlockingGraph
from guarded_graphs import Leaf, LoggedNodes
from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from plain_records import plain, sync_result
from random_graphs import Outline, Stage
from sayings import SAYINGS, canonical
from scripted_verifier import Placed, Script, ScriptedVerifier, plan_of
from transparent_scenarios import SCENARIOS, THREAD, State, chain, diamond, nested

import sherlock
from sherlock.graph import WorkflowGraph
from sherlock.interpose.nodes import leaf_nodes

PLACED = {"at once": 0.0, "quickly": 0.25, "slowly": 9.0}
"""How long the verifiers take that accept everything: less than any node, more than any."""


def unguarded(graph):
    return graph


def with_empty_plan(graph):
    return sherlock.guard(graph)


def accepting(seconds):
    """Guards a graph by a verifier on each node; none ever rejects."""

    def make(graph):
        names = {name for name, _ in leaf_nodes(graph)} - set(WorkflowGraph.of(graph).handlers)
        verifier = ScriptedVerifier("accepting", latency_of=lambda subject: seconds)
        plan = sherlock.Plan.attach(dict.fromkeys(sorted(names), verifier), policy={"max_depth": 100})
        return sherlock.guard(graph, plan)

    return make


@pytest.mark.parametrize("name", SCENARIOS)
def test_with_an_empty_plan(name):
    expected = virtual_clock.run(SCENARIOS[name](unguarded))
    assert virtual_clock.run(SCENARIOS[name](with_empty_plan)) == expected


@pytest.mark.parametrize("seconds", PLACED.values(), ids=PLACED)
@pytest.mark.parametrize("name", SCENARIOS)
def test_with_all_verdicts_accepting(name, seconds):
    expected = virtual_clock.run(SCENARIOS[name](unguarded))
    found = virtual_clock.run(SCENARIOS[name](accepting(seconds)))
    if name == "events":  # callbacks tell what happens when it does, speculative work included
        found, expected = sorted(found, key=repr), sorted(expected, key=repr)
    assert found == expected


MAKERS = pytest.mark.parametrize("make", [with_empty_plan, accepting(0.002)], ids=["empty", "accepting"])


@MAKERS
def test_what_it_is(make):
    graph = nested().compile()
    before = dict(graph.nodes)
    agent = make(graph)
    assert isinstance(agent, Pregel)
    assert isinstance(agent, CompiledStateGraph)
    assert graph.nodes == before
    assert type(graph) is CompiledStateGraph
    assert agent.get_graph(xray=True).draw_mermaid() == graph.get_graph(xray=True).draw_mermaid()
    assert isinstance(agent.with_config(tags=["t"]), type(agent))


def quick(name):
    """A node that is no coroutine."""

    def node(state: State):
        return {"log": [name]}

    return node


@MAKERS
def test_the_sync_methods(make):
    def record(make):
        nodes = {name: quick(name) for name in "abcd"}
        plain_agent = make(diamond(**nodes).compile())
        agent = make(diamond(**nodes).compile(checkpointer=InMemorySaver(), interrupt_before=["d"]))
        outer = make(chain("first", "sub", first=quick("first"), sub=diamond(**nodes).compile()).compile())
        return [
            sync_result(plain_agent.invoke, {"x": 1}),
            sync_result(plain_agent.stream, {"x": 1}, stream_mode="values"),
            sync_result(outer.stream, {"x": 1}, stream_mode=["values"], subgraphs=True),
            sync_result(plain_agent.batch, [{"x": 1}, {"x": 2}]),
            sync_result(plain_agent.invoke, {"y": 1}),
            sync_result(agent.invoke, {"x": 1}, THREAD),
            plain(agent.get_state(THREAD)),
            plain(agent.update_state(THREAD, {"log": ["by hand"]}, as_node="c")),
            sync_result(agent.invoke, None, THREAD),
            sync_result(agent.get_state_history, THREAD),
            [name for name, _ in outer.get_subgraphs()],
        ]

    assert record(make) == record(unguarded)


def test_an_agent_of_langchain():
    """`create_agent`: its model node returns a list of commands, its tools run in a node of their own."""

    class ToolModel(GenericFakeChatModel):
        def bind_tools(self, tools, **options):
            return self

    @sherlock.effects("none")
    @tool
    def double(number: int) -> int:
        """Twice the number."""
        return 2 * number

    def record(make):
        calls = [{"name": "double", "args": {"number": 4}, "id": "1"}]
        answers = [AIMessage("", tool_calls=calls, id="m1"), AIMessage("It is 8.", id="m2")]
        graph = create_agent(ToolModel(messages=iter(answers * 2)), [double])
        start = {"messages": [HumanMessage("What is twice 4?", id="m0")]}

        async def main():
            agent = make(graph)
            found = [plain(chunk) async for chunk in agent.astream(start, stream_mode=["updates", "values"])]
            return [found, plain(await agent.ainvoke(start))]

        return virtual_clock.run(main())

    expected = record(unguarded)
    assert "It is 8." in str(expected)
    for make in (with_empty_plan, accepting(0.0), accepting(5.0)):
        assert record(make) == expected


@pytest.mark.parametrize("choice", ["correct", "accept"])
def test_inside_an_unguarded_parent(choice):
    """There it cannot roll back, so it verifies blocking, and says so."""
    leaves = (Leaf("n0", key="a"), Leaf("n1", key="b", reads="a"))
    outline = Outline(tuple(Stage("single", (leaf,)) for leaf in leaves))
    nodes = LoggedNodes()
    placed = {"n0": Placed("n0", Script(choices=(choice,), latencies=(5,))).with_log([])}

    async def run(inner):
        parent = StateGraph(LoggedNodes.schema)
        parent.add_node("inner", inner)
        parent.add_edge(START, "inner")
        return canonical(await parent.compile().ainvoke({"x": SAYINGS[0]}))

    agent = sherlock.guard(outline.build(nodes), plan_of(placed))
    found = virtual_clock.run(run(agent))
    expected = virtual_clock.run(BlockingGraph(outline.build(LoggedNodes()), placed).ainvoke({"x": SAYINGS[0]}))
    assert found == canonical(expected)
    assert [(ran.node, ran.started) for ran in nodes.log] == [("n0", 0), ("n1", 6)]
    report = agent.report()
    assert report.blocking
    assert report.notes
    assert len(report.verdicts) == 1
