"""Every fault on every kind of content: it changes the value or does not fit, and a seed settles which."""

import dataclasses
import enum
import json
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langgraph.types import Command
from pydantic import BaseModel

from sherlock.equivalence import json_equal, matches_reference, normalise
from sherlock.errors import InjectionError
from sherlock.faults import (
    KINDS,
    PAPER,
    TABLE_1,
    Fault,
    FaultContext,
    Raw,
    check_faults,
    corrupt_update,
    draw,
    is_change,
    plausible,
)
from sherlock.lens import read_text, read_value
from sherlock.values import encode

BY_NAME = {fault.name: fault for fault in PAPER}
OUTPUT = [fault for fault in PAPER if fault.kind == "output"]
CALL = {"name": "lookup", "args": {"city": "Paris", "n": 3}, "id": "abc", "type": "tool_call"}


class Order(BaseModel):
    customer: str
    total: int
    paid: bool = False


@dataclasses.dataclass
class Parcel:
    city: str
    weight: float


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


UPDATES = {
    "prose": {"reply": "Dear Ann, the red van comes on Monday. It is not late, and costs 12 dollars."},
    "label": {"van": "red"},
    "answer": {"ok": "yes"},
    "number text": {"total": "$1,250.50"},
    "number": {"total": 42},
    "float": {"total": 2.5},
    "bool": {"ok": True},
    "equation": {"sum": "16 + 25 = 41"},
    "json text": {"order": '{"name": "Ann Lee", "items": ["tea", "ale"], "n": 12, "ok": true}'},
    "dict": {"order": {"name": "Ann Lee", "items": ["tea", "ale"], "n": 12, "ok": True}},
    "list": {"items": ["tea", "ale", "red wine"]},
    "model": {"order": Order(customer="Ann Lee", total=12)},
    "dataclass": {"parcel": Parcel("Rome", 1.5)},
    "enum": {"van": Colour.RED},
    "code": {"code": "def f(x):\n    if x == 10 and x != 3:\n        return True\n    return x"},
    "message": {"messages": [AIMessage("The blue van goes to Rome on Friday.", id="1")]},
    "tool call": {"messages": [AIMessage("", tool_calls=[CALL], id="1")]},
    "several": {"van": "red", "total": 12, "order": {"name": "Ann"}},
    "command": Command(goto="next", update={"reply": "It is ready: 3 boxes."}),
    "several in a command": Command(goto="next", update={"van": "red", "total": 12}),
    "state": Order(customer="Ann Lee", total=12),
    "empty": {"reply": ""},
    "empty list": {"items": []},
    "none": None,
    "goto": Command(goto="next"),
}
OTHERS = ["The green van goes to Oslo on Tuesday.", "7", "blue", '{"customer": "Bob", "total": 3, "paid": true}']


def contexts(update):
    return FaultContext(raw=update, others=OTHERS, prompts=["Sort the list."], history=["a", "b", "c"])


@pytest.mark.parametrize("fault", OUTPUT, ids=lambda fault: fault.name)
@pytest.mark.parametrize("update", UPDATES.values(), ids=UPDATES)
def test_an_output_fault_changes_what_is_written_or_does_not_fit(fault, update):
    before = read_text(update)
    image = repr(update)
    for seed in range(10):
        corrupted = fault.corrupt(before, random.Random(seed), contexts(update))
        assert corrupted == fault.corrupt(before, random.Random(seed), contexts(update))
        if corrupted is None:
            continue
        written = corrupt_update(update, corrupted, "n")
        if isinstance(corrupted, Raw):
            assert not json_equal(encode(read_value(written)), encode(read_value(update)))
        else:
            assert not matches_reference(read_text(written), before)
        if isinstance(update, Command):
            assert written.goto == "next"
    assert repr(update) == image


FITS = {
    "prose": "off_by_one digits_swapped sign_flipped unit_changed wrong_entity negated contradictory truncated",
    "label": "wrong_entity other_case empty error_text refused",
    "answer": "negated empty error_text refused",
    "number text": "off_by_one digits_swapped sign_flipped unit_changed",
    "number": "off_by_one digits_swapped sign_flipped unit_changed wrong_type other_case",
    "bool": "negated wrong_type",
    "equation": "off_by_one digits_swapped sign_flipped unit_changed contradictory",
    "json text": "off_by_one wrong_entity negated malformed_json missing_field wrong_type empty truncated error_text",
    "dict": "off_by_one wrong_entity negated malformed_json missing_field wrong_type empty truncated error_text",
    "list": "malformed_json missing_field wrong_type empty truncated refused",
    "model": "off_by_one wrong_entity negated malformed_json wrong_type other_case",
    "enum": "wrong_entity other_case",
    "code": "off_by_one negated truncated",
    "message": "wrong_entity negated contradictory truncated error_text refused",
    "tool call": "off_by_one wrong_entity malformed_json missing_field error_text refused",
    "several": "off_by_one wrong_entity malformed_json missing_field wrong_type error_text refused",
    "command": "off_by_one unit_changed contradictory error_text refused",
    "empty": "error_text refused other_case",
    "none": "",
    "goto": "",
}


