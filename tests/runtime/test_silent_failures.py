"""Four ways in which a guard that looks right lets unverified output out; for each, how the naive guard does that."""

import asyncio
import operator
from typing import Annotated, Any, TypedDict

import pytest
import virtual_clock
from blocking_oracle import BlockingGraph
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, Send
from sayings import SAYINGS
from scripted_verifier import Placed
from wrong_nodes import OTHER, RIGHT, THREAD, WRONG, Nodes, Rejecting, State, guarded

from sherlock import Verdict

MODES = pytest.mark.parametrize("mode", ["speculate", "blocking"])


# 1. Cache: LangGraph stores a node's output as soon as the node ends, before anybody has verified it. A guard that
# leaves the policy on the node takes the rejected output from the cache, in its own second attempt or in the next run,
# and never calls the node (so never its hook) again.

CACHED = {"cache_policy": CachePolicy()}


def cached_graph(how, nodes, cache):
    """`a` is cached, and copied to `b`; `how`: on the node, by the builder's defaults, or on the subgraph it is in."""
    builder = StateGraph(State)
    if how == "default":
        builder.set_node_defaults(cache_policy=CachePolicy())
    if how == "subgraph":
        inner = StateGraph(State)
        inner.add_node("a", nodes.saying("a", "a"))
        inner.add_edge(START, "a")
        builder.add_node("sub", inner.compile(), **CACHED)
        builder.add_edge(START, "sub")
        builder.add_edge("sub", "b")
    else:
        builder.add_node("a", nodes.saying("a", "a"), **(CACHED if how == "node" else {}))
        builder.add_edge(START, "a")
        builder.add_edge("a", "b")
    builder.add_node("b", nodes.copying("b", "a", "b"))
    builder.add_edge("b", END)
    return builder.compile(cache=cache), "sub/a" if how == "subgraph" else "a"


@MODES
@pytest.mark.parametrize("how", ["node", "default", "subgraph"])
def test_a_rejected_output_does_not_come_back_from_the_cache(how, mode):
    async def main():
        nodes = Nodes()
        graph, name = cached_graph(how, nodes, InMemoryCache())
        agent, log = guarded(graph, {name: Rejecting()}, mode)
        first = await agent.ainvoke({"x": "go"})
        second = await agent.ainvoke({"x": "go"})
        return first, second, log

    first, second, log = virtual_clock.run(main())
    assert (first["a"], first["b"]) == (RIGHT, RIGHT)
    assert (second["a"], second["b"]) == (RIGHT, RIGHT)
    assert log


@MODES
@pytest.mark.parametrize("how", ["node", "default", "subgraph"])
def test_what_plain_langgraph_cached_is_verified(how, mode):
    async def main():
        cache, nodes = InMemoryCache(), Nodes()
        graph, name = cached_graph(how, nodes, cache)
        assert (await graph.ainvoke({"x": "go"}))["b"] == WRONG
        assert (await graph.ainvoke({"x": "go"}))["b"] == WRONG
        assert nodes.calls.count("a") == 1
        agent, _ = guarded(graph, {name: Rejecting()}, mode)
        return await agent.ainvoke({"x": "go"})

    assert virtual_clock.run(main())["b"] == RIGHT


def test_other_nodes_keep_their_cache():
    """Else the tests above would hold for a guard that caches nothing at all."""

    async def main():
        nodes = Nodes()
        builder = StateGraph(State)
        builder.add_node("a", nodes.saying("a", "a"))
        builder.add_node("b", nodes.copying("b", "a", "b"), **CACHED)
        builder.add_edge(START, "a")
        builder.add_edge("a", "b")
        agent, _ = guarded(builder.compile(cache=InMemoryCache()), {"a": Rejecting(wrong=())})
        await agent.ainvoke({"x": "go"})
        return await agent.ainvoke({"x": "go"}), nodes.calls

    state, calls = virtual_clock.run(main())
    assert state["b"] == WRONG
    assert (calls.count("a"), calls.count("b")) == (2, 1)


# 2. Resume: the results of tasks that had finished when a sibling failed are kept by LangGraph as pending writes, and
# applied on resuming without a call of the node. A guard that verifies what its hook sees verifies nothing then.


