"""`sherlock plan`: from a calibration of a real graph to `plan.yaml`, or to why there is none."""

import contextlib
import json
import shutil

import pytest
from desk import write_desk
from rich.cells import cell_len

from sherlock.analysis.calibration import Calibration
from sherlock.cli import main
from sherlock.placement.plan import Plan
from sherlock.usage import Usage

GRAPH = ("--cases", "cases.jsonl", "--scorer", "exact_match")
TOTAL = 'add={"use": "check", "function": "checks.py:total"}'
NEVER = '{"use": "check", "function": "checks.py:never"}'


def flat(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    """The path of a calibration that is made once."""
    home = tmp_path_factory.mktemp("calibrated")
    write_desk(home)
    with contextlib.chdir(home):
        asked = ("calibrate", "agent.py:sloppy", *GRAPH, "--quiet", "--verifier", TOTAL, "--verifier", NEVER)
        assert main(asked) == 0
    return home / "calibration.json"


@pytest.fixture
def calibrated(sherlock, folder, calibration):
    """Runs the command line in a folder with a `calibration.json` in it."""
    shutil.copy(calibration, folder)
    return sherlock


def test_a_plan_from_what_lies_here(calibrated, folder):
    result = calibrated("plan")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("1 node is verified\n")
    assert "Saved plan.yaml" in result.out
    last = flat(result.out.rpartition("\n\n")[2])
    assert last.startswith("Verify add with check: the score is expected to be ")
    assert last.endswith(", without a model call; screened only: nothing was run whole, so it may promise too much.")
    plan = Plan.load("plan.yaml")
    assert list(plan.placements) == ["add"]
    assert plan.placements["add"].settings == {"function": "checks.py:total"}
    assert "read check" in flat(result.out.partition("What was not taken")[2])


@pytest.mark.parametrize("columns", [50, 80, 140])
def test_no_line_of_the_report_is_too_long(calibrated, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in (("plan",), ("plan", "--frontier"), ("report", "plan.yaml", "--node", "add")):
        assert max(map(cell_len, calibrated(*command).out.splitlines())) <= columns


def test_whole_plans_are_run_where_graph_cases_and_scorer_are_known(calibrated, folder):
    result = calibrated("plan", "--graph", "agent.py:sloppy", *GRAPH, "-o", "out/p.yaml", "--markdown", "out/p.md")
    assert result.code == 0, result.err
    assert flat(result.out).endswith("measured: whole plans were run on cases that they were not chosen on.")
    plan = Plan.load("out/p.yaml")
    assert plan.expectation.basis == "measured jointly"
    assert plan.expectation.score.value == 1
    text = (folder / "out/p.md").read_text()
    assert text.startswith("# What to verify\n\n**Verify `add` with `check`: ")
    (folder / "pyproject.toml").write_text(
        '[tool.sherlock]\ngraph = "agent.py:sloppy"\ncases = "cases.jsonl"\nscorer = "exact_match"\nmax-usd = 0\n'
    )
    assert json.loads(calibrated("plan", "--json").out)["expectation"]["basis"] == "measured jointly"
    screened = json.loads(calibrated("plan", "--json", "--screen-only").out)
    assert screened["expectation"]["basis"] == "screened only"
    assert screened["slo"]["max_usd"] is None


def test_json_and_quiet(calibrated):
    assert json.loads(calibrated("plan", "--json").out)["kind"] == "plan"
    quiet = calibrated("plan", "--quiet").out
    assert quiet.startswith("Verify add with check")
    assert len(quiet.splitlines()) <= 4


def test_limits_of_the_settings(calibrated, folder):
    (folder / "pyproject.toml").write_text(
        "[tool.sherlock]\nmax-usd = 5\n[tool.sherlock.plan]\nmax-usd = 0.25\nmax-verifiers = 1\nobjective = 'usd'\n"
    )
    plan = json.loads(calibrated("plan", "--json").out)
    assert (plan["slo"]["max_usd"], plan["slo"]["max_verifiers"], plan["objective"]) == (0.25, 1, "usd")
    asked = flat(calibrated("report", "plan.yaml").out)
    assert "goal the fewest dollars" in asked
    assert "at most $0.25 for verification; at most 1 verifier" in asked


def test_what_cannot_be_reached(calibrated, folder):
    result = calibrated("plan", "--min-accuracy", "0.95", "--max-latency-s", "1e-6")
    assert result.code == 1
    [line] = result.err.splitlines()
    assert "max_latency_s" in line
    assert "the workflow itself takes" in line
    assert not (folder / "plan.yaml").exists()
    sole = calibrated("calibrate", "agent.py:sloppy", *GRAPH, "--quiet", "--verifier", NEVER)
    assert sole.code == 0
    result = calibrated("plan", "--min-accuracy", "0.95")
    assert result.code == 1
    [line] = result.err.splitlines()
    assert "min_accuracy 0.95 would have to be 0.7" in line
    assert flat(result.out).startswith("The nearest that can be reached: Verify nothing: ")
    result = calibrated("plan", "--min-accuracy", "0.95", "--json")
    assert result.code == 1
    found = json.loads(result.out)
    assert "min_accuracy" in found["unreachable"]
    assert found["nearest"]["placements"] == {}


def test_the_frontier(calibrated, folder):
    free = Calibration.load("calibration.json")
    [good] = [row for row in free.rows if row.gain.value > 0]
    helped = [case for case, tried in good.cases.items() if tried.gain > 0]
    half = {**good.cases, helped[0]: good.cases[helped[0]].model_copy(update={"gain": 0.0, "changed": False})}
    cheap = {"settings": {"regex": "x"}, "label": 'check {"regex": "x"}', "cases": half, "shrunk_gain": 0.2}
    rows = [
        good.model_copy(update={"usage": Usage(calls=9, tokens_in=900, usd=0.05)}),
        good.model_copy(update={**cheap, "usage": Usage(calls=1, tokens_in=100, usd=0.01)}),
    ]
    free.model_copy(update={"rows": rows}).save("calibration.json")
    found = json.loads(calibrated("plan", "--frontier", "--json").out)
    assert found["measure"] == "dollars"
    costs = [step["cost"] for step in found["steps"]]
    scores = [step["score"]["value"] for step in found["steps"]]
    assert costs == pytest.approx([0, 0.001, 0.005], rel=0.01)
    assert found["steps"][0]["placements"] == {}
    assert scores == sorted(set(scores))
    text = calibrated("plan", "--frontier").out
    assert text.startswith("The score that every budget buys, for one run\n")
    assert len([line for line in text.splitlines() if "●" in line]) == len(costs)
    assert "1 no verifier" in flat(text)
    assert not (folder / "plan.yaml").exists()


def test_without_a_calibration_the_shape_of_the_graph_decides(sherlock, refused):
    refused("plan", says=["no calibration", "sherlock calibrate", "--default-verifier"])
    refused("plan", "--frontier", "--default-verifier", "resolve", says=["--frontier needs a calibration"])
    refused("plan", "--default-verifier", "resolve", says=["nothing to plan for"])
    refused("plan", "--default-verifier", "resolv", says=["did you mean 'resolve'"])
    refused("plan", "--default-verifier", "add=resolve", says=["for every node"])
    result = sherlock("plan", "--default-verifier", "resolve", "--graph", "agent.py:graph", "--max-verifiers", "2")
    assert result.code == 0, result.err
    assert list(Plan.load("plan.yaml").placements) == ["read", "reply"]
    assert flat(result.out).endswith("by where they stand in the graph alone: nothing was measured.")
    limited = ("plan", "--default-verifier", "resolve", "--graph", "agent.py:graph", "--max-usd", "1")
    refused(*limited, says=["max_usd cannot be kept without a calibration"])


def test_an_analysis_of_another_graph_is_used_by_nobody_who_did_not_name_it(calibrated, refused, folder):
    done = calibrated("analyze", "agent.py:other", *GRAPH[:2], "--scorer", "agent.py:always", "--quiet")
    assert done.code == 0
    result = calibrated("plan")
    assert result.code == 0
    assert result.err == "sherlock: analysis.json is of another graph, so it is not used\n"
    refused("plan", "--analysis", "analysis.json", says=["different graphs"])
    (folder / "analysis.json").unlink()
    refused("plan", "--graph", "agent.py:other", says=["different graphs"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--max-usd", "-1"], ["max_usd is -1", "cannot be negative"]),
        (["--min-accuracy", "90"], ["min_accuracy is 90", "0.9 for 90 %"]),
        (["--max-latency-s", "0"], ["max_latency_s is 0"]),
        (["--min-accuracy", "0.9", "--max-verifiers", "0"], ["min_accuracy 0.9", "max_verifiers 0", "allow some"]),
        (["--max-verifiers", "1.5"], ["--max-verifiers", "integer", "plan --help"]),
        (["--objective", "accurcy"], ["'accurcy'", "did you mean 'accuracy'"]),
        (["--calibration", "nowhere.json"], ["nowhere.json", "cannot read"]),
        (["--calibration", "agent.py"], ["agent.py", "not JSON"]),
        (["--analysis", "calibration.json"], ["'calibration', no analysis", "sherlock analyze"]),
        (["--cases", "cases.jsonl"], ["--cases needs --scorer"]),
        (["--scorer", "exact_match"], ["--scorer needs --cases"]),
        ([*GRAPH], ["no graph given", "--graph agent.py:graph"]),
        (["--verifier-timeout-s", "-1"], ["--verifier-timeout-s -1"]),
        (["--limit-usd", "-1"], ["usd is -1"]),
        (["--output", "."], ["is a folder"]),
    ],
)
def test_bad_input(calibrated, refused, options, says):
    refused("plan", "--quiet", *options, says=says)


def test_a_limit_on_whole_runs_leaves_a_plan_that_says_so(calibrated, folder):
    limited = ("--limit-seconds", "0.001", "--store", "new.sqlite", "--concurrency", "1")
    result = calibrated("plan", "--graph", "agent.py:sloppy", *GRAPH, *limited)
    assert result.code == 0, result.err
    assert "the whole runs ended early" in flat(result.out)


# report


def test_the_report_of_a_plan_is_what_was_printed(calibrated):
    first = calibrated("plan").out
    again = calibrated("report", "plan.yaml").out
    assert again.split() == [word for word in first.split() if word not in ("Saved", "plan.yaml")]
    assert calibrated("report", "plan.yaml", "--markdown", "-").out.startswith("# What to verify\n")
    assert json.loads(calibrated("report", "plan.yaml", "--json").out)["kind"] == "plan"


def test_one_node_of_a_plan_and_of_a_calibration(calibrated, refused):
    calibrated("plan")
    placed = calibrated("report", "plan.yaml", "--node", "add").out
    assert 'verifier    check {"function": "checks.py:total"}' in placed
    assert json.loads(calibrated("report", "plan.yaml", "--node", "read", "--json").out)["placement"] is None
    assert "Nothing is placed here." in calibrated("report", "plan.yaml", "--node", "read").out
    refused("report", "plan.yaml", "--node", "ad", says=["no node 'ad'", "did you mean 'add'"])
    node = calibrated("report", "calibration.json", "--node", "add").out
    assert "gain         0.30 [" in node
    assert 'settings     {"function": "checks.py:total"}' in node
    rows = json.loads(calibrated("report", "calibration.json", "--node", "add", "--json").out)
    assert [row["verifier"] for row in rows] == ["check", "check"]
    refused("report", "calibration.json", "--node", "ad", says=["no node 'ad'", "did you mean 'add'"])


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("verifier: check", "verifer: check", ["plan.yaml, line 8", "'verifer'", "did you mean 'verifier'"]),
        ("verifier: check", "verifier: chekc", ["plan.yaml, line 8", "'chekc'", "did you mean 'check'"]),
        ("    on_reject: correct", "    on_reject: fix", ["plan.yaml, line", "on_reject", "'fix'"]),
        ("placements:\n", "placements:\n  add:\n    verifier: vote\n", ["line 9", "'add' stands twice", "line 7"]),
        ("  add:", "  ad:", ["plan.yaml, line 7", "'ad'", "did you mean 'add'"]),
        ("placements:", "placements: [", ["plan.yaml", "not YAML"]),
    ],
)
def test_a_slip_in_an_edited_plan_is_named_with_its_line(calibrated, refused, folder, old, new, says):
    calibrated("plan")
    text = (folder / "plan.yaml").read_text()
    assert old in text
    (folder / "plan.yaml").write_text(text.replace(old, new, 1))
    refused("report", "plan.yaml", says=says)
