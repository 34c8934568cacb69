"""One call of a LangChain chat model; metered and recorded here only if no HTTP call was seen below it."""

import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from sherlock.errors import SherlockError
from sherlock.interpose.dialects import Answer, Body, Event
from sherlock.interpose.messages import Message, align, text_of, with_text
from sherlock.interpose.recording import Flight, Key, MissingCall, Recorded, key_of
from sherlock.interpose.scope import CallScope, Frame, Started, current_frame

API = "langchain"

_ROLES = {"human": "user", "ai": "assistant", "developer": "system", "function": "tool"}
_TYPES: dict[str, type[BaseMessage]] = {"system": SystemMessage, "assistant": AIMessage}
_HTTP_PACKAGES = ("langchain_openai.", "langchain_anthropic.", "langchain_groq.", "langchain_mistralai.")
_seen_using_http: WeakSet[type] = WeakSet()


def call_of(
    scope: CallScope, model: Any, messages: Sequence[BaseMessage], stop: Any, kwargs: Body, *, streamed: bool
) -> "ChatModelCall":
    """The call of `model` with `messages`, rewritten unless it happens inside another model's call."""
    parent = current_frame.get()
    old = tuple(Message(_role(message), text_of(message.content)) for message in messages)
    given, sent = list(messages), old
    if scope.rewrite is not None and parent is None:
        sent = scope.rewritten(old)
        given = list(messages) if sent == old else _rewritten(old, messages, sent)
    frame = Frame(messages=old, sent=sent, parent=parent)
    params = {"stop": stop, **kwargs}
    return ChatModelCall(scope, model, given, frame, params, streamed=streamed)


