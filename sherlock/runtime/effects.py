"""What a guarded run does about effects on the world: keys that are the same after a crash, and undoing.

An irreversible node is executed at most once for each key: see `effects_claims` for what is stored, and when, and
docs/decisions/0009 for why. What becomes of an effect of which nobody knows whether it happened is in
`effects_question`.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.errors import GraphInterrupt

from sherlock.canonical import digest
from sherlock.errors import NotRevertible
from sherlock.interpose.nodes import Visit, precedes, show_address
from sherlock.runtime.effects_anchor import Anchor, anchor_of, saved_levels
from sherlock.runtime.effects_claims import Claim, Claims
from sherlock.runtime.effects_question import RUN_IT, settled
from sherlock.runtime.effects_tools import kind_of_calls
from sherlock.runtime.places import Place
from sherlock.runtime.record import Record
from sherlock.runtime.resume import untrusted
from sherlock.side_effects import called

if TYPE_CHECKING:
    from sherlock.runtime.run import Run

_log = logging.getLogger("sherlock")
_key: ContextVar[str | None] = ContextVar("sherlock_effect_key", default=None)

Node = Callable[[Any], Awaitable[Any]]


def effect_key() -> str | None:
    """The key of the effect that the node called from is about to have; None outside a guarded node with effects.

    It is the same when the run is resumed after a crash, and differs for every effect that is meant: pass it on as an
    idempotency key.
    """
    return _key.get()


class Superseded(Exception):
    """The attempt that an execution began in was over before the execution did anything: the next begins it again."""


class Effects:
    """The effects of one run."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self._claims = Claims(run)
        self._adopted: dict[str, Any] = {}
        """What nodes with effects had returned in an unguarded run before this one, by task id; not verified yet."""
        self._final: set[int] = set()
        """Executions that a claim stands on: they are stored, although their superstep has not ended."""
        self._undone: Counter[str] = Counter()

    def kind_of(self, place: Place, value: Any) -> str:
        """What the node may do to the world, given this input: a `ToolNode` no more than the tools that are called."""
        if place.tools is None or place.effect is None:
            return place.effects
        return kind_of_calls(place.tools, value) or place.effects

    async def take_up(self, saved: CheckpointTuple) -> None:
        """Look at what an earlier run on the thread has left: output of placed nodes that nobody has verified."""
        found = await untrusted(self.run, saved)
        self.run.gate.distrust(found.tasks)
        self._adopted = found.adopted

    async def execute(self, record: Record, visit: Visit, value: Any, node: Node) -> Any:
        """Execute the node with its key; an irreversible one only if that was not done before."""
        if record.task_id in self._adopted:
            return self._adopted[record.task_id]
        if record.effects == "none":
            return await node(value)
        if record.effects == "irreversible":
            return await self._once(record, visit, value, node)
        return await _with_key(self._key_of(record), node, value)

    def _key_of(self, record: Record) -> str:
        """The key of an effect that nothing durable stands for: its place in the thread makes it unique.

        An effect that was undone and is to be had again is another one.
        """
        place = [self._claims.thread, record.place.node, record.input_digest(), show_address(record.at)]
        undone = self._undone[digest(place)]
        return digest([*place, undone] if undone else place)

    async def _once(self, record: Record, visit: Visit, value: Any, node: Node) -> Any:
        anchor = anchor_of(visit, self.run.config, saved_levels(self.run.graph.nodes, record.place.node))
        claim = self._claims.of_this_run(anchor)
        if claim is None:
            await self._stand(record, anchor)
            claim = await self._claims.stored(anchor)
        if claim is None:
            claim = await self._claims.make(anchor, record, visit)
        elif claim.is_done:
            return claim.result
        elif claim.began_here:
            self._refuse_another_attempt(claim, record)  # else LangGraph's retry policy asks again, with the same key
        elif claim.was_released:
            claim.skip_answers(visit)
            claim = await self._claims.renew(claim, visit)
        else:
            resume = getattr(self.run.value, "resume", None)
            found = await settled(claim, record, visit, just_answered=resume is not None)
            if found is not RUN_IT:
                await self._claims.done(claim, found)
                return found
            claim = await self._claims.renew(claim, visit)
        return await self._perform(claim, record, value, node)

    def _refuse_another_attempt(self, claim: Claim, record: Record) -> None:
        if claim.error is not None and claim.attempt != record.began:
            raise claim.error

    async def _perform(self, claim: Claim, record: Record, value: Any, node: Node) -> Any:
        claim.attempt = record.began
        try:
            made = await _with_key(claim.key, node, value)
        except GraphInterrupt as error:  # the node waits for a person, and will be executed again by design
            claim.error = error
            await self._claims.release(claim)
            raise
        except Exception as error:
            claim.error = error
            raise
        await self._claims.done(claim, made)
        return made

    async def _stand(self, record: Record, anchor: Anchor) -> None:
        """Wait until all that leads to the node is stored, so that it is there when the claim is."""
        run, step = self.run, record.at[0][0]
        while run.gate.committed < step - 1:
            await run.moved()
        if run.gate.base is None:
            return
        while not await self._claims.is_put(anchor):
            if run.attempt != record.began:
                raise Superseded(f"node {record.place.node!r} begins again in the next attempt")
            await run.moved()
        before = [r for r in run.hook.records.values() if r.ended and precedes(r.at, record.at)]
        await run.store_writes(before)
        run.gate.verified_tasks.update(r.task_id for r in before if r.place.attached is not None)
        await run.gate.commit_path(step, anchor.namespaces)
        if not await self._claims.is_put(anchor):
            raise Superseded(f"node {record.place.node!r} begins again in the next attempt")
        self._final.update(r.id for r in before)

    def committed(self, done: list[Record]) -> None:
        """These executions are final."""
        self._final.difference_update(record.id for record in done)

    # Undoing

    async def undo(self, record: Record) -> None:
        """Take the effect of an execution back; the run fails if that is not possible."""
        if record.id in self._final:
            return  # the next attempt begins after it, so that the line does not come by any more
        if (error := await self._undo(record)) is not None:
            self.run.broken(error)

    async def undo_uncommitted(self) -> NotRevertible | None:
        """The run ends: take back, last first, what no checkpoint will remember. The first failure, if any."""
        left = [
            record
            for record in self.run.hook.records.values()
            if record.ended and record.effects == "compensable" and record.id not in self._final
        ]
        failures = []
        for record in sorted(left, key=lambda r: r.ended_s, reverse=True):
            self.run.hook.records.pop(record.id)
            failures.append(await self._undo(record))
        return next((failure for failure in failures if failure is not None), None)

    async def _undo(self, record: Record) -> NotRevertible | None:
        effect = record.place.effect
        if effect is None or effect.undo is None:
            return None
        try:
            await called(effect.undo, record.value, record.raw)
        except Exception as error:  # noqa: BLE001  (the user's function; the others are undone all the same)
            _log.exception("undo of node %r raised", record.place.node)
            failure = NotRevertible(
                f"the effect of node {record.place.node!r} could not be undone, its undo raised "
                f"{type(error).__name__}: {error}"
            )
            failure.__cause__ = error
            return failure
        place = [self._claims.thread, record.place.node, record.input_digest(), show_address(record.at)]
        self._undone[digest(place)] += 1
        return None


async def _with_key(key: str, node: Node, value: Any) -> Any:
    token = _key.set(key)
    try:
        return await node(value)
    finally:
        _key.reset(token)
