"""Reading, writing and hashing cases."""

import dataclasses
import json
import string
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from sherlock.cases import Case, case_key, read_cases, write_cases
from sherlock.errors import CasesError


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "cases.jsonl"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_a_file_is_read_whole(file):
    path = file(
        '{"inputs": {"q": "1+1"}, "expected": "2", "references": {"add": "2"}, "tags": ["sum"], "resume": [true]}\n'
        '{"inputs": ["a", "b"], "id": "two", "context": 3, "config": {"configurable": {"k": 1}}}\n'
    )
    first, second = read_cases(path)
    assert first == Case({"q": "1+1"}, "2", {"add": "2"}, "1", ["sum"], resume=[True])
    assert second == Case(["a", "b"], id="two", context=3, config={"configurable": {"k": 1}})
    assert read_cases(str(path)) == [first, second]


def test_mark_blank_lines_and_carriage_returns_are_skipped(file):
    path = file(b'\xef\xbb\xbf{"inputs": 1}\r\n\r\n   \n{"inputs": "\xc3\xa9\xe2\x80\xa8"}')
    assert read_cases(path) == [Case(1, id="1"), Case("\xe9\u2028", id="4")]


def test_null_fields_are_absent_and_a_number_is_an_id(file):
    (case,) = read_cases(file('{"inputs": 0, "id": 7, "tags": null, "references": null, "resume": null}'))
    assert case == Case(0, id="7")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "no case in the file"),
        ("\n \n", "no case in the file"),
        ('{"inputs": 1}\n{"inputs": 2', "line 2: not JSON"),
        ('{"inputs": 1}{"inputs": 2}', "line 1: not JSON (Extra data at column 14)"),
        ('\n["inputs"]', "line 2: ['inputs'] is not an object"),
        ('{"expected": 1}', "line 1: no `inputs`"),
        ('{"inputs": null}', "line 1: `inputs` is None"),
        ('{"inputs": []}', "line 1: `inputs` is []"),
        ('{"input": 1}', "line 1: unknown field `input`, did you mean `inputs`?"),
        ('{"inputs": 1, "zzz": 1}', "line 1: unknown field `zzz`, a case has inputs, expected"),
        ('{"inputs": 1, "references": ["a"]}', "line 1: `references` is ['a']"),
        ('{"inputs": 1, "references": {"add": 2}}', "line 1: `references` is {'add': 2}"),
        ('{"inputs": 1, "tags": "a"}', "line 1: `tags` is 'a'"),
        ('{"inputs": 1, "tags": [1]}', "line 1: `tags` is [1]"),
        ('{"inputs": 1, "resume": {"a": 1}}', "line 1: `resume` is {'a': 1}"),
        ('{"inputs": 1, "config": 3}', "line 1: `config` is 3"),
        ('{"inputs": 1, "id": ""}', "line 1: `id` is ''"),
        ('{"inputs": 1, "id": true}', "line 1: `id` is True"),
        ('{"inputs": NaN}', "line 1: not JSON that can be read (NaN is not JSON)"),
        ("[" * 100_000, "line 1: not JSON that can be read"),
        ("1" * 5_000, "line 1: not JSON that can be read"),
        (b'{"inputs": 1}\n{"inputs": "\xff"}', "line 2: byte 0xff is not UTF-8"),
        ('{"inputs": 1, "id": "a"}\n{"inputs": 2}\n{"inputs": 3, "id": "a"}', "line 1 and line 3 have the same id 'a'"),
        ('{"inputs": 1, "id": "2"}\n{"inputs": 2}', "line 1 and line 2 have the same id '2'"),
    ],
)
def test_what_is_wrong_in_a_file_is_one_sentence_with_its_place(file, content, told):
    path = file(content)
    with pytest.raises(CasesError) as caught:
        read_cases(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_that_is_no_file_is_named(tmp_path):
    with pytest.raises(CasesError, match=r"gone\.jsonl: there is no such file"):
        read_cases(tmp_path / "gone.jsonl")
    with pytest.raises(CasesError, match="cannot be read"):
        read_cases(tmp_path)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ([], "there is none"),
        (Case(1), "a single Case"),
        ({"inputs": 1}, "a single dict"),
        (7, "cases is 7"),
        ([Case(1), "x"], "case 2: 'x' is no case"),
        ([{"inputs": 1}, {}], "case 2: no `inputs`"),
        ([Case(1, id="a"), Case(2, id="a")], "case 1 and case 2 have the same id 'a'"),
    ],
)
def test_what_is_wrong_in_a_list_is_named(source, told):
    with pytest.raises(CasesError) as caught:
        read_cases(source)
    assert told in str(caught.value)


def test_cases_in_memory_may_hold_any_value():
    message = HumanMessage("hi")
    given = [Case({"messages": [message]}), {"inputs": {"q": 1}, "id": "b"}]
    first, second = read_cases(iter(given))
    assert first.inputs["messages"][0] is message
    assert (first.id, second.id) == ("1", "b")


