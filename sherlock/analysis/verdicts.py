"""One verifier tried on one output: the subject it is given, its verdict, and what became of the final score.

Trials start from the same recorded clean runs as injections do, and a suffix is re-run only when the verdict changes
the output. Source: arXiv:2511.00330, section 6; the rules are those of `docs/statistics.md`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from sherlock.analysis.executions import Execution, Injection, Line
from sherlock.analysis.records import metered, shown
from sherlock.analysis.rounds import Bench, Rounds
from sherlock.analysis.trials import Background, Trial, own_directive
from sherlock.cases import case_key
from sherlock.cases import digest as key_digest
from sherlock.equivalence import matches_reference, same_meaning
from sherlock.interpose.nodes import show_address
from sherlock.lens import read_text, write_text
from sherlock.models.prices import Prices
from sherlock.subject import Subject
from sherlock.usage import NO_USAGE, Energy, Usage
from sherlock.verifier import Verifier, VerifierFailure, run_verifier

Kind = Literal["natural", "injected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A verifier that is tried. `label` names it with its settings; `settings` is None if it has no name to save."""

    verifier: Verifier
    label: str
    name: str
    settings: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A verdict, or the failure to reach one, as it is kept: plain data."""

    accepted: bool
    corrected: Any
    failure: str | None
    rationale: str
    usage: Usage
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one verification did. `gain`: the final score with the verdict acted on, less that without.

    `matched`: the output was left as it was, or corrected to what says the same. `was_right`: whether the judged text
    was right, None if nobody knows. `correct_now`: whether a correction is right.
    """

    case: int
    node: str
    label: str
    kind: Kind
    rejected: bool
    matched: bool
    failure: str | None
    gain: float
    was_right: bool | None
    correct_now: bool | None
    before: str
    after: str
    usage: Usage
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Tries verifiers on the executions of a study."""

    rounds: Rounds
    seed: int
    prices: Prices
    timeout_s: float

    async def natural(self, bench: Bench, execution: Execution, sham: Line, entrant: Entrant) -> Outcome:
        """Verify the output that the node really made."""
        base = sham.executions.get(execution.address, execution)
        right = self._is_right(bench, execution.node, read_text(base.update))
        if right is None and bench.record.right:
            right = True  # the run came out right, so to reject this output is a false alarm
        return await self._try(bench, base, sham, sham, entrant, "natural", base.update, right)

    async def injected(self, bench: Bench, execution: Execution, sham: Line, entrant: Entrant) -> list[Outcome]:
        """Verify outputs with a fault in them; nothing where the output was wrong by itself."""
        base = sham.executions.get(execution.address, execution)
        known = self._is_right(bench, execution.node, read_text(base.update))
        if not (bench.record.right if known is None else known):
            return []
        background = Background(others=self.rounds.others, directives=self.rounds.directives, reads=self.rounds.reads)
        trials = await self.rounds.faults.trials(bench.run, execution, 0, base, background)
        outcomes = []
        for trial in trials:
            if trial.kind == "output":
                faulty = await self.rounds.trial(bench, base.address, trial, sham)
                made = replace(base, update=trial.injection.update)
                outcomes.append(
                    await self._try(bench, made, sham, faulty, entrant, "injected", trial.injection.update, False)
                )
        return outcomes

    async def _try(
        self,
        bench: Bench,
        made: Execution,
        sham: Line,
        unverified: Line,
        entrant: Entrant,
        kind: Kind,
        update: Any,
        was_right: bool | None,
    ) -> Outcome:
        text = read_text(update)
        judged = await self.rounds.attempt(lambda: self.answer(bench, made, entrant, text))
        category = bench.record.categories.get(made.node, "instruction")
        new = update if judged.corrected is None else _corrected(update, judged.corrected, made.node)
        after = read_text(new)
        matched = after == text or same_meaning(text, after, category)
        score = unverified.score
        if not matched:
            score = (await self._after_correction(bench, made, sham, new, after, entrant)).score
        clean = read_text(sham.executions[made.address].update if made.address in sham.executions else made.update)
        correct = None if judged.corrected is None else self._is_right(bench, made.node, after)
        if correct is None and judged.corrected is not None and kind == "injected":
            correct = matches_reference(after, clean, category)
        return Outcome(
            case=bench.record.index,
            node=made.node,
            label=entrant.label,
            kind=kind,
            rejected=not judged.accepted and judged.failure is None,
            matched=matched,
            failure=judged.failure,
            gain=score - unverified.score,
            was_right=was_right,
            correct_now=correct,
            before=shown(text),
            after=shown(after),
            usage=judged.usage,
            seconds=judged.seconds,
        )

    async def _after_correction(
        self, bench: Bench, made: Execution, sham: Line, new: Any, after: str, entrant: Entrant
    ) -> Line:
        """Re-run what follows, with the correction in place; what the sham had said already needs no run."""
        base = sham.executions.get(made.address)
        if base is not None and read_text(base.update) == after:
            return sham
        trial = Trial(kind="correction", fault=entrant.label, before="", after=after, injection=Injection(update=new))
        return await self.rounds.trial(bench, made.address, trial, sham)

    def _is_right(self, bench: Bench, node: str, text: str) -> bool | None:
        gold = (bench.run.case.references or {}).get(node)
        if gold is None:
            return None
        return matches_reference(text, gold, bench.record.categories.get(node, "instruction"))

    async def answer(self, bench: Bench, made: Execution, entrant: Entrant, text: str) -> Judged:
        """Ask for the verdict on an execution of the bench's case, or read it back from the store."""
        rounds = self.rounds
        place = f"{case_key(bench.run.case)}/{show_address(made.address)}"
        mark = key_digest([entrant.label, made.input_digest, text, self.seed])
        key = f"verdict/{rounds.identity}/{place}/{mark}"
        found = rounds.store.value(key)
        if found is not None:
            return _judged_of(found)
        judged = await self._ask(bench, made, entrant, text)
        rounds.store.put_value(key, "verdict", _judged_data(judged))
        return judged

    async def _ask(self, bench: Bench, made: Execution, entrant: Entrant, text: str) -> Judged:
        subject = self.subject(bench, made, text)
        scope = self.rounds.replayer.new_scope()
        started = time.perf_counter()
        try:
            with scope.active():
                verdict = await run_verifier(entrant.verifier, subject, timeout_s=self.timeout_s)
        finally:
            scope.close()
            made_calls = [call.usage for call in scope.calls if not call.replayed]
            self.rounds.spend(sum(made_calls, NO_USAGE))
        if scope.refused is not None:
            raise scope.refused
        replayed_s = sum(call.usage.seconds for call in scope.calls if call.replayed)
        seconds = time.perf_counter() - started + replayed_s
        usage = replace(verdict.usage or NO_USAGE, wh=metered(scope.calls).wh)
        if isinstance(verdict, VerifierFailure):
            failure = f"{verdict.kind}: {verdict.message}"
            return Judged(accepted=True, corrected=None, failure=failure, rationale="", usage=usage, seconds=seconds)
        return Judged(
            accepted=verdict.accepted,
            corrected=verdict.corrected,
            failure=None,
            rationale=verdict.rationale,
            usage=usage,
            seconds=seconds,
        )

    def subject(self, bench: Bench, made: Execution, text: str) -> Subject:
        """What a verifier is given of an execution."""
        last = made.calls[-1] if made.calls else None
        directive = own_directive(made, self.rounds.directives.get(made.node))
        return Subject(
            node=made.node,
            task=directive.text if directive is not None and directive.where == "system" else "",
            prompt=[{"role": m.role, "content": m.text} for m in last.messages] if last else [],
            inputs=made.value,
            text=text,
            output=made.update,
            category=bench.record.categories.get(made.node),
            seed=self.seed,
            model=last.model if last else None,
            settings=dict(last.parameters) if last else {},
            prices=self.prices,
        )


def _corrected(update: Any, corrected: Any, node: str) -> Any:
    return write_text(update, corrected, node=node) if isinstance(corrected, str) else corrected


def _judged_data(judged: Judged) -> dict[str, Any]:
    usage = {name: getattr(judged.usage, name) for name in Usage.__slots__}
    if judged.usage.wh is not None:
        usage["wh"] = {name: getattr(judged.usage.wh, name) for name in Energy.__slots__}
    return {
        "accepted": judged.accepted,
        "corrected": judged.corrected,
        "failure": judged.failure,
        "rationale": judged.rationale,
        "usage": usage,
        "seconds": judged.seconds,
    }


def _judged_of(data: Mapping[str, Any]) -> Judged:
    usage = dict(data["usage"])
    usage["wh"] = Energy(**usage["wh"]) if usage["wh"] else None
    return Judged(**{**data, "usage": Usage(**usage)})
