"""Recorded model calls: readable JSON, one file for each distinct request, found again by what was asked.

Two requests are the same if API, model, messages and parameters are: host, headers, `stream_options`, nulls and
`stream: false` do not count. Headers are never stored, and secrets are scrubbed from what is.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sherlock.errors import ModelError
from sherlock.interpose.dialects import Body, Event
from sherlock.interpose.scrubbing import scrub, scrub_certain

Mode = Literal["none", "new", "all"]
VERSION = 1


@dataclass(frozen=True, slots=True)
class Key:
    """Which call it is. `repeat` numbers equal requests within one node execution, from 0."""

    api: str
    request: Mapping[str, Any]
    digest: str
    repeat: int

    @property
    def name(self) -> str:
        """The name of its recording, and of the file less `.json`."""
        return f"{self.api}-{self.digest[:24]}-{self.repeat}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recorded answer: one JSON object, or the events of a stream, and how long it took in seconds."""

    seconds: float
    response: Body | None = None
    events: tuple[Event, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingCall:
    """A call that replay had no answer for. `difference` says how it differs from the nearest recorded one."""

    api: str
    model: str
    name: str
    request: Mapping[str, Any]
    nearest: Mapping[str, Any] | None
    difference: str

    def __str__(self) -> str:
        return f"no recording of this {self.api} call to model {self.model!r}: {self.difference}; record it first"


class Flight:
    """A call that is being made for everyone who wants its answer. It must `land`, whatever happens."""

    def __init__(self, recordings: "Recordings", key: Key) -> None:
        self.key = key
        self.thread = threading.get_ident()
        self.waiting: list[Future[None]] = []
        self._recordings = recordings

    def land(self, answer: Recorded | None) -> None:
        """Store the answer, or None for a call that failed, and wake those who wait."""
        self._recordings.landed(self, answer)


class Recordings:
    """Answers to model calls, kept in the directory `path`, or in memory if it is None.

    `mode` "new" answers from the recordings and makes and keeps what is missing; "none" only answers; "all" makes
    every call again, once. Safe for several threads, event loops and processes. `used` holds the names of the
    recordings that were asked for.
    """

    def __init__(self, path: str | Path | None = None, *, mode: Mode = "new") -> None:
        self.path = None if path is None else Path(path)
        self.mode: Mode = mode
        self.used: set[str] = set()
        self._memory: dict[str, str] = {}
        self._fresh: set[str] = set()
        self._flights: dict[str, Flight] = {}
        self._lock = threading.Lock()

    def claim(self, key: Key, *, blocking: bool = False) -> Recorded | Flight | Future[None] | MissingCall:
        """The recorded answer; or a flight, if the caller is to make the call; or what to wait for, then ask again.

        Nobody `blocking` a thread is told to wait for a call that only this thread can end.
        """
        self.used.add(key.name)
        if (found := self._find(key.name)) is not None:
            return found
        if self.mode == "none":
            return self._missing(key)
        with self._lock:
            if (found := self._find(key.name)) is not None:
                return found
            under_way = self._flights.get(key.name)
            if under_way is None:
                return self._flights.setdefault(key.name, Flight(self, key))
            if blocking and under_way.thread == threading.get_ident():
                return Flight(self, key)
            under_way.waiting.append(Future())
            return under_way.waiting[-1]

    def landed(self, flight: Flight, answer: Recorded | None) -> None:
        """End a flight; see `Flight.land`."""
        try:
            with self._lock:
                self._end_flight(flight, answer)
        finally:
            waiting, flight.waiting = flight.waiting, []
            for future in waiting:
                if future.set_running_or_notify_cancel():
                    future.set_result(None)

    def names(self) -> list[str]:
        """The names of all recordings."""
        if self.path is None:
            return sorted(self._memory)
        return sorted(file.stem for file in self.path.glob("*.json"))

    def _end_flight(self, flight: Flight, answer: Recorded | None) -> None:
        name = flight.key.name
        if self._flights.get(name) is flight:
            del self._flights[name]
        if answer is not None and self._find(name) is None:
            self._write(flight.key, answer)
            self._fresh.add(name)

    def _find(self, name: str) -> Recorded | None:
        if self.mode == "all" and name not in self._fresh:
            return None
        data = self._read(name)
        if data is None:
            return None
        events = data.get("events")
        return Recorded(
            seconds=float(data.get("seconds", 0.0)),
            response=data.get("response"),
            events=None if events is None else tuple(Event(e["data"], e.get("event")) for e in events),
        )

    def _read(self, name: str) -> Body | None:
        text = self._memory.get(name)
        if self.path is not None:
            try:
                text = (self.path / f"{name}.json").read_text("utf-8")
            except FileNotFoundError:
                return None
            except OSError as error:
                raise ModelError(f"the recording {name}.json cannot be read ({error}); check the path") from error
        if text is None:
            return None
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ModelError(f"the recording {name}.json is not JSON ({error}); delete it and record again") from error
        if not isinstance(data, dict) or data.get("version") != VERSION:
            raise ModelError(f"the recording {name}.json is not of version {VERSION}; delete it and record again")
        return data

    def _write(self, key: Key, answer: Recorded) -> None:
        data: Body = {"version": VERSION, "api": key.api, "repeat": key.repeat, "request": scrub(key.request)}
        data["seconds"] = round(answer.seconds, 6)
        if answer.events is None:
            data["response"] = scrub(answer.response)
        else:
            data["events"] = [scrub(_event_json(event)) for event in answer.events]
        text = json.dumps(data, indent=1, ensure_ascii=False)
        if self.path is None:
            self._memory[key.name] = text
            return
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.path / f".{key.name}.{os.getpid()}.{threading.get_ident()}"
        temporary.write_bytes(text.encode("utf-8", "replace"))
        temporary.replace(self.path / f"{key.name}.json")

    def _missing(self, key: Key) -> MissingCall:
        nearest = max(self._recorded_requests(key.api), key=lambda it: _similarity(it, key.request), default=None)
        difference = f"nothing was recorded for {key.api}"
        if nearest is not None:
            what = _first_difference(nearest, scrub(key.request))
            difference = f"the nearest recorded call differs in {what}" if what else f"it is repeat {key.repeat}"
        return MissingCall(
            api=key.api,
            model=str(key.request.get("model", "")),
            name=key.name,
            request=key.request,
            nearest=nearest,
            difference=difference,
        )

    def _recorded_requests(self, api: str) -> Iterator[Mapping[str, Any]]:
        for name in self.names():
            data = self._read(name) if name.startswith(f"{api}-") else None
            if data is not None:
                yield data["request"]


def key_of(api: str, body: Body) -> Key:
    """The key of a request, as its first occurrence (`repeat` 0)."""
    request = {k: v for k, v in body.items() if k != "stream_options" and not (k == "stream" and not v)}
    request = scrub_certain(_canonical(request))
    text = json.dumps([api, request], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Key(api, request, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), 0)


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # clients differ in how they write `temperature: 0`
    return value


def _event_json(event: Event) -> Body:
    return {"data": event.data} if event.name is None else {"event": event.name, "data": event.data}


def _similarity(a: Mapping[str, Any], b: Mapping[str, Any]) -> float:
    from rapidfuzz import fuzz

    return float(fuzz.ratio(json.dumps(a, sort_keys=True), json.dumps(b, sort_keys=True)))


def _first_difference(recorded: Any, asked: Any, where: str = "") -> str | None:
    """Where two requests first differ, and how; None if they do not."""
    if isinstance(recorded, Mapping) and isinstance(asked, Mapping):
        keys = sorted(recorded.keys() | asked.keys())
        pairs = [(recorded.get(key), asked.get(key), f"{where}.{key}".lstrip(".")) for key in keys]
    elif isinstance(recorded, list) and isinstance(asked, list) and len(recorded) == len(asked):
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(recorded, asked, strict=True))]
    elif recorded == asked:
        return None
    else:
        return f"{where} ({_excerpt(recorded)} there, {_excerpt(asked)} here)"
    return next((found for a, b, place in pairs if (found := _first_difference(a, b, place))), None)


def _excerpt(value: Any, width: int = 80) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= width else f"{text[: width // 2]} ... {text[-width // 2 :]}"
