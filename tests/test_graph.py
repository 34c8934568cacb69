import functools
import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Literal, TypedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from sample_graphs import State, agent, inner, nested, step, wired

from sherlock.errors import GraphError
from sherlock.graph import Edge, WorkflowGraph, code_fingerprint, difference


def read(builder):
    return WorkflowGraph.of(builder)


def kinds(graph):
    return {(edge.source, edge.target): edge.kind for edge in graph.edges}


# --- plain wiring


def test_chain_has_roles_depths_and_full_shares():
    graph = read(wired((START, "a"), ("a", "b"), ("b", "c"), ("c", END)))
    assert [node.role for node in graph.nodes.values()] == ["initial", "middle", "terminal"]
    assert [node.depth for node in graph.nodes.values()] == [0, 1, 2]
    assert [node.dominator_share for node in graph.nodes.values()] == [1.0, 1.0, 1.0]
    assert graph.order == ("a", "b", "c")
    assert graph.downstream("a") == {"b", "c"}
    assert graph.upstream("c") == {"a", "b"}
    assert graph.containers == graph.unreachable == graph.handlers == ()


def test_one_node_is_terminal_rather_than_initial():
    assert read(wired((START, "only"), ("only", END))).nodes["only"].role == "terminal"


def test_fan_in_counts_joins_and_plain_edges_once():
    graph = read(wired((START, "a"), (START, "b"), (("a", "b"), "c"), ("a", "c"), ("c", END)))
    assert (graph.nodes["c"].fan_in, graph.nodes["a"].fan_out) == (2, 1)
    assert kinds(graph)["b", "c"] == "join"
    assert kinds(graph)["a", "c"] == "plain"
    assert graph.nodes["a"].dominator_share == 0.5


def test_several_terminals_and_a_node_without_a_way_on():
    graph = read(wired((START, "a"), ("a", "b"), ("a", "c"), ("b", END)))
    assert {name for name, node in graph.nodes.items() if node.role == "terminal"} == {"b", "c"}
    assert kinds(graph)["c", END] == "plain"


def test_unreachable_nodes_are_listed_and_do_not_count():
    graph = read(wired((START, "a"), ("a", END), ("lost", "a"), ("lost", "gone")))
    assert graph.unreachable == ("gone", "lost")
    assert graph.order == ("a",)
    assert (graph.nodes["a"].fan_in, graph.nodes["lost"].fan_out, graph.nodes["lost"].dominator_share) == (0, 0, 0.0)
    assert not graph.nodes["lost"].reachable


def test_cycle_is_one_step_and_self_loop_no_neighbour():
    builder = wired((START, "a"), ("a", "draft"), ("draft", "review"))
    builder.add_conditional_edges("review", lambda state: "draft", ["draft", "review", "end"])
    builder.add_node("end", step)
    graph = read(builder)
    nodes = graph.nodes
    assert nodes["draft"].depth == nodes["review"].depth == 1
    assert nodes["end"].depth == 2
    assert (nodes["review"].fan_in, nodes["review"].fan_out) == (1, 2)
    assert nodes["draft"].dominator_share == nodes["review"].dominator_share == 1.0
    assert "draft" in graph.downstream("review")
    assert graph.order == ("a", "draft", "review", "end")


def test_loop_without_an_end_is_still_measured():
    graph = read(wired((START, "a"), ("a", "b"), ("b", "a")))
    assert [node.dominator_share for node in graph.nodes.values()] == [1.0, 1.0]


# --- routers


def test_declared_conditional_edges():
    def route(state) -> Literal["b", "__end__"]:
        return "b"

    builder = wired((START, "a"), ("b", END))
    builder.add_conditional_edges("a", route)
    graph = read(builder)
    assert kinds(graph)["a", "b"] == kinds(graph)["a", END] == "conditional"
    assert graph.nodes["a"].role == "terminal"
    assert graph.nodes["a"].is_router
    assert not graph.nodes["b"].is_router


def test_conditional_entry_makes_initial_nodes():
    builder = wired(("a", END), ("b", END))
    builder.add_conditional_edges(START, lambda state: "a", {"x": "a", "y": "b"})
    builder.add_edge("b", "a")
    graph = read(builder)
    assert graph.nodes["b"].role == "terminal"
    assert graph.nodes["a"].dominator_share == pytest.approx(2 / 3)


