"""Verifiers that compare or test: check, schema, resolve."""

import asyncio
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from sherlock.conformance import LoopbackModel
from sherlock.errors import VerifierError
from sherlock.registry import make_verifier
from sherlock.verifier import Subject, Verdict, VerifierFailure, run_verifier
from sherlock_verifiers.checks import equation, equation_of, equations, problems

SYSTEM = {"role": "system", "content": "Add up the two prices."}
QUESTION = {"role": "user", "content": "The lamp costs 6 dollars and the rug costs 5 dollars."}


def judged(spec, text, *, answers=(), server=None, **changes):
    """The verdict, and what the model was asked; `answers` are what it says, in turn."""
    left = list(answers)

    def answer(request):
        return left.pop(0) if left else "nothing left to say"

    with LoopbackModel(server or answer) as model:
        output = changes.pop("output", {"total": text})
        subject = Subject(
            **{
                "node": "sum",
                "prompt": [SYSTEM, QUESTION],
                "output": output,
                "model": "m",
                "base_url": model.base_url,
                **changes,
            }
        )
        found = asyncio.run(run_verifier(make_verifier(spec), subject, timeout_s=20))
    return found, model.requests


# Equations


@pytest.mark.parametrize(
    ("text", "sides", "holds"),
    [
        ("6 + 5 = 11", [["6 + 5", "11"]], True),
        ("6 + 5 = 12", [["6 + 5", "12"]], False),
        ("1. 6 + 5 = 11\n2. 3 * 4 = 12", [["6 + 5", "11"], ["3 * 4", "12"]], True),
        ("(6+5) * 2 = 22 and 2^3 = 9.", [["(6+5) * 2", "22"], ["2^3", "9"]], False),
        ("So the total is 6 + 5 = $11.", [["6 + 5", "11"]], True),
        ("$1,200 - 200 = 1000 = 10^3", [["1,200 - 200", "1000", "10^3"]], True),
        ("1.05 + 1 = 2.05", [["1.05 + 1", "2.05"]], True),
        ("007 + 1 = 8", [["007 + 1", "8"]], True),
        ("It is 3. (6 + 5 = 11) 4 more", [["6 + 5", "11"]], True),
        ("6+5=11 (right)", [["6+5", "11"]], True),
        ("3 \u00d7 4 = 24 \u00f7 2", [["3 \u00d7 4", "24 \u00f7 2"]], True),
        ("0.1 + 0.2 = 0.3", [["0.1 + 0.2", "0.3"]], True),
        ("9**9**9**9 = 1", [["9**9**9**9", "1"]], False),
        ("1/0 = 1/0", [["1/0", "1/0"]], False),
        ("x = 5", [], False),
        ("a == b", [], False),
        ("hello", [], False),
        ("", [], False),
    ],
)
def test_equations(text, sides, holds):
    assert equations(text) == sides
    assert equation(text) is holds


@given(st.integers(-999, 999), st.integers(0, 999), st.integers(-3, 3), st.text("abc .,:\n", max_size=10))
def test_a_sum_holds_when_it_is_right(a, b, error, around):
    assert equation(f"{around}\n{a} + {b} = {a + b + error}\n{around}") is (error == 0)


@given(st.text(max_size=60))
def test_any_text_can_be_checked(text):
    assert equation(text) in (True, False)
    assert equation(f"{text}={text}") in (True, False)


def test_long_texts_are_checked_in_no_time():
    assert not equation("1+" * 100_000)
    assert not equation("(" * 100_000 + "=" + ")" * 100_000)


def test_an_equation_must_use_the_numbers_of_the_question():
    question = QUESTION["content"]
    assert equation_of("6 + 5 = 11", question)
    assert not equation_of("6 + 6 = 12", question)
    assert not equation_of("7 + 4 = 11", question)
    assert not equation_of("11 = 11", question)


# check


def test_a_check_that_holds_asks_nobody():
    found, requests = judged({"use": "check", "equation": "question", "resamples": 5}, "6 + 5 = 11")
    assert (found.accepted, found.score, requests) == (True, 1.0, [])


def test_resamples_are_tried_until_one_passes():
    answers = ["6 + 5 = 13", "6 + 6 = 12", " 6 + 5 = 11", "6 + 5 = 11"]
    found, requests = judged({"use": "check", "equation": "question", "resamples": 8}, "6 + 5 = 12", answers=answers)
    assert (found.accepted, found.corrected) == (False, "6 + 5 = 11")
    assert "resample 3 passes" in found.rationale
    assert len(requests) == 3
    assert found.usage.calls == 3
    assert len({request["seed"] for request in requests}) == 3


