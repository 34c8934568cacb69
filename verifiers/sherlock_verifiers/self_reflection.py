"""The verifier `self-reflection`: the model looks at its own answer again."""

from dataclasses import dataclass
from typing import ClassVar

from sherlock.errors import VerifierError
from sherlock.verifier import Subject, Verdict
from sherlock_verifiers.asking import JSON, SHARE, TEXT, Asking, fields, share
from sherlock_verifiers.quoting import quoted

ANSWER = fields(reason=TEXT, verdict=["PASS", "FAIL"], confidence=SHARE)


@dataclass(frozen=True, kw_only=True)
class SelfReflection(Asking):
    """The model says whether its own answer is right; it corrects nothing.

    With `rounds` above 1 it is shown what it said before and looks again, until it says the same twice running; the
    last round counts.

    Calls: at most `rounds`, and one for each answer that must be repaired.
    """

    rounds: int = 1

    name: ClassVar[str] = "self-reflection"
    prompt_name: ClassVar[str] = "self-reflection"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1:
            raise VerifierError(f"rounds is {self.rounds}: give at least 1")

    async def verify(self, subject: Subject) -> Verdict:
        """Accept on PASS; the score is the model's confidence that the answer is right."""
        said: list[JSON] = []
        for _ in range(self.rounds):
            words = {"earlier": _earlier(said, subject.seed)}
            said.append(await self.ask(subject, ANSWER, {"answer": subject.text}, words=words))
            if len(said) > 1 and said[-1]["verdict"] == said[-2]["verdict"]:
                break
        last = said[-1]
        passed = last["verdict"] == "PASS"
        sure = share(last["confidence"])
        return Verdict(passed, sure if passed else 1 - sure, None, last["reason"])


def _earlier(said: list[JSON], seed: int) -> str:
    if not said:
        return ""
    last = f"{said[-1]['verdict']}: {said[-1]['reason']}"
    return f"\nWhen you looked before, you said this, which may be wrong too:\n{quoted('earlier', last, seed)}\n"
