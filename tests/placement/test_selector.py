import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sherlock.placement.selector import _Data, _fitted, _prior, fit_selector, utility

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))


def data(rng, cases=60, verifiers=4, skill=True):
    """Two kinds of prompt that can be told by the first feature; each has its own best verifier."""
    features = rng.standard_normal((cases, 3))
    utilities = 0.05 * rng.standard_normal((cases, verifiers)) + 0.5
    if skill:
        utilities[features[:, 0] > 0, 1] += 0.3
        utilities[features[:, 0] <= 0, 2] += 0.3
    return features, utilities


def test_learns_what_features_tell():
    rng = np.random.default_rng(0)
    features, utilities = data(rng, cases=40)
    found = fit_selector(features, utilities)
    assert found.learned
    assert found.skill.value > 0.1
    assert found.choose([2.0, 0, 0]) == 1
    assert found.choose([-2.0, 0, 0]) == 2


def test_keeps_to_the_prior_where_features_tell_nothing():
    kept = 0
    for seed in range(6):
        features, utilities = data(np.random.default_rng(seed), cases=24, skill=False)
        utilities[:, 3] += 0.05
        found = fit_selector(features, utilities)
        kept += not found.learned
        if not found.learned:
            assert found.choose([9.0, -9.0, 0.0]) == 3
    assert kept >= 5


def test_the_prior_is_the_best_static_verifier_of_each_category():
    utilities = np.array([[1.0, 0.0, 0.4]] * 10 + [[0.0, 1.0, 0.4]] * 10 + [[0.0, 0.0, 0.9]])
    categories = ["maths"] * 10 + ["code"] * 10 + ["rare"]
    found = fit_selector(np.zeros((21, 1)), utilities, categories)
    assert not found.learned
    assert [found.choose([0.0], name) for name in ("maths", "code", "never seen")] == [0, 1, 0]
    one = _prior(_Data(np.zeros((21, 1)), utilities, tuple(categories)))
    assert one.choose([0.0], "rare") == 2


@settings(max_examples=10)
@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0]), st.sampled_from([0.001, 0.1]))
def test_the_fit_is_the_one_optimum(seed, tau, rho):
    """Where the gradient is zero: X'(F - Q)/n + 2 rho (W - W0)."""
    rng = np.random.default_rng(seed)
    features, utilities = data(rng, cases=20)
    cases = _Data(features, utilities, ("",) * 20)
    prior, policy = _prior(cases), _fitted(cases, tau, rho)
    design = prior.design(features, cases.categories)

    def softmax(logits):
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    wanted = softmax(prior.weights[0] + utilities / tau)
    gradient = design.T @ (softmax(design @ policy.weights) - wanted) / 20 + 2 * rho * (policy.weights - prior.weights)
    assert np.abs(gradient).max() < 1e-3


def test_a_strong_price_on_straying_is_the_prior():
    features, utilities = data(np.random.default_rng(1))
    cases = _Data(features, utilities, ("",) * 60)
    assert np.allclose(_fitted(cases, 0.5, 1e6).weights, _prior(cases).weights, atol=1e-4)


def test_utility_takes_cost_off():
    assert utility(np.array([[1.0, 0.5]]), np.array([[10.0, 0.0]]), 0.01).tolist() == [[0.9, 0.5]]


@pytest.mark.parametrize(
    ("features", "utilities", "words"),
    [
        (np.zeros((9, 1)), np.zeros((8, 2)), "9 lines of features, 8 of utilities"),
        (np.zeros((7, 1)), np.zeros((7, 2)), "needs at least 8"),
        (np.full((8, 1), np.nan), np.zeros((8, 2)), "must be finite"),
    ],
)
def test_refuses(features, utilities, words):
    with pytest.raises(ValueError, match=words):
        fit_selector(features, utilities)


DATA = ROOT.parent / "shared" / "data"


@pytest.mark.skipif(not (DATA / "llmbar").is_dir(), reason="the recorded verdicts of LLMBar are not there")
def test_the_benchmark_runs_on_recorded_verdicts():
    from select_llmbar import evaluate, load

    judged = load(DATA)
    assert judged.right.shape == judged.cost.shape == (100, 65)
    found = evaluate(judged, willingness=0.1, splits=2, seed=0)
    by_name = {policy.name: policy for policy in found}
    assert by_name["oracle"].accuracy.value > by_name["best static"].accuracy.value > by_name["random"].accuracy.value
    assert by_name["static argmax of U"].cost.value < 0.3 * by_name["best static"].cost.value
