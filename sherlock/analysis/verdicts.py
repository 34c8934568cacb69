"""One verifier tried on one output: the subject it is given, its verdict, and what became of the final score.

Trials start from the same recorded clean runs as injections do, and a suffix is re-run only when the verdict changes
the output. Source: arXiv:2511.00330, section 6; the rules are those of `docs/statistics.md`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sherlock.analysis.executions import Execution, Injection, Line, private
from sherlock.analysis.records import metered, shown
from sherlock.analysis.rounds import Bench, Rounds, together
from sherlock.analysis.trials import Background, Trial, own_directive
from sherlock.cases import case_key
from sherlock.cases import digest as key_digest
from sherlock.equivalence import matches_reference, same_meaning
from sherlock.errors import MissingRecording, ModelError
from sherlock.interpose.calls import ModelCall
from sherlock.interpose.nodes import show_address
from sherlock.lens import read_text, read_value, write_text
from sherlock.models.prices import Prices, is_loopback
from sherlock.subject import Subject
from sherlock.usage import NO_USAGE, Energy, Usage
from sherlock.verifier import Verifier, VerifierFailure, run_verifier

Kind = Literal["natural", "injected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """A verifier that is tried.

    `label` names it with its settings, and is its own among those at one node; `settings` is None if it has no name to
    save. `fingerprint` stands for its code, its settings and the version of its package: verdicts are kept under it.
    """

    verifier: Verifier
    label: str
    name: str
    settings: Mapping[str, Any] | None
    fingerprint: str


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
    """What one verification did. `gain`: the final score with the verdict acted on, less that without, `before_score`.

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
    before_score: float
    gain: float
    was_right: bool | None
    correct_now: bool | None
    before: str
    after: str
    usage: Usage
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """An output to be judged, and the line in which nobody judges it. `original`: its text without the fault."""

    kind: Kind
    made: Execution
    original: str
    unverified: Line
    was_right: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Tries verifiers on the executions of a study."""

    rounds: Rounds
    seed: int
    prices: Prices
    timeout_s: float

    async def compare(self, bench: Bench, execution: Execution, entrants: Sequence[Entrant]) -> list[Outcome]:
        """All verifications of one node in one case: of the output that it really made, and of outputs with a fault.

        What follows is re-run once for every output that came of it, however many verifiers made it.
        """
        sham = await self.rounds.sham(bench, execution)
        exhibits = await self._exhibits(bench, execution, sham)
        pairs = [(exhibit, entrant) for exhibit in exhibits for entrant in entrants]
        judged = await together(self._heard(bench, exhibit, entrant) for exhibit, entrant in pairs)
        updates = [corrected(exhibit.made, it) for (exhibit, _), it in zip(pairs, judged, strict=True)]
        category = bench.record.categories.get(execution.node, "instruction")
        trials = [
            None if is_same(exhibit.made.update, update, category) else _correction(exhibit.made, update)
            for (exhibit, _), update in zip(pairs, updates, strict=True)
        ]
        distinct = {trial.key: trial for trial in trials if trial is not None}
        made = await together(self._after(bench, execution, trial, sham) for trial in distinct.values())
        lines = dict(zip(distinct, made, strict=True))
        return [
            self._outcome(bench, exhibit, entrant, it, trial, exhibit.unverified if trial is None else lines[trial.key])
            for (exhibit, entrant), it, trial in zip(pairs, judged, trials, strict=True)
        ]

    async def _exhibits(self, bench: Bench, execution: Execution, sham: Line) -> list[Exhibit]:
        """The node's own output; and, if that was right, the same with faults in it."""
        base = sham.executions.get(execution.address, execution)
        known = self._is_right(bench, execution.node, read_text(base.update))
        came_right = sham.error is None and sham.score >= self.rounds.pass_mark
        right = True if known is None and came_right else known  # to reject what led to a right answer is an alarm
        original = read_text(base.update)
        exhibits = [Exhibit(kind="natural", made=base, original=original, unverified=sham, was_right=right)]
        if not right:
            return exhibits
        background = Background(others=self.rounds.others, directives=self.rounds.directives, reads=self.rounds.reads)
        drawn = await self.rounds.faults.trials(bench.run, execution, 0, base, background)
        faults = [trial for trial in drawn if trial.kind == "output"]
        lines = await together(self.rounds.trial(bench, base.address, trial, sham) for trial in faults)
        for trial, line in zip(faults, lines, strict=True):
            made = replace(base, update=trial.injection.update)
            exhibits.append(Exhibit(kind="injected", made=made, original=original, unverified=line, was_right=False))
        return exhibits

    async def _heard(self, bench: Bench, exhibit: Exhibit, entrant: Entrant) -> Judged:
        return await self.rounds.attempt(lambda: self.answer(bench, exhibit.made, entrant))

    async def _after(self, bench: Bench, execution: Execution, trial: Trial, sham: Line) -> Line:
        """Re-run what follows, with the correction in place; what the sham had said already needs no run."""
        base = sham.executions.get(execution.address, execution)
        if trial.after == read_text(base.update):
            return sham
        return await self.rounds.trial(bench, execution.address, trial, sham)

    def _outcome(
        self, bench: Bench, exhibit: Exhibit, entrant: Entrant, judged: Judged, trial: Trial | None, line: Line
    ) -> Outcome:
        made = exhibit.made
        after = read_text(corrected(made, judged))
        right_now = None
        if judged.corrected is not None:
            right_now = self._is_right(bench, made.node, after)
            if right_now is None and exhibit.kind == "injected":
                category = bench.record.categories.get(made.node, "instruction")
                right_now = matches_reference(after, exhibit.original, category)
        return Outcome(
            case=bench.record.index,
            node=made.node,
            label=entrant.label,
            kind=exhibit.kind,
            rejected=not judged.accepted,
            matched=trial is None,
            failure=judged.failure,
            before_score=exhibit.unverified.score,
            gain=line.score - exhibit.unverified.score,
            was_right=exhibit.was_right,
            correct_now=right_now,
            before=shown(read_text(made.update)),
            after=shown(after),
            usage=judged.usage,
            seconds=judged.seconds,
        )

    def _is_right(self, bench: Bench, node: str, text: str) -> bool | None:
        gold = (bench.run.case.references or {}).get(node)
        if gold is None:
            return None
        return matches_reference(text, gold, bench.record.categories.get(node, "instruction"))

    async def answer(self, bench: Bench, made: Execution, entrant: Entrant) -> Judged:
        """Ask for the verdict on an execution of the bench's case, or read it back from the store."""
        rounds = self.rounds
        text = read_text(made.update)
        place = f"{case_key(bench.run.case)}/{show_address(made.address)}"
        mark = key_digest([entrant.fingerprint, made.input_digest, text, type(read_value(made.update)), self.seed])
        key = f"verdict/{rounds.identity}/{place}/{mark}"
        found = rounds.store.value(key)
        if found is not None:
            return _judged_of(found)
        judged, lasts = await self._ask(bench, made, entrant, text)
        if lasts:
            rounds.store.put_value(key, "verdict", _judged_data(judged))
        return judged

    async def _ask(self, bench: Bench, made: Execution, entrant: Entrant, text: str) -> tuple[Judged, bool]:
        """The verdict, and whether asking again would give the same: a time-out may be a matter of the moment.

        Raises `ModelError` where the verifier failed because its model's server is not there.
        """
        subject = self.subject(bench, made, text)
        scope = self.rounds.replayer.new_scope()
        started = time.perf_counter()
        try:
            with scope.active():
                verdict = await run_verifier(entrant.verifier, subject, timeout_s=self.timeout_s)
        finally:
            scope.close()
            seen = metered(scope.calls, self.prices)
            self.rounds.spend(sum((call.usage for call in scope.calls if not call.replayed), NO_USAGE))
        if scope.refused is not None:
            raise scope.refused
        if scope.missing:
            raise MissingRecording(str(scope.missing[0]))
        replayed_s = sum(call.usage.seconds for call in scope.calls if call.replayed)
        seconds = time.perf_counter() - started + replayed_s
        usage = self._booked(verdict.usage or NO_USAGE, seen)
        if isinstance(verdict, VerifierFailure):
            if verdict.kind == "raised" and (away := _server_away(scope.calls)):
                raise ModelError(f"{verdict.message} ({away}); start its server or check its address")
            failure = f"{verdict.kind}: {verdict.message}"
            judged = Judged(accepted=True, corrected=None, failure=failure, rationale="", usage=usage, seconds=seconds)
            return judged, verdict.kind != "timed_out"
        judged = Judged(
            accepted=verdict.accepted,
            corrected=private(verdict.corrected),
            failure=None,
            rationale=verdict.rationale,
            usage=usage,
            seconds=seconds,
        )
        return judged, True

    def _booked(self, told: Usage, seen: Usage) -> Usage:
        """What a verification used: as the subject and the verifier told, or as was seen on the wire if that is more.

        What was spent where nobody sees it is only told, and counts towards the limits too.
        """
        if seen.calls > told.calls:
            return seen
        unseen = told.calls - seen.calls
        if unseen:
            usd = None if told.usd is None or seen.usd is None else max(0.0, told.usd - seen.usd)
            self.rounds.spend(
                Usage(
                    calls=unseen,
                    tokens_in=max(0, told.tokens_in - seen.tokens_in),
                    tokens_out=max(0, told.tokens_out - seen.tokens_out),
                    usd=usd,
                )
            )
            return told
        return replace(told, wh=seen.wh if seen.calls else told.wh)

    def subject(self, bench: Bench, made: Execution, text: str) -> Subject:
        """What a verifier is given of an execution."""
        last = made.calls[-1] if made.calls else None
        directive = own_directive(made, self.rounds.directives.get(made.node))
        return Subject(
            node=made.node,
            task=directive.text if directive is not None and directive.where == "system" else "",
            prompt=[{"role": m.role, "content": m.text} for m in last.messages] if last else [],
            inputs=private(made.value),
            text=text,
            output=private(made.update),
            category=bench.record.categories.get(made.node),
            seed=self.seed,
            model=last.model if last else None,
            settings=dict(last.parameters) if last else {},
            base_url=_own_server(last),
            effects="not to be repeated" if made.node in self.rounds.replayer.effects else "none",
            prices=self.prices,
        )


