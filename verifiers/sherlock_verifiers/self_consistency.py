"""The verifier `self-consistency`: the node is asked again several times, and the answers vote."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from sherlock.errors import VerifierError
from sherlock.verifier import Subject, Verdict
from sherlock_verifiers.ballot import Ballot
from sherlock_verifiers.chains import Chain, plain, slimmed
from sherlock_verifiers.embedders import Embedder, embedder_of


@dataclass(frozen=True, kw_only=True)
class SelfConsistency:
    """Ask the node `n` times more; the answer that most give, the output's own included, wins.

    Answers are compared as the equivalence module normalises them. `extract`: a regular expression whose first group is
    the answer; chains without it do not vote. With `early_stop` chains are ended as soon as the vote can no longer
    turn; chains count in the order in which they were drawn, so that the verdict does not depend on timing.

    `embedder` turns pruning on (Slim-SC, arXiv:2509.13990): chains are streamed and cut into thoughts at line breaks,
    and a chain whose thought is a near copy of an earlier chain's, with the same numbers, is ended and does not vote;
    two chains are always left. It is "minilm" (extra `embeddings`) or a function, or `module:function`, from a list of
    texts to a list of vectors. `threshold` is the cosine from which two thoughts are copies: known for "minilm", to be
    given for any other, because a figure for one embedder means nothing for another. The first `free_thoughts` are not
    compared: chains of one prompt begin alike.

    Calls: `n`, at once. The rationale names ties, and what pruning and stopping early have saved.
    """

    n: int = 4
    temperature: float = 0.7
    extract: str | None = None
    early_stop: bool = True
    embedder: str | Callable[..., Any] | None = None
    threshold: float | None = None
    free_thoughts: int = 1

    name: ClassVar[str] = "self-consistency"

    def __post_init__(self) -> None:
        if self.n < 2:
            raise VerifierError(f"n is {self.n}: give at least 2, for one more answer can only tie")
        if not self.temperature > 0:
            raise VerifierError(f"temperature is {self.temperature}: give more than 0, or all answers are the same")
        if self.free_thoughts < 0:
            raise VerifierError(f"free_thoughts is {self.free_thoughts}: give 0 or more")
        Ballot("", "instruction", self.extract, self.n)
        self._embedder()

    async def verify(self, subject: Subject) -> Verdict:
        """The score is the output's share of the votes."""
        ballot = Ballot(subject.text, subject.category, self.extract, self.n)
        drawn = subject.chains(self.n, temperature=self.temperature)
        chains = [Chain(index, pieces) for index, pieces in enumerate(drawn)]
        embedder = self._embedder()
        settled = ballot.settled if self.early_stop else _never
        try:
            if embedder is None or subject.resampler is not None:
                counted = await plain(chains, settled, one_by_one=subject.model == "local")
            else:
                counted = await slimmed(chains, settled, embedder, self.free_thoughts)
        finally:
            for chain in chains:
                await chain.close()
        outcome = ballot.outcome(counted)
        notes = [outcome.words, *_notes(chains, counted, embedder, resampled=subject.resampler is not None)]
        corrected = None if outcome.kept else outcome.winner
        return Verdict(outcome.kept, outcome.share, corrected, "; ".join(notes))

    def _embedder(self) -> Embedder | None:
        if self.embedder is None:
            if self.threshold is not None:
                raise VerifierError("a threshold is given without an embedder that it is for: name one, or drop it")
            return None
        return embedder_of(self.embedder, self.threshold)


def _never(_chains: list[Chain]) -> bool:
    return False


def _notes(chains: list[Chain], counted: list[Chain], embedder: Embedder | None, *, resampled: bool) -> list[str]:
    pruned = [chain for chain in chains if chain.pruned]
    ended = [chain for chain in counted if chain.ended]
    stopped = [chain for chain in chains if chain not in ended and not chain.pruned]
    notes = []
    if pruned:
        notes.append(f"{len(pruned)} of {len(chains)} chains repeated another's thought and were ended")
    if stopped:
        notes.append(f"{len(stopped)} chains were not needed, for the vote could no longer turn")
    if embedder is not None and (resampled or not any(chain.streamed for chain in chains)):
        notes.append("answers were not streamed, so that no chain could be ended early")
    if (pruned or stopped) and ended:
        mean = sum(len(chain.text) for chain in ended) / len(ended)
        saved = sum(max(0.0, mean - len(chain.text)) for chain in (*pruned, *stopped)) / 4
        notes.append(f"about {saved:.0f} output tokens saved, by the length of the chains that ended")
    return notes
