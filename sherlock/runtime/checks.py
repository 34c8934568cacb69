"""Asks a verifier about one execution, and says what its answer comes to."""

import contextlib
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from sherlock.equivalence import same_meaning
from sherlock.errors import InjectionError, OutputRejected, VerifierError
from sherlock.interpose.calls import CallScope, ModelCall
from sherlock.lens import category_of, read_text, write_text
from sherlock.models.prices import Prices, is_loopback
from sherlock.runtime import machine as m
from sherlock.runtime.callbacks import VerifierRun
from sherlock.runtime.events import Event, Flagged, VerdictReached, VerificationStarted, VerifierFailed
from sherlock.runtime.ledger import Ledger
from sherlock.runtime.record import Record, changed_keys
from sherlock.subject import Subject
from sherlock.usage import NO_USAGE, Usage
from sherlock.verifier import Verdict, VerifierFailure, run_verifier

if TYPE_CHECKING:
    from sherlock.runtime.guard import Guard
    from sherlock.runtime.run import Run

_SYSTEM = ("system", "developer")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What a verdict, or the failure to reach one, comes to. `correction` is the whole update that takes its place."""

    kind: m.Ruling
    matched: bool = True
    correction: Any = None
    flag: str | None = None
    error: Exception | None = None


class Verifying(Protocol):
    """A run, as a verification needs it. `tell` emits an event about an execution."""

    guard: "Guard"
    ledger: Ledger

    def now(self) -> float: ...

    def tell(self, kind: type[Event], record: Record | None = None, **fields: Any) -> None: ...

    def above(self, record: Record) -> Any:
        """The callback manager below which the verification is a run."""


async def check(run: "Run", record: Record, number: int) -> None:
    """Verify the output of an execution, and tell the machine."""
    ruling = await verify(run, record)
    record.correction, record.error = ruling.correction, ruling.error
    if ruling.kind == "retry":
        run.hook.rejected[record.at] = record.input_digest()
    changed = changed_keys(record.raw, ruling.correction) if ruling.kind == "correct" else None
    run.handle(m.Judged(id=record.id, check=number, ruling=ruling.kind, changed=changed))


async def verify(run: Verifying, record: Record) -> Ruling:
    """Ask the verifier about the output of an execution, tell what it said, and what that comes to."""
    attached = record.place.attached
    assert attached is not None
    guard = run.guard
    async with guard.in_flight:
        started = run.now()
        run.tell(VerificationStarted, record, verifier=attached.name)
        subject = subject_of(record, guard.prices)
        scope = CallScope(price=run.guard.prices.usd)
        try:
            with scope.active(), _traced(run, record):
                async with VerifierRun.of(record.place.node, subject.text, run.above(record)) as seen:
                    verdict = await run_verifier(attached.verifier, subject, timeout_s=guard.policy.verifier_timeout_s)
                    _show(seen, verdict)
        finally:
            scope.close()
            run.ledger.verifier_usage += spent(subject.usage, scope.usage)
    seconds = run.now() - started
    ruling = ruling_on(verdict, record, guard.policy.on_failure)
    usage = spent(verdict.usage or NO_USAGE, scope.usage)
    if isinstance(verdict, VerifierFailure):
        run.tell(
            VerifierFailed,
            record,
            verifier=attached.name,
            message=verdict.message,
            seconds=seconds,
            reason=verdict.kind,
            usage=usage,
        )
    else:
        run.tell(
            VerdictReached,
            record,
            verifier=attached.name,
            accepted=verdict.accepted,
            matched=ruling.matched,
            seconds=seconds,
            rationale=verdict.rationale,
            before=subject.text,
            after=None if ruling.correction is None else read_text(ruling.correction),
            usage=usage,
        )
        guard.learner.record_verification(record.place.node, seconds, usage.usd, matched=ruling.matched)
    if ruling.flag is not None:
        run.tell(Flagged, record, why=ruling.flag)
    return ruling


def _traced(run: Verifying, record: Record) -> contextlib.AbstractContextManager[None]:
    trace = run.ledger.trace
    return contextlib.nullcontext() if trace is None else trace.verifying(record.label)


def _show(seen: VerifierRun, verdict: Verdict | VerifierFailure) -> None:
    if isinstance(verdict, VerifierFailure):
        seen.error = verdict.error or VerifierError(verdict.message)
    else:
        said = {"accepted": verdict.accepted, "corrected": verdict.corrected, "rationale": verdict.rationale}
        seen.result = {name: value for name, value in said.items() if value not in (None, "")}


def ruling_on(verdict: Verdict | VerifierFailure, record: Record, on_failure: str) -> Ruling:
    """Apply the placement's `on_reject`, and the policy's `on_failure`."""
    if isinstance(verdict, VerifierFailure):
        if on_failure == "open":
            return Ruling(kind="pass", flag=f"not verified: {verdict.message}")
        return Ruling(kind="doom", error=_failed(verdict))
    return Ruling(kind="pass") if verdict.accepted else _rejection(verdict, record)


def _rejection(verdict: Verdict, record: Record) -> Ruling:
    attached = record.place.attached
    assert attached is not None
    said = f": {verdict.rationale}" if verdict.rationale else ""
    if attached.on_reject == "raise":
        message = f"the verifier {attached.name!r} rejected the output of node {record.place.node!r}{said}"
        error = OutputRejected(message, node=record.place.node, rationale=verdict.rationale, verdict=verdict)
        return Ruling(kind="doom", matched=False, error=error)
    if attached.on_reject == "flag":
        return Ruling(kind="pass", matched=False, flag=f"rejected by {attached.name}{said}")
    if attached.on_reject == "correct" and verdict.corrected is not None:
        return _correction(verdict, record)
    if record.retried or not may_be_repeated(record):
        why = "rejected again after it was repeated" if record.retried else "rejected, and its effect is not repeated"
        return Ruling(kind="pass", matched=False, flag=f"{why}, by {attached.name}{said}")
    return Ruling(kind="retry", matched=False)


def may_be_repeated(record: Record) -> bool:
    """Whether the node may be executed again although its first execution stands."""
    return record.effects != "irreversible"


def _correction(verdict: Verdict, record: Record) -> Ruling:
    attached = record.place.attached
    assert attached is not None
    try:
        corrected = verdict.corrected
        update = write_text(record.raw, corrected, node=record.place.node) if isinstance(corrected, str) else corrected
    except InjectionError as error:  # run_verifier has looked already
        return Ruling(kind="doom", error=VerifierError(str(error)))
    before, after = read_text(record.raw), read_text(update)
    category = attached.category or category_of(before, record.raw, _task(record.calls))
    if before == after or same_meaning(before, after, category):
        return Ruling(kind="pass")
    return Ruling(kind="correct", matched=False, correction=update)


def subject_of(record: Record, prices: Prices) -> Subject:
    """What a verifier is given of an execution."""
    attached = record.place.attached
    last = record.calls[-1] if record.calls else None
    return Subject(
        node=record.place.node,
        task=_task(record.calls),
        prompt=[{"role": message.role, "content": message.text} for message in last.messages] if last else [],
        inputs=record.value,
        text=read_text(record.raw),
        output=record.raw,
        category=attached.category if attached else None,
        model=last.model if last else None,
        settings=dict(last.parameters) if last else {},
        base_url=_own_server(last),
        effects=record.effects,
        prices=prices,
    )


def spent(told: Usage, seen: Usage) -> Usage:
    """What a verification used: as it was told, or as it was seen on the wire where that is more."""
    return seen if seen.calls > told.calls else told


def _failed(failure: VerifierFailure) -> VerifierError:
    error = VerifierError(f"{failure.message}, and the policy fails closed (on_failure)")
    error.__cause__ = failure.error
    return error


def _task(calls: Sequence[ModelCall]) -> str:
    """The system text of the node's first model call."""
    return "\n\n".join(m.text for m in calls[0].messages if m.role in _SYSTEM) if calls else ""


def _own_server(call: ModelCall | None) -> str | None:
    """Where the node's own model is served, if that is this machine; elsewhere it takes keys that are not ours to send.

    Only host and port were seen; servers of the OpenAI dialect are under `/v1` there.
    """
    if call is None or not call.api.startswith("openai") or not call.address or not is_loopback(call.address):
        return None
    return f"{call.address}/v1"
