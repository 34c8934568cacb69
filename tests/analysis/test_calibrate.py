"""`calibrate` from end to end: repeatable, resumable, bounded, fair in its races; bad input; and what it cost."""

import asyncio
import json
import math
import random
import time
from collections import Counter
from typing import TypedDict

import numpy as np
import pytest
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from scenarios import CHAIN, LOOP, MAP_REDUCE, ROUTER
from scripted_server import ScriptedServer

import sherlock
from sherlock.analysis.calibrate import Calibrator, acalibrate
from sherlock.analysis.calibration import Tried
from sherlock.analysis.calibration_rows import figures
from sherlock.analysis.verdicts import Outcome
from sherlock.errors import (
    ArtefactError,
    CasesError,
    GraphError,
    ModelError,
    PlanMismatch,
    VerifierError,
    VerifierNotFound,
)
from sherlock.faults import Fault
from sherlock.usage import NO_USAGE, Limits, Usage
from sherlock.verifier import Verdict

SWAP = Fault("swap", kind="output", weight=1.0, apply=lambda text, rng: "swapped")


def calibrated(graph, cases, verifiers, **options):
    return asyncio.run(acalibrate(graph, cases, verifiers=verifiers, **options))


def data(calibration):
    """All of an artefact but its timing."""
    found = json.loads(calibration.to_json())
    del found["timing"]
    return found


class Corrects:
    """Knows what each text should have been; asks for its time."""

    def __init__(self, table, name="corrects", jitter=None):
        self.table, self.name, self.jitter = table, name, jitter
        self.asked = 0

    async def verify(self, subject):
        self.asked += 1
        if self.jitter is not None:
            await asyncio.sleep(self.jitter.random() / 300)
        wanted = self.table.get(subject.text)
        return Verdict(True) if wanted is None else Verdict(False, None, wanted)


TABLE = {"13": "12", "": "2 3", "low": "high", "order 12": "order 13", "swapped": "7", "6": "5", "refund": "order"}
OTHER = {"swapped": "high", "low": "medium", "7": "8"}


def slowed(jitter):
    def around(name, function):
        def node(state):
            time.sleep(jitter.random() / 500)
            return function(state)

        return node

    return around


@pytest.mark.parametrize("scenario", [CHAIN, ROUTER, MAP_REDUCE], ids=lambda s: s.name)
def test_the_artefact_depends_on_neither_timing_nor_concurrency(scenario):
    found = []
    for seed, concurrency in ((1, 1), (2, 8)):
        jitter = random.Random(seed)
        verifiers = [Corrects(table, name, jitter) for name, table in (("one", TABLE), ("two", OTHER), ("none", {}))]
        graph = scenario.make(slowed(jitter), None)
        options = {"scorer": scenario.score, "concurrency": concurrency, "faults": [SWAP]}
        found.append(data(calibrated(graph, scenario.cases(13), verifiers, **options)))
    assert found[0] == found[1]


def test_what_is_in_the_store_is_not_done_again(tmp_path):
    cases = CHAIN.cases(12)
    options = {"scorer": CHAIN.score, "faults": [SWAP]}
    ran = Counter()

    def counting(name, function):
        def node(state):
            ran[name] += 1
            return function(state)

        return node

    whole = calibrated(CHAIN.make(counting, None), cases, [Corrects(TABLE)], **options)

    def so_far():
        verifier = Corrects(TABLE)
        result = calibrated(CHAIN.make(counting, None), cases, [verifier], store=tmp_path / "s.sqlite", **options)
        return result, verifier.asked

    class CutOffError(Exception):
        pass

    left = 0

    def cut(progress):
        nonlocal left
        left -= progress.stage in ("clean", "sham", "trial")
        if left == 0:
            raise CutOffError

    for left in (3, 30, 45):  # noqa: B007  (the callback counts it down)
        with pytest.raises(CutOffError):
            calibrated(
                CHAIN.make(counting, None),
                cases,
                [Corrects(TABLE)],
                store=tmp_path / "s.sqlite",
                progress=cut,
                **options,
            )
    resumed, asked = so_far()
    assert asked < whole.verifications
    ran.clear()
    again, asked = so_far()
    assert (asked, ran) == (0, Counter())
    assert data(resumed) == data(again) == data(whole)
    assert again.rows[0].latency_s == resumed.rows[0].latency_s


