"""Marking nodes as verified, and finding the marks behind anything that LangGraph takes for a node."""

import functools
import subprocess
import sys
from typing import get_args

import pytest
from langchain_core.runnables import RunnableLambda, RunnableParallel
from langgraph.graph import START, StateGraph
from sample_graphs import State, step

import sherlock
from sherlock.errors import OutputRejected, PlanError, SherlockError, VerifierError
from sherlock.interpose.reads import reads_of
from sherlock.placement import plan
from sherlock.side_effects import EffectSpec, effect_of, effects
from sherlock.verified_nodes import Category, Marked, OnReject, placement_of, verified


class Agree:
    name = "agree"

    async def verify(self, subject):
        return sherlock.Verdict(accepted=True)


def node_of(action, **kwargs):
    """The `PregelNode` of a real graph."""
    builder = StateGraph(State)
    builder.add_node("node", action, **kwargs)
    builder.add_edge(START, "node")
    return builder.compile().nodes["node"]


@verified("schema")
def named(state, extra=None):
    return {"log": ["named"]}


@verified("schema")
async def asynchronous(state):
    return {"log": []}


@verified("schema")
class Callable:
    def __call__(self, state):
        return {"log": []}


class Agent:
    @verified("schema")
    def method(self, state):
        return {"log": []}


@functools.wraps(named)
def wrapped(state):
    return named(state)


def test_decorator_marks_without_wrapping():
    def answer(state):
        return {"log": ["answer"]}

    verifier = Agree()
    marked = verified(verifier, on_reject="retry", category="code", speculate=False, reads=["log"])(answer)
    assert marked is answer
    assert placement_of(node_of(answer)) == Marked(
        verifier=verifier, on_reject="retry", category="code", speculate=False, reads=frozenset({"log"})
    )
    assert reads_of(node_of(answer)) == {"log"}


def test_nothing_said():
    assert placement_of(node_of(step)) is None
    assert placement_of(node_of(step, metadata={"sherlock": {"effects": "none"}})) is None
    assert placement_of(node_of(step, metadata={"other": 1})) is None
    assert not hasattr(named, "__sherlock_reads__")


@pytest.mark.parametrize(
    "action",
    [
        named,
        asynchronous,
        Callable(),
        Agent().method,
        functools.partial(named, extra=1),
        functools.partial(functools.partial(named), extra=1),
        wrapped,
        RunnableLambda(named),
        RunnableLambda(named).with_config(tags=["x"]),
        RunnableLambda(named).with_retry(),
        RunnableLambda(step) | RunnableLambda(named),
        verified("schema")(RunnableLambda(step)),
        verified("schema")(RunnableLambda(step) | RunnableLambda(step)),
        verified("schema")(functools.partial(step)),
    ],
)
def test_found_behind_anything_callable(action):
    assert placement_of(node_of(action)) == Marked(verifier="schema")


def test_node_specs_of_a_builder_are_read_too():
    builder = StateGraph(State)
    builder.add_node("node", named)
    assert placement_of(builder.nodes["node"]) == Marked(verifier="schema")


def test_metadata_come_first_field_by_field():
    said = {"verifier": {"use": "vote", "n": 3}, "on_reject": "flag"}
    assert placement_of(node_of(step, metadata={"sherlock": said})) == Marked(**said)
    marked = verified("schema", category="json", speculate=False)(lambda state: {"log": []})
    assert placement_of(node_of(marked, metadata={"sherlock": said})) == Marked(
        **said, category="json", speculate=False
    )
    assert placement_of(node_of(marked, metadata={"sherlock": {"speculate": True}})).speculate is True
    assert placement_of(node_of(marked, metadata={"sherlock": {"verifier": None}})).verifier == "schema"
    reads = placement_of(node_of(marked, metadata={"sherlock": {"reads": ["log"]}})).reads
    assert reads == {"log"}


