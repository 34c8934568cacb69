"""Hooks `send` of the HTTP clients that model SDKs use, `httpx` and `httpx2`, where a `CallScope` is active.

`send`, because it is the one place that every SDK's sync, async, streamed, parsed and raw calls pass through; not the
transport, because some SDKs bring their own.
"""

import asyncio
import datetime as dt
import functools
import importlib
import importlib.util
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from typing import Any

from sherlock.interpose.dialects import find_dialect
from sherlock.interpose.exchange import Exchange, Reply
from sherlock.interpose.scope import CallScope, current_frame, current_scope

LONGEST_WAIT_S = 600.0
"""How long to wait for an equal call under way before making this one as well, if the client sets no time-out."""


def patch_clients() -> None:
    """Patch the clients that are installed."""
    for name in ("httpx", "httpx2"):
        if importlib.util.find_spec(name) is not None:
            library = importlib.import_module(name)
            tee = _tee_class(library)
            library.Client.send = _sync_send(library, tee, library.Client.send)
            library.AsyncClient.send = _async_send(library, tee, library.AsyncClient.send)


def _sync_send(library: Any, tee: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        scope = current_scope()
        exchange = None if scope is None else _exchange(library, scope, request)
        if exchange is None:
            return original(client, request, stream=stream, **options)
        turn = exchange.turn(blocking=True)
        while isinstance(turn, Future):
            turn = exchange.turn(blocking=True, waited_out=not wait_future(turn, _patience(request)))
        if turn is not None:
            return _local_response(library, turn, request)
        try:
            response = original(client, _outgoing(library, exchange, request), stream=True, **options)
            if _may_refuse_injection(exchange, response) and _blames_injection(response.read()):
                exchange.without_injection()
                response.close()
                response = original(client, _outgoing(library, exchange, request), stream=True, **options)
        except BaseException as error:
            exchange.broken(reached=not _never_reached(library, error))
            raise
        _attach(library, tee, exchange, response)
        if not stream:
            try:
                response.read()
            except BaseException:
                response.close()
                raise
        return response

    return send


def _async_send(library: Any, tee: Any, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def send(client: Any, request: Any, *, stream: bool = False, **options: Any) -> Any:
        scope = current_scope()
        exchange = None if scope is None else _exchange(library, scope, request)
        if exchange is None:
            return await original(client, request, stream=stream, **options)
        turn = exchange.turn(blocking=False)
        while isinstance(turn, Future):
            turn = exchange.turn(blocking=False, waited_out=not await await_future(turn, _patience(request)))
        if turn is not None:
            return _local_response(library, turn, request)
        try:
            response = await original(client, _outgoing(library, exchange, request), stream=True, **options)
            if _may_refuse_injection(exchange, response) and _blames_injection(await response.aread()):
                exchange.without_injection()
                await response.aclose()
                response = await original(client, _outgoing(library, exchange, request), stream=True, **options)
        except BaseException as error:
            exchange.broken(reached=not _never_reached(library, error))
            raise
        _attach(library, tee, exchange, response)
        if not stream:
            try:
                await response.aread()
            except BaseException:
                await response.aclose()
                raise
        return response

    return send


def _exchange(library: Any, scope: CallScope, request: Any) -> Exchange | None:
    """The exchange for this request; None if it is no model call."""
    if request.method != "POST":
        return None
    try:
        content = request.content
        body = json.loads(content)
    except (library.RequestNotRead, ValueError):
        return None
    dialect = find_dialect(request.url.path, body)
    if dialect is None:
        return None
    exchange = Exchange(scope, dialect, body, content, current_frame.get())
    exchange.address = f"{request.url.scheme}://{request.url.netloc.decode()}"
    return exchange


def _outgoing(library: Any, exchange: Exchange, request: Any) -> Any:
    """The user's own request; a new one where its body changed or its answer is a stream, which must be readable."""
    if not exchange.changed and not exchange.streamed:
        return request
    headers = request.headers.copy()
    for name in ("content-length", "transfer-encoding"):
        headers.pop(name, None)
    if exchange.streamed:
        headers["accept-encoding"] = "identity"
    return library.Request(
        request.method, request.url, headers=headers, content=exchange.content, extensions=request.extensions
    )


def _attach(library: Any, tee: Any, exchange: Exchange, response: Any) -> None:
    encoding = response.headers.get("content-encoding", "identity")

    def decode(raw: bytes) -> bytes:
        try:
            return bytes(library.Response(200, headers={"content-encoding": encoding}, content=raw).content)
        except library.DecodingError as error:
            raise ValueError(str(error)) from error

    read_before = response.is_stream_consumed
    plain = encoding == "identity" or read_before
    exchange.opened(response.status_code, response.headers.get("content-type", ""), None if plain else decode)
    if read_before:  # by an auth flow or an event hook
        exchange.feed(response.content)
        exchange.finish()
    else:
        response.stream = tee(exchange, response.stream)


class _Tee:
    """A response's stream, for sync and async clients, that shows the exchange what passes."""

    def __init__(self, exchange: Exchange, stream: Any) -> None:
        self._exchange = exchange
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                if shown := self._exchange.feed(chunk):
                    yield shown
            if held := self._exchange.rest():
                yield held
        finally:
            self._exchange.finish()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                if shown := self._exchange.feed(chunk):
                    yield shown
            if held := self._exchange.rest():
                yield held
        finally:
            self._exchange.finish()

    def close(self) -> None:
        self._exchange.finish()
        self._stream.close()

    async def aclose(self) -> None:
        self._exchange.finish()
        await self._stream.aclose()


def _tee_class(library: Any) -> type[_Tee]:
    """`_Tee` as a stream that `library` accepts."""
    return type("Tee", (_Tee, library.SyncByteStream, library.AsyncByteStream), {})


def _local_response(library: Any, reply: Reply, request: Any) -> Any:
    response = library.Response(reply.status, headers=dict(reply.headers), content=reply.content, request=request)
    response.elapsed = dt.timedelta(seconds=reply.seconds)
    return response


def _may_refuse_injection(exchange: Exchange, response: Any) -> bool:
    return exchange.hides_usage and response.status_code in (400, 422)


def _blames_injection(content: bytes) -> bool:
    return b"stream_options" in content or b"include_usage" in content


def _never_reached(library: Any, error: BaseException) -> bool:
    return isinstance(
        error,
        library.ConnectError | library.ConnectTimeout | library.PoolTimeout | library.UnsupportedProtocol,
    )


def _patience(request: Any) -> float:
    timeout = request.extensions.get("timeout") or {}
    return float(timeout.get("read") or LONGEST_WAIT_S)


def wait_future(future: "Future[None]", seconds: float) -> bool:
    """True once somebody's equal call has ended; False if it takes too long."""
    try:
        future.result(seconds)
    except TimeoutError:
        future.cancel()
        return False
    return True


async def await_future(future: "Future[None]", seconds: float) -> bool:
    try:
        await asyncio.wait_for(asyncio.wrap_future(future), seconds)
    except TimeoutError:
        return False
    return True
