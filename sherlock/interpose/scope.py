"""The model calls of one node execution: what was asked and answered, what it cost, what was refused."""

import contextlib
import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from sherlock.errors import InjectionError, ModelError
from sherlock.interpose.dialects import Answer
from sherlock.interpose.messages import Message
from sherlock.interpose.recording import Flight, Key, MissingCall, Recorded, Recordings
from sherlock.usage import NO_USAGE, Usage

Rewrite = Callable[[tuple[Message, ...]], Sequence[Message]]
Price = Callable[[str, Usage], float | None]

SAMPLING = ("max_completion_tokens", "max_output_tokens", "max_tokens", "seed", "stop", "temperature", "top_p")
"""Parameters of a request that are kept with the call, so that it can be asked again."""

CHARACTERS_PER_TOKEN = 4
"""A rough mean for English text, used only where a provider reported nothing; such usage is marked estimated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One model call. A retried call is one for each attempt that was made.

    `messages` are what the user's code sent, the directive as role `system`; `sent` is what went out after
    rewriting. `text` is "" if the model only called tools. `replayed`: answered from a recording (its usage is the
    recorded one) or from LangChain's cache (its usage is nothing). `failed`: refused by the provider, broken off or
    cancelled; `status` is the HTTP status, if it came to that. `parameters` are those of `SAMPLING` that were given;
    `address` is the server's scheme, host and port, where HTTP was used.
    """

    api: str
    model: str
    messages: tuple[Message, ...]
    sent: tuple[Message, ...]
    text: str
    usage: Usage
    replayed: bool
    failed: bool
    status: int | None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""


class Unfinished(Protocol):
    """A call whose answer is still coming."""

    def finish(self) -> None: ...


@dataclass(slots=True, eq=False)
class Frame:
    """A LangChain model that is answering: what it was asked, and what was seen of it below.

    Each HTTP call ticks every frame round it, so that a call is counted once, by the layer nearest to the wire.
    """

    messages: tuple[Message, ...]
    sent: tuple[Message, ...]
    parent: "Frame | None"
    ticked: bool = False
    http: bool = False
    cached: bool = False
    admitted: bool = False

    @property
    def rewritten(self) -> bool:
        return self.sent != self.messages

    def tick(self, *, http: bool) -> None:
        """A call was counted below; `http`: it went over HTTP."""
        frame: Frame | None = self
        while frame is not None:
            frame.ticked = True
            frame.http = frame.http or http
            frame = frame.parent

    def take_admission(self) -> bool:
        """True once, if this frame's call was let through before anyone knew that it would use HTTP."""
        admitted, self.admitted = self.admitted, False
        return admitted or (self.parent is not None and self.parent.take_admission())


