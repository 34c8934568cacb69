"""The seam for verifiers: what one is, what it answers, and how one is run.

    class Short:
        name = "short"

        async def verify(self, subject: Subject) -> Verdict:
            return Verdict(len(subject.text) < 100)

What a verifier is given is in `subject.py`, how it is found by name in `registry.py`.
"""

import asyncio
import dataclasses
import inspect
import logging
import math
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from sherlock.blame import blame
from sherlock.errors import InjectionError, LimitReached, SherlockError, VerifierError
from sherlock.lens import write_text, written
from sherlock.messages import loaded
from sherlock.models.client import Completion
from sherlock.subject import Message, Prompt, Resampler, Subject, message_text, together
from sherlock.usage import Usage

__all__ = [
    "Completion",
    "FailureKind",
    "Message",
    "Prompt",
    "Resampler",
    "Subject",
    "UnreadableAnswer",
    "Verdict",
    "Verifier",
    "VerifierFailure",
    "message_text",
    "run_verifier",
    "together",
]

FailureKind = Literal["raised", "timed_out", "unreadable", "no_verdict", "uncastable"]

_log = logging.getLogger(__name__)
_CANCELLATIONS = 3
_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier found. A `ValueError` where it contradicts itself.

    `score` is how sure the verifier is that the output is right, in [0, 1]; None when it does not say. `corrected`: a
    str replaces the output's text, anything else the whole update; only with `accepted=False`. `usage`: what was spent
    outside `Subject.complete` and `Subject.resample`; in the verdict that `run_verifier` returns, all that was spent.
    """

    accepted: bool
    score: float | None = None
    corrected: Any = None
    rationale: str = ""
    usage: Usage | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.accepted, bool):
            raise ValueError(f"accepted is {self.accepted!r}: give True or False")  # noqa: TRY004
        if self.accepted and self.corrected is not None:
            raise ValueError(f"an accepted output was corrected to {self.corrected!r:.80}: accept it or correct it")
        score = self.score
        if score is not None and (isinstance(score, bool) or not isinstance(score, (int, float)) or math.isnan(score)):
            raise ValueError(f"the score is {score!r}: give a number in [0, 1], or None")
        if score is not None and not 0 <= score <= 1:
            raise ValueError(f"the score is {score!r}: give a number in [0, 1], or None")
        if not isinstance(self.rationale, str):
            raise ValueError(f"the rationale is {self.rationale!r:.80}: give a text")  # noqa: TRY004
        if self.usage is not None and not isinstance(self.usage, Usage):
            raise ValueError(f"the usage is {self.usage!r:.80}: give a sherlock.Usage, or None")


@runtime_checkable
class Verifier(Protocol):
    """Judges one output of one node, and may correct it (arXiv:2511.00330, section 6)."""

    @property
    def name(self) -> str:
        """What the verifier is called; a plain class attribute will do."""

    async def verify(self, subject: Subject) -> Verdict:
        """Judge `subject.text`. Anything raised is a verifier failure, never a verdict."""


class UnreadableAnswer(VerifierError):
    """A model's answer that could not be read, not even after it was asked to repair it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierFailure:
    """A verifier that gave no verdict, and why. It says nothing about the output.

    `kind`: it `raised`; it `timed_out`; a model's answer was `unreadable`; it returned `no_verdict`; its correction was
    `uncastable` to what the node had written. `message` is one sentence; `usage` is all that was spent on it.
    """

    verifier: str
    node: str
    kind: FailureKind
    message: str
    usage: Usage
    seconds: float
    error: Exception | None = field(default=None, compare=False, repr=False)


