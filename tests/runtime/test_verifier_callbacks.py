"""What LangChain callbacks hear of verifications, and what users' streams must not."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import virtual_clock
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from small_graphs import RIGHT, WRONG, State, chain

import sherlock
from sherlock import Plan, Verdict

NODES_WORDS, VERIFIERS_WORDS = "a node speaks here", "verifiers whisper something else"


class Heard(BaseCallbackHandler):
    """Takes down runs: name, parent, metadata, end."""

    def __init__(self):
        self.runs = {}

    def _begin(self, run_id, name, parent_run_id, metadata):
        self.runs[run_id] = {"name": name, "parent": parent_run_id, "metadata": metadata or {}, "end": None}

    def on_chain_start(self, serialized, inputs, *, run_id, parent_run_id=None, metadata=None, **kwargs):
        self._begin(run_id, kwargs.get("name"), parent_run_id, metadata)
        self.runs[run_id]["inputs"] = inputs

    def on_chat_model_start(self, serialized, messages, *, run_id, parent_run_id=None, metadata=None, **kwargs):
        self._begin(run_id, "model", parent_run_id, metadata)

    def on_chain_end(self, outputs, *, run_id, **kwargs):
        self.runs[run_id]["end"] = outputs

    def on_chain_error(self, error, *, run_id, **kwargs):
        self.runs[run_id]["end"] = error

    def on_llm_end(self, response, *, run_id, **kwargs):
        self.runs[run_id]["end"] = response

    def named(self, name):
        return [run for run in self.runs.values() if run["name"] == name]

    def lineage(self, run):
        """Its name, and those of the runs above it."""
        return [run["name"], *(self.lineage(self.runs[run["parent"]]) if run["parent"] else [])]


class HeardAsync(Heard, AsyncCallbackHandler):
    async def on_chain_start(self, serialized, inputs, *, run_id, **kwargs):
        super().on_chain_start(serialized, inputs, run_id=run_id, **kwargs)

    async def on_chat_model_start(self, serialized, messages, *, run_id, **kwargs):
        super().on_chat_model_start(serialized, messages, run_id=run_id, **kwargs)

    async def on_chain_end(self, outputs, *, run_id, **kwargs):
        super().on_chain_end(outputs, run_id=run_id, **kwargs)

    async def on_chain_error(self, error, *, run_id, **kwargs):
        super().on_chain_error(error, run_id=run_id, **kwargs)

    async def on_llm_end(self, response, *, run_id, **kwargs):
        super().on_llm_end(response, run_id=run_id, **kwargs)


class Asking:
    """A verifier that asks a model of LangChain's, through the subject or by itself."""

    name = "asking"

    def __init__(self, *, by_itself=True, seconds=0.0, verdict=None):
        self.model = GenericFakeChatModel(messages=iter([AIMessage(VERIFIERS_WORDS)] * 99))
        self.by_itself, self.seconds, self.verdict = by_itself, seconds, verdict

    async def verify(self, subject):
        await asyncio.sleep(self.seconds)
        if self.by_itself:
            await self.model.ainvoke(subject.text)
        else:
            await subject.complete(subject.text, model=self.model)
        return Verdict(True) if self.verdict is None else self.verdict(subject)


def corrects(subject):
    return Verdict(False, corrected=RIGHT, rationale="wrong") if subject.text == WRONG else Verdict(True)


def speaking():
    """A builder: `a` asks a model; `b` repeats what it said."""
    model = GenericFakeChatModel(messages=iter([AIMessage(NODES_WORDS)] * 99))

    async def a(state: State) -> State:
        return {"a": (await model.ainvoke("speak")).content}

    async def b(state: State) -> State:
        await asyncio.sleep(0.02)
        return {"b": state["a"]}

    builder = StateGraph(State)
    builder.add_node(a)
    builder.add_node(b)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    return builder


def guarded(verifier, graph=None, **policy):
    return sherlock.guard(graph or speaking(), Plan.attach({"a": verifier}), policy=policy)


def inside(graph):
    """The graph as a node of one that is not guarded."""
    builder = StateGraph(State)
    builder.add_node("inner", graph)
    builder.add_edge(START, "inner")
    return builder.compile()