@dataclass(slots=True, kw_only=True)
class Started:
    """A call that has begun, in its place among the scope's calls."""

    api: str
    model: str
    messages: tuple[Message, ...]
    sent: tuple[Message, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""
    call: ModelCall | None = field(default=None)


class Meter:
    """Sees the calls of every scope that is made while it is open, in whichever task, and may refuse them.

    `before_call` is asked for each call before the scope's own is; `on_call` is told each that has ended, and must not
    raise.
    """

    def __init__(self, *, before_call: Callable[[str], None], on_call: Callable[[ModelCall], None]) -> None:
        self.before_call = before_call
        self.on_call = on_call

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Meter the scopes that are made in this block; may stand round an await."""
        token = _meter.set(self)
        try:
            yield
        finally:
            _meter.reset(token)


class CallScope:
    """The model calls of one node execution, in the order in which they began; follows its tasks and threads.

    `rewrite` gets the messages of each call and returns those to send. `recordings` answers calls, and keeps the
    answers. `before_call` gets the model's name right before a call is really made. `price` gives the dollars of a
    call, None where they are unknown. What one of these raises is kept in `refused`, and refuses this call (where it
    was not made yet) and every later one, with HTTP status 400 as far as the user's code can tell.

    `missing` lists the calls that had no recording where only recordings may answer. Where `refused` or `missing` is
    set the execution is void, whatever the node made of it.
    """

    def __init__(
        self,
        *,
        rewrite: Rewrite | None = None,
        recordings: Recordings | None = None,
        before_call: Callable[[str], None] | None = None,
        price: Price | None = None,
    ) -> None:
        self.rewrite = rewrite
        self.recordings = recordings
        self.missing: list[MissingCall] = []
        self.refused: BaseException | None = None
        self.closed = False
        self._meter = _meter.get()
        metered = None if self._meter is None else self._meter.before_call
        self._asked = [ask for ask in (metered, before_call) if ask is not None]
        self._price = price
        self._started: list[Started] = []
        self._unfinished: dict[Unfinished, None] = {}
        self._repeats: dict[str, set[int]] = {}
        self._lock = threading.Lock()

    @property
    def calls(self) -> list[ModelCall]:
        """The calls that have ended."""
        return [started.call for started in list(self._started) if started.call is not None]

    @property
    def usage(self) -> Usage:
        """The sum over `calls`, replayed ones included."""
        return sum((call.usage for call in self.calls), NO_USAGE)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Let the model calls made in this block belong to the scope; may stand round an await.

        InjectionError: there is something to rewrite, and litellm's own cache would answer in its place.
        """
        if self.rewrite is not None and getattr(sys.modules.get("litellm"), "cache", None) is not None:
            raise InjectionError("litellm.cache is set, so a changed prompt may get an old answer; set it to None")
        token = _scope.set(self)
        try:
            yield
        finally:
            _scope.reset(token)

    def close(self) -> None:
        """End the scope: calls still under way count with what was seen of them, later ones are not seen at all."""
        self.closed = True
        for unfinished in list(self._unfinished):
            unfinished.finish()

    def start(self, started: Started) -> None:
        """Give a call its place."""
        with self._lock:
            self._started.append(started)

    def watch(self, unfinished: Unfinished) -> None:
        """Finish this with the scope, if it does not end before."""
        with self._lock:
            self._unfinished[unfinished] = None

    def unwatch(self, unfinished: Unfinished) -> None:
        """It has ended."""
        with self._lock:
            self._unfinished.pop(unfinished, None)

    def end(
        self,
        started: Started,
        answer: Answer,
        seconds: float,
        *,
        status: int | None = None,
        replayed: bool = False,
        free: bool = False,
    ) -> None:
        """Complete a call that was started."""
        started.call = ModelCall(
            api=started.api,
            model=started.model,
            messages=started.messages,
            sent=started.sent,
            text=answer.text,
            usage=NO_USAGE if free else self.metered(started, answer, seconds),
            replayed=replayed,
            failed=answer.failed or not answer.complete,
            status=status,
            parameters=started.parameters,
            address=started.address,
        )

        if self._meter is not None:
            self._meter.on_call(started.call)

    def end_cached(self, started: Started, answer: Answer) -> None:
        """Complete a call that LangChain's own cache answered: it is seen, and cost nothing."""
        self.end(started, answer, 0.0, replayed=True, free=True)

    def metered(self, started: Started, answer: Answer, seconds: float) -> Usage:
        """The usage of a call, estimated from its text where the provider did not report it."""
        tokens_in, tokens_out = answer.tokens_in, answer.tokens_out
        usage = Usage(
            calls=1,
            tokens_in=_tokens(sum(len(m.text) for m in started.sent)) if tokens_in is None else tokens_in,
            tokens_out=_tokens(answer.generated) if tokens_out is None else tokens_out,
            tokens_cached=answer.tokens_cached,
            usd=None,
            seconds=seconds,
            estimated=tokens_in is None or tokens_out is None,
        )
        if usage.tokens == 0 and answer.failed:
            return replace(usage, usd=0.0)
        return replace(usage, usd=self._dollars(started.model, usage))

    def rewritten(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """What to send instead of `messages`; the same if there is nothing to rewrite, or rewriting fails."""
        if self.rewrite is None:
            return messages
        try:
            return tuple(self.rewrite(messages))
        except Exception as error:  # noqa: BLE001  (it is the caller's own, and kept for the caller)
            self.refuse(error)
            return messages

    def land(self, flight: Flight, answer: Recorded | None) -> None:
        """End a flight. That an answer could not be kept must not lose it."""
        try:
            flight.land(answer)
        except OSError as error:
            self.refuse(ModelError(f"a model call could not be recorded ({error}); make the path writable"))

    def admit(self, model: str) -> bool:
        """Ask whether a call may really be made now; False if not, see `refused`."""
        for before_call in self._asked if self.refused is None else ():
            try:
                before_call(model)
            except Exception as error:  # noqa: BLE001  (it is the caller's own, and kept for the caller)
                self.refuse(error)
                break
        return self.refused is None

    def refuse(self, error: BaseException) -> None:
        """Refuse this and every later call; the first reason stays."""
        if self.refused is None:
            self.refused = error

    def _dollars(self, model: str, usage: Usage) -> float | None:
        try:
            return None if self._price is None else self._price(model, usage)
        except Exception as error:  # noqa: BLE001  (it is the caller's own, and kept for the caller)
            self.refuse(error)
            return None

    def number(self, key: Key) -> Key:
        """Give the key the lowest number that no equal call of this scope has."""
        with self._lock:
            taken = self._repeats.setdefault(key.digest, set())
            repeat = next(n for n in range(len(taken) + 1) if n not in taken)
            taken.add(repeat)
        return replace(key, repeat=repeat)

    def unnumber(self, key: Key) -> None:
        """Give the number back: the call failed, and what is tried next is the same call."""
        with self._lock:
            self._repeats[key.digest].discard(key.repeat)


def current_scope() -> CallScope | None:
    """The scope that a model call made here belongs to."""
    scope = _scope.get()
    return None if scope is None or scope.closed else scope


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """No scope in this block."""
    token = _scope.set(None)
    try:
        yield
    finally:
        _scope.reset(token)


_meter: ContextVar[Meter | None] = ContextVar("sherlock_call_meter", default=None)
_scope: ContextVar[CallScope | None] = ContextVar("sherlock_call_scope", default=None)
current_frame: ContextVar[Frame | None] = ContextVar("sherlock_model_frame", default=None)


def _tokens(characters: int) -> int:
    return math.ceil(characters / CHARACTERS_PER_TOKEN)
