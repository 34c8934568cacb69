"""What is stored about an irreversible effect so that a crash neither loses it nor lets it happen twice.

Beside the task, on the checkpoint that it starts from, stand in this order: a *claim* before the node begins, with the
effect's key; the *result* when it has returned. A claim without a result means that nobody knows. A node that waits for
a person in an interrupt of its own is *released*: it will begin again by design, with the same key and a claim of its
own.

The ordinal in the key counts equal effects of the thread that came before. That is kept in the *ledger*: one checkpoint
in a namespace of its own, with a small write for each claim and another when its result is known. Claims of tasks that
started from the same superstep count, too; a claim that was given up without a result does not, so that whoever gives
up a run and tries the same again on the thread sends the same key. See docs/decisions/0009.
"""

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONF, CONFIG_KEY_SCRATCHPAD
from langgraph.checkpoint.base import CheckpointTuple, empty_checkpoint

from sherlock.canonical import digest
from sherlock.interpose.checkpoints import key_of
from sherlock.interpose.nodes import Visit
from sherlock.runtime.effects_anchor import Anchor
from sherlock.runtime.gate_entries import CheckpointPut, Entry, WritesPut
from sherlock.runtime.gate_marks import CLAIM, RELEASED, RESULT, mark_id, marks
from sherlock.runtime.gate_memory import BEFORE_ALL
from sherlock.runtime.record import Record

if TYPE_CHECKING:
    from sherlock.runtime.run import Run

_log = logging.getLogger("sherlock")

LEDGER_NS = "__sherlock__"
_LEDGER = "__sherlock_ledger__"
_LEDGER_ID = "00000000-0000-6000-8000-000000000000"


@dataclass(slots=True, kw_only=True)
class Claim:
    """The right to have one effect.

    `what` stands for node and input, `ordinal` for which of equal effects it is, `number` for how many times the node
    has begun, over all runs. Of the answers to interrupts that its task was given, the first `offset` were to the
    library's questions, and `answers` were there when it began; `given` stands for that of the run itself. `asked`: how
    many there were when a question about this claim was answered.
    """

    anchor: Anchor
    key: str
    what: str
    ordinal: int
    number: int = 1
    offset: int = 0
    answers: int = 0
    given: str | None = None
    asked: int = 0
    began_here: bool = False
    was_released: bool = False
    is_done: bool = False
    result: Any = None
    attempt: int = 0
    error: BaseException | None = None

    @property
    def place(self) -> str:
        """The task id that its marks are kept under."""
        return _nth(self.anchor.task_id, self.number)

    def skip_answers(self, visit: Visit) -> None:
        """Let the node's own interrupts find the answers that are theirs."""
        scratchpad = scratchpad_of(visit)
        for _ in scratchpad.resume[: self.offset]:
            scratchpad.interrupt_counter()


class Claims:
    """The claims of one run."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._of_this_run: dict[str, Claim] = {}
        self._ledger = _Ledger()
        self._lock = asyncio.Lock()

    @property
    def thread(self) -> str:
        """The thread's id; a run that is not saved has a thread of its own."""
        return str(self._run.config[CONF].get("thread_id", self._run.id))

    def of_this_run(self, anchor: Anchor) -> Claim | None:
        """The task's claim, if this run has begun or found it."""
        return self._of_this_run.get(anchor.task_id)

    async def is_put(self, anchor: Anchor) -> bool:
        """Whether the checkpoint that the task starts from has come to the gate."""
        return anchor.config[CONF]["checkpoint_ns"] == "" or await self._run.gate.has(anchor.config)

    async def stored(self, anchor: Anchor) -> Claim | None:
        """The task's last claim, if an earlier run has left one."""
        start = await self._run.gate.load()
        if start is None or start.checkpoint["id"] != anchor.root or self._run.gate.base is None:
            return None
        saved: CheckpointTuple | None = start
        if anchor.namespaces:
            saved = await self._run.gate.base.get_tuple(anchor.config)
        found = None if saved is None else _last_claim(anchor, marks(saved))
        if found is not None:
            self._of_this_run[anchor.task_id] = found
        return found

    async def make(self, anchor: Anchor, record: Record, visit: Visit) -> Claim:
        """A new claim, stored."""
        what = digest([record.place.node, record.input_digest()])
        async with self._lock:
            await self._load()
        ordinal = self._ledger.free(what, anchor)
        claim = Claim(
            anchor=anchor,
            key=digest([self.thread, record.place.node, record.input_digest(), ordinal]),
            what=what,
            ordinal=ordinal,
            **_answers(visit),
        )
        self._ledger.add(claim)
        note = {"what": what, "ordinal": ordinal, "root": anchor.root, "task": anchor.task_id}
        self._note(claim, "claimed", note)
        await self._begin(claim)
        return claim

    async def renew(self, claim: Claim, visit: Visit) -> Claim:
        """A claim on the same effect, for a node that begins once more."""
        renewed = replace(
            claim,
            number=claim.number + 1,
            offset=claim.asked or claim.offset,
            was_released=False,
            error=None,
            **_answers(visit),
        )
        await self._begin(renewed)
        return renewed

    async def done(self, claim: Claim, result: Any) -> None:
        """Store what the node has returned."""
        claim.is_done, claim.result = True, result
        self._of_this_run[claim.anchor.task_id] = claim
        self._ledger.done.add((claim.what, claim.ordinal))
        self._note(claim, "done", {"what": claim.what, "ordinal": claim.ordinal, "done": True})
        if self._can_be_stored(result):
            await self._mark(claim, RESULT, result)
        else:
            _log.warning(
                "the checkpointer cannot store what an irreversible node returned as it is (%s): after a crash before "
                "the next checkpoint the run will ask what became of the effect",
                type(result).__name__,
            )

    async def release(self, claim: Claim) -> None:
        """The node has stopped to wait for a person, and will begin again."""
        claim.was_released = True
        await self._mark(claim, RELEASED, True)

    async def _begin(self, claim: Claim) -> None:
        claim.began_here = True
        self._of_this_run[claim.anchor.task_id] = claim
        told = {"key": claim.key, "what": claim.what, "ordinal": claim.ordinal}
        await self._mark(claim, CLAIM, {**told, "offset": claim.offset, "answers": claim.answers, "given": claim.given})

    async def _mark(self, claim: Claim, channel: str, value: Any) -> None:
        if self._run.gate.base is not None:
            await self._run.gate.mark(claim.anchor.config, claim.place, channel, value)

    # The ledger

    async def _load(self) -> None:
        base = self._run.gate.base
        if self._ledger.is_loaded or base is None:
            return
        saved = await base.get_tuple(self._ledger_config(_LEDGER_ID))
        if saved is None:
            self._run.gate.append([_first_page(self._ledger_config(None))])
        else:
            self._ledger.read(saved)
        self._ledger.is_loaded = True

    def _note(self, claim: Claim, kind: str, value: dict[str, Any]) -> None:
        """Have a line stored in the ledger, before whatever is stored next."""
        if self._run.gate.base is None:
            return
        config = self._ledger_config(_LEDGER_ID)
        line: Entry = WritesPut(
            key=key_of(config),
            tag=BEFORE_ALL,
            config=config,
            target=_LEDGER_ID,
            writes=[(_LEDGER, value)],
            task_id=str(uuid5(UUID(claim.anchor.task_id), f"{kind} {claim.ordinal}")),
            task_path="",
        )
        self._run.gate.append([line])

    def _ledger_config(self, checkpoint_id: str | None) -> RunnableConfig:
        config = self._run.config
        asked = {key: value for key, value in config[CONF].items() if not key.startswith("__")}
        asked |= {"thread_id": self.thread, "checkpoint_ns": LEDGER_NS, "checkpoint_id": checkpoint_id}
        return {"configurable": asked}

    def _can_be_stored(self, result: Any) -> bool:
        base = self._run.gate.base
        if base is None:
            return True
        serde = base.saver.serde
        try:
            return digest(serde.loads_typed(serde.dumps_typed(result))) == digest(result)
        except Exception:  # noqa: BLE001  (whatever a serialiser raises at what it does not know)
            return False


