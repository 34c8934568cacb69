"""The model client against real servers on the loopback address."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from sherlock.errors import ModelError
from sherlock.models.client import complete
from sherlock.models.prices import Prices
from sherlock.models.structured import parse, response_format
from sherlock.scorers import resolve_scorer

USAGE = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25, "prompt_tokens_details": {"cached_tokens": 8}}


class ModelServer:
    """Answers chat completions. `answer(body)` gives the text, or (status, error body)."""

    def __init__(self, answer=lambda body: "four", usage=USAGE, pause_s=0.0):
        self.bodies, self.keys, self.dropped = [], [], threading.Event()
        self.started = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.bodies.append(body)
                server.keys.append(self.headers["authorization"])
                server.started.set()
                said = answer(body)
                if isinstance(said, tuple):
                    self.reply(said[0], json.dumps(said[1]).encode(), "application/json")
                elif body.get("stream"):
                    self.stream(body, said)
                else:
                    message = {"role": "assistant", "content": said}
                    whole = {"choices": [{"index": 0, "finish_reason": "stop", "message": message}], "usage": usage}
                    whole |= {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
                    self.reply(200, json.dumps(whole).encode(), "application/json")

            def reply(self, status, content, kind):
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def stream(self, body, said):
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("connection", "close")
                self.end_headers()
                self.close_connection = True
                try:
                    for chunk in chunks(body, said):
                        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                        self.wfile.flush()
                        time.sleep(pause_s)
                    self.wfile.write(b"data: [DONE]\n\n")
                except OSError:
                    server.dropped.set()

            def log_message(self, *args):
                pass

        def chunks(body, said):
            base = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
            for letter in said:
                yield base | {"choices": [{"index": 0, "delta": {"content": letter}, "finish_reason": None}]}
            yield base | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
            if usage and body.get("stream_options"):
                yield base | {"choices": [], "usage": usage}

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("SHERLOCK_LOCAL_URL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with ModelServer() as server:
        yield server


def ask(messages="2+2?", **settings):
    return asyncio.run(complete(messages, **settings))


@pytest.mark.parametrize("stream", [True, False])
def test_the_local_model(server, monkeypatch, stream):
    monkeypatch.setenv("SHERLOCK_LOCAL_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    done = ask(model="local", max_tokens=9, seed=3, stop="\n", temperature=0.5, stream=stream)
    assert (done.text, done.parsed) == ("four", None)
    usage = done.usage
    assert (usage.calls, usage.tokens_in, usage.tokens_out, usage.tokens_cached) == (1, 20, 5, 8)
    assert (usage.usd, usage.estimated, usage.wh) == (0.0, False, None)
    assert 0 < usage.seconds < 30
    (body,) = server.bodies
    assert body.pop("messages") == [{"role": "user", "content": "2+2?"}]
    assert body.pop("stream", False) is stream
    assert body.pop("stream_options", None) == ({"include_usage": True} if stream else None)
    assert body == {"model": "local", "max_tokens": 9, "seed": 3, "stop": ["\n"], "temperature": 0.5}
    assert server.keys == ["Bearer local"]


@pytest.mark.parametrize("model", ["openai/org/small", "org-small", "gpt-5"])
def test_names_of_the_openai_dialect(server, monkeypatch, model):
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "mine")
    messages = [{"role": "system", "content": "s"}, HumanMessage("u")]
    assert ask(messages, model=model).text == "four"
    assert server.bodies[0]["model"] == model.removeprefix("openai/")
    assert server.bodies[0]["messages"] == [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert server.keys == ["Bearer mine"]


@pytest.mark.parametrize("stream", [True, False])
def test_usage_that_is_not_reported_is_estimated(stream):
    with ModelServer(usage=None) as server:
        usage = ask("12345678", model="m", base_url=server.base_url, stream=stream).usage
    assert (usage.tokens_in, usage.tokens_out, usage.tokens_cached, usage.estimated) == (2, 1, 0, True)


def test_the_users_prices_count(server):
    prices = Prices({"m": {"input": 1e6, "output": 1e6, "cached": 0}})
    assert ask(model="m", base_url=server.base_url, prices=prices).usage.usd == pytest.approx(12 + 5)


# Errors


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (401, "answered 401 for the model 'm': set the API key"),
        (403, "answered 403"),
        (404, "answered 404 for the model 'm': check the model's name"),
        (400, "answered 400 for the model 'm': correct the request"),
    ],
)
def test_a_refusal_names_the_address_and_the_cure(status, told):
    with (
        ModelServer(lambda body: (status, {"error": {"message": "no\nsuch thing"}})) as server,
        pytest.raises(ModelError) as caught,
    ):
        ask(model="m", base_url=server.base_url)
    assert server.base_url in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there(server):
    url = "http://127.0.0.1:9/v1"
    with pytest.raises(ModelError, match=f"no model server answers at {url}, start it"):
        ask(model="local", base_url=url)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("local", "no server for the model 'local' is known: start it by `--model local`"),
        ("gpt-4o", "set OPENAI_API_KEY"),
        ("openai/gpt-4o", "set OPENAI_API_KEY"),
        ("some-model", "nobody is known to serve the model 'some-model': write it as provider/NAME"),
        ("", "nobody is known to serve the model ''"),
        ("openai/", "nobody is known to serve"),
        (7, "the model is a int"),
    ],
)
def test_a_model_that_nobody_serves(model, told):
    with pytest.raises(ModelError, match=told):
        ask(model=model)


def test_messages_that_are_none():
    with pytest.raises(ModelError, match="a message is 'x'"):
        ask(["x"], model="local")


def test_a_stream_that_breaks_off_is_an_error():
    with ModelServer(lambda body: [None, 1]) as server, pytest.raises(ModelError, match="m"):
        ask(model="m", base_url=server.base_url)


def test_what_a_server_does_not_know_is_left_out():
    unknown = {"stream_options": "stream_options", "max_tokens": "max_tokens", "temperature": "temperature"}

    def answer(body):
        for key in unknown:
            if key in body:
                return 400, {"error": {"message": f"Unsupported parameter: '{key}'", "param": key}}
        return "ok"

    async def twice(url):
        for _ in range(2):
            done = await complete("q", model="m", base_url=url, max_tokens=7)
        return done

    with ModelServer(answer) as server:
        done = asyncio.run(twice(server.base_url))
    assert (done.text, done.usage.estimated) == ("ok", True)
    assert server.bodies[3]["max_completion_tokens"] == 7
    assert len(server.bodies) == 5  # the second call knows


def test_a_bad_value_is_not_left_out():
    error = {"error": {"message": "temperature must be at most 2", "param": "temperature"}}
    with ModelServer(lambda body: (400, error)) as server, pytest.raises(ModelError, match="at most 2"):
        ask(model="m", base_url=server.base_url, temperature=3)
    assert len(server.bodies) == 1


# Cancelling, loops


def test_cancelling_frees_the_server_at_once():
    async def cancel(server):
        call = asyncio.create_task(complete("q", model="m", base_url=server.base_url))
        await asyncio.to_thread(server.started.wait, 10)
        await asyncio.sleep(0.1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return await asyncio.to_thread(server.dropped.wait, 2)

    with ModelServer(lambda body: "x" * 1000, pause_s=0.02) as server:
        assert asyncio.run(cancel(server))


def test_one_client_per_loop_and_none_left_behind(server):
    from sherlock.models import openai_dialect

    async def several():
        await asyncio.gather(*(complete("q", model="m", base_url=server.base_url) for _ in range(4)))
        held = openai_dialect._of_loop[asyncio.get_running_loop()]
        return list(held.by_address.values())

    before = set(openai_dialect._of_loop)  # loops of other tests, which may still be alive
    first, second = asyncio.run(several()), asyncio.run(several())
    assert len(first) == len(second) == 1
    assert first[0] is not second[0]
    assert first[0].client.is_closed()
    assert set(openai_dialect._of_loop) <= before
    gc.collect()  # an unclosed connection would warn here, and warnings are errors


# Shapes


class Sum(BaseModel):
    total: int
    note: str | None = None


SUM = {"type": "object", "properties": {"total": {"type": "integer"}}, "required": ["total"]}


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_with_a_shape(stream):
    with ModelServer(lambda body: ' {"total": 4}  ') as server:
        plain = ask(model="m", base_url=server.base_url, schema=SUM, stream=stream)
        made = ask(model="m", base_url=server.base_url, schema=Sum, stream=stream)
    assert plain.parsed == {"total": 4}
    assert made.parsed == Sum(total=4)
    sent = server.bodies[0]["response_format"]["json_schema"]
    assert sent == {"name": "answer", "schema": SUM | {"additionalProperties": False}, "strict": True}
    assert server.bodies[1]["response_format"]["json_schema"]["strict"] is False


def test_an_answer_that_does_not_fit_is_not_parsed():
    with ModelServer(lambda body: '{"total": "four"}') as server:
        assert ask(model="m", base_url=server.base_url, schema=SUM).parsed is None
        done = ask(model="m", base_url=server.base_url, schema=Sum)
    assert (done.text, done.parsed) == ('{"total": "four"}', None)
    with pytest.raises(ModelError, match="the schema is 3"):
        ask(model="m", base_url=server.base_url, schema=3)


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ('```json\n{"total": 1}\n```', SUM, {"total": 1}),
        ('So {x} it is {"total": 1}.', SUM, {"total": 1}),
        ('{"a": 1} then {"total": 2}', SUM, {"total": 2}),
        ('{"total": true}', SUM, None),
        ('{"total": 1.0}', SUM, {"total": 1.0}),
        ('{"total": 1, "other": 2}', SUM, {"total": 1, "other": 2}),
        ('{"total": 1, "other": 2}', SUM | {"additionalProperties": False}, None),
        ("{}", SUM, None),
        ("nothing", SUM, None),
        ("[" * 50_000, SUM, None),
        ("[1, 2]", {"type": "array", "items": {"type": "number"}}, [1, 2]),
        ('[1, "2"]', {"type": "array", "items": {"type": "number"}}, None),
        ('"b"', {"enum": ["a", "b"]}, "b"),
        ('"c"', {"enum": ["a", "b"]}, None),
        ('{"k": null}', {"properties": {"k": {"type": ["string", "null"]}}}, {"k": None}),
        ('{"k": 1}', {"properties": {"k": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}, None),
        ('{"k": {"k": {}}}', {"type": "object", "properties": {"k": {"$ref": "#"}}}, {"k": {"k": {}}}),
        ('{"k": {"k": 1}}', {"type": "object", "properties": {"k": {"$ref": "#"}}}, None),
    ],
)
def test_reading_a_shape(text, schema, value):
    assert parse(text, schema) == value


def test_a_schema_with_nested_models_is_closed_throughout():
    class Order(BaseModel):
        lines: list[Sum]

    sent = response_format(Order)["json_schema"]
    assert sent["name"] == "Order"
    assert sent["schema"]["additionalProperties"] is False
    assert sent["schema"]["$defs"]["Sum"]["additionalProperties"] is False


# Other ways to a model


def ask_openai(server, *calls):
    """Through langchain's client, which every instance shares and which leaves its connection open."""

    async def run():
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="k")
        try:
            return [await complete("2+2?", model=model, **settings) for settings in calls], model
        finally:
            await model.root_async_client.close()

    return asyncio.run(run())