def half_done(nodes, checkpointer, inner=False):
    """`a` and `crash` run side by side; `crash` fails as long as it is broken; `b` copies what `a` said."""

    async def crash(state: State) -> State:
        nodes.calls.append("crash")
        await asyncio.sleep(3)
        if nodes.broken:
            raise ConnectionError("not now")
        return {"c": "done"}

    builder = StateGraph(State)
    if inner:
        sub = StateGraph(State)
        sub.add_node("a", nodes.saying("a", "a"))
        sub.add_edge(START, "a")
        builder.add_node("sub", sub.compile())
    else:
        builder.add_node("a", nodes.saying("a", "a"))
    first = "sub" if inner else "a"
    builder.add_node("crash", crash)
    builder.add_node("b", nodes.copying("b", "a", "b"))
    builder.add_edge(START, first)
    builder.add_edge(START, "crash")
    builder.add_edge([first, "crash"], "b")
    return builder.compile(checkpointer=checkpointer), "sub/a" if inner else "a"


@MODES
@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("seconds", [1, 1.999, 2, 30], ids=lambda s: f"verdict_{s}")
def test_a_finished_sibling_of_a_crashed_node_is_verified(mode, seconds, inner):
    """The verdict comes before the crash (at 3), with it, or long after it."""

    async def main():
        nodes = Nodes()
        graph, name = half_done(nodes, InMemorySaver(), inner)
        agent, log = guarded(graph, {name: Rejecting(seconds=seconds)}, mode)
        with pytest.raises(ConnectionError):
            await agent.ainvoke({"x": "go"}, THREAD)
        nodes.broken = False
        state = await agent.ainvoke(None, THREAD)
        return state, log

    state, log = virtual_clock.run(main())
    assert (state["a"], state["b"], state["c"]) == (RIGHT, RIGHT, "done")
    assert any(asked.end == "answered" for asked in log)


@MODES
@pytest.mark.parametrize("inner", [False, True])
def test_a_thread_that_plain_langgraph_left_half_done_is_verified(mode, inner):
    async def main():
        nodes, checkpointer = Nodes(), InMemorySaver()
        graph, name = half_done(nodes, checkpointer, inner)
        with pytest.raises(ConnectionError):
            await graph.ainvoke({"x": "go"}, THREAD)
        pending = (await checkpointer.aget_tuple(THREAD)).pending_writes
        assert any(value == WRONG for _, channel, value in pending if channel == "a")
        nodes.broken = False
        agent, log = guarded(graph, {name: Rejecting()}, mode)
        state = await agent.ainvoke(None, THREAD)
        return state, log, (await graph.aget_state(THREAD)).values

    state, log, stored = virtual_clock.run(main())
    assert (state["a"], state["b"], state["c"]) == (RIGHT, RIGHT, "done")
    assert stored["b"] == RIGHT
    assert [asked.text for asked in log] == [WRONG]


def test_plain_langgraph_does_not_call_the_finished_sibling_again():
    """This is what the two tests above stand on."""

    async def main():
        nodes = Nodes()
        graph, _ = half_done(nodes, InMemorySaver())
        with pytest.raises(ConnectionError):
            await graph.ainvoke({"x": "go"}, THREAD)
        nodes.broken = False
        return await graph.ainvoke(None, THREAD), nodes.calls

    state, calls = virtual_clock.run(main())
    assert state["b"] == WRONG
    assert calls.count("a") == 1


@MODES
def test_what_was_rolled_back_is_no_checkpoint_to_go_on_from(mode):
    """A guard that stores speculative checkpoints offers the rejected branch to whoever names its checkpoint id."""

    async def main():
        nodes, checkpointer = Nodes(), InMemorySaver()
        builder = StateGraph(State)
        builder.add_node("a", nodes.saying("a", "a"))
        builder.add_node("b", nodes.copying("b", "a", "b"))
        builder.add_node("c", nodes.copying("c", "b", "c", seconds=2))
        builder.add_edge(START, "a")
        builder.add_edge("a", "b")
        builder.add_edge("b", "c")
        agent, _ = guarded(builder.compile(checkpointer=checkpointer), {"a": Rejecting(seconds=20)}, mode)
        running = asyncio.create_task(agent.ainvoke({"x": "go"}, THREAD))
        await asyncio.sleep(15)
        early = list(checkpointer.list(None))
        await running
        ends = []
        for each in list(checkpointer.list(None)):
            ends.append((await agent.ainvoke(None, each.config)).get("c"))
        return early, list(checkpointer.list(None)), ends

    early, late, ends = virtual_clock.run(main())
    for each in (*early, *late):
        assert WRONG not in each.checkpoint["channel_values"].values()
        assert all(value != WRONG for _, _, value in each.pending_writes)
    assert set(ends) == {RIGHT}