def test_send_targets_are_read_from_the_router():
    def fan_out(state):
        sends = []
        for name in state["log"]:
            sends.append(Send("work", {"log": [name]}))
        return sends or "collect"

    builder = wired((START, "plan"), ("work", "collect"), ("collect", END), nodes=["other"])
    builder.add_conditional_edges("plan", fan_out)
    graph = read(builder)
    assert kinds(graph)["plan", "work"] == kinds(graph)["plan", "collect"] == "inferred"
    assert graph.unreachable == ("other",)
    assert graph.nodes["work"].fan_in == 1
    assert graph.nodes["plan"].role == "initial"


def test_send_beside_a_path_map_is_added():
    def fan_out(state):
        return [Send("work", state)] if state["log"] else "stop"

    builder = wired((START, "plan"), ("work", END))
    builder.add_conditional_edges("plan", fan_out, {"stop": END})
    assert kinds(read(builder))["plan", "work"] == "inferred"


def test_unknown_router_possibly_goes_everywhere_without_spoiling_the_measures():
    builder = wired((START, "a"), ("a", "plan"), ("work", "collect"), ("collect", END))
    builder.add_conditional_edges("plan", lambda state: state["log"][0])
    graph = read(builder)
    assert {target for (source, target), kind in kinds(graph).items() if kind == "possible"} == {
        "a",
        "work",
        "collect",
        END,
    }
    assert graph.unreachable == ()
    assert graph.order == ("a", "plan", "work", "collect")
    assert graph.nodes["work"].fan_in == graph.nodes["collect"].fan_in == 1
    assert graph.nodes["a"].fan_in == 0
    assert graph.nodes["plan"].role == "terminal"
    assert graph.downstream("plan") == {"a", "work", "collect"}


def test_command_targets_declared_and_inferred():
    def annotated(state) -> Command[Literal["b", "c"]]:
        return Command(goto="b")

    def silent(state):
        target = "d" if state["log"] else END
        return Command(goto=target)

    builder = StateGraph(State)
    builder.add_node("annotated", annotated)
    builder.add_node("destined", lambda state: Command(goto=state["log"][0]), destinations=("silent",))
    builder.add_node("silent", silent)
    for name in "bcd":
        builder.add_node(name, step)
    builder.add_edge(START, "annotated")
    builder.add_edge("b", "destined")
    graph = read(builder)
    found = kinds(graph)
    assert found["annotated", "b"] == found["annotated", "c"] == found["destined", "silent"] == "command"
    assert found["silent", "d"] == found["silent", END] == "inferred"
    assert graph.unreachable == ()
    assert ("destined", END) not in found


def test_command_to_a_computed_place_is_possible_everywhere():
    builder = wired((START, "a"), nodes=["b"])
    builder.add_node("jump", lambda state: Command(goto=state["log"][0]))
    builder.add_edge("a", "jump")
    assert kinds(read(builder))["jump", "b"] == "possible"


# --- subgraphs


def test_subgraph_is_opened_up():
    builder = wired((START, "before"), ("before", "sub"), ("sub", "after"))
    builder.nodes.pop("sub")
    builder.add_node("sub", inner((START, "p"), (START, "q"), ("p", "r"), ("q", "r")))
    graph = read(builder.compile())
    assert graph.containers == ("sub",)
    assert set(graph.nodes) == {"before", "after", "sub/p", "sub/q", "sub/r"}
    assert set(kinds(graph)) == {
        (START, "before"),
        ("before", "sub/p"),
        ("before", "sub/q"),
        ("sub/p", "sub/r"),
        ("sub/q", "sub/r"),
        ("sub/r", "after"),
        ("after", END),
    }
    assert graph.nodes["sub/r"].role == "middle"
    with pytest.raises(GraphError, match=r"'sub' is a subgraph.*'sub/p'"):
        graph.known("sub")


