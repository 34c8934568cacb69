"""The books of one run: its events as they are told, and the report at its end."""

import logging
from collections.abc import Callable
from typing import TypeVar

from sherlock.runtime.events import (
    Event,
    Flagged,
    RolledBack,
    RunReport,
    RunUsage,
    VerdictReached,
    VerifierFailed,
    plain,
    shows_texts,
    without_texts,
)
from sherlock.runtime.record import Record
from sherlock.runtime.tracing import RunTrace
from sherlock.usage import NO_USAGE, Usage

_log = logging.getLogger("sherlock")
T = TypeVar("T", bound=Event)


class Ledger:
    """Takes down what happens in a run, and tells `on_event`, the log, and the run's `trace` if there is one."""

    def __init__(self, run_id: str, on_event: Callable[[Event], None] | None) -> None:
        self.run_id = run_id
        self.executions = 0
        self.node_usage: Usage = NO_USAGE
        self.verifier_usage: Usage = NO_USAGE
        self.resumed_s: float | None = None
        """When the run last went on after a rollback, until the first node runs again."""
        self.end = "cancelled"
        self.notes: list[str] = []
        self.trace: RunTrace | None = None
        self._on_event = on_event
        self._events: list[Event] = []
        self._wasted: list[str] = []
        self.t_exec_s = 0.0
        self._t_vrf = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether nobody listens."""
        return self._on_event is None and self.trace is None and not _log.isEnabledFor(logging.DEBUG)

    def tell(self, event: Event) -> None:
        """Keep an event and hand it on. What the callback raises is logged, and harms nothing."""
        if isinstance(event, VerdictReached | VerifierFailed | RolledBack | Flagged):
            self._events.append(event)
        _logged(event)
        if self.trace is not None:
            self.trace.take(event)
        if self._on_event is not None:
            try:
                self._on_event(event)
            except Exception:  # noqa: BLE001  (a callback may raise anything)
                _log.exception("the callback on_event raised at %s", type(event).__name__)

    def wasted(self, record: Record) -> None:
        """An execution was thrown away."""
        self._wasted.append(record.label)
        if self.trace is not None:
            self.trace.wasted(record.label)

    def kept(self, record: Record) -> None:
        """An execution is final."""
        self.t_exec_s = max(self.t_exec_s, record.ended_s)

    def resumed(self, at_s: float) -> None:
        """An attempt begins again."""
        self.resumed_s = at_s
        if self.trace is not None:
            self.trace.resumed(at_s)

    def ended(self, end: str, at_s: float) -> None:
        """The run has ended, all verdicts in."""
        self.end, self._t_vrf = "failed" if end == "error" else end, at_s

    def report(self, at_s: float, *, blocking: bool = False) -> RunReport:
        """All of it. `blocking`: the run could not go on past verification."""
        rolled_back = self._of(RolledBack)
        return RunReport(
            run_id=self.run_id,
            t_exec_s=self.t_exec_s,
            t_vrf_s=self._t_vrf or at_s,
            verdicts=self._of(VerdictReached),
            failures=self._of(VerifierFailed),
            rolled_back=rolled_back,
            rollbacks=len(rolled_back),
            node_executions=self.executions,
            wasted_executions=len(self._wasted),
            flagged=self._of(Flagged),
            usage=RunUsage(nodes=self.node_usage, verifiers=self.verifier_usage),
            blocking=blocking,
            notes=tuple(self.notes),
            end=self.end,
        )

    def _of(self, kind: type[T]) -> tuple[T, ...]:
        return tuple(event for event in self._events if isinstance(event, kind))


def _logged(event: Event) -> None:
    """Log an event; texts of outputs are left out unless the environment asks for them."""
    if not _log.isEnabledFor(logging.WARNING):
        return
    if isinstance(event, VerifierFailed):
        why = event.message if shows_texts("event") else f"the verifier {event.verifier!r} failed ({event.reason})"
        _log.warning("node %s was not verified in run %s: %s", event.node, event.run_id, why)
    elif isinstance(event, Flagged):
        why = f": {event.why}" if shows_texts("event") else ""
        _log.warning("an output of node %s stays, flagged, in run %s%s", event.node, event.run_id, why)
    elif isinstance(event, RolledBack):
        again = "executed again" if event.retry else "corrected"
        _log.info(
            "node %s was rejected, and is %s, in run %s: back to step %d", event.node, again, event.run_id, event.step
        )
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s", plain(event) if shows_texts("event") else without_texts(event))