# 3. Keys: the superstep and the path of a task are the same for the inner nodes of several `Send`s to one subgraph. A
# guard that keeps its verifications and recordings by them has one for three, and loses the rejections of two.


def three_sends(nodes, depth):
    """Three `Send`s to one subgraph, `depth` subgraphs deep, whose node `say` says what it was sent."""

    async def say(state: State) -> State:
        nodes.calls.append(f"say {state['n']}")
        await asyncio.sleep(1)
        return {"a": SAYINGS[2 + state["n"]]}

    async def tell(state: State) -> State:
        return {"got": [f"{state['n']}: {state['a']}"]}

    class Given(TypedDict, total=False):
        got: Annotated[list, operator.add]

    inner = StateGraph(State, output_schema=Given)
    inner.add_node("say", say)
    inner.add_node("tell", tell)
    inner.add_edge(START, "say")
    inner.add_edge("say", "tell")
    graph, name = inner.compile(), "say"
    for _ in range(depth - 1):
        outer = StateGraph(State, output_schema=Given)
        outer.add_node("in", graph)
        outer.add_edge(START, "in")
        graph, name = outer.compile(), f"in/{name}"
    builder = StateGraph(State)
    builder.add_node("each", graph)
    builder.add_node("end", lambda state: {"c": " and ".join(sorted(state["got"]))})
    builder.add_conditional_edges(START, lambda state: [Send("each", {"n": n}) for n in range(3)], ["each"])
    builder.add_edge("each", "end")
    return builder.compile(), f"each/{name}"


@MODES
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("order", [(1, 5, 9), (9, 5, 1), (5, 5, 5), (0, 9, 0)], ids=str)
@pytest.mark.parametrize("wrong", [(0,), (1,), (2,), (0, 2), (0, 1, 2)], ids=str)
def test_each_of_several_sends_is_verified_for_itself(wrong, order, depth, mode):
    async def main():
        nodes = Nodes()
        graph, name = three_sends(nodes, depth)
        verifier = Rejecting(
            wrong=[SAYINGS[2 + n] for n in wrong], seconds=lambda subject: order[SAYINGS.index(subject.text) - 2]
        )
        agent, log = guarded(graph, {name: verifier}, mode)
        return await agent.ainvoke({"x": "go"}), nodes.calls, log

    state, calls, log = virtual_clock.run(main())
    assert sorted(state["got"]) == [f"{n}: {RIGHT if n in wrong else SAYINGS[2 + n]}" for n in range(3)]
    assert sorted(calls) == ["say 0", "say 1", "say 2"]
    assert sorted(asked.text for asked in log) == sorted(SAYINGS[2:5])


# 4. Voiding: when a shallow rejection rolls back, a guard that cancels every deeper verification keeps recordings, of
# nodes whose input did not change, that nobody verifies any more. One that cancels none acts on verdicts about inputs
# that are gone.


class Small(TypedDict, total=False):
    x: str


def two_levels(nodes, deeper_sees_all):
    """`a`, then `b`, which does not read what `a` says; it is given all of the state, or only what it reads."""

    async def b(state: Any) -> State:
        nodes.calls.append("b")
        await asyncio.sleep(1)
        return {"b": WRONG if state["x"] else OTHER}

    builder = StateGraph(State)
    builder.add_node("a", nodes.saying("a", "a"))
    builder.add_node("b", b, input_schema=State if deeper_sees_all else Small)
    builder.add_node("c", nodes.copying("c", "b", "c"))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    return builder.compile()