class ChatModelCall:
    """Ask `turn` first; then make the call inside `with call:` and report `answered`, or `feed` and `drained`."""

    def __init__(
        self,
        scope: CallScope,
        model: Any,
        messages: list[BaseMessage],
        frame: Frame,
        params: Body,
        *,
        streamed: bool,
    ) -> None:
        self.messages = messages
        self.frame = frame
        self._scope = scope
        self._model = model
        self._params = params
        self._streamed = streamed
        name = _model_name(model, params)
        self._started = Started(api=API, model=name, messages=frame.messages, sent=frame.sent)
        self._key: Key | None = None
        self._flight: Flight | None = None
        self._missing: MissingCall | None = None
        self._recorded: Recorded | None = None
        self._chunks: list[BaseMessage] = []
        self._begun = time.perf_counter()
        self._done = False

    def turn(self, *, blocking: bool, waited_out: bool = False) -> "Future[None] | bool":
        """What to wait for, then ask again; True: answered from a recording; False: make the call.

        Raises what `before_call` raised: here nothing wraps or retries it.
        """
        if self._scope.refused is not None:
            raise self._scope.refused
        if not waited_out and not self._uses_http():
            try:
                claimed = self._claim(blocking=blocking)
            except SherlockError as error:
                self._scope.refuse(error)
                raise
            if claimed is not None:
                return claimed
        self._admit()
        self._begun = time.perf_counter()
        self._scope.start(self._started)
        return False

    def result(self, run_manager: Any) -> ChatResult:
        """The recorded answer of a plain call."""
        assert self._recorded is not None
        assert self._recorded.response is not None
        generations = [
            ChatGeneration(message=messages_from_dict([saved["message"]])[0], generation_info=saved["info"])
            for saved in self._recorded.response["generations"]
        ]
        for index, generation in enumerate(generations):
            if run_manager is not None and generation.message.id is None:
                generation.message.id = f"lc_run--{run_manager.run_id}-{index}"
        return ChatResult(generations=generations, llm_output=self._recorded.response["llm_output"])

    def stand_in(self) -> "StandIn":
        """A model that streams the recorded answer, so that callbacks see it as they would have."""
        assert self._recorded is not None
        chunks = messages_from_dict([event.data for event in self._recorded.events or ()])
        model = self._model
        return StandIn(chunks=chunks, callbacks=model.callbacks, tags=model.tags, metadata=model.metadata)

    def answered(self, result: ChatResult) -> None:
        """The model has answered."""
        generations = [
            {"message": _saved(generation.message), "info": generation.generation_info}
            for generation in result.generations
        ]
        saved = {"generations": generations, "llm_output": result.llm_output}
        messages = [generation.message for generation in result.generations]
        self._end(_answer(messages[:1]), Recorded(seconds=self._seconds(), response=_json(saved)))

    def feed(self, chunk: BaseMessage) -> None:
        """The model has answered a part."""
        self._chunks.append(chunk)

    def drained(self) -> None:
        """The streamed answer has come to its end."""
        events = tuple(Event(_json(_saved(chunk))) for chunk in self._chunks)
        self._end(_answer(self._chunks), Recorded(seconds=self._seconds(), events=events))

    def finish(self) -> None:
        """The scope ends first: count what was seen."""
        self._end(replace(_answer(self._chunks), complete=False), None)

    def __enter__(self) -> Self:
        self._scope.watch(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.finish()

    def _claim(self, *, blocking: bool) -> "Future[None] | bool | None":
        recordings = self._scope.recordings
        if recordings is None or not self._model.is_lc_serializable():
            return None
        if self._key is None:
            self._key = self._scope.number(key_of(API, self._request()))
        claimed = recordings.claim(self._key, blocking=blocking)
        if isinstance(claimed, MissingCall):
            self._missing = claimed  # not yet known to be one: HTTP calls below may have recordings of their own
            return None
        if isinstance(claimed, Flight):
            self._flight = claimed
            return None
        if isinstance(claimed, Future):
            return claimed
        self._recorded = claimed
        self._scope.start(self._started)
        answer = _answer(self._recorded_messages(claimed))
        self._scope.end(self._started, answer, claimed.seconds, replayed=True)
        return True

    def _recorded_messages(self, recorded: Recorded) -> list[BaseMessage]:
        if recorded.response is not None:
            return messages_from_dict([saved["message"] for saved in recorded.response["generations"][:1]])
        return messages_from_dict([event.data for event in recorded.events or ()])

    def _admit(self) -> None:
        """Ask before the call: only its end shows whether it used HTTP, whose first call then need not ask."""
        if self._uses_http():
            return
        try:
            admitted = self.frame.parent is not None and self.frame.parent.take_admission()
            admitted = admitted or self._scope.admit(self._started.model)
        except BaseException:
            self._release(None)
            raise
        if not admitted:
            self._release(None)
            assert self._scope.refused is not None
            raise self._scope.refused
        self.frame.admitted = True

    def _uses_http(self) -> bool:
        kind = type(self._model)
        return kind in _seen_using_http or kind.__module__.startswith(_HTTP_PACKAGES)

    def _request(self) -> Body:
        return {
            "model": self._started.model,
            "class": f"{type(self._model).__module__}.{type(self._model).__qualname__}",
            "settings": _settings(dumpd(self._model)),
            "messages": [_asked(message) for message in self.messages],
            "params": _json(self._params),
            "stream": self._streamed,
        }

    def _end(self, answer: Answer, recorded: Recorded | None) -> None:
        if self._done:
            return
        self._done = True
        self._scope.unwatch(self)
        seen_below = self.frame.ticked
        if self.frame.http:
            _seen_using_http.add(type(self._model))
        if seen_below or self.frame.cached:
            recorded = None
        if not seen_below:
            self._count(answer)
        if self.frame.parent is not None:
            self.frame.parent.tick(http=self.frame.http)
        self._release(recorded if answer.complete else None)

    def _count(self, answer: Answer) -> None:
        if self.frame.cached:
            self._scope.end_cached(self._started, answer)
            return
        self._scope.end(self._started, answer, self._seconds())
        if self._scope.recordings is not None and self._scope.recordings.mode == "none":
            self._scope.missing.append(self._missing or self._unrecordable())

    def _unrecordable(self) -> MissingCall:
        return MissingCall(
            api=API,
            model=self._started.model,
            name="",
            request={"messages": [_asked(message) for message in self.messages]},
            nearest=None,
            difference=f"{type(self._model).__name__} neither uses HTTP nor can be serialised",
        )

    def _release(self, recorded: Recorded | None) -> None:
        if self._key is not None and recorded is None:
            self._scope.unnumber(self._key)
        if self._flight is not None:
            self._scope.land(self._flight, recorded)

    def _seconds(self) -> float:
        return time.perf_counter() - self._begun


class StandIn(BaseChatModel):
    """Streams chunks that were recorded."""

    chunks: list[Any]

    @property
    def _llm_type(self) -> str:
        return "sherlock-recording"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:  # noqa: ARG002  (LangChain's signature)
        return ChatResult(generations=[ChatGeneration(message=chunk) for chunk in self.chunks[:1]])

    def _stream(self, *_args: Any, **_kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk)

    async def _astream(self, *_args: Any, **_kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self.chunks:
            yield ChatGenerationChunk(message=chunk)


def _rewritten(old: Sequence[Message], raws: Sequence[BaseMessage], new: Sequence[Message]) -> list[BaseMessage]:
    out: list[BaseMessage] = []
    for message, source in zip(new, align(old, new), strict=True):
        if source is None:
            out.append(_TYPES.get(message.role, HumanMessage)(content=message.text))
        elif old[source].text == message.text:
            out.append(raws[source])
        else:
            out.append(raws[source].model_copy(update={"content": with_text(raws[source].content, message.text)}))
    return out


def _role(message: BaseMessage) -> str:
    role = getattr(message, "role", message.type)
    return _ROLES.get(role, role)


def _model_name(model: Any, params: Mapping[str, Any]) -> str:
    candidates = (params.get("model"), *(getattr(model, a, None) for a in ("model_name", "model", "model_id")))
    return next((name for name in candidates if isinstance(name, str) and name), type(model).__name__)


def _answer(messages: Sequence[BaseMessage]) -> Answer:
    """One message, or the chunks of one."""
    text = "".join(text_of(message.content) for message in messages)
    reported = [u for u in (getattr(m, "usage_metadata", None) for m in messages) if u]
    calls = [call for m in messages for call in getattr(m, "tool_call_chunks", getattr(m, "tool_calls", []))]
    return Answer(
        text=text,
        generated=len(text) + sum(len(str(call.get("args") or "")) for call in calls),
        tokens_in=sum(u["input_tokens"] for u in reported) if reported else None,
        tokens_out=sum(u["output_tokens"] for u in reported) if reported else None,
        tokens_cached=sum((u.get("input_token_details") or {}).get("cache_read") or 0 for u in reported),
    )


def _asked(message: BaseMessage) -> Body:
    """What of a message the model gets to see."""
    data = message.model_dump(exclude={"id", "response_metadata", "usage_metadata"}, warnings=False)
    return _json({key: value for key, value in data.items() if value not in ({}, [])})  # type: ignore[no-any-return]


def _saved(message: BaseMessage) -> Body:
    """A message without its id: state reducers take two messages of one id for the same message."""
    return message_to_dict(message.model_copy(update={"id": None}))


def _settings(value: Any) -> Any:
    """How a model was made, less what LangChain could not serialise."""
    if isinstance(value, dict):
        return {
            key: _settings(item)
            for key, item in value.items()
            if key != "repr" and not (isinstance(item, dict) and item.get("type") == "not_implemented")
        }
    return [_settings(item) for item in value] if isinstance(value, list) else value


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=repr))
