"""Replays against an oracle that runs the whole case from the start on plain LangGraph, and what they leave alone."""

import asyncio
import operator
import random
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, TypedDict

import pytest
from graphs_for_replay import ASKING, KINDS, Watch, oracle, plans, replaced, visits
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.managed import RemainingSteps
from langgraph.runtime import Runtime
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, RetryPolicy, Send, interrupt
from pydantic import BaseModel

from sherlock.analysis.executions import Injection
from sherlock.analysis.replay import Replayer, is_resumable
from sherlock.cases import Case
from sherlock.interpose.calls import CallScope

INPUTS = st.lists(st.fixed_dictionaries({"x": st.integers(0, 9), "a": st.integers(0, 3)}), min_size=1, max_size=2)


def score_of(output):
    return output["total"] % 5 / 4


async def score(output, case):
    return score_of(output) if isinstance(output, dict) and "total" in output else 1.0


def replayer(graph, **options):
    return Replayer(graph=graph, score=score, new_scope=CallScope, resumable=is_resumable(graph), **options)


def bare(output):
    """Without the ids of interrupts, which differ from run to run."""
    return {k: v for k, v in output.items() if k != "__interrupt__"} if isinstance(output, dict) else output


def same(error):
    """The two ways to say that a recursion limit is reached."""
    return "GraphRecursionError" if error and error.startswith("GraphRecursionError") else error


async def compare(plan, case, seed):
    """One clean run; at some of its executions a sham and a replacement, each compared with the oracle's whole run."""
    watch = Watch()
    graph = plan.build(watch)
    replays = replayer(graph)
    run = await replays.clean(case)
    output, error = await oracle(plan, case, Watch())
    assert (bare(run.output), same(run.error)) == (bare(output), same(error))
    rng = random.Random(seed)
    everything = visits(run)
    for execution, visit in [] if run.unanswered else rng.sample(everything, min(2, len(everything))):
        watch.start_again()
        sham = await replays.replay(run, execution.address)
        assert (bare(sham.output), same(sham.error)) == (bare(output), same(error))
        assert sham.same_path
        assert all(agreed for _, agreed in sham.evidence)
        update = replaced(execution.update, rng.choice((1, 3)))
        whole = Watch(replace={visit: update})
        expected, expected_error = await oracle(plan, case, whole)
        for base in (None, sham):
            watch.start_again()
            line = await replays.replay(run, execution.address, Injection(update=update), base=base)
            assert (bare(line.output), same(line.error)) == (bare(expected), same(expected_error))
            assert line.score == (0.0 if expected_error else score_of(expected))
            if line.masked:
                assert line.score == sham.score
            elif not expected_error:
                # What came before, and what ran beside, is not executed again; the rest is, but for the node itself.
                again = Counter(name for name, *_ in watch.log)
                kept = Counter(v[0] for e, v in everything if e.address not in line.visited)
                asked = Counter(e.node for e, _ in everything if e.answers)
                if not asked:
                    assert again + kept + Counter([execution.node]) == Counter(name for name, *_ in whole.log)


@settings(max_examples=20)
@given(plans(kinds=KINDS), INPUTS, st.sampled_from([None, 12, 6]), st.integers(0, 99))
def test_a_replay_is_a_whole_run_with_that_output(plan, inputs, limit, seed):
    asyncio.run(compare(plan, Case(inputs, config={"recursion_limit": limit} if limit else None), seed))


@settings(max_examples=12)
@given(plans(kinds=ASKING), INPUTS, st.lists(st.integers(0, 5), min_size=2, max_size=8), st.integers(0, 99))
def test_answers_go_where_they_went(plan, inputs, answers, seed):
    asyncio.run(compare(plan, Case(inputs, resume=answers), seed))


@pytest.mark.soak
@settings(max_examples=600)
@given(plans(kinds=ASKING), INPUTS, st.lists(st.integers(0, 5), max_size=8), st.sampled_from([None, 12]), st.integers())
def test_a_replay_is_a_whole_run_soak(plan, inputs, answers, limit, seed):
    asyncio.run(compare(plan, Case(inputs, resume=answers, config={"recursion_limit": limit} if limit else None), seed))


# Graphs of every kind: a sham does what the clean run did, and runs nothing before or beside it.


class Log(TypedDict, total=False):
    x: int
    y: int
    log: Annotated[list, operator.add]


