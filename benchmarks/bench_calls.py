"""What an active scope adds to a model call, against the same call without one.

Pairs are interleaved and their order alternates, so that drift hits both sides alike; the figure is the median of the
pairs' ratios, with the quartiles. `loopback`: a server process on 127.0.0.1; `no network`: answered inside the HTTP
client, so that hardly anything but the SDK and the hooks is left.

    python benchmarks/bench_calls.py [--pairs 400]
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import openai

from sherlock.interpose.calls import CallScope, Message, Recordings, install

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "interpose"))
from scripted_server import ScriptedServer

TURNS = [{"role": "system", "content": "Be brief. " * 40}, {"role": "user", "content": "What is it? " * 40}]
Call = Callable[[], Any]


def serve(pipe: Connection) -> None:
    with ScriptedServer(lambda _request: "a small bird " * 20) as server:
        pipe.send(server.base_url)
        pipe.recv()


def in_scope(call: Call, **settings: Any) -> Call:
    def wrapped() -> None:
        scope = CallScope(**settings)
        with scope.active():
            call()
        scope.close()
        assert len(scope.calls) == 1

    return wrapped


def unpatched(call: Call) -> Call:
    patched = httpx.Client.send

    def wrapped() -> None:
        httpx.Client.send = patched.__wrapped__
        try:
            call()
        finally:
            httpx.Client.send = patched

    return wrapped


def timed(call: Call) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def compare(name: str, plain: Call, other: Call, pairs: int) -> None:
    for _ in range(10):
        plain()
        other()
    ratios, added = [], []
    for i in range(pairs):
        first, second = (timed(call) for call in ((plain, other) if i % 2 else (other, plain)))
        a, b = (first, second) if i % 2 else (second, first)
        ratios.append(b / a)
        added.append(b - a)
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"{name:40} {middle:6.3f}  [{low:.3f}, {high:.3f}]  {statistics.median(added) * 1e6:+8.0f} us")


def calls_of(client: openai.OpenAI) -> tuple[Call, Call, Call]:
    numbers = iter(range(10**9))

    def plain() -> Any:
        return client.chat.completions.create(model="m", messages=TURNS)

    def streamed() -> Any:
        return list(client.chat.completions.create(model="m", messages=TURNS, stream=True))

    def distinct() -> Any:
        return client.chat.completions.create(model="m", messages=TURNS, seed=next(numbers))

    return plain, streamed, distinct


def bench(where: str, client: openai.OpenAI, pairs: int) -> None:
    plain, streamed, distinct = calls_of(client)
    rewrite = lambda asked: [Message("system", "Be long."), *asked[1:]]  # noqa: E731
    compare(f"{where}: outside, against unpatched", unpatched(plain), plain, pairs)
    compare(f"{where}: metered", plain, in_scope(plain), pairs)
    compare(f"{where}: metered stream", streamed, in_scope(streamed), pairs)
    compare(f"{where}: rewritten", plain, in_scope(plain, rewrite=rewrite), pairs)
    compare(f"{where}: recorded in memory", distinct, in_scope(distinct, recordings=Recordings()), pairs)
    compare(f"{where}: replayed from memory", plain, in_scope(plain, recordings=Recordings()), pairs)


def canned(request: httpx.Request) -> httpx.Response:
    message = {"role": "assistant", "content": "a small bird " * 20}
    usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": usage}
    if json.loads(request.content).get("stream"):
        chunk = body | {"choices": [{"index": 0, "delta": message, "finish_reason": "stop"}]}
        text = f"data: {json.dumps(chunk)}\n\n" * 20 + "data: [DONE]\n\n"
        return httpx.Response(200, text=text, headers={"content-type": "text/event-stream"})
    return httpx.Response(200, json=body | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=400)
    pairs = parser.parse_args().pairs
    install()
    print(f"{'':40} ratio   [quartiles]       median difference   ({pairs} pairs)")
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there,))
    process.start()
    try:
        with openai.OpenAI(base_url=here.recv(), api_key="none") as client:
            bench("loopback", client, pairs)
    finally:
        here.send(None)
        process.join()
    transport = httpx.Client(transport=httpx.MockTransport(canned))
    with openai.OpenAI(base_url="http://model", api_key="none", http_client=transport) as client:
        bench("no network", client, pairs)


if __name__ == "__main__":
    main()
