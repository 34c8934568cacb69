"""`sherlock validate`, and its report."""

import contextlib
import json
import shutil
import signal
import subprocess
import sys

import pytest
from desk import write_cases, write_desk
from rich.cells import cell_len

from sherlock.cli import main
from sherlock.runtime.validation import Validation

GRAPH = ("agent.py:sloppy", "--cases", "cases.jsonl", "--scorer", "exact_match")
PLAN = """placements:
  add:
    verifier: check
    settings: {{function: "checks.py:{check}"}}
expectation: {{basis: modelled, score: {{value: {score}, low: {low}, high: 1.0, n: 20}}}}
"""
START = [sys.executable, "-c", "import sys; from sherlock.cli import main; sys.exit(main())", "validate"]


def flat(text):
    return " ".join(text.split())


def write_plan(path, check="total", score=0.95, low=0.8):
    path.write_text(PLAN.format(check=check, score=score, low=low))


@pytest.fixture(scope="module")
def validation(tmp_path_factory):
    """The path of a validation that is made once, with blocking runs."""
    home = tmp_path_factory.mktemp("validated")
    write_desk(home)
    write_plan(home / "plan.yaml")
    with contextlib.chdir(home):
        assert main(["validate", *GRAPH, "--plan", "plan.yaml", "--blocking", "--quiet"]) == 0
    return home / "validation.json"


@pytest.fixture
def planned(sherlock, folder):
    write_plan(folder / "plan.yaml")
    return sherlock


def test_the_report(planned, folder):
    result = planned("validate", *GRAPH, "--plan", "plan.yaml", "--markdown", "out/v.md")
    assert (result.code, result.err) == (0, "")
    text = flat(result.out)
    assert text.startswith("10 cases, each run once unguarded and guarded.")
    assert "score 0.70 [" in text
    assert "repaired 3 cases: 3, 6, 9" in text
    assert "score promised 0.95 [0.80, 1.00], measured 1.00 [" in text
    assert "altogether kept" in text
    assert "No p90, no p99: 10 cases are too few" in text
    assert "Saved validation.json and out/v.md" in text
    assert "The plan keeps its promise: the score is 1.00 [" in flat(result.out.rpartition("\n\n")[2])
    assert Validation.load("validation.json").promise_kept is True
    assert (folder / "out/v.md").read_text().startswith("# What the plan does\n\n**The plan keeps its promise: ")


def test_the_gate(planned, folder):
    given = ("validate", *GRAPH, "--plan", "plan.yaml", "--quiet", "--gate")
    assert planned(*given).code == 0
    write_plan(folder / "plan.yaml", check="worse")
    result = planned(*given)
    assert result.code == 1
    assert result.err == "sherlock: the plan does not keep its promise (--gate)\n"
    assert flat(result.out).startswith("The plan does not keep its promise: the score is 0.00 [")
    assert "a loss of 0.70 [" in flat(result.out)
    assert planned(*given[:-1]).code == 0, "without --gate it is only told"


@pytest.mark.parametrize("columns", [50, 80, 140])
def test_no_line_is_too_long(sherlock, folder, validation, monkeypatch, columns):
    shutil.copy(validation, folder)
    monkeypatch.setenv("COLUMNS", str(columns))
    for more in ((), ("--node", "add")):
        out = sherlock("report", "validation.json", *more).out
        assert max(map(cell_len, out.splitlines())) <= columns


def test_a_saved_report(sherlock, folder, validation, refused):
    shutil.copy(validation, folder)
    shown = flat(sherlock("report", "validation.json").out)
    assert "each run once unguarded, guarded and blocking" in shown
    assert "guarded - blocking" in shown
    assert "than waiting for every verdict" in shown
    assert json.loads(sherlock("report", "validation.json", "--json").out)["kind"] == "validation"
    assert sherlock("report", "validation.json", "--markdown", "-").out.count("\n| ") >= 10
    assert "check: match rate" in sherlock("report", "validation.json", "--node", "add").out
    [row] = json.loads(sherlock("report", "validation.json", "--node", "add", "--json").out)
    assert row["rejected"] == 3
    refused("report", "validation.json", "--node", "ad", says=["did you mean 'add'"])


def test_settings_and_json(planned, folder):
    (folder / "pyproject.toml").write_text(
        "[tool.sherlock]\ngraph = 'agent.py:sloppy'\ncases = 'cases.jsonl'\nscorer = 'exact_match'\noutput = 'a.json'\n"
        "[tool.sherlock.validate]\nplan = 'plan.yaml'\nrepeats = 2\nseed = 3\noutput = 'v.json'\n"
    )
    found = json.loads(planned("validate", "--json").out)
    assert (found["settings"]["repeats"], found["settings"]["seed"], found["runs"]) == (2, 3, 40)
    assert (folder / "v.json").is_file()
    assert not (folder / "a.json").exists()


def test_what_goes_wrong_in_cases_is_named(planned, folder):
    lines = (folder / "cases.jsonl").read_text().splitlines()
    (folder / "cases.jsonl").write_text("\n".join([*lines, '{"inputs": {"text": 7}, "expected": {"answer": "7"}}']))
    out = flat(planned("validate", *GRAPH, "--plan", "plan.yaml").out)
    assert "Case '11' raised guarded, and scores 0: TypeError: expected string" in out
    assert "Case '11' raised unguarded" in out


def test_a_limit(planned):
    result = planned("validate", *GRAPH, "--plan", "plan.yaml", "--max-seconds", "0")
    assert result.code == 0
    assert flat(result.out).endswith(
        "Nothing can be said yet: no case was run in every way (limit reached: 0 seconds)."
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--plan", "nowhere.yaml"], ["nowhere.yaml"]),
        (["--plan", "plan.yaml", "--repeats", "0"], ["repeats is 0"]),
        (["--plan", "plan.yaml", "--confidence", "2"], ["confidence is 2"]),
        (["--plan", "plan.yaml", "--max-usd", "-1"], ["usd is -1"]),
        (["--plan", "plan.yaml", "--model", "big"], ["--model big", "only `local`"]),
        (["--plan", "plan.yaml", "--output", "."], ["is a folder"]),
        (["--plan", "plan.yaml", "--scorer", "exactly"], ["unknown scorer"]),
        (["--plan", "plan.yaml", "--cases", "none.jsonl"], ["none.jsonl"]),
        (["--plan", "other.yaml"], ["other.yaml|places 'check' on"]),
    ],
)
def test_bad_input(planned, refused, folder, options, says):
    (folder / "other.yaml").write_text('placements: {sum: {verifier: check, settings: {regex: "x"}}}\n')
    refused("validate", *GRAPH, "--quiet", *options, says=says)


def test_nothing_to_validate_with(refused):
    refused("validate", says=["no graph given", "agent.py:graph"])
    refused("validate", "agent.py:graph", says=["no cases given"])


def test_interrupted(folder):
    write_plan(folder / "plan.yaml")
    write_cases(folder / "many.jsonl", 200)
    asked = ["agent.py:slow_graph", "--cases", "many.jsonl", "--scorer", "exact_match", "--plan", "plan.yaml"]
    process = subprocess.Popen([*START, *asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(30):
        assert process.stderr.readline(), process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "the result so far is in validation.json" in err
    assert "Traceback" not in err
    assert "Partial: interrupted." in out
    assert Validation.load(folder / "validation.json").partial == "interrupted"
