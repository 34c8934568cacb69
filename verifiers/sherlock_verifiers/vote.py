"""The verifier `vote`: several verifiers at once, and the majority decides."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sherlock.errors import VerifierError
from sherlock.verifier import Subject, Verdict, Verifier, VerifierFailure, run_verifier, together
from sherlock_verifiers.cascade import failed, members
from sherlock_verifiers.resolve import agrees


@dataclass(frozen=True, kw_only=True)
class Vote:
    """Ask all `verifiers` at once; the output is accepted when more weight is for it than against.

    `weights`: one positive number each; None: all alike. A verifier that fails within `timeout_s` abstains. The
    correction is the one with most weight among those that reject; between equals, the one that was named first. With
    equal weight for and against, the output is accepted with a score of 0.5.

    Calls: those of all; wall time: that of the slowest.
    """

    verifiers: Sequence[Any]
    weights: Sequence[float] | None = None
    timeout_s: float = 30.0

    name: ClassVar[str] = "vote"

    def __post_init__(self) -> None:
        count = len(members(self.verifiers, self.name))
        if self.weights is not None and len(self.weights) != count:
            raise VerifierError(f"there are {len(self.weights)} weights for {count} verifiers: give one each")
        if any(not weight > 0 for weight in self.weights or ()):
            raise VerifierError(f"the weights are {list(self.weights or ())}: give positive numbers")

    async def verify(self, subject: Subject) -> Verdict:
        """The score is the share of weight that is for the output."""
        asked = members(self.verifiers, self.name)
        found = await together([self._asked(verifier, subject, k) for k, verifier in enumerate(asked)])
        weights = self.weights or [1.0] * len(asked)
        votes = [(one, weight) for one, weight in zip(found, weights, strict=True) if isinstance(one, Verdict)]
        said = [f"{v.name}: {_said(one)}" for v, one in zip(asked, found, strict=True)]
        if not votes:
            raise failed(said)
        share = sum(weight for one, weight in votes if one.accepted) / sum(weight for _, weight in votes)
        if share >= 0.5:
            return Verdict(True, share, None, "; ".join(said))
        corrections = [(one.corrected, weight) for one, weight in votes if one.corrected is not None]
        return Verdict(False, share, _heaviest(corrections, subject.category), "; ".join(said))

    async def _asked(self, verifier: Verifier, subject: Subject, index: int) -> Verdict | VerifierFailure:
        part = subject.part(f"{index} {verifier.name}")
        return await run_verifier(verifier, part, timeout_s=self.timeout_s)


def _heaviest(corrections: list[tuple[Any, float]], category: str) -> Any:
    sums: defaultdict[int, float] = defaultdict(float)
    for index, (corrected, weight) in enumerate(corrections):
        same = (k for k in range(index) if _same(corrections[k][0], corrected, category))
        sums[next(same, index)] += weight
    return corrections[max(sums, key=lambda k: sums[k])][0] if sums else None


def _same(a: Any, b: Any, category: str) -> bool:
    if isinstance(a, str) and isinstance(b, str):
        return agrees(a, b, category)
    return type(a) is type(b) and bool(a == b)


def _said(found: Verdict | VerifierFailure) -> str:
    if isinstance(found, VerifierFailure):
        return f"failed ({found.message})"
    return f"{'accepts' if found.accepted else 'rejects'} ({found.rationale})"
