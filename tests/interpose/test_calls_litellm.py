"""litellm's calls: sync, async, streamed, over OpenAI's and Anthropic's dialects."""

import asyncio
import gc
import os
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted_server import ScriptedServer

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

from sherlock.errors import InjectionError
from sherlock.interpose.calls import CallScope, Message, Recordings, install

install()

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # its own, and many

TURNS = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]
ASKED = (Message("system", "Be brief."), Message("user", "What is it?"))
TEXT = "a small bird"


def openai_settings(url: str) -> dict:
    return {"model": "openai/m", "api_base": f"{url}/v1", "api_key": "none", "messages": TURNS}


def anthropic_settings(url: str) -> dict:
    return {"model": "anthropic/claude-x", "api_base": url, "api_key": "none", "messages": TURNS, "max_tokens": 9}


def plain(settings: dict) -> str:
    return litellm.completion(**settings).choices[0].message.content


def streamed(settings: dict) -> str:
    chunks = litellm.completion(**settings, stream=True)
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def plain_async(settings: dict) -> str:
    return (await litellm.acompletion(**settings)).choices[0].message.content


async def streamed_async(settings: dict) -> str:
    chunks = await litellm.acompletion(**settings, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One loop for all: litellm keeps its clients, with their connections, and never closes them."""
    with asyncio.Runner() as runner:
        yield runner
        runner.run(litellm.close_litellm_async_clients())
        litellm.in_memory_llm_clients_cache.flush_cache()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
            runner.run(asyncio.sleep(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


CASES = [
    pytest.param(api, settings, form, id=f"{api}-{form.__name__}")
    for api, settings in (("openai.chat", openai_settings), ("anthropic.messages", anthropic_settings))
    for form in (plain, streamed, plain_async, streamed_async)
]


def run(runner: asyncio.Runner, form: Callable[[dict], Any], settings: dict, scope: CallScope) -> Any:
    async def call() -> Any:
        with scope.active():
            return await form(settings) if asyncio.iscoroutinefunction(form) else form(settings)

    found = runner.run(call())
    scope.close()
    return found


@pytest.mark.parametrize(("api", "settings", "form"), CASES)
def test_a_call_is_seen_once_rewritten_and_replayed(runner: asyncio.Runner, api: str, settings: Any, form: Any) -> None:
    recordings = Recordings()
    with ScriptedServer(lambda _request: {"text": TEXT, "usage": (21, 3, 4)}) as server:
        scope = CallScope(recordings=recordings, rewrite=lambda asked: [Message("system", "Now!"), asked[1]])
        assert run(runner, form, settings(server.root_url), scope) == TEXT
        url = server.root_url
    (request,) = server.requests
    assert "Now!" in str(request)
    assert "Be brief" not in str(request)
    (call,) = scope.calls
    assert (call.api, call.messages, call.text, call.failed) == (api, ASKED, TEXT, False)
    assert call.sent == (Message("system", "Now!"), ASKED[1])
    assert (call.usage.tokens_in, call.usage.tokens_out, call.usage.tokens_cached) == (21, 3, 4)
    assert not call.usage.estimated

    recordings.mode = "none"
    again = CallScope(recordings=recordings, rewrite=lambda asked: [Message("system", "Now!"), asked[1]])
    assert run(runner, form, settings(url), again) == TEXT
    assert [call.replayed for call in again.calls] == [True]
    assert again.missing == []


def test_its_own_cache_rules_out_rewriting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(litellm, "cache", object())
    with pytest.raises(InjectionError, match="litellm"), CallScope(rewrite=list).active():
        pass
    with CallScope().active():
        pass