@pytest.mark.parametrize("shape", FITS)
def test_faults_that_fit_the_content(shape):
    update = UPDATES[shape]
    text, ctx = read_text(update), contexts(update)
    fitting = {fault.name for fault in OUTPUT if fault.corrupt(text, random.Random(0), ctx) is not None}
    wanted = set(FITS[shape].split())
    assert wanted <= fitting
    if not wanted:
        assert not fitting


@pytest.mark.parametrize(
    ("name", "update", "unfit"),
    [
        ("off_by_one", {"r": "no number here"}, True),
        ("malformed_json", {"r": "no json here"}, True),
        ("missing_field", {"r": "no json here"}, True),
        ("wrong_type", {"r": "no json here"}, True),
        ("truncated", {"n": 12}, True),
        ("error_text", {"n": 12}, True),
        ("digits_swapped", {"n": 7}, True),
        ("digits_swapped", {"n": 77}, True),
        ("sign_flipped", {"n": 0}, True),
        ("other_case", {"r": "THE GREEN VAN GOES TO OSLO ON TUESDAY"}, False),
    ],
)
def test_what_does_not_fit(name, update, unfit):
    corrupted = BY_NAME[name].corrupt(read_text(update), random.Random(0), contexts(update))
    assert (corrupted is None) == unfit


def test_numbers_are_altered_in_place():
    def variants(name, text):
        fault = BY_NAME[name]
        return {fault.corrupt(text, random.Random(seed), FaultContext()) for seed in range(40)}

    assert variants("off_by_one", "6 + 5 = 11") == {
        "5 + 5 = 11", "7 + 5 = 11", "6 + 4 = 11", "6 + 6 = 11", "6 + 5 = 10", "6 + 5 = 12",
    }  # fmt: skip
    assert variants("off_by_one", "at 1,999 m") == {"at 2,000 m", "at 1,998 m"}
    assert variants("off_by_one", "007") == {"008", "006"}
    assert variants("off_by_one", "0") == {"1"}
    assert variants("digits_swapped", "120") == {"210", "102"}
    assert variants("digits_swapped", "10") == {None}
    assert variants("sign_flipped", "-3 or $5") == {"3 or $5", "-3 or -$5"}
    assert variants("unit_changed", "5 dollars") == {"5 cents"}
    assert variants("unit_changed", "5 Kg") == {"5 G"}
    assert variants("unit_changed", "7%") == {"7 per mille"}
    assert variants("unit_changed", "7") == {"70", "700", "7000"}
    assert variants("off_by_one", "see 192.168.0.1, v2 or item7, the 2nd") == {None}


def test_entities_come_from_other_cases_then_the_text_then_a_list():
    fault = BY_NAME["wrong_entity"]
    ctx = FaultContext(others=["the green bag for Oslo"])
    assert fault.corrupt("the red van", random.Random(0), ctx) == "the green van"
    assert fault.corrupt("we went to Rome", random.Random(0), ctx) == "we went to Oslo"
    swapped = fault.corrupt("from Rome to Oslo", random.Random(0), FaultContext())
    assert swapped in ("from Oslo to Oslo", "from Rome to Rome")
    assert fault.corrupt("RED", random.Random(0), ctx) == "GREEN"
    assert fault.corrupt("Paris", random.Random(0), ctx) == "Oslo"
    assert "Monday" not in fault.corrupt("on Monday", random.Random(0), FaultContext())
    assert fault.corrupt("nothing named at all", random.Random(0), FaultContext()) is None


@pytest.mark.parametrize(
    ("text", "opposite"),
    [
        ("yes", "no"),
        ("No.", "Yes."),
        ("The review is positive.", "The review is negative."),
        ("TRUE", "FALSE"),
        ("He can't come", "He can come"),
        ("x = 1", None),
        ("It isn\u2019t late", "It is late"),
        ("I won't", "I will"),
        ("She was there", "She was not there"),
        ("The shop sells tea", "It is not the case that: The shop sells tea"),
    ],
)
def test_negation(text, opposite):
    assert BY_NAME["negated"].corrupt(text, random.Random(0), FaultContext()) == opposite


