"""LangChain's chat models: without HTTP, above the cache, nested, and the private names that the hooks rely on."""

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from scripted_server import ScriptedServer

from sherlock.interpose import langchain_layer
from sherlock.interpose.calls import CallScope, Message, Recordings, install
from sherlock.usage import NO_USAGE

install()

TURNS = [SystemMessage("Be brief."), HumanMessage("What is it?")]
ASKED = (Message("system", "Be brief."), Message("user", "What is it?"))
made: list[str] = []


class Engine(BaseChatModel):
    """A model in this process that can be serialised, as those over gRPC and the like can."""

    model_name: str = "engine-1"
    tone: str = "kind"

    @classmethod
    def is_lc_serializable(cls) -> bool:
        return True

    @property
    def _llm_type(self) -> str:
        return "engine"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        made.append(messages[-1].text)
        usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7, "input_token_details": {"cache_read": 3}}
        text = f"{self.tone} {messages[0].text} {len(made)}"
        message = AIMessage(text, usage_metadata=usage, tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}])
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        made.append(messages[-1].text)
        for word in (self.tone, " word", f" {len(made)}"):
            yield ChatGenerationChunk(message=AIMessageChunk(word))


@pytest.fixture(autouse=True)
def _fresh() -> None:
    made.clear()


def in_scope(scope: CallScope, call: Any) -> Any:
    async def run() -> Any:
        with scope.active():
            return await call()

    if asyncio.iscoroutinefunction(call):
        found = asyncio.run(run())
    else:
        with scope.active():
            found = call()
    scope.close()
    return found


def forms(model: BaseChatModel, turns: Any = TURNS) -> dict[str, Any]:
    async def ainvoke() -> str:
        return (await model.ainvoke(turns)).text

    async def astream() -> str:
        return "".join([chunk.text async for chunk in model.astream(turns)])

    async def abatch() -> str:
        return (await model.abatch([turns]))[0].text

    return {
        "invoke": lambda: model.invoke(turns).text,
        "stream": lambda: "".join(chunk.text for chunk in model.stream(turns)),
        "batch": lambda: model.batch([turns])[0].text,
        "ainvoke": ainvoke,
        "astream": astream,
        "abatch": abatch,
    }


@pytest.mark.parametrize("form", ["invoke", "stream", "batch", "ainvoke", "astream", "abatch"])
def test_a_model_without_http_is_seen_once_and_its_tokens_are_estimated(form: str) -> None:
    scope = CallScope()
    found = in_scope(scope, forms(FakeListChatModel(responses=["twelve chars"]))[form])
    (call,) = scope.calls
    assert (call.api, call.model, call.messages, call.text) == ("langchain", "FakeListChatModel", ASKED, found)
    assert (call.usage.calls, call.usage.tokens_in, call.usage.tokens_out) == (1, 5, 3)
    assert call.usage.estimated
    assert call.usage.usd is None


@pytest.mark.parametrize("form", ["invoke", "stream", "batch", "ainvoke", "astream", "abatch"])
def test_a_model_without_http_gets_the_rewritten_messages(form: str) -> None:
    scope = CallScope(rewrite=lambda messages: [*messages[:1], Message("user", "And now?")])
    in_scope(scope, forms(Engine())[form])
    assert made == ["And now?"]
    assert scope.calls[0].messages == ASKED
    assert scope.calls[0].sent == (ASKED[0], Message("user", "And now?"))


@pytest.mark.parametrize("form", ["invoke", "stream", "batch", "ainvoke", "astream", "abatch"])
def test_a_serialisable_model_without_http_is_recorded_and_replayed(form: str) -> None:
    recordings = Recordings()
    recorded, replayed = CallScope(recordings=recordings), CallScope(recordings=recordings)
    first = in_scope(recorded, forms(Engine())[form])
    recordings.mode = "none"
    assert in_scope(replayed, forms(Engine())[form]) == first
    assert len(made) == 1
    assert [call.replayed for call in replayed.calls] == [True]
    assert replayed.calls[0].usage.tokens_out == recorded.calls[0].usage.tokens_out
    assert replayed.missing == []


