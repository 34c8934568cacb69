"""The two notions of sameness, on cases where they must differ and on random texts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock.equivalence import (
    NOT_JSON,
    json_container,
    json_equal,
    matches_reference,
    parse_number,
    rouge_l,
    same_meaning,
)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("7", "7.0"),
        ("$1,200.50", "1200.5"),
        ("11.", "11"),
        ("11 dollars", "11"),
        ("$11", "11 dollars"),
        ("11 dollar", "11 dollars"),
        ("USD 11", "$11"),
        ("11", "$11"),
        ("-3", "\N{MINUS SIGN}3"),
        ("1e3", "1000"),
        ('{"b": 1.0, "a": [1, 2]}', '{"a": [1.0, 2], "b": 1}'),
        ("  The  RED van. ", "the red van"),
        ('"Paris"', "paris"),
        ("\uff30aris", "Paris"),
        ("Straße", "STRASSE"),
        ("", ""),
    ],
)
def test_right_against_gold(text, gold):
    assert matches_reference(text, gold)


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("11", "11 dollars"),
        ("11 euros", "11 dollars"),
        ("€11", "$11"),
        ("5 kg", "$5"),
        ("12", "11"),
        ("-11", "11"),
        ("The answer is 11", "11"),
        ("1,2", "12"),
        ('{"a": true}', '{"a": 1}'),
        ('{"a": "1"}', '{"a": 1}'),
        ("[1, 2]", "[2, 1]"),
        ("not json", "[1]"),
        ('{"a": 1', '{"a": 1}'),
        ("a red van", "the red van"),
        ("", "x"),
        ("-x", "x"),
        ("C#", "C"),
    ],
)
def test_wrong_against_gold(text, gold):
    assert not matches_reference(text, gold)


def test_endless_nesting_is_text():
    deep = "[" * 5000 + "]" * 5000
    assert json_container(deep) is NOT_JSON
    assert not matches_reference(deep, "[]")
    assert json_container("[" * 99 + "]" * 99) is not NOT_JSON
    for depth in (101, 450, 900):
        assert not matches_reference("[" * depth + "]" * depth, "[" * (depth + 1) + "1" + "]" * (depth + 1))


def test_code_keeps_case_and_indentation():
    assert matches_reference("x = 1  \n", "x = 1", "code")
    assert not matches_reference("X = 1", "x = 1", "code")
    assert not matches_reference("if a:\n  b\nc", "if a:\n  b\n  c", "code")


def test_a_correction_that_keeps_the_meaning():
    long = "the parcel to Paris goes in the red van on Monday morning"
    assert same_meaning(long, long.replace("Monday", "Tuesday"))
    assert not same_meaning(long, long.replace("Monday", "Tuesday"), threshold=0.95)
    assert not same_meaning(long, "we cannot help")
    assert same_meaning('[{"args": {"a": 1}, "name": "f"}]', '[{"name": "f", "args": {"a": 1.0}}]', "tool")
    assert not same_meaning(long, long + " at 9", threshold=0.5)
    assert same_meaning("7", "7.0", "number")
    assert not same_meaning("7", "8", "number")
    assert not same_meaning("7", "7 kg", "number")
    assert not same_meaning("7 kg", "7", "number")
    assert same_meaning('{"a": 1, "b": 2}', '{"b": 2, "a": 1}', "json")
    assert not same_meaning('{"a": 1, "b": 2, "c": 3, "d": 4}', '{"a": 1, "b": 2, "c": 3, "d": 5}', "json")


def call(**args):
    return json.dumps([{"name": "send", "args": args}])


def test_a_corrected_tool_call_keeps_the_meaning_where_its_strings_do():
    text = "we are sorry that the parcel is late and send a refund"
    original = call(to="bob@example.com", text=text, n=2)
    assert same_meaning(original, call(to="bob@example.com", text=text.replace("that", "because"), n=2.0), "tool")
    assert not same_meaning(original, call(to="alice@example.org", text=text, n=2), "tool")
    assert not same_meaning(original, call(to="bob@example.com", text=text, n=3), "tool")
    assert not same_meaning(original, call(to="bob@example.com", text=text), "tool")
    assert not same_meaning(original, json.dumps([*json.loads(original), *json.loads(original)]), "tool")
    assert not same_meaning(original, original + " or so", "json")


@pytest.mark.parametrize("category", ["code", "maths"])
def test_code_and_maths_are_the_same_only_byte_for_byte(category):
    assert same_meaning("x = 1", "x = 1", category)
    assert not same_meaning("x = 1", "x = 1 ", category)


def test_rouge_l_by_hand():
    assert rouge_l("the cat sat", "the cat sat") == 1.0
    assert rouge_l("the cat sat", "the dog sat") == pytest.approx(2 * 2 / 6)
    assert rouge_l("a b c d", "d c b a") == pytest.approx(2 * 1 / 8)
    assert rouge_l("The CAT!", "the cat") == 1.0
    assert rouge_l("a", "") == 0.0
    assert rouge_l("", "") == 1.0
    assert rouge_l("?", "!") == 0.0
    assert rouge_l("東京駅", "東京塔") == pytest.approx(2 / 3)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(st.text())
def test_every_text_is_right_against_itself(text):
    assert matches_reference(text, text)
    assert rouge_l(text, text) == 1.0


@given(st.text(), st.text())
def test_rouge_is_symmetric_and_bounded(a, b):
    assert 0.0 <= rouge_l(a, b) <= 1.0
    assert rouge_l(a, b) == rouge_l(b, a)
    for category in ("instruction", "tool", "number", "json", "code", "maths"):
        assert same_meaning(a, b, category) == same_meaning(b, a, category)


@given(json_values)
def test_json_is_compared_by_value(value):
    assert json_equal(value, json.loads(json.dumps(value)))
    changed = {"field": value}
    assert not json_equal(changed, value)
    assert not json_equal([value], [value, value])


@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", "{:,}", "{}.0", " {} ", "{}.", "{} kg"]))
def test_numbers_are_read_by_value(number, form):
    parsed = parse_number(form.format(number))
    assert parsed is not None
    assert parsed.value == number
    assert matches_reference(form.format(number), str(number))
    assert not matches_reference(form.format(number + 1), str(number))
