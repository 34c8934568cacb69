"""`analyze` from end to end on random graphs: nothing depends on timing, sharing, or on having been cut off."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TypedDict

import pytest
from graphs_for_replay import Watch, plans
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph

import sherlock
from sherlock.analysis.analyze import aanalyze
from sherlock.analysis.determinism import Determinism
from sherlock.errors import CasesError, GraphError, InjectionError
from sherlock.faults import Fault
from sherlock.usage import Limits


def scored(output, case):
    return (output["total"] + output["a"]) % 3 != 2


def data(analysis):
    """All of an artefact but its timing."""
    found = json.loads(analysis.to_json())
    del found["timing"]
    return found


def analysed(plan, cases, *, jitter=0, flaky=frozenset(), watch=None, **options):
    watch = watch or Watch()
    watch.jitter, watch.flaky = random.Random(jitter), flaky
    return asyncio.run(aanalyze(plan.build(watch), cases, scorer=scored, **options))


def cases_of(n):
    return [sherlock.Case({"x": i % 7, "a": i % 3}) for i in range(n)]


measurable = st.tuples(plans(most=3, depth=1), st.integers(1, 10), st.sampled_from(["first", "all"]))
few = settings(max_examples=4)
many = settings(max_examples=100)


def same_whatever_the_timing(drawn):
    plan, n, visits = drawn
    try:
        one = data(analysed(plan, cases_of(n), visits=visits))
    except (CasesError, GraphError):
        return
    for jitter, concurrency in ((1, 1), (2, 8)):
        other = analysed(plan, cases_of(n), visits=visits, jitter=jitter, concurrency=concurrency)
        assert data(other) == one


def same_without_sharing(drawn):
    plan, n, visits = drawn
    try:
        shared = analysed(plan, cases_of(n), visits=visits)
    except (CasesError, GraphError):
        return
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Determinism, "shows", lambda self, nodes: False)
        apart = analysed(plan, cases_of(n), visits=visits)
    for analysis in (found := [data(shared), data(apart)]):
        del analysis["node_executions"], analysis["node_executions_full"]
        for node in analysis["nodes"].values():
            del node["deterministic"], node["instability"]
    assert found[0] == found[1]


class CutOff(Exception):
    pass


def same_when_cut_off(drawn, seed, folder):
    plan, n, visits = drawn
    cases = cases_of(n)
    try:
        whole = data(analysed(plan, cases, visits=visits))
    except (CasesError, GraphError):
        return
    store = folder / "store.db"
    left = 0

    def cut(progress):
        nonlocal left
        left -= progress.stage in ("clean", "sham", "trial")
        if left == 0:
            raise CutOff

    for _ in range(4):
        left = random.Random(seed).randint(1, 60)
        try:
            analysed(plan, cases, visits=visits, store=store, progress=cut)
            break
        except CutOff:
            pass
    assert data(analysed(plan, cases, visits=visits, store=store)) == whole
    watch = Watch()
    assert data(analysed(plan, cases, visits=visits, store=store, watch=watch)) == whole
    assert not watch.log  # all of it was in the store


@few
@given(measurable)
def test_timing_and_concurrency_change_nothing(drawn):
    same_whatever_the_timing(drawn)


@few
@given(measurable)
def test_sharing_changes_nothing(drawn):
    same_without_sharing(drawn)


@few
@given(measurable, st.integers())
def test_cut_off_and_resumed_as_if_never_cut(tmp_path_factory, drawn, seed):
    same_when_cut_off(drawn, seed, tmp_path_factory.mktemp("store"))


@settings(max_examples=4)
@given(plans(most=3, depth=0, kinds=("plain", "total", "list")), st.integers(0, 9))
def test_nodes_that_vary_are_never_shown(plan, seed):
    names = [leaf.name for stage in plan.stages for leaf in stage.leaves]
    flaky = frozenset(random.Random(seed).sample(names, max(1, len(names) // 2)))
    watch = Watch()
    try:
        analysis = analysed(plan, cases_of(8), flaky=flaky, watch=watch)
    except CasesError:
        return
    assert not any(analysis.nodes[name].deterministic for name in flaky & watch.varied & analysis.nodes.keys())


@pytest.mark.soak
@many
@given(measurable, st.integers())
def test_analyses_of_random_graphs_soak(tmp_path_factory, drawn, seed):
    same_whatever_the_timing(drawn)
    same_without_sharing(drawn)
    same_when_cut_off(drawn, seed, tmp_path_factory.mktemp("store"))


# A small pipeline whose answers can be worked out.


class State(TypedDict, total=False):
    q: str
    a: str
    b: str
    out: str


def pipeline(**nodes):
    """q -> a -> b -> out, each node a function of the state; by default each passes on what it got."""
    graph = StateGraph(State)
    steps = {"a": lambda s: {"a": s["q"]}, "b": lambda s: {"b": s["a"]}, "out": lambda s: {"out": s["b"]}, **nodes}
    for before, (name, node) in zip([START, *steps], steps.items(), strict=False):
        graph.add_node(name, node)
        graph.add_edge(before, name)
    return graph


def orders(n):
    texts = [f"order {i}: {i + 3} tins" for i in range(n)]
    return [sherlock.Case({"q": text}, expected={"out": text}) for text in texts]


WRONG = (Fault("wrong", "output", 1.0, lambda text, rng: text + " wrong"),)


def exact(output, case):
    return output["out"] == case.expected["out"]


@pytest.mark.parametrize("form", ["builder", "compiled", "factory", "async factory"])
def test_each_form_of_graph(form):
    async def later():
        return pipeline().compile()

    graph = {"builder": pipeline(), "compiled": pipeline().compile(), "factory": pipeline, "async factory": later}[form]
    analysis = sherlock.analyze(graph, orders(8), scorer=exact, faults=WRONG)
    assert {name: node.vulnerability.value for name, node in analysis.nodes.items()} == {"a": 1, "b": 1, "out": 1}
    assert analysis.ranking == ["a", "b", "out"]


def test_what_does_not_matter_is_masked():
    analysis = sherlock.analyze(pipeline(b=lambda s: {"b": s["q"]}), orders(8), scorer=exact, faults=WRONG)
    assert {name: node.vulnerability.value for name, node in analysis.nodes.items()} == {"a": 0, "b": 1, "out": 1}
    assert analysis.nodes["a"].masked == 0  # its own key stays wrong to the end
    tidy = {"b": lambda s: {"a": ""}, "out": lambda s: {"out": s["q"]}}
    assert sherlock.analyze(pipeline(**tidy), orders(8), scorer=exact, faults=WRONG).nodes["a"].masked == 8


def test_a_fault_that_crashes_the_workflow_is_a_loss_with_its_error():
    def picky(state):
        if "wrong" in state["a"]:
            raise KeyError("wrong")
        return {"b": state["a"]}

    analysis = sherlock.analyze(pipeline(b=picky), orders(8), scorer=exact, faults=WRONG)
    assert analysis.nodes["a"].vulnerability.value == 1
    assert analysis.nodes["a"].errors == analysis.nodes["a"].trials == 8
    assert analysis.nodes["a"].examples[0].error == "KeyError: 'wrong'"


def test_only_deterministic_nodes_are_shared():
    drift = Counter()

    def drifting(state):
        drift["n"] += 1
        return {"b": f"{state['a']}~{drift['n']}"}

    loose = lambda output, case: output["out"].startswith(case.expected["out"] + "~")
    analysis = sherlock.analyze(pipeline(b=drifting), orders(8), scorer=loose, faults=WRONG)
    assert {name: node.deterministic for name, node in analysis.nodes.items()} == {"a": True, "b": False, "out": True}
    assert analysis.nodes["b"].instability.value == 1
    # Clean runs, probes, a sham for every case at a and at b; a trial at every case at a: none was left out.
    assert drift["n"] == 8 + 5 + 8 + 8 + 8
    again = sherlock.analyze(pipeline(), orders(8), scorer=exact, faults=WRONG)
    assert all(node.deterministic for node in again.nodes.values())
    assert again.node_executions < analysis.node_executions


@pytest.mark.parametrize("length", [2, 3, 4, 5, 8])
def test_a_node_that_takes_turns_is_not_deterministic(length):
    turns = Counter()

    def in_turn(state):
        turns["n"] += 1
        return {"a": f"{state['q']}{' ' * (turns['n'] % length)}"}

    same = lambda output, case: output["out"].strip() == case.expected["out"]
    analysis = sherlock.analyze(pipeline(a=in_turn), orders(8), scorer=same, faults=WRONG, concurrency=1)
    assert not analysis.nodes["a"].deterministic


def test_where_the_path_varies_nothing_is_shown():
    """A router that takes turns: no node varies, yet nothing may be shared."""
    turns = Counter()

    def route(state):
        turns["n"] += 1
        return "b" if turns["n"] % 3 else "out"

    graph = StateGraph(State)
    graph.add_node("a", lambda s: {"a": s["q"]})
    graph.add_node("b", lambda s: {"b": s["q"]})
    graph.add_node("out", lambda s: {"out": s["a"]})
    graph.add_edge(START, "a")
    graph.add_conditional_edges("a", route, ["b", "out"])
    graph.add_edge("b", "out")
    analysis = sherlock.analyze(graph, orders(8), scorer=exact, faults=WRONG)
    assert not any(node.deterministic for node in analysis.nodes.values())


def test_every_visit_of_a_loop():
    def more(state):
        return {"a": state.get("a", "") + "x"}

    graph = StateGraph(State)
    graph.add_node("more", more)
    graph.add_node("out", lambda s: {"out": s["q"]})
    graph.add_edge(START, "more")
    graph.add_conditional_edges("more", lambda s: "out" if len(s["a"]) >= 3 else "more", ["out", "more"])
    for visits, times in (("first", 1), ("all", 3)):
        analysis = sherlock.analyze(graph, orders(8), scorer=exact, faults=WRONG, visits=visits)
        assert analysis.nodes["more"].trials == 8 * times
        assert analysis.nodes["more"].vulnerability.n == 8


def test_an_own_fault_that_does_not_fit_is_an_error():
    odd = (Fault("odd", "output", 1.0, lambda text, rng: 5),)
    with pytest.raises(InjectionError, match="odd"):
        sherlock.analyze(pipeline(), orders(3), scorer=exact, faults=odd)


@pytest.mark.parametrize("seconds", [0.0, 0.15])
def test_a_limit_ends_with_a_valid_part(seconds, tmp_path):
    def slow(state):
        time.sleep(0.01)
        return {"b": state["a"]}

    analysis = sherlock.analyze(pipeline(b=slow), orders(30), scorer=exact, limits=Limits(seconds=seconds))
    assert analysis.partial == f"limit reached: {seconds:g} seconds"
    assert not analysis.settled
    analysis.save(tmp_path / "part.json")
    assert sherlock.Analysis.load(tmp_path / "part.json") == analysis


def test_cancelled_it_leaves_nothing_behind(tmp_path):
    running = Counter()

    async def slow(state):
        running.update(("n", "begun"))
        try:
            await asyncio.sleep(0.02)
        finally:
            running["n"] -= 1
        return {"b": state["a"]}

    async def go():
        work = asyncio.create_task(
            aanalyze(pipeline(b=slow), orders(20), scorer=exact, store=tmp_path / "store.db", concurrency=4)
        )
        while running["n"] == 0 or running["begun"] < 30:  # the clean runs, and a part of the trials
            await asyncio.sleep(0.005)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert running["n"] == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(go())
    assert not list(tmp_path.glob("*-wal"))  # SQLite tidies up when the last connection is closed


SCRIPT = """
import json, os, signal, sys, time
from pathlib import Path
from typing import TypedDict
import sherlock
from sherlock import analyze
from langgraph.graph import START, StateGraph

