import asyncio
import contextlib
import functools
import importlib
import inspect
import json
import os
import pickle
import sys

import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.func import entrypoint
from langgraph.graph import START
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk.runtime import ServerRuntime
from sample_graphs import State, agent, step, wired

from sherlock.errors import CasesError, GraphError
from sherlock.loading import load_object, opened_graph

AGENT = """
from typing import TypedDict
from langgraph.graph import START, StateGraph
from pydantic import BaseModel
import {sibling}

class Answer(BaseModel):
    text: "str | None" = None
    parent: "Answer | None" = None

class State(TypedDict):
    text: str

class graphs:
    inner = "nested attribute"

def node(state: State):
    return {{"text": {sibling}.WORD}}

builder = StateGraph(State)
builder.add_node("node", node)
builder.add_edge(START, "node")
graph = builder.compile()

def score(output, case):
    return 1.0
"""


@pytest.fixture(autouse=True)
def clean_imports(monkeypatch):
    """What a test imports, puts on the path or into the environment is gone after it."""
    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    environment = dict(os.environ)
    yield
    for name in set(sys.modules) - known:
        if not name.partition(".")[0].startswith(("lang", "pydantic")):
            del sys.modules[name]
    importlib.invalidate_caches()
    for name in set(os.environ) - set(environment):
        del os.environ[name]


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "my_agent.py").write_text(AGENT.format(sibling="my_words"))
    (tmp_path / "my_words.py").write_text('WORD = "hello"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def opened(graph, config=None):
    async def use():
        async with opened_graph(graph, config) as found:
            assert isinstance(found, CompiledStateGraph)
            return found

    return asyncio.run(use())


# --- references


def test_file_and_module_are_the_same_object(project):
    graph = load_object("my_agent.py:graph", what="graph")
    assert graph.invoke({"text": ""}) == {"text": "hello"}
    assert load_object(f"{project}/my_agent.py:graph", what="graph") is graph
    assert load_object("./my_agent.py:graph", what="graph") is graph
    assert load_object("my_agent:graph", what="graph") is graph
    assert load_object("my_agent:graphs.inner", what="graph") == "nested attribute"


def test_loaded_modules_work_with_pydantic_pickle_and_inspect(project):
    module = sys.modules[load_object("my_agent.py:node", what="graph").__module__]
    assert module.Answer(parent=module.Answer(text="a")).parent.text == "a"
    assert pickle.loads(pickle.dumps(module.Answer())) == module.Answer()
    assert "WORD" in inspect.getsource(module.node)


def test_files_of_one_name_are_two_modules(project):
    other = project / "other"
    other.mkdir()
    (other / "my_agent.py").write_text("graph = 1\n")
    (other / "json.py").write_text("graph = 2\n")
    (other / "__main__.py").write_text("graph = 3\n")
    first = load_object("my_agent.py:graph", what="graph")
    assert load_object("other/my_agent.py:graph", what="graph") == 1
    assert load_object("other/json.py:graph", what="graph") == 2
    assert load_object("other/__main__.py:graph", what="graph") == 3
    assert sys.modules["json"] is json
    assert load_object("my_agent.py:graph", what="graph") is first


def test_file_in_a_package_may_import_relatively(project):
    package = project / "my_package" / "agents"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").write_text("")
    (package / "agent.py").write_text("from ..words import WORD as graph\n")
    (package.parent / "words.py").write_text("WORD = 'relative'\n")
    assert load_object("my_package/agents/agent.py:graph", what="graph") == "relative"
    assert "my_package.agents.agent" in sys.modules
    assert load_object("my_package.agents.agent:graph", what="graph") == "relative"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("my_agent.py:grap", r"^my_agent.py has no attribute 'grap' \(did you mean 'graph'\?\)\.$"),
        ("my_agent.py:graphs.outer", "no attribute 'graphs.outer'"),
        ("my_agnt.py:graph", r"^There is no file '.*/my_agnt.py' \(did you mean 'my_agent.py'\?\)\.$"),
        ("nowhere/x.py:graph", r"^There is no file '.*/nowhere/x.py'\.$"),
        ("my_agnt:graph", r"^There is no module 'my_agnt' in .* \(did you mean 'my_agent'\?\)\.$"),
        ("my_agent.part:graph", "There is no module 'my_agent.part'"),
        ("my_agent.py", r"names no attribute: write it as 'my_agent.py:graph'\.$"),
        ("my_agent:", "names no attribute"),
        ("agent", r"^The graph 'agent' is neither .* and there is no langgraph.json in "),
    ],
)
def test_wrong_references_are_one_sentence(project, reference, message):
    with pytest.raises(GraphError, match=message) as caught:
        load_object(reference, what="graph")
    assert "\n" not in str(caught.value)