def test_other_settings_or_other_code_of_a_verifier_are_asked_anew(tmp_path):
    options = {"scorer": CHAIN.score, "faults": [SWAP], "store": tmp_path / "s.sqlite"}
    cases = CHAIN.cases(8)
    for verifier, asked in ((Corrects(TABLE), True), (Corrects(TABLE), False), (Corrects(OTHER), True)):
        calibrated(CHAIN.build(), cases, {"add": [verifier]}, **options)
        assert bool(verifier.asked) == asked


def test_an_analysis_shares_its_runs_and_injections(tmp_path):
    cases, ran = CHAIN.cases(20), Counter()

    def counting(name, function):
        def node(state):
            ran[name] += 1
            return function(state)

        return node

    def graph():
        return CHAIN.make(counting, None)

    store = tmp_path / "s.sqlite"
    sherlock.analyze(graph(), cases, scorer=CHAIN.score, store=store, margin=0.0, confidence=0.999)
    ran.clear()
    calibrated(graph(), cases, [Corrects({})], scorer=CHAIN.score, store=store)
    assert ran == Counter()


def test_a_limit_leaves_a_valid_part(tmp_path):
    verifier = Corrects(TABLE)
    none = calibrated(
        CHAIN.build(), CHAIN.cases(10), [verifier], scorer=CHAIN.score, limits=Limits(seconds=0), faults=[SWAP]
    )
    assert none.partial == "limit reached: 0 seconds"
    assert verifier.asked == 0
    assert none.rows[0].gain is None
    none.save(tmp_path / "calibration.json")
    assert data(sherlock.Calibration.load(tmp_path / "calibration.json")) == data(none)


def test_a_dry_run_runs_nothing_and_the_forecast_is_not_exceeded():
    ran = Counter()

    def counting(name, function):
        def node(state):
            ran[name] += 1
            return function(state)

        return node

    graph = CHAIN.make(counting, None)
    verifiers = [Corrects(TABLE), Corrects(OTHER, "other")]
    options = {"scorer": CHAIN.score, "faults": [SWAP]}
    dry = calibrated(graph, CHAIN.cases(9), verifiers, dry_run=True, **options)
    assert ran == Counter()
    assert dry.partial == "dry run: nothing was executed"
    assert [verifier.asked for verifier in verifiers] == [0, 0]
    wet = calibrated(graph, CHAIN.cases(9), verifiers, **options)
    assert wet.forecast == dry.forecast
    assert 0 < wet.node_executions <= sum(ran.values()) <= dry.forecast.node_executions
    assert 0 < wet.trials <= dry.forecast.trials
    assert f"{2 * 2 * 4 * 9} verifications" in dry.forecast.basis


def test_a_calibration_is_read_back_as_it_was(tmp_path):
    found = calibrated(CHAIN.build(), CHAIN.cases(8), [Corrects(TABLE)], scorer=CHAIN.score, faults=[SWAP])
    found.save(tmp_path / "c.json")
    loaded = sherlock.Calibration.load(tmp_path / "c.json")
    assert loaded == found
    text = (tmp_path / "c.json").read_text()
    (tmp_path / "c.json").write_text(text.replace('"gain"', '"gian"', 1))
    with pytest.raises(ArtefactError, match="gian"):
        sherlock.Calibration.load(tmp_path / "c.json")


# Races.


def race(gains, *, cost=None, cases=60):
    """Hold a race over given gains (verifier -> gain of each case); the verifiers that were dropped."""
    calibrator = Calibrator.__new__(Calibrator)
    calibrator.settings = type("Settings", (), {"confidence": 0.95})()
    calibrator.dropped, calibrator.outcomes = {}, []

    class Runner:
        def __init__(self, label):
            self.label = label

    everyone = [Runner(label) for label in gains]
    calibrator._asked = {None: everyone}
    done = 0
    for look in (8, 12, 24, 50):
        if look >= cases:
            break
        running = [each for each in everyone if ("n", each.label) not in calibrator.dropped]
        for each in running:
            for case in range(done, look):
                usage = (cost or {}).get(each.label, NO_USAGE)
                calibrator.outcomes.append(verified(case, each.label, gains[each.label][case], usage))
        done = look
        calibrator._race("n", running)
    return {label for _, label in calibrator.dropped}


