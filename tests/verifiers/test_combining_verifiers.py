"""Cascade and vote, of verifiers that say what the test wants."""

import asyncio
import time
from dataclasses import dataclass

import pytest

from sherlock.registry import make_verifier
from sherlock.usage import Usage
from sherlock.verifier import Subject, Verdict, VerifierFailure, run_verifier


@dataclass
class Says:
    verdict: Verdict | Exception
    seconds: float = 0.0
    name: str = "says"
    asked: int = 0

    async def verify(self, subject):
        self.asked += 1
        subject.charge(Usage(calls=1))
        await asyncio.sleep(self.seconds)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


YES, NO = Verdict(True, 0.9, rationale="fine"), Verdict(False, 0.1, "B", "wrong")
UNSURE = Verdict(True, 0.5, rationale="perhaps", usage=Usage(calls=10))


def judged(spec, **changes):
    subject = Subject(**{"node": "n", "text": "A", **changes})
    found = asyncio.run(run_verifier(make_verifier(spec), subject, timeout_s=20))
    assert found.usage == subject.usage
    return found


def test_a_sure_verdict_ends_a_cascade():
    cheap, dear = Says(YES, name="cheap"), Says(NO, name="dear")
    found = judged({"use": "cascade", "verifiers": [cheap, dear]})
    assert (found.accepted, found.score, dear.asked, found.usage.calls) == (True, 0.9, 0, 1)


@pytest.mark.parametrize("first", [UNSURE, Verdict(False, 0.7), ValueError("broken"), Verdict(True, 0.3)])
def test_an_unsure_or_failing_verifier_hands_on(first):
    dear = Says(NO, name="dear")
    found = judged({"use": "cascade", "verifiers": [Says(first, name="cheap"), dear]})
    assert (found.accepted, found.corrected, dear.asked) == (False, "B", 1)
    assert "cheap" in found.rationale
    assert "dear: wrong" in found.rationale


def test_what_was_spent_outside_counts_once():
    found = judged({"use": "cascade", "verifiers": [Says(UNSURE), Says(YES)]})
    assert found.usage.calls == 12


def test_one_without_a_score_is_sure():
    last = Says(NO)
    assert judged({"use": "cascade", "verifiers": [Says(Verdict(True)), last]}).accepted
    assert not last.asked


def test_the_last_verdict_stands_when_the_dearer_fails():
    found = judged({"use": "cascade", "verifiers": [Says(UNSURE), Says(ValueError("x"))]})
    assert (found.accepted, found.score) == (True, 0.5)
    assert "ValueError: x" in found.rationale


def test_a_cascade_of_failures_is_one():
    found = judged({"use": "cascade", "verifiers": [Says(ValueError("a")), Says(YES, seconds=5)], "timeout_s": 0.1})
    assert isinstance(found, VerifierFailure)
    assert "ValueError: a" in found.message
    assert "within 0.1 s" in found.message
    assert found.usage.calls == 2


def test_votes_by_majority_and_by_weight():
    members = [Says(YES), Says(NO), Says(NO)]
    found = judged({"use": "vote", "verifiers": members})
    assert (found.accepted, found.corrected, found.score) == (False, "B", pytest.approx(1 / 3))
    found = judged({"use": "vote", "verifiers": members, "weights": [3, 1, 1]})
    assert (found.accepted, found.score) == (True, 0.6)
    assert found.usage.calls == 3


def test_a_tied_vote_keeps_the_output():
    found = judged({"use": "vote", "verifiers": [Says(YES), Says(NO)]})
    assert (found.accepted, found.score) == (True, 0.5)


def test_the_heaviest_correction_wins_and_equal_ones_are_added():
    members = [Says(Verdict(False, corrected=c)) for c in ("X", "Y", " y.", None, {"k": 1})]
    output = {"k": "A"}
    found = judged({"use": "vote", "verifiers": members}, output=output, text=None)
    assert found.corrected == "Y"
    found = judged({"use": "vote", "verifiers": members, "weights": [3, 1, 1, 9, 1]}, output=output, text=None)
    assert found.corrected == "X"
    found = judged({"use": "vote", "verifiers": [Says(Verdict(False))]})
    assert (found.accepted, found.corrected) == (False, None)


def test_failures_abstain():
    found = judged({"use": "vote", "verifiers": [Says(NO), Says(ValueError("x")), Says(ValueError("y"))]})
    assert (found.accepted, found.corrected) == (False, "B")
    assert judged({"use": "vote", "verifiers": [Says(ValueError("x"))]}).kind == "raised"


def test_a_vote_takes_as_long_as_its_slowest():
    started = time.perf_counter()
    judged({"use": "vote", "verifiers": [Says(YES, seconds=0.5) for _ in range(6)]})
    assert time.perf_counter() - started < 2


def test_cancelling_a_vote_ends_all_its_members():
    ended = []

    class Slow:
        name = "slow"

        async def verify(self, subject):
            try:
                await asyncio.sleep(30)
            finally:
                ended.append(subject.seed)

    found = asyncio.run(
        run_verifier(make_verifier({"use": "vote", "verifiers": [Slow(), Slow()]}), Subject(text="A"), timeout_s=0.1)
    )
    assert found.kind == "timed_out"
    assert len(set(ended)) == 2, "the members have one seed"
