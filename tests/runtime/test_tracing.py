"""Spans, and the log, of guarded runs. Virtual seconds, so that every duration is exact."""

import asyncio
import contextlib
import logging
import timeit

import pytest
import virtual_clock
from langgraph.graph import START, StateGraph
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from small_graphs import RIGHT, WRONG, Ruled, State, accepts, breaks, chain, corrects, rejects

import sherlock
from sherlock import Plan, Usage, Verdict
from sherlock.runtime.tracing import RunTrace

TEXTS = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Tracing:
    """What was exported."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.open = []
        """Spans that have begun and not ended."""

    def spans(self, name):
        found = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return sorted(found, key=lambda span: span.start_time)

    def one(self, name):
        (span,) = self.spans(name)
        return span

    def above(self, span):
        """The name of a span's parent."""
        names = {each.context.span_id: each.name for each in self.exporter.get_finished_spans()}
        return None if span.parent is None else names[span.parent.span_id]

    def times(self, span):
        """When it began and ended, in seconds from the beginning of the run."""
        began = self.one("sherlock.run").start_time
        return round((span.start_time - began) / 1e9, 3), round((span.end_time - began) / 1e9, 3)


class Open(SpanProcessor):
    def __init__(self, tracing):
        self.tracing = tracing

    def on_start(self, span, parent_context=None):
        self.tracing.open.append(span.context.span_id)

    def on_end(self, span):
        self.tracing.open.remove(span.context.span_id)


