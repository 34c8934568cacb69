"""OpenTelemetry spans of a guarded run, made from its events; nothing is imported, or done, unless somebody traces.

    sherlock.run                one for each run; a child of the span that was current where the run was started
    ├── sherlock.verification   from the question to the verdict; what the verifier does is below it
    ├── sherlock.speculation    from the end of a verified node to its verdict: what was done meanwhile
    └── sherlock.rollback       from the rejection until the run goes on

Times are those of the events, so that spans and reports agree. Texts are left out unless they are asked for.
"""

import contextlib
import os
import sys
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from sherlock.runtime.events import (
    Event,
    ExecutionEnded,
    ExecutionStarted,
    Flagged,
    RolledBack,
    RunFinished,
    VerdictReached,
    VerificationStarted,
    VerifierFailed,
    shows_texts,
)
from sherlock.runtime.savings import follows, savings
from sherlock.usage import Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

Attributes = dict[str, str | bool | int | float]


class RunTrace:
    """The spans of one run. `take` is to be told its events, in their order.

    `placed`: the nodes whose outputs are verified while the run goes on.
    """

    def __init__(self, tracer: "Tracer", run_id: str, graph: str, placed: Collection[str] = ()) -> None:
        from opentelemetry import trace

        self._tracer = tracer
        self._placed = placed
        self._texts = shows_texts("span")
        self._began_ns = time.time_ns()
        self._at_s = 0.0
        about: Attributes = {"sherlock.run_id": run_id, "sherlock.graph": graph}
        self._span = tracer.start_span("sherlock.run", start_time=self._began_ns, attributes=about)
        self._inside = trace.set_span_in_context(self._span)
        self._verifications: dict[str, Span] = {}
        self._speculations: dict[str, _Speculation] = {}
        self._lost: list[_Speculation] = []
        """Rolled back; what was wasted by it comes to light as the run goes on."""
        self._rollback: Span | None = None
        self._events: list[Event] = []
        self.failure: BaseException | None = None
        """What the run raises."""

    @classmethod
    def begin(cls, run_id: str, graph: str, placed: Collection[str] = ()) -> "RunTrace | None":
        """The trace of a run that begins here and now; None unless a tracer provider is set."""
        if "opentelemetry.trace" not in sys.modules and "OTEL_PYTHON_TRACER_PROVIDER" not in os.environ:
            return None
        try:
            from opentelemetry import trace
        except ImportError:
            return None
        provider = trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
            return None
        return cls(provider.get_tracer("sherlock"), run_id, graph, placed)

    @contextlib.contextmanager
    def verifying(self, execution_id: str) -> Iterator[None]:
        """Let the verification's span be the current one in this block; it ends here if there is no verdict."""
        span = self._verifications[execution_id]
        try:
            with _current(span):
                yield
        except BaseException:
            self._verifications.pop(execution_id, None)
            self._end(span, self._at_s, {"sherlock.outcome": "cancelled"})
            raise

    def take(self, event: Event) -> None:
        """Take in an event."""
        self._at_s = event.at_s
        if isinstance(event, ExecutionEnded | VerdictReached | VerifierFailed | RolledBack):
            self._events.append(event)
        match event:
            case ExecutionStarted() | ExecutionEnded():
                self._execution(event)
            case VerificationStarted():
                self._ask(event)
            case VerdictReached() | VerifierFailed():
                self._answer(event)
            case Flagged():
                self._decided(event.execution_id, "commit", flagged=True)
            case RolledBack():
                self._roll_back(event)
            case RunFinished():
                self._finish(event)

    def resumed(self, at_s: float) -> None:
        """The run goes on after a rollback."""
        if self._rollback is not None:
            self._end(self._rollback, at_s)
            self._rollback = None

    def wasted(self, execution_id: str) -> None:
        """An execution was thrown away."""
        if self._lost:
            self._lost[-1].wasted += 1
        self._decided(execution_id, "void")

    def _execution(self, event: ExecutionStarted | ExecutionEnded) -> None:
        for label, speculation in self._speculations.items():
            if follows(event.execution_id, label):
                speculation.moved(event)
        if isinstance(event, ExecutionEnded) and event.error is None and event.node in self._placed:
            self._speculate(event)

    def _speculate(self, event: Event) -> None:
        span = self._start("sherlock.speculation", event)
        self._speculations[event.execution_id] = _Speculation(span)

    def _ask(self, event: VerificationStarted) -> None:
        span = self._start("sherlock.verification", event, {"sherlock.verifier": event.verifier})
        self._verifications[event.execution_id] = span
        if self._placed and event.execution_id not in self._speculations:
            self._speculate(event)  # verified once more, for its input has changed

    def _answer(self, event: VerdictReached | VerifierFailed) -> None:
        from opentelemetry.trace import StatusCode

        if (speculation := self._speculations.get(event.execution_id)) is not None:
            speculation.verdict_s = event.at_s
        if (span := self._verifications.pop(event.execution_id, None)) is None:
            return  # a correction that the graph could not take in
        about = _spent(event.usage)
        if isinstance(event, VerdictReached):
            about |= {"sherlock.accepted": event.accepted, "sherlock.matched": event.matched}
            span.add_event("gen_ai.evaluation.result", self._evaluation(event), self._ns(event.at_s))
            if event.matched:
                self._decided(event.execution_id, "commit")
        else:
            about["error.type"] = event.reason
            span.set_status(StatusCode.ERROR, event.message if self._texts else None)
        self._end(span, event.at_s, about)

    def _evaluation(self, event: VerdictReached) -> Attributes:
        """The verdict in the terms of OpenTelemetry's conventions for generative AI."""
        said: Attributes = {
            "gen_ai.evaluation.name": event.verifier,
            "gen_ai.evaluation.score.label": "pass" if event.accepted else "fail",
        }
        if self._texts:
            said |= {"gen_ai.evaluation.explanation": event.rationale, "sherlock.before": event.before}
            if event.after is not None:
                said["sherlock.after"] = event.after
        return said

    def _roll_back(self, event: RolledBack) -> None:
        self.resumed(event.at_s)  # of an earlier rollback, where this one comes before that has gone on
        about: Attributes = {"sherlock.step": event.step, "sherlock.retry": event.retry}
        self._rollback = self._start("sherlock.rollback", event, about)
        if (speculation := self._speculations.pop(event.execution_id, None)) is not None:
            speculation.stop(event.at_s)
            self._lost.append(speculation)

    def _decided(self, execution_id: str, outcome: str, *, flagged: bool = False) -> None:
        if (speculation := self._speculations.pop(execution_id, None)) is not None:
            speculation.stop(self._at_s)
            self._end(speculation.span, speculation.ended_s, speculation.figures(outcome, flagged=flagged))

    def _finish(self, event: RunFinished) -> None:
        from opentelemetry.trace import StatusCode

        self.resumed(event.at_s)
        for span in self._verifications.values():
            self._end(span, event.at_s, {"sherlock.outcome": "cancelled"})
        for label, speculation in list(self._speculations.items()):
            # A verdict that moved nothing: the output was corrected before the run had come to it again.
            is_patch = speculation.verdict_s is not None and event.report.end != "failed"
            self._decided(label, "patch" if is_patch else "void")
        for speculation in self._lost:
            self._end(speculation.span, speculation.ended_s, speculation.figures("rollback"))
        if event.report.end == "failed":
            text = str(self.failure) if self._texts and self.failure is not None else None
            self._span.set_status(StatusCode.ERROR, text)
            self._span.set_attribute("error.type", type(self.failure).__qualname__)
        self._end(self._span, event.at_s, self._totals(event))

    def _totals(self, event: RunFinished) -> Attributes:
        report = event.report
        saved_s = savings(self._events).blocking_s - report.t_vrf_s
        return {
            "sherlock.end": report.end,
            "sherlock.blocking": report.blocking,
            "sherlock.t_exec_s": report.t_exec_s,
            "sherlock.t_vrf_s": report.t_vrf_s,
            "sherlock.saved_s": 0.0 if report.blocking else max(0.0, saved_s),
            "sherlock.verdicts": len(report.verdicts),
            "sherlock.rollbacks": report.rollbacks,
            "sherlock.flagged": len(report.flagged),
            "sherlock.node_executions": report.node_executions,
            "sherlock.wasted_executions": report.wasted_executions,
            **_spent(report.usage.verifiers),
        }

    def current(self) -> "contextlib.AbstractContextManager[object]":
        """Let the run's span be the current one in a block."""
        return _current(self._span)

    def _start(self, name: str, event: Event, more: Attributes | None = None) -> "Span":
        about = {"sherlock.node": event.node, "sherlock.execution_id": event.execution_id, **(more or {})}
        return self._tracer.start_span(name, self._inside, start_time=self._ns(event.at_s), attributes=about)

    def _end(self, span: "Span", at_s: float, more: Attributes | None = None) -> None:
        span.set_attributes(more or {})
        span.end(self._ns(at_s))

    def _ns(self, at_s: float) -> int:
        return self._began_ns + int(at_s * 1e9)


