"""From the events of a run: what it would have taken if every verdict had been waited for, and what was thrown away.

An estimate. The executions that were kept are put one after another as LangGraph runs them: supersteps in their order,
what stands in one superstep side by side, inner supersteps within their node. Each takes its own seconds and those of
its verification, and once more for each time that a rejected output was made again. What LangGraph itself takes between
supersteps is left out, and work that was repeated is taken to take as long as it took the last time.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from sherlock.runtime.events import Event, ExecutionEnded, RolledBack, VerdictReached, VerifierFailed

_LEVEL = re.compile(r"(?<!/)/(?!/)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Seconds. `blocking_s`: estimated, if every verdict were waited for; `wasted_s`: of executions thrown away."""

    blocking_s: float
    wasted_s: float


@dataclass(slots=True)
class _Task:
    """A node, or a graph inside one, at its place."""

    seconds: float = 0.0
    inner: dict[int, dict[str, "_Task"]] = field(default_factory=lambda: defaultdict(dict))

    def total(self) -> float:
        steps = (max(task.total() for task in step.values()) for step in self.inner.values())
        return self.seconds + sum(steps)


def savings(events: Iterable[Event]) -> Savings:
    """What the events of one run come to."""
    events = list(events)
    took: dict[str, float] = {}
    for event in events:
        if isinstance(event, ExecutionEnded) and event.error is None:
            took[event.execution_id] = event.seconds
    verified = {e.execution_id: e.seconds for e in events if isinstance(e, VerdictReached | VerifierFailed)}
    again = {e.execution_id for e in events if isinstance(e, RolledBack) and e.retry}
    last = {place_of(label): label for label in took}  # a later execution at a place takes that of an earlier one
    whole = _Task()
    for label, seconds in took.items():
        if last[place_of(label)] == label or label in again:
            _task_at(whole, place_of(label)).seconds += seconds + verified.get(label, 0.0)
    wasted = sum(seconds for label, seconds in took.items() if last[place_of(label)] != label)
    return Savings(blocking_s=whole.total(), wasted_s=wasted)


def place_of(execution_id: str) -> str:
    """Where an execution stood: what an execution that takes its place has in common with it."""
    return execution_id.rpartition(":")[0]


def follows(execution_id: str, at: str) -> bool:
    """Whether one execution stands after another in the run, or within it; ids as events have them."""
    for (step, name), (its_step, its_name) in zip(_levels(place_of(execution_id)), _levels(place_of(at)), strict=False):
        if (step, name) != (its_step, its_name):
            return step > its_step
    return True


def _task_at(whole: _Task, place: str) -> _Task:
    task = whole
    for step, name in _levels(place):
        task = task.inner[step].setdefault(name, _Task())
    return task


def _levels(place: str) -> list[tuple[int, str]]:
    """The superstep and the node of each graph that encloses a place, outermost first."""
    levels = [level.partition(":") for level in _LEVEL.split(place)]
    return [(int(step), name) for step, _, name in levels]