def test_no_resample_passes():
    found, requests = judged({"use": "check", "regex": r"\d+", "resamples": 2}, "x", answers=["a", "b"])
    assert (found.accepted, found.corrected, len(requests)) == (False, None, 2)
    assert "none of 2 resamples passes" in found.rationale


async def _later(text):
    await asyncio.sleep(0)
    return text == "11", "11"


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        (lambda text: text == "11", "11", (True, None)),
        (lambda text: text == "11", "12", (False, None)),
        (lambda text: (False, "11"), "12", (False, "11")),
        (lambda text: (True, None), "12", (True, None)),
        (lambda text, subject: subject.inputs["lamp"] == 6, "12", (True, None)),
        (lambda text, subject=None: subject.node == "sum", "12", (True, None)),
        (lambda text, limit=3: len(text) < limit, "12", (True, None)),
        (lambda text: Verdict(False, corrected={"total": "13"}), "12", (False, {"total": "13"})),
        (_later, "12", (False, "11")),
        (str.isdigit, "12", (True, None)),
        ("builtins:str.isdigit", "x", (False, None)),
    ],
)
def test_functions_of_every_kind(function, text, expected):
    found, _ = judged({"use": "check", "function": function}, text, inputs={"lamp": 6})
    assert (found.accepted, found.corrected) == expected


@pytest.mark.parametrize("returned", [None, 1, "yes", (1, "x"), (True, "x"), [True]])
def test_functions_that_return_rubbish_fail(returned):
    found, _ = judged({"use": "check", "function": lambda text: returned}, "12")
    assert isinstance(found, VerifierFailure)
    assert found.kind == "raised"


def test_numpys_bool_is_a_bool():
    import numpy as np

    found, _ = judged({"use": "check", "function": lambda text: np.array([1, 2]).max() > 1}, "12")
    assert found.accepted


def test_a_function_that_hangs_is_a_time_out():
    release = threading.Event()

    async def judge():
        verifier = make_verifier({"use": "check", "function": lambda text: release.wait(10)})
        found = await run_verifier(verifier, Subject(text="x"), timeout_s=0.1)
        release.set()
        return found

    assert asyncio.run(judge()).kind == "timed_out"


def test_all_tests_must_pass():
    spec = {"use": "check", "regex": r".{1,12}", "equation": True, "function": lambda text: text.startswith("6")}
    assert judged(spec, "6 + 5 = 11")[0].accepted
    for text in ("6 + 5 = 12", "5 + 6 = 11", "6 + 5 = 11 and so on"):
        assert not judged(spec, text)[0].accepted


# schema


class Order(BaseModel):
    name: str
    count: int


ORDER = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "count": {"type": "integer", "minimum": 1}},
    "required": ["name", "count"],
}


@pytest.mark.parametrize("schema", [ORDER, Order])
def test_json_that_fits_needs_no_model(schema):
    found, requests = judged({"use": "schema", "schema": schema}, "", output={"order": {"name": "Anna", "count": 2}})
    assert (found.accepted, requests) == (True, [])


@pytest.mark.parametrize("schema", [ORDER, Order])
def test_a_repair_that_fits_replaces_the_output(schema):
    answers = ['Here: ```json\n{"name": "Anna", "count": 2}\n```']
    found, requests = judged({"use": "schema", "schema": schema}, '{"name": "Anna", "count": "two"}', answers=answers)
    assert (found.accepted, json.loads(found.corrected)) == (False, {"name": "Anna", "count": 2})
    assert "response_format" in requests[0]
    assert "count" in requests[0]["messages"][-1]["content"]


def test_repairs_are_bounded_and_bounds_are_checked():
    spec = {"use": "schema", "schema": ORDER, "repairs": 2}
    found, requests = judged(spec, "no", answers=['{"name": "Anna", "count": 0}', "still no"])
    assert (found.accepted, found.corrected, len(requests)) == (False, None, 2)
    found, requests = judged({**spec, "repairs": 0}, "no")
    assert (found.accepted, len(requests)) == (False, 0)


def test_what_is_wrong_is_said_for_both_kinds_of_schema():
    assert problems('{"name": 3}', ORDER) == ["$: 'count' is a required property", "$.name: 3 is not of type 'string'"]
    assert len(problems('{"name": 3}', Order)) == 2
    assert "not JSON" in problems("{", ORDER)[0]


