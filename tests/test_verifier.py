"""Verdicts, subjects and running verifiers, against a real server on the loopback address."""

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.errors import GraphBubbleUp, GraphInterrupt
from langgraph.types import Command

from sherlock.conformance import LoopbackModel, VerifierConformance
from sherlock.errors import LimitReached, ModelError, SherlockError, VerifierError
from sherlock.models.prices import Prices
from sherlock.usage import Usage
from sherlock.verifier import (
    Subject,
    UnreadableAnswer,
    Verdict,
    Verifier,
    VerifierFailure,
    run_verifier,
    together,
)

PROMPT = [
    {"role": "system", "content": "Add."},
    {"role": "user", "content": "1 and 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "6 and 5?"},
]


class Of:
    """A verifier that is a function of its subject."""

    name = "of"

    def __init__(self, function):
        self.function = function

    async def verify(self, subject):
        return await self.function(subject)


def run(function, subject=None, **settings):
    subject = subject or Subject("n", text="11")
    return asyncio.run(run_verifier(Of(function), subject, **settings))


def returning(value):
    async def verify(_subject):
        return value

    return verify


def raising(error):
    async def verify(_subject):
        raise error

    return verify


@pytest.fixture
def model():
    with LoopbackModel(lambda request: f"answer {request.get('seed')}") as model:
        yield model


def subject_at(server, **changes):
    return Subject(
        **{"node": "sum", "prompt": PROMPT, "text": "11", "model": "m", "base_url": server.base_url, **changes}
    )


# Verdicts


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"accepted": True, "corrected": "x"}, "accept it or correct it"),
        ({"accepted": True, "corrected": ""}, "accept it or correct it"),
        ({"accepted": 1}, "True or False"),
        ({"accepted": True, "score": 1.01}, r"\[0, 1\]"),
        ({"accepted": True, "score": -0.01}, r"\[0, 1\]"),
        ({"accepted": True, "score": float("nan")}, r"\[0, 1\]"),
        ({"accepted": True, "score": True}, r"\[0, 1\]"),
        ({"accepted": True, "score": "high"}, r"\[0, 1\]"),
        ({"accepted": True, "rationale": None}, "a text"),
        ({"accepted": True, "usage": {"calls": 1}}, "Usage"),
    ],
)
def test_a_verdict_that_contradicts_itself(fields, words):
    with pytest.raises(ValueError, match=words):
        Verdict(**fields)


@given(st.booleans(), st.none() | st.floats(0, 1), st.none() | st.text())
def test_a_verdict_in_the_documented_order(accepted, score, corrected):
    corrected = None if accepted else corrected
    verdict = Verdict(accepted, score, corrected, "why", Usage(calls=1))
    assert (verdict.accepted, verdict.score, verdict.corrected, verdict.rationale) == (
        accepted,
        score,
        corrected,
        "why",
    )


def test_a_class_with_a_name_and_verify_is_a_verifier():
    assert isinstance(Of(None), Verifier)
    assert not isinstance(object(), Verifier)


# Subjects


def test_a_subject_fills_in_what_follows_from_the_rest():
    subject = Subject("sum", prompt=PROMPT, output={"total": 11})
    assert (subject.task, subject.text, subject.category, subject.question) == ("Add.", "11", "number", "6 and 5?")
    assert (Subject(text="x").output, Subject().text, Subject(output=None).text) == ("x", "", "")
    assert Subject(output=Command(goto="a")).text == ""
    assert Subject(output={"messages": [AIMessage("hi")]}).text == "hi"


def test_a_prompt_in_messages_of_every_form():
    prompt = [("system", "Add."), HumanMessage("6 and 5?"), AIMessage("12")]
    subject = Subject(prompt=prompt, text="12")
    assert (subject.task, subject.question) == ("Add.", "6 and 5?")
    assert [message["role"] for message in subject.prompt] == ["system", "user", "assistant"]
    with pytest.raises(VerifierError, match="role and content"):
        Subject(prompt=["Add."])
    with pytest.raises(VerifierError, match="give a str"):
        Subject(text=11)


def test_a_subject_in_the_documented_order():
    subject = Subject("n", "task", PROMPT, {"a": 1}, "text", {"k": "text"}, "code", 3)
    assert (subject.node, subject.task, subject.inputs, subject.text) == ("n", "task", {"a": 1}, "text")
    assert (subject.output, subject.category, subject.seed) == ({"k": "text"}, "code", 3)


