"""Marks: small durable records beside a task, of which LangGraph knows nothing.

LangGraph drops what it does not know among a task's own writes, and savers never overwrite a write. So a mark has an
id of its own, made from the task's id and the mark's channel, and is written once.
"""

from typing import Any
from uuid import UUID, uuid5

from langgraph.checkpoint.base import CheckpointTuple

CLAIM = "__sherlock_claim__"
"""An effect is about to happen."""

RESULT = "__sherlock_result__"
"""What the effect returned."""

RELEASED = "__sherlock_released__"
"""The node that has the claim waits for a person, and will begin again by design."""

VERIFIED = "__sherlock_verified__"
"""The task's stored writes have been verified."""

_CHANNELS = frozenset((CLAIM, RELEASED, RESULT, VERIFIED))


def mark_id(task_id: str, channel: str) -> str:
    """The id under which the mark of this channel is kept for the task."""
    return str(uuid5(UUID(task_id), channel))


def marks(saved: CheckpointTuple) -> dict[str, Any]:
    """The marks stored with a checkpoint, by `mark_id`."""
    return {task_id: value for task_id, channel, value in saved.pending_writes or () if channel in _CHANNELS}
