"""Verifiers that ask a model for a judgement: reflection, refining, judge, debate; their prompts and layouts."""

import asyncio
import itertools
import json
from importlib.resources import files

import pytest

from sherlock.conformance import LoopbackModel, loopback
from sherlock.errors import VerifierError
from sherlock.registry import make_verifier
from sherlock.verifier import Subject, VerifierFailure, run_verifier
from sherlock_verifiers.prompt_files import prompt_template
from sherlock_verifiers.quoting import quoted

PROMPT = [
    {"role": "system", "content": "Name the capital. One word."},
    {"role": "user", "content": "Which city is the capital of Norway?"},
]


def judged(spec, text, script, **changes):
    """The verdict, and what was asked; `script` is a list of answers or a function of the request."""
    left = list(script) if not callable(script) else []

    def answer(request):
        said = script(request) if callable(script) else left.pop(0)
        return said if isinstance(said, str) else json.dumps(said)

    with LoopbackModel(answer) as model:
        given = {"node": "capital", "prompt": PROMPT, "text": text, "model": "m", "base_url": model.base_url}
        subject = Subject(**{**given, **changes})
        found = asyncio.run(run_verifier(make_verifier(spec), subject, timeout_s=20))
    assert found.usage.calls == len(model.requests)
    return found, model.requests


def free(request):
    """Whether the request asks for an answer in plain words, as a node or a second executor does."""
    return "response_format" not in request


# self-reflection


@pytest.mark.parametrize(("verdict", "score"), [("PASS", 0.75), ("FAIL", 0.25)])
def test_reflection_gives_a_verdict_and_corrects_nothing(verdict, score):
    said = {"reason": "I looked.", "verdict": verdict, "confidence": 0.75}
    found, _ = judged("self-reflection", "Oslo", [said])
    assert (found.accepted, found.score, found.corrected) == (verdict == "PASS", score, None)
    assert found.rationale == "I looked."


def test_reflection_ends_when_it_repeats_itself_and_sees_what_it_said():
    fails = {"reason": "first", "verdict": "FAIL", "confidence": 1}
    passes = {"reason": "second", "verdict": "PASS", "confidence": 0.5}
    found, requests = judged({"use": "self-reflection", "rounds": 5}, "Oslo", [fails, passes, passes, fails])
    assert (found.accepted, found.score, len(requests)) == (True, 0.5, 3)
    assert "FAIL: first" in requests[1]["messages"][-1]["content"]


def test_one_repair_and_no_more():
    good = {"reason": "x", "verdict": "PASS", "confidence": 1}
    found, requests = judged("self-reflection", "Oslo", ["It seems fine to me.", good])
    assert found.accepted
    repair = requests[1]["messages"]
    assert [message["role"] for message in repair[-2:]] == ["assistant", "user"]
    assert repair[-2]["content"] == "It seems fine to me."
    assert '"verdict": "PASS or FAIL"' in repair[-1]["content"]
    found, requests = judged("self-reflection", "Oslo", ["no", "no", good])
    assert isinstance(found, VerifierFailure)
    assert (found.kind, found.usage.calls, len(requests)) == ("unreadable", 2, 2)


@pytest.mark.parametrize(
    "said",
    [
        '{"reason": "x", "verdict": "pass", "confidence": 1}',
        '{"reason": "x", "verdict": "PASS"}',
        '{"verdict": true}',
        '[{"verdict": "PASS"}]',
        '{"reason": "x", "verdict": "PASS", "confidence": 1} {"reason": "x", "verdict": "FAIL", "confidence": 1}',
        '"PASS"',
        "",
    ],
)
def test_what_is_not_exactly_an_answer_is_none(said):
    assert judged("self-reflection", "Oslo", [said, said])[0].kind == "unreadable"


def test_fences_and_words_round_the_answer_do_not_count():
    said = '{"reason": "{", "verdict": "PASS", "confidence": 2}'
    found, _ = judged("self-reflection", "Oslo", [f"Sure:\n```json\n{said}\n```\nAs I said: {said}"])
    assert (found.accepted, found.score) == (True, 1.0)


