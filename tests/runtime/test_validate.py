"""`validate` from end to end: what it measures, what it decides, what it leaves alone, how it ends."""

import asyncio
import json
import operator
import time
from typing import Annotated, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.store.memory import InMemoryStore
from langgraph.types import interrupt
from openai import AsyncOpenAI
from scripted_server import ScriptedServer

import sherlock
from sherlock.errors import ArtefactError, CasesError, GraphError, PlanMismatch
from sherlock.estimate import Estimate
from sherlock.models.prices import Prices
from sherlock.placement.plan import Expectation, Seconds
from sherlock.runtime.validate import Validator, avalidate
from sherlock.runtime.validation_figures import is_kept
from sherlock.usage import Limits


class Sums(TypedDict, total=False):
    n: int
    twice: int
    said: str
    log: Annotated[list, operator.add]


def twice(state):
    return {"twice": 2 * state["n"] + (state["n"] % 3 == 0)}  # wrong for multiples of three


def say(state):
    return {"said": str(state["twice"])}


def chain(first=twice, second=say, **options):
    builder = StateGraph(Sums)
    builder.add_node("twice", first)
    builder.add_node("say", second)
    builder.add_edge(START, "twice")
    builder.add_edge("twice", "say")
    builder.add_edge("say", END)
    return builder.compile(**options)


class Exact:
    """Knows better, after a while; `wrong` are the inputs for which it makes things worse."""

    name = "exact"

    def __init__(self, wrong=(), seconds=0.0):
        self.wrong = wrong
        self.seconds = seconds

    async def verify(self, subject):
        await asyncio.sleep(self.seconds)
        right = 2 * subject.inputs["n"] + (1 if subject.inputs["n"] in self.wrong else 0)
        if subject.output["twice"] == right:
            return sherlock.Verdict(True)
        return sherlock.Verdict(False, corrected=str(right))


def plan(verifier=None, **expected):
    made = sherlock.Plan.attach({"twice": verifier or Exact()})
    return made.model_copy(update={"expectation": Expectation(basis="modelled", **expected)} if expected else {})


def cases(n=12, first=1):
    return [sherlock.Case({"n": i}, expected={"said": str(2 * i)}, id=f"n{i}") for i in range(first, first + n)]


def validated(graph=None, made=None, given=None, **options):
    options.setdefault("scorer", "exact_match")
    return sherlock.validate(graph or chain(), made or plan(), given or cases(), **options)


# What it measures


def test_the_scores_of_each_way_and_the_paired_gain():
    found = validated(blocking=True)
    levels = {way: figures.score.value for way, figures in found.levels.items()}
    assert levels == {"unguarded": pytest.approx(8 / 12), "guarded": 1.0, "blocking": 1.0}
    assert found.gain == found.differences["unguarded"].score
    assert (found.gain.value, found.gain.n) == (pytest.approx(4 / 12), 12)
    assert found.differences["blocking"].score.value == 0
    assert found.repaired == ["n3", "n6", "n9", "n12"]
    assert found.broken == []
    assert found.runs == 36
    [node] = found.nodes
    assert (node.node, node.verifier, node.verdicts, node.rejected) == ("twice", "exact", 12, 4)
    assert node.match_rate.value == pytest.approx(8 / 12)
    assert found.placements == {"twice": "exact"}


def test_broken_cases_are_named():
    found = validated(made=plan(Exact(wrong=(1, 3))))
    assert found.broken == ["n1"]
    assert found.repaired == ["n6", "n9", "n12"]


def test_times_are_those_of_the_ways():
    async def slow_say(state):
        await asyncio.sleep(0.03)
        return say(state)

    found = validated(chain(second=slow_say), plan(Exact(seconds=0.05)), cases(8, first=4), blocking=True)
    right = [run for run in found.timing.runs if run.case in ("n4", "n5", "n7", "n8", "n10", "n11")]
    mean = {
        way: sum(run.t_vrf_s for run in right if run.way == way) / 6 for way in ("unguarded", "guarded", "blocking")
    }
    assert mean["unguarded"] >= 0.03
    assert mean["blocking"] >= 0.08
    assert 0.05 <= mean["guarded"] < mean["blocking"]
    blocked = [run for run in found.timing.runs if run.way == "blocking"]
    assert all(run.t_exec_s >= 0.08 and run.wasted_executions == 0 for run in blocked), blocked
    assert found.timing.differences["blocking"].t_vrf_s.mean.value < 0
    assert found.timing.levels["guarded"].t_vrf_s.p50.n == 8
    assert found.timing.levels["guarded"].t_vrf_s.p90 is None, "eight cases are too few"


