"""LangGraph's attempts at a guarded run, and the chunks of their streams."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONF, CONFIG_KEY_CHECKPOINT_ID, CONFIG_KEY_RESUME_MAP
from langgraph.errors import ErrorCode, GraphRecursionError, create_error_message

from sherlock.errors import VerifierError
from sherlock.interpose.nodes import hooked
from sherlock.runtime import machine as m
from sherlock.runtime.chunks import step_of
from sherlock.runtime.events import Flagged, Provisional, Retracted, VerifierFailed
from sherlock.runtime.record import Record

if TYPE_CHECKING:
    from sherlock.runtime.run import Run


class Attempts:
    """The attempts of one run, one after another. `puts`: the supersteps that the current one has ended."""

    def __init__(self, run: "Run") -> None:
        self.run = run
        self.number = 0
        self.puts = 0
        self.error: BaseException | None = None
        self.pump: asyncio.Task[None] | None = None
        self._is_short_of_steps = False

    def launch(self) -> None:
        """Begin an attempt, at the gate's head."""
        self.number += 1
        self.puts = 0
        self.error = None
        self.run.hook.begun = self.run.machine.ended
        self.run.hook.raised.clear()
        self.pump = asyncio.ensure_future(self._pumped(self.number))

    async def _pumped(self, attempt: int) -> None:
        view = self.run.gate.view()
        twin = self.run.graph.attempt_of(view, self.run.store)
        value, config = (self.run.value, self.run.config) if attempt == 1 else (None, self._going_on())
        assert self.run.root is not None
        config = self.run.root.config(config)
        end: m.End | None = "done"
        chunks = None
        try:
            with hooked(self.run.hook), self.run.scope.active(), self.run.traced():
                chunks = cast(Any, twin).astream(
                    value,
                    config,
                    stream_mode=self.run.form.stream_mode,
                    subgraphs=self.run.form.subgraphs,
                    version=self.run.form.version,
                    durability="sync",
                    **self.run.options,
                )
                async for chunk in chunks:
                    self._take(chunk, attempt)
                    while not self.run.eager and (self.run.held.released or not self.run.pulling):
                        await self.run.moved()
            end = "interrupted" if self.run.root.interrupt is not None else "done"
        except asyncio.CancelledError:
            if not self.run.stopping:
                raise
            end = None
        except Exception as error:  # noqa: BLE001  (whatever the user's graph raises is how this attempt ends)
            self.error, end = _named(error, self.run.recursion_limit), "error"
        finally:
            if chunks is not None:
                await chunks.aclose()
            view.close()
        refused = self._refused() if end == "error" else ()
        if refused:
            end = None
        self.run.handle(m.AttemptEnded(end=end, refused=refused, doom=self.run.policy.on_failure == "closed"))

    def _refused(self) -> tuple[int, ...]:
        """The executions whose corrections made the graph raise, not one of its nodes: they count as failures.

        A reducer raises when the superstep ends, the state's own type when the next one begins.
        """
        error, ended = self.error, self.run.machine.ended
        if id(error) in self.run.hook.raised or isinstance(error, GraphRecursionError):
            return ()
        made = [r for r in self.run.hook.records.values() if r.update is not r.raw and r.at[0][0] in (ended, ended + 1)]
        for record in made:
            attached = record.place.attached
            assert attached is not None
            message = (
                f"the verifier {attached.name!r} on the node {record.place.node!r} returned a correction that the "
                f"graph could not take in: {type(error).__name__}: {error}"
            )
            self.run.tell(VerifierFailed, record, verifier=attached.name, message=message, seconds=0.0)
            record.update, record.correction = record.raw, None
            if self.run.policy.on_failure == "closed":
                record.error = VerifierError(f"{message}; the policy fails closed (on_failure)")
                record.error.__cause__ = error
            else:
                self.run.tell(Flagged, record, why=f"not verified: {message}")
        return tuple(record.id for record in made)

    def _going_on(self) -> RunnableConfig:
        """The config of an attempt that begins at the gate's head."""
        configurable = {**self.run.config[CONF]}
        configurable.pop(CONFIG_KEY_CHECKPOINT_ID, None)
        resume = getattr(self.run.value, "resume", None)
        if isinstance(resume, dict):
            configurable[CONFIG_KEY_RESUME_MAP] = resume
        assert self.run.recursion_limit is not None
        used = self.run.machine.ended - self.run.base_step
        self._is_short_of_steps = used >= self.run.recursion_limit
        return {**self.run.config, CONF: configurable, "recursion_limit": max(1, self.run.recursion_limit - used)}

    def check_limit(self, step: int) -> None:
        """LangGraph refuses a limit under 1, so an attempt that begins in the last supersteps has too many."""
        assert self.run.recursion_limit is not None
        if self._is_short_of_steps and step > self.run.base_step + self.run.recursion_limit:
            raise GraphRecursionError(_out_of_steps(self.run.recursion_limit))

    def _take(self, chunk: Any, attempt: int) -> None:
        ns, mode, payload = self.run.form.read(chunk)
        if not self.run.has_saver and (mode == "checkpoints" or _is_checkpoint(mode, payload)):
            return  # there are none that the user knows of
        repeats_start = attempt > 1 and self.puts == 0 and not ns and self.run.hook.begun <= self.run.machine.ended
        if repeats_start and (mode in ("values", "checkpoints") or _is_checkpoint(mode, payload)):
            return  # of the superstep before, which was reported in its time
        step = step_of(
            mode,
            payload,
            ns,
            ended=self.run.machine.ended,
            begun=self.run.hook.begun,
            task_steps=self.run.hook.task_steps,
        )
        self._put(step, chunk)

    def take_own(self, record: Record, chunk: tuple[tuple[str, ...], str, Any]) -> None:
        """Take in what an execution streams by itself."""
        self._put(record.at[0][0], self.run.form.write(*chunk))

    def _put(self, step: int, chunk: Any) -> None:
        position = self.run.held.put(step, chunk, self.run.machine.committed)
        if position is not None:
            self.run.tell(Provisional, ids=(position,))
        self.run.notify()

    def drop(self, step: int) -> None:
        """Of the stream, everything from superstep `step` on is void."""
        if ids := self.run.held.roll_back(step):
            self.run.tell(Retracted, ids=ids)


def _is_checkpoint(mode: str, payload: Any) -> bool:
    return mode == "debug" and isinstance(payload, Mapping) and payload.get("type") == "checkpoint"


def _out_of_steps(limit: int) -> str:
    return create_error_message(
        message=(
            f"Recursion limit of {limit} reached without hitting a stop condition. "
            "You can increase the limit by setting the `recursion_limit` config key."
        ),
        error_code=ErrorCode.GRAPH_RECURSION_LIMIT,
    )


def _named(error: Exception, limit: int | None) -> Exception:
    """The error, with the user's own recursion limit in it."""
    if isinstance(error, GraphRecursionError) and limit is not None:
        text = str(error)
        head, found, tail = text.partition("Recursion limit of ")
        if found:
            number, _, rest = tail.partition(" ")
            if number != str(limit):
                return GraphRecursionError(f"{head}{found}{limit} {rest}")
    return error