def verified(case, label, gain, usage=NO_USAGE):
    return Outcome(
        case=case,
        node="n",
        label=label,
        kind="natural",
        rejected=True,
        matched=False,
        failure=None,
        before_score=0.0,
        gain=gain,
        was_right=None,
        correct_now=None,
        before="",
        after="",
        usage=usage,
        seconds=1.0,
    )


def test_a_race_hardly_ever_drops_the_better_one_and_mostly_the_far_worse():
    rng = np.random.default_rng(0)
    runs, wrong, equal, told = 250, 0, 0, 0
    for _ in range(runs):
        hard = rng.random(60)  # both verifiers meet the same cases
        better = np.where(hard < 0.35, 1.0, np.where(hard > 0.97, -1.0, 0.0))
        worse = np.where(rng.permutation(hard) < 0.28, 1.0, 0.0)
        awful = np.where(rng.random(60) < 0.5, -1.0, 0.0)
        wrong += "better" in race({"better": better, "worse": worse})
        equal += bool(race({"one": rng.permutation(better), "two": better, "three": rng.permutation(better)}))
        told += race({"better": better, "awful": awful}) == {"awful"}
    print(f"the better one dropped {wrong}, one of three equals {equal}, the awful one {told} times of {runs}")
    bound = 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)
    assert wrong / runs <= bound
    assert equal / runs <= bound
    assert told / runs > 0.95


def test_no_one_is_dropped_for_one_that_costs_more():
    good, bad = np.ones(60), -np.ones(60)
    dear, cheap = Usage(calls=1, tokens_in=50, usd=0.1), Usage(calls=1, tokens_in=49, usd=0.2)
    assert race({"good": good, "bad": bad}) == {"bad"}
    assert race({"good": good, "bad": bad}, cost={"good": dear}) == set()
    assert race({"good": good, "bad": bad}, cost={"good": dear, "bad": cheap}) == set()
    assert race({"good": good, "bad": bad}, cost={"good": cheap, "bad": dear}) == set()
    assert race({"good": good, "bad": bad}, cost={"bad": dear}) == {"bad"}
    unknown = Usage(calls=1, tokens_in=10, usd=None)
    assert race({"good": good, "bad": bad}, cost={"good": unknown, "bad": dear}) == set()


def test_who_lost_is_tried_on_no_more_cases_and_who_ran_to_the_end_lost_nothing():
    spoil = {str(n): "nonsense" for n in range(100)} | {"high": "nonsense", "low": "nonsense"}
    options = {"scorer": CHAIN.score, "faults": [SWAP], "nodes": ["add"]}
    found = calibrated(CHAIN.build(), CHAIN.cases(30), [Corrects({}, "calm"), Corrects(spoil, "spoils")], **options)
    calm, spoils = found.rows
    assert calm.gain.n == 30
    assert 8 <= spoils.gain.n < 24
    assert spoils.dropped == f"beaten by calm on {spoils.gain.n} cases, at no lower price"
    assert spoils.broken.value > 0.5
    found = calibrated(CHAIN.build(), CHAIN.cases(8), [Corrects({}, "calm"), Corrects(spoil, "spoils")], **options)
    assert [row.dropped for row in found.rows] == [None, None]


# What is tried where.


def test_nodes_come_in_the_order_of_the_analysis_and_each_has_its_own_verifiers():
    cases = CHAIN.cases(8)
    analysis = sherlock.analyze(CHAIN.build(), cases, scorer=CHAIN.score)
    found = calibrated(CHAIN.build(), cases, [Corrects({})], scorer=CHAIN.score, faults=[SWAP], analysis=analysis)
    assert [row.node for row in found.rows] == analysis.ranking
    by_node = {"add": [Corrects({}, "a"), Corrects(TABLE, "b")], "read": Corrects({}, "c")}
    found = calibrated(CHAIN.build(), cases, by_node, scorer=CHAIN.score, faults=[SWAP], analysis=analysis)
    assert sorted((row.node, row.label) for row in found.rows) == [("add", "a"), ("add", "b"), ("read", "c")]


