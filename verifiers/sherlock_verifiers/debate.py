"""The verifier `debate`: second executors answer, and all argue until they agree."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sherlock.errors import VerifierError
from sherlock.verifier import Subject, Verdict, together
from sherlock_verifiers.asking import JSON, TEXT, Asking, fields
from sherlock_verifiers.llm_judge import second_answer
from sherlock_verifiers.prompt_files import prompt_template
from sherlock_verifiers.resolve import agrees

TURN = fields(argument=TEXT, answer=TEXT)


@dataclass(frozen=True, slots=True)
class _Position:
    answer: str
    argument: str = ""


@dataclass(frozen=True, kw_only=True)
class Debate(Asking):
    """Debaters argue over the answer, the first of them for the output, until they agree or `rounds` are over.

    `debaters`: how many, two or more, each by `model` (None: the node's own); or `models`: one for each. The others
    begin with an answer of their own. Without agreement a vote ends it (`end="vote"`; a tie leaves the output as it is,
    with a score of 0.5) or a judge does (`end="judge"`, `judge_model`).

    Calls: `debaters - 1` to begin with, `debaters` for each round, at once, and one for the judge.
    """

    debaters: int = 2
    models: Sequence[Any] | None = None
    rounds: int = 2
    end: Literal["vote", "judge"] = "vote"
    judge_model: Any = None
    executor_temperature: float = 0.7

    name: ClassVar[str] = "debate"
    prompt_name: ClassVar[str] = "debate"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self._models()) < 2:
            raise VerifierError(f"a debate has {len(self._models())} debaters: give at least 2")
        if self.rounds < 1:
            raise VerifierError(f"rounds is {self.rounds}: give at least 1")
        if self.end not in ("vote", "judge"):
            raise VerifierError(f"end is {self.end!r}: give 'vote' or 'judge'")

    async def verify(self, subject: Subject) -> Verdict:
        """Accept when the debate ends with the output's own answer; its share of the debaters is the score."""
        positions = await self._opening(subject)
        rounds = 0
        while rounds < self.rounds and not _agreed(positions, subject):
            turns = [self._turn(subject, positions, k) for k in range(len(positions))]
            positions = await together(turns)
            rounds += 1
        camps = _camps(positions, subject)
        held = sum(agrees(each.answer, subject.text, subject.category) for each in positions) / len(positions)
        answer, how = await self._ended(subject, positions, camps)
        reason = f"{how} after {rounds} rounds: {_argument(positions, answer)}"
        if answer is None:
            return Verdict(True, 0.5, None, reason)
        if agrees(answer, subject.text, subject.category):
            return Verdict(True, max(held, 0.5), None, reason)
        return Verdict(False, min(held, 0.5), answer, reason)

    def _models(self) -> Sequence[Any]:
        return self.models if self.models is not None else [self.model] * self.debaters

    async def _opening(self, subject: Subject) -> list[_Position]:
        models = self._models()[1:]
        own = sum(model is None for model in models)
        drawn = await subject.resample(own, temperature=self.executor_temperature) if own else []
        others = await together([second_answer(subject, model) for model in models if model is not None])
        answers = [others.pop(0) if model is not None else drawn.pop(0) for model in models]
        return [_Position(subject.text), *map(_Position, answers)]

    async def _turn(self, subject: Subject, positions: list[_Position], k: int) -> _Position:
        others = [_shown(each) for index, each in enumerate(positions) if index != k]
        part = subject.part(f"debater {k}")
        data = {"mine": positions[k].answer, "others": "\n".join(others)}
        said = await self.ask(part, TURN, data, model=self._models()[k])
        # One who says nothing keeps to the answer he had.
        return _Position(said["answer"].strip() or positions[k].answer, said["argument"])

    async def _ended(self, subject: Subject, positions: list[_Position], camps: Counter[str]) -> tuple[str | None, str]:
        """The answer that wins, or None for a tie, and how it came about."""
        if len(camps) == 1:
            return positions[0].answer, "agreed"
        if self.end == "vote":
            (first, most), (_, next_most) = camps.most_common(2)
            return (None, "tied") if most == next_most else (first, f"{most} of {len(positions)} voted for it")
        names = [str(number) for number in range(1, len(camps) + 1)]
        schema: JSON = fields(reason=TEXT, choice=names)
        shown = "\n".join(f"{name}. {answer}" for name, answer in zip(names, camps, strict=True))
        said = await self.ask(
            subject,
            schema,
            {"answers": shown},
            template=prompt_template("debate-judge"),
            model=self.judge_model or self.model,
        )
        return list(camps)[int(said["choice"]) - 1], f"judged ({said['reason']})"


def _camps(positions: list[_Position], subject: Subject) -> Counter[str]:
    """How many hold each answer, under the first wording of it."""
    camps: Counter[str] = Counter()
    for each in positions:
        same = next((known for known in camps if agrees(known, each.answer, subject.category)), each.answer)
        camps[same] += 1
    return camps


def _agreed(positions: list[_Position], subject: Subject) -> bool:
    return len(_camps(positions, subject)) == 1


def _shown(position: _Position) -> str:
    return f"{position.answer}\n(because: {position.argument})" if position.argument else position.answer


def _argument(positions: list[_Position], answer: str | None) -> str:
    said = [each.argument for each in positions if each.argument and answer in (None, each.answer)]
    return said[0] if said else "without argument"
