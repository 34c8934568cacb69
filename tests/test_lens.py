"""Every shape of update that a LangGraph node may return, read and written back."""

import copy
import dataclasses
import datetime as dt
import decimal
import enum
import json
import operator
import subprocess
import sys
import uuid
from collections import defaultdict, deque
from typing import Annotated, Any, NamedTuple, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Command, Overwrite, Send
from pydantic import BaseModel, Field, field_validator

from sherlock.errors import InjectionError
from sherlock.lens import category_of, read_text, read_value, write_text, write_value


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


class Point(NamedTuple):
    x: int
    y: int


class Item(BaseModel):
    name: str
    price: int = 0


class Order(BaseModel):
    customer: str
    items: list[Item] = []
    colour: Colour = Colour.RED
    due: dt.date = dt.date(2024, 1, 2)
    total: int = Field(default=0, alias="sum", ge=0)

    @field_validator("customer")
    @classmethod
    def _no_digits(cls, value: str) -> str:
        if any(map(str.isdigit, value)):
            raise ValueError("a name has no digits")
        return value


@dataclasses.dataclass(frozen=True)
class Parcel:
    city: str
    weight: float
    item: Item | None = None
    tags: tuple[str, ...] = ()


class PydanticState(BaseModel):
    answer: str | None = None
    total: int | None = None
    note: str = "none"


@dataclasses.dataclass
class DataState:
    answer: str | None = None
    total: int | None = None


class Opaque:
    def __deepcopy__(self, memo):
        return self  # the repr of a Command copies its update, and an address must not change by that


CALL = {"name": "lookup", "args": {"city": "Paris"}, "id": "abc", "type": "tool_call"}
CALL_TEXT = '[{"args": {"city": "Paris"}, "name": "lookup"}]'
ORDER = Order(customer="Ann", items=[Item(name="tea", price=3)])
ORDER_TEXT = (
    '{"colour": "red", "customer": "Ann", "due": "2024-01-02", "items": [{"name": "tea", "price": 3}], "total": 0}'
)