def test_a_verification_whose_inputs_stay_goes_on_through_a_rollback():
    """`a` is rejected at 6, `b` (in the same attempt, a step deeper) not before 22."""

    async def main():
        nodes = Nodes()
        agent, log = guarded(two_levels(nodes, False), {"a": Rejecting(seconds=5), "b": Rejecting(seconds=20)})
        return await agent.ainvoke({"x": "go"}), nodes.calls, log, asyncio.get_running_loop().time()

    state, calls, log, seconds = virtual_clock.run(main())
    assert (state["a"], state["b"], state["c"]) == (RIGHT, RIGHT, RIGHT)
    assert [(asked.node, asked.ended, asked.end) for asked in log] == [("a", 6, "answered"), ("b", 22, "answered")]
    assert calls.count("b") == 1
    assert seconds == 23


def test_a_verification_whose_inputs_change_begins_again():
    """`b` is kept, for it does not read what was corrected; but its verifier was shown that, so it is asked again."""

    async def main():
        nodes = Nodes()
        agent, log = guarded(two_levels(nodes, True), {"a": Rejecting(seconds=5), "b": Rejecting(seconds=20)})
        return await agent.ainvoke({"x": "go"}), nodes.calls, log

    state, calls, log = virtual_clock.run(main())
    assert (state["a"], state["b"], state["c"]) == (RIGHT, RIGHT, RIGHT)
    assert calls.count("b") == 1
    about_b = [asked for asked in log if asked.node == "b"]
    assert [asked.end for asked in about_b] == ["cancelled", "answered"]
    assert WRONG in about_b[0].inputs
    assert WRONG not in about_b[1].inputs


def test_a_verdict_about_inputs_that_are_gone_is_not_acted_on():
    """What the verifier of `b` says depends on what `a` said. It has accepted `b`, beside the wrong `a`, when `a` is
    rejected; beside the right one it rejects it."""

    class Comparing(Rejecting):
        def verdict_of(self, subject):
            wrong = subject.inputs["a"] != WRONG
            return Verdict(False, corrected=RIGHT) if wrong else Verdict(True)

    async def main():
        agent, log = guarded(two_levels(Nodes(), True), {"a": Rejecting(seconds=9), "b": Comparing(seconds=1)})
        return await agent.ainvoke({"x": "go"}), log

    state, log = virtual_clock.run(main())
    assert (state["a"], state["b"], state["c"]) == (RIGHT, RIGHT, RIGHT)
    assert [asked.node for asked in log] == ["b", "a", "b"] or [asked.node for asked in log] == ["a", "b", "b"]


def test_a_verification_that_the_new_line_never_reaches_is_given_up():
    """Else its rejection would roll the run back, or end it, on account of a node that was never to be."""

    async def main():
        nodes = Nodes()
        builder = StateGraph(State)
        builder.add_node("a", nodes.saying("a", "a"))
        builder.add_node("wrong way", nodes.copying("wrong way", "a", "b"))
        builder.add_node("right way", nodes.copying("right way", "a", "c"))
        builder.add_edge(START, "a")
        route = lambda state: "wrong way" if state["a"] == WRONG else "right way"
        builder.add_conditional_edges("a", route, ["wrong way", "right way"])
        verifiers = {"a": Rejecting(seconds=5), "wrong way": Rejecting(seconds=20)}
        agent, log = guarded(builder.compile(), verifiers)
        return await agent.ainvoke({"x": "go"}), log, agent.report(), asyncio.get_running_loop().time()

    state, log, report, seconds = virtual_clock.run(main())
    assert "b" not in state or not state["b"]
    assert state["c"] == RIGHT
    assert [(asked.node, asked.end) for asked in log] == [("a", "answered"), ("wrong way", "cancelled")]
    assert (report.rollbacks, seconds) == (1, 7)


def test_the_oracle_agrees():
    """The right ends, as blocking verification gives them."""

    async def main():
        ends = []
        for sees_all in (False, True):
            placed = {name: Placed(name, Rejecting()).with_log([]) for name in "ab"}
            ends.append(await BlockingGraph(two_levels(Nodes(), sees_all), placed).ainvoke({"x": "go"}))
        return ends

    for state in virtual_clock.run(main()):
        assert (state["a"], state["b"], state["c"]) == (RIGHT, RIGHT, RIGHT)