class Refusing(loopback._Handler):
    """A server that does not know schemas."""

    refused = 0

    def _answer(self, request, model):
        if "response_format" not in request:
            super()._answer(request, model)
            return
        Refusing.refused += 1
        body = b'{"error": {"message": "Unknown parameter: response_format", "param": null}}'
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_a_server_that_knows_no_schemas_is_asked_in_words():
    with LoopbackModel(lambda _: '{"reason": "x", "verdict": "PASS", "confidence": 1}') as model:
        model._server.RequestHandlerClass = Refusing
        subject = Subject("n", prompt=PROMPT, text="Oslo", model="m", base_url=model.base_url)
        found = asyncio.run(run_verifier(make_verifier("self-reflection"), subject))
    assert found.accepted
    assert Refusing.refused == 1


# self-refine, advanced-refine


def refined(problems, verdict, answer):
    return {"problems": problems, "verdict": verdict, "answer": answer}


def test_refining_until_content():
    script = [refined("No, Oslo.", "FAIL", "Bergen"), refined("No.", "FAIL", "Oslo"), refined("none", "PASS", "")]
    found, requests = judged("self-refine", "Rome", script)
    assert (found.accepted, found.corrected, found.score) == (False, "Oslo", 0.0)
    assert found.rationale == "No, Oslo."
    assert '"Bergen"' in requests[1]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("script", "score"),
    [
        ([refined("none", "PASS", "")], 1.0),
        ([refined("style", "FAIL", "oslo.")], 0.5),
        ([refined("a", "FAIL", "Rome"), refined("b", "FAIL", "Oslo"), refined("none", "PASS", "")], 1.0),
    ],
)
def test_refining_that_leaves_the_answer_as_it_was(script, score):
    found, _ = judged("self-refine", "Oslo", script)
    assert (found.accepted, found.score) == (True, score)


def test_refining_is_bounded_and_says_so():
    script = [refined("bad", "FAIL", f"City {k}") for k in range(9)]
    found, requests = judged({"use": "self-refine", "rounds": 4}, "Oslo", script)
    assert (found.corrected, found.score, len(requests)) == ("City 3", 0.5, 4)
    assert "not content after 4 rounds" in found.rationale


def test_refining_without_a_new_answer_is_unreadable():
    assert judged("self-refine", "Oslo", [refined("bad", "FAIL", " ")])[0].kind == "unreadable"


def test_advanced_refining_asks_the_larger_model():
    _, requests = judged({"use": "advanced-refine", "model": "large"}, "Oslo", [refined("none", "PASS", "")])
    assert requests[0]["model"] == "large"


# llm-judge


def judge(preferred=None, better=None, second="Bergen"):
    """A judge that prefers a text wherever it stands, or always the same place."""

    def script(request):
        if free(request):
            return second
        if better:
            return {"reason": "place", "better": better}
        shown = request["messages"][-1]["content"]
        return {
            "reason": "text",
            "better": "A" if shown.index(json.dumps(preferred)) < shown.index("Answer B") else "B",
        }

    return script


def test_the_judge_sees_both_orders():
    found, requests = judged("llm-judge", "Oslo", judge("Oslo"))
    assert (found.accepted, found.score, len(requests)) == (True, 0.9, 3)
    shown = [request["messages"][-1]["content"] for request in requests[1:]]
    assert sorted(text.index('"Oslo"') < text.index('"Bergen"') for text in shown) == [False, True]


def test_the_judge_prefers_the_second_answer_in_both_orders():
    found, _ = judged("llm-judge", "Rome", judge("Oslo", second="Oslo"))
    assert (found.accepted, found.corrected, found.score) == (False, "Oslo", 0.1)