def test_malformed_json_does_not_parse():
    for seed in range(30):
        text = BY_NAME["malformed_json"].corrupt('{"a": 1, "b": "x"}', random.Random(seed), FaultContext())
        with pytest.raises(ValueError, match=r"."):
            json.loads(text)
    raw = BY_NAME["malformed_json"].corrupt('{"a": 1}', random.Random(0), FaultContext(raw={"d": {"a": 1}}))
    assert isinstance(raw, Raw)
    assert isinstance(corrupt_update({"d": {"a": 1}}, raw)["d"], str)


def test_a_wrong_type_stays_inside_its_model():
    order = Order(customer="Ann", total=12)
    for seed in range(20):
        raw = BY_NAME["wrong_type"].corrupt(
            read_text({"o": order}), random.Random(seed), FaultContext(raw={"o": order})
        )
        written = corrupt_update({"o": order}, raw)["o"]
        assert isinstance(written, Order)
        types = [type(value) for value in vars(written).values()]
        assert types != [str, int, bool]
    assert order == Order(customer="Ann", total=12)


DIRECTIVE = "You are a careful clerk. Answer only with the total, in at most 3 words. Do not explain."


def prompt_fault(name, text=DIRECTIVE, seed=0, prompts=()):
    return BY_NAME[name].corrupt(text, random.Random(seed), FaultContext(prompts=list(prompts)))


def test_prompt_faults():
    assert prompt_fault("another_task", prompts=["Sort the list."]) == "Sort the list."
    assert prompt_fault("another_task", prompts=[DIRECTIVE.upper()]) not in (None, DIRECTIVE.upper())
    assert prompt_fault("instruction_dropped") == ""
    negated = {prompt_fault("constraint_negated", seed=seed) for seed in range(40)}
    assert negated == {
        DIRECTIVE.replace("only", "not only"),
        DIRECTIVE.replace("at most", "at least"),
        DIRECTIVE.replace("Do not", "Do"),
        DIRECTIVE.replace("3 words", "30 words"),
    }
    assert prompt_fault("constraint_negated", "Say hi") is None
    swapped = prompt_fault("role_swapped")
    assert "careful clerk" not in swapped
    assert swapped.endswith(DIRECTIVE.partition(".")[2])
    assert prompt_fault("role_swapped", "Say hi").startswith("You are ")
    for fault in PAPER:
        if fault.kind == "prompt":
            assert fault.corrupt(" ", random.Random(0), FaultContext()) is None


def context_fault(name, history, seed=0):
    return BY_NAME[name].corrupt("", random.Random(seed), FaultContext(history=history))


def test_context_faults():
    history = ["one", "two", "three", "four"]
    assert context_fault("history_gone", history) == []
    halved = context_fault("history_halved", history)
    assert len(halved) == 2
    assert sorted(halved, key=history.index) == halved
    assert context_fault("nearest_kept", history) == ["four"]
    for seed in range(50):
        shuffled = context_fault("history_shuffled", history, seed)
        assert shuffled != history
        assert sorted(shuffled) == sorted(history)
    for name in ("history_gone", "history_halved", "nearest_kept", "history_shuffled"):
        assert context_fault(name, []) is None
        assert context_fault(name, [" "]) is None
    assert context_fault("history_gone", ["one"]) == []
    for name in ("history_halved", "nearest_kept", "history_shuffled"):
        assert context_fault(name, ["one"]) is None
    assert context_fault("history_shuffled", ["one", "one"]) is None
    assert context_fault("history_shuffled", ["one", "two"]) == ["two", "one"]


