import asyncio
import functools
import re
import sys

import pytest
from langchain_core.messages import SystemMessage
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, StateGraph
from sample_graphs import State, agent, inner, nested, wired

from sherlock.errors import GraphError
from sherlock.graph import code_fingerprint
from sherlock.loading import load_object
from sherlock.node_code import object_fingerprint

AGENT = """
import functools
from dataclasses import dataclass
from typing import TypedDict
import prompts
from langgraph.graph import START, StateGraph

PROMPT = "be brief"
EXAMPLES = [("2 + 2", "4")]
UNUSED = "nothing reads this"
SEEN = []
count = 0

class State(TypedDict):
    text: str

@dataclass
class Settings:
    tone: str = "kind"

SETTINGS = Settings()

def shout(text):
    # a comment
    return text + "!"

def deeper(text):
    return shout(text) if text else deeper(text)

def direct(state):
    global count
    count += 1
    SEEN.append(state)
    return {"text": PROMPT}

def by_example(state):
    return {"text": str([question for question, _ in EXAMPLES])}

def by_module(state):
    return {"text": prompts.GREETING}

def by_call(state):
    return {"text": deeper(state["text"])}

def by_settings(state):
    return {"text": SETTINGS.tone}

def make(prompt, log):
    def node(state):
        log.append(state)
        return {"text": prompt}
    return node

class Node:
    GOAL = "help"

    def __init__(self, prompt):
        self.prompt = prompt
        self.calls = 0

    def __call__(self, state):
        self.calls += 1
        return {"text": self.prompt + self.GOAL + PROMPT}

    def method(self, state):
        return {"text": self.prompt}

def with_default(state, prompt="default"):
    return {"text": prompt}

def router(state) -> "str":
    return "by_call" if state["text"] == "short" else "by_call"

builder = StateGraph(State)
for node in (direct, by_example, by_module, by_call, by_settings, with_default):
    builder.add_node(node)
builder.add_node("closure", make("from a closure", []))
builder.add_node("object", Node("from an object"))
builder.add_node("method", Node("by method").method)
builder.add_node("partial", functools.partial(with_default, prompt="from a partial"))
builder.add_node("lambda", lambda state: {"text": "one"})
builder.add_edge(START, "direct")
builder.add_conditional_edges("direct", router, ["by_call"])
graph = builder.compile()
"""

PROMPTS = 'GREETING = "hello"\nOTHER = "unused"\n'


@pytest.fixture
def fingerprints(tmp_path):
    """Fingerprints of the agent above with a piece of its source replaced, each in a folder of its own."""
    folders = iter(range(100))

    def read(old="", new="", prompts=PROMPTS):
        folder = tmp_path / f"project{next(folders)}"
        folder.mkdir()
        assert old in AGENT
        (folder / "agent_under_test.py").write_text(AGENT.replace(old, new) if old else AGENT)
        (folder / "prompts.py").write_text(prompts)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "path", [*sys.path])
            graph = load_object(f"{folder / 'agent_under_test.py'}:graph", what="graph")
            found = code_fingerprint(graph)
        for name in ("agent_under_test", "prompts"):
            del sys.modules[name]
        return found

    return read


def changed(fingerprints, *args, **kwargs):
    before, after = fingerprints(), fingerprints(*args, **kwargs)
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_every_leaf_has_one(fingerprints):
    found = fingerprints()
    assert set(found) == {
        *("direct", "by_example", "by_module", "by_call", "by_settings", "with_default"),
        *("closure", "object", "method", "partial", "lambda"),
    }
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in found.values())
    assert set(code_fingerprint(nested().compile())) == {START, "out/mid/deep/z", "out/mid/y", "x"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('PROMPT = "be brief"', 'PROMPT = "be long"', {"direct", "object", "method"}),
        ('("2 + 2", "4")', '("2 + 2", "4"), ("1 + 1", "2")', {"by_example"}),
        ('return text + "!"', 'return text + "?"', {"by_call"}),
        ('tone: str = "kind"', 'tone: str = "cold"', {"by_settings"}),
        ('"from a closure"', '"from another"', {"closure"}),
        ('"from an object"', '"from another"', {"object"}),
        ('"by method"', '"by another"', {"method"}),
        ('GOAL = "help"', 'GOAL = "harm"', {"object", "method"}),
        ('prompt="default"', 'prompt="other"', {"with_default", "partial"}),
        ('prompt="from a partial"', 'prompt="other"', {"partial"}),
        ('{"text": "one"}', '{"text": "two"}', {"lambda"}),
        ('== "short"', '== "long"', {"direct"}),
        ('UNUSED = "nothing reads this"', "UNUSED = 3", set()),
        ("# a comment", "# another comment", set()),
        ("SEEN = []", "SEEN = [1]", set()),
        ("count = 0", "count = 7", set()),
        ("self.calls = 0", "self.calls = 0 ", set()),
    ],
)
def test_what_a_change_reaches(fingerprints, old, new, expected):
    assert changed(fingerprints, old, new) == expected