def test_a_replayed_message_equals_the_first_one_but_is_another_message() -> None:
    recordings = Recordings()
    first, second = (in_scope(CallScope(recordings=recordings), lambda: Engine().invoke(TURNS)) for _ in range(2))
    assert first.model_dump(exclude={"id"}) == second.model_dump(exclude={"id"})
    assert first.id != second.id
    assert made == ["What is it?"]


def test_settings_and_parameters_are_part_of_the_key() -> None:
    recordings = Recordings()
    for model in (Engine(), Engine(tone="cold"), Engine().bind(stop=["x"])):
        in_scope(CallScope(recordings=recordings), lambda model=model: model.invoke(TURNS))
    assert len(made) == 3


def test_a_model_that_cannot_be_recorded_is_reported_where_only_recordings_may_answer() -> None:
    scope = CallScope(recordings=Recordings(mode="none"))
    in_scope(scope, lambda: FakeListChatModel(responses=["x"]).invoke(TURNS))
    assert "FakeListChatModel" in str(scope.missing[0])
    scope = CallScope(recordings=Recordings(mode="none"))
    in_scope(scope, lambda: Engine().invoke(TURNS))
    assert "nothing was recorded" in str(scope.missing[0])


def test_reported_usage_is_taken() -> None:
    scope = CallScope(price=lambda model, usage: 0.5 if model == "engine-1" else None)
    in_scope(scope, lambda: Engine().invoke(TURNS))
    usage = scope.usage
    assert (usage.tokens_in, usage.tokens_out, usage.tokens_cached, usage.usd) == (5, 2, 3, 0.5)
    assert not usage.estimated


@pytest.mark.parametrize("form", ["invoke", "ainvoke"])
def test_a_hit_in_the_llm_cache_is_seen_and_costs_nothing(form: str) -> None:
    with ScriptedServer(lambda _request: "cached") as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="none", model="m", cache=InMemoryCache())
        model.invoke(TURNS)
        scope = CallScope()
        in_scope(scope, forms(model)[form])
        assert len(server.requests) == 1
        model.root_client.close()
    (call,) = scope.calls
    assert (call.api, call.text, call.replayed, call.usage) == ("langchain", "cached", True, NO_USAGE)


def test_a_changed_prompt_is_not_answered_by_the_llm_cache() -> None:
    with ScriptedServer(lambda request: request["messages"][0]["content"]) as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="none", model="m", cache=InMemoryCache())
        model.invoke(TURNS)
        scope = CallScope(rewrite=lambda messages: [Message("system", "Be long."), *messages[1:]])
        assert in_scope(scope, lambda: model.invoke(TURNS)).text == "Be long."
        model.root_client.close()
    assert [call.api for call in scope.calls] == ["openai.chat"]


def test_rewriting_keeps_what_is_not_text() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    turns = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "Look."}, picture]),
        AIMessage("", tool_calls=[{"name": "look", "args": {"at": 1}, "id": "call_1"}]),
        ToolMessage("a bird", tool_call_id="call_1"),
    ]

    def rewrite(messages: tuple[Message, ...]) -> list[Message]:
        assert [m.role for m in messages] == ["system", "user", "assistant", "tool"]
        return [messages[0], Message("user", "Stare."), messages[2], Message("tool", "a plane"), Message("user", "!")]

    with ScriptedServer() as server:
        model = ChatOpenAI(base_url=server.base_url, api_key="none", model="m")
        in_scope(CallScope(rewrite=rewrite), lambda: model.invoke(turns))
        model.root_client.close()
    _, human, ai, tool, added = server.requests[0]["messages"]
    assert human["content"] == [{"type": "text", "text": "Stare."}, picture]
    assert ai["tool_calls"][0]["id"] == "call_1"
    assert (tool["content"], tool["tool_call_id"]) == ("a plane", "call_1")
    assert added == {"role": "user", "content": "!"}
    assert turns[1].content[0]["text"] == "Look."


