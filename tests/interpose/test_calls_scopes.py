"""Whose call is it: tasks, threads and pools; limits, errors, cancelled calls; equal calls made once."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from scripted_server import ScriptedServer

from sherlock.interpose.calls import CallScope, Message, Recordings, current_scope, install

install()


def echo(request: dict) -> str:
    return f"echo {request['messages'][-1]['content']}"


@contextlib.contextmanager
def openai_client(server: ScriptedServer, **settings: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=server.base_url, api_key="none", http_client=httpx.Client(verify=False), **settings
    ) as client:
        yield client


@contextlib.asynccontextmanager
async def openai_client_async(server: ScriptedServer, **settings: Any) -> Any:
    http_client = httpx.AsyncClient(verify=False)
    async with openai.AsyncOpenAI(
        base_url=server.base_url, api_key="none", http_client=http_client, **settings
    ) as client:
        yield client


def turns(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def ask(client: openai.OpenAI, text: str) -> str:
    return client.chat.completions.create(model="m", messages=turns(text)).choices[0].message.content


async def ask_async(client: openai.AsyncOpenAI, text: str) -> str:
    return (await client.chat.completions.create(model="m", messages=turns(text))).choices[0].message.content


def stream(client: openai.OpenAI, text: str) -> Any:
    return client.chat.completions.create(model="m", messages=turns(text), stream=True)


# Whose call it is


def test_parallel_tasks_with_scopes_of_their_own_do_not_mix() -> None:
    async def node(client: Any, number: int) -> CallScope:
        scope = CallScope(rewrite=lambda asked: [Message("system", f"s{number}"), *asked])
        with scope.active():
            await asyncio.gather(*(ask_async(client, f"{number}.{i}") for i in range(3)))
        scope.close()
        return scope

    async def main(server: ScriptedServer) -> list[CallScope]:
        async with openai_client_async(server) as client:
            return await asyncio.gather(*(node(client, number) for number in range(5)))

    with ScriptedServer(echo) as server:
        scopes = asyncio.run(main(server))
    for number, scope in enumerate(scopes):
        assert sorted(call.text for call in scope.calls) == [f"echo {number}.{i}" for i in range(3)]
        assert {call.sent[0].text for call in scope.calls} == {f"s{number}"}


def test_parallel_threads_with_scopes_of_their_own_do_not_mix() -> None:
    scopes: dict[int, CallScope] = {}

    def node(client: openai.OpenAI, number: int) -> None:
        scopes[number] = CallScope()
        with scopes[number].active():
            for i in range(3):
                ask(client, f"{number}.{i}")

    with ScriptedServer(echo) as server, openai_client(server) as client:
        threads = [threading.Thread(target=node, args=(client, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, scope in scopes.items():
        assert [call.text for call in scope.calls] == [f"echo {number}.{i}" for i in range(3)]


def test_threads_and_pools_started_inside_belong_to_the_scope_and_no_longer() -> None:
    scope = CallScope()
    with ScriptedServer(echo) as server, openai_client(server) as client, ThreadPoolExecutor(2) as pool:
        with scope.active():
            thread = threading.Thread(target=ask, args=(client, "thread"))
            thread.start()
            pool.submit(ask, client, "pool").result()
            list(pool.map(lambda text: ask(client, text), ["map 1", "map 2"]))
            thread.join()
        pool.submit(ask, client, "later").result()
        assert pool.submit(current_scope).result() is None
        assert len(server.requests) == 5
    assert sorted(call.messages[0].text for call in scope.calls) == ["map 1", "map 2", "pool", "thread"]


def test_executors_of_a_loop_belong_to_the_scope() -> None:
    async def main(client: openai.OpenAI, scope: CallScope) -> None:
        with scope.active():
            await asyncio.to_thread(ask, client, "to_thread")
            await asyncio.get_running_loop().run_in_executor(None, ask, client, "executor")
        await asyncio.get_running_loop().run_in_executor(None, ask, client, "later")

    scope = CallScope()
    with ScriptedServer(echo) as server, openai_client(server) as client:
        asyncio.run(main(client, scope))
    assert [call.messages[0].text for call in scope.calls] == ["to_thread", "executor"]


def test_a_thread_that_outlives_its_scope_is_outside() -> None:
    closed = threading.Event()
    seen: list[CallScope | None] = []
    scope = CallScope()
    with scope.active():
        thread = threading.Thread(target=lambda: (closed.wait(5), seen.append(current_scope())))
        thread.start()
    scope.close()
    closed.set()
    thread.join()
    assert seen == [None]


def test_other_requests_pass_as_they_are() -> None:
    with ScriptedServer() as server, httpx.Client(verify=False) as client:
        scope = CallScope(recordings=Recordings(mode="none"))
        with scope.active():
            for path, body in (("/embeddings", {"input": "x"}), ("/messages", {"messages": [], "to": "a person"})):
                assert client.post(f"{server.base_url}{path}", json=body | {"model": "m"}).status_code in (200, 404)
            assert client.post(f"{server.base_url}/chat/completions", content=b'{"model": "m"}').status_code
    assert scope.calls == []
    assert scope.missing == []


# Limits, errors, streams that are not read to their end


@pytest.mark.parametrize("swallow", [False, True])
def test_a_limit_refuses_this_call_and_every_later_one(swallow: bool) -> None:
    def before(model: str) -> None:
        if len(scope.calls) >= 2:
            raise RuntimeError(f"limit at {model}")

    scope = CallScope(before_call=before)
    with ScriptedServer(echo) as server, openai_client(server) as client, scope.active():
        ask(client, "1")
        ask(client, "2")
        for text in ("3", "4"):
            expected = pytest.raises(openai.BadRequestError, match="limit at m")
            with contextlib.suppress(openai.APIError) if swallow else expected:
                ask(client, text)
    assert len(server.requests) == 2
    assert len(scope.calls) == 2
    assert str(scope.refused) == "limit at m"


@pytest.mark.parametrize("hook", ["rewrite", "price"])
def test_what_a_hook_raises_is_kept_for_who_gave_it(hook: str) -> None:
    def fail(*_args: Any) -> Any:
        raise ValueError("no good")

    scope = CallScope(**{hook: fail})
    with ScriptedServer(echo) as server, openai_client(server) as client, scope.active():
        for _ in range(2):
            with contextlib.suppress(openai.BadRequestError):
                ask(client, "1")
    assert str(scope.refused) == "no good"
    assert len(server.requests) == (hook == "price")


def test_an_interrupt_in_a_hook_lets_others_make_the_call() -> None:
    def interrupt(_model: str) -> None:
        raise KeyboardInterrupt

    recordings = Recordings()
    with ScriptedServer(echo) as server, openai_client(server) as client:
        with pytest.raises(KeyboardInterrupt), CallScope(recordings=recordings, before_call=interrupt).active():
            ask(client, "1")
        with CallScope(recordings=recordings).active():
            assert ask(client, "1") == "echo 1"
    assert len(recordings.names()) == 1


def test_a_replayed_call_is_not_held_against_a_limit() -> None:
    recordings = Recordings()
    asked: list[str] = []
    with ScriptedServer(echo) as server, openai_client(server) as client:
        for _ in range(3):
            scope = CallScope(recordings=recordings, before_call=asked.append)
            with scope.active():
                ask(client, "1")
    assert asked == ["m"]
    assert len(server.requests) == 1


def test_a_failed_attempt_and_its_retry_are_two_calls_and_the_failure_is_not_recorded() -> None:
    answers = iter([{"status": 500, "error": "oops"}, "fine", "again"])
    recordings = Recordings()
    scope = CallScope(recordings=recordings)
    with (
        ScriptedServer(lambda _request: next(answers)) as server,
        openai_client(server, max_retries=1) as client,
        scope.active(),
    ):
        assert ask(client, "x") == "fine"
    assert [(call.status, call.failed) for call in scope.calls] == [(500, True), (200, False)]
    failed = scope.calls[0].usage
    assert (failed.calls, failed.tokens, failed.usd, failed.estimated) == (1, 0, 0.0, False)
    (name,) = recordings.names()
    assert name.endswith("-0")


def test_a_server_that_is_not_there_costs_nothing_but_a_call() -> None:
    scope = CallScope()
    with (
        openai.OpenAI(
            base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0, http_client=httpx.Client(verify=False)
        ) as client,
        pytest.raises(openai.APIConnectionError),
        scope.active(),
    ):
        ask(client, "x")
    (call,) = scope.calls
    assert (call.failed, call.status, call.usage.tokens) == (True, None, 0)


def test_a_stream_given_up_is_estimated_and_not_recorded() -> None:
    recordings = Recordings()
    scope = CallScope(recordings=recordings)
    with (
        ScriptedServer(lambda _r: {"text": "one two three four", "pause": 0.02}) as server,
        openai_client(server) as client,
        scope.active(),
    ):
        chunks = stream(client, "go")
        found = [next(chunks).choices[0].delta.content for _ in range(3)]
        chunks.close()
    assert found == ["", "one", " two"]
    (call,) = scope.calls
    assert call.failed
    assert call.text.startswith("one two")
    assert (call.usage.estimated, call.usage.tokens_in) == (True, 1)
    assert call.usage.tokens_out >= 2
    assert recordings.names() == []


def test_an_open_stream_ends_with_the_scope_and_can_still_be_read() -> None:
    scope = CallScope()
    with ScriptedServer(lambda _r: {"text": "one two three", "pause": 0.02}) as server, openai_client(server) as client:
        with scope.active():
            chunks = stream(client, "go")
            next(chunks)
        scope.close()
        (call,) = scope.calls
        assert call.failed
        rest = [chunk.choices[0].delta.content for chunk in chunks]
    assert rest == ["one", " two", " three", None]
    assert scope.calls == [call]


def test_a_cancelled_call_is_estimated() -> None:
    async def main(server: ScriptedServer, scope: CallScope) -> None:
        async with openai_client_async(server) as client:
            with scope.active():
                task = asyncio.create_task(ask_async(client, "twelve chars"))
            await asyncio.sleep(0.15)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    scope = CallScope()
    with ScriptedServer(lambda _r: {"text": "late", "delay": 0.5}) as server:
        asyncio.run(main(server, scope))
    (call,) = scope.calls
    assert (call.failed, call.usage.estimated, call.usage.tokens_in) == (True, True, 3)


def test_a_stream_that_breaks_off_has_failed() -> None:
    scope = CallScope(recordings=(recordings := Recordings()))
    with (
        ScriptedServer(lambda _r: {"text": "one two three", "cut": 3}) as server,
        openai_client(server) as client,
        scope.active(),
        contextlib.suppress(httpx.RemoteProtocolError),
    ):
        list(stream(client, "go"))
    assert [(call.failed, call.text) for call in scope.calls] == [(True, "one two")]
    assert recordings.names() == []


def test_unreported_usage_is_estimated() -> None:
    scope = CallScope()
    with (
        ScriptedServer(lambda _r: {"text": "four", "usage": None}) as server,
        openai_client(server) as client,
        scope.active(),
    ):
        ask(client, "twelve chars")
        list(stream(client, "twelve chars"))
    assert [(c.usage.tokens_in, c.usage.tokens_out, c.usage.estimated) for c in scope.calls] == [(3, 1, True)] * 2
    assert not any(call.failed for call in scope.calls)


def test_a_server_that_refuses_stream_options_is_asked_without() -> None:
    def answer(request: dict) -> Any:
        if "stream_options" in request:
            return {"status": 400, "error": "unknown field: stream_options"}
        return "one two"

    scope = CallScope()
    with ScriptedServer(answer) as server, openai_client(server) as client, scope.active():
        assert "".join(c.choices[0].delta.content or "" for c in stream(client, "go")) == "one two"
    assert ["stream_options" in request for request in server.requests] == [True, False]
    (call,) = scope.calls
    assert (call.failed, call.text, call.usage.estimated) == (False, "one two", True)


def test_calls_stand_in_the_order_in_which_they_began() -> None:
    async def main(server: ScriptedServer, scope: CallScope) -> None:
        async with openai_client_async(server) as client:
            with scope.active():
                slow = asyncio.create_task(ask_async(client, "slow"))
                while not server.requests:
                    await asyncio.sleep(0.005)
                await ask_async(client, "fast")
                await slow

    scope = CallScope()
    with ScriptedServer(lambda r: {"text": "x", "delay": 0.2 if "slow" in str(r) else 0}) as server:
        asyncio.run(main(server, scope))
    assert [call.messages[0].text for call in scope.calls] == ["slow", "fast"]


# Equal calls


def test_repeats_are_numbered_within_a_scope_and_start_again_in_the_next() -> None:
    numbers = iter(range(100))
    recordings = Recordings()
    found = []
    with ScriptedServer(lambda _r: f"answer {next(numbers)}") as server, openai_client(server) as client:
        for repeats in (2, 3, 3):
            with CallScope(recordings=recordings).active():
                found.append([ask(client, "same") for _ in range(repeats)])
    assert found == [
        ["answer 0", "answer 1"],
        ["answer 0", "answer 1", "answer 2"],
        ["answer 0", "answer 1", "answer 2"],
    ]
    assert len(server.requests) == 3


@pytest.mark.parametrize("streamed", [False, True])
def test_equal_calls_of_parallel_threads_are_made_once(streamed: bool) -> None:
    recordings = Recordings()
    texts: list[str] = []

    def node(client: openai.OpenAI) -> None:
        with CallScope(recordings=recordings).active():
            if streamed:
                texts.append("".join(c.choices[0].delta.content or "" for c in stream(client, "same")))
            else:
                texts.append(ask(client, "same"))

    with (
        ScriptedServer(lambda r: {"text": f"t{time.time_ns()}", "delay": 0.1}) as server,
        openai_client(server) as client,
    ):
        threads = [threading.Thread(target=node, args=(client,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.requests) == 1
    assert len(texts) == 6
    assert len(set(texts)) == 1


def test_equal_calls_of_parallel_tasks_are_made_once_and_one_may_be_cancelled() -> None:
    recordings = Recordings()

    async def node(client: Any) -> str:
        with CallScope(recordings=recordings).active():
            return await ask_async(client, "same")

    async def main(server: ScriptedServer) -> list[Any]:
        async with openai_client_async(server) as client:
            tasks = [asyncio.create_task(node(client)) for _ in range(6)]
            while not server.requests:
                await asyncio.sleep(0.005)
            tasks[3].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    with ScriptedServer(lambda r: {"text": f"t{time.time_ns()}", "delay": 0.1}) as server:
        found = asyncio.run(main(server))
    assert isinstance(found.pop(3), asyncio.CancelledError)
    assert len(set(found)) == 1
    assert len(server.requests) == 1


def test_when_the_maker_of_a_call_is_cancelled_another_makes_it() -> None:
    recordings = Recordings()

    async def node(client: Any) -> str:
        with CallScope(recordings=recordings).active():
            return await ask_async(client, "same")

    async def main(server: ScriptedServer) -> list[Any]:
        async with openai_client_async(server) as client:
            tasks = [asyncio.create_task(node(client)) for _ in range(3)]
            while not server.requests:
                await asyncio.sleep(0.005)
            tasks[0].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    with ScriptedServer(lambda r: {"text": "t", "delay": 0.1}) as server:
        first, *others = asyncio.run(main(server))
    assert isinstance(first, asyncio.CancelledError)
    assert others == ["t", "t"]
    assert len(server.requests) == 2


def test_parallel_equal_calls_of_one_scope_are_repeats() -> None:
    recordings = Recordings()

    async def main(server: ScriptedServer) -> list[str]:
        async with openai_client_async(server) as client:
            with CallScope(recordings=recordings).active():
                return await asyncio.gather(*(ask_async(client, "same") for _ in range(3)))

    numbers = iter(range(10))
    with ScriptedServer(lambda r: f"t{next(numbers)}") as server:
        first, second = asyncio.run(main(server)), asyncio.run(main(server))
    assert sorted(first) == ["t0", "t1", "t2"]
    assert second == first
    assert len(server.requests) == 3


def test_a_thread_does_not_wait_for_a_call_that_only_it_can_end() -> None:
    recordings = Recordings()
    with ScriptedServer(lambda _r: {"text": "one two", "pause": 0.01}) as server, openai_client(server) as client:
        outer, inner = CallScope(recordings=recordings), CallScope(recordings=recordings)
        with outer.active():
            chunks = stream(client, "same")
            next(chunks)
        with inner.active():
            assert len(list(stream(client, "same"))) == 4
        assert len(list(chunks)) == 3
        outer.close()
    assert len(server.requests) == 2
    assert len(recordings.names()) == 1