@pytest.mark.parametrize("stream", [True, False])
def test_langchain_models(server, stream):
    settings = {"temperature": 0.5, "max_tokens": 5, "seed": 2, "stop": ["\n"], "stream": stream}
    (done,), model = ask_openai(server, settings)
    assert done.text == "four"
    assert (done.usage.tokens_in, done.usage.tokens_cached, done.usage.usd) == (20, 8, 0.0)
    sent = server.bodies[0]
    assert (sent["temperature"], sent["seed"], sent["stop"]) == (0.5, 2, ["\n"])
    assert sent.get("max_tokens", sent.get("max_completion_tokens")) == 5
    assert model.temperature is None


def test_a_langchain_model_with_a_shape():
    with ModelServer(lambda body: '{"total": 4}') as server:
        (made, plain), _ = ask_openai(server, {"schema": Sum}, {"schema": SUM})
    assert made.parsed == Sum(total=4)
    assert plain.parsed == {"total": 4}
    assert made.usage.tokens_in == 20


def test_a_langchain_model_without_http():
    done = ask(model=GenericFakeChatModel(messages=iter([AIMessage("four")])))
    assert (done.text, done.usage.usd, done.usage.estimated) == ("four", None, True)
    model = GenericFakeChatModel(messages=iter([AIMessage('{"total": 4}')]))
    assert ask(model=model, schema=Sum).parsed == Sum(total=4)


