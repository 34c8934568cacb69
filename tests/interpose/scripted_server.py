"""A model server on loopback with scripted answers: OpenAI chat and responses, Anthropic messages, streamed or not.

    with ScriptedServer(lambda request: "hello") as server:
        OpenAI(base_url=server.base_url, api_key="none").chat.completions.create(...)
        assert server.requests[0]["model"] == ...

`answer` gets the request's JSON and returns the text, or a dict with any of: `text`, `tool_calls` (a list of
`{"name", "arguments"}`, arguments a dict), `usage` (`(tokens_in, tokens_out, tokens_cached)`, or None to report
none), `status` and `error` (a refusal), `delay` (seconds before the answer), `pause` (seconds between the events of a
stream), `cut` (break the stream off after so many events).
"""

import json
import threading
import time
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

JSON = dict[str, Any]
Answer = Callable[[JSON], str | JSON]


class ScriptedServer:
    """`requests` holds the JSON of every request, `headers` its headers, in order of arrival."""

    def __init__(self, answer: Answer = lambda _request: "ok") -> None:
        self.answer = answer
        self.requests: list[JSON] = []
        self.headers: list[dict[str, str]] = []
        self.lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"{self.root_url}/v1"

    @property
    def root_url(self) -> str:
        """Without `/v1`, as Anthropic's client wants it."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.script = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer nothing more. Connecting is refused from now on."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64
    script: ScriptedServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle of an answer is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_args: Any) -> None:
        pass

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        script = self.server.script
        with script.lock:
            script.requests.append(request)
            script.headers.append({key.lower(): value for key, value in self.headers.items()})
            number = zlib.crc32(repr(request.get("messages", request.get("input"))).encode())
        scripted = script.answer(request)
        answer = {"text": scripted} if isinstance(scripted, str) else scripted
        time.sleep(answer.get("delay", 0))
        if answer.get("status", 200) != 200:
            error = {"error": {"message": answer.get("error", "refused"), "type": "scripted", "code": None}}
            self._send_json(answer["status"], error)
            return
        dialect = next((d for ending, d in _DIALECTS.items() if self.path.endswith(ending)), None)
        if dialect is None:
            self._send_json(404, {"error": {"message": f"no {self.path} here", "type": "scripted"}})
            return
        whole, events = dialect(request, answer, number)
        if request.get("stream"):
            self._send_events(events, answer)
        else:
            self._send_json(200, whole)

    def _send_json(self, status: int, body: JSON) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _send_events(self, events: list[JSON | str], answer: JSON) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for event in events[: answer.get("cut", len(events))]:
            name = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
            data = event if isinstance(event, str) else json.dumps(event)
            block = f"{name}data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))
            time.sleep(answer.get("pause", 0))
        if "cut" in answer:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")


def words(text: str) -> list[str]:
    """The parts in which a text is streamed, and by whose number its tokens are counted."""
    parts = text.split(" ")
    return [part if i == 0 else f" {part}" for i, part in enumerate(parts)] if text else []


def _usage(request: JSON, answer: JSON) -> tuple[int, int, int] | None:
    if "usage" in answer:
        return answer["usage"]
    said = json.dumps(request.get("messages", request.get("input", "")))
    return len(said.split()), max(1, len(words(answer.get("text", "")))), 0


def _chat(request: JSON, answer: JSON, number: int) -> tuple[JSON, list[JSON | str]]:
    text, usage = answer.get("text", ""), _usage(request, answer)
    calls = [
        {
            "id": f"call_{number}_{i}",
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
        }
        for i, call in enumerate(answer.get("tool_calls", []))
    ]
    head = {"id": f"chatcmpl-{number}", "created": 1, "model": request["model"]}
    reported = usage and {
        "prompt_tokens": usage[0],
        "completion_tokens": usage[1],
        "total_tokens": usage[0] + usage[1],
        "prompt_tokens_details": {"cached_tokens": usage[2]},
    }
    end = "tool_calls" if calls else "stop"
    message: JSON = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    whole = {
        **head,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": end, "logprobs": None}],
        **({"usage": reported} if reported else {}),
    }
    deltas: list[JSON] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": part} for part in words(text)]
    deltas += [{"tool_calls": [{"index": i, **call}]} for i, call in enumerate(calls)]
    chunk = {**head, "object": "chat.completion.chunk"}
    events: list[JSON | str] = [
        {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas
    ]
    events.append({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": end}]})
    if reported and (request.get("stream_options") or {}).get("include_usage"):
        events.append({**chunk, "choices": [], "usage": reported})
    return whole, [*events, "[DONE]"]


def _responses(request: JSON, answer: JSON, number: int) -> tuple[JSON, list[JSON | str]]:
    text, usage = answer.get("text", ""), _usage(request, answer)
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    item = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
    }
    whole: JSON = {
        "id": f"resp_{number}",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "metadata": {},
        "model": request["model"],
        "output": [item] if text else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage
        and {
            "input_tokens": usage[0],
            "output_tokens": usage[1],
            "total_tokens": usage[0] + usage[1],
            "input_tokens_details": {"cached_tokens": usage[2]},
            "output_tokens_details": {"reasoning_tokens": 0},
        },
    }
    for i, call in enumerate(answer.get("tool_calls", [])):
        call_item = {"id": f"fc_{number}_{i}", "type": "function_call", "call_id": f"call_{number}_{i}"}
        arguments = json.dumps(call["arguments"])
        whole["output"].append({**call_item, "name": call["name"], "arguments": arguments, "status": "completed"})
    place = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    events: list[JSON] = [
        {"type": "response.created", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "content": [], "status": "in_progress"},
        },
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": w, "logprobs": []} for w in words(text)),
        {"type": "response.output_text.done", **place, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return whole, [{**event, "sequence_number": i} for i, event in enumerate(events)]


def _anthropic(request: JSON, answer: JSON, number: int) -> tuple[JSON, list[JSON | str]]:
    text, usage = answer.get("text", ""), _usage(request, answer)
    tokens_in, tokens_out, cached = usage or (0, 0, 0)
    calls = [
        {"type": "tool_use", "id": f"toolu_{number}_{i}", "name": call["name"], "input": call["arguments"]}
        for i, call in enumerate(answer.get("tool_calls", []))
    ]
    reported = {
        "input_tokens": tokens_in - cached,
        "output_tokens": tokens_out,
        "cache_read_input_tokens": cached,
        "cache_creation_input_tokens": 0,
    }
    end = "tool_use" if calls else "end_turn"
    whole = {
        "id": f"msg_{number}",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [*([{"type": "text", "text": text}] if text else []), *calls],
        "stop_reason": end,
        "stop_sequence": None,
        "usage": reported,
    }
    opening = {**whole, "content": [], "stop_reason": None, "usage": {**reported, "output_tokens": 1}}
    events: list[JSON | str] = [{"type": "message_start", "message": opening}]
    if text:
        events.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        events += [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}}
            for part in words(text)
        ]
        events.append({"type": "content_block_stop", "index": 0})
    for i, call in enumerate(calls, start=1 if text else 0):
        delta = {"type": "input_json_delta", "partial_json": json.dumps(call["input"])}
        events.append({"type": "content_block_start", "index": i, "content_block": {**call, "input": {}}})
        events.append({"type": "content_block_delta", "index": i, "delta": delta})
        events.append({"type": "content_block_stop", "index": i})
    events.append(
        {
            "type": "message_delta",
            "delta": {"stop_reason": end, "stop_sequence": None},
            "usage": {"output_tokens": tokens_out},
        }
    )
    return whole, [*events, {"type": "message_stop"}]


_DIALECTS = {"/chat/completions": _chat, "/responses": _responses, "/messages": _anthropic}