READINGS = [
    (None, ""),
    ({}, ""),
    ({"answer": "yes"}, "yes"),
    ({"answer": None}, ""),
    ({"n": 7}, "7"),
    ({"n": 7.5}, "7.5"),
    ({"ok": True}, "true"),
    ({"l": [2, 1, "é"]}, '[2, 1, "é"]'),
    ({"d": {"b": 1, "a": {"d": 2, "c": 3}}}, '{"a": {"c": 3, "d": 2}, "b": 1}'),
    ({"b": "x", "a": 1}, '{"a": 1, "b": "x"}'),
    ({"b": None, "a": 1}, '{"a": 1, "b": null}'),
    ("bare", "bare"),
    (5, "5"),
    ({1: "a", "b": 2}, '{"1": "a", "b": 2}'),
    ({"c": Colour.RED}, "red"),
    ({"c": Size.SMALL}, "1"),
    ({"p": Point(1, 2)}, "[1, 2]"),
    ({"s": {"b", "a"}}, '["a", "b"]'),
    ({"t": ("a", 1)}, '["a", 1]'),
    ({"d": dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.UTC)}, "2024-01-02T03:04:00+00:00"),
    ({"d": decimal.Decimal("1.50")}, "1.50"),
    ({"o": ORDER}, ORDER_TEXT),
    ({"p": Parcel("Rome", 1.5)}, '{"city": "Rome", "item": null, "tags": [], "weight": 1.5}'),
    ({"b": b"ab\xff"}, "ab\\xff"),
    (PydanticState(answer="a"), '{"answer": "a", "note": "none"}'),
    (PydanticState(answer="a", total=None), '{"answer": "a", "note": "none", "total": null}'),
    (DataState(answer="a"), "a"),
    (DataState(answer="a", total=3), '{"answer": "a", "total": 3}'),
    ({"messages": AIMessage("hi")}, "hi"),
    ({"messages": [HumanMessage("q"), AIMessage("hi")]}, "hi"),
    ({"messages": [("user", "q"), ("ai", "hi")]}, "hi"),
    ({"messages": ("ai", "hi")}, "hi"),
    ({"messages": [{"role": "assistant", "content": "hi"}]}, "hi"),
    ({"messages": [AIMessage("q"), "hi"]}, "hi"),
    ({"messages": [AIMessage("", tool_calls=[CALL])]}, CALL_TEXT),
    ({"messages": [AIMessage("let me see", tool_calls=[CALL])]}, "let me see"),
    ({"messages": [AIMessage("hi"), RemoveMessage(id="1")]}, "hi"),
    ({"messages": [RemoveMessage(id="1")]}, ""),
    ({"messages": []}, "[]"),
    ([AIMessage("q"), AIMessage("root")], "root"),
    ({"messages": [AIMessage([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": "u"}, "b"])]}, "ab"),
    ({"messages": [AIMessage("hi")], "n": 1}, '{"messages": "hi", "n": 1}'),
    ({"messages": [AIMessage("", tool_calls=[CALL])], "n": 1}, f'{{"messages": {CALL_TEXT}, "n": 1}}'),
    ({"messages": Overwrite([AIMessage("hi")])}, "hi"),
    ({"l": Overwrite([1, 2])}, "[1, 2]"),
    (Command(goto="x"), ""),
    (Command(goto="x", update={"a": "hi"}), "hi"),
    (Command(update=[("a", "hi"), ("b", 1)]), '{"a": "hi", "b": 1}'),
    (Command(update=DataState(answer="a")), "a"),
    ([Command(update={"a": "one"}), Command(goto="x"), Command(update={"b": 2})], '{"a": "one", "b": 2}'),
    ([Command(update={"a": "one"}), {"a": "two"}], "two"),
    ([{"a": "one"}, {"b": 2}], '{"a": "one", "b": 2}'),
    ({"pairs": [("Paris", "France")]}, '[["Paris", "France"]]'),
]


@pytest.mark.parametrize(("update", "text"), READINGS, ids=[str(i) for i in range(len(READINGS))])
def test_reading(update, text):
    assert read_text(update) == text
    assert read_text(write_text(update, text)) == text


WRITINGS = [
    ({"answer": "yes"}, "no", {"answer": "no"}),
    ({"answer": None}, "no", {"answer": "no"}),
    ({"n": 7}, "12", {"n": 12}),
    ({"n": 7}, " -12 ", {"n": -12}),
    ({"n": 7}, "12.0", {"n": 12}),
    ({"n": 7.5}, "3", {"n": 3.0}),
    ({"ok": True}, "False", {"ok": False}),
    ({"l": [1, 2]}, "[1, 2, 3]", {"l": [1, 2, 3]}),
    ({"t": (1, "a")}, '[2, "b"]', {"t": (2, "b")}),
    ({"s": {"a"}}, '["b", "c"]', {"s": {"b", "c"}}),
    ({"s": frozenset({1})}, "[2]", {"s": frozenset({2})}),
    ({"q": deque([1])}, "[2]", {"q": deque([2])}),
    ({"p": Point(1, 2)}, "[1, 3]", {"p": Point(1, 3)}),
    ({"d": {"a": 1, "b": {"c": dt.date(2024, 1, 2)}}}, '{"a": 2, "b": {"c": "2024-05-06"}}',
     {"d": {"a": 2, "b": {"c": dt.date(2024, 5, 6)}}}),
    ({"d": {"a": 1}}, '{"a": null}', {"d": {"a": None}}),
    ({"d": {"a": 1.0}}, '{"a": 2}', {"d": {"a": 2.0}}),
    ({"d": {1: "a"}}, '{"1": "b"}', {"d": {1: "b"}}),
    ({"d": defaultdict(list, a=[1])}, '{"a": [2]}', {"d": defaultdict(list, a=[2])}),
    ({"c": Colour.RED}, "blue", {"c": Colour.BLUE}),
    ({"c": Size.SMALL}, "2", {"c": Size.LARGE}),
    ({"c": Size.SMALL}, "LARGE", {"c": Size.LARGE}),
    ({"m": decimal.Decimal("1.5")}, "2.50", {"m": decimal.Decimal("2.50")}),
    ({"u": uuid.UUID(int=1)}, str(uuid.UUID(int=2)), {"u": uuid.UUID(int=2)}),
    ({"a": 1, "b": "x"}, '{"a": "2", "b": 3}', {"a": 2, "b": "3"}),
    ({"a": 1, "b": "x"}, '{"a": 2}', {"a": 2}),
    ({"o": Item(name="tea", price=3)}, '{"name": "tea", "price": "4"}', {"o": Item(name="tea", price=4)}),
    ({"p": Parcel("Rome", 1.5, Item(name="tea"))}, '{"city": "Oslo", "weight": 2, "item": {"name": "ale", "price": 1}}',
     {"p": Parcel("Oslo", 2.0, Item(name="ale", price=1))}),
    ({"l": [Item(name="tea")]}, '[{"name": "tea", "price": 0}, {"name": "ale", "price": 2}]',
     {"l": [Item(name="tea"), Item(name="ale", price=2)]}),
    (PydanticState(answer="a", total=1), '{"answer": "b", "total": "2", "note": "none"}',
     PydanticState(answer="b", total=2)),
    (DataState(answer="a"), "b", DataState(answer="b")),
    (DataState(answer="a", total=1), '{"answer": "b", "total": 2}', DataState(answer="b", total=2)),
    ("bare", "new", "new"),
    (5, "6", 6),
    ({"messages": ("ai", "hi")}, "ho", {"messages": ("ai", "ho")}),
    ({"messages": [("user", "q"), ("ai", "hi")]}, "ho", {"messages": [("user", "q"), ("ai", "ho")]}),
    ({"messages": [{"role": "ai", "content": "hi", "id": "1"}]}, "ho",
     {"messages": [{"role": "ai", "content": "ho", "id": "1"}]}),
    ({"messages": [AIMessage("q", id="1"), "hi"]}, "ho", {"messages": [AIMessage("q", id="1"), "ho"]}),
    ({"messages": [AIMessage("hi", id="1")], "n": 1}, '{"messages": "ho", "n": 2}',
     {"messages": [AIMessage("ho", id="1")], "n": 2}),
    ({"messages": [AIMessage("12", id="1")], "n": 1}, '{"messages": 13, "n": 1}',
     {"messages": [AIMessage("13", id="1")], "n": 1}),
    ({"l": Overwrite([1])}, "[2]", {"l": Overwrite([2])}),
    (Command(goto=["x", "y"], update={"a": "hi"}), "ho", Command(goto=["x", "y"], update={"a": "ho"})),
    (Command(graph=Command.PARENT, update={"a": 1}), "2", Command(graph=Command.PARENT, update={"a": 2})),
    (Command(update=[("a", "hi"), ("b", 1)]), '{"a": "ho", "b": 2}', Command(update=[("a", "ho"), ("b", 2)])),
    (Command(update=DataState(answer="a"), goto=Send("x", 1)), "b",
     Command(update=DataState(answer="b"), goto=Send("x", 1))),
    ([Command(update={"a": "one"}), Command(goto="x"), {"b": 2}], '{"a": "two", "b": 3}',
     [Command(update={"a": "two"}), Command(goto="x"), {"b": 3}]),
    ([Command(update={"a": "one"}), Command(update={"a": "two"}, goto="x")], "three",
     [Command(update={"a": "one"}), Command(update={"a": "three"}, goto="x")]),
]  # fmt: skip


@pytest.mark.parametrize(("update", "text", "expected"), WRITINGS, ids=[str(i) for i in range(len(WRITINGS))])
def test_writing(update, text, expected):
    before = copy.deepcopy(update)
    written = write_text(update, text, node="n")
    assert written == expected
    assert type(written) is type(expected)
    assert update == before
    for key, value in written.items() if isinstance(written, dict) else ():
        assert type(value) is type(expected[key])


FAILURES = [
    ({"n": 7}, "many", "'n'"),
    ({"n": 7}, "7.5", "'n'"),
    ({"n": 7.5}, "much", "'n'"),
    ({"ok": True}, "1", "'ok'"),
    ({"l": [1]}, "{}", "'l'"),
    ({"d": {"a": 1}}, "no json", "'d'"),
    ({"d": {"due": dt.date(2024, 1, 2)}}, '{"due": "soon"}', "'d'"),
    ({"c": Colour.RED}, "green", "'c'"),
    ({"p": Point(1, 2)}, "[1]", "'p'"),
    ({"s": {"a"}}, "[[1]]", "'s'"),
    ({"m": decimal.Decimal(1)}, "one", "'m'"),
    ({"d": dt.date(2024, 1, 2)}, "soon", "'d'"),
    ({"o": ORDER}, '{"customer": "4nn"}', "'o'"),
    ({"o": ORDER}, '{"items": []}', "'o'"),
    ({"p": Parcel("Rome", 1.0)}, '{"city": "Rome", "weight": "heavy"}', "'p'"),
    ({"p": Parcel("Rome", 1.0)}, '{"city": "Rome"}', "'p'"),
    ({"p": Parcel("Rome", 1.0)}, '{"city": "Rome", "weight": 1, "colour": 2}', "'p'"),
    ({"x": Opaque()}, "anything", "'x'"),
    ({"a": 1, "b": "x"}, "no json", "'a', 'b'"),
    ({"a": 1, "b": "x"}, '{"a": "one", "b": "x"}', "'a'"),
    ({"a": 1, "b": "x"}, '{"a": 1, "b": {}}', "'b'"),
    ({"messages": [AIMessage("", tool_calls=[CALL])]}, '{"calls": 1}', "'messages'"),
    ({"messages": [RemoveMessage(id="1")]}, "hi", "'messages'"),
    (None, "hi", "wrote nothing"),
    (Command(goto="x"), "hi", "wrote nothing"),
    (PydanticState(total=3), '{"total": "three", "note": "none"}', "'total'"),
    (DataState(total=3), "three", "'total'"),
]


@pytest.mark.parametrize(("update", "text", "key"), FAILURES, ids=[str(i) for i in range(len(FAILURES))])
def test_what_cannot_be_cast_names_node_and_key(update, text, key):
    with pytest.raises(InjectionError) as caught:
        write_text(update, text, node="sums")
    assert "'sums'" in str(caught.value)
    assert key in str(caught.value)


def test_a_message_keeps_everything_but_its_text():
    message = AIMessage(
        "hi", id="m1", name="bot", additional_kwargs={"x": 1}, response_metadata={"model": "m"}, tool_calls=[CALL]
    )
    [written] = write_text({"messages": [message]}, "ho")["messages"]
    assert written == message.model_copy(update={"content": "ho"})
    answer = ToolMessage("11", tool_call_id="abc", artifact={"rows": 3}, id="t1")
    [written] = write_text({"messages": [answer]}, "12")["messages"]
    assert (written.content, written.tool_call_id, written.artifact, written.id) == ("12", "abc", {"rows": 3}, "t1")


def test_content_blocks_of_other_kinds_stay():
    image = {"type": "image_url", "image_url": "u"}
    message = AIMessage([image, {"type": "text", "text": "a", "index": 0}, "b"])
    written = write_text({"m": message}, "new")["m"]
    assert written.content == [image, {"type": "text", "text": "new", "index": 0}]
    assert write_text({"m": AIMessage([image])}, "new")["m"].content == [image, {"type": "text", "text": "new"}]


def test_tool_calls_are_rewritten_in_place_with_their_ids():
    raw = {"tool_calls": [{"id": "abc", "function": {"name": "lookup", "arguments": "{}"}, "type": "function"}]}
    block = {"type": "tool_use", "id": "abc", "name": "lookup", "input": {"city": "Paris"}}
    message = AIMessage([block], tool_calls=[CALL], additional_kwargs={**raw, "x": 1}, id="m1")
    written = write_text({"messages": [message]}, CALL_TEXT.replace("Paris", "Rome"))["messages"][0]
    assert written.tool_calls == [{**CALL, "args": {"city": "Rome"}}]
    assert written.id == "m1"
    # a saver builds the message anew: the provider's copies of the call must not bring Paris back
    again = AIMessage(**{k: v for k, v in written.model_dump().items() if k != "type"})
    assert again.tool_calls[0]["args"] == {"city": "Rome"}
    assert again.additional_kwargs == {"x": 1}
    assert again.content == []


def test_a_plain_reply_instead_of_a_call():
    chunk = AIMessageChunk("", tool_calls=[CALL], id="m1")
    written = write_text({"messages": [chunk]}, "I would rather not")["messages"][0]
    assert (written.content, written.tool_calls, written.tool_call_chunks) == ("I would rather not", [], [])
    assert read_text({"messages": [written]}) == "I would rather not"
    assert chunk.tool_calls


def test_calls_in_the_provider_form():
    function = {"name": "lookup", "arguments": '{"city": "Paris"}'}
    call = {"id": "abc", "type": "function", "function": function}
    update = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    assert read_text(update) == CALL_TEXT
    written = write_text(update, CALL_TEXT.replace("Paris", "Rome"))["messages"][0]
    assert json.loads(written["tool_calls"][0]["function"]["arguments"]) == {"city": "Rome"}
    assert written["tool_calls"][0]["id"] == "abc"


def test_a_written_order_is_an_order():
    written = write_text({"o": ORDER}, ORDER_TEXT.replace("red", "blue").replace('"total": 0', '"total": 9'))["o"]
    assert isinstance(written, Order)
    assert (written.colour, written.total, written.items) == (Colour.BLUE, 9, ORDER.items)


def test_untouched_parts_survive_even_without_a_json_form():
    thing = Opaque()
    update = {"d": {"thing": thing, "n": 1}}
    text = read_text(update).replace('"n": 1', '"n": 2')
    assert write_text(update, text) == {"d": {"thing": thing, "n": 2}}
    assert "0x" not in read_text(update)
    things = {"l": [thing, 1, dt.date(2024, 1, 2)]}
    assert write_text(things, json.dumps(["2024-01-02", read_text({"t": thing})])) == {
        "l": [dt.date(2024, 1, 2), thing]
    }


def test_raw_values_are_not_cast():
    assert write_value({"n": 7}, "seven") == {"n": "seven"}
    assert write_value({"a": 1, "b": 2}, {"a": [1]}) == {"a": [1]}
    assert write_value(Command(goto="x", update={"n": 7}), None) == Command(goto="x", update={"n": None})
    wrong = write_value(PydanticState(answer="a", total=1), {"total": "x"})
    assert wrong.total == "x"
    state = DataState(total=3)
    assert write_value(state, "x").total == "x"
    assert state.total == 3
    assert write_value({"messages": [AIMessage("q"), AIMessage("hi", id="1")]}, "ho")["messages"] == [
        AIMessage("q"),
        AIMessage("ho", id="1"),
    ]
    assert write_value({"messages": [AIMessage("hi")]}, HumanMessage("x")) == {"messages": [HumanMessage("x")]}
    assert write_value({"messages": Overwrite([AIMessage("hi")])}, None) == {"messages": Overwrite(None)}
    with pytest.raises(InjectionError, match=r"'n'.*no mapping"):
        write_value({"a": 1, "b": 2}, "x", node="n")
    with pytest.raises(InjectionError, match="wrote nothing"):
        write_value(None, "x", node="n")


def test_reading_the_value():
    assert read_value({"n": 7}) == 7
    assert read_value(Command(update={"a": 1, "b": 2})) == {"a": 1, "b": 2}
    assert read_value(None) is None
    assert read_text({"docs": [Document("text", id="1")]}).startswith('[{"id": "1"')


class State(TypedDict, total=False):
    messages: Annotated[list[Any], add_messages]
    total: int
    log: Annotated[list[str], operator.add]


def test_written_updates_run_in_a_real_graph():
    updates = {
        "plain": {"messages": [AIMessage("old", id="1")], "total": 1, "log": ["a"]},
        "go": Command(goto="end", update={"messages": [("ai", "old")], "total": 1}),
        "many": [Command(goto="end", update={"messages": [AIMessage("old")]}), {"total": 1}],
    }
    for name, update in updates.items():
        text = json.dumps({**json.loads(read_text(update)), "messages": "new", "total": 2})

        def node(state, update=update, text=text):
            return write_text(update, text)

        builder = StateGraph(State)
        builder.add_node("start", node, destinations=("end",))
        builder.add_node("end", lambda state: {"log": ["done"]})
        builder.add_edge(START, "start")
        if name == "plain":
            builder.add_edge("start", "end")
        builder.add_edge("end", END)
        result = builder.compile().invoke({})
        assert result["messages"][-1].content == "new"
        assert result["total"] == 2
        assert result["log"][-1] == "done"


@pytest.mark.parametrize(
    ("text", "value", "directive", "category"),
    [
        (CALL_TEXT, {"messages": [AIMessage("", tool_calls=[CALL])]}, "", "tool"),
        (CALL_TEXT, AIMessage("", tool_calls=[CALL]), "", "tool"),
        ("11", {"total": 11}, "Compute the total", "number"),
        ("$1,200.50", None, "", "number"),
        ('{"a": 1}', {"d": {"a": 1}}, "", "json"),
        ("[1]", None, "", "json"),
        ("```python\nx\n```", None, "", "code"),
        ("import os\n\ndef f(x):\n    return re.sub('\\d', '', x)", None, "", "code"),
        ("from the shop I bring tea", None, "", "instruction"),
        ("SELECT name\nFROM users", None, "", "code"),
        ("x = 3\nprint(x * 2)", None, "", "code"),
        ("function add(a, b) { return a + b; }", None, "", "code"),
        ("for (i of xs)\n  total += i", None, "Complete the JavaScript.", "code"),
        ("grep -r foo . | wc -l", None, "Give the shell command.", "code"),
        ("^[a-z]+$", None, "Write a regular expression that matches words.", "code"),
        ("lambda x: x + 1", None, "You are writing Python.", "code"),
        ("It sorts a list; it is quick.", None, "Describe what this function does.", "instruction"),
        ("I would write a function (a short one).", None, "Review the code.", "instruction"),
        ("We are sorry: if the van (red) is late, we call.", None, "Write a reply.", "instruction"),
        ("The derivative is 2x + 2", None, "Find the derivative.", "maths"),
        ("6 + 5 = 11", None, "", "maths"),
        ("\\frac{1}{2}", None, "", "maths"),
        ("There are 11 left.", None, "Solve the problem.", "maths"),
        ("There are 11 left.", None, "Answer politely.", "instruction"),
        ("red", {"van": "red"}, "Compute", "instruction"),
        ("", None, "", "instruction"),
    ],
)
def test_categories(text, value, directive, category):
    assert category_of(text, value, directive) == category


texts = st.text(max_size=12)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | texts
    | st.sampled_from([Colour.RED, Size.LARGE, Point(1, 2), Opaque(), ORDER, b"\xff", decimal.Decimal("1.5")])
    | st.datetimes()
    | st.builds(AIMessage, texts, tool_calls=st.just([]) | st.just([CALL]))
    | st.tuples(st.sampled_from(["user", "ai"]), texts)
    | st.builds(Parcel, city=texts, weight=st.floats(allow_nan=False), tags=st.tuples(texts))
    | st.builds(Item, name=texts, price=st.integers())
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts, inner, max_size=3)
        | st.builds(Overwrite, inner)
    ),
    max_leaves=8,
)
dicts = st.dictionaries(texts, values, max_size=3)
states = st.builds(PydanticState, answer=texts) | st.builds(DataState, answer=texts, total=st.integers())
commands = st.builds(
    lambda update, goto: Command(update=update, goto=goto),
    st.none() | dicts | states | dicts.map(lambda d: list(d.items())),
    st.sampled_from(["x", ("x", "y")]),
)
updates = st.none() | dicts | states | commands | st.lists(commands | dicts, max_size=3) | values


@given(updates)
def test_writing_what_was_read_changes_nothing(update):
    text = read_text(update)
    assert isinstance(text, str)
    assert read_text(write_text(update, text)) == text
    category_of(text, update)


@given(updates, texts | values.map(lambda value: read_text({"v": value})))
def test_a_written_text_is_read_back_or_refused_and_nothing_is_mutated(update, text):
    before = repr(update)
    try:
        written = write_text(update, text, node="n")
    except InjectionError as refused:
        message = str(refused)
        assert "'n'" in message
    else:
        value = read_value(update)
        if isinstance(value, str) and not isinstance(value, enum.Enum):
            assert read_text(written) == text
    assert repr(update) == before


@given(texts, texts, st.integers())
def test_a_new_text_in_each_holder_is_read_back(old, new, number):
    holders = [
        {"k": old},
        {"m": [AIMessage(old or "x", id="1")]},
        {"m": [("ai", old or "x")]},
        Command(update={"k": old}, goto="x"),
        DataState(answer=old),
        [Command(goto="x"), Command(update={"k": old})],
        {"n": Overwrite(old)},
    ]
    for update in holders:
        assert read_text(write_text(update, new)) == new
    for holder in ({"n": 1}, DataState(total=1), {"n": Size.SMALL.value}):
        assert read_text(write_text(holder, str(number))) == str(number)
    nested = {"d": {"a": [1, {"s": old}]}, "n": 1}
    text = json.dumps({"d": {"a": [number, {"s": new}]}, "n": number})
    assert write_text(nested, text) == {"d": {"a": [number, {"s": new}]}, "n": number}


def test_the_lens_loads_nothing_heavy():
    code = (
        "import sys, sherlock.lens as l; assert l.read_text({'a': 1}) == '1';"
        "print([m for m in ('langgraph', 'langchain_core', 'pydantic', 'rapidfuzz', 'numpy') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