@pytest.mark.parametrize("better", ["A", "B"])
def test_a_judge_who_goes_by_the_place_is_not_confident(better):
    found, _ = judged("llm-judge", "Rome", judge(better=better))
    assert (found.accepted, found.score) == (True, 0.5)
    assert "orders disagree" in found.rationale
    found, _ = judged({"use": "llm-judge", "on_disagreement": "reject"}, "Rome", judge(better=better))
    assert (found.accepted, found.score, found.corrected) == (False, 0.5, "Bergen")


def test_ties_keep_the_output():
    found, _ = judged("llm-judge", "Rome", judge(better="tie"))
    assert (found.accepted, found.score) == (True, 0.7)


def test_equal_answers_are_not_judged():
    found, requests = judged("llm-judge", "Oslo", judge(second=" oslo."))
    assert (found.accepted, len(requests)) == (True, 1)


def test_executor_and_judge_may_be_other_models():
    spec = {"use": "llm-judge", "model": "second", "judge_model": "third"}
    _, requests = judged(spec, "Oslo", judge("Oslo"), settings={"stop": ["\n"]})
    assert [request["model"] for request in requests] == ["second", "third", "third"]
    assert requests[0]["messages"] == PROMPT
    assert requests[0]["stop"] == ["\n"]


@pytest.mark.parametrize(("marks", "accepted"), [((3, 9), False), ((3, 4), True), ((9, 3), True)])
def test_marks_by_a_rubric(marks, accepted):
    def script(request):
        if free(request):
            return "Bergen"
        shown = request["messages"][-1]["content"]
        assert "Is it the capital?" in shown
        own, second = marks
        own_first = shown.index('"Rome"') < shown.index('"Bergen"')
        return {"reason": "r", "mark_a": own if own_first else second, "mark_b": second if own_first else own}

    found, requests = judged({"use": "llm-judge", "rubric": "Is it the capital?"}, "Rome", script)
    assert (found.accepted, len(requests)) == (accepted, 3)


def test_a_node_with_effects_needs_another_executor():
    found, requests = judged("llm-judge", "Oslo", judge("Oslo"), effects="irreversible")
    assert (found.kind, requests) == ("raised", [])
    assert "has effects" in found.message
    assert judged({"use": "llm-judge", "model": "o"}, "Oslo", judge("Oslo"), effects="irreversible")[0].accepted


# debate


def debating(positions, second="Bergen", choice="1"):
    """Debaters who all take the positions of each round in turn."""
    turns = iter(positions)

    def script(request):
        if free(request):
            return second
        if "choice" in request["response_format"]["json_schema"]["schema"]["properties"]:
            return {"reason": "the judge", "choice": choice}
        return {"argument": "because", "answer": next(turns)}

    return script


def test_early_agreement_ends_a_debate():
    found, requests = judged("debate", "Oslo", debating([], second="oslo"))
    assert (found.accepted, found.score, len(requests)) == (True, 1.0, 1)
    found, requests = judged({"use": "debate", "rounds": 5}, "Rome", debating(["Oslo", "Oslo"]))
    assert (found.accepted, found.corrected, len(requests)) == (False, "Oslo", 3)
    assert "agreed after 1 rounds: because" in found.rationale


def test_a_vote_ends_a_debate_and_a_tie_keeps_the_output():
    found, _ = judged({"use": "debate", "debaters": 3, "rounds": 1}, "Rome", debating(["Oslo", "Oslo", "Rome"]))
    assert (found.accepted, found.corrected) == (False, "Oslo")
    assert "2 of 3" in found.rationale
    found, requests = judged("debate", "Rome", debating(["Oslo", "Rome"] * 2))
    assert (found.accepted, found.score, len(requests)) == (True, 0.5, 5)
    assert "tied" in found.rationale


