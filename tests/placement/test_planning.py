"""`plan` from a calibration to a plan with its promise."""

import asyncio
import dataclasses
from collections import Counter
from typing import TypedDict

import numpy as np
import pytest
from langgraph.graph import END, START, StateGraph
from loss_table import ONE_AT_A_TIME
from promise_calibrations import calibrated, calibration_of, ranked_by_counting, row_of
from promise_world import ASTRAY, VERIFIERS, Table, cases_of, graph_of, picks_of, scorer_of, world_of
from scenarios import CHAIN, LOOP, MAP_REDUCE, NESTED, ROUTER, VOTE
from sim_promise import Cases

import sherlock
from sherlock.analysis.calibrate import entrant
from sherlock.analysis.calibration import Tried
from sherlock.equivalence import same_meaning
from sherlock.errors import PlanError, PlanMismatch
from sherlock.faults import Fault
from sherlock.graph import WorkflowGraph
from sherlock.lens import category_of
from sherlock.placement import choice, planning
from sherlock.placement.calibrated import rows_of, rows_without, workload_of
from sherlock.placement.choice import Choice
from sherlock.placement.draft import PLANS_LOST, Draft
from sherlock.placement.joint import JointRuns
from sherlock.placement.plan import Plan
from sherlock.placement.planning import Planner, Unreachable
from sherlock.placement.promise import parts_of
from sherlock.placement.slo import SLO, SLOError
from sherlock.placement.solve import best_plans
from sherlock.usage import Energy, Limits, Usage
from sherlock.verifier import Verdict

NO_FAULT = Fault("never", kind="output", weight=1.0, apply=lambda text, rng: None)
FRESH = 20_000


def planned(**asked):
    return asyncio.run(Planner(**asked).run())


# Whole runs.


DEFAULTS = {
    "faults": [NO_FAULT],
    "faults_per_kind": 1,
    "nodes": None,
    "visits": "first",
    "pass_mark": 1.0,
    "seed": 0,
    "confidence": 0.95,
    "top": 1,
    "margin": 0.1,
    "limits": Limits(),
    "store": None,
    "concurrency": 8,
    "recordings": None,
    "dry_run": False,
    "progress": None,
    "config": {},
    "context": None,
}


def joint_runs(graph, cases, placements, *, scorer):
    made = {node: entrant(verifier) for node, verifier in placements.items()}
    runs = JointRuns(
        graph,
        cases,
        plans={case.id: made for case in cases},
        scorer=scorer,
        **DEFAULTS,
    )
    return asyncio.run(runs.run())


REWRITES = {"high": "low", "12": "9", "order": "refund", "refund 41": "refund 7", "5": "6", "17": "16", "9": "10"}


class Rewrites:
    name = "rewrites"

    async def verify(self, subject):
        found = rewritten(subject.text)
        return Verdict(True) if found is None else Verdict(False, None, found)


def rewritten(text):
    if text in REWRITES:
        return REWRITES[text]
    return f"{text} and 1" if text.endswith("3") else None


@pytest.mark.parametrize("scenario", [CHAIN, VOTE, ROUTER, LOOP, MAP_REDUCE, NESTED], ids=lambda s: s.name)
def test_a_whole_run_is_the_workflow_with_every_node_verified_and_corrected_by_hand(scenario):
    def by_hand(name, function):
        def node(state):
            ((key, text),) = function(state).items()
            new = rewritten(text)
            stays = new is None or same_meaning(text, new, category_of(text, {key: text}))
            return {key: text if stays else new}

        return node

    cases = scenario.cases(12, seed=1)
    plain, corrected = scenario.build().compile(), scenario.make(by_hand, None).compile()
    names = WorkflowGraph.of(plain).order
    found = joint_runs(scenario.build(), cases, dict.fromkeys(names, Rewrites()), scorer=scenario.score)
    expected = {
        case.id: tuple(scenario.score(graph.invoke(case.inputs, ONE_AT_A_TIME), case) for graph in (plain, corrected))
        for case in cases
    }
    assert found == expected
    assert any(before != after for before, after in found.values())