def test_constants_of_the_users_other_modules_count(fingerprints):
    assert changed(fingerprints, prompts=PROMPTS.replace("hello", "good day")) == {"by_module"}
    assert changed(fingerprints, prompts=PROMPTS.replace("unused", "still unused")) == set()


def test_running_changes_nothing(tmp_path):
    log = []
    calls = {"n": 0}

    def node(state):
        log.append("ran")
        calls["n"] += 1
        return {"log": ["x"]}

    class Counting:
        def __init__(self):
            self.runs = 0
            self.seen = []

        async def __call__(self, state):
            self.runs += 1
            self.seen.append(state)
            return {"log": []}

    builder = StateGraph(State)
    builder.add_node("a", node)
    builder.add_node("b", Counting())
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    graph = builder.compile()
    before = code_fingerprint(graph)
    asyncio.run(graph.ainvoke({"log": []}))
    assert (len(log), calls["n"]) == (1, 1)
    assert code_fingerprint(graph) == before


def test_running_an_agent_with_a_scripted_model_changes_nothing():
    graph = agent(system_prompt="be kind")
    before = code_fingerprint(graph)
    graph.invoke({"messages": ["hi"]})
    assert code_fingerprint(graph) == before


def test_agents_prompt_and_tools_count():
    assert code_fingerprint(agent(system_prompt="a")) == code_fingerprint(agent(system_prompt="a"))
    assert code_fingerprint(agent(system_prompt="a"))["model"] != code_fingerprint(agent(system_prompt="b"))["model"]
    message = agent(system_prompt=SystemMessage("b"))
    assert code_fingerprint(message)["model"] == code_fingerprint(agent(system_prompt="b"))["model"]


def test_lambdas_differ_even_on_one_line():
    first, second = (lambda state: {"log": ["1"]}), (lambda state: {"log": ["2"]})
    third = lambda state: {"log": ["3"]}
    assert len({object_fingerprint(node) for node in (first, second, third)}) == 3
    same = lambda state: {"log": ["3"]}
    assert object_fingerprint(RunnableLambda(same)) == object_fingerprint(RunnableLambda(same))


def test_code_without_source_is_told_apart_by_its_bytecode():
    namespaces = [{}, {}, {}]
    for namespace, text in zip(namespaces, ("one", "two", "one"), strict=True):
        exec(f"def node(state):\n    return {{'log': [{text!r}], 'set': state in {{1, 2}}}}", namespace)
    found = [object_fingerprint(namespace["node"]) for namespace in namespaces]
    assert found[0] == found[2] != found[1]


def test_whether_equal_constants_are_one_object_does_not_count():
    def build(first, second):
        return object_fingerprint(lambda state: {"log": [first, second]})

    pair = ("a", "b")
    assert build(pair, pair) == build(pair, tuple(["a", "b"]))  # noqa: C409 - another object is wanted


def test_wrappers_and_caches_are_seen_through():
    def build(word):
        @functools.cache
        def cached(text):
            return text + word

        def plain(state):
            return {"log": [cached("a")]}

        @functools.wraps(plain)
        def wrapper(state):
            return plain(state)

        return object_fingerprint(wrapper)

    assert build("x") == build("x") != build("y")


def test_a_graph_called_by_a_node_counts():
    def build(target):
        sub = wired((START, "p"), ("p", target)).compile()

        def node(state):
            return sub.invoke(state)

        return object_fingerprint(node)

    assert build("q") == build("q") != build("r")


def test_reducers_and_entry_routers_are_under_the_start():
    builder = wired(("a", "b"))
    assert set(code_fingerprint(inner((START, "a")))) == {START, "a"}  # State has a reducer
    builder.add_conditional_edges(START, lambda state: "a", ["a"])
    other = wired(("a", "b"))
    other.add_conditional_edges(START, lambda state: "b", ["a"])
    first, second = code_fingerprint(builder.compile()), code_fingerprint(other.compile())
    assert {name for name in first if first[name] != second[name]} == {START}


def test_only_compiled_graphs():
    with pytest.raises(GraphError, match="compiled graph, not from a StateGraph"):
        code_fingerprint(wired((START, "a")))