def says(name):
    return lambda state: {"log": [name]}


def chain(schema, *nodes, **options):
    graph = StateGraph(schema)
    for before, (name, node) in zip([START, *(name for name, _ in nodes)], nodes, strict=False):
        graph.add_node(name, node)
        graph.add_edge(before, name)
    return graph.compile(**options)


def with_error_handler():
    def bad(state):
        raise ValueError("no")

    graph = StateGraph(Log)
    graph.add_node("bad", bad, error_handler=lambda state: {"y": -1})
    graph.add_node("side", says("side"))
    graph.add_node("last", says("last"))
    graph.add_edge(START, "bad")
    graph.add_edge(START, "side")
    graph.add_edge("side", "last")
    return graph.compile()


def deferred():
    graph = StateGraph(Log)
    for name in "abcd":
        graph.add_node(name, says(name), defer=name == "d")
    for edge in ((START, "a"), ("a", "b"), ("a", "d"), ("b", "c")):
        graph.add_edge(*edge)
    return graph.compile()


def retried():
    attempts = Counter()

    def flaky(state):
        attempts["flaky"] += 1
        if attempts["flaky"] % 2:
            raise KeyError("again")
        return {"y": 1}

    policy = RetryPolicy(max_attempts=3, initial_interval=0.001, jitter=False, retry_on=KeyError)
    graph = StateGraph(Log)
    graph.add_node("flaky", flaky, retry_policy=policy)
    graph.add_node("z", says("z"))
    graph.add_edge(START, "flaky")
    graph.add_edge("flaky", "z")
    return graph.compile()


class Model(BaseModel):
    x: int = 0
    y: int = 0


@dataclass
class Data:
    x: int = 0
    y: int = 0


class Messages(TypedDict):
    messages: Annotated[list, add_messages]


def out_of_a_subgraph():
    inner = StateGraph(Log)
    inner.add_node("i", says("i"))
    inner.add_node("j", lambda state: Command(graph=Command.PARENT, goto="out", update={"log": ["j"]}))
    inner.add_edge(START, "i")
    inner.add_edge("i", "j")
    graph = StateGraph(Log)
    graph.add_node("in", inner.compile(), destinations=("out",))
    graph.add_node("beside", lambda state: {"y": 1})
    graph.add_node("out", says("out"))
    graph.add_edge(START, "in")
    graph.add_edge(START, "beside")
    return graph.compile()


def with_breakpoints():
    inner = chain(Log, ("i", says("i")), interrupt_before=["i"])
    return chain(Log, ("in", inner), ("o", says("o")), interrupt_after=["in"], checkpointer=InMemorySaver())


def list_of_commands():
    graph = StateGraph(Log)
    graph.add_node("a", lambda state: [Command(update={"log": ["a"]}), Command(goto="b")], destinations=("b",))
    graph.add_node("b", lambda state: Command(goto=END), destinations=(END,))
    graph.add_edge(START, "a")
    return graph.compile()


def with_memory():
    """A subgraph that remembers across turns what it was called with."""

    class Inner(TypedDict, total=False):
        x: int
        own: Annotated[list, operator.add]
        log: Annotated[list, operator.add]

    inner = StateGraph(Inner, output_schema=Log)
    inner.add_node("i", lambda state: {"own": [state["x"]], "log": [sum(state["own"]) if state.get("own") else 0]})
    inner.add_edge(START, "i")
    memory = inner.compile(checkpointer=True)
    return chain(Log, ("a", says("a")), ("in", memory), ("b", says("b")), checkpointer=InMemorySaver())


def extend(old, batches):
    return [*old, *(item for batch in batches for item in batch)]


class Deltas(TypedDict, total=False):
    x: int
    log: Annotated[list, DeltaChannel(extend)]


def with_deltas():
    return chain(Deltas, ("a", says("a")), ("b", lambda state: {"log": [len(state["log"])]}), ("c", says("c")))


def with_inner_deltas():
    return chain(Log, ("a", says("a")), ("in", with_deltas()), ("b", says("b")))


