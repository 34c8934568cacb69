import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command
from sample_graphs import State, agent, nested, step, wired

from sherlock.errors import GraphError, PlanError, VerifierNotFound
from sherlock.graph import WorkflowGraph
from sherlock.placement.plan import Plan
from sherlock.placement.slo import SLO
from sherlock.placement.topology import plan_by_topology, ranking


def order(builder, **options):
    return ranking(WorkflowGraph.of(builder), **options)


DIAMOND = wired(
    (START, "plan"),
    ("plan", "a"),
    ("plan", "b"),
    ("plan", "c"),
    (("a", "b", "c"), "merge"),
    ("merge", "say"),
    ("say", END),
)


def test_terminal_then_initial_then_middle_by_fan_in():
    assert order(DIAMOND) == ("say", "plan", "merge", "a", "b", "c")


def test_only_the_nodes_asked_for():
    assert order(DIAMOND, nodes=["b", "merge", "plan"]) == ("plan", "merge", "b")
    with pytest.raises(GraphError, match="did you mean 'merge'"):
        order(DIAMOND, nodes=["merg"])


def test_several_terminals_and_initials_go_by_their_share_of_paths_then_fan_in_then_name():
    builder = wired((START, "x"), (START, "y"), ("x", "m"), ("y", "m"), ("x", "z"), ("m", "w"), ("z", END), ("w", END))
    # paths: x-m-w, y-m-w, x-z; w ends two of three, x starts two of three
    assert order(builder) == ("w", "z", "x", "y", "m")
    tie = wired((START, "b"), (START, "a"), ("a", "d"), ("b", "c"), ("c", END), ("d", END))
    assert order(tie) == ("c", "d", "a", "b")


def test_a_node_that_is_first_and_last_is_terminal():
    assert order(wired((START, "one"), ("one", "two"), ("one", END), ("two", END))) == ("one", "two")


def test_cycles_and_routers_count_each_node_once():
    graph = WorkflowGraph.of(agent())
    assert sorted(ranking(graph)) == ["model", "tools"]
    assert ranking(graph)[0] == "model"


def test_a_deferred_node_has_the_role_of_its_edges():
    builder = wired((START, "a"), ("a", "b"), ("b", END))
    builder.add_node("late", step, defer=True)
    builder.add_edge("a", "late")
    builder.add_edge("late", "b")
    assert order(builder) == ("b", "a", "late")


def test_unreachable_nodes_and_error_handlers_get_none():
    builder = wired((START, "a"), ("a", END), nodes=["lost"])
    builder.add_node("risky", step, error_handler=handler)
    builder.add_edge("a", "risky")
    names = order(builder)
    assert "lost" not in names
    assert not [name for name in names if "handler" in name]
    assert set(names) == {"a", "risky"}


def handler(state, error=None):
    return {"log": ["mended"]}


def test_subgraphs_are_opened():
    assert order(nested()) == ("x", "out/mid/deep/z", "out/mid/y")


def test_commands_end_where_they_say():
    def jump(state) -> Command:
        return Command(goto=END)

    builder = StateGraph(State)
    builder.add_node("jump", jump, destinations=("other", END))
    builder.add_node("other", step)
    builder.add_edge(START, "jump")
    assert order(builder) == ("jump", "other")


@settings(max_examples=40)
@given(st.integers(1, 6), st.data())
def test_every_reachable_node_is_ranked_once_whatever_the_order_of_building(count, data):
    names = [f"n{i}" for i in range(count)]
    pairs = st.tuples(st.sampled_from(names), st.sampled_from([*names, END]))
    edges = [(START, names[0]), *data.draw(st.lists(pairs, unique=True, max_size=8))]
    builder = wired(*edges, nodes=names)
    found = order(builder)
    assert sorted(found) == sorted({n for n in names if WorkflowGraph.of(builder).nodes[n].reachable})
    assert found == order(wired(*data.draw(st.permutations(edges)), nodes=names))
    roles = [WorkflowGraph.of(builder).nodes[name].role for name in found]
    assert roles == sorted(roles, key=("terminal", "initial", "middle").index)


# --- the plan


def test_the_first_k_get_the_default_verifier(tmp_path):
    graph = WorkflowGraph.of(DIAMOND)
    plan = plan_by_topology(graph, {"use": "resolve"}, slo=SLO(max_verifiers=2))
    assert [*plan.placements] == ["say", "plan"]
    assert plan.placements["say"].verifier == "resolve"
    assert "number 1 of Algorithm 1: a terminal node" in plan.placements["say"].why
    assert plan.expectation.basis == "screened only"
    plan.check(graph)
    plan.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml") == plan
    assert len(plan_by_topology(graph, "resolve").placements) == 3
    assert plan_by_topology(graph, "resolve", slo=SLO(max_verifiers=0)).placements == {}
    assert len(plan_by_topology(graph, "resolve", slo=SLO(max_verifiers=99)).placements) == 6


def test_what_cannot_be_planned_without_figures():
    graph = WorkflowGraph.of(DIAMOND)
    with pytest.raises(PlanError, match="give default_verifier"):
        plan_by_topology(graph, None)
    with pytest.raises(PlanError, match="max_usd cannot be kept without a calibration"):
        plan_by_topology(graph, "resolve", slo=SLO(max_usd=1, max_verifiers=1))
    with pytest.raises(VerifierNotFound, match="did you mean"):
        plan_by_topology(graph, "resolv")
