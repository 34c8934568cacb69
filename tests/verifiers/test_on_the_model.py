"""Every shipped verifier against the embedded model: base weights that follow examples, not instructions.

Judging in JSON is beyond it, so that a failure to read it is allowed; `resolve` and `check` must really work.
"""

import asyncio

import pytest

from sherlock.errors import SherlockError
from sherlock.registry import make_verifier, verifiers
from sherlock.verifier import Subject, Verdict, VerifierFailure, run_verifier

pytest_plugins = ("model_fixture",)
pytestmark = pytest.mark.model

SUMS = [("lamp", 5, "rug", 7), ("clock", 7, "vase", 4), ("chair", 3, "kite", 3), ("tray", 2, "kettle", 6)]
ASKED = [("towel", 4, "drum", 2), ("mirror", 3, "broom", 5), ("basket", 6, "bench", 2), ("cup", 5, "desk", 3)]
VANS = [
    ("Parcels to Oslo go in a red van.", "red"),
    ("Letters to Rome go in a green bag. Parcels to Rome go in a blue van.", "blue"),
    ("The white van takes the parcels to Madrid.", "white"),
    ("Parcels for Lisbon travel in the green van. Letters to Lisbon go in a white bag.", "green"),
]


def question(first, price, second, other):
    return f"The {first} costs {price} dollars and the {second} costs {other} dollars."


def turns(system, examples, asked):
    said = [{"role": "system", "content": system}]
    for each, answer in examples:
        said += [{"role": "user", "content": each}, {"role": "assistant", "content": answer}]
    return [*said, {"role": "user", "content": asked}]


def sum_subject(item, text):
    examples = [(question(*each), f"{each[1]} + {each[3]} = {each[1] + each[3]}") for each in SUMS]
    prompt = turns("Add up the two prices.", examples, question(*item))
    settings = {"stop": ["\n"], "max_tokens": 12}
    return Subject("subtotal", prompt=prompt, output={"goods": text}, model="local", settings=settings, seed=3)


def van_subject(sheet, text):
    prompt = turns("Say the colour of the van that takes the parcels.", VANS, sheet)
    settings = {"stop": ["\n"], "max_tokens": 4}
    return Subject("shipping", prompt=prompt, output={"van": text}, model="local", settings=settings, seed=3)


@pytest.fixture(autouse=True)
def served(local_model, monkeypatch):
    monkeypatch.setenv("SHERLOCK_LOCAL_URL", local_model.base_url)


def judged(spec, subject):
    return asyncio.run(run_verifier(make_verifier(spec), subject, timeout_s=120))


SHORT = {"max_tokens": 24}
SPECS = {
    "self-reflection": {"max_tokens": 96, "prefix": "node"},
    "self-refine": {**SHORT, "rounds": 1},
    "advanced-refine": {**SHORT, "rounds": 1, "model": "local"},
    "self-consistency": {"n": 3},
    "llm-judge": SHORT,
    "debate": {**SHORT, "rounds": 1},
    "resolve": {},
    "check": {"equation": "question", "resamples": 4},
    "schema": {
        **SHORT,
        "schema": {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]},
    },
    "cascade": {"verifiers": [{"use": "self-reflection", **SHORT}, "resolve"]},
    "vote": {"verifiers": ["resolve", {"use": "check", "equation": True}]},
}


def test_every_shipped_verifier_is_here():
    assert set(SPECS) <= set(verifiers())
    assert {n for n, info in verifiers().items() if info.package == "sherlock-langgraph"} == set(SPECS)


@pytest.mark.parametrize("name", SPECS)
def test_it_runs(name):
    subject = sum_subject(ASKED[0], "4 + 2 = 7")
    found = judged({"use": name, **SPECS[name]}, subject)
    assert found.usage == subject.usage
    assert found.usage.calls > 0
    assert found.usage.tokens_in > 0
    if isinstance(found, VerifierFailure):
        assert found.kind == "unreadable" or isinstance(found.error, SherlockError), found.message
    if name in ("resolve", "check", "self-consistency", "vote"):
        assert isinstance(found, Verdict), found


def test_resolve_finds_wrong_answers_and_leaves_right_ones():
    sheets = [
        ("Parcels to Paris go in a white van.", "white", "red"),
        ("The blue van takes the parcels to Vienna.", "blue", "green"),
        ("Parcels for Berlin travel in the red van.", "red", "white"),
    ]
    caught = [judged("resolve", van_subject(sheet, wrong)) for sheet, _, wrong in sheets]
    kept = [judged("resolve", van_subject(sheet, right)) for sheet, right, _ in sheets]
    assert sum(found.corrected == right for found, (_, right, _) in zip(caught, sheets, strict=True)) >= 2
    assert sum(found.accepted for found in kept) >= 2


def test_check_with_resamples_puts_sums_right():
    spec = {"use": "check", "equation": "question", "resamples": 8}
    for item in ASKED:
        one, other = item[1], item[3]
        found = judged(spec, sum_subject(item, f"{one} + {other} = {one + other + 1}"))
        assert found.corrected in (f"{one} + {other} = {one + other}", f"{other} + {one} = {one + other}")
        assert judged(spec, sum_subject(item, f"{one} + {other} = {one + other}")).accepted


def test_the_nodes_own_prompt_is_read_from_the_servers_cache():
    subject = sum_subject(ASKED[1], "3 + 5 = 8")
    asyncio.run(subject.complete(subject.prompt, stop=["\n"], max_tokens=4))
    found = judged({"use": "resolve", "prefix": "node"}, subject)
    assert found.usage.tokens_cached > 0.9 * found.usage.tokens_in


def test_a_cancelled_verifier_frees_the_model():
    async def seconds():
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(run_verifier(make_verifier("self-refine"), sum_subject(ASKED[2], "6 + 2 = 9")))
        await asyncio.sleep(1.5)
        started = loop.time()
        task.cancel()
        await asyncio.wait([task])
        assert task.done()
        return loop.time() - started

    assert asyncio.run(seconds()) < 1
