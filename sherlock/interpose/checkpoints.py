"""What savers need to know of LangGraph's checkpoints: copies of one's own, and how namespaces name their tasks."""

import copy
from collections.abc import Callable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import (
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_RESUMING,
    NS_END,
    NS_SEP,
    NULL_TASK_ID,
)
from langgraph.checkpoint.base import Checkpoint, CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot

__all__ = [
    "NULL_TASK_ID",
    "Key",
    "begin_anew_unless_begun",
    "container",
    "is_transient",
    "key_of",
    "own_checkpoint",
    "own_values",
    "shallow",
]

Key = tuple[str, str]
"""Thread and checkpoint namespace: one line of checkpoints."""


def own_checkpoint(checkpoint: Checkpoint, own: Callable[[Any], Any]) -> Checkpoint:
    """A copy of `checkpoint` that nothing else changes: LangGraph goes on working in what it saved or loaded."""
    mine = checkpoint.copy()
    mine["channel_values"] = {channel: own(value) for channel, value in checkpoint["channel_values"].items()}
    mine["channel_versions"] = dict(checkpoint["channel_versions"])
    mine["versions_seen"] = {node: dict(seen) for node, seen in checkpoint["versions_seen"].items()}
    return mine


def own_values(checkpoint: Checkpoint, own: Callable[[Any], Any]) -> Checkpoint:
    """As `own_checkpoint`, for a checkpoint that LangGraph has copied for its saver already: all but the values."""
    values = checkpoint["channel_values"]
    for channel, value in values.items():
        values[channel] = own(value)
    return checkpoint


def shallow(value: Any) -> Any:
    """A container of one's own with the same contents: reducers extend in place what they were given."""
    if isinstance(value, list | set | dict):
        return copy.copy(value)
    if isinstance(value, _DeltaSnapshot):
        return _DeltaSnapshot(shallow(value.value))
    return value


def key_of(config: RunnableConfig) -> Key:
    """The line of checkpoints that `config` addresses."""
    configurable = config.get("configurable", {})
    return str(configurable.get("thread_id", "")), configurable.get("checkpoint_ns") or ""


def is_transient(ns: str) -> bool:
    """Whether the namespace belongs to one task, so that nothing reads it once its task is done.

    A subgraph compiled with `checkpointer=True` keeps one namespace, without task ids, for the whole thread.
    """
    return NS_END in ns


def container(ns: str) -> tuple[str, str]:
    """The namespace that a transient one stands in, and the id of the task there that runs it."""
    parts = ns.split(NS_SEP)
    while parts[-1].isdigit():  # a task's second subgraph and later ones are numbered
        parts.pop()
    return NS_SEP.join(parts[:-1]), parts[-1].rpartition(NS_END)[2]


def begin_anew_unless_begun(config: RunnableConfig, head: CheckpointTuple | None) -> None:
    """Let a subgraph that loads `head` take its input, unless `head` is of the very superstep that is resumed.

    A resumed graph tells every subgraph of its first superstep to resume. One that keeps its namespace for the whole
    thread would then go on from the end of an earlier visit, and pass its input over. `config` is the dict that
    LangGraph reads this from after loading.
    """
    configurable = config.get("configurable", {})
    ns, enclosing = configurable.get("checkpoint_ns"), configurable.get(CONFIG_KEY_CHECKPOINT_MAP) or {}
    if head is None or not ns or is_transient(ns) or ns in enclosing:
        return
    if configurable.get(CONFIG_KEY_RESUMING) and head.metadata.get("parents") != enclosing:
        configurable[CONFIG_KEY_RESUMING] = False