def test_a_judge_decides_between_the_answers_that_are_left():
    answers = {"Rome": "Rome", "Bergen": "Oslo"}

    def script(request):
        if free(request):
            return "Bergen"
        shown = request["messages"][-1]["content"]
        if request["model"] == "judge":
            return {"reason": "it is", "choice": "1" if '"1. Oslo' in shown else "2"}
        mine = shown[shown.index("Your answer so far") : shown.index("What the others say")]
        return {"argument": "a", "answer": next(after for before, after in answers.items() if before in mine)}

    spec = {"use": "debate", "end": "judge", "judge_model": "judge", "rounds": 1}
    found, requests = judged(spec, "Rome", script)
    assert (found.accepted, found.corrected, len(requests)) == (False, "Oslo", 4)
    assert "judged (it is)" in found.rationale


def test_debaters_by_model_see_the_others():
    found, requests = judged({"use": "debate", "models": [None, "b", "c"], "rounds": 1}, "Rome", debating(["Oslo"] * 3))
    assert sorted(request["model"] for request in requests) == ["b", "b", "c", "c", "m"]
    [mine] = [request for request in requests if not free(request) and request["model"] == "m"]
    assert mine["messages"][-1]["content"].count("Bergen") == 2
    assert found.corrected == "Oslo"


# Prompts and layouts


def test_every_shipped_prompt_is_read_and_versioned():
    names = [path.name for path in (files("sherlock_verifiers") / "prompts").iterdir()]
    assert names
    for name in names:
        assert name.endswith(".v1.md")
        assert prompt_template(name.removesuffix(".v1.md")).turns


def test_a_prompt_file_of_ones_own(tmp_path):
    file = tmp_path / "mine.md"
    file.write_text("A note.\n# user\nIs {{answer}} a city? {{form}}\n# assistant\nno\n# user\n{{answer}}?\n")
    said = {"reason": "r", "verdict": "PASS", "confidence": 1}
    found, requests = judged({"use": "self-reflection", "prompt_file": str(file)}, "# user\n{{form}}", [said])
    assert found.accepted
    asked = requests[0]["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "user"]
    assert '"# user\\n{{form}}"' in asked[2]["content"]
    file.write_text("nothing here")
    with pytest.raises(VerifierError, match="no turn `# user`"):
        make_verifier({"use": "self-reflection", "prompt_file": str(file)})


def test_the_nodes_own_messages_come_first_byte_for_byte_and_are_cached():
    said = json.dumps({"reason": "r", "verdict": "PASS", "confidence": 1})
    cached = {}
    long = [
        PROMPT[0],
        *({"role": r, "content": f"turn {k} " * 20} for k in range(6) for r in ("user", "assistant")),
        PROMPT[1],
    ]
    for prefix in ("node", "verifier"):
        with LoopbackModel(lambda _: said) as model:
            subject = Subject("n", prompt=long, text="Oslo", model="m", base_url=model.base_url)

            async def judge(subject=subject, prefix=prefix):
                await subject.complete(subject.prompt)
                return await run_verifier(make_verifier({"use": "self-reflection", "prefix": prefix}), subject)

            found = asyncio.run(judge())
        assert found.accepted
        own, asked = (json.dumps(request["messages"]) for request in model.requests)
        assert asked.startswith(own[:-1]) == (prefix == "node")
        roles = [message["role"] for message in model.requests[1]["messages"]]
        assert all(a != b for a, b in itertools.pairwise(roles))
        cached[prefix] = found.usage.tokens_cached
    assert cached["node"] > 200 > cached["verifier"]


@pytest.mark.parametrize("text", ["a\nb", 'he said "x"', "<|im_end|></s>[INST]<b>", "\u2028\x85", "\ud800", "<<end>>"])
def test_quoted_text_is_one_line_of_json(text):
    first, line, last = quoted("answer", text, 3).split("\n")
    assert json.loads(line) == text
    assert len(line.splitlines()) == 1
    assert not any(token in line for token in ("<|", "</s>", "[INST]"))
    assert first.removeprefix("<<answer ") == last.removeprefix("<<end ")
    assert quoted("answer", text, 4) != quoted("answer", text, 3) == quoted("answer", text, 3)
