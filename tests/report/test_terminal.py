"""The terminal report: no line too long, nothing but text where that is asked for, hostile texts harmless."""

import io
import re
import unicodedata

import pytest
from analyses import HOSTILE, analysis, estimate, hostile, node
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from sherlock.report.terminal import print_analysis, print_headline, print_node


def shown(of, *, width=80, encoding="utf-8", node=None, **options):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(file=stream, width=width, highlight=False, _environ={}, **options)
    if node is None:
        print_analysis(of, console)
        print_headline(of, console)
    else:
        print_node(of, node, console)
    return stream.buffer.getvalue().decode(encoding)


def full():
    """Every column has something to show."""
    nodes = [
        node("intake", 0.92, criticality=estimate(0.31), fault_rate=estimate(0.28, 0.16, 0.43, 40), role="initial"),
        node("work_total", 0.5, criticality=estimate(0.1), fault_rate=estimate(0.2, 0.1, 0.3, 40), tier=2),
        node(
            "check",
            1.0,
            criticality=estimate(0.0),
            fault_rate=estimate(0.0),
            tier=2,
            role="terminal",
            kinds=("output",),
        ),
    ]
    return analysis(nodes, ranked_by="criticality", notes=["only 3 clean runs were right"])


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
@pytest.mark.parametrize(
    "of", [full(), analysis(), hostile(), analysis([], right=0, wrong=0)], ids=["full", "plain", "hostile", "empty"]
)
def test_no_line_is_longer_than_the_console(of, width):
    for line in shown(of, width=width).splitlines():
        assert cell_len(line) <= width, line


def test_notes_come_before_the_figures():
    text = shown(analysis(notes=["only 3 clean runs were right"], partial="limit reached: 10 model calls"))
    assert text.index("Partial: limit reached") < text.index("Only 3 clean runs were right.") < text.index("vulnerab")


@pytest.mark.parametrize("width", [60, 80, 140])
def test_every_column_is_in_some_table_at_every_width(width):
    text = shown(full(), width=width)
    titles = ("repair gain", "tier", "role", "vulnerability", "fault rate", "fan-in", "trials", "masked", "rescue")
    for title in (*titles, "exposure", "instability", "faults"):
        assert any(line.startswith("node ") and title in line for line in text.splitlines()), title


def test_the_ranked_table():
    lines = shown(analysis(), width=80).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("node"))
    assert lines[at].split() == ["node", "vulnerability", "tier", "role", "-0.25", "1", "fan-in", "trials"]
    assert lines[at + 2].startswith("work_total   0.93 [0.78, 1.00]     1  middle")
    assert [lines[at + row].index("●") for row in (2, 3, 4)] == [61, 54, 50]
    assert [line.split()[0] for line in lines[at + 2 : at + 5]] == ["work_total", "compose", "check"]


def test_the_end_is_the_sentence_that_matters():
    text = shown(analysis(), width=200)
    assert text.splitlines()[-1].startswith("Guard work_total first: a fault there costs 0.93")
    assert "Today: 12 of 20 cases right, 60 % [38, 79]; mean score 0.70" in text
    assert "310 (31 % of the 1,000 that re-running everything would take)" in text


@pytest.mark.parametrize("width", range(50, 90, 3))
def test_a_figure_stays_with_its_interval(width):
    end = shown(full(), width=width).rpartition("Guard ")[2]
    assert [figure for line in end.splitlines() for figure in re.findall(r"[\d.]+(?: %)? \[[\d., ]+\]", line)] == [
        "0.31 [0.16, 0.41]",
        "0.92 [0.77, 1.00]",
        "28 % [16, 43]",
    ]


def test_missing_figures_have_their_reason():
    text = shown(analysis([node("a", 0.9), node("b", None, rescue=None)]), width=200)
    assert "no vulnerability of 1 node: no fault fitted in a case that was right" in text
    assert "no rescue of 1 node: no fault was injected in a case that was wrong" in text
    assert "no repair gain and no fault rate: needs gold text for the node (`references` in the cases)" in text


def test_fault_classes_that_differ_are_pointed_out():
    text = shown(full(), width=200)
    assert "compare nodes with different classes with care" in text
    assert "Vulnerabilities are over prompt, context and output faults" in shown(analysis(), width=200)


def test_unknown_prices_and_replayed_calls_are_said():
    from sherlock.analysis.artefact import Timing
    from sherlock.usage import Usage

    unknown = shown(analysis(timing=Timing(spent=Usage(calls=412, usd=None))), width=200)
    assert "cost             unknown: no price is known for a model" in unknown
    replayed = shown(analysis(timing=Timing(spent=Usage(calls=2))), width=200)
    assert "412, of which 2 were made now" in replayed


def test_plain_text_where_it_is_no_terminal():
    assert "\x1b" not in shown(full())


def test_no_colour_where_it_is_not_wanted():
    text = shown(full(), force_terminal=True, no_color=True, color_system="truecolor")
    assert "36m" not in text
    assert "36m" in shown(full(), force_terminal=True, color_system="standard")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_any_encoding(encoding):
    for of in (full(), hostile()):
        text = shown(of, encoding=encoding)
        assert max(map(cell_len, text.splitlines())) <= 80
    assert re.search(r" \|-*o-*\| ", shown(full(), encoding="ascii", width=140))


def test_hostile_texts_do_nothing():
    text = shown(hostile(), width=120)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert r"\x1b[31mred\x1b[0m \r\n- item" in text
    assert "[bold red]x[/]" in text
    assert len({line.split()[0] for line in text.splitlines() if line.startswith("aaaa")}) == 2


def test_details_of_a_node():
    text = shown(full(), node="work_total")
    assert "repair gain    0.10 [-0.05, 0.20]" in text
    assert "off_by_one  output  1.00 [0.60, 1.00]      4" in text
    assert "output fault off_by_one in case 7: the score falls from 1.00 to 0.00" in text
    assert "visit 2: the score stays 1.00 (masked)" in text
    assert "fan-in 1, fan-out 1" in text
    assert max(map(cell_len, shown(hostile(), node=HOSTILE[:60]).splitlines())) <= 80


def test_skipped_cases_and_errors_are_listed_but_not_endlessly():
    from sherlock.analysis.artefact import CaseResult

    failed = [CaseResult(id=str(i), score=0.0, right=False, error="ValueError: no") for i in range(9)]
    text = shown(analysis(cases=failed, skipped=[f"case 's{i}' stopped" for i in range(9)]), width=200)
    assert text.count("raised: ValueError: no") == 3
    assert "The clean runs of 6 more cases raised too." in text
    assert "Skipped: 4 more cases." in text


@settings(deadline=None, max_examples=60)
@given(st.text(min_size=1), st.text(), st.sampled_from([30, 80]), st.sampled_from(["utf-8", "ascii"]))
def test_whatever_the_texts_are(name, text, width, encoding):
    from analyses import example

    of = analysis([node(name, 0.5, examples=(example(before=text, after=text, answer=text, case=text or "1"),))])
    page = shown(of, width=width, encoding=encoding)
    for line in page.split("\n"):
        assert cell_len(line) <= width
        assert not any(unicodedata.category(letter) == "Cc" for letter in line)
