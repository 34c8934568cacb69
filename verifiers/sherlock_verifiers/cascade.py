"""The verifier `cascade`: the cheap verifier first, a dearer one only where it is unsure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sherlock.errors import VerifierError
from sherlock.registry import make_verifier
from sherlock.verifier import Subject, Verdict, VerifierFailure, run_verifier


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Ask `verifiers` in turn, from cheap to dear, until one is sure.

    One is unsure when its score lies within `band` (ends included), or when it fails; one that gives no score is sure.
    Each has `timeout_s`. If the last one fails, the last verdict before it stands.

    Calls: the first one's, and the others' only as far as they are asked.
    """

    verifiers: Sequence[Any]
    band: tuple[float, float] = (0.3, 0.7)
    timeout_s: float = 30.0

    name: ClassVar[str] = "cascade"

    def __post_init__(self) -> None:
        low, high = self.band
        if not 0 <= low <= high <= 1:
            raise VerifierError(f"band is {self.band}: give two scores in [0, 1], the lower one first")
        members(self.verifiers, self.name)

    async def verify(self, subject: Subject) -> Verdict:
        """The verdict of the first verifier that is sure, else of the last."""
        unsure: Verdict | None = None
        said: list[str] = []
        for index, verifier in enumerate(members(self.verifiers, self.name)):
            part = subject.part(f"{index} {verifier.name}")
            found = await run_verifier(verifier, part, timeout_s=self.timeout_s)
            if isinstance(found, VerifierFailure):
                said.append(found.message)
                continue
            said.append(f"{verifier.name}: {found.rationale}")
            unsure = Verdict(found.accepted, found.score, found.corrected, "; ".join(said))
            if found.score is None or not self.band[0] <= found.score <= self.band[1]:
                return unsure
        if unsure is None:
            raise failed(said)
        return Verdict(unsure.accepted, unsure.score, unsure.corrected, "; ".join(said))


def members(specs: Sequence[Any], name: str) -> list[Any]:
    """The verifiers that a list of specs asks for."""
    if not specs or isinstance(specs, str):
        raise VerifierError(f"{name} is given no list of verifiers: name at least one")
    return [make_verifier(spec) for spec in specs]


def failed(said: Sequence[str]) -> VerifierError:
    """The error of a verifier all of whose members failed."""
    return VerifierError(f"every verifier failed: {'; '.join(said)}")