def test_repeats_are_averaged_within_their_case():
    coin = iter([True, False] * 100)

    def flaky(state):
        return {"twice": 2 * state["n"] + next(coin)}

    found = validated(chain(flaky), sherlock.Plan.attach({}), cases(6), repeats=2, scorer="exact_match")
    assert all(len(each.scores["unguarded"]) == len(each.scores["guarded"]) == 2 for each in found.cases)
    assert found.gain.n == 6
    assert found.notes == ["No node has a verifier, so the guarded runs are like the unguarded ones."]


def test_what_the_models_cost_and_what_it_adds():
    with ScriptedServer(lambda request: {"text": "4", "usage": (10, 2, 0)}) as server:

        async def ask(state):
            async with AsyncOpenAI(base_url=server.base_url, api_key="none") as client:
                await client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": str(state["n"])}]
                )
            return twice(state)

        class Asking(Exact):
            async def verify(self, subject):
                await subject.complete("sure?")
                return await super().verify(subject)

        prices = {"gpt-4o-mini": {"input": 1e5, "output": 1e5}}
        energy = {"gpt-4o-mini": {"wh_per_1k": [1.0, 1.0], "source": "measured"}}
        validator = Validator(graph=chain(ask), plan=plan(Asking()), cases=cases(6), scorer="exact_match")
        validator.prices = Prices(prices, energy)
        found = asyncio.run(validator.run())
    added = found.differences["unguarded"]
    assert (found.levels["unguarded"].calls.value, added.calls.value) == (1, 1)
    assert (found.levels["unguarded"].tokens.value, added.tokens.value) == (12, 12)
    assert added.usd.value == pytest.approx(1.2)
    assert added.wh.value == pytest.approx(found.levels["unguarded"].wh.value)
    assert found.usage.calls == len(server.requests) == 18


# What it decides


def test_a_promise_that_is_kept_and_one_that_is_not():
    kept = validated(made=plan(score=Estimate(0.95, 0.8, 1.0, 20), gain=Estimate(0.3, 0.1, 0.5, 20)))
    assert kept.promise_kept is True
    assert kept.promise_note == ""
    assert {check.figure: check.kept for check in kept.promise} == {"score": True, "gain": True}
    refuted = validated(
        made=plan(Exact(wrong=range(100)), score=Estimate(0.95, 0.8, 1.0, 20), gain=Estimate(0.3, 0.1, 0.5, 20))
    )
    assert refuted.promise_kept is False
    assert {check.figure: check.kept for check in refuted.promise} == {"score": False, "gain": False}


def test_a_promise_that_cannot_be_decided_says_why():
    assert validated().promise_note == "the plan promises nothing"
    assert validated(made=plan(usd=0.0)).promise_note == "the plan promises no score"
    few = validated(made=plan(score=Estimate(1.0, 0.9, 1.0, 20)), given=cases(7))
    assert (few.promise_kept, few.promise_note) == (None, "7 cases are too few, it takes 8")
    wide = validated(made=plan(gain=Estimate(0.5, 0.4, 0.6, 20)))
    assert (wide.promise_kept, wide.promise_note) == (None, "the intervals allow for both")


def test_costs_and_times_stand_beside_what_was_promised():
    seconds = Seconds(mean=0.1, p50=0.1, p95=0.1, p99=0.1)
    found = validated(made=plan(tokens=7.0, calls=1.0, latency_s=seconds, execution_s=seconds, blocking_s=seconds))
    assert [(check.figure, check.promised, check.kept) for check in found.promise] == [
        ("tokens", 7.0, None),
        ("calls", 1.0, None),
    ]
    assert [check.figure for check in found.timing.promise] == ["t_exec_s", "t_vrf_s", "blocking_s"]
    assert found.timing.promise[0].measured == found.timing.levels["guarded"].t_exec_s.mean
    assert found.timing.promise[2].measured is None, "no blocking runs were asked for"


shares = st.floats(0, 1)


@given(shares, shares, shares, shares, shares, shares)
def test_a_refuted_promise_lies_wholly_above_what_was_measured(value, down, up, promised, below, above):
    measured = Estimate(value, value - down, value + up, 20)
    promise = Estimate(promised, promised - below, promised + above, 20)
    kept = is_kept(promise, measured)
    if kept is False:
        assert measured.value < promise.low
        assert measured.high < promise.value
    if measured.value >= promise.value:
        assert kept is True
    worse = Estimate(value - 1, value - 1 - down, value - 1 + up, 20)
    assert (kept, is_kept(promise, worse)) not in [(False, True), (False, None), (None, True)]


# What it leaves alone


