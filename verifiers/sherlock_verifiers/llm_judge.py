"""The verifier `llm-judge`: a second executor answers too, and a judge picks."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sherlock.equivalence import matches_reference
from sherlock.errors import VerifierError
from sherlock.verifier import Subject, Verdict, together
from sherlock_verifiers.asking import JSON, TEXT, Asking, fields

PAIRWISE = fields(reason=TEXT, better=["A", "B", "tie"])
_MARK: JSON = {"type": "number", "minimum": 0, "maximum": 10}
MARKS = fields(reason=TEXT, mark_a=_MARK, mark_b=_MARK)


@dataclass(frozen=True, kw_only=True)
class LlmJudge(Asking):
    """A second executor answers the node's request, and a judge compares both answers, in both orders.

    `model`: the second executor; None: the node's own model, once more at `executor_temperature`. `judge_model`: the
    judge; None: the executor. With a `rubric` the judge marks both by it, and the second must be better by more than
    `margin` of ten points; without one it says which is better. When the two orders disagree the judge is not
    confident: the output is accepted with a score of 0.5, or with `on_disagreement="reject"` rejected with the second
    answer. Two answers that say the same are not judged.

    Calls: one for the second answer and two of the judge, at once, and one for each that must be repaired.
    """

    judge_model: Any = None
    rubric: str | None = None
    margin: float = 1.0
    on_disagreement: Literal["accept", "reject"] = "accept"
    executor_temperature: float = 0.7

    name: ClassVar[str] = "llm-judge"
    prompt_name: ClassVar[str] = "llm-judge"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.margin < 10:
            raise VerifierError(f"margin is {self.margin}: give points from 0 to below 10")
        if self.on_disagreement not in ("accept", "reject"):
            raise VerifierError(f"on_disagreement is {self.on_disagreement!r}: give 'accept' or 'reject'")

    async def verify(self, subject: Subject) -> Verdict:
        """Accept what the judge does not find worse than the second answer."""
        second = await second_answer(subject, self.model, self.executor_temperature)
        if matches_reference(second, subject.text, subject.category):
            return Verdict(True, 0.9, None, "a second executor gave the same answer")
        ahead, behind = await together([self._judged(subject, second, k) for k in (False, True)])
        reason = f"{ahead[1]} / {behind[1]}"
        prefers = [lead for lead, _ in (ahead, behind)]
        if all(lead > 0 for lead in prefers):
            return Verdict(False, 0.1, second, reason)
        if all(lead <= 0 for lead in prefers):
            return Verdict(True, 0.9 if all(lead < 0 for lead in prefers) else 0.7, None, reason)
        if self.on_disagreement == "reject":
            return Verdict(False, 0.5, second, f"the judge's two orders disagree: {reason}")
        return Verdict(True, 0.5, None, f"the judge's two orders disagree: {reason}")

    async def _judged(self, subject: Subject, second: str, second_first: bool) -> tuple[float, str]:
        """By how much the second answer is better, and why."""
        first_shown, then_shown = (second, subject.text) if second_first else (subject.text, second)
        data = {"answer_a": first_shown, "answer_b": then_shown}
        model = self.judge_model or self.model
        if self.rubric is None:
            said = await self.ask(subject, PAIRWISE, data, model=model)
            second_is = "A" if second_first else "B"
            lead = 0.0 if said["better"] == "tie" else 1.0 if said["better"] == second_is else -1.0
            return lead, said["reason"]
        template = self.template("llm-judge-rubric")
        said = await self.ask(subject, MARKS, data, words={"rubric": self.rubric}, template=template, model=model)
        lead = _mark(said["mark_b"]) - _mark(said["mark_a"])
        lead = -lead if second_first else lead
        return (0.0 if 0 < lead <= self.margin else lead), said["reason"]


def _mark(value: float) -> float:
    return min(10.0, max(0.0, float(value)))


async def second_answer(subject: Subject, model: Any = None, temperature: float = 0.7) -> str:
    """What another executor answers: `model` asked the node's own prompt, or the node's own model once more."""
    if model is None:
        return (await subject.resample(1, temperature=temperature))[0]
    if not subject.prompt:
        raise VerifierError(f"the node {subject.node!r} asked no model, so no second executor can answer for it")
    own = {key: subject.settings[key] for key in ("max_tokens", "stop") if key in subject.settings}
    return (await subject.complete(subject.prompt, model=model, **own)).text.strip()
