"""What a node sees of the work upstream of it, and taking it away."""

import random
from collections import UserDict
from dataclasses import dataclass
from enum import StrEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from pydantic import BaseModel

from sherlock.analysis.context import history, with_history
from sherlock.errors import InjectionError


class Color(StrEnum):
    RED = "red"


class Model(BaseModel):
    q: str = ""
    a: str = ""
    n: int = 0


@dataclass(frozen=True)
class Data:
    q: str = ""
    a: str = ""
    n: int = 0


def texts(value, written, reads=None):
    return [piece.text for piece in history(value, written, reads)]


@pytest.mark.parametrize("form", [dict, Model, Data])
def test_keys_that_were_written_are_history(form):
    value = form(q="asked", a="answered", n=3)
    assert texts(value, ["n", "a"]) == ["3", "answered"]
    assert texts(value, ["n", "a"], frozenset({"a", "q"})) == ["answered"]
    pieces = history(value, ["n", "a"])
    assert with_history(value, pieces, ["3"]) == form(q="asked", a="", n=3)
    assert with_history(value, pieces, []) == form(q="asked", a="", n=0)
    assert with_history(value, pieces, ["7", "else"]) == form(q="asked", a="else", n=7)
    assert value == form(q="asked", a="answered", n=3)


def test_a_history_that_was_not_there_is_refused():
    value = {"a": "one", "b": "two"}
    pieces = history(value, ["a", "b"])
    with pytest.raises(InjectionError, match="not in the history or not in its order"):
        with_history(value, pieces, ["three"])
    with pytest.raises(InjectionError, match="not in the history or not in its order"):
        with_history({**value, "c": "x"}, history({**value, "c": "x"}, ["a", "b", "c"]), ["two", "one"])
    with pytest.raises(InjectionError, match="cannot be made"):
        with_history({"n": 3, "a": "x"}, history({"n": 3, "a": "x"}, ["n", "a"]), ["x", "3"])


def test_what_is_blank_or_cannot_be_is_no_history():
    value = {"none": None, "empty": "", "zero": 0, "color": Color.RED, "object": object(), "set": {1}}
    assert texts(value, list(value)) == ["[1]"]
    assert texts("a bare state", ["__root__"]) == []
    assert texts(UserDict(a="x"), ["a"]) == ["x"]


def test_the_text_of_a_message_is_blanked_to_a_plain_text():
    value = {"a": AIMessage("said").text}
    pieces = history(value, ["a"])
    assert with_history(value, pieces, []) == {"a": ""}


def call(*ids):
    return AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": i} for i in ids])


TURNS = [
    SystemMessage("system"),
    HumanMessage("first"),
    call("1", "2"),
    ToolMessage("same", tool_call_id="1"),
    ToolMessage("same", tool_call_id="2"),
    AIMessage("answer"),
    HumanMessage("second"),
    call("3"),
    ToolMessage("other", tool_call_id="3"),
    call("4"),
    ToolMessage("other", tool_call_id="4"),
]


def test_messages_are_taken_by_exchanges():
    value = {"messages": TURNS}
    pieces = history(value, ["messages"])
    assert [piece.span for piece in pieces] == [(1, 2), (2, 5), (5, 6), (7, 9), (9, 11)]
    assert with_history(value, pieces, []) == {"messages": [TURNS[0], TURNS[6]]}
    assert with_history(value, pieces, [pieces[2].text]) == {"messages": [TURNS[0], TURNS[5], TURNS[6]]}
    changed = with_history(value, pieces, ["new", *(piece.text for piece in pieces[1:])])
    assert [m.content for m in changed["messages"][:2]] == ["system", "new"]


@given(st.integers(0, 2**32), st.integers(0, 5))
def test_whatever_is_taken_calls_and_answers_stay_together(seed, n):
    value = {"messages": TURNS}
    pieces = history(value, ["messages"])
    rng = random.Random(seed)
    given_texts = [piece.text for piece in pieces]
    shuffled = rng.sample(given_texts, len(given_texts))
    kept = [given_texts[i] for i in sorted(rng.sample(range(len(given_texts)), n))]
    for new in (shuffled, kept):
        messages = with_history(value, pieces, new)["messages"]
        calls = [one["id"] for m in messages if isinstance(m, AIMessage) for one in m.tool_calls]
        assert calls == [m.tool_call_id for m in messages if isinstance(m, ToolMessage)]
        assert len(set(calls)) == len(calls)
        assert [m for m in messages if m in (TURNS[0], TURNS[6])] == [TURNS[0], TURNS[6]]
        assert len(messages) == len(TURNS) or new is kept
    assert value == {"messages": TURNS}