@pytest.mark.parametrize(
    "verifiers", ["schema", {"use": "check", "regex": r"\d+"}, [{"use": "check", "regex": r"\d+"}], Corrects({})]
)
def test_a_single_verifier_need_not_be_a_list(verifiers):
    if verifiers == "schema":
        with pytest.raises(VerifierError, match="schema"):
            calibrated(CHAIN.build(), CHAIN.cases(8), verifiers, scorer=CHAIN.score, dry_run=True)
        return
    found = calibrated(CHAIN.build(), CHAIN.cases(8), verifiers, scorer=CHAIN.score, nodes=["add"], dry_run=True)
    assert len(found.rows) == 1


def test_verifiers_of_one_name_are_told_apart_and_the_same_one_is_tried_once():
    check = {"use": "check", "regex": "1.*"}
    one, two = Corrects(TABLE), Corrects(OTHER)
    found = calibrated(
        CHAIN.build(), CHAIN.cases(8), [one, two, one, check, dict(check)], scorer=CHAIN.score, nodes=["add"]
    )
    assert [row.label for row in found.rows] == ["corrects", "corrects #2", 'check {"regex": "1.*"}']
    assert [row.settings for row in found.rows] == [None, None, {"regex": "1.*"}]
    assert [row.verifier for row in found.rows] == ["corrects", "corrects", "check"]


def test_a_node_that_some_runs_do_not_reach():
    found = calibrated(ROUTER.build(), ROUTER.cases(12), [Corrects({})], scorer=ROUTER.score, nodes=["refund"])
    row = found.rows[0]
    reached = sum(case.reached for case in row.cases.values())
    assert 0 < reached < 12
    assert row.gain.n == 12
    assert row.match_rate.n == reached
    assert found.visits["refund"] == reached / 12
    none = calibrated(ROUTER.build(), ROUTER.cases(12, seed=5)[:3], [Corrects({})], scorer=lambda o, c: 1.0)
    assert [row.gain is None for row in none.rows if row.node == "person"] == [True]


def test_a_node_of_a_loop_is_tried_at_its_first_visit():
    verifier = Corrects({})
    found = calibrated(LOOP.build(), LOOP.cases(8), [verifier], scorer=LOOP.score, nodes=["draft"], faults=[SWAP])
    assert verifier.asked == 8 + found.rows[0].detection.n


# What cannot be.


@pytest.mark.parametrize(
    ("verifiers", "error", "words"),
    [
        (["self-reflexion"], VerifierNotFound, "self-reflection"),
        ("chekc", VerifierNotFound, "'check'"),
        ({"use": "chekc"}, VerifierNotFound, "'check'"),
        ([], VerifierError, "no verifiers were given"),
        ({}, VerifierError, "no verifiers were given"),
        ({"add": []}, VerifierError, "no verifiers were given"),
        ({"ad": [Corrects({})]}, GraphError, "'add'"),
        ([{"use": "check"}], VerifierError, "nothing is to be checked"),
        ([{"use": "check", "regexp": "a"}], VerifierError, "did you mean 'regex'"),
        ([object()], VerifierError, "is no verifier"),
        ([Corrects], VerifierError, "is a class"),
    ],
)
def test_verifiers_that_cannot_be_tried(verifiers, error, words):
    with pytest.raises(error, match=words):
        calibrated(CHAIN.build(), CHAIN.cases(8), verifiers, scorer=CHAIN.score)


def test_a_plug_in_that_does_not_import_is_named_with_its_error(tmp_path, monkeypatch):
    (tmp_path / "broken_plug_in.py").write_text("import no_such_module_at_all\n")
    info = tmp_path / "broken_plug_in-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plug-in\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[sherlock.verifiers]\nbroken = broken_plug_in:Broken\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(VerifierError, match=r"'broken' of broken-plug-in cannot be imported: .*no_such_module_at_all"):
        calibrated(CHAIN.build(), CHAIN.cases(8), ["broken"], scorer=CHAIN.score)
    check = {"use": "check", "regex": ".*"}
    assert calibrated(CHAIN.build(), CHAIN.cases(8), check, scorer=CHAIN.score).rows[0].failures == 0