def test_a_plan_that_places_nothing_is_not_run_again():
    ran = Counter()

    def counting(name, function):
        def node(state):
            ran[name] += 1
            return function(state)

        return node

    cases = CHAIN.cases(10)
    found = joint_runs(CHAIN.make(counting, None), cases, {}, scorer=CHAIN.score)
    assert set(ran.values()) == {10}
    assert all(before == after for before, after in found.values())


# The promise.


def world(run, cases):
    rng = np.random.default_rng((11, cases, run))
    made = world_of(rng)
    return Cases(made, cases, rng), Cases(made, FRESH, rng)


@pytest.mark.parametrize("run", [0, 5])
def test_a_calibration_and_a_plan_of_real_graphs_are_those_of_the_tables(run):
    cases, _ = world(run, 20)
    Table.cases = cases
    graph, examples, scorer = graph_of(cases), cases_of(cases), scorer_of(cases)
    real = sherlock.calibrate(graph, examples, verifiers=VERIFIERS, scorer=scorer, faults=[ASTRAY])
    made = calibrated(cases)
    assert real.scores == made.scores
    kept = {(row.node, row.label): row for row in made.rows}
    for row in real.rows:
        assert row.cases.items() <= kept[row.node, row.label].cases.items()
        assert row.gain is not None
        assert len(row.cases) == 20 or row.dropped
    plan = sherlock.plan(calibration=real, graph=graph, cases=examples, scorer=scorer)
    draft = Draft(real, WorkflowGraph.of(graph.compile()), Choice(slo=SLO()))
    jointly = by_tables(draft, cases)
    assert picks_of(plan) == picks_of(draft.plan(jointly.chosen))
    assert plan.expectation.basis == "measured jointly"
    assert plan.expectation.score.value == pytest.approx(jointly.promise.score.value, rel=1e-3)
    assert plan.expectation.gain.low == pytest.approx(jointly.promise.gain.low, rel=1e-3)


def by_tables(draft, cases):
    """What whole runs of the plans give, looked up."""
    ids = [f"case {index}" for index in range(cases.count)]
    parts = [[ids[index] for index in part] for part in parts_of(cases.count)]
    base = cases.right({})
    scores = {case: (float(base[index]),) * 2 for index, case in enumerate(ids)}
    for part in parts if draft.pick() else ():
        verified = cases.right(picks_of(draft.plan(draft.pick(without=part))))
        for case in part:
            index = ids.index(case)
            scores[case] = (float(base[index]), float(verified[index]))
    return draft.jointly([scores], parts)


def coverage(runs, count, promised):
    """How often a promise covers what its plan keeps on fresh cases, for score and gain; and its mean excess."""
    covered, gains, excess = [], [], []
    for run in range(runs):
        cases, fresh = world(run, count)
        if not cases.right({}).any():
            continue
        plan = promised(cases)
        kept, base = float(fresh.right(picks_of(plan)).mean()), float(fresh.right({}).mean())
        score, gain = plan.expectation.score, plan.expectation.gain
        covered.append(score.low <= kept <= score.high)
        gains.append(gain.low - 1e-9 <= kept - base <= gain.high + 1e-9)
        excess.append(score.value - kept)
    print(
        f"{count} cases, {len(covered)} workflows: score covered {np.mean(covered):.3f}, gain {np.mean(gains):.3f}, "
        f"promised {100 * np.mean(excess):+.1f} points too much"
    )
    return float(np.mean(covered)), float(np.mean(gains)), float(np.mean(excess))


@pytest.mark.parametrize("count", [20, 40])
def test_the_promise_covers_what_plans_keep_on_fresh_cases(count, monkeypatch):
    monkeypatch.setattr(choice, "best_plans", ranked_by_counting)

    def promised(cases):
        calibration = calibrated(cases)
        draft = Draft(calibration, WorkflowGraph.from_description(calibration.graph), Choice(slo=SLO()))
        jointly = by_tables(draft, cases)
        return draft.plan(jointly.chosen, jointly)

    score, gain, excess = coverage(60, count, promised)
    assert score >= 0.9
    assert gain >= 0.9
    assert abs(excess) < 0.03


