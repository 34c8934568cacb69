"""Prices: the user's own, the shipped map, and what is not known."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sherlock.errors import ModelError
from sherlock.models.prices import Prices
from sherlock.usage import Usage

MILLION = Usage(calls=1, tokens_in=1_000_000, tokens_out=1_000_000)
CACHED = Usage(calls=1, tokens_in=1_000_000, tokens_cached=400_000)


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("gpt-4o", 12.5),
        ("openai/gpt-4o", 12.5),
        ("gpt-4o-2024-08-06", 12.5),
        ("openai/gpt-4o-2099-01-01", 12.5),
        ("gpt-4o-latest", 12.5),
        ("azure/gpt-4o", 12.5),
        ("gemini/gemini-2.5-flash", 2.8),
        ("vertex_ai/gemini-2.5-flash", 2.8),
        ("anthropic/claude-sonnet-4-5", 18.0),
        ("claude-sonnet-4-5-20250929", 18.0),
        ("openai/ft:gpt-3.5-turbo:org:name:id", 9.0),
        ("ollama/llama2", 0.0),
    ],
)
def test_the_shipped_map(model, usd):
    assert Prices().usd(model, MILLION) == pytest.approx(usd)


@pytest.mark.parametrize(
    "model",
    [
        "no-such-model",
        "openai/no-such-model",
        "nobody/gpt-4o",
        "sample_spec",
        "dall-e-3",
        "gemini/gemini-exp-1114",
        "",
        "/",
    ],
)
def test_an_unknown_price_is_none(model):
    assert Prices().usd(model, MILLION) is None
    assert Prices().usd(model, Usage()) is None


def test_cached_tokens_have_their_own_price():
    assert Prices().usd("gpt-4o", CACHED) == pytest.approx(0.6 * 2.5 + 0.4 * 1.25)
    own = Prices({"m": {"input": 2, "output": 0, "cached": 0.5}, "plain": {"input": 2, "output": 0}})
    assert own.usd("m", CACHED) == pytest.approx(1.4)
    assert own.usd("plain", CACHED) == pytest.approx(2.0)


def test_the_users_table_comes_first():
    own = Prices({"gpt-4o": {"input": 1, "output": 1}, "local": {"input": 3, "output": 0}})
    assert own.usd("openai/gpt-4o-2024-08-06", MILLION) == pytest.approx(2)
    assert own.usd("local", MILLION) == pytest.approx(3)
    assert own.usd("gpt-4o-mini", MILLION) == pytest.approx(0.75)
    assert Prices({"free": {"input": 0, "output": 0}}).usd("free", MILLION) == 0.0


@pytest.mark.parametrize(
    ("base_url", "usd"),
    [
        ("http://127.0.0.1:8080/v1", 0.0),
        ("http://localhost/v1", 0.0),
        ("http://[::1]:1/v1", 0.0),
        ("http://127.0.0.1.example.com/v1", None),
        ("https://example.com/v1", None),
        (None, None),
    ],
)
def test_a_model_on_this_machine_costs_nothing(base_url, usd):
    assert Prices().usd("mine", MILLION, base_url=base_url) == usd
    assert Prices().usd("local", MILLION) == 0.0


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"m": {"inputs": 1, "output": 1}}, "'m' has an unknown key 'inputs', did you mean 'input'"),
        ({"m": {"input": 1}}, "'m' has no 'output'"),
        ({"m": {"input": -1, "output": 1}}, "'m' has input=-1"),
        ({"m": {"input": "1", "output": 1}}, "'m' has input='1'"),
        ({"m": {"input": float("nan"), "output": 1}}, "'m' has input=nan"),
        ({"m": 3}, "'m' is 3"),
    ],
)
def test_a_malformed_table_is_named(table, told):
    with pytest.raises(ModelError, match=told):
        Prices(table)


tokens = st.integers(0, 10**7)
usages = st.builds(
    lambda fresh, cached, out: Usage(calls=1, tokens_in=fresh + cached, tokens_cached=cached, tokens_out=out),
    tokens,
    tokens,
    tokens,
)


@settings(deadline=None, max_examples=50)
@given(a=usages, b=usages)
def test_the_price_of_a_sum_is_the_sum_of_prices(a, b):
    prices = Prices()
    assert prices.usd("gpt-4o", a + b) == pytest.approx(prices.usd("gpt-4o", a) + prices.usd("gpt-4o", b))


def test_litellm_is_not_imported():
    program = (
        "import sys; from sherlock.models.prices import Prices; from sherlock.usage import Usage\n"
        "assert Prices().usd('gpt-4o', Usage(tokens_in=1)) > 0; print('litellm' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program]).strip() == b"False"