def test_an_analysis_of_another_graph_and_runs_that_are_all_wrong():
    analysis = sherlock.analyze(LOOP.build(), LOOP.cases(8), scorer=LOOP.score)
    with pytest.raises(PlanMismatch, match="another graph"):
        calibrated(CHAIN.build(), CHAIN.cases(8), [Corrects({})], scorer=CHAIN.score, analysis=analysis)
    with pytest.raises(CasesError, match="none of 8 clean runs was right"):
        calibrated(CHAIN.build(), CHAIN.cases(8), [Corrects({})], scorer=lambda output, case: 0.0)


# Shrinkage.


def test_the_shrunk_gain_is_that_of_the_formula():
    right = [Tried(before=1.0, faults=1, repaired=1)] * 5 + [Tried(before=1.0, faults=1)] * 3
    mended = [Tried(before=0.0, gain=1.0, changed=True)]
    missed = [Tried(before=0.0)] * 2 + [Tried(before=0.0, changed=True)]
    broken = [Tried(before=1.0, gain=-1.0, changed=True, faults=1, repaired=1)]
    found = figures([*right, *mended, *missed, *broken])
    # 6 of 9 injected faults repaired; 2 of 4 wrong runs changed, 1 of them mended
    probability = (1 + 4 * (6 / 9) * (2 / 4)) / (4 + 4)
    assert found.shrunk_gain == pytest.approx((probability * 4 - 1) / 13)
    assert found.gain == 0
    assert (found.n, found.changed) == (13, 3 / 13)
    assert figures([]) is None


def test_what_changes_no_output_gains_nothing_however_many_faults_it_finds():
    cases = [Tried(before=0.0)] * 8 + [Tried(before=1.0, faults=1, repaired=1, corrected=1)] * 12
    found = figures(cases)
    assert found.shrunk_gain == 0
    assert found.correction == 1


def test_graded_scores_are_repaired_by_their_room():
    cases = [Tried(before=0.5, gain=0.5, changed=True)] * 4 + [Tried(before=1.0, faults=1, repaired=1)] * 4
    assert figures(cases).shrunk_gain == pytest.approx(0.25)


# What it cost.


class Asked(TypedDict, total=False):
    q: str
    a: str
    out: str


def answering(server):
    """Ask the model, then clean up; the model gets every third question wrong unless it is asked with care."""
    model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

    async def ask(state):
        turns = [SystemMessage("Answer."), HumanMessage(state["q"])]
        return {"a": (await model.ainvoke(turns)).text}

    def tidy(state):
        return {"out": state["a"].strip()}

    builder = StateGraph(Asked)
    builder.add_node("ask", ask)
    builder.add_node("tidy", tidy)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", "tidy")
    return builder.add_edge("tidy", END)


def careful(request):
    return request["messages"][0]["content"] != "Answer."


def model_answers(request):
    question = request["messages"][-1]["content"]
    right = careful(request) or int(question) % 3
    usage = (31, 7, 5) if careful(request) else (11, 3, 0)
    return {"text": f"answer {int(question) * 1000 + 7}" if right else "nobody knows", "usage": usage}


QUESTIONS = [sherlock.Case({"q": str(n)}, expected=f"answer {n * 1000 + 7}") for n in range(9)]


def answered(output, case):
    return output["out"] == case.expected


def resolved(server, **options):
    options = {"scorer": answered, "faults": [SWAP], **options}
    return sherlock.calibrate(answering(server), QUESTIONS, verifiers={"ask": ["resolve"]}, **options)


def test_the_usage_of_verification_is_what_the_server_saw():
    with ScriptedServer(model_answers) as server:
        found = resolved(server)
        asked = Counter(map(careful, server.requests))
    row = found.rows[0]
    assert asked[True] == found.verifications == row.verifications == 9 + 6  # six right answers with a fault in them
    usage = row.usage  # of the nine natural outputs
    assert (usage.calls, usage.tokens_in, usage.tokens_out, usage.tokens_cached) == (9, 9 * 31, 9 * 7, 9 * 5)
    assert usage.usd == 0  # it is served on this machine
    assert found.usage.calls == sum(asked.values())
    assert found.usage.tokens_in == 31 * asked[True] + 11 * asked[False]
    assert found.timing.spent.tokens == 38 * asked[True] + 14 * asked[False]
    assert row.gain.value == row.repaired.value == pytest.approx(1 / 3)
    assert (row.detection.value, row.correction.value, row.false_alarm.value) == (1, 1, 0)