@pytest.mark.parametrize("by_itself", [True, False])
@pytest.mark.parametrize("handler", [Heard, HeardAsync])
def test_a_verification_is_a_run_below_the_root(handler, by_itself):
    heard = handler()
    agent = guarded(Asking(by_itself=by_itself))
    asyncio.run(agent.ainvoke({"x": "go"}, {"callbacks": [heard], "run_name": "my agent"}))
    (verification,) = heard.named("verify:a")
    assert heard.lineage(verification) == ["verify:a", "my agent"]
    assert verification["inputs"] == {"node": "a", "text": NODES_WORDS}
    assert verification["end"] == {"accepted": True}
    models = sorted(heard.lineage(run) for run in heard.named("model"))
    assert models == [["model", "a", "my agent"], ["model", "verify:a", "my agent"]]
    assert [run["parent"] for run in heard.runs.values()].count(None) == 1
    assert all(run["end"] is not None for run in heard.runs.values())


def test_sync_callers_hear_the_same():
    heard = Heard()
    guarded(Asking()).invoke({"x": "go"}, {"callbacks": [heard], "run_name": "my agent"})
    assert ["model", "verify:a", "my agent"] in [heard.lineage(run) for run in heard.named("model")]


def test_a_correction_and_a_rollback():
    """A node of the attempt that was given up, and was still running, ends with a cancellation."""
    heard = Heard()
    agent = sherlock.guard(chain(1), Plan.attach({"a": Asking(verdict=corrects, seconds=0.5)}))
    virtual_clock.run(agent.ainvoke({"x": "go"}, {"callbacks": [heard]}))
    assert agent.report().rollbacks == 1
    assert [run["name"] for run in heard.runs.values() if run["parent"] is None] == ["LangGraph"]
    (verification,) = heard.named("verify:a")
    assert verification["end"] == {"accepted": False, "corrected": RIGHT, "rationale": "wrong"}
    given_up, kept = heard.named("b")
    assert isinstance(given_up["end"], asyncio.CancelledError)
    assert RIGHT in kept["end"]["b"]
    assert all(run["end"] is not None for run in heard.runs.values())


@pytest.mark.parametrize("on_failure", ["open", "closed"])
def test_a_failure_is_an_error_of_the_verification(on_failure):
    def breaks(subject):
        raise RuntimeError("a verifier that breaks")

    heard = Heard()

    async def main():
        agent = guarded(Asking(verdict=breaks), on_failure=on_failure)
        try:
            await agent.ainvoke({"x": "go"}, {"callbacks": [heard]})
        except sherlock.VerifierError:
            return "raised"
        return "done"

    assert asyncio.run(main()) == {"open": "done", "closed": "raised"}[on_failure]
    (verification,) = heard.named("verify:a")
    assert isinstance(verification["end"], RuntimeError)


def test_a_cancelled_verification_ends():
    heard = Heard()

    async def main():
        task = asyncio.ensure_future(guarded(Asking(seconds=60)).ainvoke({"x": "go"}, {"callbacks": [heard]}))
        while not heard.named("verify:a"):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    (verification,) = heard.named("verify:a")
    assert isinstance(verification["end"], asyncio.CancelledError)


def test_no_verification_is_taken_for_a_node():
    """Handlers that look at nodes find them by LangGraph's metadata."""
    for graph in (guarded(Asking()), inside(guarded(Asking()))):
        heard = Heard()
        asyncio.run(graph.ainvoke({"x": "go"}, {"callbacks": [heard], "metadata": {"mine": 1}}))
        (verification,) = heard.named("verify:a")
        assert not [key for key in verification["metadata"] if key.startswith("langgraph_")]
        assert verification["metadata"]["mine"] == 1


def test_inside_an_unguarded_graph_it_is_below_the_node():
    heard = Heard()
    asyncio.run(inside(guarded(Asking())).ainvoke({"x": "go"}, {"callbacks": [heard], "run_name": "my agent"}))
    (verification,) = heard.named("verify:a")
    assert heard.lineage(verification)[1] == "a"
    assert heard.lineage(verification)[-1] == "my agent"
    assert verification["end"] == {"accepted": True}


# What the user's streams must not carry


def words_of(chunks):
    return "".join(chunk[0].content for chunk in chunks)


async def messages(graph, **options):
    return [chunk async for chunk in graph.astream({"x": "go"}, stream_mode="messages", **options)]


