"""A billing run is killed, in a process of its own, at every dangerous moment, and resumed in another.

Every effect happens once, and the final state is that of a run that nobody killed. What is killed and what is dangerous
is in `billing`.
"""

import itertools
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import billing
import pytest

pytest_plugins = ("savers",)

PROMISES = {f"charge {name}" for name in billing.CUSTOMERS} | {f"receipt {name}" for name in billing.CUSTOMERS}


class Machine:
    """Does jobs in processes that may die."""

    def __init__(self):
        self._server = subprocess.Popen(
            [sys.executable, billing.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, **job):
        """Whether the job was killed; one that failed by itself is a failure of the test."""
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        end = json.loads(self._server.stdout.readline())
        assert end["killed"] or end["code"] == 0, "the run raised: see above"
        return end["killed"]

    def stop(self):
        self._server.stdin.close()
        self._server.wait(timeout=30)
        self._server.stdout.close()


@pytest.fixture(scope="module")
def machine():
    machine = Machine()
    yield machine
    machine.stop()


class Lab:
    """Runs that share a place of checkpoints, each on a thread, and in a world, of its own."""

    def __init__(self, machine, folder, store):
        self.machine, self.folder, self.store = machine, folder, store
        self._names = itertools.count()

    def bill(self, *moments, **options):
        """A run that is killed at each of the moments in turn and resumed each time; how often, and what it did."""
        name = str(next(self._names))
        files = {kind: str(self.folder / f"{name}.{kind}") for kind in ("log", "result", "trace")}
        kills = 0
        for moment in [*moments, {}]:
            job = {"kind": self.store.kind, "where": self.store.where, "thread": name, "reconciles": True}
            kills += self.machine.run(**{**job, **files, **options, **moment})
        return kills, Outcome(files)


class Outcome:
    def __init__(self, files):
        self.state = json.loads(Path(files["result"]).read_text())
        self.calls = Counter(" ".join(call["what"].split()[:2]) for call in billing.calls(files["log"]))
        self.keys = [call["key"] for call in billing.calls(files["log"])]
        self.moments = [json.loads(line)["moment"] for line in Path(files["trace"]).read_text().splitlines()]

    @property
    def twice(self):
        return [call for call, times in self.calls.items() if times > 1]


@pytest.fixture
def lab(machine, tmp_path, durable):
    return Lab(machine, tmp_path, durable)


@pytest.fixture
def sqlite_lab(machine, tmp_path):
    from savers import Store

    return Lab(machine, tmp_path, Store("aiosqlite", str(tmp_path / "checkpoints.sqlite")))


def named(moments):
    """Of each kind of moment one, from the middle."""
    last = {}
    for name, number in moments:
        last[name] = max(number, last.get(name, 0))
    return [{"moment": [name, (number + 1) // 2]} for name, number in sorted(last.items())]


def check(outcome, undisturbed, moment):
    assert outcome.calls == dict.fromkeys(PROMISES, 1), moment
    assert outcome.state == undisturbed.state, moment
    assert len(set(outcome.keys)) == len(PROMISES), moment


@pytest.mark.parametrize("reconciles", [True, False], ids=["reconcile", "a person"])
def test_every_effect_happens_once_at_every_named_moment(lab, reconciles):
    kills, undisturbed = lab.bill(reconciles=reconciles)
    assert kills == 0
    assert undisturbed.state["summary"] == "3 receipts for 3 customers"
    assert "bob charge bob owes 20 euros" in undisturbed.state["receipts"][1]
    moments = named(undisturbed.moments)
    assert {"in a rollback", "before a charge", "after a charge", "verifying summarise"} < {
        moment["moment"][0] for moment in moments
    }
    # The kinds of savers differ only beneath what is tried here: one of each speed takes all moments.
    thorough = reconciles and lab.store.kind in ("aiosqlite", "postgres")
    for moment in moments if thorough else moments[:: 4 if reconciles else 6]:
        kills, outcome = lab.bill(moment, reconciles=reconciles)
        assert kills == 1, moment
        check(outcome, undisturbed, moment)


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_whatever_the_durability(sqlite_lab, durability):
    _, undisturbed = sqlite_lab.bill(durability=durability)
    for moment in named(undisturbed.moments)[::4]:
        kills, outcome = sqlite_lab.bill(moment, durability=durability)
        assert kills == 1
        check(outcome, undisturbed, moment)


def test_a_run_that_dies_again_and_again(sqlite_lab):
    _, undisturbed = sqlite_lab.bill()
    dies = ("before a charge", "after a charge", "before storing sherlock_result", "after a charge", "after a receipt")
    moments = [{"moment": [name, 1]} for name in dies]
    kills, outcome = sqlite_lab.bill(*moments)
    assert kills == len(dies)
    check(outcome, undisturbed, moments)


def test_killed_at_any_time(sqlite_lab):
    _, undisturbed = sqlite_lab.bill()
    rng = random.Random(4)
    killed = 0
    for _ in range(4):
        when = [{"kill_after_s": rng.uniform(0.02, 0.3)} for _ in range(2)]
        kills, outcome = sqlite_lab.bill(*when)
        killed += kills
        check(outcome, undisturbed, when)
    assert killed


def test_plain_langgraph_sends_twice(sqlite_lab):
    """The same moments, with LangGraph's own means: a task for each call, and every step stored before the next."""
    _, undisturbed = sqlite_lab.bill(plain=True, durability="sync")
    moments = named(undisturbed.moments)
    twice = [bool(sqlite_lab.bill(moment, plain=True, durability="sync")[1].twice) for moment in moments]
    assert sum(twice) >= len(twice) / 3, list(zip(moments, twice, strict=True))


@pytest.mark.soak
@pytest.mark.parametrize("reconciles", [True, False], ids=["reconcile", "a person"])
@pytest.mark.parametrize("durability", ["async", "sync", "exit"])
def test_every_moment(lab, reconciles, durability):
    options = {"reconciles": reconciles, "durability": durability}
    _, undisturbed = lab.bill(**options)
    rng = random.Random(11)
    moments = [{"moment": moment} for moment in undisturbed.moments]
    for moment in moments:
        check(lab.bill(moment, **options)[1], undisturbed, moment)
    for _ in range(150):
        several = rng.choices([*moments, *({"kill_after_s": rng.uniform(0.01, 0.4)} for _ in moments)], k=3)
        check(lab.bill(*several, **options)[1], undisturbed, several)