def test_subgraphs_three_levels_deep():
    graph = read(nested())
    assert graph.containers == ("out", "out/mid", "out/mid/deep")
    assert graph.order == ("out/mid/deep/z", "out/mid/y", "x")
    assert [graph.nodes[name].role for name in graph.order] == ["initial", "middle", "terminal"]


def test_subgraph_that_may_be_passed_through_or_repeated():
    sub = wired(("p", END))
    sub.add_conditional_edges(START, lambda state: "p", {"in": "p", "out": END})
    builder = wired((START, "a"), ("b", END))
    builder.add_node("sub", sub.compile())
    builder.add_edge("a", "sub")
    builder.add_conditional_edges("sub", lambda state: "b", ["sub", "b"])
    found = kinds(read(builder))
    assert found["a", "sub/p"] == found["a", "b"] == found["sub/p", "b"] == found["sub/p", "sub/p"] == "conditional"


def test_subgraph_called_inside_a_function_is_one_leaf():
    sub = inner((START, "p"))

    def call(state):
        return sub.invoke(state)

    builder = StateGraph(State)
    builder.add_node("call", call)
    builder.add_edge(START, "call")
    assert set(read(builder).nodes) == {"call"}


def test_command_to_the_parent_graph_leaves_from_the_inner_node():
    def hand_over(state):
        return Command(goto="other", graph=Command.PARENT)

    sub = StateGraph(State)
    sub.add_node("p", hand_over)
    sub.add_edge(START, "p")
    builder = wired((START, "agent"), ("other", END))
    builder.nodes.pop("agent")
    builder.add_node("agent", sub.compile())
    graph = read(builder)
    assert kinds(graph)["agent/p", "other"] == "inferred"
    assert graph.unreachable == ()


def test_slash_in_a_name_is_doubled_and_a_clash_is_refused():
    builder = wired((START, "a/b"))
    builder.add_node("a", inner((START, "b")))
    builder.add_edge("a/b", "a")
    assert set(read(builder).nodes) == {"a//b", "a/b"}
    clash = wired((START, "x"))
    clash.add_node("n/", inner((START, "b")))
    clash.add_node("n", inner((START, "/b")))
    with pytest.raises(GraphError, match="'n///b'"):
        read(clash)


# --- error handlers, deferral, real agents


def test_error_handlers_count_for_nothing():
    builder = StateGraph(State)
    builder.add_node("a", step, error_handler=lambda state: Command(goto="rescue"))
    builder.add_node("rescue", step)
    builder.add_node("b", step, defer=True)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("rescue", "b")
    graph = read(builder)
    assert graph.handlers == ("__error_handler__a",)
    assert graph.unreachable == ("rescue",)
    assert graph.order == ("a", "b")
    assert kinds(graph)["a", "__error_handler__a"] == "error"
    assert graph.nodes["b"].fan_in == 1
    assert graph.nodes["b"].deferred
    assert graph.downstream("a") == {"b"}


def test_default_error_handler_leaves_the_builder_as_it_was():
    builder = wired((START, "a"))
    builder.set_node_defaults(error_handler=step)
    first, second = read(builder), read(builder)
    assert first == second
    assert len(first.handlers) == 1
    assert set(builder.nodes) == {"a"}
    assert not builder.compiled
    assert builder.nodes["a"].error_handler_node is None


def test_create_agent():
    graph = read(agent())
    assert set(graph.nodes) == {"model", "tools"}
    assert graph.nodes["model"].role == "terminal"
    assert kinds(graph)["model", "tools"] == kinds(graph)["tools", "model"] == "conditional"
    assert agent().invoke({"messages": ["hi"]})["messages"][-1].text == "hello"


def test_agents_as_subgraphs():
    builder = StateGraph(State)
    builder.add_node("first", agent())
    builder.add_node("second", agent())
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    graph = read(builder)
    assert graph.nodes["second/model"].role == "terminal"
    assert kinds(graph)["first/model", "second/model"] == "conditional"


def test_what_is_no_graph_is_refused():
    @entrypoint()
    def workflow(value: int) -> int:
        return value

    for thing in (workflow, step, None, "agent.py:graph"):
        with pytest.raises(GraphError, match="no LangGraph graph"):
            read(thing)
    with pytest.raises(GraphError, match=r"does not compile.*entrypoint"):
        read(wired(("a", "b")))


