"""Every way of calling a model through an SDK: seen once, changed, recorded, replayed; untouched outside."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from scripted_server import ScriptedServer

from sherlock.interpose.calls import CallScope, Message, Recordings, install

install()

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]
ASKED = (Message("system", "Be brief."), Message("user", "What is it?"))
TEXT = '{"word": "a small bird"}'
TOOL = {"type": "function", "function": {"name": "look", "description": "d", "parameters": {"type": "object"}}}


class Word(BaseModel):
    """A structured answer."""

    word: str


def answer(_request: dict) -> dict:
    return {"text": TEXT, "usage": (21, 7, 4)}


def dumped(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude={"id"} if hasattr(value, "response_metadata") else None, warnings=False)
    return [dumped(item) for item in value] if isinstance(value, list | tuple) else value


# Loading certificates takes longer than a call: most forms use clients without them.


def openai_client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", http_client=httpx.Client(verify=False))


def openai_client_async(url: str) -> openai.AsyncOpenAI:
    http_client = httpx.AsyncClient(verify=False)
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", http_client=http_client)


def anthropic_client(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="none", http_client=httpx2.Client(verify=False))


def anthropic_client_async(url: str) -> anthropic.AsyncAnthropic:
    http_client = httpx2.AsyncClient(verify=False)
    return anthropic.AsyncAnthropic(base_url=url, api_key="none", http_client=http_client)


# OpenAI, chat completions


def openai_chat(url: str) -> Any:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        return client.chat.completions.create(model="m", messages=TURNS, temperature=0)


def openai_chat_developer(url: str) -> Any:
    with openai_client(url) as client:
        turns = [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, TURNS[1]]
        return client.chat.completions.create(model="m", messages=turns)


def openai_chat_parsed(url: str) -> Any:
    with openai_client(url) as client:
        found = client.chat.completions.parse(model="m", messages=TURNS, response_format=Word)
        assert found.choices[0].message.parsed == Word(word="a small bird")
        return found


def openai_chat_raw(url: str) -> Any:
    with openai_client(url) as client:
        raw = client.chat.completions.with_raw_response.create(model="m", messages=TURNS)
        assert raw.elapsed.total_seconds() >= 0
        return raw.parse()


def openai_chat_body_streamed(url: str) -> Any:
    with (
        openai_client(url) as client,
        client.chat.completions.with_streaming_response.create(model="m", messages=TURNS) as raw,
    ):
        return raw.parse()


def openai_chat_streamed(url: str) -> Any:
    with openai_client(url) as client:
        return list(client.chat.completions.create(model="m", messages=TURNS, stream=True))


def openai_chat_streamed_with_usage(url: str) -> Any:
    with openai_client(url) as client:
        options = {"include_usage": True}
        stream = client.chat.completions.create(model="m", messages=TURNS, stream=True, stream_options=options)
        chunks = list(stream)
        assert chunks[-1].usage.total_tokens == 28
        return chunks


def openai_chat_stream_events(url: str) -> Any:
    with (
        openai_client(url) as client,
        client.chat.completions.stream(model="m", messages=TURNS, response_format=Word) as stream,
    ):
        stream.until_done()
        return stream.get_final_completion()


async def openai_chat_async(url: str) -> Any:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
        return await client.chat.completions.create(model="m", messages=TURNS)


async def openai_chat_async_parsed(url: str) -> Any:
    async with openai_client_async(url) as client:
        return await client.chat.completions.parse(model="m", messages=TURNS, response_format=Word)


async def openai_chat_async_streamed(url: str) -> Any:
    async with openai_client_async(url) as client:
        stream = await client.chat.completions.create(model="m", messages=TURNS, stream=True)
        return [chunk async for chunk in stream]


# OpenAI, responses


def openai_responses(url: str) -> Any:
    with openai_client(url) as client:
        return client.responses.create(model="m", instructions="Be brief.", input="What is it?")


def openai_responses_items(url: str) -> Any:
    with openai_client(url) as client:
        return client.responses.create(model="m", input=TURNS)


def openai_responses_parsed(url: str) -> Any:
    with openai_client(url) as client:
        found = client.responses.parse(model="m", instructions="Be brief.", input="What is it?", text_format=Word)
        assert found.output_parsed == Word(word="a small bird")
        return found


def openai_responses_streamed(url: str) -> Any:
    with openai_client(url) as client:
        return list(client.responses.create(model="m", instructions="Be brief.", input="What is it?", stream=True))


async def openai_responses_async(url: str) -> Any:
    async with openai_client_async(url) as client:
        return await client.responses.create(model="m", instructions="Be brief.", input="What is it?")


async def openai_responses_async_streamed(url: str) -> Any:
    async with openai_client_async(url) as client:
        stream = await client.responses.create(model="m", input=TURNS, stream=True)
        return [event async for event in stream]


# Anthropic


def anthropic_messages(url: str) -> Any:
    with anthropic.Anthropic(base_url=url, api_key="none") as client:
        return client.messages.create(model="m", max_tokens=9, system="Be brief.", messages=TURNS[1:])


def anthropic_blocks(url: str) -> Any:
    with anthropic_client(url) as client:
        system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
        return client.messages.create(model="m", max_tokens=9, system=system, messages=TURNS[1:])


def anthropic_streamed(url: str) -> Any:
    with (
        anthropic_client(url) as client,
        client.messages.stream(model="m", max_tokens=9, system="Be brief.", messages=TURNS[1:]) as stream,
    ):
        return [*stream.text_stream, stream.get_final_message()]


async def anthropic_async(url: str) -> Any:
    async with anthropic_client_async(url) as client:
        return await client.messages.create(model="m", max_tokens=9, system="Be brief.", messages=TURNS[1:])


async def anthropic_async_streamed(url: str) -> Any:
    async with anthropic_client_async(url) as client:
        stream = await client.messages.create(
            model="m", max_tokens=9, system="Be brief.", messages=TURNS[1:], stream=True
        )
        return [event async for event in stream]


# LangChain over OpenAI's client


@contextlib.contextmanager
def chat_openai(url: str, **settings: Any) -> Iterator[ChatOpenAI]:
    with httpx.Client(verify=False) as client:
        yield ChatOpenAI(base_url=f"{url}/v1", api_key="none", model="m", http_client=client, **settings)


@contextlib.asynccontextmanager
async def chat_openai_async(url: str) -> AsyncIterator[ChatOpenAI]:
    async with httpx.AsyncClient(verify=False) as client:
        yield ChatOpenAI(base_url=f"{url}/v1", api_key="none", model="m", http_async_client=client)


def langchain_invoke(url: str) -> Any:
    with chat_openai(url) as model:
        return model.invoke(TURNS)


def langchain_bound(url: str) -> Any:
    with chat_openai(url) as model:
        return model.bind_tools([TOOL]).with_retry(wait_exponential_jitter=False).invoke(TURNS)


def langchain_responses(url: str) -> Any:
    with chat_openai(url, use_responses_api=True) as model:
        return model.invoke(TURNS)


def langchain_structured(url: str) -> Any:
    with chat_openai(url) as model:
        found = model.with_structured_output(Word).invoke(TURNS)
    assert found == Word(word="a small bird")
    return found


def langchain_streamed(url: str) -> Any:
    with chat_openai(url) as model:
        return list(model.stream(TURNS))


def langchain_streaming_invoke(url: str) -> Any:
    with chat_openai(url, streaming=True) as model:
        return model.invoke(TURNS)


def langchain_batch(url: str) -> Any:
    with chat_openai(url) as model:
        return model.batch([TURNS])


async def langchain_ainvoke(url: str) -> Any:
    async with chat_openai_async(url) as model:
        return await model.ainvoke(TURNS)


async def langchain_astreamed(url: str) -> Any:
    async with chat_openai_async(url) as model:
        return [chunk async for chunk in model.astream(TURNS)]


async def langchain_abatch(url: str) -> Any:
    async with chat_openai_async(url) as model:
        return await model.abatch([TURNS])


async def langchain_events(url: str) -> Any:
    async with chat_openai_async(url) as model:
        events = [event async for event in model.astream_events(TURNS, version="v2")]
    return [event["data"].get("chunk") for event in events]


FORMS = {
    "openai.chat": [
        openai_chat,
        openai_chat_developer,
        openai_chat_parsed,
        openai_chat_raw,
        openai_chat_body_streamed,
        openai_chat_streamed,
        openai_chat_streamed_with_usage,
        openai_chat_stream_events,
        openai_chat_async,
        openai_chat_async_parsed,
        openai_chat_async_streamed,
        langchain_invoke,
        langchain_bound,
        langchain_structured,
        langchain_streamed,
        langchain_streaming_invoke,
        langchain_batch,
        langchain_ainvoke,
        langchain_astreamed,
        langchain_abatch,
        langchain_events,
    ],
    "openai.responses": [
        openai_responses,
        openai_responses_items,
        openai_responses_parsed,
        openai_responses_streamed,
        openai_responses_async,
        openai_responses_async_streamed,
        langchain_responses,
    ],
    "anthropic.messages": [
        anthropic_messages,
        anthropic_blocks,
        anthropic_streamed,
        anthropic_async,
        anthropic_async_streamed,
    ],
}
CASES = [pytest.param(api, form, id=form.__name__) for api, forms in FORMS.items() for form in forms]


def run(form: Callable[[str], Any], url: str, scope: CallScope | None = None) -> Any:
    def call() -> Any:
        return asyncio.run(form(url)) if asyncio.iscoroutinefunction(form) else form(url)

    if scope is None:
        return dumped(call())
    with scope.active():
        found = call()
    scope.close()
    return dumped(found)


@pytest.mark.parametrize(("api", "form"), CASES)
def test_a_call_is_seen_once_and_request_and_answer_are_as_without_a_scope(api: str, form: Any) -> None:
    scope = CallScope(price=lambda model, usage: usage.tokens / 1000)
    with ScriptedServer(answer) as server:
        outside = run(form, server.root_url)
        inside = run(form, server.root_url, scope)
    assert inside == outside
    requests = [{k: v for k, v in r.items() if k != "stream_options"} for r in server.requests]
    assert requests == requests[:1] * 2
    (call,) = scope.calls
    assert (call.api, call.model, call.messages, call.sent) == (api, "m", ASKED, ASKED)
    assert call.text == TEXT
    assert (call.status, call.failed, call.replayed) == (200, False, False)
    assert (scope.usage.calls, scope.usage.tokens_in, scope.usage.tokens_out) == (1, 21, 7)
    assert (scope.usage.tokens_cached, scope.usage.estimated) == (4, False)
    assert scope.usage.usd == pytest.approx(0.028)
    assert 0 < scope.usage.seconds < 5


@pytest.mark.parametrize(("api", "form"), CASES)
def test_a_rewritten_directive_reaches_the_server_and_nothing_else_changes(api: str, form: Any) -> None:
    with ScriptedServer(answer) as server:
        run(form, server.root_url, CallScope())
        scope = CallScope(rewrite=lambda messages: [Message("system", "Be long."), *messages[1:]])
        run(form, server.root_url, scope)
    plain, rewritten = server.requests
    assert "Be long." in str(rewritten)
    assert str(rewritten).replace("Be long.", "Be brief.") == str(plain)
    (call,) = scope.calls
    assert call.messages == ASKED
    assert call.sent == (Message("system", "Be long."), ASKED[1])


@pytest.mark.parametrize(("api", "form"), CASES)
def test_replay_gives_equal_answers_without_a_server(api: str, form: Any) -> None:
    recordings = Recordings()
    with ScriptedServer(answer) as server:
        recorded = CallScope(recordings=recordings)
        first = run(form, server.root_url, recorded)
    recordings.mode = "none"
    replayed = CallScope(recordings=recordings)
    assert run(form, server.root_url, replayed) == first
    assert replayed.missing == []
    (call,) = replayed.calls
    assert call.replayed
    assert not call.failed
    assert replace(call.usage, seconds=0.0) == replace(recorded.calls[0].usage, seconds=0.0)
    assert call.usage.seconds == pytest.approx(
        recorded.calls[0].usage.seconds, abs=0.25
    )  # two readings of a busy clock
    assert call.text == recorded.calls[0].text


@pytest.mark.parametrize(
    ("api", "form"), [(api, form) for api, forms in FORMS.items() for form in (forms[0], forms[-1])]
)
def test_a_missing_recording_is_one_refusal_that_the_scope_knows_of(api: str, form: Any) -> None:
    scope = CallScope(recordings=Recordings(mode="none"))
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError), match="no recording of this"):
        run(form, "http://127.0.0.1:9", scope)
    (missing,) = scope.missing[:1]
    assert (missing.api, missing.model, missing.nearest) == (api, "m", None)
    assert scope.calls == []
