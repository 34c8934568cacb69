"""Context loss: a node is given less than the nodes before it put out, or in another order.

Each returns the new history, or None where the history is too short to lose that much.
"""

import random

from sherlock.analysis.fault_model import FaultContext


def history_gone(_text: str, _rng: random.Random, ctx: FaultContext) -> list[str] | None:
    """Nothing of the history arrives: a hand-over that forgot the context, a conversation reset."""
    return [] if _parts(ctx) else None


def history_halved(_text: str, rng: random.Random, ctx: FaultContext) -> list[str] | None:
    """A random half is lost: a context window that was cut, a retriever that missed passages."""
    history = ctx.history
    if len(_parts(ctx)) < 2:
        return None
    kept = set(rng.sample(range(len(history)), len(history) // 2))
    halved = [part for index, part in enumerate(history) if index in kept]
    return _if_changed(halved, ctx)


def nearest_kept(_text: str, _rng: random.Random, ctx: FaultContext) -> list[str] | None:
    """Only the nearest part is left: a memory that holds the last turn and nothing before it."""
    return _if_changed(ctx.history[-1:], ctx) if len(_parts(ctx)) >= 2 else None


def history_shuffled(_text: str, rng: random.Random, ctx: FaultContext) -> list[str] | None:
    """Everything arrives, in another order: results joined as they came in, not as they were asked for."""
    history = ctx.history
    if len(set(_parts(ctx))) < 2:
        return None
    shuffled = rng.sample(history, len(history))
    # a rotation is never the same list when two items differ, a shuffle may be
    rotations = ([*history[k:], *history[:k]] for k in range(1, len(history)))
    return next((order for order in (shuffled, *rotations) if _if_changed(order, ctx)), None)


def _parts(ctx: FaultContext) -> list[str]:
    return [part for part in ctx.history if part.strip()]


def _if_changed(history: list[str], ctx: FaultContext) -> list[str] | None:
    return history if [part for part in history if part.strip()] != _parts(ctx) else None