class _Speculation:
    """What followed a verified node while its verdict was awaited.

    The overlap is the time in which anything that follows it in the run was being executed, until the verdict.
    """

    def __init__(self, span: "Span") -> None:
        self.span = span
        self.verdict_s: float | None = None
        self.ended_s = 0.0
        self.wasted = 0
        self._running: set[str] = set()
        self._since_s = 0.0
        self._overlap_s = 0.0

    def moved(self, event: ExecutionStarted | ExecutionEnded) -> None:
        """Something that follows begins or ends."""
        if isinstance(event, ExecutionStarted):
            if not self._running:
                self._since_s = event.at_s
            self._running.add(event.execution_id)
        elif event.execution_id in self._running:
            self._running.remove(event.execution_id)
            if not self._running:
                self._overlap_s += event.at_s - self._since_s

    def stop(self, at_s: float) -> None:
        """It is over: when the verdict came, or, where there is none, now."""
        self.ended_s = at_s if self.verdict_s is None else self.verdict_s
        if self._running:
            self._overlap_s += max(0.0, self.ended_s - self._since_s)
            self._running.clear()

    def figures(self, outcome: str, *, flagged: bool = False) -> Attributes:
        """`outcome`: `commit`, `rollback`, `patch`, or `void`: rolled back with something before it, or cut short."""
        return {
            "sherlock.outcome": outcome,
            "sherlock.flagged": flagged,
            "sherlock.overlap_s": self._overlap_s,
            "sherlock.saved_s": self._overlap_s if outcome == "commit" else 0.0,
            "sherlock.wasted_executions": self.wasted,
        }


def _current(span: "Span") -> "contextlib.AbstractContextManager[object]":
    from opentelemetry import trace

    return trace.use_span(span, record_exception=False, set_status_on_exception=False)


def _spent(usage: Usage) -> Attributes:
    """What a verifier's models used, as the conventions for generative AI call it; nothing if none was asked."""
    if not usage.calls:
        return {}
    spent: Attributes = {
        "sherlock.model_calls": usage.calls,
        "gen_ai.usage.input_tokens": usage.tokens_in,
        "gen_ai.usage.output_tokens": usage.tokens_out,
        "gen_ai.usage.cache_read.input_tokens": usage.tokens_cached,
    }
    if usage.usd is not None:
        spent["sherlock.usd"] = usage.usd
    return spent
