"""One model call over HTTP, from the request to the end of its answer. No I/O here: `http.py` drives it."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sherlock.errors import ModelError, SherlockError
from sherlock.interpose.dialects import Answer, Body, Dialect, Event
from sherlock.interpose.recording import Flight, Key, MissingCall, Recorded, key_of
from sherlock.interpose.scope import SAMPLING, CallScope, Frame, Started

Decode = Callable[[bytes], bytes]

_BLOCK_END = re.compile(rb"\r?\n\r?\n")
_NOTHING_SPENT = Answer(failed=True, tokens_in=0, tokens_out=0)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that does not come from the network."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    seconds: float = 0.0


class Exchange:
    """The life of one call: `turn` until it says what to do; then `opened`, `feed`, `rest`, `finish`; or `broken`.

    `content` is what to send, `changed` whether that differs from what the user's code sent.
    """

    def __init__(self, scope: CallScope, dialect: Dialect, body: Body, content: bytes, frame: Frame | None) -> None:
        self.streamed = bool(body.get("stream"))
        self.hides_usage = False
        self._scope = scope
        self._dialect = dialect
        self._frame = frame
        self._original = (body, content)
        self._body = body
        messages = dialect.read(body)
        if scope.rewrite is not None and frame is None:
            new = scope.rewritten(messages)
            self._body = body if new == messages else dialect.write(body, messages, new)
        sent = messages if self._body is body else dialect.read(self._body)
        asked = frame.messages if frame is not None and frame.rewritten else messages
        model = str(body.get("model", ""))
        parameters = {name: body[name] for name in SAMPLING if body.get(name) is not None}
        self._started = Started(api=dialect.name, model=model, messages=asked, sent=sent, parameters=parameters)
        self._key: Key | None = None
        self._flight: Flight | None = None
        self._buffer = bytearray()
        self._events: list[Event] = []
        self._in_events = False
        self._decode: Decode | None = None
        self._status: int | None = None
        self._begun = time.perf_counter()
        self._done = False
        self._lock = threading.Lock()
        self._compose()
        if frame is not None:
            frame.tick(http=True)

    @property
    def address(self) -> str:
        """The server that is asked: scheme, host and port."""
        return self._started.address

    @address.setter
    def address(self, address: str) -> None:
        self._started.address = address

    def turn(self, *, blocking: bool, waited_out: bool = False) -> Reply | Future[None] | None:
        """An answer to give at once; something to wait for, then ask again; None: make the call.

        `waited_out`: whoever is making an equal call takes too long, so make this one as well.
        """
        if self._scope.refused is not None:
            return self._refused()
        try:
            claimed = None if waited_out else self._claim(blocking=blocking)
        except SherlockError as error:
            self._scope.refuse(error)
            return self._refused()
        return claimed or self._admit()

    def without_injection(self) -> None:
        """Compose the request again, for a server that refuses `stream_options`."""
        self.hides_usage = False
        self._set_content(self._body)

    def opened(self, status: int, content_type: str, decode: Decode | None) -> None:
        """The head of the answer has come; `decode` undoes its content encoding, if it has one."""
        self._status = status
        self._decode = decode
        self._in_events = self.streamed and decode is None and "json" not in content_type
        if not 200 <= status < 300:
            self._end(_NOTHING_SPENT)

    def feed(self, chunk: bytes) -> bytes:
        """Note what has come; return what of it the user's code gets to see now."""
        if not self._in_events:
            if not self._done:
                self._buffer += chunk
            return chunk
        shown = bytearray()
        self._buffer += chunk
        while (end := _BLOCK_END.search(self._buffer)) is not None:
            block = bytes(self._buffer[: end.end()])
            del self._buffer[: end.end()]
            if not self._note(block):
                shown += block
        return bytes(shown)

    def rest(self) -> bytes:
        """What `feed` still held back, at the end of the answer."""
        held = bytes(self._buffer) if self._in_events else b""
        if held:
            self._buffer.clear()
            self._note(held)
        return held

    def finish(self) -> None:
        """The answer has ended, was closed, or is given up: count what was seen of it."""
        if not self._done:
            self._end(*self._seen())

    def broken(self, *, reached: bool) -> None:
        """The call raised or was cancelled; `reached`: the server may have worked on it."""
        self._end(Answer(failed=True) if reached else _NOTHING_SPENT)

    def _compose(self) -> None:
        """Plain streams of chat completions report no usage unless they are asked to."""
        options = self._body.get("stream_options") or {}
        if self.streamed and self._dialect.name == "openai.chat" and not options.get("include_usage"):
            self.hides_usage = True
            self._set_content(self._body | {"stream_options": options | {"include_usage": True}})
        else:
            self._set_content(self._body)

    def _set_content(self, body: Body) -> None:
        original, content = self._original
        self.changed = body is not original
        self.content = json.dumps(body).encode() if self.changed else content

    def _claim(self, *, blocking: bool) -> Reply | Future[None] | None:
        recordings = self._scope.recordings
        if recordings is None:
            return None
        if self._key is None:
            self._key = self._scope.number(key_of(self._dialect.name, self._body))
        claimed = recordings.claim(self._key, blocking=blocking)
        if isinstance(claimed, Recorded):
            return self._replay(claimed)
        if isinstance(claimed, MissingCall):
            self._scope.missing.append(claimed)
            return self._refusal("missing_recording", str(claimed))
        if isinstance(claimed, Flight):
            self._flight = claimed
            return None
        return claimed

    def _admit(self) -> Reply | None:
        try:
            admitted = self._frame is not None and self._frame.take_admission()
            admitted = admitted or self._scope.admit(self._started.model)
        except BaseException:
            self._release(None)
            raise
        if not admitted:
            return self._refused()
        self._begun = time.perf_counter()
        self._scope.start(self._started)
        self._scope.watch(self)
        return None

    def _refused(self) -> Reply:
        reason = self._scope.refused
        return self._refusal("refused", f"{type(reason).__name__}: {reason}")

    def _refusal(self, kind: str, message: str) -> Reply:
        """Status 400, which clients hand on, where an exception would be retried or wrapped."""
        self._release(None)
        error = {"error": {"message": message, "type": kind, "code": kind}}
        headers = {"content-type": "application/json", "x-should-retry": "false"}
        return Reply(400, headers, json.dumps(error).encode())

    def _replay(self, recorded: Recorded) -> Reply:
        if recorded.events is not None:
            answer = self._dialect.stream_answer(recorded.events)
            shown = [event for event in recorded.events if not (self.hides_usage and _is_only_usage(event))]
            content, kind = _server_sent(shown), "text/event-stream; charset=utf-8"
        elif recorded.response is not None:
            answer = self._dialect.answer(recorded.response)
            content, kind = json.dumps(recorded.response).encode(), "application/json"
        else:
            raise ModelError("a recording holds neither a response nor events; delete it and record again")
        self._scope.start(self._started)
        self._scope.end(self._started, answer, recorded.seconds, status=200, replayed=True)
        return Reply(200, {"content-type": kind}, content, recorded.seconds)

    def _note(self, block: bytes) -> bool:
        """Keep an event for the record; True if the user's code did not ask for it."""
        event = _parse(block)
        if event is None:
            return False
        if not self._done:
            self._events.append(event)
        hidden = self.hides_usage and _is_only_usage(event)
        if any(ending in block for ending in self._dialect.endings):
            self.finish()
        return hidden

    def _seen(self) -> tuple[Answer, Recorded]:
        seconds = time.perf_counter() - self._begun
        if self._in_events:
            events = tuple(self._events)
            return self._dialect.stream_answer(events), Recorded(seconds=seconds, events=events)
        try:
            content = bytes(self._buffer) if self._decode is None else self._decode(bytes(self._buffer))
            if self.streamed and not content.lstrip().startswith(b"{"):
                events = tuple(e for e in map(_parse, _BLOCK_END.split(content)) if e is not None)
                return self._dialect.stream_answer(events), Recorded(seconds=seconds, events=events)
            body = json.loads(content)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return Answer(complete=False), Recorded(seconds=seconds)
        return self._dialect.answer(body), Recorded(seconds=seconds, response=body)

    def _end(self, answer: Answer, recorded: Recorded | None = None) -> None:
        with self._lock:
            if self._done:
                return
            self._done = True
        self._scope.unwatch(self)
        seconds = time.perf_counter() - self._begun
        self._scope.end(self._started, answer, seconds, status=self._status)
        self._release(recorded if answer.complete and not answer.failed else None)

    def _release(self, recorded: Recorded | None) -> None:
        """Let go of the claim on the recording, with or without an answer for it."""
        if self._key is not None and recorded is None:
            self._scope.unnumber(self._key)
        if self._flight is not None:
            self._scope.land(self._flight, recorded)


def _parse(block: bytes) -> Event | None:
    name = None
    lines: list[str] = []
    for line in block.decode("utf-8", "replace").splitlines():
        field, _, value = line.partition(":")
        if field == "event":
            name = value.strip()
        elif field == "data":
            lines.append(value.removeprefix(" "))
    if not lines:
        return None
    text = "\n".join(lines)
    try:
        return Event(json.loads(text), name)
    except ValueError:
        return Event(text, name)


def _server_sent(events: Iterable[Event]) -> bytes:
    parts: list[str] = []
    for event in events:
        if event.name is not None:
            parts.append(f"event: {event.name}\n")
        data = event.data if isinstance(event.data, str) else json.dumps(event.data)
        parts.extend(f"data: {line}\n" for line in data.split("\n"))
        parts.append("\n")
    return "".join(parts).encode()


def _is_only_usage(event: Event) -> bool:
    data: Any = event.data
    return isinstance(data, dict) and data.get("choices") == [] and data.get("usage") is not None