def test_recorded_answers_count_as_used_but_not_as_spent(tmp_path):
    with ScriptedServer(model_answers) as server:
        first = resolved(server, recordings=tmp_path / "calls")
        made = len(server.requests)
        second = resolved(server, recordings=tmp_path / "calls")
        assert len(server.requests) == made
    assert data(first) == data(second)
    assert first.timing.spent.calls == made
    assert second.timing.spent.calls == 0
    assert second.rows[0].usage.calls == 9
    assert second.usage.tokens == first.usage.tokens > 0


def test_a_verifier_that_costs_more_than_is_left_ends_the_calibration():
    with ScriptedServer(model_answers) as server:
        found = resolved(server, limits=Limits(calls=20), concurrency=1)
        assert len(server.requests) == 20
        assert found.partial == "limit reached: 20 model calls"
        assert found.timing.spent.calls == 20
        spent = resolved(server, limits=Limits(tokens=9 * 14 + 100), concurrency=1)
        assert "tokens" in spent.partial
        assert 9 * 14 + 100 <= spent.timing.spent.tokens < 9 * 14 + 100 + 38


def test_what_a_verifier_spends_where_nobody_sees_it_is_as_it_tells_and_counts_against_the_limits():
    class Outside:
        name = "outside"

        async def verify(self, subject):
            return Verdict(True, usage=Usage(calls=2, tokens_in=100, tokens_out=10, usd=0.5))

    options = {"scorer": CHAIN.score, "nodes": ["add"], "faults": [SWAP]}
    found = calibrated(CHAIN.build(), CHAIN.cases(8), Outside(), **options)
    row = found.rows[0]
    assert (row.usage.calls, row.usage.tokens, row.usage.usd) == (16, 880, 4.0)
    assert found.timing.spent.usd == 0.5 * row.verifications
    assert found.usage.usd == 0.5 * row.verifications
    some = calibrated(CHAIN.build(), CHAIN.cases(8), Outside(), limits=Limits(usd=1.5), concurrency=1, **options)
    assert some.partial == "limit reached: 1.5 dollars"
    assert some.timing.spent.usd == 1.5


def test_a_client_of_the_verifiers_own_is_metered():
    with ScriptedServer(model_answers) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

        class OwnClient:
            name = "own client"

            async def verify(self, subject):
                await model.ainvoke([SystemMessage("Careful."), HumanMessage("4")])
                return Verdict(True)

        found = calibrated(CHAIN.build(), CHAIN.cases(8), OwnClient(), scorer=CHAIN.score, nodes=["add"], faults=[SWAP])
        assert found.rows[0].usage.calls == 8
        assert found.rows[0].usage.tokens_in == 8 * 31
        assert found.timing.spent.calls == len(server.requests)


def test_a_server_that_is_not_there_ends_it_with_a_word(monkeypatch):
    monkeypatch.setattr("sherlock.analysis.rounds.RETRY_AFTER_S", 0.01)
    with ScriptedServer(model_answers) as server:
        gone = server.base_url

    class Remote:
        name = "remote"

        def __init__(self, url):
            self.model = ChatOpenAI(model="m", base_url=url, api_key="none", max_retries=0)

        async def verify(self, subject):
            await self.model.ainvoke("Is this right?")
            return Verdict(True)

    options = {"scorer": CHAIN.score, "nodes": ["add"], "faults": [SWAP]}
    with pytest.raises(ModelError, match=r"'remote' on the node 'add' .*'m' at http.* could not be reached"):
        sherlock.calibrate(CHAIN.build(), CHAIN.cases(8), verifiers=Remote(gone), **options)


def test_a_model_that_refuses_is_a_failure_of_that_verifier():
    def refuses(request):
        return {"status": 401, "error": "no such key"}

    with ScriptedServer(refuses) as server:
        model = ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0)

        class Remote:
            name = "remote"

            async def verify(self, subject):
                await model.ainvoke("Is this right?")
                return Verdict(True)

        verifiers = [Remote(), Corrects({})]
        options = {"scorer": CHAIN.score, "nodes": ["add"], "faults": [SWAP]}
        found = sherlock.calibrate(CHAIN.build(), CHAIN.cases(8), verifiers=verifiers, **options)
    remote, other = found.rows
    assert remote.failures == remote.verifications
    assert "no such key" in remote.failure
    assert other.failures == 0
