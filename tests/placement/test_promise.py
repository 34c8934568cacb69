import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock.placement.promise import parts_of, promise

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@given(st.integers(2, 60), st.integers(2, 8), st.integers(0, 99))
def test_every_case_is_in_one_part(cases, parts, seed):
    found = parts_of(cases, parts=parts, seed=seed)
    assert sorted(case for part in found for case in part) == list(range(cases))
    sizes = [len(part) for part in found]
    assert len(found) == min(parts, cases)
    assert max(sizes) - min(sizes) <= 1
    assert found == parts_of(cases, parts=parts, seed=seed)


def test_refuses_what_leaves_nothing_to_choose_on():
    with pytest.raises(ValueError, match="leave nothing to choose on"):
        parts_of(1)
    with pytest.raises(ValueError, match="2 scores without and 1 with"):
        promise([1.0, 0.0], [1.0])


def test_a_promise_has_score_and_gain():
    found = promise([0.0, 0.0, 1.0, 1.0], [1.0, 0.0, 1.0, 1.0])
    assert (found.score.value, found.gain.value) == (0.75, 0.25)
    assert found.gain.low < 0.25 < found.gain.high


def test_in_simulation_cross_fitting_promises_no_more_than_is_kept():
    from sim_promise import WAYS, simulate

    found = simulate(
        24, 12, seed=1, ways={name: WAYS[name] for name in ("whole plan, same cases", "cross-fitted, 5 parts")}
    )
    excess = {name: sum(p.value - kept for p, kept in pairs) / len(pairs) for name, pairs in found.items()}
    kept = [k >= p.low for p, k in found["cross-fitted, 5 parts"]]
    assert excess["whole plan, same cases"] > 0.03 > excess["cross-fitted, 5 parts"]
    assert sum(kept) >= 10