@pytest.mark.parametrize("make", [lambda agent: agent, inside], ids=["alone", "inside"])
@pytest.mark.parametrize("by_itself", [True, False])
@pytest.mark.parametrize("stream", ["hold", "mark"])
def test_no_word_of_a_verifier_in_the_message_stream(make, by_itself, stream):
    agent = make(guarded(Asking(by_itself=by_itself), stream=stream))
    found = asyncio.run(messages(agent))
    assert "whisper" not in words_of(found)
    if make is not inside:
        assert words_of(found) == NODES_WORDS


def test_no_word_of_a_verifier_in_the_message_stream_of_subgraphs():
    found = asyncio.run(messages(inside(guarded(Asking())), subgraphs=True))
    assert words_of(chunk for _, chunk in found) == NODES_WORDS


@pytest.mark.parametrize("make", [lambda agent: agent, inside], ids=["alone", "inside"])
def test_no_word_of_a_verifier_in_astream_events(make):
    async def main():
        return [event async for event in make(guarded(Asking())).astream_events({"x": "go"}, version="v2")]

    events = asyncio.run(main())
    assert any(event["event"] == "on_chat_model_stream" for event in events)
    assert not [event for event in events if event["name"].startswith("verify:")]
    assert "whisper" not in str(events)


def test_a_verifier_is_in_no_node():
    """It has neither the node's stream writer nor its configuration."""
    found = []

    class Nosy(Asking):
        async def verify(self, subject):
            try:
                get_stream_writer()("from the verifier")
            except RuntimeError as error:
                found.append(error)
            return await super().verify(subject)

    async def main():
        agent = guarded(Nosy())
        return [chunk async for chunk in agent.astream({"x": "go"}, stream_mode="custom")]

    assert asyncio.run(main()) == []
    assert found


def test_a_graph_as_a_verifier_is_a_graph_of_its_own():
    """It would otherwise be a subgraph of the node: with its checkpoints, its limits, its interrupts."""
    judge = StateGraph(State)
    judge.add_node("judge", lambda state: {"b": "fine"})
    judge.add_edge(START, "judge")
    judging = judge.compile()

    class Graph:
        name = "graph"

        async def verify(self, subject):
            state = await judging.ainvoke({"a": subject.text})
            return Verdict(state["b"] == "fine")

    async def main():
        agent = guarded(Graph())
        return [chunk async for chunk in agent.astream({"x": "go"}, stream_mode="updates", subgraphs=True)]

    assert [list(update) for _, update in asyncio.run(main())] == [["a"], ["b"]]


# LangSmith


@pytest.fixture
def langsmith():
    """A server that takes runs, and what it was told of each."""
    runs = {}

    class Taking(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer({"batch_ingest_config": {"use_multipart_endpoint": False}})

        def do_POST(self):
            self.take()

        def do_PATCH(self):
            self.take(self.path.rpartition("/")[2])

        def take(self, run_id=None):
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            runs.setdefault(run_id or told["id"], {}).update(told)
            self.answer({})

        def answer(self, value):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(value).encode())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", runs
    server.shutdown()
    server.server_close()
    thread.join()


def test_langsmith_nests_what_a_verifier_does(langsmith):
    """Models of LangChain's, and functions that LangSmith traces by itself."""
    from langchain_core.tracers.langchain import LangChainTracer
    from langsmith import Client, traceable

    url, runs = langsmith
    client = Client(api_url=url, api_key="none", auto_batch_tracing=False)

    @traceable(name="looking it up", client=client)
    async def look_up(text):
        return text

    class Looking(Asking):
        async def verify(self, subject):
            await look_up(subject.text)
            return await super().verify(subject)

    tracer = LangChainTracer(project_name="tests", client=client)
    asyncio.run(guarded(Looking()).ainvoke({"x": "go"}, {"callbacks": [tracer], "run_name": "my agent"}))
    by_name = {run["name"]: run for run in runs.values()}
    names = {run["id"]: run["name"] for run in runs.values()}
    assert names[by_name["verify:a"]["parent_run_id"]] == "my agent"
    assert names[by_name["looking it up"]["parent_run_id"]] == "verify:a"
    models = [run for run in runs.values() if run.get("run_type") == "llm"]
    assert sorted(names[run["parent_run_id"]] for run in models) == ["a", "verify:a"]