@given(st.lists(st.text(max_size=3), max_size=5), st.integers(0, 100))
def test_a_context_fault_only_loses_or_moves(history, seed):
    for fault in PAPER:
        if fault.kind == "context":
            new = fault.corrupt("", random.Random(seed), FaultContext(history=history))
            assert new is None or (new != history and all(new.count(part) <= history.count(part) for part in new))


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=10)
    | st.sampled_from(["red", "Ann Lee", "it is 5 kg", "yes"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=10,
)
WORDS = "the red van is not in Rome on Monday $5 6 12.50 1,234 kg yes No. \" = == True def -3 7% can't"
words = st.sampled_from(WORDS.split())
prose = st.lists(words, max_size=12).map(" ".join) | st.text(max_size=30)


@given(prose | json_values.map(json.dumps), st.lists(prose, max_size=3), st.integers(0, 1000))
def test_no_fault_gives_back_the_original_or_raises(text, others, seed):
    ctx = FaultContext(history=others, others=others, prompts=others)
    for fault in PAPER:
        corrupted = fault.corrupt(text, random.Random(seed), ctx)
        if isinstance(corrupted, str):
            if fault.kind == "prompt":
                assert normalise(corrupted) != normalise(text)
            else:
                assert not matches_reference(corrupted, text)
            assert corrupted == fault.corrupt(text, random.Random(seed), ctx)


@given(json_values, json_values, st.booleans(), st.integers(0, 1000))
def test_no_fault_leaves_an_update_as_it_is(one, two, both, seed):
    update = {"a": one, "b": two} if both else {"a": one}
    before = read_text(update)
    ctx = FaultContext(others=[read_text({"a": two})], raw=update)
    for drawn in draw(PAPER, "output", before, rng=random.Random(seed), ctx=ctx, n=len(OUTPUT)):
        written = corrupt_update(update, drawn.corrupted, "n")
        assert not json_equal(encode(read_value(written)), encode(read_value(update)))


def test_weights():
    assert sum(TABLE_1.values()) == pytest.approx(1)
    for kind in KINDS:
        assert sum(fault.weight for fault in PAPER if fault.kind == kind) == pytest.approx(1)
    assert check_faults(PAPER) == PAPER
    for fault in PAPER:
        assert fault.apply.__doc__, fault.name


def test_draws_follow_the_weights_without_replacement():
    faults = [Fault(name, "output", weight, lambda text, rng, name=name: text + name) for name, weight in
              [("a", 6.0), ("b", 3.0), ("c", 1.0)]]  # fmt: skip
    first = []
    for seed in range(2000):
        drawn = draw(faults, "output", "x y", rng=random.Random(seed), ctx=FaultContext(), n=5)
        assert sorted(d.fault.name for d in drawn) == ["a", "b", "c"]
        first.append(drawn[0].fault.name)
    assert first.count("a") / 2000 == pytest.approx(0.6, abs=0.04)
    assert first.count("b") / 2000 == pytest.approx(0.3, abs=0.04)


def test_draws_are_settled_by_the_seed_and_pass_over_what_does_not_fit():
    ctx = contexts(UPDATES["prose"])
    text = read_text(UPDATES["prose"])
    again = [draw(PAPER, "output", text, rng=random.Random(3), ctx=ctx, n=4) for _ in range(2)]
    assert again[0] == again[1]
    assert len(again[0]) == 4
    faults = [
        Fault("same", "output", 100.0, lambda text, rng: f" {text}. "),
        Fault("unfit", "output", 100.0, lambda text, rng: None),
        Fault("twin", "output", 1.0, lambda text, rng: "other"),
        Fault("other twin", "output", 1.0, lambda text, rng: "other"),
    ]
    [drawn] = draw(faults, "output", "x", rng=random.Random(0), ctx=FaultContext(), n=3)
    assert drawn.corrupted == "other"
    assert draw(faults, "prompt", "x", rng=random.Random(0), ctx=FaultContext(), n=3) == []


def test_what_one_fault_uses_of_chance_does_not_shift_the_next():
    def greedy(text, rng):
        return str([rng.random() for _ in range(text.count("x") * 100)])

    def picks(first):
        faults = [
            Fault("first", "output", 1e9, first),
            Fault("second", "output", 1.0, lambda text, rng: str(rng.random())),
        ]
        return draw(faults, "output", "x", rng=random.Random(0), ctx=FaultContext(), n=2)[1]

    assert picks(greedy).corrupted == picks(lambda text, rng: "no chance").corrupted


def test_a_fault_of_ones_own():
    def drop_greeting(text, rng, ctx):
        """The reply starts without a greeting."""
        greeting, comma, rest = text.partition(",")
        return rest.strip() if comma and greeting.startswith("Dear") else None

    mine = Fault("no_greeting", "output", 1.0, drop_greeting)
    faults = check_faults([*PAPER, mine])
    update = {"reply": "Dear Ann, your tea is here."}
    [drawn] = draw([mine], "output", read_text(update), rng=random.Random(0), ctx=FaultContext(raw=update), n=1)
    assert corrupt_update(update, drawn.corrupted, "reply") == {"reply": "your tea is here."}
    assert faults[-1] is mine


def test_how_many_arguments_apply_takes():
    ctx = FaultContext(others=["o"])
    bound = "b"

    class Method:
        def two(self, text, rng):
            return text + "2"

        def __call__(self, text, rng, ctx):
            return ctx.others[0]

    cases = [
        (lambda text, rng: text + "2", "x2"),
        (lambda text, rng, ctx: ctx.others[0], "o"),
        (lambda text, rng, ctx=None: ctx.others[0], "o"),
        (lambda text, rng, bound=bound: bound, "b"),
        (lambda *args: args[2].others[0], "o"),
        (Method().two, "x2"),
        (Method(), "o"),
    ]
    for apply, expected in cases:
        assert Fault("f", "output", 1.0, apply).corrupt("x", random.Random(0), ctx) == expected


def test_a_fault_that_raises_or_returns_nonsense_is_named():
    def broken(text, rng):
        return text[99]

    with pytest.raises(InjectionError, match=r"'mine' raised IndexError"):
        Fault("mine", "output", 1.0, broken).corrupt("x", random.Random(0), FaultContext())
    for kind, value in [("output", 7), ("prompt", Raw("x")), ("context", "x"), ("context", [1]), ("output", ["x"])]:
        with pytest.raises(InjectionError, match="'mine'"):
            Fault("mine", kind, 1.0, lambda text, rng, value=value: value).corrupt(
                "x", random.Random(0), FaultContext()
            )


def test_a_text_that_cannot_be_cast_names_node_and_key():
    mine = Fault("words", "output", 1.0, lambda text, rng: "many")
    ctx = FaultContext(raw={"total": 7})
    [drawn] = draw([mine], "output", "7", rng=random.Random(0), ctx=ctx, n=1)
    with pytest.raises(InjectionError, match=r"'sums', key 'total'"):
        corrupt_update({"total": 7}, drawn.corrupted, "sums")


GOOD = Fault("good", "output", 1.0, lambda text, rng: "x")


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([], "no faults"),
        (["x"], "is no fault"),
        ([GOOD, GOOD], "Two faults are named 'good'"),
        ([dataclasses.replace(GOOD, kind="input")], "kind 'input'"),
        ([dataclasses.replace(GOOD, weight=0)], "weight 0"),
        ([dataclasses.replace(GOOD, weight=float("nan"))], "weight nan"),
        ([dataclasses.replace(GOOD, weight="1")], "weight '1'"),
        ([dataclasses.replace(GOOD, weight=True)], "weight True"),
        ([dataclasses.replace(GOOD, name=" ")], "name ' '"),
        ([dataclasses.replace(GOOD, apply="x")], "for apply"),
    ],
)
def test_faults_that_cannot_be_drawn_from(faults, message):
    with pytest.raises(InjectionError, match=message):
        check_faults(faults)


