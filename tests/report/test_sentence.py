"""The one sentence: what it advises, and how honest it is about what is not settled."""

import pytest
from analyses import analysis, estimate, hostile, node

from sherlock.report.sentence import headline, spoken


def said(*args, **changes):
    return spoken(headline(analysis(*args, **changes)))


def test_a_settled_ranking_names_the_node_the_figure_and_the_cases():
    assert said() == (
        "Guard `work_total` first: a fault there costs 0.93 [0.78, 1.00] of the score; "
        "settled at 95 % after 12 right cases."
    )


def test_the_fault_rate_is_said_where_it_is_known():
    nodes = [node("a", 0.9, fault_rate=estimate(0.35, 0.18, 0.57, 20)), node("b", 0.1, tier=2)]
    assert "and its output is wrong in 35 % [18, 57] of cases" in said(nodes)


def test_by_criticality_the_gain_comes_first_and_the_cost_of_a_fault_after_it():
    nodes = [node("a", 0.9, criticality=estimate(0.3, 0.1, 0.5)), node("b", 0.1, criticality=estimate(0.0), tier=2)]
    text = said(nodes, ranked_by="criticality")
    assert text.startswith("Guard `a` first: its right output would gain 0.30 [0.10, 0.50] of the score, a fault there")


def test_not_settled_names_the_first_tier_and_the_likeliest():
    nodes = [node("a", 0.9), node("b", 0.8), node("c", 0.7), node("d", 0.1, tier=2)]
    text = said(nodes, settled=False)
    assert text.startswith("Guard one of `a`, `b` or `c` (first tier), most likely `a`: ")
    assert text.endswith("; not settled after 12 right cases: add cases.")


def test_no_tier_at_all_says_that_no_node_stands_out():
    text = said([node("a", 0.9), node("b", 0.8)], settled=False)
    assert text.startswith("Guard one of `a` or `b`, for no node stands out, most likely `a`: ")


def test_settled_with_rivals_in_its_tier_says_so():
    nodes = [node("a", 0.9), node("b", 0.9), node("c", 0.1, tier=2)]
    text = said(nodes)
    assert text.startswith("Guard `a` first: ")
    assert text.endswith("(no other node beats it by more than 0.10), though `b` cannot be told from it.")


def test_several_at_the_top():
    nodes = [node("a", 0.9), node("b", 0.8), node("c", 0.1, tier=2)]
    settings = {"top": 2, "margin": 0.1, "confidence": 0.9}
    text = said(nodes, settings=settings)
    assert text.startswith("Guard `a` and `b` first: a fault in `a` costs 0.90")
    assert text.endswith("settled at 90 % after 12 right cases.")


@pytest.mark.parametrize(("right", "verb"), [(5, "5 clean runs were"), (1, "1 clean run was")])
def test_too_few_cases(right, verb):
    text = said([node("a", 0.9), node("b", 0.8)], right=right, settled=False)
    assert f"not settled, for only {verb} right: add cases until 8 or more are." in text


def test_after_the_last_look_more_cases_are_no_cure():
    assert said([node("a", 0.9), node("b", 0.8)], right=50, settled=False).endswith("so take them as equal.")


def test_partial_says_why_and_how_to_go_on():
    text = said(settled=False, partial="limit reached: 10 model calls", tiers=[["work_total", "compose"], ["check"]])
    assert text.startswith(
        "Partial (limit reached: 10 model calls). Guard one of `work_total` or `compose` (first tier)"
    )
    assert text.endswith("go on with --resume.")


def test_the_only_node_is_not_called_settled():
    assert said([node("a", 0.9)]).endswith("it is the only node that was analysed, after 12 right cases.")


def test_a_value_that_may_be_nothing():
    assert "costs 0.05 [0.00, 0.15] of the score, which may be nothing" in said(
        [node("a", 0.05, vulnerability=estimate(0.05, 0.0, 0.15)), node("b", 0.0)], settled=False
    )


def test_nothing_to_guard():
    nodes = [node("a", vulnerability=estimate(0.0, 0.0, 0.2)), node("b", vulnerability=estimate(0.0, 0.0, 0.2))]
    text = said(nodes, settled=True)
    assert text == (
        "No node need be guarded so far: no fault made the final answer worse (12 cases, the interval reaches 0.20)."
    )
    gains = [node("a", criticality=estimate(0.0, -0.1, 0.1)), node("b", criticality=estimate(-0.2, -0.3, 0.0))]
    assert "the right output put in at any node gained nothing" in said(gains, ranked_by="criticality")


def test_nothing_known_yet():
    unmeasured = [node("a", None, tier=None), node("b", None, tier=None)]
    assert said(unmeasured, right=0, wrong=0, partial="interrupted", settled=False) == (
        "Nothing can be said yet: no clean run was right so far (interrupted)."
    )
    assert "in any of the 3 right cases" in said(unmeasured, right=3, wrong=0, settled=False)
    assert said([], right=0, wrong=0, settled=False).startswith("Nothing can be said yet")


def test_a_dry_run_advises_nothing():
    assert said(partial="dry run: nothing was executed", settled=False) == ("Nothing was executed: this was a dry run.")


def test_long_tiers_are_cut():
    nodes = [node(f"n{i}", 0.5) for i in range(9)]
    assert "`n0`, `n1`, `n2`, `n3` or 5 others" in said(nodes, settled=False)


def test_hostile_texts_stay_on_one_line():
    text = spoken(headline(hostile()))
    assert "\n" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
