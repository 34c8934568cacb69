"""What is kept of model calls, under which key, and what is said where nothing is kept."""

import json
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_server import ScriptedServer

from sherlock.errors import ModelError
from sherlock.interpose.calls import CallScope, Recordings, install
from sherlock.interpose.dialects import Event
from sherlock.interpose.recording import Flight, MissingCall, Recorded, key_of
from sherlock.interpose.scrubbing import scrub, scrub_certain

install()

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("abc -", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(st.text("abc", min_size=1, max_size=3), json_values, max_size=4)


def call(server: ScriptedServer, recordings: Recordings, *, stream: bool = False, **body: Any) -> CallScope:
    scope = CallScope(recordings=recordings)
    with (
        openai.OpenAI(
            base_url=server.base_url, api_key="sk-abcdefghijklmnop", http_client=httpx.Client(verify=False)
        ) as client,
        scope.active(),
    ):
        found = client.chat.completions.create(**BODY | body, stream=stream)
        if stream:
            list(found)
    scope.close()
    return scope


def test_a_recording_is_a_readable_file_without_headers_and_secrets(tmp_path: Path) -> None:
    secret = "sk-proj-0123456789abcdefghij"
    with ScriptedServer(lambda _r: f"your key {secret} is fine") as server:
        call(
            server,
            Recordings(tmp_path),
            messages=[{"role": "user", "content": f"my key is {secret}, Authorization: Bearer abc.def-123456"}],
            extra_body={"api_key": "hidden-value", "user": "u"},
        )
    (file,) = tmp_path.iterdir()
    text = file.read_text("utf-8")
    assert file.name.startswith("openai.chat-")
    assert file.name.endswith("-0.json")
    for hidden in (secret, "sk-abcdefghijklmnop", "abc.def-123456", "hidden-value", "authorization:", "127.0.0.1"):
        assert hidden not in text
    data = json.loads(text)
    assert sorted(data) == ["api", "repeat", "request", "response", "seconds", "version"]
    assert data["request"]["user"] == "u"
    assert data["response"]["choices"][0]["message"]["content"] == "your key [secret] is fine"
    assert 0 < data["seconds"] < 5
    assert len(text.splitlines()) > 20


def test_a_stream_is_recorded_as_its_events_and_answers_only_streams(tmp_path: Path) -> None:
    with ScriptedServer(lambda _r: "one two") as server:
        call(server, Recordings(tmp_path), stream=True)
        (file,) = tmp_path.iterdir()
        events = json.loads(file.read_text())["events"]
        assert [e["data"]["choices"][0]["delta"].get("content") for e in events[:3]] == ["", "one", " two"]
        assert events[-1] == {"data": "[DONE]"}
        with pytest.raises(openai.BadRequestError):
            call(server, Recordings(tmp_path, mode="none"))
    assert call(server, Recordings(tmp_path, mode="none"), stream=True).calls[0].replayed


@given(body=bodies, order=st.randoms())
def test_the_key_does_not_depend_on_order_nulls_or_stream_options(body: dict, order: Any) -> None:
    items = [*body.items(), ("stream", False), ("stream_options", {"include_usage": True}), ("zz", None)]
    order.shuffle(items)
    assert key_of("a", dict(items)) == key_of("a", body)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "n"},
        {"temperature": 0.5},
        {"stream": True},
        {"messages": [{"role": "user", "content": "hi!"}]},
        {"messages": [{"role": "system", "content": "hi"}]},
        {"tools": []},
    ],
)
def test_the_key_depends_on_what_the_model_is_asked(change: dict) -> None:
    assert key_of("a", BODY | change).digest != key_of("a", BODY).digest
    assert key_of("b", BODY).digest != key_of("a", BODY).digest


def test_clients_may_write_a_number_in_either_way() -> None:
    assert key_of("a", BODY | {"temperature": 0.0}) == key_of("a", BODY)


def test_two_requests_that_differ_in_a_likely_secret_are_not_run_together() -> None:
    one, two = ({"q": f"password: {word}"} for word in ("required", "optional"))
    assert key_of("a", one).digest != key_of("a", two).digest
    assert scrub(one) == scrub(two) == {"q": "password: [secret]"}


def test_a_request_has_one_key_whatever_key_it_carries() -> None:
    one, two = ({"q": "x", "api_key": f"sk-{letter * 20}"} for letter in "ab")
    assert key_of("a", one) == key_of("a", two)


@given(value=json_values)
def test_scrubbing_leaves_the_rest_alone_and_has_nothing_left_to_do(value: Any) -> None:
    assert scrub(value) == scrub_certain(value) == value


@pytest.mark.parametrize(
    "secret",
    [
        *(f"{prefix}{'aB3-' * 6}" for prefix in ("sk-", "sk-ant-", "glpat-", "xoxb-", "pypi-")),
        *(f"{prefix}{'aB3d' * 9}" for prefix in ("ghp_", "gho_", "github_pat_", "hf_", "npm_", "AIza")),
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlLXBhcnQ",
    ],
)
def test_a_secret_is_scrubbed_wherever_it_stands(secret: str) -> None:
    found = scrub_certain({"messages": [{"content": [{"text": f"use {secret}, please"}]}]})
    assert found == {"messages": [{"content": [{"text": "use [secret], please"}]}]}
    assert scrub(secret) == "[secret]"


