"""The verifier `self-refine`: the model criticises its own answer and rewrites it until it is content."""

from dataclasses import dataclass
from typing import ClassVar

from sherlock.equivalence import matches_reference
from sherlock.errors import VerifierError
from sherlock.verifier import Subject, UnreadableAnswer, Verdict
from sherlock_verifiers.asking import TEXT, Asking, fields

ANSWER = fields(problems=TEXT, verdict=["PASS", "FAIL"], answer=TEXT)


@dataclass(frozen=True, kw_only=True)
class SelfRefine(Asking):
    """The model criticises the answer and rewrites it, until it finds nothing wrong or `rounds` are over.

    What it is content with, or has after the last round, replaces the output, unless it says the same as the output.

    Calls: at most `rounds`, and one for each answer that must be repaired.
    """

    rounds: int = 3

    name: ClassVar[str] = "self-refine"
    prompt_name: ClassVar[str] = "self-refine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1:
            raise VerifierError(f"rounds is {self.rounds}: give at least 1")

    async def verify(self, subject: Subject) -> Verdict:
        """Accept when the answer was left as it was; a score of 0.5 says that the model never became content."""
        text, problems, content = subject.text, "", False
        for _ in range(self.rounds):
            said = await self.ask(subject, ANSWER, {"answer": text})
            content = said["verdict"] == "PASS"
            if content:
                break
            if not said["answer"].strip():
                raise UnreadableAnswer(f"the answer was found wrong ({said['problems']!r:.80}) and not rewritten")
            problems = problems or said["problems"]
            if matches_reference(said["answer"], text, subject.category):
                break
            text = said["answer"].strip()
        if matches_reference(text, subject.text, subject.category):
            return Verdict(True, 1.0 if content else 0.5, None, problems or "nothing was found wrong")
        ending = "" if content else f"; still not content after {self.rounds} rounds"
        return Verdict(False, 0.0 if content else 0.5, text, f"{problems}{ending}")
