import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sherlock.estimate import Estimate
from sherlock.placement.rows import Row, Work, Workload
from sherlock.placement.structural import PERFECT, NodeFigures, Repair, StructuralModel

NEAR = 0.03
"""Four standard errors of a share over the simulated runs."""


def model(parents, own, spread=1.0, **options):
    return StructuralModel(parents=parents, own=own, spread=dict.fromkeys(parents, spread), **options)


def workload(parents, baseline):
    edges = [(p, name) for name, before in parents.items() for p in before]
    n = 40
    return Workload(nodes={name: Work() for name in parents}, edges=edges, baseline=Estimate(baseline, 0, 1, n))


def row(node, gain, **options):
    return Row(node=node, verifier="v", gain=gain, **options)


CHAIN = {"a": [], "b": ["a"]}


def test_repairs_that_need_each_other_gain_more_than_their_sum():
    half = model(CHAIN, {"a": 0.5, "b": 0.5})
    own_only = Repair(own=1.0, inherited=0.0, breaks=0.0)
    assert half.base == pytest.approx(0.25, abs=NEAR)
    assert half.score({"a": PERFECT}) == pytest.approx(0.5, abs=NEAR)
    assert half.score({"b": own_only}) == pytest.approx(0.5, abs=NEAR)
    assert half.score({"a": PERFECT, "b": own_only}) == 1.0


def test_repairs_of_the_same_errors_gain_once():
    late = model(CHAIN, {"a": 0.5, "b": 0.0})
    assert late.score({"a": PERFECT}) == late.score({"b": PERFECT}) == late.score({"a": PERFECT, "b": PERFECT}) == 1.0
    fitted_rows = [row("a", 0.5), row("b", 0.5)]
    assert late.gain({r.node: r for r in fitted_rows}) == pytest.approx(0.5, abs=NEAR)


def test_masking_and_breaking():
    masked = model(CHAIN, {"a": 0.5, "b": 0.0}, spread=0.4)
    assert masked.base == pytest.approx(1 - 0.5 * 0.4 * 0.4, abs=NEAR)
    breaks = Repair(own=0.0, inherited=0.0, breaks=0.5)
    assert model(CHAIN, {"a": 0.0, "b": 0.0}).score({"b": breaks}) == pytest.approx(0.5, abs=NEAR)


def test_the_noisy_or_of_two_parents():
    parents = {"a": [], "b": [], "c": ["a", "b"]}
    two = StructuralModel(parents=parents, own={"a": 1.0, "b": 1.0, "c": 0.0}, spread={"a": 0.5, "b": 0.4, "c": 1.0})
    assert two.base == pytest.approx(0.5 * 0.6, abs=NEAR)


def exact(parents, own, spread):
    """Every combination of own faults and open edges, weighed."""
    read = {p for before in parents.values() for p in before}
    edges = [(p, n) for n, before in parents.items() for p in before] + [(n, None) for n in parents if n not in read]
    names, score = list(parents), 0.0
    for faults in itertools.product([0, 1], repeat=len(names)):
        for opened in itertools.product([0, 1], repeat=len(edges)):
            chance = np.prod([own[n] if f else 1 - own[n] for n, f in zip(names, faults, strict=True)])
            chance *= np.prod([spread[s] if o else 1 - spread[s] for (s, _), o in zip(edges, opened, strict=True)])
            ways = {edge for edge, o in zip(edges, opened, strict=True) if o}
            wrong = dict(zip(names, faults, strict=True))
            for n in names:
                wrong[n] = wrong[n] or any(wrong[p] and (p, n) in ways for p in parents[n])
            score += chance * (not any(wrong[n] and (n, None) in ways for n in names))
    return score


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_equals_the_sum_over_all_worlds(seed):
    rng = np.random.default_rng(seed)
    names = "abcd"[: rng.integers(1, 5)]
    parents = {n: [p for p in names[:place] if rng.random() < 0.5] for place, n in enumerate(names)}
    own, spread = ({n: float(rng.uniform(0, 1)) for n in names} for _ in range(2))
    found = StructuralModel(parents=parents, own=own, spread=spread, seed=seed).base
    assert found == pytest.approx(exact(parents, own, spread), abs=NEAR)


# --- fitting


DIAMOND = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def test_the_fit_has_the_baseline_the_vulnerabilities_and_the_gains():
    figures = {
        "a": NodeFigures(vulnerability=0.6),
        "b": NodeFigures(vulnerability=0.5),
        "c": NodeFigures(vulnerability=0.3),
        "d": NodeFigures(vulnerability=0.9),
    }
    rows = [row("a", 0.12, repaired=0.14, broken=0.02), row("d", 0.1, repaired=0.1, correction=0.4), row("b", -0.05)]
    fitted = StructuralModel.fit(workload(DIAMOND, 0.6), figures, rows)
    assert fitted.base == pytest.approx(0.6, abs=0.01)
    for r in rows:
        assert fitted.gain({r.node: r}) == pytest.approx(r.gain, abs=NEAR)
    faultless = StructuralModel(parents=DIAMOND, own=dict.fromkeys(DIAMOND, 0.0), spread=fitted.spread)
    for name, known in figures.items():
        spoilt = faultless._spoilt(faultless._wrong({}, broken=name))
        assert spoilt.mean() == pytest.approx(known.vulnerability, abs=0.01)


def test_the_fit_has_the_fault_rates_where_they_bear_out_the_baseline():
    truth = model(CHAIN, {"a": 0.3, "b": 0.2}, spread=0.8)
    wrong = truth._wrong({})
    figures = {
        n: NodeFigures(vulnerability=v, fault_rate=float(wrong[n].mean())) for n, v in {"a": 0.64, "b": 0.8}.items()
    }
    fitted = StructuralModel.fit(workload(CHAIN, truth.base), figures, [])
    assert fitted.own == pytest.approx({"a": 0.3, "b": 0.2}, abs=NEAR)


def test_what_injected_faults_tell_of_own_faults_is_used_as_far_as_natural_ones_bear_it_out():
    figures = {"a": NodeFigures(vulnerability=1.0, fault_rate=0.4), "b": NodeFigures(vulnerability=1.0, fault_rate=0.6)}
    fitted = StructuralModel.fit(workload(CHAIN, 0.4), figures, [])
    easy = fitted.repair(row("b", 0.1, correction=0.9))
    assert easy.own == pytest.approx(0.5, abs=0.1)  # only .2 of runs have an own fault at b; none is left to inherit
    assert easy.inherited == 0.0
    both = fitted.repair(row("b", 0.3, correction=0.5))
    assert both.own == 0.5
    assert both.inherited > 0.3


def test_more_gain_than_there_are_errors_is_capped():
    fitted = StructuralModel.fit(workload(CHAIN, 0.9), {}, [row("a", 0.5), row("b", 0.4)])
    assert fitted.gain({"a": row("a", 0.5), "b": row("b", 0.4)}) <= 0.11


def test_the_estimate_holds_its_value_and_repeats():
    rows = {"a": row("a", 0.1, se=0.05), "b": row("b", 0.1, se=0.05)}
    work = workload(CHAIN, 0.6)
    fitted = StructuralModel.fit(work, {}, list(rows.values()))
    score, gain = fitted.estimate(rows, work.baseline)
    assert gain.low < gain.value < gain.high
    assert score.value == pytest.approx(0.6 + gain.value)
    assert 0 <= score.low < score.value < score.high <= 1
    again = StructuralModel.fit(work, {}, list(rows.values())).estimate(rows, work.baseline)
    assert again == (score, gain)