def test_scrubbing_spares_tokens_that_are_words() -> None:
    logprobs = {"content": [{"token": "Hello", "logprob": -0.1}], "max_tokens": 5, "authorization": "abc"}
    assert scrub(logprobs) == {**logprobs, "authorization": "[secret]"}
    assert scrub('{"api_key": "qwertyuiop"}') == '{"api_key": "[secret]"}'


@given(
    answer=st.one_of(
        st.builds(Recorded, seconds=st.floats(0, 9).map(lambda s: round(s, 6)), response=bodies),
        st.builds(
            Recorded,
            seconds=st.just(1.0),
            events=st.lists(st.builds(Event, json_values, st.none() | st.just("x"))).map(tuple),
        ),
    )
)
def test_what_was_recorded_comes_back(answer: Recorded) -> None:
    recordings = Recordings()
    flight = recordings.claim(key_of("a", BODY))
    assert isinstance(flight, Flight)
    flight.land(answer)
    assert recordings.claim(key_of("a", BODY)) == answer


def test_who_comes_second_waits_and_a_failed_flight_lets_the_next_one_fly() -> None:
    recordings = Recordings()
    key = key_of("a", BODY)
    first, second, third = (recordings.claim(key) for _ in range(3))
    assert isinstance(first, Flight)
    assert isinstance(second, Future)
    assert isinstance(third, Future)
    assert isinstance(recordings.claim(key, blocking=True), Flight)
    third.cancel()
    first.land(None)
    assert second.done()
    again = recordings.claim(key)
    assert isinstance(again, Flight)
    assert isinstance(recordings.claim(replace(key, repeat=1)), Flight)


def test_mode_all_makes_every_call_again_once(tmp_path: Path) -> None:
    answers = iter(["old", "new", "newer"])
    with ScriptedServer(lambda _r: next(answers)) as server:
        call(server, Recordings(tmp_path))
        fresh = Recordings(tmp_path, mode="all")
        assert [call(server, fresh).calls[0].text for _ in range(2)] == ["new", "new"]
        assert call(server, Recordings(tmp_path, mode="none")).calls[0].text == "new"
    assert len(server.requests) == 2


def test_used_names_what_was_asked_for(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        both = Recordings(tmp_path)
        call(server, both)
        call(server, both, temperature=1)
        one = Recordings(tmp_path)
        call(server, one)
    assert both.used == set(both.names())
    assert len(one.used) == 1
    assert one.used < both.used


def test_a_missing_call_names_the_nearest_and_how_it_differs() -> None:
    recordings = Recordings()
    with ScriptedServer() as server:
        call(server, recordings, messages=[{"role": "user", "content": "What is a bird?"}])
        call(server, recordings, messages=[{"role": "user", "content": "Quite another thing"}], temperature=1)
    recordings.mode = "none"
    scope = CallScope(recordings=recordings)
    with (
        openai.OpenAI(base_url="http://127.0.0.1:9", api_key="none") as client,
        scope.active(),
        pytest.raises(openai.BadRequestError, match="no recording of this"),
    ):
        client.chat.completions.create(**BODY | {"messages": [{"role": "user", "content": "What is a plane?"}]})
    (missing,) = scope.missing
    assert missing.nearest is not None
    assert missing.nearest["messages"][0]["content"] == "What is a bird?"
    assert str(missing) == (
        "no recording of this openai.chat call to model 'm': the nearest recorded call differs in "
        'messages[0].content ("What is a bird?" there, "What is a plane?" here); record it first'
    )


def test_a_missing_repeat_says_so() -> None:
    recordings = Recordings()
    flight = recordings.claim(key_of("a", BODY))
    assert isinstance(flight, Flight)
    flight.land(Recorded(seconds=0.0, response={}))
    recordings.mode = "none"
    missing = recordings.claim(replace(key_of("a", BODY), repeat=1))
    assert isinstance(missing, MissingCall)
    assert missing.difference == "it is repeat 1"


@pytest.mark.parametrize("content", ["{", "[]", '{"version": 99}'])
def test_a_spoilt_file_is_an_error_that_names_it(tmp_path: Path, content: str) -> None:
    with ScriptedServer() as server:
        call(server, Recordings(tmp_path))
        (file,) = tmp_path.iterdir()
        file.write_text(content)
        scope = CallScope(recordings=Recordings(tmp_path))
        with (
            openai.OpenAI(base_url=server.base_url, api_key="none") as client,
            scope.active(),
            pytest.raises(openai.BadRequestError, match="delete it and record again"),
        ):
            client.chat.completions.create(**BODY)
    assert isinstance(scope.refused, ModelError)
    assert file.name in str(scope.refused)


def test_a_path_that_cannot_be_written_is_an_error_and_the_call_is_answered(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with ScriptedServer(lambda _r: "fine") as server:
        scope = call(server, Recordings(tmp_path / "link"))
    assert scope.calls[0].text == "fine"
    assert isinstance(scope.refused, ModelError)


def test_several_processes_may_record_at_the_same_time(tmp_path: Path) -> None:
    script = f"""
from sherlock.interpose.recording import Flight, Recorded, Recordings, key_of
recordings = Recordings({str(tmp_path)!r})
for i in range(40):
    key = key_of("a", {{"model": "m", "i": i}})
    claimed = recordings.claim(key)
    if isinstance(claimed, Flight):
        claimed.land(Recorded(seconds=0.0, response={{"text": "x" * 5000}}))
    assert recordings.claim(key).response == {{"text": "x" * 5000}}
"""
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(Recordings(tmp_path).names()) == 40
    assert all(file.suffix == ".json" for file in tmp_path.iterdir())
