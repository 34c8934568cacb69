"""Calls to an instance of langchain-core's `BaseChatModel`."""

import json
from typing import TYPE_CHECKING, Any

from sherlock.errors import ModelError
from sherlock.models.request import Reply, Request, failure
from sherlock.models.structured import json_schema

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.runnables import RunnableConfig


async def ask(model: "BaseChatModel", request: Request) -> Reply:
    """Ask the model; it streams unless a schema is asked for, which langchain reads from the whole answer."""
    from langchain_core.language_models import BaseChatModel

    if not isinstance(model, BaseChatModel):
        raise ModelError(f"the model is a {type(model).__name__}, give a name or an instance of BaseChatModel")
    name, url = name_and_url(model)
    tuned = _tuned(model, request)
    try:
        if request.schema is None:
            return _reply(await _answer(tuned, list(request.messages), request))
        return await _structured(tuned, request)
    except Exception as error:
        raise failure(error, name, url) from error


def name_and_url(model: Any) -> tuple[str, str | None]:
    """What the model is called, and where it is served as far as it says so."""
    names = (getattr(model, field, None) for field in ("model_name", "model"))
    name = next((name for name in names if isinstance(name, str) and name), type(model).__name__)
    url = getattr(model, "openai_api_base", None)
    return name, url if isinstance(url, str) else None


def _config() -> "RunnableConfig":
    """For callbacks the call is below whatever is run here, but for a node of a graph.

    There it would show up in what the user's own graph streams.
    """
    from langchain_core.runnables.config import var_child_runnable_config

    around = var_child_runnable_config.get()
    if around and around.get("configurable"):
        return {"callbacks": [], "tags": ["nostream"]}
    return {"tags": ["nostream"]}


def _tuned(model: "BaseChatModel", request: Request) -> "BaseChatModel":
    """A copy with the request's settings, as far as the model has fields for them."""
    wanted = {"temperature": request.temperature, "max_tokens": request.max_tokens, "seed": request.seed}
    wanted["stream_usage"] = True
    fields = type(model).model_fields
    return model.model_copy(update={key: v for key, v in wanted.items() if key in fields and v is not None})


async def _answer(model: "BaseChatModel", messages: list[Any], request: Request) -> "BaseMessage":
    stop = list(request.stop) or None
    if not request.stream:
        whole_at_once = await model.ainvoke(messages, _config(), stop=stop)
        request.on_text(str(whole_at_once.text))
        return whole_at_once
    whole: Any = None
    async for chunk in model.astream(messages, _config(), stop=stop):
        request.on_text(str(chunk.text))
        whole = chunk if whole is None else whole + chunk
    if whole is None:
        raise ModelError(f"the model {name_and_url(model)[0]!r} answered nothing, see its server's log")
    answer: BaseMessage = whole
    return answer


async def _structured(model: "BaseChatModel", request: Request) -> Reply:
    assert request.schema is not None
    schema = json_schema(request.schema)
    asked = (
        {"title": "answer", "description": "The answer.", **schema} if not isinstance(request.schema, type) else None
    )
    try:
        chain = model.with_structured_output(asked or request.schema, include_raw=True)  # type: ignore[arg-type]
    except NotImplementedError:
        words = f"Answer with JSON only, that fits this JSON schema: {json.dumps(schema)}"
        messages = [*request.messages, {"role": "user", "content": words}]
        return _reply(await _answer(model, messages, request))
    found: Any = await chain.ainvoke(list(request.messages), _config())
    reply = _reply(found["raw"])
    if reply.text or found["parsed"] is None:
        return reply
    value = found["parsed"]
    text = value.model_dump_json() if hasattr(value, "model_dump_json") else json.dumps(value, ensure_ascii=False)
    return Reply(text, value, reply.tokens_in, reply.tokens_out, reply.tokens_cached)


def _reply(message: Any) -> Reply:
    usage = getattr(message, "usage_metadata", None)
    text = str(message.text)
    if not usage:
        return Reply(text)
    cached = (usage.get("input_token_details") or {}).get("cache_read") or 0
    return Reply(text, tokens_in=usage["input_tokens"], tokens_out=usage["output_tokens"], tokens_cached=cached)
