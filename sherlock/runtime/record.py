"""One node execution as the driver keeps it: what went in, what came out, what it streamed, wrote and cost."""

import asyncio
import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.store.base import PutOp

from sherlock.canonical import digest
from sherlock.interpose.calls import ModelCall
from sherlock.interpose.journal import StoreRead
from sherlock.interpose.nodes import Address, show_address
from sherlock.lens import written
from sherlock.runtime.places import Keys, Place


@dataclass(slots=True, kw_only=True)
class Record:
    """The execution `id` at `at`, which `began` in one attempt and is part of another.

    `raw` is what the node returned, `update` what the line goes on with. `value` is the input as it was, its containers
    copied one level deep. `effects`: what it may do to the world, given that input. `retried`: a verifier rejected the
    execution that stood here before, on the same input. `chunks`: what it streamed by itself.
    """

    id: int
    at: Address
    place: Place
    value: Any
    attempt: int
    began: int
    effects: str = "none"
    retried: bool = False
    task: "asyncio.Task[Any] | None" = None
    raw: Any = None
    update: Any = None
    ended: bool = False
    started_s: float = 0.0
    ended_s: float = 0.0
    calls: tuple[ModelCall, ...] = ()
    chunks: list[tuple[tuple[str, ...], str, Any]] = field(default_factory=list)
    writes: list[PutOp] = field(default_factory=list)
    store_reads: list[StoreRead] = field(default_factory=list)
    correction: Any = None
    error: Exception | None = None
    """Why the run must end, if the machine calls the execution doomed."""
    task_id: str = ""

    @property
    def label(self) -> str:
        """Its name in events: unique within the run."""
        return f"{show_address(self.at)}:{self.id}"

    def input_digest(self) -> str:
        """What stands for the whole input."""
        return digest(self.value)

    def same_reads(self, value: Any) -> bool:
        """Whether the node would be given the same again."""
        return _part(self.value, self.place.reads) == _part(value, self.place.reads)

    def same_inputs(self, value: Any) -> bool:
        """Whether a verifier would be shown the same again."""
        return digest(self.value) == digest(value)


def held(value: Any) -> Any:
    """The input as it is now: what a later superstep does to a list or mapping in the state is not done to this one."""
    if isinstance(value, dict):
        return {key: copy.copy(item) if isinstance(item, list | dict | set) else item for key, item in value.items()}
    return copy.copy(value) if isinstance(value, list | set) else value


def keys_of(update: Any) -> frozenset[str]:
    """The state keys that an update writes."""
    return frozenset(written(update))


def changed_keys(before: Any, after: Any) -> Keys:
    """The state keys in which two updates differ; None (all) where that cannot be told."""
    old, new = written(before), written(after)
    if "__root__" in old or "__root__" in new:
        return None
    missing = object()
    return frozenset(k for k in old.keys() | new.keys() if _differ(old.get(k, missing), new.get(k, missing)))


def _differ(a: Any, b: Any) -> bool:
    return a is not b and digest(a) != digest(b)


def _part(value: Any, keys: Keys) -> str:
    if keys is None:
        return digest(value)
    if isinstance(value, Mapping):
        return digest({key: value[key] for key in keys if key in value})
    missing = object()
    found = {key: getattr(value, key, missing) for key in keys}
    return digest({key: item for key, item in found.items() if item is not missing})