def test_asking_is_metered_in_the_subject_and_in_the_whole_it_is_part_of(model):
    whole = subject_at(model)
    part = whole.part("a")

    async def ask():
        first = await whole.complete("How much?")
        second = await part.complete(PROMPT, seed=5, stop=["\n"], max_tokens=9, temperature=0.5)
        return first, second

    first, second = asyncio.run(ask())
    assert (first.text, second.text) == ("answer 0", "answer 5")
    assert part.usage == second.usage
    assert whole.usage == first.usage + second.usage
    assert (whole.usage.calls, whole.usage.usd, whole.usage.estimated) == (2, 0.0, False)
    last = model.requests[1]
    assert (last["stop"], last["max_tokens"], last["temperature"], last["seed"]) == (["\n"], 9, 0.5, 5)
    assert last["messages"] == PROMPT


def test_prices_are_the_users(model):
    subject = subject_at(model, prices=Prices({"m": {"input": 1e6, "output": 0}}))
    asyncio.run(subject.complete("one two three"))
    assert subject.usage.usd == subject.usage.tokens_in


def test_a_call_that_fails_counts_but_costs_nothing():
    with LoopbackModel(str) as gone:
        subject = subject_at(gone)
    with pytest.raises(ModelError, match="no model server answers"):
        asyncio.run(subject.complete("anyone there?"))
    assert (subject.usage.calls, subject.usage.tokens) == (1, 0)


def test_a_call_that_is_cancelled_is_estimated():
    async def cancelled(model):
        subject = subject_at(model)
        task = asyncio.ensure_future(subject.complete("x" * 400))
        while not model.busy:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        return subject.usage

    with LoopbackModel(lambda _: "", hangs=True) as model:
        usage = asyncio.run(cancelled(model))
    assert (usage.calls, usage.tokens_in, usage.tokens_out, usage.estimated) == (1, 100, 1, True)


def test_a_node_without_a_model_needs_one_by_name(model):
    subject = Subject("code", text="x", base_url=model.base_url)
    with pytest.raises(ModelError, match="'code' asks no model"):
        asyncio.run(subject.complete("q"))
    assert asyncio.run(subject.complete("q", model="m")).text == "answer 0"


def test_a_langchain_model_of_the_nodes_own():
    subject = Subject("n", prompt=PROMPT, text="x", model=GenericFakeChatModel(messages=iter([AIMessage("from it")])))
    assert asyncio.run(subject.complete("q")).text == "from it"
    assert (subject.usage.calls, subject.usage.estimated) == (1, True)


def test_resamples_have_seeds_of_their_own_and_the_nodes_parameters(model):
    subject = subject_at(model, settings={"stop": ["\n"], "max_tokens": 4})

    async def draw():
        return await subject.resample(3) + await subject.resample(2)

    answers = asyncio.run(draw())
    assert len(set(answers)) == 5
    seeds = [request["seed"] for request in model.requests]
    assert len(set(seeds)) == 5
    assert {(tuple(r["stop"]), r["max_tokens"], r["temperature"]) for r in model.requests} == {(("\n",), 4, 0.7)}
    assert answers[:3] == [f"answer {seed}" for seed in sorted(seeds)[:3]]
    again = subject_at(model, settings=subject.settings)
    assert asyncio.run(again.resample(3)) == answers[:3]


def test_resamples_are_drawn_at_once_but_of_the_local_model_one_by_one():
    most = 0

    def answer(_request):
        nonlocal most
        most = max(most, model.busy)
        time.sleep(0.1)
        return "x"

    with LoopbackModel(answer) as model:
        asyncio.run(subject_at(model).resample(4))
        assert most > 1
        most = 0
        asyncio.run(subject_at(model, model="local").resample(3))
        assert most == 1


@pytest.mark.parametrize("effects", ["idempotent", "compensable", "irreversible"])
def test_nodes_with_effects_are_not_resampled(model, effects):
    subject = subject_at(model, node="pay", effects=effects)
    with pytest.raises(SherlockError, match=f"'pay' has effects \\({effects}\\)"):
        asyncio.run(subject.resample(1))
    with pytest.raises(SherlockError, match="'pay' has effects"):
        subject.chains(1)
    assert not model.requests


def test_nothing_to_resample(model):
    with pytest.raises(VerifierError, match="asked no model"):
        asyncio.run(subject_at(model, prompt=()).resample(1))
    with pytest.raises(VerifierError, match="at least 1"):
        asyncio.run(subject_at(model).resample(0))


def test_the_runtimes_resampler_runs_the_node():
    async def resampler(subject, seed, temperature):
        subject.charge(Usage(calls=2, usd=None))
        return f"{temperature} {seed}"

    whole = Subject("n", text="x", resampler=resampler)
    answers = asyncio.run(whole.part("p").resample(2, temperature=0.3))
    assert len(set(answers)) == 2
    assert all(answer.startswith("0.3 ") for answer in answers)
    assert (whole.usage.calls, whole.usage.usd) == (4, None)