folder = Path(sys.argv[1])

class State(TypedDict, total=False):
    q: str
    a: str
    b: str
    out: str

def note(state, name):
    with (folder / "log").open("a") as file:
        file.write(f"{name} {state['q']}\\n")
    time.sleep(0.002)

def a(state):
    note(state, "a")
    return {"a": state["q"].upper()}

def b(state):
    note(state, "b")
    return {"b": state["a"] + "!"}

def out(state):
    note(state, "out")
    return {"out": state["b"]}

graph = StateGraph(State)
for before, node in zip(["__start__", "a", "b"], [a, b, out]):
    graph.add_node(node.__name__, node)
    graph.add_edge(before, node.__name__)

def exact(output, case):
    return output["out"] == case.inputs["q"].upper() + "!"

def executed():
    return len((folder / "log").read_text().splitlines()) if (folder / "log").exists() else 0

def analyse(store, out, kill_at=None):
    # Forked before any thread is started: each is a process of its own, without importing everything again.
    child = os.fork()
    if child == 0:
        cases = [sherlock.Case({"q": f"{i} tins"}) for i in range(8)]
        analysis = analyze(graph, cases, scorer=exact, store=folder / store, concurrency=4)
        analysis.save(folder / out)
        os._exit(0)
    before = executed()
    if kill_at:
        while executed() - before < kill_at and os.waitpid(child, os.WNOHANG)[0] == 0:
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return executed() - before, status