class Order(BaseModel):
    item: str
    at: float = 1.5


@dataclasses.dataclass
class Note:
    text: str


def test_messages_models_and_dataclasses_are_written_as_plain_values(tmp_path):
    path = tmp_path / "out.jsonl"
    write_cases(path, [Case({"messages": [HumanMessage("hi")], "order": Order(item="pen"), "note": Note("x")})])
    assert json.loads(path.read_text()) == {
        "inputs": {
            "messages": [{"role": "user", "content": "hi"}],
            "order": {"item": "pen", "at": 1.5},
            "note": {"text": "x"},
        }
    }


@pytest.mark.parametrize("value", [object(), {1: 2}, float("nan"), {"a": {1, 2}}, float("inf")])
def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path, value):
    path = tmp_path / "out.jsonl"
    path.write_text("old")
    with pytest.raises(CasesError, match="case two: `expected`"):
        write_cases(path, [Case(1, id="one"), Case(2, value, id="two")])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CasesError, match="cannot be written"):
        write_cases(tmp_path / "no" / "out.jsonl", [Case(1)])


texts = st.text(max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
cases = st.builds(
    Case,
    inputs=values.filter(lambda value: value is not None and value != []),
    expected=values,
    references=st.none() | st.dictionaries(texts, texts, max_size=2),
    id=st.text(min_size=1, max_size=5),
    tags=st.lists(texts, max_size=2),
    config=st.none() | st.dictionaries(texts, values, max_size=2),
    context=values,
    resume=st.lists(values, max_size=2),
)


@settings(deadline=None, max_examples=50)
@given(given_cases=st.lists(cases, min_size=1, max_size=4, unique_by=lambda case: case.id))
def test_what_is_written_is_read_back(tmp_path_factory, given_cases):
    path = tmp_path_factory.mktemp("cases") / "c.jsonl"
    write_cases(path, given_cases)
    back = read_cases(path)
    assert [case_key(case) for case in back] == [case_key(case) for case in given_cases]
    for case, again in zip(given_cases, back, strict=True):
        assert (case.inputs, case.expected, case.context) == (again.inputs, again.expected, again.context)


@settings(deadline=None, max_examples=50)
@given(case=cases)
def test_the_key_sees_every_field(case):
    other = {"inputs": "other!", "expected": "other!", "references": {"other!": ""}, "id": "other!"}
    other |= {"tags": ["other!"], "config": {"other!": 1}, "context": "other!", "resume": ["other!"]}
    keys = {case_key(dataclasses.replace(case, **{name: value})) for name, value in other.items()}
    assert len(keys | {case_key(case)}) == 9


def test_the_order_of_keys_does_not_count_but_types_do():
    assert case_key(Case({"a": 1, "b": 2})) == case_key(Case({"b": 2, "a": 1}))
    assert case_key(Case((1, 2))) == case_key(Case([1, 2]))
    different = [1, 1.0, "1", True, [1], {"1": 1}, {1: 1}, {1}, b"1", Order(item="1"), Note("1"), None]
    assert len({case_key(Case(value)) for value in different}) == len(different)


class Opaque:
    def __init__(self, held):
        self.held = held


class Open(BaseModel, extra="allow"):
    pass


def test_values_that_are_not_json_have_a_key_by_content():
    circle = []
    circle.append(circle)
    assert case_key(Case(circle)) == case_key(Case(circle))
    assert case_key(Case(Opaque({1, 2}))) == case_key(Case(Opaque({2, 1})))
    assert case_key(Case(Opaque(1))) != case_key(Case(Opaque(2)))
    assert case_key(Case(object())) == case_key(Case(object()))
    assert case_key(Case(Open(a=1))) != case_key(Case(Open(a=2)))
    assert case_key(Case(HumanMessage("a"))) != case_key(Case(HumanMessage("b")))


def test_a_long_array_counts_whole():
    numpy = pytest.importorskip("numpy")
    ones = numpy.ones(5000)
    other = ones.copy()
    other[2500] = 2
    assert case_key(Case(ones)) != case_key(Case(other))
    assert case_key(Case(ones)) == case_key(Case(ones.copy()))


def test_the_key_is_the_same_in_every_process():
    program = (
        "from sherlock.cases import Case, case_key\n"
        f"print(case_key(Case({{'b': set({list(string.ascii_letters)!r})}}, expected=len, id='x')))"
    )
    runs = {subprocess.check_output([sys.executable, "-c", program], env={"PYTHONHASHSEED": s}) for s in "12"}
    assert runs == {case_key(Case({"b": set(string.ascii_letters)}, expected=len, id="x")).encode() + b"\n"}


def test_reading_cases_loads_nothing_heavy():
    heavy = "('langgraph', 'langchain_core', 'pydantic')"
    program = f"import sys, sherlock.cases; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program]).strip() == b"[]"