GRAPHS = {
    "error handler": (with_error_handler, [{"x": 1}]),
    "defer": (deferred, [{"x": 1}]),
    "retry": (retried, [{"x": 1}]),
    "pydantic": (
        lambda: chain(Model, ("a", lambda s: {"y": s.x + 1}), ("b", lambda s: Model(x=1, y=s.y * 2))),
        [{"x": 3}],
    ),
    "dataclass": (lambda: chain(Data, ("a", lambda s: {"y": s.x + 1}), ("b", lambda s: {"x": s.y * 2})), [{"x": 3}]),
    "root": (lambda: chain(Annotated[list, operator.add], ("a", lambda s: ["a"]), ("b", lambda s: [len(s)])), [["q"]]),
    "nothing": (lambda: chain(Log, ("a", lambda s: None), ("b", says("b")), ("c", lambda s: None)), [{"x": 1}]),
    "parent": (out_of_a_subgraph, [{"x": 1}]),
    "breakpoints": (with_breakpoints, [{"x": 1}]),
    "commands": (list_of_commands, [{"x": 1}]),
    "memory": (with_memory, [{"x": 1}, {"x": 2}, {"x": 4}]),
    "deltas": (with_deltas, [{"x": 1}, {"x": 2}]),
    "inner deltas": (with_inner_deltas, [{"x": 1}, {"x": 2}]),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_a_sham_does_what_the_clean_run_did(name):
    make, inputs = GRAPHS[name]

    async def go():
        log = []
        graph = make()
        replays = replayer(graph, on_execution=log.append)
        run = await replays.clean(Case(inputs))
        plain = make()
        config = {"configurable": {"thread_id": "1"}}
        if len(inputs) > 1:
            plain.checkpointer = InMemorySaver()
        if name != "breakpoints":
            for value in inputs:
                expected = await plain.ainvoke(value, config)
            assert run.output == expected
        assert run.error is None
        total = Counter(log)
        for address, execution in run.executions.items():
            log.clear()
            sham = await replays.replay(run, address)
            assert sham.output == run.output, address
            assert sham.same_path, address
            assert all(agreed for _, agreed in sham.evidence), address
            assert Counter(log) <= total
            masked = await replays.replay(run, address, base=run)
            assert masked.masked == replays.resumable
            if masked.masked and len(address) == 1 and not execution.is_container:
                assert masked.node_executions == (2 if execution.node == "flaky" else 1)

    asyncio.run(go())


def test_messages_with_random_ids_are_masked():
    async def go():
        make = lambda: {"messages": [AIMessage("hi", id=str(uuid.uuid4()))]}
        graph = chain(Messages, ("a", lambda state: make()), ("b", lambda state: make()), ("c", lambda state: make()))
        replays = replayer(graph)
        run = await replays.clean(Case({"messages": [("user", "yo")]}))
        first = min(run.executions)
        line = await replays.replay(run, first, Injection(update=make()), base=run)
        assert line.masked
        assert line.node_executions == 0
        other = await replays.replay(run, first, Injection(update={"messages": [AIMessage("ho")]}), base=run)
        assert not other.masked

    asyncio.run(go())


def test_a_turn_more_or_less_is_no_mask():
    """Two lines in one state after one superstep, one of them a turn ahead, do not end alike."""

    def count_down(state):
        ended = state["x"] == 1
        return {"x": state["x"] - 1, "y": 2 if ended else state["y"], "log": ["t"] if ended and state["y"] == 2 else []}

    async def go():
        graph = StateGraph(Log)
        graph.add_node("a", count_down)
        graph.add_edge(START, "a")
        graph.add_conditional_edges("a", lambda state: "a" if state["x"] else END, ["a", END])
        replays = replayer(graph.compile())
        run = await replays.clean(Case([{"x": 4, "y": 0}, {"x": 1}, {"x": 1}]))
        assert run.output["log"] == ["t", "t"]
        line = await replays.replay(run, min(run.executions), Injection(update={"x": 0, "y": 0}), base=run)
        assert line.output["log"] == ["t"]

    asyncio.run(go())


def test_answers_of_parallel_nodes_stay_with_them():
    def asks(name, times):
        def node(state):
            return {"log": [[name, *(interrupt(name) for _ in range(times))]]}

        return node

    async def go():
        graph = StateGraph(Log)
        for name, times in (("a", 2), ("b", 1), ("c", 1)):
            graph.add_node(name, asks(name, times))
        graph.add_edge(START, "a")
        graph.add_edge(START, "b")
        graph.add_edge(["a", "b"], "c")
        replays = replayer(graph.compile())
        run = await replays.clean(Case({"x": 1}, resume=[1, 2, 3, 4]))
        assert run.output["log"] == [["a", 1, 3], ["b", 2], ["c", 4]]
        for address in run.executions:
            assert (await replays.replay(run, address)).output == run.output
        for name in "ab":
            at = next(a for a, e in run.executions.items() if e.node == name)
            line = await replays.replay(run, at, Injection(update={"log": [name]}))
            assert line.output["log"][-1] == ["c", 4]
        short = await replays.clean(Case({"x": 1}, resume=[1, 2, 3]))
        assert short.unanswered == "c"

    asyncio.run(go())


# What belongs to the user stays as it was.


def writes(state, runtime: Runtime):
    runtime.store.put(("u",), "w", {"n": state["x"]})
    return {"y": state["x"]}


async def awrites(state, runtime: Runtime):
    await runtime.store.aput(("u",), "aw", {"n": 7})
    return {"log": ["aw"]}


def reads(state, runtime: Runtime):
    return {"log": [sum(item.value["n"] for item in runtime.store.search(("u",)))]}


def remembering(store):
    graph = StateGraph(Log)
    graph.add_node("w", writes)
    graph.add_node("k", says("k"))
    graph.add_node("sub", chain(Log, ("aw", awrites), ("ar", reads)))
    graph.add_node("rd", reads)
    graph.add_node("end", reads)
    for edge in ((START, "w"), ("w", "k"), ("w", "sub"), (["k", "sub"], "rd"), ("rd", "end")):
        graph.add_edge(*edge)
    return graph.compile(store=store)


def test_store_writes_of_what_is_kept_are_seen_and_reach_nobody():
    async def go():
        store = InMemoryStore()
        store.put(("u",), "mine", {"n": 1})
        copied = InMemoryStore()
        copied.put(("u",), "mine", {"n": 1})
        expected = await remembering(copied).ainvoke({"x": 5})
        graph = remembering(store)
        replays = replayer(graph)
        run = await replays.clean(Case({"x": 5}))
        assert run.output == expected
        for address in run.executions:
            sham = await replays.replay(run, address)
            assert sham.output == run.output, address
            assert (await replays.replay(run, address, base=run)).masked
        at = next(a for a, e in run.executions.items() if e.node == "w")
        # The corrupted output hides nothing of what the node wrote on the side.
        line = await replays.replay(run, at, Injection(update={"y": 0}))
        assert line.output == {**run.output, "y": 0}
        assert [item.value for item in store.search(())] == [{"n": 1}]
        assert graph.store is store

    asyncio.run(go())


def test_the_graph_and_the_case_are_left_as_they_were():
    def mutates(state):
        state["log"].append("m")
        state["deep"]["k"].append(1)
        return {"y": 1}

    class Deep(Log):
        deep: dict

    async def go():
        saver, store = InMemorySaver(), InMemoryStore()
        graph = chain(Deep, ("m", mutates), ("n", says("n")), checkpointer=saver, store=store)
        before = {name: (node, node.bound, list(node.writers)) for name, node in graph.nodes.items()}
        case = Case([{"x": 1, "log": ["q"], "deep": {"k": []}}] * 2, resume=[{"a": []}])
        replays = replayer(graph)
        run = await replays.clean(case)
        for address in run.executions:
            await replays.replay(run, address)
            await replays.replay(run, address, Injection(update={"y": 3}), base=run)
        assert case == Case([{"x": 1, "log": ["q"], "deep": {"k": []}}] * 2, resume=[{"a": []}])
        assert {name: (node, node.bound, list(node.writers)) for name, node in graph.nodes.items()} == before
        assert (graph.checkpointer, graph.store) == (saver, store)
        assert not list(saver.list(None))

    asyncio.run(go())


# Errors and ends.


def test_an_endless_loop_ends_with_score_0():
    def step(state):
        return {"x": state["x"] - 1}

    async def go():
        graph = StateGraph(Log)
        graph.add_node("a", says("a"))
        graph.add_node("step", step)
        graph.add_edge(START, "a")
        graph.add_edge("a", "step")
        graph.add_conditional_edges("step", lambda state: END if state["x"] == 0 else "step", [END, "step"])
        inner = graph.compile()
        for compiled in (inner, chain(Log, ("inner", inner))):
            log = []
            replays = replayer(compiled, on_execution=log.append)
            run = await replays.clean(Case({"x": 3}))
            at = next(a for a, e in run.executions.items() if e.node.endswith("a"))
            log.clear()
            line = await replays.replay(run, at, Injection(update={"x": -1}))
            assert line.score == 0.0
            assert line.error.startswith("GraphRecursionError")
            assert 25 < len(log) < 60

    asyncio.run(go())


@pytest.mark.parametrize("limit", range(2, 9))
def test_the_recursion_limit_counts_what_was_done_before(limit):
    class Counted(Log):
        left: RemainingSteps

    async def go():
        inner = chain(Counted, *((f"i{n}", lambda state: {"log": [state["left"]]}) for n in range(2)))
        graph = chain(
            Counted,
            *((f"n{n}", lambda state: {"log": [state["left"]]}) for n in range(3)),
            ("inner", inner),
            ("last", says("last")),
        )
        replays = replayer(graph)
        case = Case([{"x": 1}], config={"recursion_limit": limit})
        run = await replays.clean(case)
        try:
            assert (await graph.ainvoke({"x": 1}, {"recursion_limit": limit})) == run.output
        except RecursionError:
            assert run.error.startswith("GraphRecursionError")
        for address in run.executions:
            if limit - address[0][0] > 1:  # LangGraph takes no limit under 1
                sham = await replays.replay(run, address)
                assert (sham.output, sham.error) == (run.output, run.error), address

    asyncio.run(go())


def test_timing_decides_nothing_where_a_node_ends_the_run():
    """Beside a node that raises, others may be done or not."""

    async def go(slow, wrong):
        async def bad(state):
            await asyncio.sleep(wrong)
            raise ValueError("bad")

        async def beside(state):
            await asyncio.sleep(slow)
            return {"log": ["beside"]}

        graph = StateGraph(Log)
        graph.add_node("first", says("first"))
        graph.add_node("bad", bad)
        graph.add_node("beside", chain(Log, ("i", beside), ("j", beside)))
        graph.add_edge(START, "first")
        graph.add_edge("first", "bad")
        graph.add_edge("first", "beside")
        run = await replayer(graph.compile()).clean(Case({"x": 1}))
        return run.error, sorted(run.executions), sorted(run.visited), run.node_executions

    assert (
        asyncio.run(go(0.0, 0.05))
        == asyncio.run(go(0.05, 0.0))
        == (
            "ValueError: bad",
            [((1, "first", -1),)],
            [((1, "first", -1),)],
            1,
        )
    )


def test_sends_are_replayed_one_by_one():
    async def go():
        graph = StateGraph(Log)
        graph.add_node("split", lambda state: {"y": 3})
        graph.add_node("each", lambda packet: {"log": [packet["n"] * 10]})
        graph.add_node("all", lambda state: {"y": sum(state["log"])})
        graph.add_edge(START, "split")
        graph.add_conditional_edges(
            "split", lambda state: [Send("each", {"n": n}) for n in range(state["y"])], ["each"]
        )
        graph.add_edge("each", "all")
        log = []
        replays = replayer(graph.compile(), on_execution=log.append)
        run = await replays.clean(Case({"x": 1}))
        for n in range(3):
            log.clear()
            line = await replays.replay(run, ((2, "each", n),), Injection(update={"log": [1]}))
            assert line.output["y"] == 30 - n * 10 + 1
            assert log == ["all"]

    asyncio.run(go())


def test_an_answer_starts_the_recursion_limit_anew():
    def ask(state):
        return {"log": [interrupt("q")]}

    async def go():
        graph = chain(
            Log, *((f"n{n}", says(n)) for n in range(3)), ("ask", ask), *((f"m{n}", says(n)) for n in range(4))
        )
        replays = replayer(graph)
        run = await replays.clean(Case({"x": 1}, resume=["a"], config={"recursion_limit": 6}))
        assert run.error is None
        at = next(a for a, e in run.executions.items() if e.node == "ask")
        assert (await replays.replay(run, at)).output == run.output
        line = await replays.replay(run, at, Injection(update={"log": ["b"]}))
        assert line.output["log"] == [0, 1, 2, "b", 0, 1, 2, 3]

    asyncio.run(go())
