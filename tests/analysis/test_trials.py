"""Trials on real agents: effects and tools, live models, prompts and histories, servers that fail."""

import time
from collections import Counter
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from scripted_server import ScriptedServer

import sherlock
from sherlock.errors import CasesError, GraphError, MissingRecording, ModelError
from sherlock.faults import Fault
from sherlock.usage import Limits

WRONG = Fault("wrong", "output", 1.0, lambda text, rng: text + " wrong")


class Messages(TypedDict):
    messages: Annotated[list, add_messages]


class State(TypedDict, total=False):
    q: str
    a: str
    out: str


class Clerk(BaseChatModel):
    """Asks for the stock of what it is asked about, then says what it was told. In this process, without HTTP."""

    @property
    def _llm_type(self) -> str:
        return "clerk"

    def bind_tools(self, tools: Any, **kwargs: Any) -> "Clerk":
        return self

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        last = messages[-1]
        if isinstance(last, ToolMessage):
            answer = AIMessage(f"There are {last.content}.")
        else:
            call = {"name": "stock", "args": {"of": last.text}, "id": f"call-{last.text}"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])


looked_up = Counter()


def shop(**marks):
    @tool
    def stock(of: str) -> str:
        """How many there are."""
        looked_up[of] += 1
        return str(len(of))

    if marks:
        stock = sherlock.effects(**marks)(stock)
    return create_agent(Clerk(), [stock], system_prompt="You are a clerk. Answer only from the stock list.")


def asked(*things, **fields):
    return [sherlock.Case({"messages": [("user", of)]}, **fields) for of in things]


def told(output, case):
    return output["messages"][-1].text == f"There are {len(case.inputs['messages'][0][1])}."


THINGS = ["tin", "brush", "ladder", "glue", "paint", "sand", "wallpaper", "nail"]


@pytest.fixture(autouse=True)
def _nothing_looked_up():
    looked_up.clear()


def test_a_tool_that_says_nothing_is_refused_before_anything_runs():
    with pytest.raises(GraphError, match=r"'tools' has effects \(its tool 'stock' has no stub\)"):
        sherlock.analyze(shop(), asked(*THINGS), scorer=told)
    assert not looked_up


def test_a_tool_with_a_stub_is_never_called():
    def stub(arguments):
        return str(len(arguments["of"]))

    analysis = sherlock.analyze(shop(kind="irreversible", stub=stub), asked(*THINGS), scorer=told)
    assert not looked_up
    assert analysis.accuracy.value == 1
    assert analysis.nodes["tools"].vulnerability.value == 1
    assert {"prompt", "output"} <= set(analysis.nodes["model"].kinds)


def test_references_answer_the_tools_of_each_case():
    cases = [case for of in THINGS for case in asked(of, references={"tools": str(len(of))}, id=of)]
    analysis = sherlock.analyze(shop(), cases, scorer=told)
    assert not looked_up
    assert analysis.accuracy.value == 1
    with pytest.raises(GraphError, match="tools"):
        sherlock.analyze(shop(), [*cases, *asked("rope")], scorer=told)


def test_tools_without_effects_are_called():
    analysis = sherlock.analyze(shop(kind="none"), asked(*THINGS), scorer=told)
    assert set(looked_up) >= set(THINGS)
    assert not analysis.nodes["model"].deterministic