@pytest.mark.soak
@pytest.mark.parametrize("count", [20, 40])
def test_the_promise_covers_what_plans_keep_on_fresh_cases_soak(count):
    """The same on real graphs, from the first run to the plan."""

    def promised(cases):
        Table.cases = cases
        graph, examples, scorer = graph_of(cases), cases_of(cases), scorer_of(cases)
        calibration = sherlock.calibrate(graph, examples, verifiers=VERIFIERS, scorer=scorer, faults=[ASTRAY])
        return sherlock.plan(calibration=calibration, graph=graph, cases=examples, scorer=scorer)

    score, gain, excess = coverage(150, count, promised)
    assert score >= 0.9
    assert gain >= 0.9
    assert abs(excess) < 0.02


def test_counting_plans_finds_those_of_the_programme():
    for run in range(3):
        cases, _ = world(run, 20)
        calibration = calibrated(cases)
        rows, _ = rows_of(calibration)
        workload = workload_of(calibration, WorkflowGraph.from_description(calibration.graph))
        rows = [row for row in rows if row.gain > 0]
        asked = {"objective": "accuracy", "careful": False, "accept": None, "count": 6}
        one, other = (find(workload, rows, SLO(), **asked).plans for find in (best_plans, ranked_by_counting))
        assert [plan.figures.gain for plan in one] == pytest.approx([plan.figures.gain for plan in other])
        assert one[0].chosen == other[0].chosen


# From rows to plans, by hand.


class State(TypedDict, total=False):
    x: int
    a: str
    b: str
    c: str


def three():
    """a -> b -> c; a and b are right but in some cases, and c says whether both were."""

    def a(state):
        return {"a": "wrong" if state["x"] % 4 == 0 else "right"}

    def b(state):
        return {"b": "wrong" if state["x"] % 4 <= 1 else "right"}

    def c(state):
        return {"c": "yes" if state["a"] == state["b"] == "right" else "no"}

    builder = StateGraph(State)
    for node in (a, b, c):
        builder.add_node(node)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    return builder.add_edge("c", END)


def yes(output, case):
    return output["c"] == "yes"


def always_right(text, subject):
    """Repairs everything, for two cents."""
    usage = Usage(calls=1, tokens_in=100, tokens_out=10, usd=0.02)
    return Verdict(True, usage=usage) if text == "right" else Verdict(False, None, "right", usage=usage)


def half_right(text, subject):
    """Repairs every other case, for a cent."""
    usage = Usage(calls=1, tokens_in=50, tokens_out=5, usd=0.01)
    even = subject.inputs["x"] // 4 % 2 == 0
    return Verdict(False, None, "right", usage=usage) if text == "wrong" and even else Verdict(True, usage=usage)


def spoils(text, subject):
    return (False, "wrong") if subject.inputs["x"] % 3 == 0 else True


def raises(text, subject):
    raise RuntimeError("no luck")


def use(function):
    return {"use": "check", "function": f"test_planning:{function.__name__}"}


XS = [sherlock.Case({"x": x}, id=f"case {x}") for x in range(16)]
LEAVES = Fault("leaves", kind="output", weight=1.0, apply=lambda text, rng: "wrong" if text == "right" else None)


def measured(verifiers, **options):
    return sherlock.calibrate(three(), XS, verifiers=verifiers, scorer=yes, faults=[LEAVES], **options)


WHOLE = {"graph": three(), "cases": XS, "scorer": yes}


def placed(plan):
    return {node: placement.settings.get("function", "").split(":")[-1] for node, placement in plan.placements.items()}


def test_basis_words():
    calibration = measured({"b": [use(always_right)]})
    screened = planned(calibration=calibration)
    assert screened.expectation.basis == "screened only"
    assert "no whole plan was run" in screened.notes[0]
    joint = planned(calibration=calibration, **WHOLE)
    assert joint.expectation.basis == "measured jointly"
    assert joint.notes == ()
    assert placed(joint) == placed(screened) == {"b": "always_right"}
    # b is repaired in a half of the cases, and a still spoils a quarter
    assert (joint.expectation.score.value, joint.expectation.gain.value) == (0.75, 0.25)
    few = planned(calibration=calibration, **{**WHOLE, "cases": XS[:7]})
    assert few.expectation.basis == "modelled"
    assert few.notes == ("No promise: 7 cases are too few to run whole plans on; give 8 or more.",)


