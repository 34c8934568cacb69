"""Reading the messages of a request and writing changed ones back, in each dialect."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock.interpose.dialects import Dialect, find_dialect
from sherlock.interpose.messages import Message, align, text_of, with_text

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CHAT = {
    "model": "m",
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}], "name": "boss"},
        {"role": "user", "content": [{"type": "text", "text": "Look"}, PICTURE, {"type": "text", "text": "there"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "a bird", "tool_call_id": "c1"},
        {"role": "user", "content": "Sure?"},
    ],
}
RESPONSES = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Look\nthere"}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a bird"},
        {"role": "user", "content": "Sure?"},
    ],
}
ANTHROPIC = {
    "model": "m",
    "max_tokens": 5,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Look\nthere"}, {"type": "image", "source": {}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "a bird"}]},
        {"role": "user", "content": "Sure?"},
    ],
}
READ = (
    Message("system", "Be brief."),
    Message("user", "Look\nthere"),
    Message("assistant", ""),
    Message("tool", "a bird"),
    Message("user", "Sure?"),
)
BODIES = {"/v1/chat/completions": CHAT, "/v1/responses": RESPONSES, "/v1/messages": ANTHROPIC}
paths = pytest.mark.parametrize("path", BODIES)


def dialect_of(path: str) -> Dialect:
    dialect = find_dialect(path, BODIES[path])
    assert dialect is not None
    return dialect


def write(path: str, change: Any) -> dict:
    """The body after `change` of its messages; the original must not change."""
    body, before = BODIES[path], copy.deepcopy(BODIES[path])
    old = dialect_of(path).read(body)
    out = dialect_of(path).write(body, old, change(list(old)))
    assert body == before
    return out


def listed(body: dict) -> list:
    return body["input"] if "input" in body else body["messages"]


@paths
def test_every_dialect_reads_the_same_conversation(path: str) -> None:
    assert dialect_of(path).read(BODIES[path]) == READ


@paths
def test_messages_that_come_back_as_they_are_change_nothing(path: str) -> None:
    assert write(path, list) == BODIES[path]
    assert write(path, lambda old: [Message(m.role, m.text) for m in old]) == BODIES[path]


@paths
@given(data=st.data())
def test_dropped_and_moved_messages_keep_their_raw_form(path: str, data: st.DataObject) -> None:
    body = BODIES[path]
    places = data.draw(st.lists(st.sampled_from(range(1, len(READ))), unique=True))
    out = write(path, lambda old: [old[0], *(old[i] for i in places)])
    raws = [*listed(body)] if path.endswith("completions") else ["directive", *listed(body)]
    head = [raws[0]] if path.endswith("completions") else []
    assert listed(out) == [*head, *(raws[i] for i in places)]
    assert out.get("system") == body.get("system")
    assert out.get("instructions") == body.get("instructions")


@paths
def test_without_a_directive_its_place_is_empty(path: str) -> None:
    out = write(path, lambda old: old[1:])
    assert "Be brief." not in str(out)
    assert "system" not in out
    assert "instructions" not in out
    assert dialect_of(path).read(out) == READ[1:]


@paths
@given(text=st.text(min_size=1, max_size=20), place=st.sampled_from([0, 1, 3, 4]))
def test_a_changed_text_changes_no_more_than_the_text(path: str, text: str, place: int) -> None:
    out = write(path, lambda old: [*old[:place], Message(old[place].role, text), *old[place + 1 :]])
    assert dialect_of(path).read(out) == (*READ[:place], Message(READ[place].role, text), *READ[place + 1 :])
    shape = str(out).replace(repr(text), "TEXT")
    for kept in ("c1", "AAAA", "ephemeral", "boss", "look"):
        assert (kept in shape) == (kept in str(BODIES[path]))


@paths
def test_an_added_message_is_role_and_content(path: str) -> None:
    out = write(path, lambda old: [*old, Message("user", "More.")])
    assert listed(out)[-1] == {"role": "user", "content": "More."}
    assert listed(out)[:-1] == listed(BODIES[path])


def test_a_directive_can_be_added_where_there_was_none() -> None:
    new = [Message("system", "Now!"), Message("user", "hi")]
    for path, body, place in (
        ("/responses", {"model": "m", "input": "hi"}, "instructions"),
        ("/messages", {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "hi"}]}, "system"),
    ):
        dialect = find_dialect(path, body)
        assert dialect is not None
        assert dialect.write(body, dialect.read(body), new) == body | {place: "Now!"}


def test_responses_keep_a_system_message_in_the_input_where_it_is() -> None:
    body = {"model": "m", "input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]}
    dialect = find_dialect("/responses", body)
    assert dialect is not None
    old = dialect.read(body)
    out = dialect.write(body, old, [Message("system", "Be long."), old[1]])
    assert out["input"] == [{"role": "system", "content": "Be long."}, body["input"][1]]
    assert "instructions" not in out


def test_a_plain_input_grows_into_items() -> None:
    body = {"model": "m", "input": "hi"}
    dialect = find_dialect("/responses", body)
    assert dialect is not None
    old = dialect.read(body)
    assert dialect.write(body, old, [Message("user", "ho")])["input"] == "ho"
    out = dialect.write(body, old, [*old, Message("assistant", "yes")])
    assert out["input"] == [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]


@given(
    old=st.lists(st.builds(Message, st.sampled_from("ab"), st.sampled_from("xy")), max_size=6),
    new=st.lists(st.builds(Message, st.sampled_from("ab"), st.sampled_from("xyz")), max_size=6),
)
def test_alignment_uses_each_old_message_once_and_never_crosses_roles(old: list, new: list) -> None:
    sources = align(old, new)
    used = [source for source in sources if source is not None]
    assert len(sources) == len(new)
    assert len(set(used)) == len(used)
    assert all(
        old[source].role == message.role for source, message in zip(sources, new, strict=True) if source is not None
    )
    assert align(old, list(old)) == list(range(len(old)))


def test_a_changed_message_is_found_between_its_neighbours() -> None:
    old = [Message("user", "1"), Message("assistant", "2"), Message("user", "3")]
    assert align(old, [old[1], Message("user", "x")]) == [1, 2]
    assert align(old, [Message("user", "x"), old[1]]) == [0, 1]


def test_text_in_blocks() -> None:
    blocks = ["a", {"type": "text", "text": "b"}, PICTURE, {"type": "tool_result", "content": [{"text": "c"}]}]
    assert text_of(blocks) == "a\nb\nc"
    assert with_text(blocks, "z") == ["z", PICTURE, {"type": "tool_result", "content": ""}]
    assert with_text([PICTURE], "z") == [{"type": "text", "text": "z"}, PICTURE]
    assert with_text(None, "z") == "z"
    assert with_text(None, "") is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "m", "input": "x"}),
        ("/v1/messages", {"model": "m", "messages": []}),
        ("/v1/chat/completions", {"model": "m"}),
        ("/v1/messages/count_tokens", ANTHROPIC),
        ("/v1/responses", [1]),
    ],
)
def test_other_requests_are_no_model_calls(path: str, body: Any) -> None:
    assert find_dialect(path, body) is None