def test_history_faults_keep_tool_calls_and_answers_together():
    seen = []

    class Watched(Clerk):
        def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> ChatResult:
            seen.append(messages)
            return super()._generate(messages, *args, **kwargs)

    def stub(arguments):
        return "7"

    @sherlock.effects("irreversible", stub=stub)
    @tool
    def stock(of: str) -> str:
        """How many there are."""
        return "7"

    def right(output, case):
        return output["messages"][-1].text == "There are 7."

    graph = create_agent(Watched(), [stock])
    turns = [[{"messages": [("user", f"{of}{n}")]} for n in range(3)] for of in ("tin", "glue", "nail")]
    cases = [sherlock.Case(inputs) for inputs in turns]
    sherlock.analyze(graph, cases, scorer=right, nodes=["model"], visits="all")
    assert any(len(messages) < 3 for messages in seen)
    for messages in seen:
        calls = [call["id"] for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
        answers = [m.tool_call_id for m in messages if isinstance(m, ToolMessage)]
        assert calls == answers
        assert isinstance(messages[-1], ToolMessage | HumanMessage)


def two_steps(first, second, **options):
    graph = StateGraph(State)
    graph.add_node("first", first, **options)
    graph.add_node("second", second)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    return graph


def echo(state):
    return {"out": state["a"]}


def questions(n, **fields):
    return [sherlock.Case({"q": f"question {i}"}, **fields) for i in range(n)]


def test_stub_then_reference_then_refusal():
    done = Counter()

    def send(state):
        done["sent"] += 1
        return {"a": state["q"]}

    right = lambda output, case: output["out"] == case.inputs["q"]

    @sherlock.effects("irreversible", stub=lambda state: {"a": state["q"]})
    def stubbed(state):
        return send(state)

    assert sherlock.analyze(two_steps(stubbed, echo), questions(8), scorer=right, faults=[WRONG]).accuracy.value == 1

    async def later(state):
        return {"a": state["q"]}

    said = {"sherlock": {"effects": "compensable", "stub": later}}
    graph = two_steps(send, echo, metadata=said)
    assert sherlock.analyze(graph, questions(8), scorer=right, faults=[WRONG]).accuracy.value == 1
    graph = two_steps(send, echo, metadata={"sherlock": {"effects": "idempotent"}})
    cases = [sherlock.Case({"q": f"{i}?"}, references={"first": f'{{"a": "{i}?"}}'}) for i in range(8)]
    assert sherlock.analyze(graph, cases, scorer=right, faults=[WRONG]).accuracy.value == 1
    with pytest.raises(GraphError, match="'first' has effects, which an analysis never executes"):
        sherlock.analyze(graph, questions(8), scorer=right)
    with pytest.raises(CasesError, match="must be a JSON object"):
        sherlock.analyze(graph, questions(8, references={"first": "yes"}), scorer=right)
    assert not done


def test_another_stub_shares_no_results(tmp_path):
    right = lambda output, case: 1.0

    def with_stub(text):
        send = sherlock.effects("irreversible", stub=lambda state: {"a": text})(lambda state: {})
        analysis = sherlock.analyze(two_steps(send, echo), questions(8), scorer=right, store=tmp_path / "s.db")
        return analysis.nodes["first"].examples[0].before

    assert with_stub("one") != with_stub("two")


# Live models.


def answering(server, **options):
    model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

    async def ask(state):
        turns = [SystemMessage("Repeat what you are told. Never add a word."), HumanMessage(state["q"])]
        return {"a": (await model.ainvoke(turns)).text}

    return two_steps(ask, echo, **options)


def last(request):
    return request["messages"][-1]["content"]


def repeated(output, case):
    return output["out"] == case.inputs["q"]


def test_a_live_model_is_never_shared_and_its_sham_never_left_out():
    with ScriptedServer(last) as server:
        analysis = sherlock.analyze(answering(server), questions(8), scorer=repeated, faults=[WRONG])
        calls = Counter(map(last, server.requests))
    assert not analysis.nodes["first"].deterministic
    assert analysis.nodes["first"].instability.n == 8
    # The clean run, the sham at first. The fault takes the place of the answer, and nothing asks after first.
    assert set(calls.values()) == {2}
    assert analysis.model_calls == 16


def test_recorded_answers_are_as_good_as_deterministic(tmp_path):
    with ScriptedServer(last) as server:
        for _ in range(2):
            options = {"scorer": repeated, "recordings": tmp_path / "calls", "faults": [WRONG]}
            analysis = sherlock.analyze(answering(server), questions(8), **options)
            assert len(server.requests) == 8
    assert analysis.nodes["first"].deterministic
    assert analysis.nodes["first"].instability is None
    assert analysis.timing.spent.calls == 0


def test_a_call_that_only_a_fault_brings_about_is_not_shared():
    """A node that asks a model only when its input looks wrong was never seen to be live."""
    with ScriptedServer(lambda request: f"{last(request)} {time.perf_counter_ns()}") as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

        async def careful(state):
            return {"out": (await model.ainvoke("mend")).text if "wrong" in state["a"] else state["a"]}

        graph = StateGraph(State)
        graph.add_node("first", lambda state: {"a": state["q"]})
        graph.add_node("same", lambda state: {"a": state["a"]})
        graph.add_node("careful", careful)
        for edge in ((START, "first"), ("first", "same"), ("same", "careful")):
            graph.add_edge(*edge)
        sherlock.analyze(graph, questions(8), scorer=repeated, faults=[WRONG], nodes=["first", "same"])
        assert len(server.requests) == 16  # for one input from two places


def test_prompt_faults_change_only_the_directive():
    with ScriptedServer(last) as server:
        faults = [Fault("odd", "prompt", 1.0, lambda text, rng: "Say what you like.")]
        analysis = sherlock.analyze(answering(server), questions(8), scorer=repeated, faults=faults)
        systems = Counter(request["messages"][0]["content"] for request in server.requests)
        users = {last(request) for request in server.requests}
    assert systems == {"Repeat what you are told. Never add a word.": 16, "Say what you like.": 8}
    assert users == {f"question {i}" for i in range(8)}
    assert analysis.nodes["first"].vulnerability.value == 0
    assert analysis.nodes["second"].vulnerability is None


@pytest.mark.parametrize("swallows", [False, True])
def test_a_server_that_is_not_there_is_no_loss(swallows, monkeypatch):
    monkeypatch.setattr("sherlock.analysis.rounds.RETRY_AFTER_S", 0.01)
    server = ScriptedServer(last)
    with server:
        base_url = server.base_url
    model = ChatOpenAI(model="m", base_url=base_url, api_key="none", max_retries=0)

    async def ask(state):
        try:
            return {"a": (await model.ainvoke(state["q"])).text}
        except Exception:
            if not swallows:
                raise
            return {"a": "sorry"}

    with pytest.raises(ModelError, match=r"'m' at http.* could not be reached"):
        sherlock.analyze(two_steps(ask, echo), questions(8), scorer=repeated)


def test_a_server_that_goes_away_ends_the_analysis_with_what_there_is(monkeypatch):
    monkeypatch.setattr("sherlock.analysis.rounds.RETRY_AFTER_S", 0.01)
    answers = iter(range(20))

    def until_gone(request):
        return last(request) if next(answers, None) is not None else {"status": 503, "error": "gone"}

    with ScriptedServer(until_gone) as server:
        faults = [Fault("odd", "prompt", 1.0, lambda text, rng: "Say what you like."), WRONG]
        analysis = sherlock.analyze(answering(server), questions(8), scorer=repeated, faults=faults, concurrency=1)
    assert "answered 503" in analysis.partial
    assert all(node.errors == 0 for node in analysis.nodes.values())


def test_a_refusal_because_of_the_fault_is_a_loss():
    def picky(request):
        return {"status": 400, "error": "no"} if "wrong" in last(request) else last(request)

    with ScriptedServer(picky) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

        async def ask(state):
            return {"out": (await model.ainvoke(state["a"])).text}

        graph = two_steps(lambda state: {"a": state["q"]}, ask)
        analysis = sherlock.analyze(graph, questions(8), scorer=repeated, faults=[WRONG])
    assert analysis.nodes["first"].vulnerability.value == 1
    assert analysis.nodes["first"].errors == 8


def test_a_call_that_failed_and_was_made_again_is_no_outage():
    turns = Counter()

    def flaky(request):
        turns[last(request)] += 1
        return {"status": 503, "error": "busy"} if turns[last(request)] % 2 else last(request)

    with ScriptedServer(flaky) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

        async def ask(state):
            for _ in range(2):
                try:
                    return {"a": (await model.ainvoke(state["q"])).text}
                except Exception:
                    continue
            raise ConnectionError

        def picky(state):
            return {"out": state["a"]} if "wrong" not in state["a"] else state["nothing"]

        analysis = sherlock.analyze(two_steps(ask, picky), questions(8), scorer=repeated, faults=[WRONG])
    assert analysis.partial is None
    assert analysis.nodes["first"].errors == 8


def test_calls_are_limited_to_the_call():
    with ScriptedServer(last) as server:
        limits = Limits(calls=13)
        analysis = sherlock.analyze(answering(server), questions(20), scorer=repeated, limits=limits)
        assert len(server.requests) == 13
    assert analysis.partial == "limit reached: 13 model calls"
    assert analysis.timing.spent.calls == 13


def test_a_limit_is_a_limit_whatever_the_node_makes_of_it():
    with ScriptedServer(last) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

        async def ask(state):
            try:
                return {"a": (await model.ainvoke(state["q"])).text}
            except Exception:
                return {"a": "sorry"}

        limits = Limits(calls=12)
        analysis = sherlock.analyze(two_steps(ask, echo), questions(8), scorer=repeated, faults=[WRONG], limits=limits)
    assert analysis.partial == "limit reached: 12 model calls"
    assert analysis.baseline.value == 1


def test_a_missing_recording_ends_the_analysis(tmp_path):
    from sherlock.interpose.recording import Recordings

    recordings = Recordings(tmp_path, mode="none")
    with ScriptedServer(last) as server:
        with pytest.raises(MissingRecording):
            sherlock.analyze(answering(server), questions(8), scorer=repeated, recordings=recordings)
        assert not server.requests


@pytest.mark.parametrize("inside", [False, True])
def test_a_router_at_the_start_is_metered_and_limited(inside):
    with ScriptedServer(lambda request: "second") as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

        async def route(state):
            return (await model.ainvoke(state["q"])).text

        graph = StateGraph(State)
        graph.add_node("second", lambda state: {"out": state["q"]})
        graph.add_conditional_edges(START, route, ["second"])
        if inside:
            inner, graph = graph.compile(), StateGraph(State)
            graph.add_node("inner", inner)
            graph.add_edge(START, "inner")
        analysis = sherlock.analyze(graph, questions(8), scorer=repeated, faults=[WRONG], limits=Limits(calls=20))
        assert analysis.timing.spent.calls == len(server.requests)
        assert len(server.requests) == (20 if inside else 8)
    assert analysis.partial == ("limit reached: 20 model calls" if inside else None)


def test_a_router_that_asks_a_model_is_live_too():
    with ScriptedServer(lambda request: "end") as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

        async def route(state):
            return END if (await model.ainvoke(state["q"])).text == "end" else "second"

        graph = StateGraph(State)
        graph.add_node("first", lambda state: {"a": state["q"], "out": state["q"]})
        graph.add_node("second", echo)
        graph.add_edge(START, "first")
        graph.add_conditional_edges("first", route, [END, "second"])
        faults = [Fault("wrong", "output", 1.0, lambda text, rng: '{"a": "", "out": ""}')]
        analysis = sherlock.analyze(graph, questions(8), scorer=repeated, faults=faults)
        assert not analysis.nodes["first"].deterministic
        assert len(server.requests) == 8 + 8 + 8
