"""Calls to servers that speak the OpenAI dialect, and through litellm, which answers in it for every provider."""

import asyncio
import importlib
import logging
import os
import re
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from sherlock.errors import ModelError
from sherlock.models.prices import is_loopback
from sherlock.models.request import Reply, Request, failure
from sherlock.models.structured import response_format

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_log = logging.getLogger(__name__)
_OPENAI_URL = "https://api.openai.com/v1"


async def ask(name: str, request: Request, url: str | None, *, key: str | None = None) -> Reply:
    """Ask the model `name` of the server at `url` (default: OpenAI's). `key` defaults to `$OPENAI_API_KEY`."""
    key = key or os.environ.get("OPENAI_API_KEY")
    if not key and url is None:
        raise ModelError(f"the model {name!r} needs OpenAI's API: set OPENAI_API_KEY, or OPENAI_BASE_URL for another")
    try:
        connection = await _connection(url or _OPENAI_URL, key or "none")
        refused = connection.refused.setdefault(name, set())
        return await _ask(connection.client.chat.completions.create, _body(name, request), refused, request.on_text)
    except Exception as error:
        raise failure(error, name, url or _OPENAI_URL) from error


async def ask_litellm(model: str, request: Request, url: str | None) -> Reply:
    """Ask `provider/NAME` through litellm, which is imported (some seconds, in a thread) on the first call."""
    # Before the import: litellm would fetch its price map from the network, and its Rust path passes by HTTP hooks.
    os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_RUST="0")
    try:
        litellm: Any = await asyncio.to_thread(importlib.import_module, "litellm")
    except ImportError as error:
        raise ModelError(f"the model {model!r} needs litellm: pip install litellm") from error
    litellm.suppress_debug_info = True  # it prints hints to standard output, where `--json` goes
    body = _body(model, request) | {"drop_params": True} | ({"api_base": url} if url else {})
    try:
        return await _ask(litellm.acompletion, body, set(), request.on_text)
    except Exception as error:
        raise failure(error, model, url) from error


# Asking


def _body(name: str, request: Request) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": name,
        "messages": list(request.messages),
        "temperature": request.temperature,
        "max_tokens": request.max_tokens,
        "seed": request.seed,
        "stop": list(request.stop) or None,
        "response_format": None if request.schema is None else response_format(request.schema),
    }
    if request.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return {key: value for key, value in body.items() if value is not None}


# What a server may not know, and what says the same to one that does not.
_OPTIONAL: dict[str, str | None] = {
    "stream_options": None,
    "max_tokens": "max_completion_tokens",
    "temperature": None,
    "seed": None,
    "response_format": None,
}
_UNKNOWN = re.compile(r"unsupported|not support|unrecognized|unknown|unexpected|not permitted|extra ", re.IGNORECASE)


async def _ask(
    create: Callable[..., Awaitable[Any]], body: dict[str, Any], refused: set[str], on_text: Callable[[str], None]
) -> Reply:
    """Ask, and ask again without a setting that the server says it does not know; `refused` remembers those."""
    import openai

    for known in refused:
        _leave_out(body, known)
    while True:
        try:
            answer = await create(**body)
            return await _read_stream(answer, on_text) if body.get("stream") else _read(answer, on_text)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            key = _refused_key(error, body)
            if key is None:
                raise
            _log.warning("%s does not take %s: it is left to the server (%s)", body["model"], key, error)
            refused.add(key)
            _leave_out(body, key)


def _refused_key(error: Any, body: dict[str, Any]) -> str | None:
    words = str(error)
    if not _UNKNOWN.search(words):
        return None
    named = [key for key in _OPTIONAL if key in body and (error.param == key or re.search(rf"\b{key}\b", words))]
    return named[0] if named else None


def _leave_out(body: dict[str, Any], key: str) -> None:
    value, other = body.pop(key, None), _OPTIONAL[key]
    if other is not None and value is not None:
        body[other] = value


async def _read_stream(chunks: Any, on_text: Callable[[str], None]) -> Reply:
    texts: list[str] = []
    usage = None
    try:
        async for chunk in chunks:
            usage = getattr(chunk, "usage", None) or usage
            piece = (chunk.choices[0].delta.content or "") if chunk.choices else ""
            if piece:
                texts.append(piece)
                on_text(piece)
    finally:
        # On cancellation too: the server stops computing when its connection closes.
        await (chunks.close() if hasattr(chunks, "close") else chunks.aclose())
    return _reply("".join(texts), usage)


def _read(answer: Any, on_text: Callable[[str], None]) -> Reply:
    text = (answer.choices[0].message.content if answer.choices else None) or ""
    on_text(text)
    return _reply(text, getattr(answer, "usage", None))


def _reply(text: str, usage: Any) -> Reply:
    if usage is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return Reply(text)
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", None) or 0
    return Reply(text, tokens_in=usage.prompt_tokens, tokens_out=usage.completion_tokens, tokens_cached=cached)


# Connections: one client per event loop and address, closed with its loop


class _Connection:
    def __init__(self, client: "AsyncOpenAI") -> None:
        self.client = client
        self.refused: dict[str, set[str]] = {}


class _Connections:
    def __init__(self) -> None:
        self.by_address: dict[tuple[str, str], _Connection] = {}
        self.keeper: AsyncGenerator[None] | None = None


_of_loop: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Connections]" = weakref.WeakKeyDictionary()


async def _connection(url: str, key: str) -> _Connection:
    openai = await asyncio.to_thread(importlib.import_module, "openai")
    loop = asyncio.get_running_loop()
    held = _of_loop.setdefault(loop, _Connections())
    if (url, key) not in held.by_address:
        # A proxy of the machine cannot reach this machine's loopback address.
        http = openai.DefaultAsyncHttpxClient(trust_env=False) if is_loopback(url) else None
        held.by_address[url, key] = _Connection(openai.AsyncOpenAI(base_url=url, api_key=key, http_client=http))
    if held.keeper is None:
        held.keeper = _closing(loop, held)
        await anext(held.keeper)
    return held.by_address[url, key]


async def _closing(loop: asyncio.AbstractEventLoop, held: _Connections) -> AsyncGenerator[None]:
    """Closes the clients when the loop ends: a loop closes the async generators that are still open on it."""
    try:
        yield
    finally:
        _of_loop.pop(loop, None)
        for connection in held.by_address.values():
            await connection.client.close()