def test_two_repairs_that_help_only_together():
    """Where a and b are both wrong, a row alone gains less than the two together; only whole runs can tell."""
    calibration = measured({"a": [use(always_right)], "b": [use(always_right)]})
    a, b = calibration.rows
    assert (a.gain.value, b.gain.value) == (0, 0.25)
    plan = planned(calibration=calibration, slo=SLO(min_accuracy=1.0), **WHOLE)
    assert placed(plan) == {"a": "always_right", "b": "always_right"}
    assert plan.expectation.score.value == 1.0
    with pytest.raises(Unreachable, match="min_accuracy 1 would have to be") as screened:
        planned(calibration=calibration, slo=SLO(min_accuracy=1.0))
    assert "the nearest plan places check at 'a', check at 'b'" in str(screened.value)
    assert set(screened.value.nearest.placements) == {"a", "b"}


def test_an_accuracy_that_whole_runs_do_not_reach():
    calibration = measured({"b": [use(always_right)]})
    with pytest.raises(
        Unreachable, match=r"min_accuracy 0.9 was not reached: .* scored 0.75 \[.*check at 'b'"
    ) as error:
        planned(calibration=calibration, slo=SLO(min_accuracy=0.9), **WHOLE)
    assert error.value.nearest.expectation.basis == "measured jointly"


def test_cheapest_adequate_goes_on_to_dearer_plans_where_the_cheap_one_falls_short():
    calibration = measured({"b": [use(half_right), use(always_right)]})
    asked = {"calibration": calibration, "objective": "usd", **WHOLE}
    assert placed(planned(**asked)) == {}
    assert placed(planned(**asked, slo=SLO(min_accuracy=0.6))) == {"b": "half_right"}
    assert placed(planned(**asked, slo=SLO(min_accuracy=0.75))) == {"b": "always_right"}
    with pytest.raises(Unreachable):
        planned(**asked, slo=SLO(min_accuracy=0.8))


def too_good(calibration):
    """A calibration whose cheap row claims what the dear one does, and whose dear one claims everything."""
    cheap, dear = calibration.rows
    cheap = cheap.model_copy(update={"cases": dear.cases})
    dear = dear.model_copy(update={"cases": {case: promising(it) for case, it in dear.cases.items()}})
    return calibration.model_copy(update={"rows": [cheap, dear]})


def promising(tried):
    return tried.model_copy(update={"gain": 1.0 - tried.before})


def test_whole_runs_find_out_what_the_calibration_did_not_know():
    calibration = too_good(measured({"b": [use(half_right), use(always_right)]}))
    asked = {"calibration": calibration, "objective": "usd", "slo": SLO(min_accuracy=0.7)}
    assert placed(planned(**asked)) == {"b": "half_right"}
    plan = planned(**asked, **WHOLE)
    assert placed(plan) == {"b": "always_right"}
    assert plan.expectation.score.value == 0.75
    # where both rows claim the same no plan looks better than the cheap one, and that does not suffice
    alike = [row.model_copy(update={"cases": calibration.rows[0].cases}) for row in calibration.rows]
    asked["calibration"] = calibration.model_copy(update={"rows": alike})
    with pytest.raises(Unreachable, match=r"scored 0\.62"):
        planned(**asked, **WHOLE)


def test_nothing_is_placed_where_nothing_helps():
    calibration = measured({"a": [use(spoils)], "b": [use(spoils)]})
    plan = planned(calibration=calibration, **WHOLE)
    assert plan.placements == {}
    assert plan.expectation.gain == sherlock.Estimate(0, 0, 0, 16)
    assert plan.expectation.score.value == 0.5
    assert [rejected.why for rejected in plan.rejected] == [
        f"it gained nothing here ({row.shrunk_gain:+.2f} after shrinking)" for row in calibration.rows
    ]


