"""What a guarded run tells: events as they happen, and a report at its end."""

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from sherlock.usage import NO_USAGE, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in the run `run_id`, `at_s` seconds after it began, to one node execution.

    `node` is the full name (`parent/child` inside subgraphs) and `execution_id` is unique within the run; both are
    empty where an event concerns the run as a whole.
    """

    run_id: str
    node: str = ""
    execution_id: str = ""
    at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionStarted(Event):
    """A node begins to execute; `step` is its superstep in the outermost graph."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionEnded(Event):
    """A node has executed, in `seconds`; `error` says what it raised."""

    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationStarted(Event):
    """A verifier was asked."""

    verifier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReached(Event):
    """A verifier has answered, after `seconds`, and spent `usage`.

    `matched`: the output stays as it is: accepted, or corrected to what says the same. `before` and `after` are the
    texts of the output and of its correction (None without one).
    """

    verifier: str
    accepted: bool
    matched: bool
    seconds: float
    rationale: str = ""
    before: str = ""
    after: str | None = None
    usage: Usage = NO_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierFailed(Event):
    """A verifier gave no verdict; what that comes to is the policy's `on_failure`.

    `reason`: it `raised`, it `timed_out`, a model's answer was `unreadable`, it returned `no_verdict`, its correction
    was `uncastable` to what the node writes, or was `refused` by the graph.
    """

    verifier: str
    message: str
    seconds: float
    reason: str = "refused"
    usage: Usage = NO_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Event):
    """Everything up to the superstep `step` is final.

    `ids`: with `stream="mark"`, the chunks given out that are final with it.
    """

    step: int
    ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack(Event):
    """What followed a rejected output was discarded.

    The run goes on from the superstep `step`, with the correction in place or, if `retry`, with the node executed once
    more. `discarded`: the node executions, running ones included, that stood on it.
    """

    step: int
    retry: bool = False
    discarded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagged(Event):
    """An output stays although nobody vouches for it; `why` says how that came."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUsage:
    """What a run spent: in its nodes, work that was thrown away included, and in its verifiers."""

    nodes: Usage = NO_USAGE
    verifiers: Usage = NO_USAGE


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What happened in one run.

    `t_exec_s`: seconds until the last execution that was kept had ended; `t_vrf_s`: until the last verdict was in and
    all was committed. `verdicts`, `failures`, `rolled_back`, `flagged`: the events. `node_executions` counts re-runs,
    and no replays; `wasted_executions` of them were thrown away. `blocking`: the guard could not run past
    verification, for the reason given in `notes`. `end`: `done`, `interrupted`, `failed` or `cancelled`.
    """

    run_id: str
    t_exec_s: float = 0.0
    t_vrf_s: float = 0.0
    verdicts: tuple[VerdictReached, ...] = ()
    failures: tuple[VerifierFailed, ...] = ()
    rolled_back: tuple[RolledBack, ...] = ()
    rollbacks: int = 0
    node_executions: int = 0
    wasted_executions: int = 0
    flagged: tuple[Flagged, ...] = ()
    usage: RunUsage = field(default_factory=RunUsage)
    blocking: bool = False
    notes: tuple[str, ...] = ()
    end: str = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The run has ended."""

    report: RunReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisional(Event):
    """With `stream="mark"`: chunks given out before they were verified.

    `ids` are their positions in the stream, from 0, the chunks of the mode `sherlock` not counted.
    """

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Retracted(Event):
    """With `stream="mark"`: chunks given out that were rolled back."""

    ids: tuple[int, ...]


_TEXTS = ("before", "after", "rationale", "message", "why", "error")


def shows_texts(where: Literal["span", "event"]) -> bool:
    """Whether the environment asks for prompts and outputs in traces (`span`) or in logs (`event`).

    It does so as OpenTelemetry has it for generative AI: `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`.
    """
    asked = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").strip().lower()
    return asked in ("true", "1", "span_and_event", f"{where}_only")


def without_texts(event: Event) -> dict[str, Any]:
    """An event as a mapping, with its kind; what holds texts of outputs, or may quote them, is left out."""
    return {name: value for name, value in plain(event).items() if name not in (*_TEXTS, "report")}


def plain(event: Event) -> dict[str, Any]:
    """An event as a mapping, with its kind, for logs and `--json`."""
    from dataclasses import asdict

    return {"event": type(event).__name__, **asdict(event)}
