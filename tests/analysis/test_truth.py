"""The whole analyzer, on graphs whose true vulnerabilities were worked out without it."""

import pytest
from scenarios import SCENARIOS

import sherlock
from sherlock.faults import Fault

CASES = 60  # enough for the last look, of 50 right runs


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_analysis_finds_the_true_vulnerabilities(scenario):
    faults = [Fault(f.name, f.kind, f.weight, f.apply) for f in scenario.faults]
    analysis = sherlock.analyze(
        scenario.build(),
        scenario.cases(CASES, seed=3),
        scorer=scenario.score,
        faults=faults,
        margin=0.0,
        confidence=0.999,  # seven graphs with some thirty nodes: none of them may miss by chance
    )
    truth = scenario.truth()
    found = {name: node.vulnerability for name, node in analysis.nodes.items() if node.vulnerability is not None}
    assert set(found) == set(truth)
    misses = [name for name, e in found.items() if not e.low - 1e-9 <= truth[name] <= e.high + 1e-9]
    assert not misses
    assert max(e.high - e.low for e in found.values()) < 0.9, "an interval that holds anything says nothing"


def test_the_ranking_is_the_true_one_where_one_node_stands_out():
    scenario = next(s for s in SCENARIOS if s.name == "vote of three")
    faults = [Fault(f.name, f.kind, f.weight, f.apply) for f in scenario.faults]
    analysis = sherlock.analyze(scenario.build(), scenario.cases(CASES, seed=5), scorer=scenario.score, faults=faults)
    truth = scenario.truth()
    assert truth[analysis.ranking[0]] >= max(truth.values()) - 0.10
    assert truth[analysis.ranking[-1]] < truth[analysis.ranking[0]]