def test_wrong_scorers_are_case_errors(project):
    assert load_object("my_agent.py:score", what="scorer")(None, None) == 1.0
    with pytest.raises(CasesError, match=r"no attribute 'scor' \(did you mean 'score'"):
        load_object("my_agent.py:scor", what="scorer")
    with pytest.raises(CasesError, match=r"The scorer 'score' names no attribute: write it as 'file.py:scorer'"):
        load_object("score", what="scorer")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n\nprint(1 / 0)\n", "broken.py line 3: ZeroDivisionError: division by zero."),
        ("import json\njson.loads('{')\n", "broken.py line 2: JSONDecodeError"),
        ("def f(:\n", "broken.py line 1: SyntaxError"),
        ("import no_such_thing\n", "broken.py line 1: ModuleNotFoundError: No module named 'no_such_thing'."),
        ("import sys\nsys.exit(3)\n", "broken.py line 2: SystemExit: 3."),
        ("def a():\n    raise KeyError\na()\n", "broken.py line 2: KeyError."),
    ],
)
@pytest.mark.parametrize("reference", ["broken.py:graph", "broken:graph"])
def test_a_module_that_raises_names_its_line(project, source, message, reference):
    (project / "broken.py").write_text(source)
    with pytest.raises(GraphError) as caught:
        load_object(reference, what="graph")
    assert str(caught.value).startswith("Importing ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "broken" not in sys.modules


# --- langgraph.json


def test_langgraph_json(project, monkeypatch):
    monkeypatch.setenv("SHERLOCK_TEST_SET", "as it was")
    (project / "lib").mkdir()
    (project / "lib" / "my_words_elsewhere.py").write_text('import os\nWORD = os.environ["SHERLOCK_TEST_NEW"]\n')
    (project / "src").mkdir()
    (project / "src" / "second.py").write_text(AGENT.format(sibling="my_words_elsewhere"))
    (project / ".env").write_text("SHERLOCK_TEST_SET=changed\nexport SHERLOCK_TEST_NEW='from file' # comment\n")
    settings = {
        "dependencies": [".", "./lib", "langchain_openai"],
        "graphs": {"agent": "./my_agent.py:graph", "second": {"path": "src/second.py:graph"}, "third": "./x.ts"},
        "env": ".env",
    }
    (project / "langgraph.json").write_text(json.dumps(settings))
    assert load_object("agent", what="graph") is load_object("my_agent.py:graph", what="graph")
    assert load_object("second", what="graph").invoke({"text": ""}) == {"text": "from file"}
    assert os.environ["SHERLOCK_TEST_SET"] == "as it was"
    assert os.environ["SHERLOCK_TEST_NEW"] == "from file"
    with pytest.raises(GraphError, match=r"langgraph.json' lists no graph 'agnt' \(did you mean 'agent'\?\)"):
        load_object("agnt", what="graph")
    with pytest.raises(GraphError, match=r"gives './x.ts' for the graph 'third': it should be 'file.py:attribute'"):
        load_object("third", what="graph")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "langgraph.json' is not JSON: .*line 1"),
        ("[]", "lists no graph 'agent'"),
        ('{"graphs": {"agent": 3}}', "gives 3 for the graph"),
        ('{"graphs": {"agent": "./my_agent.py:graph"}, "env": "no.env"}', "env file 'no.env', which does not exist"),
    ],
)
def test_wrong_langgraph_json(project, text, message):
    (project / "langgraph.json").write_text(text)
    with pytest.raises(GraphError, match=message):
        load_object("agent", what="graph")


def test_env_may_be_an_object(project):
    settings = {"graphs": {"agent": "./my_agent.py:graph"}, "env": {"SHERLOCK_TEST_OBJECT": 1}}
    (project / "langgraph.json").write_text(json.dumps(settings))
    assert list(opened("agent").nodes) == [START, "node"]
    assert os.environ["SHERLOCK_TEST_OBJECT"] == "1"


# --- every form of graph

COMPILED = wired((START, "a")).compile()
CLOSED = []


def plain():
    return COMPILED


async def asynchronous():
    return COMPILED


def with_config(config: RunnableConfig):
    assert config == {"configurable": {"x": 1}}
    return COMPILED


