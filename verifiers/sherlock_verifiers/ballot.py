"""Counts which answer most chains give, the node's own output included."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sherlock.equivalence import matches_reference
from sherlock.errors import VerifierError
from sherlock_verifiers.chains import Chain


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a vote ended: the winning text, whether it is the output's own, and the output's share of the votes."""

    winner: str
    kept: bool
    share: float
    words: str


class Ballot:
    """The vote on one output. Answers are the same when they are equal as references are compared."""

    def __init__(self, text: str, category: str, extract: str | None, n: int) -> None:
        try:
            self._extract = re.compile(extract, re.DOTALL) if extract else None
        except re.error as error:
            raise VerifierError(f"extract is {extract!r}, no regular expression: {error}") from error
        if self._extract is not None and not self._extract.groups:
            raise VerifierError(f"extract is {extract!r}: give it a group round the answer")
        self._text, self._category, self._n = text, category, n

    def settled(self, chains: Sequence[Chain]) -> bool:
        """Whether no chain that is still to come could change the winner."""
        counted = _in_order(chains)
        votes = [votes for _, votes in self._camps(counted).values()]
        ranked = sorted(votes, reverse=True)
        lead = ranked[0] - (ranked[1] if len(ranked) > 1 else 0)
        return lead > self._n - len(counted)

    def outcome(self, chains: Sequence[Chain]) -> Outcome:
        """A tie with the output's own answer keeps the output; one without goes to the answer that came first."""
        camps = self._camps(_in_order(chains))
        most = max(votes for _, votes in camps.values())
        winners = [answer for answer, (_, votes) in camps.items() if votes == most]
        total = sum(votes for _, votes in camps.values())
        own = next(iter(camps))
        kept = own in winners
        winner = own if kept else winners[0]
        words = f"{most} of {total} answers are {winner!r:.80}"
        if len(winners) > 1:
            words = f"a tie at {most} of {total} between {' and '.join(f'{answer!r:.60}' for answer in winners)}"
        return Outcome(camps[winner][0], kept, camps[own][1] / total, words)

    def _camps(self, chains: Sequence[Chain]) -> dict[str, tuple[str, int]]:
        """For each answer, in order of coming, the text that first gave it and its votes; the output's own first."""
        first = self._answer(self._text)
        votes = Counter([self._text.strip() if first is None else first])
        texts = dict.fromkeys(votes, self._text)
        for chain in chains:
            answer = None if chain.pruned else self._answer(chain.text)
            if answer is None:
                continue
            same = next((known for known in votes if matches_reference(answer, known, self._category)), answer)
            votes[same] += 1
            texts.setdefault(same, chain.text.strip())
        return {answer: (texts[answer], count) for answer, count in votes.items()}

    def _answer(self, text: str) -> str | None:
        if self._extract is None:
            return text.strip()
        found = self._extract.search(text)
        return found[1].strip() if found else None


def _in_order(chains: Sequence[Chain]) -> list[Chain]:
    """The chains up to the first that still goes on: what comes later must not count before it."""
    done = []
    for chain in chains:
        if not chain.ended and not chain.pruned:
            break
        done.append(chain)
    return done
