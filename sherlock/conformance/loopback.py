"""A model server on the loopback address with made-up answers: chat completions, streamed or not."""

import hashlib
import itertools
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

JSON = dict[str, Any]

_POLL_S = 0.01


class LoopbackModel:
    """`requests` holds what was asked; `tokens` the tokens in and out that were reported (words, here).

    Words with which an earlier request began are reported as cached, as a server with a prompt cache does.

    `hangs`: it begins each answer and never ends it, until the client goes away; `pause_s`: seconds before each word of
    a stream. `busy` counts the answers under way.
    """

    def __init__(self, answer: Callable[[JSON], str], *, hangs: bool = False, pause_s: float = 0.0) -> None:
        self.answer = answer
        self.hangs = hangs
        self.pause_s = pause_s
        self.requests: list[JSON] = []
        self.busy = 0
        self.lock = threading.Lock()
        self._tokens = [0, 0]
        self._read: list[list[str]] = []

    @property
    def base_url(self) -> str:
        """The address for clients."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens in and out, summed over the answers that were given."""
        return self._tokens[0], self._tokens[1]

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.model = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def read(self, words: list[str]) -> int:
        """Note the words of a request; how many of them an earlier one began with."""
        with self.lock:
            cached = max((_common(words, earlier) for earlier in self._read), default=0)
            self._read.append(words)
        return cached

    def count(self, tokens_in: int, tokens_out: int) -> None:
        """Note what an answer took."""
        with self.lock:
            self._tokens[0] += tokens_in
            self._tokens[1] += tokens_out


def made_up(request: JSON) -> str:
    """An answer that follows from the request: JSON of the schema that was asked for, or one of three short texts."""
    said = json.dumps([request.get("messages"), request.get("seed")], sort_keys=True)
    number = int.from_bytes(hashlib.sha256(said.encode("utf-8", "surrogatepass")).digest()[:4])
    asked = request.get("response_format")
    if asked:
        return json.dumps(_instance(asked["json_schema"]["schema"], number))
    return f"6 + 5 = {10 + number % 3}"


def _instance(schema: Mapping[str, Any], number: int) -> Any:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if choices:
        return choices[number % len(choices)]
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        return {key: _instance(part, number + k) for k, (key, part) in enumerate(schema.get("properties", {}).items())}
    if kind == "array":
        return [_instance(schema.get("items", {}), number)]
    if kind in ("number", "integer"):
        low, high = schema.get("minimum", 0), schema.get("maximum", 1)
        return high if number % 2 else low
    return {"boolean": bool(number % 2), "null": None}.get(str(kind), f"6 + 5 = {10 + number % 3}")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    model: LoopbackModel

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle of an answer is what is being tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        model = self.server.model
        with model.lock:
            model.requests.append(request)
            model.busy += 1
        try:
            self._answer(request, model)
        finally:
            with model.lock:
                model.busy -= 1

    def _answer(self, request: JSON, model: LoopbackModel) -> None:
        text = model.answer(request)
        words = json.dumps(request["messages"]).split()
        tokens = (len(words), len(text.split()))
        usage: JSON = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1], "total_tokens": sum(tokens)}
        usage["prompt_tokens_details"] = {"cached_tokens": model.read(words)}
        base = {"id": "1", "created": 1, "model": request["model"]}
        if model.hangs:
            self._hang(base, streamed=bool(request.get("stream")))
            return
        model.count(*tokens)
        if not request.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            self._whole(base | {"object": "chat.completion", "choices": [choice], "usage": usage})
            return
        self._begin_stream()
        for index, word in enumerate(text.split(" ")):
            time.sleep(model.pause_s)
            self._event(_chunk(base, word if index == 0 else f" {word}"))
        self._event(_chunk(base, "", "stop"))
        self._event({**_chunk(base, ""), "choices": [], "usage": usage})
        self._write("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _hang(self, base: JSON, *, streamed: bool) -> None:
        if streamed:
            self._begin_stream()
            self._event(_chunk(base, "Well"))
        while not self._gone():
            pass
        self.close_connection = True

    def _gone(self) -> bool:
        """Whether the client has closed its connection; waits a moment for it."""
        readable, _, _ = select.select([self.connection], [], [], _POLL_S)
        try:
            return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def _whole(self, body: JSON) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _event(self, event: JSON) -> None:
        self._write(json.dumps(event))

    def _write(self, data: str) -> None:
        block = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))


def _common(words: list[str], others: list[str]) -> int:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(words, others, strict=False))
    return sum(1 for _ in same)


def _chunk(base: JSON, text: str, finish: str | None = None) -> JSON:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {**base, "object": "chat.completion.chunk", "choices": [choice]}