print(json.dumps([
    analyse("whole.db", "whole.json"),
    analyse("killed.db", "killed.json", kill_at=int(sys.argv[2])),
    analyse("killed.db", "killed.json", kill_at=int(sys.argv[3])),
    analyse("killed.db", "killed.json"),
    analyse("killed.db", "again.json"),
]))
"""


@pytest.mark.parametrize("kill_at", [(5, 12), (40, 25)])
def test_killed_and_resumed(kill_at, tmp_path):
    """After kill -9 nothing that had ended runs again, and the artefact is that of an analysis that was not killed."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script, tmp_path, *map(str, kill_at)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    whole, first, second, last, again = json.loads(done.stdout)
    assert whole[1] == last[1] == again[1] == 0
    assert first[1] == second[1] == signal.SIGKILL
    artefacts = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("whole", "killed", "again")]
    for artefact in artefacts:
        del artefact["timing"]
    assert artefacts[1] == artefacts[2] == artefacts[0]
    assert again[0] == 0
    # Executed once more is what was under way (four lines of three nodes at most, at each kill), and results that
    # lines which had ended shared in memory only.
    assert first[0] + second[0] + last[0] <= whole[0] + 2 * 4 * 3 + 24


def test_another_graph_and_other_code_share_no_results(tmp_path):
    store = tmp_path / "store.db"
    log = []

    def noted(text):
        def b(state):
            log.append(text)
            return {"b": state["a"]}

        return b

    sherlock.analyze(pipeline(b=noted("one")), orders(8), scorer=exact, faults=WRONG, store=store)
    sherlock.analyze(pipeline(b=noted("two")), orders(8), scorer=exact, faults=WRONG, store=store)
    assert "two" in log
    other = pipeline()
    other.add_edge("out", END)
    other.add_node("more", lambda s: {"q": "x"})
    other.add_edge("out", "more")
    with pytest.raises(sherlock.errors.StoreError, match="another graph"):
        sherlock.analyze(other, orders(8), scorer=exact, store=store)
