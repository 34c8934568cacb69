"""The rounds of an analysis: work side by side, gold outputs, stores that are read back, what is counted."""

import asyncio
import json
from collections import Counter
from typing import TypedDict

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

import sherlock
from sherlock.analysis.records import Totals, shown
from sherlock.analysis.rounds import together
from sherlock.errors import CasesError, GraphError
from sherlock.faults import Fault
from sherlock.usage import Usage

WRONG = Fault("wrong", "output", 1.0, lambda text, rng: text + " wrong")


class State(TypedDict, total=False):
    q: str
    a: str
    out: str


def graph_of(**nodes):
    graph = StateGraph(State)
    for before, (name, node) in zip([START, *nodes], nodes.items(), strict=False):
        graph.add_node(name, node)
        graph.add_edge(before, name)
    return graph


def passes(state):
    return {"out": state["a"]}


def right(output, case):
    return output.get("out") == case.inputs["q"]


def test_the_first_failure_ends_all_and_waits_for_them():
    ended = Counter()

    async def work(n):
        try:
            await asyncio.sleep(0.01 * n)
            if n == 2:
                raise ValueError("two")
        finally:
            await asyncio.sleep(0.01)
            ended["n"] += 1
        return n

    async def go():
        assert await together([work(1), work(0)]) == [1, 0]
        ended.clear()
        with pytest.raises(ValueError, match="two"):
            await together(work(n) for n in (1, 2, 50, 60))
        assert ended["n"] == 4

    asyncio.run(go())


def test_the_sum_of_dollars_has_no_order():
    sums = set()
    for order in ((0.1, 0.2, 0.3), (0.3, 0.2, 0.1), (0.2, 0.3, 0.1)):
        totals = Totals()
        for usd in order:
            totals.use(Usage(calls=1, usd=usd))
        sums.add(totals.usage.usd)
    assert len(sums) == 1
    totals.use(Usage(calls=1, usd=None))
    assert totals.usage.usd is None
    assert totals.usage.calls == 4


def test_texts_are_cut_with_a_mark():
    assert shown("x" * 600) == "x" * 600
    assert shown("x" * 601) == "x" * 599 + "…"


def test_gold_outputs_are_put_in_where_the_node_was_wrong():
    """`a` is wrong in every second case; `late` puts right what it gets, so gold gains nothing there."""

    def a(state):
        return {"a": state["q"] if int(state["q"].split()[-1]) % 2 else "no idea"}

    cases = [sherlock.Case({"q": f"case {i}"}, references={"a": f"case {i}", "late": f"case {i}"}) for i in range(8)]
    analysis = sherlock.analyze(graph_of(a=a, late=passes), cases, scorer=right, faults=[WRONG])
    assert analysis.ranked_by == "criticality"
    assert analysis.nodes["a"].criticality.value == 0.5
    assert analysis.nodes["a"].fault_rate.value == 0.5
    assert analysis.nodes["late"].criticality.value == 0.5
    assert analysis.ranking == ["a", "late"]


def test_cases_that_stop_at_a_question_are_left_out_and_told():
    def ask(state):
        return {"a": state["q"] if interrupt("may I?") == "yes" else ""}

    graph = graph_of(ask=ask, out=passes)
    cases = [sherlock.Case({"q": f"case {i}"}, resume=["yes"] if i else [], id=f"c{i}") for i in range(9)]
    analysis = sherlock.analyze(graph, cases, scorer=right, faults=[WRONG])
    assert analysis.skipped == ["case 'c0' stopped at an interrupt without an answer (may I?)"]
    assert analysis.accuracy.value == 1
    assert analysis.nodes["ask"].vulnerability.value == 1
    with pytest.raises(CasesError, match="answer interrupts in order"):
        sherlock.analyze(graph, [sherlock.Case({"q": "1"})], scorer=right)


def test_nothing_to_measure_is_said():
    def fails(state):
        raise ValueError("broken")

    cases = [sherlock.Case({"q": f"case {i}"}) for i in range(3)]
    with pytest.raises(GraphError, match=r"every clean run raised.*case '1': ValueError: broken"):
        sherlock.analyze(graph_of(a=fails, out=passes), cases, scorer=right)
    with pytest.raises(CasesError, match="none of 3 clean runs was right"):
        sherlock.analyze(graph_of(a=lambda s: {"a": "x"}, out=passes), cases, scorer=right)


def test_a_second_analysis_reads_what_the_first_has_done(tmp_path):
    """Also with more cases, other faults and other nodes: only what is new is executed."""
    log = Counter()

    def a(state):
        log[state["q"]] += 1
        return {"a": state["q"]}

    graph = graph_of(a=a, out=passes)
    cases = [sherlock.Case({"q": f"case {i}"}) for i in range(6)]
    options = {"scorer": right, "faults": [WRONG], "store": tmp_path / "store.db", "top": 2}
    first = sherlock.analyze(graph, cases, **options)
    ran = log.copy()
    assert first.trials == 12
    sherlock.analyze(graph, cases, **options, nodes=["out"])
    sherlock.analyze(graph, cases, **{**options, "faults": [WRONG, Fault("odd", "output", 1, lambda text, rng: "odd")]})
    assert log == ran
    sherlock.analyze(graph, [*cases, sherlock.Case({"q": "new"})], **options)
    assert log["new"] > 0
    assert {q: n for q, n in log.items() if q != "new"} == ran


def test_resumed_counts_are_those_of_one_run(tmp_path):
    """Shared results count once, whoever made them; so the count survives a cut in the middle of a round."""

    class CutOff(Exception):
        pass

    executed = Counter()

    def a(state):
        executed["a"] += 1
        return {"a": state["q"]}

    graph = graph_of(a=a, b=lambda state: {"a": state["a"][:6]}, c=lambda state: {"a": state["a"] * 2}, out=passes)
    cases = [sherlock.Case({"q": f"case {i}"}) for i in range(8)]
    options = {"scorer": lambda output, case: output["out"] == case.inputs["q"] * 2, "faults_per_kind": 3, "top": 4}
    whole = json.loads(sherlock.analyze(graph, cases, **options).to_json())
    executed.clear()

    def counted(state):
        executed["out"] += 1
        return passes(state)

    small = graph_of(a=a, b=lambda state: {"a": state["a"]}, out=counted)
    found = sherlock.analyze(small, cases, scorer=right, faults=[WRONG], nodes=["a", "b"])
    # Clean runs and probes; no sham is needed. The wrong text reaches `out` from two places, and is answered once.
    assert executed == {"a": 8 + 5, "out": 8 + 5 + 8}
    assert found.node_executions == 3 * (8 + 5) + 2 * 8
    for at in (20, 45, 70):
        left = at

        def cut(progress):
            nonlocal left
            left -= progress.stage in ("clean", "sham", "trial")
            if left == 0:
                raise CutOff

        store = tmp_path / f"{at}.db"
        with pytest.raises(CutOff):
            sherlock.analyze(graph, cases, **options, store=store, progress=cut)
        resumed = json.loads(sherlock.analyze(graph, cases, **options, store=store).to_json())
        assert {**resumed, "timing": None} == {**whole, "timing": None}
