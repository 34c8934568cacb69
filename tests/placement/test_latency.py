import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock.placement.figures import Case
from sherlock.placement.latency import LatencyModel, quantiles, times
from sherlock.placement.rows import Row, Work, Workload
from sherlock.placement.slo import SLO
from sherlock.placement.solve import best_plans

CHAIN = {"a": [], "b": ["a"], "c": ["b"]}
SECONDS = {"a": 1.0, "b": 2.0, "c": 3.0}


def figures(found):
    return float(found.execution_s), float(found.verified_s), float(found.blocking_s)


@pytest.mark.parametrize(
    ("verify", "rejected", "expected"),
    [
        ({}, {}, (6, 6, 6)),
        ({"a": 4}, {"a": 0}, (6, 6, 10)),  # the verdict on a is in at 5, before the run ends
        ({"a": 9}, {"a": 0}, (6, 10, 15)),
        ({"a": 4}, {"a": 1}, (10, 10, 10)),
        ({"a": 4, "c": 4}, {"a": 0, "c": 1}, (6, 10, 14)),
        ({"a": 4, "b": 1, "c": 4}, {"a": 1, "b": 1, "c": 0}, (11, 15, 15)),
    ],
)
def test_a_chain_by_hand(verify, rejected, expected):
    assert figures(times(CHAIN, SECONDS, verify, rejected)) == expected


def test_branches_by_hand():
    parents = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    seconds = {"a": 1.0, "b": 5.0, "c": 1.0, "d": 1.0}
    verify = {"c": 2.0}
    # c is rejected at 4, its branch ends long before b's does: nothing is lost by it
    assert figures(times(parents, seconds, verify, {"c": 1})) == (7, 7, 7)
    assert figures(times(parents, seconds, {"c": 6.0}, {"c": 1})) == (9, 9, 9)


def paths(parents, upto):
    if not parents[upto]:
        return [[upto]]
    return [[*path, upto] for parent in parents[upto] for path in paths(parents, parent)]


@given(st.integers(0, 10_000))
def test_equals_the_longest_path_over_all_paths(seed):
    rng = np.random.default_rng(seed)
    names = [f"n{i}" for i in range(rng.integers(1, 6))]
    parents = {name: [p for p in names[:place] if rng.random() < 0.5] for place, name in enumerate(names)}
    execution = {name: float(rng.integers(1, 9)) for name in names}
    verify = {name: float(rng.integers(0, 9)) for name in names if rng.random() < 0.6}
    rejected = {name: float(rng.integers(0, 2)) for name in verify}
    late = {name: verify.get(name, 0) * rejected.get(name, 0) for name in names}

    def start(path):
        return sum(execution[name] + late[name] for name in path[:-1])

    ways = list(itertools.chain.from_iterable(paths(parents, name) for name in names))
    found = times(parents, execution, verify, rejected)
    assert found.execution_s == max(start(path) + execution[path[-1]] for path in ways)
    assert found.verified_s == max(start(path) + execution[path[-1]] + verify.get(path[-1], 0) for path in ways)
    blocking = max(sum(execution[name] + verify.get(name, 0) for name in path) for path in ways)
    assert found.blocking_s == blocking
    assert found.execution_s <= found.verified_s <= found.blocking_s


def workload(**latencies):
    nodes = {name: Work(latency_s=seconds) for name, seconds in latencies.items()}
    return Workload(nodes=nodes, edges=[*itertools.pairwise(latencies)])


def row(node, *seconds, match=0.8, gain=0.1):
    return Row(node=node, verifier="v", gain=gain, match_rate=match, usd=0.0, latency_s=seconds)


def test_simulation_is_seeded_and_has_the_recorded_latencies():
    work = workload(a=(1.0, 2.0), b=(3.0,))
    chosen = {"a": row("a", 10.0)}
    runs = LatencyModel(work, seed=3).simulate(chosen)
    again = LatencyModel(work, seed=3).simulate(chosen)
    assert (runs.verified_s == again.verified_s).all()
    assert set(np.unique(runs.verified_s)) == {11.0, 12.0, 14.0, 15.0}  # accepted: 10 after a; rejected: b again
    assert np.mean(runs.verified_s >= 14) == pytest.approx(0.2, abs=0.03)
    other = LatencyModel(work, seed=4).simulate(chosen)
    assert (runs.verified_s != other.verified_s).any()


def test_a_plan_that_holds_another_is_never_faster():
    work = workload(a=(1.0, 2.0), b=(3.0, 1.0), c=(2.0,))
    model = LatencyModel(work)
    small = model.simulate({"b": row("b", 1.0, 5.0)})
    large = model.simulate({"b": row("b", 1.0, 5.0), "a": row("a", 0.5, 3.0)})
    assert (large.verified_s >= small.verified_s).all()


def test_the_bound_of_the_programme_is_over_the_mean_where_executions_do_not_vary():
    rng = np.random.default_rng(5)
    for _ in range(30):
        work = workload(a=(float(rng.uniform(1, 4)),), b=(float(rng.uniform(1, 4)),), c=(float(rng.uniform(1, 4)),))
        chosen = {
            n: row(n, float(rng.uniform(0, 6)), match=float(rng.uniform(0, 1))) for n in "abc" if rng.random() < 0.7
        }
        mean = float(np.mean(LatencyModel(work).simulate(chosen).verified_s))
        assert mean <= Case(workload=work).figures(chosen).latency_s + 0.1


def test_plans_that_are_too_slow_at_the_95th_percentile_are_cut_off():
    work = workload(a=(1.0,), b=(1.0,))
    slow = row("a", 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 9.0, match=1.0, gain=0.3)
    quick = row("b", 1.0, match=1.0, gain=0.1)
    slo = SLO(max_latency_s=5.0)
    model = LatencyModel(work)
    assert [*best_plans(work, [slow, quick], slo).plans[0].chosen] == ["a", "b"]
    assert [[*plan.chosen] for plan in best_plans(work, [slow, quick], slo, accept=model.keeps).plans] == [["b"], []]


def test_quantiles():
    assert quantiles([1.0, 2.0, 3.0]) == {
        "mean": 2.0,
        "p50": 2.0,
        "p95": pytest.approx(2.9),
        "p99": pytest.approx(2.98),
    }