@pytest.fixture
def tracing(monkeypatch):
    """A tracer provider for one test; the public way sets one for the whole process."""
    found = Tracing()
    provider = TracerProvider()
    provider.add_span_processor(Open(found))
    provider.add_span_processor(SimpleSpanProcessor(found.exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    monkeypatch.delenv(TEXTS, raising=False)
    return found


def run(agent, **config):
    return virtual_clock.run(agent.ainvoke({"x": "go"}, config))


def guarded(placements, graph=None, **policy):
    return sherlock.guard(graph or chain(), Plan.attach(placements), policy=policy)


def test_a_rollback(tracing):
    """`a` ends at 1 and is rejected at 2.5; by then `b` has run, and `c` and the verification of `b` are under way."""
    state = run(guarded({"a": Ruled(seconds=1.5), "b": Ruled(seconds=9)}))
    assert state["c"] == f"c has b has {RIGHT}"

    whole = tracing.one("sherlock.run")
    assert tracing.times(whole) == (0, 12.5)
    assert whole.attributes["sherlock.rollbacks"] == 1
    assert whole.attributes["sherlock.wasted_executions"] == 2
    assert whole.attributes["sherlock.node_executions"] == 5
    assert whole.attributes["sherlock.end"] == "done"
    assert whole.attributes["sherlock.t_vrf_s"] == pytest.approx(12.5)

    first, voided, second = tracing.spans("sherlock.verification")
    assert [tracing.times(span) for span in (first, voided, second)] == [(1, 2.5), (2, 2.5), (3.5, 12.5)]
    assert (first.attributes["sherlock.accepted"], first.attributes["sherlock.matched"]) == (False, False)
    assert voided.attributes["sherlock.outcome"] == "cancelled"
    assert second.attributes["sherlock.accepted"]

    lost, void, kept = tracing.spans("sherlock.speculation")
    assert tracing.times(lost) == (1, 2.5)
    assert lost.attributes["sherlock.node"] == "a"
    assert lost.attributes["sherlock.outcome"] == "rollback"
    assert lost.attributes["sherlock.overlap_s"] == pytest.approx(1.5)
    assert lost.attributes["sherlock.saved_s"] == 0
    assert lost.attributes["sherlock.wasted_executions"] == 2
    assert void.attributes["sherlock.outcome"] == "void"
    assert kept.attributes["sherlock.outcome"] == "commit"
    assert kept.attributes["sherlock.saved_s"] == pytest.approx(1)  # `c`, while `b` was being verified

    rollback = tracing.one("sherlock.rollback")
    assert tracing.times(rollback)[0] == 2.5
    assert rollback.attributes["sherlock.node"] == "a"
    assert rollback.attributes["sherlock.step"] == 1
    assert {tracing.above(s) for s in (first, voided, second, lost, void, kept, rollback)} == {"sherlock.run"}


def test_seconds_saved(tracing):
    """Blocking: 1 + 2 + 1 + 2 + 1. Speculating, `b` and `c` run while `a` is verified, `c` while `b` is."""
    run(guarded({"a": Ruled(accepts, 2), "b": Ruled(accepts, 2)}))
    assert tracing.one("sherlock.run").attributes["sherlock.t_vrf_s"] == pytest.approx(4)
    assert tracing.one("sherlock.run").attributes["sherlock.saved_s"] == pytest.approx(3)
    of_a, of_b = tracing.spans("sherlock.speculation")
    assert of_a.attributes["sherlock.overlap_s"] == pytest.approx(2)
    assert of_b.attributes["sherlock.overlap_s"] == pytest.approx(1)


def test_a_sibling_is_no_overlap(tracing):
    """What runs beside a node would have run beside it anyway."""
    builder = StateGraph(State)
    for key, seconds in (("a", 1), ("b", 5)):
        builder.add_node(key, node_of(key, seconds))
        builder.add_edge(START, key)
    run(guarded({"a": Ruled(accepts, 2)}, builder))
    assert tracing.one("sherlock.speculation").attributes["sherlock.overlap_s"] == 0


def node_of(key, seconds):
    async def node(state: State) -> State:
        await asyncio.sleep(seconds)
        return {key: "said"}

    return node


def test_blocking_saves_nothing(tracing):
    run(guarded({"a": Ruled(accepts, 2)}, mode="blocking"))
    assert tracing.one("sherlock.speculation").attributes["sherlock.overlap_s"] == 0
    assert tracing.one("sherlock.run").attributes["sherlock.saved_s"] == 0


def test_a_retry_wastes_what_it_repeats(tracing):
    said = iter([WRONG, f"{WRONG} again"])

    async def node(state: State) -> State:
        await asyncio.sleep(1)
        return {"a": next(said)}

    builder = chain()
    builder.nodes["a"] = StateGraph(State).add_node("a", node, metadata=retrying(Ruled(rejects, 2))).nodes["a"]
    agent = sherlock.guard(builder)
    run(agent)
    first, second = tracing.spans("sherlock.speculation")
    assert first.attributes["sherlock.outcome"] == "rollback"
    assert first.attributes["sherlock.wasted_executions"] == 3 == agent.report().wasted_executions
    assert second.attributes["sherlock.outcome"] == "commit"
    assert second.attributes["sherlock.flagged"]
    assert tracing.one("sherlock.rollback").attributes["sherlock.retry"]


def retrying(verifier):
    return {"sherlock": {"verifier": verifier, "on_reject": "retry"}}


def in_a_span(call):
    with trace.get_tracer("caller").start_as_current_span("caller"):
        return call()


@pytest.mark.parametrize("sync", [True, False])
def test_what_is_below_what(tracing, sync):
    """Spans of nodes are below the run, those of a verifier below its verification and not below the node's."""

    class Asking(Ruled):
        async def verify(self, subject):
            with trace.get_tracer("http").start_as_current_span("POST"):
                return await super().verify(subject)

    async def node(state: State) -> State:
        with trace.get_tracer("user").start_as_current_span("thinking"):
            await asyncio.sleep(0)
        return {"a": WRONG}

    builder = StateGraph(State)
    builder.add_node("a", node)
    builder.add_edge(START, "a")
    agent = guarded({"a": Asking(accepts, 0)}, builder)
    if sync:
        in_a_span(lambda: agent.invoke({"x": "go"}))
    else:
        in_a_span(lambda: asyncio.run(agent.ainvoke({"x": "go"})))
    assert tracing.above(tracing.one("sherlock.run")) == "caller"
    assert tracing.above(tracing.one("thinking")) == "sherlock.run"
    assert tracing.above(tracing.one("sherlock.verification")) == "sherlock.run"
    assert tracing.above(tracing.one("POST")) == "sherlock.verification"
    assert len({span.context.trace_id for span in tracing.exporter.get_finished_spans()}) == 1


def test_a_stream_leaves_the_callers_span_alone(tracing):
    async def main():
        before = trace.get_current_span()
        async for _ in guarded({"a": Ruled(seconds=2)}).astream({"x": "go"}):
            assert trace.get_current_span() is before

    virtual_clock.run(main())
    assert tracing.above(tracing.one("sherlock.run")) is None


def all_texts(tracing):
    found = []
    for span in tracing.exporter.get_finished_spans():
        found += [*span.attributes.values(), span.status.description]
        for event in span.events:
            found += event.attributes.values()
    return " ".join(map(str, found))


def with_texts():
    with contextlib.suppress(sherlock.VerifierError):
        run(guarded({"a": Ruled(corrects, 1), "b": Ruled(breaks, 1)}))


@pytest.mark.parametrize("asked", [None, "", "false", "NO_CONTENT", "EVENT_ONLY"])
def test_no_texts(tracing, monkeypatch, asked):
    if asked is not None:
        monkeypatch.setenv(TEXTS, asked)
    with_texts()
    for text in (WRONG, RIGHT, "it was wrong", "cannot read"):
        assert text not in all_texts(tracing)


@pytest.mark.parametrize("asked", ["true", "SPAN_ONLY", "span_and_event"])
def test_texts_where_they_are_asked_for(tracing, monkeypatch, asked):
    monkeypatch.setenv(TEXTS, asked)
    with_texts()
    for text in (WRONG, RIGHT, "it was wrong", "cannot read"):
        assert text in all_texts(tracing)


def test_what_models_used(tracing):
    usage = Usage(calls=2, tokens_in=300, tokens_out=20, tokens_cached=100, usd=0.01)
    run(guarded({"a": Ruled(lambda subject: Verdict(True, usage=usage))}))
    for name in ("sherlock.verification", "sherlock.run"):
        found = tracing.one(name).attributes
        assert found["gen_ai.usage.input_tokens"] == 300
        assert found["gen_ai.usage.output_tokens"] == 20
        assert found["gen_ai.usage.cache_read.input_tokens"] == 100
        assert found["sherlock.usd"] == 0.01


def test_the_verdict_as_an_event(tracing):
    run(guarded({"a": Ruled()}))
    (event,) = tracing.one("sherlock.verification").events
    assert event.name == "gen_ai.evaluation.result"
    assert dict(event.attributes) == {"gen_ai.evaluation.name": "ruled", "gen_ai.evaluation.score.label": "fail"}


def test_a_verifier_failure(tracing):
    with pytest.raises(sherlock.VerifierError):
        run(guarded({"a": Ruled(breaks)}))
    verification, whole = tracing.one("sherlock.verification"), tracing.one("sherlock.run")
    assert verification.status.status_code == whole.status.status_code == StatusCode.ERROR
    assert verification.attributes["error.type"] == "raised"
    assert whole.attributes["error.type"] == "VerifierError"
    assert tracing.one("sherlock.speculation").attributes["sherlock.outcome"] == "void"


def test_a_verifier_failure_that_is_let_pass(tracing):
    run(guarded({"a": Ruled(breaks)}, on_failure="open"))
    assert tracing.one("sherlock.verification").status.status_code == StatusCode.ERROR
    assert tracing.one("sherlock.run").status.status_code == StatusCode.UNSET
    assert tracing.one("sherlock.speculation").attributes["sherlock.outcome"] == "commit"
    assert tracing.one("sherlock.speculation").attributes["sherlock.flagged"]


def test_inside_an_unguarded_graph(tracing):
    builder = StateGraph(State)
    builder.add_node("inner", guarded({"a": Ruled()}))
    builder.add_edge(START, "inner")
    run(builder.compile())
    assert tracing.one("sherlock.run").attributes["sherlock.blocking"]
    assert tracing.above(tracing.one("sherlock.verification")) == "sherlock.run"
    assert not tracing.spans("sherlock.speculation")
    assert not tracing.open


async def cancelled(agent):
    task = asyncio.ensure_future(agent.ainvoke({"x": "go"}))
    await asyncio.sleep(1.5)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, sherlock.SherlockError):
        await task


async def left(agent):
    stream = agent.astream({"x": "go"})
    with contextlib.suppress(sherlock.SherlockError):
        await anext(stream)
    await stream.aclose()


async def to_its_end(agent):
    with contextlib.suppress(sherlock.SherlockError):
        await agent.ainvoke({"x": "go"})


@pytest.mark.parametrize("drive", [to_its_end, cancelled, left])
@pytest.mark.parametrize("rule", [accepts, corrects, rejects, breaks])
@pytest.mark.parametrize("seconds", [0, 1.2, 9])
def test_every_span_ends(tracing, drive, rule, seconds):
    agent = guarded({"a": Ruled(rule, seconds), "b": Ruled(rule, 0.7)}, max_rollbacks=1)
    virtual_clock.run(drive(agent))
    assert not tracing.open
    ends = [span.end_time for span in tracing.exporter.get_finished_spans()]
    assert max(ends) == tracing.one("sherlock.run").end_time
    assert all(span.end_time >= span.start_time for span in tracing.exporter.get_finished_spans())


def test_without_a_provider_nothing_is_done(monkeypatch):
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", None)
    monkeypatch.delenv("OTEL_PYTHON_TRACER_PROVIDER", raising=False)
    assert RunTrace.begin("1", "graph") is None
    # Looking whether there is one takes a microsecond; a run takes at least a hundred times that.
    assert min(timeit.repeat(lambda: RunTrace.begin("1", "graph"), number=100, repeat=5)) / 100 < 50e-6


# The log


@pytest.fixture
def log(caplog, monkeypatch):
    monkeypatch.delenv(TEXTS, raising=False)
    caplog.set_level(logging.DEBUG, logger="sherlock")
    return caplog


def levels(log, level):
    return [record.getMessage() for record in log.records if record.levelno == level and record.name == "sherlock"]


def test_the_log(log):
    events = []
    agent = sherlock.guard(chain(), Plan.attach({"a": Ruled(seconds=2)}), on_event=events.append)
    run(agent)
    debug = levels(log, logging.DEBUG)
    assert len(debug) == len(events)
    for event, line in zip(events, debug, strict=True):
        assert type(event).__name__ in line
    (info,) = levels(log, logging.INFO)
    assert "node a was rejected, and is corrected" in info
    assert agent.report().run_id in info
    assert not levels(log, logging.WARNING)
    assert WRONG not in log.text
    assert RIGHT not in log.text


def test_warnings(log):
    run(guarded({"a": Ruled(breaks), "b": Ruled(rejects)}, on_failure="open"))
    first, *others = levels(log, logging.WARNING)
    assert "node a was not verified" in first
    assert "raised" in first
    assert any("an output of node b stays, flagged" in line for line in others)
    assert WRONG not in log.text


def test_the_log_with_texts(log, monkeypatch):
    monkeypatch.setenv(TEXTS, "EVENT_ONLY")
    run(guarded({"a": Ruled(breaks), "b": Ruled(rejects)}, on_failure="open"))
    assert any("cannot read" in line for line in levels(log, logging.WARNING))
    assert any("it is wrong" in line for line in levels(log, logging.WARNING))


def test_a_callback_that_raises_harms_nothing(log, tracing):
    def on_event(event):
        raise ValueError("a callback that raises")

    agent = sherlock.guard(chain(), Plan.attach({"a": Ruled(seconds=2)}), on_event=on_event)
    assert run(agent)["a"] == RIGHT
    assert "the callback on_event raised" in log.text
    assert tracing.one("sherlock.run").attributes["sherlock.rollbacks"] == 1