def test_what_looked_good_and_loses_in_whole_runs_is_not_placed():
    calibration = measured({"b": [use(spoils)]})
    [row] = calibration.rows
    lucky = row.model_copy(update={"cases": {case: promising(it) for case, it in row.cases.items()}})
    plan = planned(calibration=calibration.model_copy(update={"rows": [lucky]}), **WHOLE)
    assert plan.placements == {}
    assert plan.notes == (PLANS_LOST,)
    assert plan.expectation.gain.value == 0
    assert plan.rejected[0].node == "b"


def test_limits_cut_the_whole_runs_short():
    calibration = measured({"b": [use(always_right)]})
    plan = planned(calibration=calibration, limits=Limits(usd=0.05), **WHOLE)
    assert plan.expectation.basis == "modelled"
    assert plan.notes == ("No promise: the whole runs ended early (limit reached: 0.05 dollars).",)
    assert placed(plan) == {"b": "always_right"}


def test_limits_are_on_all_whole_runs_together(monkeypatch):
    given = []

    class Watched(JointRuns):
        def __init__(self, *arguments, **settings):
            given.append(settings["limits"])
            super().__init__(*arguments, **settings)

    monkeypatch.setattr(planning, "JointRuns", Watched)
    asked = {"calibration": too_good(measured({"b": [use(half_right), use(always_right)]})), "objective": "usd"}
    plan = planned(**asked, slo=SLO(min_accuracy=0.7), limits=Limits(usd=0.5, calls=100, seconds=60), **WHOLE)
    assert placed(plan) == {"b": "always_right"}
    first, second = given
    assert first == Limits(usd=0.5, calls=100, seconds=60)
    assert second.usd == pytest.approx(0.5 - 16 * 0.01)  # the cheap plan was run on all cases
    assert 0 < second.seconds < 60
    cut = planned(**asked, slo=SLO(min_accuracy=0.7), limits=Limits(usd=0.2), concurrency=1, **WHOLE)
    assert cut.notes == ("No promise: the whole runs ended early (limit reached: 0.04 dollars).",)


def test_stopped_from_outside():
    planner = Planner(calibration=measured({"b": [use(always_right)]}), **WHOLE)
    planner.stop("interrupted")
    plan = asyncio.run(planner.run())
    assert plan.notes == ("No promise: the whole runs ended early (interrupted).",)


def test_the_store_of_the_calibration_saves_its_runs_and_verdicts(tmp_path, monkeypatch):
    store = tmp_path / "store.sqlite"
    calibration = measured({"b": [use(always_right)]}, store=store, seed=3, pass_mark=0.5)
    made = []
    ask = planning.JointRuns

    class Watched(ask):
        def result(self, partial):
            made.append(self.rounds)
            return super().result(partial)

    monkeypatch.setattr(planning, "JointRuns", Watched)
    plan = sherlock.plan(calibration=calibration, store=store, **WHOLE)
    assert plan.expectation.score.value == 0.75
    assert made[0].totals.resumed == 16  # every clean run
    assert made[0].totals.spent.usd == 0  # and no verdict was asked for again


def test_instances_and_rows_that_failed_or_lost_are_turned_down_with_the_reason():
    class Own:
        name = "own"

        async def verify(self, subject):
            return Verdict(True)

    calibration = measured({"b": [Own(), use(raises), use(half_right)]})
    calibration = calibration.model_copy(
        update={
            "rows": [
                *calibration.rows,
                calibration.rows[2].model_copy(update={"label": "loser", "dropped": "beaten by another"}),
                calibration.rows[2].model_copy(update={"label": "idle", "gain": None, "cases": {}}),
            ]
        }
    )
    why = {rejected.verifier: rejected.why for rejected in planned(calibration=calibration).rejected}
    assert why["own"] == "it was not made from a name with settings that a file can hold, so no plan can hold it"
    assert why["loser"] == "beaten by another"
    assert why["idle"] == "it was never tried: no case reached it"
    [failed] = [text for label, text in why.items() if "raises" in label]
    assert failed.startswith("it gave no verdict at all (raised: ")


def moody(text, subject):
    if subject.inputs["x"] == 3:
        raise RuntimeError("not today")
    return True if text == "right" else (False, "right")