def _own_server(call: ModelCall | None) -> str | None:
    """Where the node's own model is served, if that is this machine; elsewhere it takes keys that are not ours to send.

    Only host and port were seen; servers of the OpenAI dialect are under `/v1` there.
    """
    if call is None or not call.api.startswith("openai") or not call.address or not is_loopback(call.address):
        return None
    return f"{call.address}/v1"


def corrected(made: Execution, judged: Judged) -> Any:
    """The update that flows on after a verdict: the correction, cast to what was there, else what the node made."""
    if judged.corrected is None:
        return made.update
    if isinstance(judged.corrected, str):
        return write_text(made.update, judged.corrected, node=made.node)
    return private(judged.corrected)


def is_same(before: Any, after: Any, category: str) -> bool:
    """Whether a corrected update says what the node had said, so that nothing is done again."""
    old, new = read_text(before), read_text(after)
    return old == new or same_meaning(old, new, category)


def _correction(made: Execution, update: Any) -> Trial:
    injection = Injection(update=update)
    before, after = read_text(made.update), read_text(update)
    return Trial(kind="correction", fault="", before=before, after=after, injection=injection)


def _server_away(calls: Sequence[ModelCall]) -> str | None:
    """What became of the last call, if its server was not there or refused for load."""
    last = calls[-1] if calls else None
    if last is None or not last.failed:
        return None
    if last.status in (429, 503):
        return f"the model {last.model!r} answered {last.status}"
    unreachable = last.status is None and last.usage.tokens == 0
    return f"the model {last.model!r} at {last.address or 'its server'} could not be reached" if unreachable else None


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
