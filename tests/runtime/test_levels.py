"""What may run how many supersteps later, held against what LangGraph runs then."""

import operator
from typing import Annotated, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from sample_graphs import State, inner, nested, step, wired

from sherlock.errors import GraphError
from sherlock.graph import WorkflowGraph
from sherlock.runtime.levels import levels_below, step_of


def below(builder, node, max_depth=8):
    return [sorted(level) for level in levels_below(WorkflowGraph.of(builder), node, max_depth)]


def test_a_chain_ends_where_the_graph_ends():
    chain = wired((START, "a"), ("a", "b"), ("b", "c"), ("c", END))
    assert below(chain, "a") == [["b"], ["c"]]
    assert below(chain, "c") == []
    assert below(chain, "a", max_depth=1) == [["b"]]
    assert below(chain, "a", max_depth=0) == []


def test_without_a_join_what_two_branches_of_uneven_length_lead_to_runs_twice():
    edges = ((START, "a"), ("a", "b"), ("a", "c"), ("c", "e"))
    assert below(wired(*edges, ("b", "d"), ("e", "d")), "a") == [["b", "c"], ["d", "e"], ["d"]]
    assert below(wired(*edges, (("b", "e"), "d")), "a") == [["b", "c"], ["e"], ["d"]]


def test_a_join_waits_only_for_what_is_still_to_come():
    graph = wired((START, "a"), (START, "b"), ("b", "c"), (("a", "c"), "d"))
    assert below(graph, "b") == [["c"], ["d"]]
    assert below(graph, "a") == [["d"]]


def test_a_loop_comes_by_again():
    graph = wired((START, "a"), ("a", "b"), ("b", "a"), ("b", "c"))
    assert below(graph, "a", max_depth=4) == [["b"], ["a", "c"], ["b"], ["a", "c"]]


def test_a_node_that_leads_to_itself_is_below_itself():
    graph = wired((START, "a"))
    graph.add_conditional_edges("a", lambda state: "a", ["a", END])
    assert below(graph, "a", max_depth=2) == [["a"], ["a"]]


def test_every_target_of_a_router_is_in():
    graph = wired((START, "a"), ("b", "d"), nodes=("c",))
    graph.add_conditional_edges("a", lambda state: "b", ["b", "c"])
    assert below(graph, "a") == [["b", "c"], ["d"]]


def test_an_error_handler_is_not():
    graph = StateGraph(State)
    graph.add_node("a", step, error_handler=lambda state: {})
    graph.add_node("b", step)
    graph.add_edge(START, "a")
    graph.add_edge("a", "b")
    assert below(graph, "a") == [["b"]]


def test_a_subgraph_is_one_step_with_all_its_nodes():
    graph = wired((START, "a"))
    graph.add_node("sub", inner((START, "x"), ("x", "y")))
    graph.add_node("b", step)
    graph.add_edge("a", "sub")
    graph.add_edge("sub", "b")
    assert below(graph, "a") == [["sub/x", "sub/y"], ["b"]]
    # Both may be one superstep on, each in its own graph.
    assert below(graph, "sub/x") == [["b", "sub/y"]]
    assert below(graph, "sub/y") == [["b"]]


def test_a_nest_of_three():
    assert below(nested(), "out/mid/deep/z") == [["out/mid/y", "x"]]
    assert below(nested(), "out/mid/y") == [["x"]]


def test_a_subgraph_that_loops_is_apart_from_a_loop_around_it():
    looping = wired((START, "x"), ("x", "y"))
    looping.add_conditional_edges("y", lambda state: END, ["x", END])
    graph = StateGraph(State)
    graph.add_node("sub", looping.compile())
    graph.add_node("b", step)
    graph.add_edge(START, "sub")
    graph.add_edge("sub", "b")
    assert below(graph, "sub/x", max_depth=3) == [["b", "sub/y"], ["sub/x"], ["sub/y"]]
    graph.add_conditional_edges("sub", lambda state: "sub", ["sub", END])
    assert below(graph, "sub/y", max_depth=2) == [["b", "sub/x", "sub/y"], ["b", "sub/x", "sub/y"]]


def test_a_node_that_hands_over_to_the_enclosing_graph():
    def leave(state) -> Command:
        return Command(graph=Command.PARENT, goto="b")

    leaving = StateGraph(State)
    leaving.add_node("x", leave)
    leaving.add_edge(START, "x")
    graph = StateGraph(State)
    graph.add_node("sub", leaving.compile())
    graph.add_node("b", step)
    graph.add_edge(START, "sub")
    assert below(graph, "sub/x") == [["b"]]


def test_names_with_slashes():
    graph = wired((START, "a"), ("a", "a/b"))
    graph.add_node("sub", inner((START, "x/y")))
    graph.add_edge("a/b", "sub")
    assert below(graph, "a") == [["a//b"], ["sub/x//y"]]


def test_a_node_that_there_is_not():
    with pytest.raises(GraphError, match="did you mean 'a'"):
        below(wired((START, "a")), "aa")


@pytest.mark.parametrize(
    ("name", "beside", "step"),
    [
        ("a", "", "a"),
        ("p/a", "b", "p"),
        ("p/a", "p/b", "p/a"),
        ("p/q/a", "p/b", "p/q"),
        ("p/a", "p/q/b", "p/a"),
        ("p//a", "p/b", "p//a"),
        ("p", "p/b", "p"),
    ],
)
def test_which_step_a_name_is_part_of(name, beside, step):
    assert step_of(name, beside) == step


@st.composite
def forward_graphs(draw):
    """Nodes in a row; each but the first follows earlier ones, by single edges or by one join; some are deferred."""
    count = draw(st.integers(2, 7))
    names = [f"n{i}" for i in range(count)]
    edges = [(START, names[0])]
    for i, name in enumerate(names[1:], 1):
        sources = draw(st.lists(st.sampled_from(names[:i]), min_size=1, max_size=3, unique=True))
        if len(sources) > 1 and draw(st.booleans()):
            edges.append((tuple(sources), name))
        else:
            edges.extend((source, name) for source in sources)
    deferred = draw(st.sets(st.sampled_from(names[1:]), max_size=2))
    return names, edges, deferred


class Log(TypedDict):
    log: Annotated[list[str], operator.add]


@settings(max_examples=60, deadline=None)
@given(forward_graphs())
def test_levels_are_the_supersteps_that_langgraph_runs(drawn):
    names, edges, deferred = drawn
    builder = StateGraph(Log)
    for name in names:
        builder.add_node(name, lambda state: {"log": []}, defer=name in deferred)
    for sources, target in edges:
        builder.add_edge(sources if isinstance(sources, str) else list(sources), target)
    ran = {}
    for task in builder.compile().stream({"log": []}, stream_mode="debug"):
        if task["type"] == "task":
            ran.setdefault(task["step"], set()).add(task["payload"]["name"])
    steps = [ran[number] for number in sorted(ran)]
    assert steps[0] == {"n0"}
    assert list(levels_below(WorkflowGraph.of(builder), "n0", 100)) == steps[1:]