def test_unknown_node_names_the_nearest():
    graph = read(wired((START, "intake"), ("intake", "reply")))
    with pytest.raises(GraphError, match="'intke' is not a node of this graph: did you mean 'intake'"):
        graph.downstream("intke")


def test_reading_changes_nothing():
    compiled = nested().compile()
    before = (dict(compiled.nodes), dict(compiled.channels), set(compiled.builder.edges))
    assert read(compiled) == read(compiled.builder)
    assert before == (dict(compiled.nodes), dict(compiled.channels), set(compiled.builder.edges))


# --- fingerprint, description, difference


class Wider(TypedDict):
    log: list[str]
    extra: str


class Renamed(TypedDict):
    text: str


def test_fingerprint_ignores_code_and_sees_wiring_and_state():
    def other(state):
        return {"log": ["something else"]}

    base = wired((START, "a"), ("a", "b"))
    same = wired((START, "a"), ("a", "b"), ("b", END))
    recoded = StateGraph(State)
    recoded.add_node("a", other)
    recoded.add_node("b", other)
    recoded.add_edge(START, "a")
    recoded.add_edge("a", "b")
    assert read(base).fingerprint == read(same).fingerprint == read(recoded).fingerprint
    joined = wired((START, "a"), (("a",), "b"))
    others = [wired((START, "a"), (START, "b")), wired((START, "a"), ("a", "c")), joined]
    others.append(wired((START, "a"), ("a", "b"), schema=Wider))
    assert len({read(graph).fingerprint for graph in [base, *others]}) == 5


def test_fingerprint_sees_where_a_subgraph_leads():
    def graph(after):
        builder = wired((START, "sub"), ("sub", after), nodes=["x", "y"])
        builder.nodes.pop("sub")
        builder.add_node("sub", inner((START, "p")))
        return read(builder).fingerprint

    assert graph("x") != graph("y")


def test_fingerprint_does_not_depend_on_how_a_router_is_written():
    def graph(router):
        builder = wired((START, "a"), ("b", END))
        builder.add_conditional_edges("a", router)
        return read(builder).fingerprint

    def named(state):
        return "b"

    def computed(state):
        return state["log"][0]

    assert graph(named) == graph(computed)


def test_fingerprint_does_not_depend_on_commands_that_only_the_code_names():
    def graph(action):
        builder = wired((START, "a"), ("a", "b"))
        builder.add_node("jump", action)
        builder.add_edge("a", "jump")
        return read(builder)

    named, computed = graph(lambda state: Command(goto="b")), graph(lambda state: Command(goto=state["log"]))
    assert kinds(named)["jump", "b"] == "inferred"
    assert kinds(computed)["jump", "b"] == "possible"
    assert named.fingerprint == computed.fingerprint == graph(step).fingerprint


SCRIPT = """
from sample_graphs import agent, nested
from sherlock.graph import WorkflowGraph, code_fingerprint
graph = nested().compile()
print(WorkflowGraph.of(graph).fingerprint, code_fingerprint(graph), code_fingerprint(agent()))
"""


def test_fingerprints_are_the_same_in_every_process():
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", SCRIPT]
    elsewhere = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    graph = nested().compile()
    assert elsewhere.strip() == f"{read(graph).fingerprint} {code_fingerprint(graph)} {code_fingerprint(agent())}"


def test_description_is_json_and_brings_the_graph_back():
    graph = read(nested())
    again = WorkflowGraph.from_description(json.loads(json.dumps(graph.describe())))
    assert again == graph
    assert (again.nodes, again.edges, again.order, again.channels) == (
        graph.nodes,
        graph.edges,
        graph.order,
        graph.channels,
    )


@pytest.mark.parametrize("damage", [{"edges": [["a"]]}, {"nodes": [{}]}, {"edges": [["a", "b", "odd"]]}])
def test_malformed_description(damage):
    with pytest.raises(GraphError, match="malformed"):
        WorkflowGraph.from_description({**read(wired((START, "a"))).describe(), **damage})


