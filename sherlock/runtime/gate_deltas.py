"""Rebuilds a `DeltaChannel`: its value is a sum of the writes on the line back to the last stored value."""

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple, DeltaChannelHistory, PendingWrite


class DeltaWalk:
    """Collects the writes of `channels`, newest ancestor first, until each has a value to start from."""

    def __init__(self, channels: Sequence[str]) -> None:
        self._writes: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
        self._seeds: dict[str, Any] = {}

    @property
    def remaining(self) -> list[str]:
        """The channels that still need older checkpoints."""
        return [channel for channel in self._writes if channel not in self._seeds]

    def visit(self, saved: CheckpointTuple) -> None:
        """Add one ancestor; its value, if it has one, stands before its own writes."""
        remaining = self.remaining
        for write in reversed(saved.pending_writes or []):
            if write[1] in remaining:
                self._writes[write[1]].append(write)
        values = saved.checkpoint["channel_values"]
        self._seeds.update((channel, values[channel]) for channel in remaining if channel in values)

    def continue_with(self, older: Mapping[str, DeltaChannelHistory]) -> None:
        """Add what a saver knows of everything before the last ancestor visited."""
        for channel, history in older.items():
            self._writes[channel].extend(reversed(history["writes"]))
            if "seed" in history:
                self._seeds[channel] = history["seed"]

    @property
    def histories(self) -> dict[str, DeltaChannelHistory]:
        """What LangGraph replays, oldest write first."""
        found: dict[str, DeltaChannelHistory] = {}
        for channel, writes in self._writes.items():
            found[channel] = {"writes": writes[::-1]}
            if channel in self._seeds:
                found[channel]["seed"] = self._seeds[channel]
        return found