def test_effects_that_cannot_be_repeated_are_never_executed():
    sent = []

    @sherlock.effects("irreversible", stub=lambda state: {"said": str(state["twice"])})
    def send(state):
        sent.append(state["n"])
        return say(state)

    found = validated(chain(second=send))
    assert found.levels["guarded"].score.value == 1.0
    assert sent == []

    @sherlock.effects("compensable", undo=lambda inputs, output: sent.append("undone"))
    def book(state):
        sent.append(state["n"])
        return say(state)

    with pytest.raises(GraphError, match="node 'say' has effects, which a validation never executes: give it a stub"):
        validated(chain(second=book))
    referenced = [
        sherlock.Case(case.inputs, case.expected, {"say": json.dumps(case.expected)}, case.id) for case in cases()
    ]
    assert validated(chain(second=book), given=referenced).levels["unguarded"].score.value == 1.0
    assert sent == [], "nor is undone what was not done"


def test_effects_that_can_be_repeated_are_executed():
    sent = []

    @sherlock.effects("idempotent")
    def put(state):
        sent.append(state["n"])
        return say(state)

    validated(chain(second=put), given=cases(5, first=4))
    assert sorted(set(sent)) == [4, 5, 6, 7, 8]
    assert len(sent) >= 10


def test_no_trace_is_left_and_runs_do_not_see_each_other():
    saver, store, seen = InMemorySaver(), InMemoryStore(), []

    def remember(state, *, store):
        seen.append(store.get(("memory",), "last"))
        store.put(("memory",), "last", {"n": state["n"]})
        return twice(state)

    given = cases(5)
    validated(chain(remember, checkpointer=saver, store=store), given=given)
    assert list(saver.list(None)) == []
    assert store.search(("memory",)) == []
    assert set(seen) == {None}
    assert given == cases(5)


def test_the_order_is_drawn_from_the_seed_and_ways_are_interleaved():
    order = []

    def noted(state):
        order.append(state["n"])
        return twice(state)

    def run(seed):
        order.clear()
        events = []
        validated(chain(noted), given=cases(8), seed=seed, progress=events.append)
        return list(order), [event.what for event in events if event.stage == "run"]

    first, told = run(1)
    assert first == run(1)[0]
    assert first != run(2)[0]
    assert first[::2] == first[1::2], "a case's ways follow each other"
    assert [f"n{n}" for n in first] == told


def test_turns_and_answers():
    def asks(state):
        return {"said": str(state["twice"]), "log": [interrupt("sure?")]}

    def build():
        builder = StateGraph(Sums)
        builder.add_node("twice", twice)
        builder.add_node("say", asks)
        builder.add_edge(START, "twice")
        builder.add_edge("twice", "say")
        return builder.compile()

    def two_yes(output, case):
        return output["log"] == ["yes", "no"] and output["said"] == case.expected["said"]

    given = [
        sherlock.Case([{"n": 5}, {"n": n}], expected={"said": str(2 * n)}, resume=["yes", "no"]) for n in range(1, 7)
    ]
    found = validated(build(), given=given, scorer=two_yes)
    assert found.levels["guarded"].score.value == 1.0
    assert found.levels["unguarded"].score.value == pytest.approx(4 / 6)
    short = [*given, sherlock.Case({"n": 1}, id="silent")]
    found = validated(build(), given=short, scorer=two_yes)
    assert found.skipped == ["case 'silent' stopped at an interrupt without an answer (sure?)"]
    assert len(found.cases) == 6
    with pytest.raises(CasesError, match=r"case 'silent' stopped at an interrupt .* and so did every other"):
        validated(build(), given=short[-1:], scorer=two_yes)


# How it ends


def test_a_run_that_raises_scores_nothing_and_is_named():
    def fails(state):
        if state["n"] == 4:
            raise RuntimeError("no stock\nat all")
        return twice(state)

    found = validated(chain(fails))
    assert found.errors == {"n4": {"unguarded": "RuntimeError: no stock", "guarded": "RuntimeError: no stock"}}
    assert found.levels["guarded"].score.value == pytest.approx(11 / 12)
    assert found.timing.levels["guarded"].t_exec_s.mean.n == 11
    assert found.gain.n == 12

    def always(state):
        raise RuntimeError("broken")

    with pytest.raises(GraphError, match=r"every run raised, .* case 'n1': RuntimeError: broken"):
        validated(chain(always))


def test_a_verifier_that_fails_closed_costs_its_cases():
    class Broken:
        name = "broken"

        async def verify(self, subject):
            if subject.inputs["n"] < 4:
                raise KeyError("rules")
            return sherlock.Verdict(True)

    found = validated(made=plan(Broken()), given=cases(8))
    assert sorted(found.errors) == ["n1", "n2", "n3"]
    assert all(set(error) == {"guarded"} for error in found.errors.values())
    assert found.failures == 3
    assert found.nodes[0].failures == 3
    found = validated(made=plan(Broken()).model_copy(update={"policy": {"on_failure": "open"}}), given=cases(8))
    assert found.errors == {}
    assert (found.failures, found.flagged) == (3, 3)