def test_a_verifier_that_did_not_always_judge_is_placed_with_a_note():
    plan = planned(calibration=measured({"b": [use(moody)]}), **WHOLE)
    assert placed(plan) == {"b": "moody"}
    [note] = plan.notes
    assert note.startswith(
        'check {"function": "test_planning:moody"} at \'b\' gave no verdict on 2 of 24 outputs (raised: '
    )


def test_artefacts_of_different_graphs():
    calibration = measured({"b": [use(always_right)]})
    with pytest.raises(PlanMismatch, match="of different graphs"):
        planned(calibration=calibration, graph=CHAIN.build())
    analysis = sherlock.analyze(LOOP.build(), LOOP.cases(8), scorer=LOOP.score)
    with pytest.raises(PlanMismatch, match="of different graphs"):
        planned(calibration=calibration, analysis=analysis)
    with pytest.raises(PlanError, match="nothing to plan for"):
        planned()


def test_without_a_calibration_verifiers_are_placed_by_algorithm_1():
    plan = planned(graph=three(), default_verifier="resolve", slo=SLO(max_verifiers=2))
    assert {node: placement.verifier for node, placement in plan.placements.items()} == {
        "a": "resolve",
        "c": "resolve",
    }
    assert plan.expectation.basis == "screened only"
    with pytest.raises(PlanError, match="default_verifier"):
        planned(graph=three())


@pytest.mark.parametrize(
    ("slo", "words"),
    [
        ({"max_usd": -1}, "negative"),
        ({"min_accuracy": 1.5}, "0.9 for 90 %"),
        ({"max_verifiers": 0, "min_accuracy": 0.9}, "max_verifiers"),
    ],
)
def test_limits_that_make_no_sense(slo, words):
    with pytest.raises(SLOError, match=words):
        planned(calibration=measured({"b": [use(always_right)]}), slo=SLO(**slo))


def test_a_plan_with_its_promise_is_saved_and_read_back(tmp_path):
    plan = planned(calibration=measured({"b": [use(always_right)]}), **WHOLE)
    plan.save(tmp_path / "plan.yaml")
    assert Plan.load(tmp_path / "plan.yaml") == plan


# Figures of rows that were made up.


def tried(n, *, up=0, down=0, wrong=None, absent=0):
    """n cases: `wrong` come out wrong without a verifier, `up` of these are repaired, `down` of the others broken."""
    wrong = up if wrong is None else wrong
    found = [Tried(before=0.0, gain=1.0, changed=True)] * up + [Tried(before=0.0)] * (wrong - up)
    found += [Tried(before=1.0, gain=-1.0, changed=True)] * down
    found += [Tried(before=1.0, reached=False)] * absent
    found += [Tried(before=1.0)] * (n - len(found))
    return {f"case {index}": it for index, it in enumerate(found)}


def made_up(*rows, n=20, wrong=10, **options):
    return calibration_of(three().compile(), [0.0] * wrong + [1.0] * (n - wrong), rows, **options)


def test_amounts_are_means_per_run():
    energy = Energy(value=1.0, low=0.5, high=2.0, source="estimated")
    usage = Usage(calls=20, tokens_in=1000, usd=0.4, wh=energy)  # of 10 verifications
    row = row_of("b", "resolve", tried(20, up=4, wrong=10, absent=10), usage=usage)
    calibration = made_up(row, visits={"a": 1.0, "b": 1.0, "c": 1.0}, latencies={"b": {"resolve": [2.0] * 10}})
    [found], _ = rows_of(calibration)
    # half of the runs reach b, and those visit it twice
    assert (found.usd, found.calls, found.tokens) == pytest.approx((0.04, 2.0, 100.0))
    assert found.wh == Energy(value=0.1, low=0.05, high=0.2, source="estimated")
    assert found.match_rate == pytest.approx(1 - 2 * 4 / 20)
    assert sorted(found.latency_s) == [0.0] * 10 + [4.0] * 10
    assert found.gain == pytest.approx(4 / 20)


