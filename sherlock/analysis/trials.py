"""The trials of one case at one node execution: which faults are injected, and what each of them cost.

Every trial is a replay from the same place; the *sham* is that replay without a fault, and a fault's loss is the
sham's score less its own. Output faults corrupt what the node returned in the sham, so sham and fault share it.
"""

import abc
import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sherlock.analysis import context
from sherlock.analysis.directive import Directive, system_text
from sherlock.analysis.executions import CleanRun, Execution, Injection, is_sent
from sherlock.analysis.faults import KINDS, PAPER, Drawn, Fault, FaultContext, Kind, corrupt_update, draw
from sherlock.canonical import digest
from sherlock.errors import InjectionError
from sherlock.interpose.nodes import precedes
from sherlock.lens import category_of, read_text, read_value, write_text, written


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One replay to be made. `before` and `after` are the text that the injection changes, and what it becomes."""

    kind: str
    fault: str
    before: str
    after: str
    injection: Injection

    @property
    def key(self) -> str:
        """What the result depends on, beside the place of the injection."""
        kind_of_value = type(read_value(self.injection.update)).__name__  # "5" and 5 read alike
        return digest([self.kind, self.fault, self.after, kind_of_value])


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What faults may draw on beside the execution itself: other cases, other nodes, and what the node reads."""

    others: Mapping[str, Sequence[tuple[str, str]]]
    """For each node, the texts of its first executions with the ids of their cases, in case order."""
    directives: Mapping[str, Directive]
    reads: Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The fault model: which faults, how many draws of each kind, and the seed that decides."""

    faults: Sequence[Fault]
    per_kind: int
    seed: int

    async def trials(
        self, run: CleanRun, execution: Execution, visit: int, base: Execution, background: Background
    ) -> list[Trial]:
        """Draw the faults for an execution of the clean run; `base` is the same execution in the sham.

        Raises:
            InjectionError: a fault raised, or returned what cannot be put into the node's update.
        """
        trials: list[Trial] = []
        for kind in KINDS:
            rng = random.Random(f"{self.seed}|{run.case.id}|{execution.node}|{visit}|{kind}")
            site = _SITES[kind](run, execution, base, background)
            if site.text is not None:
                trials += await self._trials_of(kind, site, rng)
        return trials

    async def _trials_of(self, kind: Kind, site: "_Site", rng: random.Random) -> list[Trial]:
        """Draw until there are enough. A built-in fault that cannot be put into this node does not fit it."""
        candidates = [fault for fault in self.faults if fault.kind == kind]
        found: list[Trial] = []
        while candidates and (missing := self.per_kind - len(found)) > 0:
            drawn = await self._draw(candidates, kind, site, rng, missing)
            if not drawn:
                break
            for one in drawn:
                candidates.remove(one.fault)
                try:
                    found.append(site.trial(one))
                except InjectionError:
                    if one.fault not in PAPER:
                        raise
        return found

    async def _draw(
        self, candidates: Sequence[Fault], kind: Kind, site: "_Site", rng: random.Random, n: int
    ) -> list[Drawn]:
        def work() -> list[Drawn]:
            return draw(candidates, kind, site.text or "", rng=rng, ctx=site.ctx, n=n)

        try:
            if all(fault in PAPER for fault in candidates):
                return work()
            return await asyncio.to_thread(work)  # a fault of the user's may call a model
        except InjectionError as error:
            raise InjectionError(f"at node {site.execution.node!r}: {error}") from error


class _Site(abc.ABC):
    """Where a fault of one kind takes hold. `text` None: there is nothing of that kind to corrupt."""

    kind = ""
    text: str | None = None
    ctx: FaultContext

    def __init__(self, run: CleanRun, execution: Execution, base: Execution, background: Background) -> None:
        self.run = run
        self.execution = execution
        self.base = base
        self.background = background
        self.pieces = self._pieces()
        node = execution.node
        self.ctx = FaultContext(
            history=[piece.text for piece in self.pieces],
            others=[text for case, text in background.others.get(node, ()) if case != run.case.id],
            prompts=[d.text for name, d in sorted(background.directives.items()) if name != node],
            raw=base.update,
            category=category_of(read_text(base.update), base.update),
        )
        self.prepare()

    @abc.abstractmethod
    def prepare(self) -> None:
        """Set `text`."""

    @abc.abstractmethod
    def trial(self, drawn: Drawn) -> Trial:
        """The trial that injects a drawn fault here."""

    def _pieces(self) -> list[context.Piece]:
        sent = is_sent(self.execution.address)
        keys = written_before(self.run, self.execution)
        reads = None if sent else self.background.reads.get(self.execution.node)
        return context.history(self.execution.value, keys, reads)

    def _trial(self, drawn: Drawn, after: str, injection: Injection) -> Trial:
        return Trial(kind=self.kind, fault=drawn.fault.name, before=self.text or "", after=after, injection=injection)


class _Prompt(_Site):
    kind = "prompt"

    def prepare(self) -> None:
        self.directive = own_directive(self.execution, self.background.directives.get(self.execution.node))
        self.text = self.directive.text if self.directive else None

    def trial(self, drawn: Drawn) -> Trial:
        assert self.directive is not None
        after = str(drawn.corrupted)
        return self._trial(drawn, after, Injection(rewrite=self.directive.rewritten(after)))


class _Context(_Site):
    kind = "context"

    def prepare(self) -> None:
        self.text = "\n\n".join(piece.text for piece in self.pieces) if self.pieces else None

    def trial(self, drawn: Drawn) -> Trial:
        new = list(drawn.corrupted) if isinstance(drawn.corrupted, list) else [str(drawn.corrupted)]
        pieces = self.pieces
        context.with_history(self.execution.value, pieces, new)  # raises where a text does not fit its place

        def change(value: Any) -> Any:
            return context.with_history(value, pieces, new)

        return self._trial(drawn, "\n\n".join(new), Injection(change_input=change))


class _Output(_Site):
    kind = "output"

    def prepare(self) -> None:
        self.text = read_text(self.base.update) if written(self.base.update) else None

    def trial(self, drawn: Drawn) -> Trial:
        assert not isinstance(drawn.corrupted, list)
        update = corrupt_update(self.base.update, drawn.corrupted, self.execution.node)
        return self._trial(drawn, read_text(update), Injection(update=update))


_SITES: dict[Kind, type[_Site]] = {"prompt": _Prompt, "context": _Context, "output": _Output}


def repair(execution: Execution, gold: str) -> Trial:
    """The trial that puts the gold text in place of the node's output."""
    update = write_text(execution.update, gold, node=execution.node)
    before = read_text(execution.update)
    return Trial(kind="repair", fault="gold", before=before, after=gold, injection=Injection(update=update))


def visits_of(run: CleanRun, node: str, *, every: bool) -> list[Execution]:
    """The executions of `node` in the clean run, in the order of its supersteps: the first, or every one."""
    found = sorted((e for e in run.executions.values() if e.node == node), key=lambda e: e.address)
    return found if every else found[:1]


def own_directive(execution: Execution, of_node: Directive | None) -> Directive | None:
    """The directive of one execution: its own system text, which may differ from case to case, else the node's."""
    if not execution.calls:
        return None
    text = system_text(execution.calls[0].messages)
    return Directive(text, "system") if text else of_node


def written_before(run: CleanRun, execution: Execution) -> list[str]:
    """The keys that earlier executions wrote, last written last; all keys where `Send` made the input."""
    if is_sent(execution.address):
        value = execution.value
        return list(value) if isinstance(value, Mapping) else list(getattr(value, "__dict__", {}))
    keys: dict[str, None] = {}
    for address, earlier in sorted(run.executions.items(), key=lambda item: item[0]):
        # A subgraph gives back whole channels; what was written there, its nodes wrote.
        if precedes(address, execution.address) and not earlier.is_container:
            for key in written(earlier.update):
                keys.pop(key, None)
                keys[key] = None
    return list(keys)
