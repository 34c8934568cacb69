import itertools
import math
import os

import numpy as np
import pytest
from random_questions import BruteForce, random_question

from sherlock.estimate import Estimate
from sherlock.placement.rows import Row, Work, Workload
from sherlock.placement.slo import SLO
from sherlock.placement.solve import best_plans

SIZES = [(None, None)] * 490 + [(6, 5), (7, 4), (5, 5), (8, 3), (7, 3), (4, 5), (6, 4), (6, 5), (8, 2), (7, 2)]
BIG = [(8, 5)] * 4


def answer(question, **options):
    return best_plans(
        question.workload,
        question.rows,
        question.slo,
        objective=question.objective,
        least_gain=question.least_gain,
        careful=question.careful,
        **options,
    )


def check_against_brute_force(question):
    brute = BruteForce(question)
    found, expected = answer(question, count=1), brute.best()
    if expected is None:
        assert found.plans == ()
        assert {b.name: b.needed for b in found.infeasible.binding} == pytest.approx(
            brute.binding(), abs=1e-9, rel=1e-6
        )
        return "infeasible"
    assert found.infeasible is None
    assert {node: row.label for node, row in found.plans[0].chosen.items()} == expected
    return "feasible"


def test_equals_brute_force_on_500_random_questions():
    rng = np.random.default_rng(20251101)
    ends = [check_against_brute_force(random_question(rng, *size)) for size in SIZES]
    assert len(ends) == 500
    assert ends.count("infeasible") > 100
    assert ends.count("feasible") > 200


CHAIN = Workload(
    nodes={name: Work(latency_s=(1.0,), usd=0.001) for name in ("a", "b", "c")},
    edges=[("a", "b"), ("b", "c")],
    baseline=Estimate(0.5, 0.4, 0.6, 40),
)


def row(node, verifier, gain, usd=0.001, **options):
    return Row(node=node, verifier=verifier, gain=gain, usd=usd, calls=1, **options)


def labels(solution):
    return {node: row.label for node, row in solution.chosen.items()}


def test_the_twenty_best_plans_come_in_order():
    rng = np.random.default_rng(3)
    rows = [row(node, f"v{n}", float(rng.uniform(0, 0.3))) for node in "abc" for n in range(3)]
    plans = best_plans(CHAIN, rows, SLO()).plans
    gains = [plan.figures.gain for plan in plans]
    every = sorted(
        sum(each) for each in itertools.product(*([0, *(r.gain for r in rows if r.node == n)] for n in "abc"))
    )
    assert gains == pytest.approx(every[::-1][:20], abs=1e-8)
    assert len({tuple(sorted(labels(plan).items())) for plan in plans}) == 20


def test_ties_go_to_the_cheaper_plan_then_to_the_name():
    dear, cheap = row("a", "v1", 0.2, usd=0.002), row("a", "v2", 0.2, usd=0.001)
    assert labels(best_plans(CHAIN, [dear, cheap], SLO()).plans[0]) == {"a": "v2"}
    unknown = row("a", "v0", 0.2, usd=None)
    assert labels(best_plans(CHAIN, [unknown, dear], SLO()).plans[0]) == {"a": "v1"}
    rows = [row(node, name, 0.2) for node in "ba" for name in ("w", "v")]
    assert labels(best_plans(CHAIN, rows, SLO(max_verifiers=1)).plans[0]) == {"b": "v"}  # none before any, at a
    nothing = row("a", "v", 0.0, usd=0.0)
    assert labels(best_plans(CHAIN, [nothing], SLO()).plans[0]) == {}


def test_a_verifier_that_harms_is_not_placed():
    assert labels(best_plans(CHAIN, [row("a", "v", -0.1)], SLO()).plans[0]) == {}


def test_a_row_of_unknown_price_cannot_be_held_to_dollars():
    rows = [row("a", "v", 0.3, usd=None), row("b", "w", 0.1)]
    assert labels(best_plans(CHAIN, rows, SLO()).plans[0]) == {"a": "v", "b": "w"}
    ranking = best_plans(CHAIN, rows, SLO(max_usd=1.0))
    assert labels(ranking.plans[0]) == {"b": "w"}
    assert [(r.verifier, why.partition(",")[0]) for r, why in ranking.excluded] == [("v", "its price is unknown")]
    powered = best_plans(CHAIN, rows, SLO(max_wh=1.0))
    assert {r.verifier for r, _ in powered.excluded} == {"v", "w"}
    assert "the workflow has no such node" in best_plans(CHAIN, [row("z", "v", 1)], SLO()).excluded[0][1]