# resolve


def test_the_same_answer_is_accepted_in_other_words():
    found, requests = judged("resolve", "6 + 5 = 11", answers=[" 6 + 5 = 11.\n"])
    assert (found.accepted, found.score, len(requests)) == (True, 1.0, 1)
    asked = requests[0]["messages"]
    assert asked[0]["content"].startswith("Add up the two prices.\nTake care")
    assert asked[1:] == [QUESTION]
    assert requests[0]["temperature"] == 0


def test_another_answer_replaces_the_output():
    found, requests = judged(
        "resolve", "6 + 5 = 12", answers=["6 + 5 = 11"], settings={"stop": ["\n"], "max_tokens": 8}
    )
    assert (found.accepted, found.corrected) == (False, "6 + 5 = 11")
    assert (requests[0]["stop"], requests[0]["max_tokens"]) == (["\n"], 8)


def test_json_is_compared_by_value_and_cast_back():
    output = {"order": {"name": "Anna", "items": ["rug"]}}
    same, _ = judged("resolve", "", output=output, answers=['{"items": ["rug"], "name": "Anna"}'])
    assert same.accepted
    other, _ = judged("resolve", "", output=output, answers=['{"items": ["lamp"], "name": "Anna"}'])
    assert json.loads(other.corrected)["items"] == ["lamp"]
    rubbish, _ = judged("resolve", "", output=output, answers=["I cannot tell."])
    assert (rubbish.kind, rubbish.usage.calls) == ("uncastable", 1)


def test_a_better_prompt_with_values_of_the_state():
    prompt = [
        {"role": "user", "content": "The tray costs {{inputs.tray}}. {{input}}"},
        {"role": "assistant", "content": "{{ task }}"},
        {"role": "user", "content": "{{input}}"},
    ]
    inputs = {"tray": [1, "{{input}}"]}
    spec = {"use": "resolve", "prompt": prompt, "stop": ["."], "model": "other", "extract": r"= (\d+)"}
    found, requests = judged(spec, "11", answers=["6 + 5 = 11"], inputs=inputs)
    assert found.accepted
    said = [message["content"] for message in requests[0]["messages"]]
    assert said == [
        'The tray costs [1, "{{input}}"]. ' + QUESTION["content"],
        "Add up the two prices.",
        QUESTION["content"],
    ]
    assert (requests[0]["model"], requests[0]["stop"]) == ("other", ["."])


def test_a_prompt_with_an_unknown_placeholder_fails_and_names_the_known():
    prompt = [{"role": "user", "content": "{{inputs.tray}}"}]
    found, requests = judged({"use": "resolve", "prompt": prompt}, "11", inputs={"lamp": 1})
    assert (found.kind, requests) == ("raised", [])
    assert "{{inputs.lamp}}" in found.message


def test_what_the_model_said_is_cast_as_the_node_does():
    output = {"order": {"items": ["lamp", "rug"]}}
    spec = {
        "use": "resolve",
        "extract": r"(\[.*\])",
        "cast": lambda text: json.dumps({"items": sorted(json.loads(text))}),
    }
    same, _ = judged(spec, "", output=output, answers=['They are ["rug", "lamp"].'])
    assert same.accepted
    other, _ = judged(spec, "", output=output, answers=['["rug", "jug"]'])
    assert json.loads(other.corrected) == {"items": ["jug", "rug"]}
    assert judged(spec, "", output=output, answers=["They are [none]."])[0].kind == "raised"
    no_text, _ = judged({"use": "resolve", "cast": len}, "11", answers=["11"])
    assert (no_text.kind, "cast returned 2" in no_text.message) == ("raised", True)
    with pytest.raises(VerifierError, match="name a function"):
        make_verifier({"use": "resolve", "cast": "os:sep"})


def test_answers_that_cannot_be_read_are_failures():
    assert judged("resolve", "11", answers=["  \n"])[0].kind == "unreadable"
    assert judged({"use": "resolve", "extract": r"= (\d+)"}, "11", answers=["eleven"])[0].kind == "unreadable"
    assert judged("resolve", "11", prompt=())[0].kind == "raised"


def test_the_nodes_own_prompt_byte_for_byte():
    _, requests = judged({"use": "resolve", "prefix": "node", "model": "other"}, "11", answers=["11"])
    assert requests[0]["messages"] == [SYSTEM, QUESTION]