def test_the_outermost_mark_counts():
    inner = functools.partial(named)
    assert placement_of(node_of(verified("vote")(inner))) == Marked(verifier="vote")


def test_beside_effects():
    both = effects("irreversible")(verified("schema")(lambda state: {"log": []}))
    assert placement_of(node_of(both)) == Marked(verifier="schema")
    assert effect_of(node_of(both)) == EffectSpec("irreversible")


def test_the_last_step_of_a_sequence_is_not_given_the_state():
    last = verified("schema", reads=["log"])(lambda state: {"log": []})
    assert placement_of(node_of(RunnableLambda(step) | RunnableLambda(last))).reads is None


@pytest.mark.parametrize(
    "action", [RunnableLambda(named) | RunnableLambda(step), RunnableParallel(log=RunnableLambda(named))]
)
def test_what_returns_only_a_part_of_the_output_cannot_be_verified_by_itself(action):
    with pytest.raises(PlanError, match=r"'named' is marked to be verified, but .* a node of its own"):
        placement_of(node_of(action))


@pytest.mark.parametrize("wrong", [3, None, "", {}, {"use": 3}, Agree, object()])
def test_what_is_no_verifier(wrong):
    with pytest.raises(VerifierError, match="is no verifier: give a name"):
        verified(wrong)
    if wrong is not None:
        with pytest.raises(VerifierError, match="is no verifier"):
            placement_of(node_of(step, metadata={"sherlock": {"verifier": wrong}}))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"on_reject": "corect"}, r"on_reject is 'corect': use one of correct, retry, flag, raise \('correct'\?\)"),
        ({"category": "math"}, r"category is 'math': .*\('maths'\?\)"),
        ({"speculate": 1}, "speculate is 1: give True or False"),
        ({"reads": "log"}, "reads is 'log': give a list"),
        ({"reads": [1]}, "every state key must be a string"),
        ({"reads": 3}, "reads is 3: give a list"),
    ],
)
def test_what_is_wrong_is_said_at_once(fields, words):
    with pytest.raises(PlanError, match=words):
        verified("schema", **fields)
    with pytest.raises(PlanError, match=words):
        placement_of(node_of(step, metadata={"sherlock": {"verifier": "schema", **fields}}))


def test_a_misspelt_field_would_leave_the_node_unverified():
    with pytest.raises(PlanError, match="'verifer' under 'sherlock', which says nothing: is it 'verifier'"):
        placement_of(node_of(step, metadata={"sherlock": {"verifer": "schema"}}))


def test_a_verifier_that_is_not_installed_is_no_error_yet():
    assert placement_of(node_of(verified("of-tomorrow")(lambda state: {"log": []}))).verifier == "of-tomorrow"


def test_what_cannot_be_marked():
    with pytest.raises(PlanError, match="builtin_function_or_method cannot be marked: give its node metadata="):
        verified("schema")(len)
    with pytest.raises(PlanError, match="method cannot be marked"):
        verified("schema")(Agent().method)


def test_what_may_be_said_is_what_a_plan_may_say():
    assert get_args(OnReject) == get_args(plan.OnReject)
    assert get_args(Category) == get_args(plan.Category)


def test_the_decorator_is_not_hidden_by_its_module_and_loads_nothing_heavy():
    code = (
        "import sherlock, sys; import sherlock.verified_nodes; f = sherlock.verified; assert callable(f), f; "
        "print(*(m for m in ('langgraph', 'networkx', 'pydantic', 'scipy', 'openai') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_rejected_output_says_of_which_node_and_why():
    verdict = sherlock.Verdict(accepted=False, rationale="no such order")
    error = OutputRejected("the output of 'look_up' was rejected", node="look_up", rationale="no such order")
    assert isinstance(error, SherlockError)
    assert (error.node, error.rationale, error.verdict) == ("look_up", "no such order", None)
    assert OutputRejected("rejected", verdict=verdict).verdict is verdict
    assert sherlock.OutputRejected is OutputRejected
