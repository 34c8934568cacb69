"""Reports of calibrations: what they say, and that nothing that they hold can break them."""

import io
import re

import pytest
from analyses import HOSTILE, estimate
from calibrations import calibration, hostile_calibration, row, verdict
from rich.cells import cell_len
from rich.console import Console
from test_markdown import OURS, PARSER, tables

from sherlock.report.calibration_sentence import headline
from sherlock.report.markdown_calibration import markdown
from sherlock.report.sentence import spoken
from sherlock.report.terminal_calibration import print_calibration, print_headline, print_node
from sherlock.usage import Usage


def shown(of, *, width=80, encoding="utf-8", node=None):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    console = Console(file=stream, width=width, highlight=False, _environ={})
    if node is None:
        print_calibration(of, console)
        print_headline(of, console)
    else:
        print_node(of, node, console)
    return stream.buffer.getvalue().decode(encoding)


def said(rows=None, **changes):
    return spoken(headline(calibration(rows, **changes)))


OF = {"plain": calibration(), "hostile": hostile_calibration(), "empty": calibration([], right=0, wrong=0)}


def test_the_sentence_says_what_is_worth_it_where_and_what_is_not():
    assert said() == (
        "Worth it: `resolve` at `add` gains 0.30 [0.15, 0.40] of the score for 212 tokens and $0.002 a time. "
        "Not shown to help: `self-reflection` at `reply`, 0.02 [-0.10, 0.10], which may be nothing. "
        "Harmful: `vote` at `read`, -0.20 [-0.40, -0.05]."
    )


def test_an_interval_that_includes_zero_is_never_called_worth_it():
    text = said([row("a", gain=0.4, low=-0.01), row("b", "vote", 0.2, -0.1)])
    assert text == (
        "No verifier is shown to be worth it: 2 whose intervals include 0, the likeliest `resolve` at `a` with "
        "0.40 [-0.01, 0.50] over 20 cases."
    )
    assert said([row("a", gain=0.0, low=-0.1), row("b", gain=0.0, low=-0.1)]).endswith(
        "2 verifiers changed no score in 20 cases."
    )
    assert said([row("a", gain=-0.3, low=-0.4, high=-0.1)]).startswith("No verifier is worth it. Harmful: `resolve`")


def test_at_each_node_the_one_that_gains_most_and_a_cheaper_one_that_helps():
    free = Usage()
    rows = [row(), row("add", "check", 0.2, 0.05, usage=free), row("add", "vote", 0.5, 0.2, dropped="beaten")]
    assert said(rows).startswith(
        "Worth it: `resolve` at `add` gains 0.30 [0.15, 0.40] of the score for 212 tokens and $0.002 a time "
        "(`check` gains 0.20 [0.05, 0.30] there without a model call)."
    )
    many = [row(f"n{place}") for place in range(6)]
    assert said(many).endswith("; and one at each of 3 more nodes.")


def test_an_unknown_price_is_not_called_nothing():
    rows = [row(usage=Usage(calls=20, tokens_in=4000, usd=None))]
    assert "for 200 tokens of unknown price a time" in said(rows)
    assert re.search(r"add +resolve .* unknown", shown(calibration(rows)))


def test_when_nothing_can_be_said():
    assert said([row(gain=None)], partial="interrupted").startswith("Partial (interrupted). Nothing can be said yet")
    assert said([row(failures=34)]) == "Nothing can be said: no verifier gave a single verdict."
    assert said(partial="dry run: nothing was executed") == "Nothing was executed: this was a dry run."


@pytest.mark.parametrize("width", [44, 60, 80, 140, 200])
@pytest.mark.parametrize("of", OF.values(), ids=OF)
def test_no_line_is_longer_than_the_console(of, width):
    for line in shown(of, width=width).splitlines():
        assert cell_len(line) <= width, line


@pytest.mark.parametrize("width", [60, 80, 140])
def test_every_column_is_in_some_table_at_every_width(width):
    rows = [*calibration().rows, row("read", failures=2, failure="timed out after 60 s")]
    text = shown(calibration(rows), width=width)
    titles = ("gain", "tokens", "dollars", " s", "Wh", "repaired", "broken", "match rate", "detection", "correction")
    for title in (*titles, "false alarm", "failed"):
        assert any(line.startswith("node") and title in line for line in text.splitlines()), title