def test_difference_names_what_changed():
    a = read(wired((START, "intake"), ("intake", "draft"), ("draft", "check"), ("draft", "extra"), ("check", END)))
    b = read(wired((START, "intake"), ("intake", "write"), ("write", "check"), ("check", END), ("check", "log")))
    assert difference(a, b) == ("node 'draft' is probably called 'write' now; node 'extra' is gone; node 'log' is new")
    moved = read(wired((START, "intake"), ("intake", "write"), (START, "check"), ("check", END)))
    assert "'draft' is gone" in difference(a, moved)
    assert "edge '__start__' -> 'check' is new" in difference(a, moved)
    c = read(wired((START, "intake"), ("intake", "write"), ("write", "check"), ("write", "extra"), ("check", END)))
    assert difference(a, c) == "node 'draft' is probably called 'write' now"
    assert difference(a, a) == ""
    d = read(wired((START, "intake"), ("intake", "draft"), (("draft",), "check"), ("draft", "extra")))
    assert difference(a, d) == "edge 'draft' -> 'check' is join, not plain"
    assert difference(d, a) == "edge 'draft' -> 'check' is plain, not join"


def test_difference_follows_a_chain_of_renames_and_names_state_keys():
    a = read(wired((START, "a"), ("a", "b"), ("b", "c")))
    b = read(wired((START, "x"), ("x", "y"), ("y", "z"), schema=Renamed))
    assert difference(a, b) == (
        "node 'a' is probably called 'x' now; node 'b' is probably called 'y' now; "
        "node 'c' is probably called 'z' now; state key 'log' is gone; state key 'text' is new"
    )


# --- properties over random graphs

NAMES = "abcdef"


@st.composite
def wirings(draw, acyclic=False):
    names = NAMES[: draw(st.integers(1, 6))]
    pairs = [(s, t) for s, t in itertools.product(names, names) if not acyclic or s < t]
    edges = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=12)) if pairs else []
    starts = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    ends = draw(st.lists(st.sampled_from(names), unique=True))
    return names, [*edges, *((START, name) for name in starts), *((name, END) for name in ends)]


def successors(edges, names):
    """Each place's successors, by hand; a node without any leads to the end."""
    after = {name: {t for s, t in edges if s == name} for name in [START, *names]}
    return {name: following or {END} for name, following in after.items()} | {END: set()}


def reach(after, start):
    found, waiting = set(), [start]
    while waiting:
        new = after[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def all_paths(after, at=START):
    return (
        [[at]]
        if at == END
        else [[at, *rest] for following in sorted(after[at]) for rest in all_paths(after, following)]
    )


@settings(max_examples=60, deadline=None)
@given(wirings(acyclic=True))
def test_shares_and_depths_equal_enumeration_on_dags(wiring):
    names, edges = wiring
    graph = read(wired(*edges, nodes=names))
    after = successors(edges, names)
    paths = all_paths(after)
    for name in names:
        through = [path for path in paths if name in path]
        assert graph.nodes[name].dominator_share == pytest.approx(len(through) / len(paths))
        assert graph.nodes[name].reachable == bool(through)
        if through:
            assert graph.nodes[name].depth == max(path.index(name) for path in through) - 1
    positions = {name: place for place, name in enumerate(graph.order)}
    assert all(positions[s] < positions[t] for s, t in edges if s in positions and t in positions)


@settings(max_examples=60, deadline=None)
@given(wirings())
def test_measures_equal_a_naive_computation_on_any_graph(wiring):
    names, edges = wiring
    graph = read(wired(*edges, nodes=names))
    after = successors(edges, names)
    reached = {name: reach(after, name) for name in after}
    live = reached[START]
    cycle = {name: frozenset({name} | {other for other in reached[name] if name in reached[other]}) for name in after}
    shrunk = {
        cycle[name]: {cycle[t] for member in cycle[name] for t in after[member]} - {cycle[name]} for name in after
    }
    end = cycle[END]
    paths = [[at] for at in [cycle[START]]]
    done = []
    while paths:
        path = paths.pop()
        if path[-1] == end:
            done.append(path)
        else:
            paths += [[*path, following] for following in shrunk[path[-1]] or {end}]
    for name in names:
        node = graph.nodes[name]
        assert node.reachable == (name in live)
        if name not in live:
            assert node.dominator_share == 0.0
            continue
        assert node.fan_in == len({s for s, t in edges if t == name and s in live} - {name})
        assert node.fan_out == len({t for s, t in edges if s == name} - {name, END})
        assert node.depth == max(path.index(cycle[name]) for path in done if cycle[name] in path) - 1
        share = sum(cycle[name] in path for path in done) / len(done)
        assert node.dominator_share == pytest.approx(share)
        assert graph.downstream(name) == reached[name] - {name, END}
        assert graph.upstream(name) >= {other for other in names if name in reached[other] and other in live} - {name}


@settings(max_examples=40, deadline=None)
@given(wirings(), st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)))
def test_edges_equal_those_that_langgraph_draws(wiring, declared, subgraphs):
    names, edges = wiring
    builder = StateGraph(State)
    for name in names:
        builder.add_node(name, inner((START, "p"), (START, "q"), ("p", "r")) if name in subgraphs else step)
    for source, target in edges:
        builder.add_edge(source, target)
    for name in sorted(declared.intersection(names)):
        builder.add_conditional_edges(name, lambda state: "a", ["a", names[-1]])
    compiled = builder.compile()
    graph = read(compiled)
    drawn = {(edge.source, edge.target) for edge in compiled.get_graph().edges if edge.target != END}
    found = {
        tuple(END if side == END else side.partition("/")[0] for side in (edge.source, edge.target))
        for edge in graph.edges
        if edge.source == START or graph.nodes[edge.source].reachable
    }
    within = {(name, name) for name in subgraphs}
    assert {pair for pair in found if pair[1] != END} - within == drawn - within