def test_chains_come_in_pieces_and_closing_one_frees_the_model():
    async def first_pieces(model):
        subject = subject_at(model)
        chains = subject.chains(2)
        assert not model.requests, "a chain was begun before anyone read it"
        pieces = [await anext(chain) for chain in chains]
        for chain in chains:
            await chain.aclose()
        while model.busy:
            await asyncio.sleep(0.01)
        return pieces, subject.usage, asyncio.all_tasks() - {asyncio.current_task()}

    with LoopbackModel(lambda _: "", hangs=True) as model:
        pieces, usage, left = asyncio.run(first_pieces(model))
    assert pieces == ["Well", "Well"]
    assert (usage.calls, usage.tokens_out, usage.estimated) == (2, 2, True)
    assert not left


def test_a_chain_that_ends_says_all_that_its_answer_said(model):
    async def read():
        return ["".join([piece async for piece in chain]) for chain in subject_at(model).chains(2)]

    assert asyncio.run(read()) == asyncio.run(subject_at(model).resample(2))


def test_a_chain_whose_call_fails_raises():
    with LoopbackModel(str) as gone:
        subject = subject_at(gone)
    with pytest.raises(ModelError):
        asyncio.run(anext(subject.chains(1)[0]))


def test_parts_have_seeds_of_their_own_but_repeatable():
    subject = Subject("n", text="x", seed=1)
    assert subject.part().seed == 1
    assert subject.part("a").seed != subject.part("b").seed
    assert subject.part("a").seed == subject.part("a").seed


def test_together_ends_the_others_when_one_fails():
    ended = []

    async def slow():
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    async def failing():
        await asyncio.sleep(0.01)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(together([slow(), failing(), slow()]))
    assert ended == [True, True]


# Running


def test_everything_that_was_spent_is_in_the_result(model):
    async def verify(subject):
        await subject.complete("q")
        return Verdict(True, usage=Usage(calls=2, tokens_in=7))

    subject = subject_at(model)
    subject.charge(Usage(calls=10))
    found = asyncio.run(run_verifier(Of(verify), subject))
    assert found.usage.calls == 3
    assert subject.usage.calls == 13


@pytest.mark.parametrize(
    ("function", "kind", "words"),
    [
        (raising(ValueError("bad luck")), "raised", "ValueError: bad luck"),
        (raising(ModelError("the server is down")), "raised", "'of' on the node 'n' failed: the server is down"),
        (raising(UnreadableAnswer("no JSON")), "unreadable", "no JSON"),
        (raising(ExceptionGroup("g", [UnreadableAnswer("no JSON")])), "unreadable", "no JSON"),
        (returning(None), "no_verdict", "None, which is no Verdict"),
        (returning(True), "no_verdict", "True"),
    ],
)
def test_what_is_no_verdict_is_a_failure(function, kind, words):
    found = run(function)
    assert isinstance(found, VerifierFailure)
    assert (found.kind, found.verifier, found.node) == (kind, "of", "n")
    assert words in found.message
    assert "\n" not in found.message


def test_a_verdict_that_contradicts_itself_is_a_failure():
    async def verify(_subject):
        return Verdict(True, corrected="x")

    assert run(verify).kind == "raised"


def test_a_plain_function_may_stand_for_verify():
    class Plain:
        name = "plain"

        def verify(self, subject):
            return Verdict(subject.text == "11")

    assert asyncio.run(run_verifier(Plain(), Subject(text="11"))).accepted


@pytest.mark.parametrize(
    ("output", "corrected", "fits"),
    [
        ({"n": 11}, "12", True),
        ({"n": 11}, "twelve", False),
        ({"n": {"a": 1}}, '{"a": 2}', True),
        ({"n": {"a": 1}}, "[", False),
        ({"n": 11}, {"n": 12}, True),
        ({"n": 11}, 12, False),
        ({"n": 11}, {}, False),
        ({"n": 11}, Command(update={"n": 3}), True),
        (None, "12", False),
        ("text", "other", True),
        ("text", 5, False),
        ({"messages": [AIMessage("a")]}, "b", True),
    ],
)
def test_a_correction_must_fit_what_the_node_wrote(output, corrected, fits):
    found = run(returning(Verdict(False, corrected=corrected)), Subject("n", output=output))
    if fits:
        assert isinstance(found, Verdict)
        assert found.corrected == corrected
    else:
        assert found.kind == "uncastable"
        assert "'n'" in found.message