@dataclass(slots=True)
class _Ledger:
    """Which ordinals are taken: those whose result is known, and those claimed in the superstep in progress."""

    is_loaded: bool = False
    done: set[tuple[str, int]] = field(default_factory=set)
    _holders: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    """By effect and superstep: ordinals by task."""

    def read(self, saved: CheckpointTuple) -> None:
        for _, channel, value in saved.pending_writes or ():
            if channel == _LEDGER and value.get("done"):
                self.done.add((value["what"], value["ordinal"]))
            elif channel == _LEDGER:
                self._holders.setdefault((value["what"], value["root"]), {})[value["task"]] = value["ordinal"]

    def free(self, what: str, anchor: Anchor) -> int:
        """The first ordinal that is not taken."""
        held = self._holders.get((what, anchor.root), {})
        if anchor.task_id in held:  # claimed here, and killed before the claim itself was stored
            return held[anchor.task_id]
        taken = {ordinal for effect, ordinal in self.done if effect == what} | set(held.values())
        return next(n for n in range(len(taken) + 1) if n not in taken)

    def add(self, claim: Claim) -> None:
        self._holders.setdefault((claim.what, claim.anchor.root), {})[claim.anchor.task_id] = claim.ordinal


def scratchpad_of(visit: Visit) -> Any:
    """Where LangGraph keeps the answers to a task's interrupts."""
    return visit.config[CONF][CONFIG_KEY_SCRATCHPAD]


def given_to(visit: Visit) -> str | None:
    """What stands for the answer that the run was given, which goes to whichever task asks first."""
    answer = scratchpad_of(visit).get_null_resume(False)
    return None if answer is None else digest(answer)


def _answers(visit: Visit) -> dict[str, Any]:
    return {"answers": len(scratchpad_of(visit).resume), "given": given_to(visit)}


def _last_claim(anchor: Anchor, stored: dict[str, Any]) -> Claim | None:
    found = None
    number = 1
    while (told := stored.get(mark_id(_nth(anchor.task_id, number), CLAIM))) is not None:
        place = _nth(anchor.task_id, number)
        result = mark_id(place, RESULT)
        found = Claim(
            anchor=anchor,
            number=number,
            **told,
            was_released=mark_id(place, RELEASED) in stored,
            is_done=result in stored,
            result=stored.get(result),
        )
        number += 1
    return found


def _nth(task_id: str, number: int) -> str:
    return task_id if number == 1 else str(uuid5(UUID(task_id), f"begun {number}"))


def _first_page(config: RunnableConfig) -> CheckpointPut:
    return CheckpointPut(
        key=key_of(config),
        tag=BEFORE_ALL,
        config=config,
        checkpoint={**empty_checkpoint(), "id": _LEDGER_ID},
        metadata={"source": "update", "step": -1, "parents": {}},
        new_versions={},
    )