def test_rows_without_some_cases_know_nothing_of_them():
    rng = np.random.default_rng(2)
    cases, _ = world(3, 20)
    calibration = calibrated(cases)
    rows, _ = rows_of(calibration)
    workload = workload_of(calibration, WorkflowGraph.from_description(calibration.graph))
    held_out = {f"case {index}" for index in rng.permutation(20)[:5]}
    forgotten = calibration.model_copy(
        update={
            "rows": [
                row.model_copy(
                    update={
                        "cases": {
                            case: it if case not in held_out else Tried(before=0.0, gain=1.0, changed=True)
                            for case, it in row.cases.items()
                        }
                    }
                )
                for row in calibration.rows
            ],
            "scores": {case: 0.0 if case in held_out else score for case, score in calibration.scores.items()},
        }
    )
    one = rows_without(calibration, rows, workload, held_out)
    other = rows_without(forgotten, rows_of(forgotten)[0], workload, held_out)
    assert one == other
    assert one[1].baseline.n == 15
    everything = rows_without(calibration, rows, workload, set())
    assert everything[0] == rows


def test_a_quantile_of_latency_is_kept_not_only_the_mean():
    quick, slow = (row_of("b", name, tried(20, up=up, wrong=10)) for name, up in (("resolve", 4), ("debate", 8)))
    latencies = {"b": {"resolve": [0.1] * 20, "debate": [0.1] * 18 + [9.0] * 2}}
    calibration = made_up(quick, slow, latencies=latencies)
    taken = {limit: planned(calibration=calibration, slo=SLO(max_latency_s=limit)) for limit in (2.0, 12.0)}
    assert taken[12.0].placements["b"].verifier == "debate"
    assert taken[2.0].placements["b"].verifier == "resolve"  # one run in ten would take nine seconds
    assert taken[2.0].expectation.latency_s.p95 <= 2.0


def test_careful_plans_rely_on_what_is_sure():
    sure = row_of("b", "resolve", tried(40, up=10, wrong=20))
    unsure = row_of("b", "debate", tried(12, up=4, wrong=6))
    calibration = made_up(sure, unsure, n=40, wrong=20)
    assert unsure.shrunk_gain > sure.shrunk_gain
    assert planned(calibration=calibration).placements["b"].verifier == "debate"
    assert planned(calibration=calibration, careful=True).placements["b"].verifier == "resolve"


def test_an_unreachable_cost_names_the_limit_and_the_nearest_plan():
    row = row_of("b", "resolve", tried(20, up=8, wrong=10), usage=Usage(calls=20, usd=2.0))
    calibration = made_up(row)
    with pytest.raises(Unreachable, match=r"max_usd 0.05 would have to be .*, or min_accuracy 0.8") as error:
        planned(calibration=calibration, slo=SLO(min_accuracy=0.8, max_usd=0.05))
    assert "the nearest plan places no verifier" in str(error.value)
    assert error.value.nearest.placements == {}
    with pytest.raises(Unreachable, match="the workflow itself takes"):
        planned(calibration=calibration, slo=SLO(max_latency_s=0.001))


def test_what_verification_adds_counts_what_is_done_again():
    b = row_of("b", "resolve", tried(20, up=5, wrong=10), usage=Usage(calls=20, tokens_in=2000, usd=2.0))
    usages = {"c": Usage(calls=20, tokens_in=4000, usd=4.0)}
    plan = planned(calibration=made_up(b, node_usage=usages))
    # a quarter of the outputs is changed, and c, at 0.2 dollars and 200 tokens a run, is run again
    assert plan.expectation.usd == pytest.approx(0.1 + 0.25 * 0.2)
    assert plan.expectation.tokens == pytest.approx(100 + 0.25 * 200)
    assert plan.expectation.calls == 1
    unpriced = planned(calibration=made_up(b, node_usage={"c": dataclasses.replace(usages["c"], usd=None)}))
    assert unpriced.expectation.usd is None


def test_executions_handed_to_verifiers_are_their_own():
    """A verifier that changes what it is given changes nobody else's."""

    class Vandal:
        name = "vandal"

        async def verify(self, subject):
            subject.inputs.clear()
            subject.output.clear()
            return Verdict(True)

    found = joint_runs(three(), XS, dict.fromkeys("abc", Vandal()), scorer=yes)
    assert all(before == after for before, after in found.values())
