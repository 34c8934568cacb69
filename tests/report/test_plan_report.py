"""Reports of plans: what they say, and that nothing that they hold can break them."""

import io

import pytest
from analyses import HOSTILE, estimate
from calibrations import hostile_plan, plan
from rich.cells import cell_len
from rich.console import Console
from test_markdown import OURS, PARSER, tables

from sherlock.placement.plan import Expectation, Placement, Plan
from sherlock.placement.slo import SLO
from sherlock.report.frontier import frontier
from sherlock.report.markdown_plan import markdown
from sherlock.report.plan_content import headline
from sherlock.report.sentence import spoken
from sherlock.report.terminal_plan import print_frontier, print_headline, print_nearest, print_node, print_plan


def shown(of, *, width=80, encoding="utf-8", how=None):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(file=stream, width=width, highlight=False, _environ={})
    if how is not None:
        how(of, console)
    else:
        print_plan(of, console)
        print_headline(of, console)
    return stream.buffer.getvalue().decode(encoding)


def said(**changes):
    return spoken(headline(plan(**changes)))


def expectation(**changes):
    fields = {"basis": "screened only", "score": estimate(0.9, 0.8, 0.97), "gain": estimate(0.2, 0.1, 0.3)}
    return Expectation(**{**fields, **changes})


OF = {"plain": plan(), "hostile": hostile_plan(), "empty": Plan(), "nothing": plan({})}


def test_the_sentence():
    assert said() == (
        "Verify `add` with `check`, `reply` with `resolve`: the score is expected to be 0.90 [0.80, 0.97], a gain of "
        "0.20 [0.10, 0.30], for $0.004 and 424 tokens a run; measured: whole plans were run on cases that they were "
        "not chosen on."
    )
    assert said(expectation=expectation(usd=0.0, tokens=0)).endswith(
        "without a model call; screened only: nothing was run whole, so it may promise too much."
    )
    assert "for an unknown price and 9 tokens a run" in said(expectation=expectation(tokens=9))
    assert "a gain of 0.20 [-0.10, 0.30], which may be nothing, " in said(
        expectation=expectation(gain=estimate(0.2, -0.1, 0.3))
    )
    assert said(expectation=Expectation(basis="screened only")).endswith("alone: nothing was measured.")
    assert said(placements={}) == ("Verify nothing: within what was asked no verifier is worth its price at `read`.")
    many = {f"n{place}": Placement(verifier="vote") for place in range(5)}
    assert said(placements=many).startswith("Verify `n0` with `vote`, `n1` with `vote`, `n2` with `vote`, and 2 more n")


def test_what_the_report_says():
    text = " ".join(shown(plan(), width=120).split())
    assert text.startswith("2 nodes are verified")
    assert "add check 0.30 [0.15, 0.40] 70 % 212 $0.002 0.4 1 0.4 [0.1, 1.2] published correct" in text
    assert 'Why add check {"regex": "[0-9]+"}; gained most' in text
    assert "last verdict mean 1.2 s, median 1.0 s, p95 2.5 s, p99 4.0 s" in text
    assert "within a mean score of 0.85 or more; at most $0.01 for verification" in text
    assert "What was not taken read vote: it gained nothing here" in text


@pytest.mark.parametrize("width", [44, 60, 80, 140])
@pytest.mark.parametrize("of", OF.values(), ids=OF)
def test_no_line_is_longer_than_the_console(of, width):
    for how in (None, print_nearest):
        for line in shown(of, width=width, how=how).splitlines():
            assert cell_len(line) <= width, line


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_encoding_and_hostile_texts(encoding):
    for of in OF.values():
        text = shown(of, encoding=encoding)
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "and 78 more" in shown(hostile_plan())


def test_one_node():
    text = shown(plan(), how=lambda of, console: print_node(of, "add", console))
    assert 'verifier    check {"regex": "[0-9]+"}' in text
    assert "on reject   correct" in text
    assert "Nothing is placed here." in shown(plan(), how=lambda of, console: print_node(of, "read", console))
    assert "not even without a verifier" in shown(None, how=print_nearest)


@pytest.mark.parametrize("of", OF.values(), ids=OF)
def test_the_markdown_is_what_it_is_meant_to_be(of):
    text = markdown(of)
    tokens = PARSER.parse(text)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[0] == "What to verify"
    for token in tokens:
        assert token.type != "fence"
        for child in token.children or ():
            assert child.type not in ("link_open", "image", "s_open")
            if child.type == "html_inline":
                assert OURS.fullmatch(child.content), child.content
    for table in tables(text):
        assert {len(cells) for cells in table} == {len(table[0])}
    assert len(text) < 65_536


def test_what_was_not_taken_is_cut_where_it_gets_too_long():
    text = markdown(hostile_plan().model_copy(update={"rejected": hostile_plan().rejected * 20}))
    assert len(text) < 65_536
    assert "Not shown: " in text
    assert HOSTILE not in text


# the frontier

ROWS = {("a", "cheap"): (0.1, 0.001), ("a", "dear"): (0.2, 0.01), ("b", "cheap"): (0.15, 0.004)}
CHOICES = [{}, *({row[0]: row[1]} for row in ROWS), {"a": "cheap", "b": "cheap"}, {"a": "dear", "b": "cheap"}]


def best(slo):
    """The best of all choices under a budget, by trying each."""
    found = None
    for chosen in CHOICES:
        gain = sum(ROWS[item][0] for item in chosen.items())
        usd = sum(ROWS[item][1] for item in chosen.items())
        over = slo.max_usd is not None and usd > slo.max_usd
        if over or (slo.max_verifiers is not None and len(chosen) > slo.max_verifiers):
            continue
        if found is None or gain > found.expectation.gain.value:
            score = estimate(0.5 + gain, 0.4 + gain, 0.55 + gain)
            expected = expectation(score=score, gain=estimate(gain), usd=usd)
            found = plan({node: Placement(verifier=name) for node, name in chosen.items()}, expectation=expected)
    return found


def test_the_frontier_has_every_step():
    found = frontier(best, SLO(min_accuracy=0.99))
    assert found.measure.limit == "max_usd"
    steps = [(round(found.cost(each), 4), round(each.expectation.score.value, 2)) for each in found.plans]
    assert steps == [(0, 0.5), (0.001, 0.6), (0.004, 0.65), (0.005, 0.75), (0.014, 0.85)]
    text = shown(found, how=print_frontier)
    drawn = [line for line in text.splitlines() if "●" in line]
    assert [line.split()[1] for line in drawn] == ["$0.00", "$0.001", "$0.004", "$0.005", "$0.014"]
    assert [line.index("●") for line in drawn] == sorted({line.index("●") for line in drawn})
    assert "4   cheap at a, cheap at b" in text


def test_a_frontier_of_nothing():
    assert "There is nothing to choose from." in shown(frontier(lambda _: None, SLO()), how=print_frontier)