def test_a_change_is_more_than_form():
    def changed(text, corrupted, raw=None, kind="output"):
        return is_change(kind, text, corrupted, FaultContext(raw=raw, history=["a", ""]))

    assert not changed("7", "7.0")
    assert not changed('{"a": 1, "b": 2}', '{"b": 2.0, "a": 1}')
    assert not changed("Yes", " yes.")
    assert not changed("11", "11 dollars")
    assert not changed("7", " 7 ", {"n": 7})
    assert not changed("[1, 2]", Raw((1, 2)), {"t": [1, 2]})
    assert not changed("", ["a"], kind="context")
    assert changed("7", Raw("7"), {"n": 7})
    assert changed("x = 1", "x = 2", {"code": "x = 1"})
    assert changed("11 dollars", "11 cents")
    assert changed("", [], kind="context")


def test_a_plausible_fault_is_asked_for_until_it_differs():
    def scripted(*replies):
        prompts = []

        def complete(prompt):
            prompts.append(prompt)
            return replies[len(prompts) - 1]

        return plausible(complete), prompts

    fault, prompts = scripted("<wrong>42.0</wrong>", "many", "so: <wrong> 43 </wrong> done")
    assert fault.corrupt("42", random.Random(0), FaultContext(raw={"n": 42})) == "43"
    assert len(set(prompts)) == 3
    assert "42" in prompts[0]
    fault, prompts = scripted("Yes", "yes.", "<wrong>yes")
    assert fault.corrupt("yes", random.Random(0), FaultContext()) is None
    assert len(prompts) == 3
    fault, prompts = scripted("no")
    assert fault.corrupt("yes", random.Random(0), FaultContext()) == "no"
    assert fault.corrupt("", random.Random(0), FaultContext()) is None
    assert len(prompts) == 1
    assert check_faults([*PAPER, fault])
    braces, _ = scripted('<wrong>{"a": 2}</wrong>')
    assert braces.corrupt('{"a": 1}', random.Random(0), FaultContext()) == '{"a": 2}'


def test_the_fault_model_loads_nothing_heavy():
    code = (
        "import sys, sherlock.faults as f; assert f.PAPER;"
        "print([m for m in ('langgraph', 'langchain_core', 'pydantic', 'rapidfuzz', 'numpy') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
