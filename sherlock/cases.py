"""Test cases: what goes in, what should come out, and how they are read from JSON Lines."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Case:
    """One input of the workflow, with what is known about the right answer.

    `inputs` is what the graph is invoked with; a list means successive turns on one thread. `references` maps node
    names to gold text for that node's output. `resume` answers the case's interrupts, in order.
    """

    inputs: Any
    expected: Any = None
    references: Mapping[str, str] | None = None
    id: str | None = None
    tags: Sequence[str] = ()
    config: Mapping[str, Any] | None = None
    context: Any = None
    resume: Sequence[Any] = field(default=())
