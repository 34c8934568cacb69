"""What a user may rely on: the guard's public contract, from the outside, on a virtual clock where time matters."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import virtual_clock
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, interrupt
from small_graphs import RIGHT, WRONG, Ruled, State, accepts, breaks, chain, corrects, rejects, saying

import sherlock
from sherlock import GuardedGraph, Plan, Policy, Verdict
from sherlock.loading import load_object, opened_graph
from sherlock.runtime.events import Provisional, Retracted

THREAD = {"configurable": {"thread_id": "1"}}
START_STATE = {"x": "go"}
REPAIRED = {"x": "go", "a": RIGHT, "b": f"b has {RIGHT}", "c": f"c has b has {RIGHT}", "log": []}


def guarded(graph=None, verifier=None, on_event=None, **policy):
    placements = {"a": verifier or Ruled()}
    return sherlock.guard(graph or chain(), Plan.attach(placements), policy=policy or None, on_event=on_event)


def at_once(**options):
    """A graph for tests that run in real time."""
    return chain(seconds=0, **options)


# What may be guarded


def factory():
    return at_once()


async def async_factory():
    return at_once().compile()


@asynccontextmanager
async def context_manager(config: RunnableConfig):
    yield at_once().compile()


@pytest.mark.parametrize(
    "graph", [at_once(), at_once().compile(), factory, async_factory, context_manager], ids=lambda g: type(g).__name__
)
def test_whatever_is_called_a_graph(graph):
    assert guarded(graph, Ruled(seconds=0)).invoke(START_STATE) == REPAIRED


def test_a_reference(tmp_path, monkeypatch):
    (tmp_path / "their_agent.py").write_text("from small_graphs import chain\ngraph = chain(0).compile()\n")
    monkeypatch.chdir(tmp_path)
    assert guarded("their_agent.py:graph", Ruled(seconds=0)).invoke(START_STATE) == REPAIRED


def test_listed_in_langgraph_json(tmp_path, monkeypatch):
    """A server finds the guarded graph by its name, and gives it its own checkpointer."""
    (tmp_path / "served_agent.py").write_text(
        "import sherlock\nfrom small_graphs import Ruled, chain\n"
        "graph = sherlock.guard(chain(0), sherlock.Plan.attach({'a': Ruled(seconds=0)}))\n"
    )
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"agent": "./served_agent.py:graph"}}))
    monkeypatch.chdir(tmp_path)

    async def served():
        async with opened_graph(load_object("agent", what="graph")) as graph:
            agent = graph.copy(update={"checkpointer": InMemorySaver()})
            state = await agent.ainvoke(START_STATE, THREAD)
            return agent, state, (await agent.aget_state(THREAD)).values

    agent, state, kept = asyncio.run(served())
    assert isinstance(agent, GuardedGraph)
    assert state == kept == REPAIRED


@pytest.mark.parametrize("graph", [None, 7, "no_such_file.py:graph", lambda: 7])
def test_what_is_no_graph(graph):
    with pytest.raises(sherlock.GraphError):
        sherlock.guard(graph)


def test_the_graph_is_not_changed():
    graph = at_once().compile()
    before = {name: node.bound for name, node in graph.nodes.items()}
    guarded(graph, Ruled(seconds=0)).invoke(START_STATE)
    assert {name: node.bound for name, node in graph.nodes.items()} == before
    assert asyncio.run(graph.ainvoke(START_STATE))["a"] == WRONG


# A graph like any other


def test_it_is_a_graph():
    agent = guarded(at_once().compile())
    assert isinstance(agent, Pregel)
    assert agent.get_graph().draw_mermaid() == at_once().compile().get_graph().draw_mermaid()
    assert agent.get_input_jsonschema() == at_once().compile().get_input_jsonschema()


def test_invoke_and_stream():
    agent = guarded(at_once(), Ruled(seconds=0))
    assert agent.invoke(START_STATE) == asyncio.run(agent.ainvoke(START_STATE)) == REPAIRED
    updates = [{key: {key: REPAIRED[key]}} for key in "abc"]
    assert list(agent.stream(START_STATE, stream_mode="updates")) == updates

    async def streamed():
        return [chunk async for chunk in agent.astream(START_STATE, stream_mode="updates")]

    assert asyncio.run(streamed()) == updates


def test_batches():
    agent = guarded(at_once(), Ruled(seconds=0))
    inputs = [{"x": str(number)} for number in range(5)]
    expected = [{**REPAIRED, "x": str(number)} for number in range(5)]
    assert agent.batch(inputs) == expected
    assert asyncio.run(agent.abatch(inputs)) == expected


def test_state():
    agent = guarded(at_once().compile(checkpointer=InMemorySaver()), Ruled(seconds=0))
    agent.invoke(START_STATE, THREAD)
    assert agent.get_state(THREAD).values == REPAIRED
    agent.update_state(THREAD, {"b": "by hand"}, as_node="b")
    assert agent.get_state(THREAD).next == ("c",)
    assert agent.invoke(None, THREAD)["c"] == "c has by hand"
    assert all(WRONG not in str(snapshot.values) for snapshot in agent.get_state_history(THREAD))


def test_with_config():
    agent = guarded(at_once(), Ruled(seconds=0)).with_config(tags=["tagged"])
    assert isinstance(agent, GuardedGraph)
    assert agent.invoke(START_STATE) == REPAIRED
    assert agent.report().rollbacks == 1


def test_astream_events():
    async def main():
        agent = guarded(at_once(), Ruled(seconds=0))
        return [event async for event in agent.astream_events(START_STATE, version="v2")]

    events = asyncio.run(main())
    assert events[-1]["event"] == "on_chain_end"
    assert events[-1]["data"]["output"] == REPAIRED
    assert {event["name"] for event in events} >= {"LangGraph", "a", "b", "c"}


def test_an_interrupt_shows_what_is_verified():
    def ask(state: State) -> State:
        return {"c": interrupt(f"is it {state['a']}?")}

    builder = StateGraph(State)
    builder.add_node("a", saying("a", WRONG, 0))
    builder.add_node("ask", ask)
    builder.add_edge(START, "a")
    builder.add_edge("a", "ask")
    agent = guarded(builder.compile(checkpointer=InMemorySaver()), Ruled(seconds=0.01))
    (asked,) = agent.invoke(START_STATE, THREAD)["__interrupt__"]
    assert asked.value == f"is it {RIGHT}?"
    assert agent.report().end == "interrupted"
    assert agent.invoke(Command(resume="yes"), THREAD)["c"] == "yes"


# Where verifiers come from


def decorated(verifier, **said):
    @sherlock.verified(verifier, **said)
    async def a(state: State) -> State:
        return {"a": WRONG}

    builder = StateGraph(State)
    builder.add_node(a)
    builder.add_edge(START, "a")
    return builder


def test_the_decorator():
    assert sherlock.guard(decorated(Ruled(seconds=0))).invoke(START_STATE)["a"] == RIGHT


def test_metadata():
    builder = StateGraph(State)
    builder.add_node("a", saying("a", WRONG, 0), metadata={"sherlock": {"verifier": Ruled(seconds=0)}})
    builder.add_edge(START, "a")
    assert sherlock.guard(builder).invoke(START_STATE)["a"] == RIGHT


def test_the_plan_comes_before_the_code():
    mine, theirs = Ruled(accepts, 0), Ruled(seconds=0)
    state = sherlock.guard(decorated(theirs), Plan.attach({"a": mine})).invoke(START_STATE)
    assert (mine.asked, theirs.asked) == (["a"], [])
    assert state["a"] == WRONG


def test_a_plan_adds_to_the_code():
    builder = decorated(Ruled(seconds=0))
    builder.add_node("b", saying("b", "b has {a}", 0))
    builder.add_edge("a", "b")
    agent = sherlock.guard(builder, Plan.attach({"b": Ruled(seconds=0)}))
    agent.invoke(START_STATE)
    assert {verdict.node for verdict in agent.report().verdicts} == {"a", "b"}


def test_a_saved_plan(tmp_path):
    check = {"use": "check", "function": "small_checks:no_rivers"}
    Plan.attach({"a": check}).save(tmp_path / "plan.yaml")
    plan = Plan.load(tmp_path / "plan.yaml")
    agent = sherlock.guard(at_once(), plan)
    assert agent.invoke(START_STATE)["a"] == RIGHT


def test_a_plan_for_a_node_that_is_gone():
    with pytest.raises(sherlock.PlanMismatch, match="gone"):
        sherlock.guard(at_once(), Plan.attach({"gone": Ruled()}))


def test_no_verifier_of_that_name():
    with pytest.raises(sherlock.VerifierNotFound, match="no-such-thing"):
        sherlock.guard(decorated("no-such-thing"))


# Policy


def depth_of(plan_policy, guard_policy):
    """Whether `b` began before the verdict on `a`."""
    log = []
    events = []
    plan = Plan.attach({"a": Ruled(accepts, 5)}, policy=plan_policy)
    agent = sherlock.guard(chain(log=log), plan, policy=guard_policy, on_event=events.append)
    virtual_clock.run(agent.ainvoke(START_STATE))
    kinds = [(type(event).__name__, event.node) for event in events]
    return kinds.index(("ExecutionStarted", "b")) < kinds.index(("VerdictReached", "a"))


@pytest.mark.parametrize(
    ("plan_policy", "guard_policy", "speculates"),
    [
        (None, None, True),
        ({"mode": "blocking"}, None, False),
        (None, {"mode": "blocking"}, False),
        ({"mode": "blocking"}, {"mode": "speculate"}, True),
        ({"mode": "blocking"}, Policy(), True),
        ({"mode": "blocking"}, {"max_rollbacks": 3}, False),
        (None, {"max_depth": 0}, False),
    ],
)
def test_the_argument_comes_before_the_plan(plan_policy, guard_policy, speculates):
    assert depth_of(plan_policy, guard_policy) is speculates


def test_a_node_that_is_not_run_past():
    agent = sherlock.guard(decorated(Ruled(accepts, 5), speculate=False))
    assert virtual_clock.run(agent.ainvoke(START_STATE))["a"] == WRONG


def test_a_policy_that_is_none():
    with pytest.raises(sherlock.PlanError, match="max_rollbacks"):
        guarded(max_rolbacks=3)


# What becomes of a rejection


def rejecting(on_reject, rule=rejects, **policy):
    said = iter([WRONG, f"{RIGHT} at last"])

    @sherlock.verified(Ruled(rule, 2), on_reject=on_reject)
    async def a(state: State) -> State:
        return {"a": next(said)}

    builder = StateGraph(State)
    builder.add_node(a)
    builder.add_node("b", saying("b", "b has {a}"))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    return sherlock.guard(builder, policy=policy)


def test_flag():
    agent = rejecting("flag")
    assert virtual_clock.run(agent.ainvoke(START_STATE))["b"] == f"b has {WRONG}"
    (flagged,) = agent.report().flagged
    assert (flagged.node, agent.report().rollbacks) == ("a", 0)


def test_retry():
    agent = rejecting("retry", rule=corrects)
    assert virtual_clock.run(agent.ainvoke(START_STATE))["b"] == f"b has {RIGHT} at last"
    (rolled_back,) = agent.report().rolled_back
    assert rolled_back.retry
    assert not agent.report().flagged


def test_correct_without_a_correction_retries_once():
    assert virtual_clock.run(rejecting("correct").ainvoke(START_STATE))["b"] == f"b has {RIGHT} at last"


def test_rejected_twice_it_is_flagged():
    agent = rejecting("retry", rule=lambda subject: Verdict(False))
    assert virtual_clock.run(agent.ainvoke(START_STATE))["a"] == f"{RIGHT} at last"
    assert [flagged.node for flagged in agent.report().flagged] == ["a"]
    assert agent.report().rollbacks == 1


def test_raise():
    agent = rejecting("raise")
    with pytest.raises(sherlock.OutputRejected) as caught:
        virtual_clock.run(agent.ainvoke(START_STATE))
    assert (caught.value.node, caught.value.rationale) == ("a", "it is wrong")
    assert agent.report().end == "failed"


def test_a_verifier_that_fails():
    with pytest.raises(sherlock.VerifierError, match="cannot read"):
        virtual_clock.run(guarded(verifier=Ruled(breaks)).ainvoke(START_STATE))
    agent = guarded(verifier=Ruled(breaks), on_failure="open")
    assert virtual_clock.run(agent.ainvoke(START_STATE))["a"] == WRONG
    assert [flagged.node for flagged in agent.report().flagged] == ["a"]
    assert [failure.reason for failure in agent.report().failures] == ["raised"]
    assert agent.report().verdicts == ()


def test_a_verifier_that_takes_too_long():
    agent = guarded(verifier=Ruled(accepts, 99), verifier_timeout_s=3, on_failure="open")
    virtual_clock.run(agent.ainvoke(START_STATE))
    (failure,) = agent.report().failures
    assert failure.reason == "timed_out"
    assert failure.seconds == pytest.approx(3)


def looping(**policy):
    """`a` says something wrong, three times over."""
    builder = StateGraph(State)

    async def a(state: State) -> State:
        await asyncio.sleep(1)
        return {"a": f"{len(state['log'])} {WRONG}", "log": ["a"]}

    builder.add_node("a", a)
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: "a" if len(state["log"]) < 3 else "__end__", ["a", "__end__"])
    correction = Ruled(lambda subject: Verdict(False, corrected={"a": RIGHT + str(subject.inputs), "log": ["a"]}), 0.5)
    return guarded(builder, correction, **policy)


def test_the_limit_of_rollbacks():
    agent = looping(max_rollbacks=2)
    with pytest.raises(sherlock.RollbackLimit, match="2"):
        virtual_clock.run(agent.ainvoke(START_STATE))
    assert agent.report().rollbacks == 2


def test_the_limit_of_rollbacks_as_a_flag():
    agent = looping(max_rollbacks=2, on_limit="flag")
    assert WRONG in virtual_clock.run(agent.ainvoke(START_STATE))["a"]
    assert agent.report().rollbacks == 2
    assert [flagged.node for flagged in agent.report().flagged] == ["a"]


# Reports and events


def test_the_report():
    agent = guarded(verifier=Ruled(seconds=2.5))
    assert agent.report() is None
    virtual_clock.run(agent.ainvoke(START_STATE))
    report = agent.report()
    assert agent.report(report.run_id) is report
    assert agent.report("unknown") is None
    (verdict,) = report.verdicts
    assert (verdict.node, verdict.accepted, verdict.matched) == ("a", False, False)
    assert (verdict.before, verdict.after, verdict.seconds) == (WRONG, RIGHT, pytest.approx(2.5))
    (rolled_back,) = report.rolled_back
    assert (rolled_back.node, rolled_back.execution_id) == ("a", verdict.execution_id)
    assert len(rolled_back.discarded) == 2
    assert (report.rollbacks, report.node_executions, report.wasted_executions) == (1, 5, 2)
    assert report.t_exec_s == pytest.approx(5.5)
    assert report.t_vrf_s == pytest.approx(5.5)
    assert (report.flagged, report.failures, report.end, report.blocking) == ((), (), "done", False)


def test_the_usage():
    usage = sherlock.Usage(calls=3, tokens_in=7, usd=0.25)
    agent = guarded(verifier=Ruled(lambda subject: Verdict(True, usage=usage)))
    virtual_clock.run(agent.ainvoke(START_STATE))
    assert agent.report().usage.verifiers == usage
    assert agent.report().usage.nodes.calls == 0


def test_events_come_in_order():
    events = []
    virtual_clock.run(guarded(verifier=Ruled(seconds=1.5), on_event=events.append).ainvoke(START_STATE))
    kinds = [type(event).__name__ for event in events if not type(event).__name__.startswith("Execution")]
    at = kinds.index("VerificationStarted")
    assert set(kinds[:at]) == {"Committed"}  # of the input
    assert kinds[at : at + 3] == ["VerificationStarted", "VerdictReached", "RolledBack"]
    assert set(kinds[at + 3 : -1]) == {"Committed"}
    assert kinds[-1] == "RunFinished"
    assert [event.at_s for event in events] == sorted(event.at_s for event in events)
    assert len({event.run_id for event in events}) == 1
    of_a = {event.execution_id for event in events if event.node == "a"}
    assert len(of_a) == 1


def test_events_in_the_stream():
    told = []

    async def main():
        agent = guarded(on_event=told.append, verifier=Ruled(seconds=1.5))
        return [chunk async for chunk in agent.astream(START_STATE, stream_mode=["updates", "sherlock"])]

    chunks = virtual_clock.run(main())
    assert [payload for mode, payload in chunks if mode == "sherlock"] == told
    assert [list(payload) for mode, payload in chunks if mode == "updates"] == [["a"], ["b"], ["c"]]
    assert WRONG not in str([payload for mode, payload in chunks if mode == "updates"])


def test_a_stream_that_marks():
    async def main():
        agent = guarded(verifier=Ruled(seconds=1.5), stream="mark")
        return [chunk async for chunk in agent.astream(START_STATE, stream_mode=["updates", "sherlock"])]

    given, open_, final, void = [], set(), set(), set()
    for mode, payload in virtual_clock.run(main()):
        if mode == "updates":
            given.append(payload)
        elif isinstance(payload, Provisional):
            open_.update(payload.ids)
        elif isinstance(payload, sherlock.Committed):
            final.update(payload.ids)
        elif isinstance(payload, Retracted):
            void.update(payload.ids)
    assert [list(update) for update in given] == [["a"], ["b"], ["a"], ["b"], ["c"]]
    assert void == {0, 1}
    assert open_ <= final | void
    assert not final & void
    assert WRONG not in str([update for position, update in enumerate(given) if position not in void])


def test_a_callback_may_raise():
    def on_event(event):
        raise ValueError("a callback that raises")

    assert virtual_clock.run(guarded(on_event=on_event).ainvoke(START_STATE)) == REPAIRED


# Many at once


def test_two_runs_on_one_thread():
    """They share the thread as they would on plain LangGraph; what they store is whole, and verified."""

    async def main(agent):
        first, second = await asyncio.gather(*(agent.ainvoke({"x": name}, THREAD) for name in ("one", "two")))
        return first, second, (await agent.aget_state(THREAD)).values

    saver = InMemorySaver()
    agent = guarded(chain().compile(checkpointer=saver), Ruled(seconds=1.5))
    first, second, kept = virtual_clock.run(main(agent))
    for state in (first, second, kept):
        assert {**state, "x": "go"} == REPAIRED
    assert WRONG not in str(list(saver.list(THREAD)))


def test_many_runs_share_nothing():
    """Each says its own, is corrected by its own verifier's word, and has its own report."""

    def rule(subject):
        number = int(subject.inputs["x"])
        if number % 3 == 0 and subject.text.startswith("said"):
            return Verdict(False, corrected=f"corrected for the run numbered {number}")
        return Verdict(True)

    async def a(state: State) -> State:
        await asyncio.sleep(int(state["x"]) % 7 / 10)
        return {"a": f"said in run {state['x']}"}

    builder = StateGraph(State)
    builder.add_node("a", a)
    builder.add_node("b", saying("b", "b has {a}"))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    events = []
    agent = guarded(builder, Ruled(rule, 0.7), on_event=events.append, max_verifiers_in_flight=5)

    async def main():
        return await asyncio.gather(*(agent.ainvoke({"x": str(number)}) for number in range(120)))

    for number, state in enumerate(virtual_clock.run(main())):
        said = f"said in run {number}" if number % 3 else f"corrected for the run numbered {number}"
        assert (state["a"], state["b"]) == (said, f"b has {said}")
    by_run = {}
    for event in events:
        by_run.setdefault(event.run_id, []).append(event)
    assert len(by_run) == 120
    assert sum(agent.report(run_id).rollbacks for run_id in by_run) == 40


def test_verifiers_in_flight():
    running, most = 0, 0

    class Counting(Ruled):
        async def verify(self, subject):
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                return await super().verify(subject)
            finally:
                running -= 1

    agent = guarded(verifier=Counting(accepts, 2), max_verifiers_in_flight=3)

    async def main():
        await asyncio.gather(*(agent.ainvoke(START_STATE) for _ in range(10)))

    virtual_clock.run(main())
    assert most == 3