class Router(BaseChatModel):
    """A model that asks another one."""

    inner: Any

    @property
    def _llm_type(self) -> str:
        return "router"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.inner.invoke(messages))])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_model_inside_a_model_is_counted_and_rewritten_once(streamed: bool) -> None:
    rewrites = []

    def rewrite(messages: tuple[Message, ...]) -> tuple[Message, ...]:
        rewrites.append(messages)
        return messages

    scope = CallScope(rewrite=rewrite)
    model = Router(inner=Engine())
    in_scope(scope, lambda: list(model.stream(TURNS)) if streamed else model.invoke(TURNS))
    assert [call.model for call in scope.calls] == ["engine-1"]
    assert len(rewrites) == 1


def test_a_refused_call_is_not_made_and_each_call_asks_once() -> None:
    asked = []
    scope = CallScope(before_call=asked.append)
    in_scope(scope, lambda: Router(inner=Engine()).invoke(TURNS))
    assert len(asked) == 1

    def refuse(model: str) -> None:
        raise PermissionError(model)

    made.clear()
    scope = CallScope(before_call=refuse)
    with pytest.raises(PermissionError, match="engine-1"):
        in_scope(scope, lambda: Engine().invoke(TURNS))
    assert isinstance(scope.refused, PermissionError)
    assert (made, scope.calls) == ([], [])


def test_the_http_call_of_an_unknown_model_does_not_ask_again() -> None:
    class Mine(ChatOpenAI):
        pass

    asked = []
    scope = CallScope(before_call=asked.append)
    with ScriptedServer() as server:
        model = Mine(base_url=server.base_url, api_key="none", model="m")
        in_scope(scope, lambda: [model.invoke(TURNS), model.invoke(TURNS)])
        model.root_client.close()
    assert asked == ["m", "m"]
    assert [call.api for call in scope.calls] == ["openai.chat"] * 2


def test_a_stream_that_is_given_up_counts_with_what_was_seen() -> None:
    scope = CallScope()
    with scope.active():
        stream = Engine().stream(TURNS)
        assert next(stream).text == "kind"
        stream.close()
    (call,) = scope.calls
    assert (call.text, call.failed, call.usage.estimated) == ("kind", True, True)


def test_a_stream_still_open_ends_with_the_scope() -> None:
    scope = CallScope()
    with scope.active():
        stream = Engine().stream(TURNS)
        next(stream)
    assert scope.calls == []
    scope.close()
    assert [call.text for call in scope.calls] == ["kind"]
    assert [chunk.text for chunk in stream][:2] == [" word", " 1"]
    assert len(scope.calls) == 1


def test_a_model_that_raises_has_failed() -> None:
    scope = CallScope()
    with pytest.raises(StopIteration), scope.active():
        GenericFakeChatModel(messages=iter([]))._generate_with_cache(TURNS)
    (call,) = scope.calls
    assert call.failed


def test_outside_a_scope_nothing_is_seen() -> None:
    scope = CallScope()
    in_scope(scope, lambda: None)
    for name, form in forms(FakeListChatModel(responses=["x"])).items():
        assert (asyncio.run(form()) if name.startswith("a") else form()) == "x"
    assert scope.calls == []


def test_the_private_names_are_there_and_take_what_the_hooks_pass() -> None:
    for name in (*langchain_layer.HOOKED, "_convert_input"):
        assert callable(getattr(BaseChatModel, name))
    for name in ("_generate_with_cache", "_agenerate_with_cache"):
        original = inspect.unwrap(getattr(BaseChatModel, name))
        assert list(inspect.signature(original).parameters) == ["self", "messages", "stop", "run_manager", "kwargs"]
    for name in ("stream", "astream"):
        original = inspect.unwrap(getattr(BaseChatModel, name))
        assert list(inspect.signature(original).parameters) == ["self", "input", "config", "stop", "kwargs"]
    hit = BaseChatModel._generate_with_cache
    assert "_convert_cached_generations" in inspect.getsource(inspect.unwrap(hit))
    assert "_convert_cached_generations" in inspect.getsource(inspect.unwrap(BaseChatModel._agenerate_with_cache))
