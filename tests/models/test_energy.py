"""Watt-hours: the published formula, sizes read off names, and the user's own figures."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock.errors import ModelError
from sherlock.models.energy import CLASSES, energy, size_of
from sherlock.usage import Usage

QUERY = Usage(calls=1, tokens_in=500, tokens_out=300, seconds=36.0)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("meta-llama/Llama-3.1-70B-Instruct", 70),
        ("groq/llama-3.1-8b-instant", 8),
        ("mixtral-8x7b-instruct", 56),
        ("qwen3-235b-a22b", 235),
        ("gemma3-270m", 0.27),
        ("gemma-3n-e4b", 4),
        ("qwen2.5-0.5b", 0.5),
        ("ollama/llama3:70b", 70),
        ("gpt-4o", None),
        ("gpt-4o-mini", None),
        ("claude-sonnet-4-5", None),
        ("local", None),
        ("qwen2.5-7b-instruct-1m", 7),
        ("claude-sonnet-4-1m", None),
        ("text-embedding-ada-002", None),
        ("o1-2024-12-17", None),
    ],
)
def test_the_size_is_read_off_the_name(model, size):
    assert size_of(model) == size


def test_a_large_model_is_where_the_paper_has_it():
    found = energy("llama-3.1-405b", QUERY)
    assert found.value == pytest.approx(0.34, rel=0.15)  # median
    assert found.low < 0.18
    assert found.high > 0.67  # quartiles
    assert found.source == "estimated"


def test_the_formula_by_hand():
    found = energy("llama-3.1-8b", QUERY)
    assert found.low == pytest.approx(1.05 * 0.4 * 11.3 / (3.6 * 70_000) * 300)
    assert found.high == pytest.approx(1.40 * 0.9 * 11.3 / (3.6 * 10_000) * 300)


@given(st.sampled_from(["1b", "8b", "32b", "70b", "123b", "405b"]), st.integers(0, 10**6))
def test_there_is_always_an_interval_that_holds_the_value(size, tokens):
    found = energy(f"m-{size}", Usage(calls=1, tokens_out=tokens))
    assert 0 <= found.low <= found.value <= found.high
    assert tokens == 0 or found.high > 3 * found.low


def test_larger_models_take_more():
    values = [energy(f"m-{size}b", QUERY).value for size in (1, 8, 32, 70, 123, 405)]
    assert values == sorted(values)
    assert CLASSES[-1].size_b == math.inf


def test_an_unknown_size_is_unknown_and_no_call_is_nothing():
    assert energy("gpt-4o", QUERY) is None
    assert energy("gpt-4o", Usage()).high == 0.0


def test_the_users_own_figures_come_first():
    table = {
        "openai/gpt-4o": {"size_b": 300},
        "llama-3.1-8b": {"wh_per_1k": [0.1, 0.4], "source": "published"},
        "local": {"watts": [20, 45], "source": "measured"},
    }
    assert energy("openai/gpt-4o", QUERY, table) == energy("m-300b", QUERY)
    published = energy("groq/llama-3.1-8b", QUERY, table)
    assert (published.low, published.value, published.high) == pytest.approx((0.03, 0.06, 0.12))
    assert published.source == "published"
    measured = energy("local", QUERY, table)
    assert (measured.low, measured.high, measured.source) == (pytest.approx(0.2), pytest.approx(0.45), "measured")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (3, "is 3, give size_b"),
        ({"size": 70}, "unknown key 'size', did you mean 'size_b'"),
        ({"size_b": -1}, "size_b = -1, give billions"),
        ({"size_b": True}, "size_b = True"),
        ({"wh_per_1k": 0.3}, r"give a range \[low, high\]"),
        ({"watts": [45, 20]}, r"watts = \[45, 20\]"),
        ({"watts": [1, 2], "size_b": 3}, "give one of size_b"),
        ({"source": "measured"}, "has source, give one of"),
        ({"watts": [1, 2], "source": "guessed"}, "source = 'guessed', give one of measured"),
    ],
)
def test_a_malformed_table_is_refused(entry, words):
    with pytest.raises(ModelError, match=words):
        energy("gpt-4o", QUERY, {"m": entry})
