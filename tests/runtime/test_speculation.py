"""How far a run goes on past an output: the equations by hand, the budget, and when `auto` switches itself off."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sherlock.placement.plan import NodeFigures, Placement, PlacementFigures, Plan
from sherlock.runtime.learner import ROLLBACK_S, Learner
from sherlock.runtime.policy import Policy
from sherlock.runtime.speculation import depth_allowed, expected_waste, window

CHAIN = [["b"], ["c"], ["d"]]


def learner(match_rate=0.8, verifier_s=2.5, latency=None, usd=0.01, verifier_usd=0.01, placed=("b", "c", "d")):
    """A learner that starts from a plan: every node below `a` takes a second, unless `latency` says otherwise."""
    names = ("a", "b", "c", "d", "e", "p/x", "p/y")
    expected = PlacementFigures(match_rate=match_rate, latency_s=verifier_s, usd=verifier_usd)
    return Learner(
        Plan(
            placements={name: Placement(verifier="schema", expected=expected) for name in ("a", *placed)},
            nodes={name: NodeFigures(latency_s=(latency or {}).get(name, 1.0), usd=usd) for name in names},
        )
    )


def decide(levels=CHAIN, *, known=None, speculate=True, spent=0.0, node="a", **policy):
    return depth_allowed(
        node,
        policy=Policy(**policy),
        learner=learner() if known is None else known,
        levels=levels,
        speculate=speculate,
        spent_waste=spent,
    )


def test_the_window_of_equation_8():
    levels = [["b"], ["c", "d"], ["e"]]
    seconds = {"b": 1.0, "c": 2.0, "d": 0.5, "e": 4.0}
    assert window(levels, seconds, 0.9) == set()
    assert window(levels, seconds, 1.0) == set()
    assert window(levels, seconds, 1.1) == {"b"}
    assert window(levels, seconds, 3.1) == {"b", "c", "d"}
    assert window(levels, seconds, 7.1) == {"b", "c", "d", "e"}
    assert window([], seconds, 1.0) == set()
    # A loop comes by again: its nodes are in from the first time on.
    assert window([["b"], ["c"], ["b"]], seconds, 3.5) == {"b", "c"}
    # The nodes of a subgraph run one after another.
    assert window([["p/x", "p/y"], ["b"]], {"p/x": 1.0, "p/y": 1.0, "b": 1.0}, 1.5) == set()


def test_the_waste_of_equation_6():
    assert expected_waste(0.75, [0.1, 0.3]) == pytest.approx(0.1)
    assert expected_waste(1.0, [5.0]) == 0.0
    assert expected_waste(0.0, []) == 0.0


def test_blocking():
    assert decide(mode="blocking").depth == 0
    assert decide(mode="speculate", speculate=False).depth == 0
    assert decide(mode="auto", speculate=False).depth == 0
    assert decide(max_depth=0).depth == 0
    assert decide(mode="blocking").why == "blocking"
    assert decide(mode="blocking").expected_waste_usd == 0.0


def test_what_is_under_way_when_the_verdict_is_due_has_begun():
    assert decide(known=learner(verifier_s=0.5), budget=10.0).depth == 1
    assert decide(known=learner(verifier_s=1.5), budget=10.0).depth == 2
    assert decide(known=learner(verifier_s=1.5), budget=10.0).why == "window"
    # But a wait that is shorter than a rollback is waited.
    assert decide(known=learner(verifier_s=1 + ROLLBACK_S / 2), budget=10.0).depth == 1
    assert decide(known=learner(verifier_s=ROLLBACK_S / 2), budget=10.0).depth == 0
    assert decide(known=learner(verifier_s=ROLLBACK_S / 2)).depth == 0


def test_without_a_budget_the_window_is_what_begins_before_the_verdict():
    for seconds in (0.5, 1.5, 100.0):
        assert (decide(known=learner(verifier_s=seconds)).depth, decide(known=learner()).why) == (8, "max_depth")


def test_where_the_graph_ends_nothing_is_held_back():
    assert decide(known=learner(verifier_s=2.5)).depth == 8
    assert decide(known=learner(verifier_s=2.5)).why == "max_depth"
    assert decide([], known=learner(verifier_s=0.0)).depth == 8
    assert decide(known=learner(verifier_s=100.0), max_depth=2).depth == 2


def test_what_is_not_known_is_not_held_against_it():
    assert decide(known=Learner()).depth == 8
    assert decide(known=Learner(), mode="auto").depth == 8
    assert decide(known=Learner()).expected_waste_usd == 0.0


def test_with_a_budget_the_usual_verifier_counts():
    known = learner(verifier_s=0.5)
    for _ in range(20):
        known.record_verification("a", 0.5, 0.01, matched=True)
    known.record_verification("a", 1.5, 0.01, matched=True)
    assert decide(known=known).depth == 8
    assert decide(known=known, budget=10.0).depth == 1


def test_a_budget_holds_back_what_it_cannot_bear():
    m = learner().match_rate("a").mean
    each = (1 - m) * 0.02
    whole = decide(budget=10.0)
    assert (whole.depth, whole.why) == (8, "max_depth")
    assert whole.expected_waste_usd == pytest.approx(3 * each)
    some = decide(budget=2.5 * each)
    assert (some.depth, some.why) == (2, "budget")
    assert some.expected_waste_usd == pytest.approx(2 * each)
    assert decide(budget=2.5 * each, spent=each).depth == 1
    assert decide(budget=2.5 * each, spent=2 * each).depth == 0
    assert decide(budget=0.0).depth == 0
    # Without verifiers below, half of it.
    assert decide(budget=10.0, known=learner(placed=())).expected_waste_usd == pytest.approx(1.5 * each)


def test_what_costs_nothing_fits_any_budget():
    assert decide(budget=0.0, known=learner(usd=0.0, placed=())).depth == 8
    assert decide([], budget=0.0).depth == 8


def test_a_price_that_is_not_known_cannot_be_shown_to_fit():
    known = learner()
    known.record_execution("c", 1.0, None)
    assert (decide(known=known, budget=10.0).depth, decide(known=known, budget=10.0).why) == (1, "price not known")
    assert decide(known=known).depth == 8
    assert decide(known=learner(usd=None), budget=10.0).depth == 0
    assert decide(known=learner(verifier_usd=None), budget=10.0).depth == 0
    assert decide(known=Learner(), budget=10.0).why == "price not known"


def test_auto_weighs_seconds_saved_against_seconds_lost():
    assert decide(mode="auto", known=learner(match_rate=0.9)).depth == 8
    lost = decide(mode="auto", known=learner(match_rate=0.05))
    assert (lost.depth, lost.why, lost.expected_waste_usd) == (0, "does not pay", 0.0)
    # One branch on the way to the verdict is worth it, ten at once are not; each is thrown away whole.
    wide = [["b"], [f"w{i}" for i in range(10)]]
    known = learner(match_rate=0.7, verifier_s=1.9, placed=())
    for name in wide[1]:
        known.record_execution(name, 1.0, 0.01)
    assert decide(wide, mode="auto", known=known).depth == 1
    assert decide(wide, mode="speculate", known=known).depth == 8


def test_auto_waits_for_a_verdict_that_is_quicker_than_a_rollback():
    known = learner(match_rate=0.5, verifier_s=0.1)
    known.record_rollback(0.5)
    assert decide(mode="auto", known=known).depth == 0


def test_auto_counts_the_rollback():
    known = learner(match_rate=0.3, verifier_s=1.0, placed=())
    assert decide(mode="auto", known=known).depth > 0
    known.record_rollback(0.3)
    assert decide(mode="auto", known=known).depth == 0


def test_auto_counts_the_verifications_that_are_thrown_away():
    at_first = {"b": 0.1}
    assert decide([["b"]], mode="auto", known=learner(0.3, 1.0, at_first, placed=())).depth > 0
    assert decide([["b"]], mode="auto", known=learner(0.3, 1.0, at_first, placed=("b",))).depth == 0


def test_auto_is_switched_off_by_evidence_not_by_lack_of_it():
    known = learner(match_rate=0.4, placed=())
    assert known.match_rate("a").mean < 0.5
    assert decide(mode="auto", known=known).depth > 0
    for k in range(100):
        known.record_verification("a", 2.5, 0.01, matched=k % 5 < 2)
    assert decide(mode="auto", known=known).depth == 0


def test_the_nodes_of_the_same_subgraph_may_run_at_once():
    beside = [["p/x", "p/y"], ["p/z"]]
    known = learner(placed=())
    for node in ("p/x", "p/y", "p/z"):
        known.record_execution(node, 1.0, 0.01)
    known.record_verification("p/a", 1.5, 0.01, matched=True)
    known.record_verification("z", 1.5, 0.01, matched=True)
    assert decide(beside, known=known, node="p/a", budget=10.0).depth == 8
    assert decide(beside, known=known, node="z", budget=10.0).depth == 1


def test_auto_keeps_the_budget_too():
    assert decide(mode="auto", known=learner(match_rate=0.9), budget=0.0).why == "budget"


match_rates = st.floats(0, 1)
amounts = st.floats(0, 100)
levels_drawn = st.lists(
    st.lists(st.sampled_from(["b", "c", "d", "e", "p/x", "p/y"]), min_size=1, max_size=3, unique=True), max_size=6
)
modes = st.sampled_from(["speculate", "auto"])


@st.composite
def learners(draw, match_rate=None):
    return learner(
        match_rate=draw(match_rates) if match_rate is None else match_rate,
        verifier_s=draw(amounts),
        latency={name: draw(amounts) for name in ("b", "c", "d", "e", "p/x", "p/y")},
        usd=draw(st.none() | amounts),
        verifier_usd=draw(st.none() | amounts),
        placed=draw(st.sets(st.sampled_from(["b", "c", "d"]))),
    )


@given(st.lists(st.tuples(levels_drawn, learners()), max_size=8), amounts, modes, st.integers(0, 8))
def test_the_expected_waste_of_a_run_never_exceeds_its_budget(executions, budget, mode, max_depth):
    spent = 0.0
    for levels, known in executions:
        decision = decide(levels, known=known, spent=spent, mode=mode, budget=budget, max_depth=max_depth)
        assert 0 <= decision.depth <= max_depth
        assert decision.expected_waste_usd >= 0
        spent += decision.expected_waste_usd
    assert spent <= budget


@settings(deadline=None)
@given(st.data(), levels_drawn, modes, st.none() | amounts)
def test_the_better_the_match_rate_the_further(data, levels, mode, budget):
    low, high = sorted((data.draw(match_rates), data.draw(match_rates)))
    seed = data.draw(st.integers(0, 2**32))

    def depth(match_rate):
        rng = random.Random(seed)
        known = learner(
            match_rate=match_rate,
            verifier_s=rng.uniform(0, 5),
            latency={name: rng.uniform(0, 3) for name in ("b", "c", "d", "e", "p/x", "p/y")},
            usd=rng.uniform(0, 50),
        )
        return decide(levels, known=known, mode=mode, budget=budget).depth

    assert depth(low) <= depth(high)


@given(levels_drawn, learners(), modes, st.none() | amounts)
def test_more_depth_and_more_budget_never_shorten_it(levels, known, mode, budget):
    depths = [decide(levels, known=known, mode=mode, budget=budget, max_depth=n).depth for n in range(8)]
    assert all(a <= b for a, b in pairwise(depths)), depths
    if budget is not None:
        assert decide(levels, known=known, mode=mode, budget=budget, max_depth=7).depth <= (
            decide(levels, known=known, mode=mode, budget=2 * budget, max_depth=7).depth
        )


def served(match_rate, mode, runs=300, seed=7, known=None):
    """Runs of `a` and what follows, as a guard would have them: the depths that were allowed, seconds, seconds lost."""
    rng = random.Random(seed)
    known = known or Learner(placed=["a"])
    depths, took, lost = [], 0.0, 0.0
    for _ in range(runs):
        verifier, slow = rng.lognormvariate(1.0, 0.4), [rng.lognormvariate(1.5, 0.4) for _ in CHAIN]
        matched = rng.random() < match_rate
        depth = min(decide(known=known, mode=mode).depth, len(CHAIN))
        begun = min(verifier, sum(slow[:depth]))
        took += verifier + sum(slow) - begun * matched
        lost += begun * (not matched)
        known.record_verification("a", verifier, matched=matched)
        for (name,), seconds in zip(CHAIN, slow, strict=True):
            known.record_execution(name, seconds)
        depths.append(depth)
    return depths, took, lost


def test_auto_switches_off_where_verdicts_mostly_change_the_output():
    depths, _, lost = served(0.12, "auto")
    always, _, lost_always = served(0.12, "speculate")
    assert depths[0] > 0
    assert not any(depths[20:])
    assert all(always)
    assert lost < lost_always / 10


def test_auto_stays_on_where_verdicts_mostly_agree():
    depths, took, lost = served(0.9, "auto")
    _, blocking, nothing = served(0.9, "blocking")
    _, eager, _ = served(0.9, "speculate")
    assert sum(map(bool, depths)) > 290
    assert blocking - took > 0.95 * (blocking - eager) > 0
    assert lost < blocking - took
    assert nothing == 0.0


def test_auto_learns_that_a_verifier_was_mended():
    known = Learner(placed=["a"])
    assert not any(served(0.12, "auto", known=known)[0][-50:])
    assert all(served(0.9, "auto", known=known)[0][-50:])


def delays(sigma, verifier_s, runs=1000, seed=3):
    """Chains of six verified nodes whose verdicts agree: the end of the last node, over that without verification."""
    rng, names = random.Random(seed), [f"n{k}" for k in range(6)]
    known, below = Learner(placed=names), [[[name] for name in names[k + 1 :]] for k in range(6)]
    found = []
    for _ in range(runs):
        now, plain, held = 0.0, 0.0, []
        for step, name in enumerate(names):
            now = max([now, *(verdict for last, verdict in held if last < step)])
            took, check = rng.lognormvariate(0, sigma), verifier_s * rng.lognormvariate(0, sigma)
            now, plain = now + took, plain + took
            known.record_execution(name, took)
            held.append((step + decide(below[step], known=known, node=name).depth, now + check))
            known.record_verification(name, check, matched=True)
        found.append(now / plain)
    return sorted(found[10:])


@pytest.mark.parametrize("sigma", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("verifier_s", [0.1, 0.5, 0.9, 1.0, 2.0, 5.0])
def test_runs_take_hardly_longer_than_without_verification(sigma, verifier_s):
    found = delays(sigma, verifier_s)
    assert found[0] >= 1 - 1e-9
    assert sum(found) / len(found) < 1.01
    assert found[int(0.99 * len(found))] < 1.15