async def run_verifier(
    verifier: Verifier, subject: Subject, *, timeout_s: float | None = 60.0
) -> Verdict | VerifierFailure:
    """Ask a verifier for its verdict, for at most `timeout_s` seconds (None: for as long as it takes).

    Whatever it spent, also when it fails, is added to `subject.usage` and is the `usage` of what is returned. When the
    caller is cancelled the verifier is too, and has ended, its model calls with it, before the cancellation goes on.
    LangGraph's control flow and a reached limit (`LimitReached`) pass through. A verifier that will not be cancelled is
    left behind after some seconds, with a warning in the log.
    """
    part = subject.part()
    started = time.perf_counter()

    def failed(kind: FailureKind, words: str, error: Exception | None = None) -> VerifierFailure:
        name = str(getattr(verifier, "name", type(verifier).__name__))
        message = f"the verifier {name!r} on the node {subject.node!r} {words}"
        seconds = time.perf_counter() - started
        return VerifierFailure(
            verifier=name,
            node=subject.node,
            kind=kind,
            message=message,
            usage=part.usage,
            seconds=seconds,
            error=error,
        )

    try:
        finished, answer = await _within(_asked(verifier, part), timeout_s)
        if not finished:
            return failed("timed_out", f"gave no verdict within {timeout_s:g} s")
        if not isinstance(answer, Verdict):
            return failed("no_verdict", f"returned {answer!r:.80}, which is no Verdict")
        if answer.usage is not None:
            part.charge(answer.usage)
        if wrong := _uncastable(answer.corrected, subject):
            return failed("uncastable", f"returned a correction that does not fit: {wrong}")
        return dataclasses.replace(answer, usage=part.usage)
    except Exception as error:  # noqa: BLE001  (a plug-in may raise anything)
        if (passing := _passing(error)) is not None:
            raise passing from None
        cause = _only(error)
        if isinstance(cause, UnreadableAnswer):
            return failed("unreadable", f"could not read what a model answered: {cause}", cause)
        words = f"failed: {cause}" if isinstance(cause, SherlockError) else f"raised {blame(cause)}"
        return failed("raised", words, cause)


async def _asked(verifier: Verifier, subject: Subject) -> Any:
    answer: Any = verifier.verify(subject)
    return await answer if inspect.isawaitable(answer) else answer


async def _within(work: Coroutine[Any, Any, Any], timeout_s: float | None) -> tuple[bool, Any]:
    """Whether the work ended in time, and its result."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=timeout_s)
        if task.done():
            return True, task.result()
    finally:
        await _ended(task)
    return False, None


async def _ended(task: "asyncio.Task[Any]") -> None:
    """Cancel the task, if it still runs, and wait until it has ended."""
    for _ in range(_CANCELLATIONS):
        if task.done():
            break
        task.cancel()
        await asyncio.wait([task], timeout=_PATIENCE_S)
    if not task.done():
        _log.warning("a verifier goes on though it was cancelled %d times: %r", _CANCELLATIONS, task)
    elif not task.cancelled():
        task.exception()  # else Python reports that nobody looked at it


def _uncastable(corrected: Any, subject: Subject) -> str | None:
    """Why a correction cannot stand where the node's update stood; None when it can."""
    if corrected is None:
        return None
    if isinstance(corrected, str):
        try:
            write_text(subject.output, corrected, node=subject.node)
        except InjectionError as error:
            return str(error)
        return None
    before, after = written(subject.output), written(corrected)
    unkeyed = [keys for keys in (before, after) if "__root__" in keys]
    if before and not after:
        return f"the update {corrected!r:.60} writes nothing; give one that writes {', '.join(map(repr, before))}"
    if len(unkeyed) == 1 or (unkeyed and not isinstance(corrected, type(subject.output))):
        there, given = type(subject.output).__name__, type(corrected).__name__
        return f"the node returned a {there} and the correction is a {given}; give the same kind"
    return None


def _passing(error: Exception) -> Exception | None:
    """The control flow or the reached limit in an error, which is not the verifier's."""
    inner = error.exceptions if isinstance(error, ExceptionGroup) else ()
    for each in inner:
        if (found := _passing(each)) is not None:
            return found
    control = loaded("langgraph.errors", "GraphBubbleUp")
    return error if isinstance(error, (LimitReached, control) if control else LimitReached) else None


def _only(error: Exception) -> Exception:
    """The error itself, out of task groups that hold nothing else."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
