"""Does the interval hold the truth, on graphs whose truth is known? `pytest -s` prints the table."""

import numpy as np
import pytest
from loss_table import covered, draw, true_exposure, true_rescue
from scenarios import SCENARIOS

from sherlock.analysis.vulnerability import LOOKS, Loss, case_values, exposure, rescue, settle, vulnerability
from sherlock.estimate import proportion

RUNS = 10_000  # a thousand would leave a noise of .009 in each figure, and some are near the mark
SHARES = {"prompt": 0.2863, "context": 0.1868, "output": 0.5269}
ROUNDING = 1e-12

scenarios = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
sizes = pytest.mark.parametrize("n", [10, 20, 40])


def as_losses(values):
    return [Loss(case, "output", value) for case, value in enumerate(values)]


def bounds(estimate):
    return estimate.low - ROUNDING, estimate.high + ROUNDING


@sizes
@scenarios
def test_the_interval_covers_the_true_vulnerability(scenario, n):
    draws = draw(scenario, n=n, runs=RUNS, seed=n)
    shares = {}
    for node, truth in scenario.truth().items():
        on_right = np.where(draws.right, draws.loss[node], np.nan)
        shares[node] = covered(lambda v: bounds(vulnerability(as_losses(v), SHARES)), on_right, truth)
    print(f"\n{scenario.name}, {n} cases: " + ", ".join(f"{node} {share:.3f}" for node, share in shares.items()))
    assert min(shares.values()) >= 0.92


@sizes
@scenarios
def test_the_interval_covers_the_true_rescue(scenario, n):
    draws = draw(scenario, n=n, runs=1000, seed=n)
    for node, truth in true_rescue(scenario).items():
        on_wrong = np.where(draws.right, np.nan, draws.loss[node])
        assert covered(lambda v: bounds(rescue(as_losses(v), SHARES)), on_wrong, truth) >= 0.9


@pytest.mark.parametrize("injected", [8, 40])
@scenarios
def test_the_interval_covers_the_true_exposure(scenario, injected):
    """Also when only the first few cases got a fault, as they do when the ranking settles early."""
    draws = draw(scenario, n=40, runs=300, seed=1)
    for node, truth in true_exposure(scenario).items():
        hits = []
        for row, right in zip(draws.loss[node], draws.right, strict=True):
            harm = vulnerability(some(row, right, injected), SHARES)
            estimate = exposure(proportion(int(right.sum()), 40), harm, rescue(some(row, ~right, injected), SHARES))
            if estimate is not None:
                hits.append(estimate.low - ROUNDING <= truth <= estimate.high + ROUNDING)
        assert len(hits) < 30 or np.mean(hits) >= 0.9


def some(row, group, most):
    cases = [case for case in np.flatnonzero(group) if not np.isnan(row[case])][:most]
    return [Loss(int(case), "output", float(row[case])) for case in cases]


@sizes
def test_the_interval_covers_where_classes_fit_some_cases_only(n):
    """Three classes of faults: the rare one fits a third of the cases, and hits hard."""
    rng = np.random.default_rng(n)
    means = {"prompt": 0.3, "context": 0.8, "output": 0.1}
    truth = sum(SHARES[kind] * mean for kind, mean in means.items()) / sum(SHARES.values())
    hits = []
    for _ in range(1000):
        fits = {"prompt": rng.random(n) < 0.7, "context": rng.random(n) < 1 / 3, "output": np.full(n, True)}
        losses = [
            Loss(case, kind, float(rng.random() < means[kind]))
            for kind in means
            for case in np.flatnonzero(fits[kind]).tolist()
        ]
        low, high = bounds(vulnerability(losses, SHARES))
        if {loss.kind for loss in losses} == means.keys():
            hits.append(low <= truth <= high)
    print(f"\nclasses that fit some cases only, {n} cases: {np.mean(hits):.3f}")
    assert np.mean(hits) >= 0.92


@scenarios
def test_the_estimated_top_node_is_a_true_top_node(scenario):
    """At forty cases, within the margin; and what is called settled is so."""
    truth = scenario.truth()
    good = {node for node in truth if truth[node] >= max(truth.values()) - 0.1}
    draws = draw(scenario, n=40, runs=400, seed=4)
    found = [settle(psi_of(draws, run), look=len(LOOKS) - 1) for run in range(400)]
    assert np.mean([settlement.top[0] in good for settlement in found]) >= 0.97
    settled = [settlement.top[0] in good for settlement in found if settlement.settled]
    assert len(settled) == 0 or np.mean(settled) >= 0.99


def psi_of(draws, run):
    rows = {node: some(loss[run], draws.right[run], 40) for node, loss in draws.loss.items()}
    return {node: case_values(losses, SHARES)[1] for node, losses in rows.items() if losses}


@scenarios
def test_a_scenario_is_what_it_claims(scenario):
    """The clean run is wrong for some, and a fault matters more at one node than at another."""
    assert sum(share for _, _, share in scenario.population) == pytest.approx(1)
    right = [
        scenario.score(scenario.build().compile().invoke(case.inputs), case) >= 1 for case in scenario.cases(60, seed=1)
    ]
    assert 0.5 <= np.mean(right) < 1
    truth = scenario.truth()
    assert max(truth.values()) - min(truth.values()) > 0.15
    assert all(-1 <= value <= 1 for value in truth.values())
