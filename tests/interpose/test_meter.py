"""A meter sees the calls of every scope made while it is open, and may refuse them."""

import asyncio

import pytest
from openai import APIStatusError, AsyncOpenAI
from scripted_server import ScriptedServer

from sherlock.errors import LimitReached
from sherlock.interpose import calls
from sherlock.interpose.calls import CallScope, Meter

calls.install()


async def ask(server):
    async with AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "?"}])


async def in_a_scope(server, **options):
    scope = CallScope(**options)
    with scope.active():
        await ask(server)
    return scope


def test_calls_of_all_scopes_and_tasks_are_seen_once():
    seen = []
    with ScriptedServer() as server:

        async def run():
            with Meter(before_call=lambda model: None, on_call=seen.append).open():
                outer = CallScope()
                with outer.active():
                    await asyncio.gather(in_a_scope(server), in_a_scope(server))
                    await ask(server)
            await in_a_scope(server)
            return outer

        outer = asyncio.run(run())
    assert len(server.requests) == 4
    assert len(seen) == 3, "a scope that was made afterwards is not metered"
    assert len(outer.calls) == 1, "scopes do not see each other's calls"


def test_it_may_refuse_before_the_scope_is_asked():
    asked = []

    def refuse(model):
        raise LimitReached("enough")

    with ScriptedServer() as server:

        async def run():
            with Meter(before_call=refuse, on_call=lambda call: None).open():
                scope = CallScope(before_call=asked.append)
                with scope.active(), pytest.raises(APIStatusError):
                    await ask(server)
                return scope

        scope = asyncio.run(run())
    assert str(scope.refused) == "enough"
    assert server.requests == asked == []