def test_what_a_verification_costs_is_per_verification():
    text = shown(calibration(), width=200)
    line = next(line for line in text.splitlines() if line.startswith("add"))
    assert line.split()[:9] == ["add", "resolve", "0.30", "[0.15,", "0.40]", "212", "$0.002", "0.42", "0.02"]
    assert "[0.005, 0.06] published" in line


def test_a_figure_that_is_drawn_lies_round_zero():
    line = next(line for line in shown(calibration(), width=140).splitlines() if "●" in line)
    assert line.index("●") > line.index("├") > line.index("resolve")


def test_why_a_row_was_dropped_and_what_failed():
    rows = [
        row("add", "check", label='check {"regex": "a"}', settings={"regex": "a"}),
        row(
            "add",
            "check",
            label='check {"regex": "b"}',
            settings={"regex": "b"},
            dropped='beaten by check {"regex": "a"} on 12 cases, at no lower price',
            failures=3,
            failure="raised: KeyError",
        ),
    ]
    text = " ".join(shown(calibration(rows, skipped=["case '3' was interrupted"])).split())
    assert "check b at add was dropped early: beaten by check a on 12 cases, at no lower price." in text
    assert "check b gave no verdict in 3 of 34 verifications; the first, at add: raised: KeyError." in text
    assert "Skipped: case '3' was interrupted." in text
    assert "`sherlock plan` measures whole plans" in text


def test_verifiers_of_one_name_are_told_apart_by_what_differs():
    settings = [{"n": 3, "model": "m"}, {"n": 5, "model": "m"}, {"model": "m"}]
    rows = [row("add", "vote", label=f"vote {s}", settings=s) for s in settings]
    names = [cells[1] for cells in tables(markdown(calibration(rows)))[0][1:]]
    assert names == ["vote 3", "vote 5", "vote"]
    settings = [{"n": 3, "extract": "a"}, {"n": 5, "extract": "b"}]
    rows = [row("add", "vote", label=f"vote {s}", settings=s) for s in settings]
    names = [cells[1] for cells in tables(markdown(calibration(rows)))[0][1:]]
    assert names == ["vote extract=a n=3", "vote extract=b n=5"]


def test_all_about_one_node():
    text = shown(calibration([row(), row("add", "vote", failures=1, failure="no answer")]), node="add")
    assert text.startswith("add\n")
    assert "repaired     30 % [14, 52]" in text or "repaired       30 % [14, 52]" in text
    assert "first failure  no answer" in text
    assert "case 7: rejected, the score rises by 1.00" in text
    assert "case 7: accepted, the score stays" in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_encoding_and_hostile_texts(encoding):
    for of in OF.values():
        text = shown(of, encoding=encoding, width=100)
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "\x1b" not in shown(hostile_calibration(), node=HOSTILE[:60])


# Markdown


@pytest.mark.parametrize("of", OF.values(), ids=OF)
def test_the_markdown_is_what_it_is_meant_to_be(of):
    text = markdown(of)
    tokens = PARSER.parse(text)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[0] == "What verifiers buy"
    assert set(headings) <= {"What verifiers buy", "The figures", "What verdicts did", "What this took"}
    for token in tokens:
        assert token.type != "fence"
        for child in token.children or ():
            assert child.type not in ("link_open", "image", "s_open")
            if child.type == "html_inline":
                assert OURS.fullmatch(child.content), child.content
    for table in tables(text):
        assert {len(cells) for cells in table} == {len(table[0])}
    assert text.count("<details>") == text.count("</details>")
    assert text.endswith("\n")


def test_the_figures_in_markdown():
    [table] = tables(markdown(calibration()))
    assert table[0][:4] == ["node", "verifier", "gain", "tokens"]
    assert table[1][:5] == ["add", "resolve", "0.30 [0.15, 0.40]", "212", "$0.002"]


def test_it_fits_in_a_comment():
    examples = (verdict(before=HOSTILE * 9, after=HOSTILE * 8),) * 2
    rows = [row(f"node {place}", examples=examples, repaired=estimate(0.5)) for place in range(90)]
    text = markdown(calibration(rows))
    assert len(text) < 65_536
    assert re.search(r"Not shown: \d+ rows; see `sherlock report FILE --node NAME`.", text)
