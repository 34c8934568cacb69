import os

import numpy as np
import pytest
from random_questions import BruteForce, random_question

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


@pytest.mark.soak
@pytest.mark.skipif("SHERLOCK_SOAK" not in os.environ, reason="the long form, run by `make soak`")
def test_equals_brute_force_at_eight_nodes_and_five_rows():
    rng = np.random.default_rng(7)
    for size in BIG:
        check_against_brute_force(random_question(rng, *size))