@settings(max_examples=40, deadline=None)
@given(wirings(), st.sets(st.sampled_from(NAMES), min_size=1), st.booleans())
def test_open_routers_leave_nothing_out(wiring, routers, entry):
    names, edges = wiring
    builder = wired(*edges, nodes=names)
    for name in sorted(routers.intersection(names)):
        builder.add_conditional_edges(name, lambda state: state["log"][0])
    if entry:
        builder.add_conditional_edges(START, lambda state: state["log"][0])
    graph = read(builder)
    live = {name for name, node in graph.nodes.items() if node.reachable}
    assert set(graph.order) == live
    assert live == set(names) if entry or any(graph.nodes[name].reachable for name in routers & live) else True
    for name in live:
        node = graph.nodes[name]
        assert 0.0 < node.dominator_share <= 1.0
        assert node.fan_in or node.role != "middle" or name in graph.downstream(name) or (START, name) in kinds(graph)
        assert node.fan_in >= len({s for s, t in edges if t == name and s in live} - {name})
    assert WorkflowGraph.from_description(graph.describe()).nodes == graph.nodes


@settings(max_examples=30, deadline=None)
@given(wirings(), st.randoms(use_true_random=False))
def test_fingerprint_does_not_depend_on_order_of_construction(wiring, shuffler: random.Random):
    names, edges = wiring
    builder = StateGraph(State)
    for name in shuffler.sample(names, len(names)):
        builder.add_node(name, functools.partial(step))
    for source, target in shuffler.sample(edges, len(edges)):
        builder.add_edge(source, target)
    graph, shuffled = read(wired(*edges, nodes=names)), read(builder)
    assert graph.fingerprint == shuffled.fingerprint
    assert graph.describe() == shuffled.describe()
    assert difference(graph, shuffled) == ""
    assert WorkflowGraph.from_description(shuffled.describe()).nodes == graph.nodes


@settings(max_examples=40, deadline=None)
@given(wirings(), wirings())
def test_difference_is_empty_exactly_for_equal_fingerprints(one, other):
    a, b = (read(wired(*edges, nodes=names)) for names, edges in (one, other))
    assert (difference(a, b) == "") == (a == b)


def test_edges_are_sorted_and_hold_kinds():
    graph = read(wired((START, "a"), ("a", "b")))
    assert graph.edges == (Edge(START, "a", "plain"), Edge("a", "b", "plain"), Edge("b", END, "plain"))