def test_what_is_done_again_is_paid_again():
    rows = [row("a", "v", 0.3, match_rate=0.5), row("c", "w", 0.1, usd=0.004)]
    figures = best_plans(CHAIN, rows, SLO()).plans[0].figures
    # half the time b and c run again, and c is verified again
    assert figures.usd == pytest.approx(0.001 + 0.004 + 0.5 * (0.002 + 0.004))
    assert figures.calls == pytest.approx(2.5)
    assert labels(best_plans(CHAIN, rows, SLO(max_usd=0.0079)).plans[0]) == {"a": "v"}
    assert labels(best_plans(CHAIN, rows, SLO(max_usd=0.008)).plans[0]) == {"a": "v", "c": "w"}


def test_careful_mode_takes_what_is_surer():
    bold, sure = row("a", "bold", 0.3, se=0.15), row("a", "sure", 0.25, se=0.01)
    assert labels(best_plans(CHAIN, [bold, sure], SLO()).plans[0]) == {"a": "bold"}
    assert labels(best_plans(CHAIN, [bold, sure], SLO(), careful=True).plans[0]) == {"a": "sure"}


def test_the_cheapest_adequate_plan():
    rows = [row("a", "v", 0.3, usd=0.01), row("b", "v", 0.15, usd=0.002), row("c", "v", 0.15, usd=0.002)]
    asked = SLO(min_accuracy=0.79)
    assert labels(best_plans(CHAIN, rows, asked, objective="usd").plans[0]) == {"b": "v", "c": "v"}
    assert labels(best_plans(CHAIN, rows, SLO(), objective="usd").plans[0]) == {}


def test_what_cannot_be_reached_is_told():
    rows = [row("a", "v", 0.3, usd=0.01), row("b", "v", 0.1, usd=0.002)]
    told = best_plans(CHAIN, rows, SLO(min_accuracy=0.75, max_usd=0.005), objective="usd").infeasible
    assert {b.name: b.needed for b in told.binding} == pytest.approx({"max_usd": 0.01, "min_accuracy": 0.6})
    assert labels(told.nearest) == {"b": "v"}
    assert told.why == (
        "no plan keeps all limits: max_usd 0.005 would have to be 0.01, or min_accuracy 0.75 would have to be 0.6; "
        "the nearest that can be reached is v at 'b', which gains 0.1 for $0.002 a run"
    )
    slow = best_plans(CHAIN, rows, SLO(max_latency_s=2.5)).infeasible
    assert "the workflow itself takes 3 s" in slow.why
    assert labels(slow.nearest) == {}
    both = best_plans(CHAIN, rows, SLO(min_accuracy=0.99, max_usd=0.005)).infeasible
    assert [b.name for b in both.binding] == ["min_accuracy"]


def test_nothing_to_choose_from_is_the_empty_plan():
    assert labels(best_plans(CHAIN, [], SLO(max_usd=1)).plans[0]) == {}
    assert labels(best_plans(Workload(nodes={}), [], SLO()).plans[0]) == {}
    assert best_plans(CHAIN, [], SLO(min_accuracy=0.9)).plans == ()


def test_rows_and_workloads_refuse_nonsense():
    for wrong in ({"match_rate": 1.5}, {"usd": -1.0}, {"gain": math.nan}, {"latency_s": (math.inf,)}):
        with pytest.raises(ValueError, match="v at 'a'"):
            Row(**{"node": "a", "verifier": "v", "gain": 0.1, **wrong})
    with pytest.raises(ValueError, match="points back"):
        Workload(nodes={"a": Work(), "b": Work()}, edges=[("b", "a")])
    with pytest.raises(ValueError, match="joins a node that is not in the workload"):
        Workload(nodes={"a": Work()}, edges=[("a", "z")])


@pytest.mark.soak
@pytest.mark.skipif("SHERLOCK_SOAK" not in os.environ, reason="the long form, run by `make soak`")
def test_equals_brute_force_at_eight_nodes_and_five_rows():
    rng = np.random.default_rng(7)
    for size in BIG:
        check_against_brute_force(random_question(rng, *size))
