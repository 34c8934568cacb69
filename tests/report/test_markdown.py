"""The Markdown report: tables with the right number of cells, and foreign texts that stay texts."""

import re

import pytest
from analyses import HOSTILE, analysis, example, hostile, node
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sherlock.report.markdown import markdown
from sherlock.report.markdown_text import code, escaped
from sherlock.report.texts import visible

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
OURS = re.compile(r"</?(details|summary|code)>|<!-- -->")


def tables(text):
    """Each table as a list of rows, each a list of cells as plain text."""
    found, row = [], []
    for token in PARSER.parse(text):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close":
            found[-1].append(row)
        elif token.type == "inline" and found and token.level == 4:
            row.append(plain(token))
    return found


def plain(inline):
    return "".join(child.content for child in inline.children if child.type in ("text", "code_inline"))


def test_the_ranking_is_a_table_with_all_its_cells():
    ranking = tables(markdown(analysis()))[0]
    assert ranking[0][:4] == ["node", "vulnerability", "tier", "role"]
    assert {len(row) for row in ranking} == {len(ranking[0])}
    assert [row[0] for row in ranking[1:]] == ["work_total", "compose", "check"]
    assert ranking[1][1] == "0.93 [0.78, 1.00]"


@pytest.mark.parametrize(
    "of", [analysis(), hostile(), analysis([], right=0, wrong=0)], ids=["plain", "hostile", "empty"]
)
def test_what_it_is_made_of(of):
    text = markdown(of)
    tokens = PARSER.parse(text)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[0] == "Which steps matter"
    assert set(headings) <= {"Which steps matter", "The ranking", "What the faults did", "What this took"}
    for token in tokens:
        assert token.type != "fence"
        for child in token.children or ():
            assert child.type not in ("link_open", "image", "s_open", "fence")
            if child.type == "html_inline":
                assert OURS.fullmatch(child.content), child.content
    for table in tables(text):
        assert {len(row) for row in table} == {len(table[0])}
    assert text.endswith("\n")


def test_hostile_names_come_back_as_they_are():
    nodes = [row[0] for row in tables(markdown(hostile()))[0][1:]]
    assert nodes == [visible(HOSTILE[:60]), "n" * 300, "| --- |", "a" * 40 + "1", "a" * 40 + "2"]


def test_nobody_is_mentioned_and_nothing_is_linked():
    """GitHub finds mentions and links in the text that is left after parsing, code apart."""
    text = markdown(hostile())
    outside = []
    for token in PARSER.parse(text):
        depth = 0
        for child in token.children or ():
            if child.type == "html_inline":
                depth += {"<code>": 1, "</code>": -1}.get(child.content, 0)
                outside.append("\0")
            elif child.type == "text" and depth == 0:
                outside.append(child.content)
    found = re.findall(r"@\w|#\d|https?://|www\.|\bGH-\d", "".join(outside))
    assert found == []


def test_notes_stand_apart():
    text = markdown(analysis(notes=["only 3 clean runs were right"], partial="limit reached: 10 model calls"))
    assert "> [!NOTE]\n> Partial: limit reached: 10 model calls." in text
    assert "> Only 3 clean runs were right." in text


def test_examples_are_folded_away():
    text = markdown(analysis())
    assert text.count("<details>") == text.count("</details>") == 3
    assert "- before: `9 + 5 = 14`\n- after: `9 + 5 = 15`" in text
    assert "- after: (empty)" in markdown(analysis([node("a", examples=(example(after=""),))]))


def test_it_fits_in_a_comment():
    nodes = [
        node(f"node {i} " + "x" * 40, 0.5, examples=(example(before=HOSTILE * 9, after=HOSTILE * 9),))
        for i in range(120)
    ]
    text = markdown(analysis(nodes))
    assert 30_000 < len(text) < 65_536
    assert len(tables(text)[0]) == 121
    assert 0 < text.count("<details>") < 120
    assert re.search(r"Not shown: \d+ nodes; see `sherlock report FILE --node NAME`.", text)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_code_is_literal_also_in_a_table(text):
    table = tables(f"| a | b |\n| --- | --- |\n| {code(text)} | x |")[0]
    assert len(table[1]) == 2
    assert table[1][1] == "x"
    shown = visible(text)
    assert table[1][0] == (shown if shown.strip() else "(empty)")


@settings(deadline=None)
@given(st.text(st.sampled_from("ab1 .)([]{}<>*_`~|\\#!&;:/@-+=$\n\t"), max_size=30) | st.text())
def test_escaped_text_is_plain_text(text):
    tokens = PARSER.parse(f"> {escaped('x' + text)}")
    assert [token.type for token in tokens if token.type.endswith("_open")] == ["blockquote_open", "paragraph_open"]
    children = tokens[2].children
    assert {child.type for child in children} <= {"text", "html_inline", "text_special"}
    said = "".join(child.content for child in children if child.type != "html_inline")
    assert said == visible("x" + text).strip()
    for child in children:
        assert child.type != "html_inline" or child.content == "<!-- -->"


@pytest.mark.parametrize("text", ["# x", "- x", "+ x", "1. x", "12) x", "=== x", "> x", "| x"])
def test_escaped_text_starts_nothing(text):
    tokens = PARSER.parse(f"above\n\n{escaped(text)}")
    assert [token.type for token in tokens if token.type.endswith("_open")] == ["paragraph_open", "paragraph_open"]


def test_an_unescaped_text_would_be_seen():
    assert tables(f"| a |\n| --- |\n| {HOSTILE[:40]} |")[0][1] != [HOSTILE[:40]]
