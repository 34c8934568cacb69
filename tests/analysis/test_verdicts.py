"""What a verification did, held against re-running the whole workflow with the verdict acted on by hand."""

import asyncio
import zlib
from collections import Counter
from typing import TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from loss_table import Player
from scenarios import CHAIN, LOOP, MAP_REDUCE, NESTED, ROUTER, VOTE

import sherlock
from sherlock.analysis.calibrate import Calibrator, acalibrate
from sherlock.equivalence import matches_reference, same_meaning
from sherlock.faults import Fault
from sherlock.lens import category_of
from sherlock.usage import Limits
from sherlock.verifier import Verdict

ANSWERS = ["12", "high", "low", "", "free", "order 3", "refund 41", "2 3", "total 9", "5 + 1", "at most 9", "fine"]


def never(text, rng):
    return None


NO_FAULT = Fault("never", kind="output", weight=1.0, apply=never)


def judged(text, salt):
    """What the verifier below makes of a text: accepts it, rejects it, or corrects it, for better or worse."""
    drawn = zlib.crc32(f"{salt}/{text}".encode())
    if drawn % 4 == 0:
        return Verdict(True)
    if drawn % 4 == 1:
        return Verdict(False)
    if drawn % 16 == 2:
        return Verdict(False, None, f"{text} ")
    return Verdict(False, None, ANSWERS[drawn // 16 % len(ANSWERS)])


class Whimsical:
    def __init__(self, salt):
        self.salt = salt
        self.name = f"whimsical {salt}"

    async def verify(self, subject):
        return judged(subject.text, self.salt)


def acted_on(text, salt):
    """The text that flows on."""
    corrected = judged(text, salt).corrected
    if corrected is None or same_meaning(text, corrected, category_of(text, text)):
        return text
    return corrected


def calibrated(graph, cases, verifiers, *, scorer, **options):
    return asyncio.run(acalibrate(graph, cases, verifiers=verifiers, scorer=scorer, **options))


@pytest.mark.parametrize("scenario", [CHAIN, VOTE, ROUTER, LOOP, MAP_REDUCE, NESTED], ids=lambda s: s.name)
def test_every_gain_is_that_of_whole_runs_with_the_verdict_acted_on(scenario):
    cases = scenario.cases(13, seed=3)
    salts = ["a", "b", "c"]
    found = calibrated(
        scenario.build(), cases, [Whimsical(salt) for salt in salts], scorer=scenario.score, faults=[NO_FAULT]
    )
    player = Player(scenario)
    seen = Counter()
    for case in cases:
        before = player.play(case, lucky=True)
        texts = dict(player.texts)
        for row in found.rows:
            if row.dropped and case.id not in row.cases:  # it lost the race
                continue
            kept = row.cases[case.id]
            assert kept.before == before
            assert kept.reached == (row.node in texts)
            if kept.reached:
                text = texts[row.node]
                after = acted_on(text, row.label.split()[1])
                gain = player.play(case, lucky=True, replaced=(row.node, after)) - before if after != text else 0.0
                assert (kept.gain, kept.changed) == (gain, after != text), (case, row.node, text, after)
                seen["up" if gain > 0 else "down" if gain < 0 else "level"] += 1
            else:
                assert (kept.gain, kept.changed) == (0.0, False)
    assert seen["down"] > 5
    assert seen["level"] > 5
    for row in found.rows:
        gains = [kept.gain for kept in row.cases.values()]
        assert row.gain.n == len(gains)
        assert len(gains) >= 8 if row.dropped else len(gains) == len(cases)
        assert row.gain.value == pytest.approx(sum(gains) / len(gains))
        assert row.repaired.value == pytest.approx(sum(gain > 0 for gain in gains) / len(gains))
        assert row.broken.value == pytest.approx(sum(gain < 0 for gain in gains) / len(gains))


@pytest.mark.parametrize(
    ("scenario", "fault"), [(CHAIN, 0), (CHAIN, 2), (CHAIN, 3), (ROUTER, 4), (ROUTER, 1), (NESTED, 3)]
)
def test_detection_correction_and_repairs_of_injected_faults(scenario, fault):
    cases = scenario.cases(8, seed=4)  # too few for a race
    chosen = scenario.faults[fault]
    found = calibrated(
        scenario.build(),
        cases,
        [Whimsical("a"), Whimsical("b")],
        scorer=scenario.score,
        faults=[Fault(chosen.name, kind="output", weight=1.0, apply=chosen.apply)],
    )
    player = Player(scenario)
    wanted = {row.label: {row.node: [] for row in found.rows} for row in found.rows}
    for case in cases:
        right = player.play(case, lucky=True) >= 1
        texts = dict(player.texts)
        for row in found.rows:
            kept, text = row.cases[case.id], texts.get(row.node)
            faulty = None if text is None or not right else chosen.apply(text, None)
            if faulty is None or faulty == text:
                assert kept.faults == 0
                continue
            salt = row.label.split()[1]
            verdict, after = judged(faulty, salt), acted_on(faulty, salt)
            scores = [player.play(case, lucky=True, replaced=(row.node, it)) for it in (faulty, after)]
            mended = verdict.corrected is not None and says(verdict.corrected, text)
            assert (kept.faults, kept.repaired, kept.corrected) == (1, int(scores[1] > scores[0]), int(mended))
            wanted[row.label][row.node].append((not verdict.accepted, mended))
    for row in found.rows:
        expected = wanted[row.label][row.node]
        if not expected:
            assert row.detection is None
            continue
        assert row.detection.n == len(expected)
        assert row.detection.value == pytest.approx(sum(d for d, _ in expected) / len(expected))
        assert row.correction.value == pytest.approx(sum(c for _, c in expected) / len(expected))


def says(text, gold):
    return matches_reference(text, gold, category_of(gold, gold))


# A pipeline of three that counts what it executes.


class State(TypedDict, total=False):
    x: int
    first: str
    second: str
    answer: str


def pipeline(counts):
    def first(state):
        counts["first"] += 1
        return {"first": "right" if state["x"] % 3 else "wrong"}

    def second(state):
        counts["second"] += 1
        return {"second": state["first"].upper()}

    def last(state):
        counts["last"] += 1
        return {"answer": state["second"]}

    builder = StateGraph(State)
    for name, node in (("first", first), ("second", second), ("last", last)):
        builder.add_node(name, node)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", "last")
    return builder.add_edge("last", END)


def correct(output, case):
    return output["answer"] == "RIGHT"


CASES = [sherlock.Case({"x": x}) for x in range(9)]


class Says:
    """Gives one answer to every output, and counts how often it is asked."""

    def __init__(self, verdict, name="says"):
        self.verdict, self.name, self.asked = verdict, name, 0

    async def verify(self, subject):
        self.asked += 1
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


def tried(*verifiers, node="first", faults=(NO_FAULT,), cases=CASES, **options):
    """Calibrate at one node; what was executed beyond the clean runs and the probes for determinism."""
    counts = Counter()
    found = calibrated(pipeline(counts), cases, {node: list(verifiers)}, scorer=correct, faults=faults, **options)
    counts.subtract(dict.fromkeys(("first", "second", "last"), len(cases) + min(len(cases), 5)))
    return found, {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize(
    "verdict",
    [Verdict(True), Verdict(False), Verdict(False, 0.1), RuntimeError("broken"), "rubbish", None, True],
)
def test_nothing_is_executed_where_the_output_stays(verdict):
    found, executed = tried(Says(verdict))
    assert executed == {}
    assert found.trials == 0
    assert found.rows[0].gain.value == 0
    assert found.rows[0].match_rate.value == 1


def test_a_corrected_output_that_says_the_same_is_a_match():
    class Flourish:
        name = "flourish"

        async def verify(self, subject):
            return Verdict(False, None, subject.text.upper() + "  ")  # the node's category lets this pass as the same

    found, executed = tried(Flourish())
    row = found.rows[0]
    assert executed == {}
    assert row.match_rate.value == 1
    assert row.false_alarm.value == 1  # it was rejected all the same
    assert [example.after != example.before for example in row.examples] == [True] * 3


def test_the_suffix_is_run_once_for_each_new_output_however_many_verifiers_made_it():
    found, executed = tried(*(Says(Verdict(False, None, "right"), name) for name in "abc"))
    assert executed == {"second": 3, "last": 3}  # the three wrong cases; where it was right nothing changed
    assert found.trials == 3
    assert [row.gain.value for row in found.rows] == [pytest.approx(1 / 3)] * 3
    assert [row.repaired.value for row in found.rows] == [pytest.approx(1 / 3)] * 3
    assert [row.broken.value for row in found.rows] == [0] * 3


def test_a_fault_put_right_again_is_the_run_without_it():
    swap = Fault("swap", kind="output", weight=1.0, apply=lambda text, rng: "left" if text == "right" else None)
    found, executed = tried(Says(Verdict(False, None, "right")), faults=[swap])
    row = found.rows[0]
    assert executed == {"second": 3 + 6, "last": 3 + 6}  # the corrections of wrong runs, and the six faults
    assert (row.detection.value, row.correction.value, row.detection.n) == (1, 1, 6)
    assert sum(case.repaired for case in row.cases.values()) == 6


def test_a_whole_update_as_a_correction():
    found, _ = tried(Says(Verdict(False, None, {"first": "right"})))
    assert found.rows[0].gain.value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (RuntimeError("no such luck"), "raised: the verifier 'says' on the node 'first' raised"),
        ("rubbish", "no_verdict"),
        (Verdict(False, None, ["right"]), "uncastable"),
        (Verdict(False, None, {}), "uncastable"),
    ],
)
def test_a_failure_is_never_a_verdict(verdict, words):
    swap = Fault("swap", kind="output", weight=1.0, apply=lambda text, rng: "left")
    found, _ = tried(Says(verdict), Says(Verdict(True), "fine"), faults=[swap])
    row, other = found.rows
    assert row.failures == row.verifications == 9 + 6
    assert words in row.failure
    assert row.detection is row.correction is row.false_alarm is None
    assert row.gain.value == 0
    assert (other.failures, other.detection.value) == (0, 0)


def test_a_verifier_that_hangs_is_timed_out_and_asked_again_next_time(tmp_path):
    class Hangs:
        name = "hangs"
        asked = 0

        async def verify(self, subject):
            Hangs.asked += 1
            await asyncio.sleep(60)

    def calibration():
        settings = {"faults_per_kind": 1, "visits": "first", "pass_mark": 1.0, "seed": 0, "confidence": 0.95, "top": 1}
        calibrator = Calibrator(
            pipeline(Counter()),
            CASES,
            verifiers={"first": [Hangs()]},
            verifier_timeout_s=0.05,
            scorer=correct,
            faults=[NO_FAULT],
            nodes=None,
            margin=0.1,
            limits=Limits(),
            store=tmp_path / "store.sqlite",
            concurrency=8,
            recordings=None,
            dry_run=False,
            progress=None,
            config={},
            context=None,
            **settings,
        )
        return asyncio.run(calibrator.run())

    found = calibration()
    assert found.rows[0].failures == 9
    assert "timed_out" in found.rows[0].failure
    assert "0.05 s" in found.rows[0].failure
    assert Hangs.asked == 9
    calibration()
    assert Hangs.asked == 18


def test_references_tell_which_alarms_are_false():
    # The first node is wrong in every third case, and in case 1 the run comes out right in spite of a wrong output.
    cases = [
        sherlock.Case({"x": x}, references={"first": "right" if x != 1 else "something else"}, id=str(x))
        for x in range(9)
    ]
    found, _ = tried(Says(Verdict(False)), cases=cases)
    row = found.rows[0]
    assert row.false_alarm.value == 1
    assert row.false_alarm.n == 5  # not the three wrong ones, nor case 1
    without, _ = tried(Says(Verdict(False)))
    assert without.rows[0].false_alarm.n == 6  # the runs that came out right


def test_a_node_with_effects_is_not_resampled():
    class Resamples:
        name = "resamples"

        async def verify(self, subject):
            await subject.resample(2)
            return Verdict(True)

    @sherlock.effects("irreversible", stub=lambda state: {"answer": "RIGHT"})
    def send(state):
        raise RuntimeError("never to be run")

    builder = StateGraph(State)
    builder.add_node("send", send)
    builder.add_edge(START, "send")
    found = calibrated(builder, CASES, [Resamples()], scorer=correct, faults=[NO_FAULT])
    assert "cannot be resampled" in found.rows[0].failure
