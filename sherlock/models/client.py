"""The model client that verifiers and judges call: one function for every kind of model, with what the call cost.

Calls stream by default, so that cancelling one closes its connection and frees the model at once.
"""

import dataclasses
import math
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sherlock.cases import opened
from sherlock.errors import ModelError
from sherlock.models.prices import Prices
from sherlock.models.request import Reply, Request
from sherlock.models.structured import Schema, parse
from sherlock.usage import Usage

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_OPENAI_NAME = re.compile(r"(gpt-|chatgpt-|o\d)")
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer. `parsed` is the value that `schema` asked for: None without a schema, or if it did not fit."""

    text: str
    parsed: Any
    usage: Usage


async def complete(
    messages: "str | Sequence[Mapping[str, Any]]",
    *,
    model: "str | BaseChatModel",
    schema: Schema | None = None,
    temperature: float = 0.0,
    max_tokens: int | None = None,
    seed: int | None = None,
    stop: str | Sequence[str] | None = None,
    base_url: str | None = None,
    stream: bool = True,
    prices: Prices | None = None,
    on_text: Callable[[str], None] | None = None,
    on_usage: Callable[[Usage], None] | None = None,
) -> Completion:
    """Ask a model and return its answer and usage (one call; tokens, USD, seconds).

    `messages` is one user message, or role and content mappings. `model` is one of

    - `local`: the embedded model, at `base_url` or `$SHERLOCK_LOCAL_URL`;
    - `openai/NAME`, `gpt-...`, or any name without a slash where `base_url` or `$OPENAI_BASE_URL` is set: a server that
      speaks the OpenAI dialect;
    - `provider/NAME`: any other provider, through litellm;
    - an instance of langchain-core's `BaseChatModel`, whose own settings hold where it has no field for one of these. A
      call with a `schema` does not stream there.

    `schema` is a JSON schema or a pydantic model class. Usage that the server did not report is estimated from the
    length of the texts and tagged; `prices` (default: the shipped map) turns tokens into dollars. `on_text` is told
    each piece of the answer as it comes, `on_usage` once what the call cost, also when it fails or is cancelled. Raises
    `ModelError` when the server is not there, refuses the call, or nobody serves a model of that name.
    """
    asked = [{"role": "user", "content": messages}] if isinstance(messages, str) else _plain(messages)
    stops = [stop] if isinstance(stop, str) else list(stop or ())
    seen: list[str] = []
    request = Request(asked, schema, temperature, max_tokens, seed, stops, stream, _telling(seen, on_text))
    name, url, ask = _route(model, base_url)
    started = time.perf_counter()
    reply = Reply("")
    try:
        reply = await ask(request)
    except ModelError:
        # Without a word of an answer the server refused the call, or is not there: nothing was spent.
        reply = Reply("".join(seen)) if seen else Reply("", tokens_in=0, tokens_out=0)
        raise
    except BaseException:
        reply = Reply("".join(seen))
        raise
    finally:
        usage = _usage(reply, request, time.perf_counter() - started)
        usage = dataclasses.replace(usage, usd=(prices or Prices()).usd(name, usage, base_url=url))
        if on_usage:
            on_usage(usage)
    parsed = reply.parsed
    if parsed is None and schema is not None:
        parsed = parse(reply.text, schema)
    return Completion(reply.text, parsed, usage)


def _telling(seen: list[str], on_text: Callable[[str], None] | None) -> Callable[[str], None]:
    def tell(piece: str) -> None:
        seen.append(str(piece))  # broken servers stream numbers
        if on_text:
            on_text(piece)

    return tell


_Ask = Callable[[Request], Awaitable[Reply]]


def _route(model: "str | BaseChatModel", base_url: str | None) -> tuple[str, str | None, _Ask]:
    """The model's name and address, for its price, and how to ask it."""
    if not isinstance(model, str):
        from sherlock.models import chat_model

        name, url = chat_model.name_and_url(model)
        return name, url, lambda request: chat_model.ask(model, request)
    from sherlock.models import openai_dialect

    if model == "local":
        url = base_url or os.environ.get("SHERLOCK_LOCAL_URL")
        if not url:
            cure = "start it by `--model local` or `sherlock.models.local.serve()`, or set SHERLOCK_LOCAL_URL"
            raise ModelError(f"no server for the model 'local' is known: {cure}")
        return model, url, lambda request: openai_dialect.ask(model, request, url, key="local")
    provider, slash, rest = model.partition("/")
    if slash and provider != "openai":
        return model, base_url, lambda request: openai_dialect.ask_litellm(model, request, base_url)
    url = base_url or os.environ.get("OPENAI_BASE_URL")
    served = rest if slash else model
    if not served or not (slash or url or _OPENAI_NAME.match(served)):
        cure = "write it as provider/NAME, or set OPENAI_BASE_URL to the server that has it"
        raise ModelError(f"nobody is known to serve the model {model!r}: {cure}")
    return model, url, lambda request: openai_dialect.ask(served, request, url)


def _plain(messages: Sequence[Any]) -> list[dict[str, Any]]:
    plain = [opened(message) for message in messages]
    for message in plain:
        if not isinstance(message, Mapping) or "role" not in message:
            raise ModelError(f"a message is {message!r:.60}, give mappings with role and content")
    return [dict(message) for message in plain]


def _usage(reply: Reply, request: Request, seconds: float) -> Usage:
    """The usage but for its price."""
    estimated = reply.tokens_in is None or reply.tokens_out is None
    if estimated:
        sent = "".join(str(message.get("content") or "") for message in request.messages)
        tokens_in, tokens_out = _tokens(sent), _tokens(reply.text)
    else:
        tokens_in, tokens_out = reply.tokens_in or 0, reply.tokens_out or 0
    return Usage(
        calls=1,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        tokens_cached=0 if estimated else reply.tokens_cached,
        seconds=seconds,
        estimated=estimated,
    )


def _tokens(text: str) -> int:
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)
