"""What is asked of a model and what it answers, whatever the way it is reached."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sherlock.errors import ModelError, SherlockError
from sherlock.models.structured import Schema


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model; fields as in `sherlock.models.client.complete`. `on_text` is told each piece."""

    messages: Sequence[dict[str, Any]]
    schema: Schema | None
    temperature: float
    max_tokens: int | None
    seed: int | None
    stop: Sequence[str]
    stream: bool
    on_text: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer; tokens are None where the server did not report them."""

    text: str
    parsed: Any = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int = 0


def failure(error: Exception, model: str, url: str | None) -> SherlockError:
    """The error that tells what went wrong with a call, in one sentence with its cure."""
    import openai

    if isinstance(error, SherlockError):
        return error
    where = url or "the provider's address"
    if isinstance(error, openai.APITimeoutError):
        return ModelError(f"the model server at {where} did not answer in time, see whether it is overloaded")
    # litellm reports a server that is not there as an internal error of that server.
    if isinstance(error, openai.APIConnectionError) or "Cannot connect to host" in str(error):
        return ModelError(f"no model server answers at {where}, start it or correct the base URL ({_brief(error)})")
    if not isinstance(error, openai.APIStatusError):
        return ModelError(f"the call of model {model!r} at {where} failed, see the cause ({_brief(error)})")
    status = error.status_code
    cure = {
        401: "set the API key (OPENAI_API_KEY, or the provider's own variable)",
        403: "use an API key that may use this model",
        404: "check the model's name, and that the base URL ends where the server's API begins (often /v1)",
        429: "wait, or ask for a higher rate limit or quota",
    }.get(status, "correct the request" if status < 500 else "see the server's log")
    return ModelError(f"{where} answered {status} for the model {model!r}: {cure} ({_brief(error)})")


def _brief(error: Exception) -> str:
    """The error's own words on one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 200 else f"{words[:197]}..."