def test_errors_of_a_langchain_model():
    model = ChatOpenAI(model="m", base_url="http://127.0.0.1:9/v1", api_key="k", max_retries=0)
    with pytest.raises(ModelError, match=r"no model server answers at http://127\.0\.0\.1:9/v1"):
        ask(model=model)
    with pytest.raises(ModelError, match=r"the call of model 'GenericFakeChatModel' .* failed"):
        ask(model=GenericFakeChatModel(messages=iter([])))


LITELLM = """
import asyncio, os, sys
from sherlock.errors import ModelError
from sherlock.models.client import complete
url, dead = sys.argv[1:]
async def main():
    done = await complete("2+2?", model="hosted_vllm/m", base_url=url, max_tokens=5)
    print(done.text, done.usage.tokens_in, done.usage.tokens_cached, done.usage.usd)
    try:
        await complete("q", model="hosted_vllm/m", base_url=dead)
    except ModelError as error:
        print(error)
    try:
        await complete("q", model="nobody/m")
    except ModelError as error:
        print(error)
assert "litellm" not in sys.modules
asyncio.run(main())
print(os.environ["LITELLM_LOCAL_MODEL_COST_MAP"], os.environ["LITELLM_RUST"])
"""


def test_other_providers_go_through_litellm(server):
    run = subprocess.run(
        [sys.executable, "-c", LITELLM, server.base_url, "http://127.0.0.1:9/v1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = [line for line in run.stdout.splitlines() if line.strip()]
    assert lines[0] == "four 20 8 0.0"
    assert any("http://127.0.0.1:9/v1" in line for line in lines[1:])
    assert any("nobody/m" in line for line in lines[2:])
    assert lines[-1] == "True 0"


def test_the_judge_asks_the_local_model(monkeypatch):
    from sherlock.cases import Case

    with ModelServer(lambda body: "yes") as server:
        monkeypatch.setenv("SHERLOCK_LOCAL_URL", server.base_url)
        scorer = resolve_scorer("llm_judge")
        assert asyncio.run(scorer.score({"a": "four"}, Case("2+2", "4"))) == 1
    assert scorer.usage.calls == 1


def test_importing_the_client_loads_nothing_heavy():
    heavy = "('openai', 'litellm', 'langchain_core', 'pydantic')"
    program = f"import sys, sherlock.models.client; print([n for n in {heavy} if n in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", program]).strip() == b"[]"