def test_a_time_out_is_metered_and_leaves_nothing_behind():
    async def timed_out(model):
        subject = subject_at(model)

        async def verify(part):
            await part.complete("q")
            return Verdict(True)

        found = await run_verifier(Of(verify), subject, timeout_s=0.3)
        while model.busy:
            await asyncio.sleep(0.01)
        return found, subject.usage, asyncio.all_tasks() - {asyncio.current_task()}

    with LoopbackModel(lambda _: "", hangs=True) as model:
        found, usage, left = asyncio.run(timed_out(model))
    assert (found.kind, found.usage) == ("timed_out", usage)
    assert (usage.calls, usage.estimated) == (1, True)
    assert "within 0.3 s" in found.message
    assert 0.3 <= found.seconds < 5
    assert not left


def test_the_callers_cancellation_waits_for_the_verifier():
    events = []

    async def verify(_subject):
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.05)
            events.append("cleaned up")

    async def cancelled():
        task = asyncio.ensure_future(run_verifier(Of(verify), Subject(text="x")))
        await asyncio.sleep(0.05)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            events.append("cancelled")

    asyncio.run(cancelled())
    assert events == ["cleaned up", "cancelled"]


def test_a_verifier_that_will_not_be_cancelled_is_left_behind(monkeypatch, caplog):
    monkeypatch.setattr("sherlock.verifier._PATIENCE_S", 0.05)

    async def verify(_subject):
        for _ in range(20):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue
        return Verdict(True)

    found = run(verify, timeout_s=0.05)
    assert found.kind == "timed_out"
    assert "goes on though it was cancelled" in caplog.text


@pytest.mark.parametrize("error", [GraphBubbleUp(), GraphInterrupt(), LimitReached("enough")])
def test_control_flow_and_limits_pass_through(error):
    for raised in (error, ExceptionGroup("g", [ValueError(), ExceptionGroup("h", [error])])):
        with pytest.raises(type(error)):
            run(raising(raised))


@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt()])
def test_what_ends_programs_passes_through(error):
    with pytest.raises(type(error)):
        run(raising(error))


# The conformance suite must be able to fail


async def _unmetered(subject):
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
        await client.post(f"{subject.base_url}/chat/completions", json=body)
    return Verdict(True)


async def _impatient(subject):
    try:
        await asyncio.wait_for(subject.complete("q"), 0.2)
    except TimeoutError:
        return Verdict(True)
    return Verdict(True)


async def _leaving(subject):
    _leaving.task = asyncio.ensure_future(subject.complete("q"))
    await asyncio.sleep(0.2)
    return Verdict(True)


async def _trusting(subject):
    await subject.complete(f"Is this right?\n{subject.text}")
    return Verdict(True)


async def _crashing(subject):
    return Verdict(bool(subject.text[0]))


async def _wavering(_subject):
    return Verdict(True, rationale=str(time.perf_counter_ns()))


@pytest.mark.parametrize(
    ("function", "test"),
    [
        (returning(None), "test_it_has_a_name_and_gives_a_verdict"),
        (_unmetered, "test_it_meters_what_the_model_was_asked"),
        (_leaving, "test_cancelling_it_frees_the_model_at_once"),
        (_leaving, "test_it_ends_at_the_time_out"),
        (_impatient, "test_it_ends_at_the_time_out"),
        (_trusting, "test_it_quotes_the_text_under_test"),
        (_crashing, "test_it_survives_an_empty_text"),
        (_crashing, "test_it_survives_outputs_that_are_no_text"),
        (_wavering, "test_it_repeats_itself_under_a_seed"),
    ],
)
def test_the_suite_finds_a_bad_verifier(function, test, monkeypatch):
    monkeypatch.setattr("sherlock.conformance._PATIENCE_S", 1.5)

    class Bad(VerifierConformance):
        def verifier(self):
            return Of(function)

    with pytest.raises(AssertionError):
        getattr(Bad(), test)()


def test_the_suite_lets_quoting_by_unknown_marks_pass():
    async def fenced(subject):
        mark = f"a1b2c3d4e5{len(subject.text)}"
        await subject.complete(f"Is this right?\n<{mark}>\n{subject.text}\n</{mark}>\nSay so.")
        await subject.complete(f"Is this right? {json.dumps(subject.text)}")
        return Verdict(True)

    class Good(VerifierConformance):
        def verifier(self):
            return Of(fenced)

    Good().test_it_quotes_the_text_under_test()


def test_entry_points_of_the_suite_need_a_verifier():
    with pytest.raises(TypeError, match="override `verifier`"):
        VerifierConformance().test_it_survives_an_empty_text()