def test_a_limit_leaves_a_valid_part():
    with ScriptedServer(lambda request: "4") as server:

        async def ask(state):
            async with AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
                await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])
            return twice(state)

        found = validated(chain(ask), limits=Limits(calls=11))
    assert found.partial == "limit reached: 11 model calls"
    assert len(server.requests) == 11, "to the call, in guarded and in unguarded runs"
    assert len(found.cases) == 5
    assert found.runs == 10
    assert found.errors == {}


def test_a_limit_on_seconds_ends_a_run_in_its_middle(tmp_path):
    async def hangs(state):
        await asyncio.sleep(20)
        return twice(state)

    began = time.monotonic()
    found = validated(chain(hangs), limits=Limits(seconds=0.2))
    assert time.monotonic() - began < 5
    assert found.partial == "limit reached: 0.2 seconds"
    assert (found.cases, found.gain, found.promise_kept) == ([], None, None)
    found.save(tmp_path / "v.json")
    assert sherlock.Validation.load(tmp_path / "v.json") == found


def test_stopped_from_elsewhere():
    async def run():
        validator = Validator(graph=chain(), plan=plan(), cases=cases(50), scorer="exact_match")
        validator.progress = lambda event: validator.stop("interrupted") if event.runs == 7 else None
        return await validator.run()

    found = asyncio.run(run())
    assert found.partial == "interrupted"
    assert len(found.cases) == 3


def test_the_artefact(tmp_path):
    path = tmp_path / "validation.json"
    first, second = (
        validated(made=plan(score=Estimate(0.9, 0.8, 1.0, 9))),
        validated(made=plan(score=Estimate(0.9, 0.8, 1.0, 9))),
    )
    first.save(path)
    assert sherlock.Validation.load(path) == first
    a, b = (json.loads(each.to_json()) for each in (first, second))
    a.pop("timing"), b.pop("timing")
    assert a == b, "but for its timing, one seed gives one artefact"
    path.write_text(json.dumps({**json.loads(first.to_json()), "schema_version": 9}))
    with pytest.raises(ArtefactError, match="schema version 9"):
        sherlock.Validation.load(path)
    path.write_text('{"kind": "plan"}')
    with pytest.raises(ArtefactError, match="'plan', no validation; make one with `sherlock validate`"):
        sherlock.Validation.load(path)


def test_what_is_wrong_is_refused(tmp_path):
    with pytest.raises(PlanMismatch):
        validated(made=sherlock.Plan.attach({"thrice": Exact()}))
    with pytest.raises(ValueError, match="repeats is 0"):
        validated(repeats=0)
    with pytest.raises(CasesError, match="there is none"):
        sherlock.validate(chain(), plan(), [], scorer="exact_match")
    with pytest.raises(CasesError, match=r"the scorer .* returned 2"):
        validated(scorer=lambda output, case: 2)


def test_a_plan_in_a_file_and_one_in_the_code(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text('placements:\n  twice:\n    verifier: check\n    settings: {regex: "[0-9]+"}\n')
    assert validated(made=str(path)).placements == {"twice": "check"}

    @sherlock.verified(Exact())
    def marked(state):
        return twice(state)

    found = sherlock.validate(chain(marked), None, cases(), scorer="exact_match")
    assert found.gain.value == pytest.approx(4 / 12)


def test_the_async_twin():
    found = asyncio.run(avalidate(chain(), plan(), cases(5), scorer="exact_match"))
    assert found.runs == 10


def test_tools_answer_with_their_stubs():
    sent = []

    @sherlock.effects("irreversible", stub=lambda arguments: f"would send {arguments['text']}")
    @tool
    def send(text: str) -> str:
        """Send a letter."""
        sent.append(text)
        return "sent"

    def write(state):
        call = {"name": "send", "args": {"text": state["messages"][0].content}, "id": "1", "type": "tool_call"}
        return {"messages": [AIMessage("", tool_calls=[call])]}

    builder = StateGraph(MessagesState)
    builder.add_node("write", write)
    builder.add_node("tools", ToolNode([send]))
    builder.add_edge(START, "write")
    builder.add_edge("write", "tools")
    made = sherlock.Plan.attach({"write": {"use": "check", "regex": ".*letter.*"}})
    given = [
        sherlock.Case({"messages": [("user", f"a letter {n}")]}, expected=f"would send a letter {n}") for n in "ab"
    ]
    found = validated(builder, made, given)
    assert [each.scores for each in found.cases] == [{"unguarded": [1.0], "guarded": [1.0]}] * 2, found.errors
    assert found.nodes[0].verdicts == 2
    assert sent == []
