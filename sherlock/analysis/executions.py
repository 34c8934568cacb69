"""What is recorded of a run: node executions, the lines they form, and the places from which a line can be resumed."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata
from langgraph.store.base import PutOp

from sherlock.cases import Case
from sherlock.interpose.calls import Message, ModelCall
from sherlock.interpose.nodes import Address
from sherlock.usage import NO_USAGE, Usage

OWN = object()
"""Marks an injection that leaves the node its own update."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A finished node execution: private copies of what went in and came out, and what it took and cost.

    `answers`: which of the case's answers to interrupts it used up. `writes`: what it put into the store.
    """

    address: Address
    node: str
    value: Any
    update: Any
    input_digest: str
    update_digest: str
    calls: tuple[ModelCall, ...] = ()
    latency_s: float = 0.0
    answers: tuple[int, ...] = ()
    writes: tuple[PutOp, ...] = ()
    is_container: bool = False


@dataclass(frozen=True, slots=True)
class Injection:
    """What a replay changes at one execution: its update, or its input, or its models' messages; or nothing."""

    update: Any = OWN
    change_input: Callable[[Any], Any] | None = None
    rewrite: Callable[[tuple[Message, ...]], Sequence[Message]] | None = None


SHAM = Injection()


@dataclass(slots=True, kw_only=True)
class Line:
    """How a run, or a replay, went.

    `states` maps a superstep to the digest of the state after it. `text` is the output as text, cut to what is shown.
    `node_executions` counts leaf nodes that were really executed, results of `Shared` apart: those asked for are in
    `shared`. `usage` counts every model call, `spent` those that were really made. Where a node raised and ended the
    line, what ran beside it is left out of all but `spent`: how far it got was a matter of time.
    """

    executions: dict[Address, Execution] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)
    output: Any = None
    text: str = ""
    score: float = 0.0
    error: str | None = None
    masked: bool = False
    unanswered: str | None = None
    node_executions: int = 0
    shared: set[str] = field(default_factory=set)
    usage: Usage = NO_USAGE
    spent: Usage = NO_USAGE
    evidence: list[tuple[str, bool]] = field(default_factory=list)
    """For each execution that met the input of the clean run again: its node, and whether its update was the same."""
    visited: set[Address] = field(default_factory=set)
    """The leaf executions that were begun, shared ones included."""
    live: set[str] = field(default_factory=set)
    """The nodes that made model calls which no recording answers, they or the routers that leave them."""
    same_path: bool = True
    """Whether the executions, shared ones included, were those of the clean run."""


@dataclass(frozen=True, slots=True)
class Start:
    """A place to resume from: the checkpoint after a superstep, and how much of the case was used up by then.

    `turn`: which of the inputs; `answers`, `writes`: how many of the answers and of the run's store writes; `began`:
    the superstep at which the invocation began, from which LangGraph counts its recursion limit.
    """

    checkpoint: Checkpoint | None = None
    metadata: CheckpointMetadata | None = None
    turn: int = 0
    answers: int = 0
    writes: int = 0
    began: int = -1


@dataclass(slots=True, kw_only=True)
class CleanRun(Line):
    """The recorded run of a case, with the checkpoints that replays start from.

    `writes`: all that was put into the store, in order. `failures`: what nodes raised that an error handler dealt
    with; they are in memory only, such nodes run again in replays of a run that was read back from a file.
    """

    case: Case
    starts: dict[int, Start] = field(default_factory=dict)
    writes: list[PutOp] = field(default_factory=list)
    failures: dict[Address, Exception] = field(default_factory=dict)
    recursion_limit: int | None = None


def node_of(address: Address) -> str:
    """The full name of the node at `address`."""
    return "/".join(name.replace("/", "//") for _, name, _ in address)


def is_sent(address: Address) -> bool:
    """Whether `Send` started the execution at `address`: its input is a packet, not the state."""
    return address[-1][2] >= 0


def private(value: Any) -> Any:
    """A deep copy, so that a node that changes what it was given changes nobody else's; else the value itself."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001  (clients, locks, generators: anything may refuse to be copied)
        return value