def with_anything(whatever):
    assert whatever == {"configurable": {"x": 1}}
    return wired((START, "a"))


async def with_runtime(runtime: ServerRuntime):
    assert runtime.access_context == "threads.create_run"
    assert runtime.execution_runtime is not None
    assert runtime.user is None
    return COMPILED


def with_both(runtime: "ServerRuntime[int]", *, config=None, extra=3):
    assert config
    assert runtime.store is not None
    return COMPILED


@contextlib.contextmanager
def managed():
    yield COMPILED
    CLOSED.append("managed")


@contextlib.asynccontextmanager
async def managed_async(config):
    yield wired((START, "a"))
    CLOSED.append("managed_async")


class Factory:
    def __call__(self):
        return COMPILED


class Manager:
    async def __aenter__(self):
        return COMPILED

    async def __aexit__(self, *exception):
        CLOSED.append("Manager")


@pytest.mark.parametrize(
    "form",
    [
        *(COMPILED, wired((START, "a")), plain, asynchronous, with_config, with_anything, with_runtime, with_both),
        *(Factory(), COMPILED.with_config(tags=["x"]), functools.partial(plain)),
    ],
)
def test_forms(form):
    assert "a" in opened(form, {"configurable": {"x": 1}}).nodes


@pytest.mark.parametrize(
    ("form", "name"),
    [
        *((managed, "managed"), (managed(), "managed"), (managed_async, "managed_async")),
        *((managed_async({}), "managed_async"), (Manager, "Manager"), (Manager(), "Manager")),
    ],
)
def test_context_managers_stay_open_for_the_block(form, name):
    CLOSED.clear()

    async def use():
        async with opened_graph(form) as graph:
            assert "a" in graph.nodes
            assert not CLOSED
        assert [name] == CLOSED

    asyncio.run(use())


def test_builder_is_not_changed():
    builder = wired((START, "a"))
    builder.set_node_defaults(error_handler=step)
    opened(builder)
    opened(builder)
    assert not builder.compiled
    assert set(builder.nodes) == {"a"}


def test_errors_of_the_block_are_its_own():
    async def use():
        async with opened_graph(managed_async, {}):
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(use())


def broken():
    raise RuntimeError("no database")


async def broken_later(config):
    raise RuntimeError("no database")


@contextlib.contextmanager
def broken_inside():
    raise RuntimeError("no database")
    yield


@pytest.mark.parametrize("form", [broken, broken_later, broken_inside])
def test_factory_that_raises_is_named(form):
    message = rf"^The graph '{form.__name__}' raised when it was called for the graph: .*test_loading.py line \d+: "
    with pytest.raises(GraphError, match=message + r"RuntimeError: no database\.$"):
        opened(form)


def two(config, other):
    return COMPILED


def generator():
    yield COMPILED


async def async_generator():
    yield COMPILED


async def coroutine():
    return COMPILED


@entrypoint()
def workflow(value: int) -> int:
    return value


class NoGraph:
    pass


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (workflow, "is an @entrypoint function: write it as a StateGraph"),
        (lambda: workflow, "is an @entrypoint function"),
        (RemoteGraph("agent", url="http://127.0.0.1:9"), "is a RemoteGraph, which runs elsewhere"),
        (RunnableLambda(step), "is a RunnableLambda, no graph: add it to a StateGraph as a node"),
        (COMPILED | RunnableLambda(step), "is a RunnableSequence, no graph"),
        (generator, "is a plain generator: decorate its function with contextlib.contextmanager"),
        (async_generator, "decorate its function with contextlib.asynccontextmanager"),
        (coroutine(), "is a coroutine, no graph: pass the async function without calling it"),
        (two, "takes the parameter 'other', which nobody can give"),
        (State, "The graph is the class State, no graph"),
        (NoGraph, "The graph is the class NoGraph, no graph"),
        (NoGraph(), "The graph is of type NoGraph, no graph"),
        (lambda: 3, "is of type int, no graph: name a StateGraph, a compiled graph, or a factory that returns one"),
        (None, "The graph is of type NoneType, no graph"),
        (lambda: lambda: lambda: lambda: COMPILED, "in the end: let it return a graph"),
        (wired(("a", "b")), "The StateGraph does not compile: Graph must have an entrypoint"),
    ],
)
def test_what_is_no_graph_gets_a_cure(form, message):
    with pytest.raises(GraphError) as caught:
        opened(form)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_agents_open_as_they_are():
    graph = agent()
    assert opened(graph) is graph
