"""Finding the constant part of a node's prompt, and writing another in its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock.analysis.directive import Directive, find_directive
from sherlock.interpose.calls import Message

SYSTEM = Message("system", "You sort mail. Answer with one word.")


def user(text):
    return Message("user", text)


def test_the_system_text_is_the_directive():
    prompts = [(SYSTEM, user("a")), (SYSTEM, user("b"))]
    found = find_directive(prompts)
    assert found == Directive(SYSTEM.text, "system")
    assert found.rewritten("Do as you like.")(prompts[0]) == [Message("system", "Do as you like."), user("a")]
    assert found.rewritten("")(prompts[0]) == [user("a")]
    assert found.rewritten("x")((user("a"),)) == (user("a"),)  # another call of the node, with another prompt


def test_several_system_messages_become_one():
    developer = Message("developer", "Never more than one word.")
    found = find_directive([(SYSTEM, user("a"), developer)])
    assert found.text == f"{SYSTEM.text}\n\n{developer.text}"
    assert found.rewritten("new")((SYSTEM, user("a"), developer)) == [Message("system", "new"), user("a")]


def test_shared_turns_are_the_directive_where_there_is_no_system_text():
    shots = (user("in: tin"), Message("assistant", "out: metal"))
    prompts = [(*shots, user(f"in: {i}")) for i in range(3)]
    found = find_directive(prompts)
    assert found == Directive("in: tin\n\nout: metal", "turns", 2)
    assert found.rewritten("in: tin\n\nout: wood")(prompts[0])[1] == Message("assistant", "out: wood")
    assert found.rewritten("do not")(prompts[0]) == [Message("system", "do not"), prompts[0][2]]
    assert found.rewritten("")(prompts[0]) == (prompts[0][2],)


def test_a_shared_beginning_is_the_directive_where_there_is_nothing_else():
    prompts = [(user(f"Sort this mail into one of three boxes: {word}"),) for word in ("tin", "brush", "glue")]
    found = find_directive(prompts)
    assert found == Directive("Sort this mail into one of three boxes: ", "prefix", 40)
    assert found.rewritten("Shred: ")(prompts[1]) == [user("Shred: brush")]
    assert found.rewritten("Shred: ")((user("Something else"),)) == (user("Something else"),)


@pytest.mark.parametrize(
    "prompts",
    [
        [],
        [(user("one and the same long beginning of two"),), (user("one and the same long beginning of 2"),)],
        [(user("same"),)] * 5,
        [(user("short a"),), (user("short b"),), (user("short c"),)],
        [(), (), ()],
    ],
)
def test_what_may_be_chance_is_none(prompts):
    assert find_directive(prompts) is None


messages = st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text("ab \n", max_size=60))


@given(st.lists(st.lists(messages, max_size=4).map(tuple), max_size=5), st.text("xyz\n", max_size=20))
def test_rewriting_with_the_same_text_changes_nothing_that_is_sent(prompts, new):
    found = find_directive(prompts)
    if found is None or found.where == "system":
        return
    for prompt in prompts:
        assert tuple(found.rewritten(found.text)(prompt)) == prompt or found.where == "turns"
        assert found.rewritten(new)(prompt)[-1:] == list(prompt[-1:]) or found.where == "prefix"
