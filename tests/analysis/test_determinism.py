"""What it takes to be shown deterministic, and what takes it away."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sherlock.analysis.determinism import ENOUGH, Determinism
from sherlock.analysis.executions import CleanRun, Line
from sherlock.analysis.shared import Shared
from sherlock.cases import Case


def replay(*evidence, same_path=True, live=()):
    return Line(evidence=list(evidence), same_path=same_path, live=set(live))


def shown(*lines, runs=()):
    determinism = Determinism(recorded=False)
    for run in runs:
        determinism.saw_clean(run)
    for case, line in enumerate(lines):
        determinism.saw_replay(case, line)
    determinism.update()
    return determinism


def test_enough_agreement_shows_and_one_difference_does_not():
    agree, differ = replay(("a", True), ("b", True)), replay(("a", True), ("b", False))
    assert not shown(*[agree] * (ENOUGH - 1)).shown
    assert shown(*[agree] * ENOUGH).shown == {"a", "b"}
    assert shown(*[agree] * ENOUGH, differ).shown == {"a"}
    assert shown(*[agree] * ENOUGH).shows(["a", "b"])
    assert not shown(*[agree] * ENOUGH).shows(["a", "c"])


def test_another_path_without_a_difference_shows_nothing():
    agree = [replay(("a", True))] * ENOUGH
    assert not shown(*agree, replay(("a", True), same_path=False)).shown
    # Here it is b that varies, so that the path need not.
    assert shown(*agree, replay(("a", True), ("b", False), same_path=False)).shown == {"a"}


def test_live_calls_show_nothing():
    agree = [replay(("a", True), ("b", True))] * ENOUGH
    assert shown(*agree, runs=[CleanRun(case=Case(1), live={"b"})]).shown == {"a"}
    assert shown(*agree, replay(("b", True), live=["b"])).shown == {"a"}
    assert shown(runs=[CleanRun(case=Case(1), live={"b"})]).any_live


@given(st.permutations([(0, True), (0, False), (0, False), (2, True), (2, True)]))
def test_disagreements_are_per_case_whatever_the_order(order):
    determinism = Determinism(recorded=False)
    for case, agreed in order:
        determinism.saw_replay(case, replay(("a", agreed)))
    assert determinism.disagreements("a") == pytest.approx([2 / 3, 0])
    assert determinism.disagreements("b") == []


def test_the_list_changes_only_when_asked():
    determinism = shown(*[replay(("a", True))] * ENOUGH)
    determinism.saw_replay(9, replay(("a", False)))
    assert determinism.shown == {"a"}
    determinism.update()
    assert not determinism.shown


# Results that are shared.


def test_one_makes_it_for_all_and_each_gets_a_copy():
    made = Counter()

    async def go():
        shared = Shared()

        async def make():
            made["n"] += 1
            await asyncio.sleep(0.01)
            return {"a": []}, True

        results = await asyncio.gather(*(shared.get("k", make) for _ in range(5)))
        assert results == [({"a": []}, True)] * 5
        results[1][0]["a"].append(1)
        assert await shared.get("k", make) == ({"a": []}, True)
        shared.seed("s", 1)
        shared.seed("s", 2)
        assert await shared.get("s", make) == (1, True)

    asyncio.run(go())
    assert made["n"] == 1


@pytest.mark.parametrize("way", ["raises", "is cancelled", "may not be shared"])
def test_who_waits_for_nothing_makes_it(way):
    made = Counter()

    async def go():
        shared = Shared()

        async def make():
            made["n"] += 1
            if made["n"] > 1:
                return "made", True
            await asyncio.sleep(10 if way == "is cancelled" else 0.01)
            if way == "raises":
                raise ValueError
            return "my own", False

        first = asyncio.create_task(shared.get("k", make))
        await asyncio.sleep(0)
        others = [asyncio.create_task(shared.get("k", make)) for _ in range(3)]
        await asyncio.sleep(0)
        if way == "is cancelled":
            first.cancel()
        [own] = await asyncio.gather(first, return_exceptions=True)
        assert own == ("my own", False) or isinstance(own, ValueError | asyncio.CancelledError)
        assert await asyncio.gather(*others) == [("made", True)] * 3

    asyncio.run(go())
    assert made["n"] == 2
