"""`sherlock calibrate`: what it prints where, what it writes, what it makes of verifiers that fail."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from desk import write_cases
from rich.cells import cell_len

from sherlock.analysis.calibration import Calibration
from sherlock.cli.settings import read_settings

OK = ("calibrate", "agent.py:sloppy", "--cases", "cases.jsonl", "--scorer", "exact_match")
TOTAL = 'add={"use": "check", "function": "checks.py:total"}'


def check(function, node=""):
    spec = json.dumps({"use": "check", "function": f"checks.py:{function}"})
    return f"{node}={spec}" if node else spec


def timeless(text):
    data = json.loads(text)
    data.pop("timing")
    return data


def flat(text):
    return " ".join(text.split())


def test_results_on_standard_output_progress_on_standard_error(sherlock, folder):
    write_cases(folder / "cases.jsonl", 16)
    result = sherlock(*OK, "--verifier", TOTAL, "--verifier", check("worse"), "--markdown", "out/report.md")
    assert result.code == 0, result.err
    assert result.out.startswith("Without a verifier: 11 of 16 cases right, 69 % [")
    assert "Saved calibration.json and out/report.md" in result.out
    said = flat(result.out.rpartition("\n\n")[2])
    assert said.startswith("Worth it: check checks.py:total at add gains 0.31 [0.0")
    assert "Harmful: check checks.py:worse at add, -0." in said
    assert "comparing verifiers: 16 of 16 cases run, 11 right;" in result.err
    loaded = Calibration.load("calibration.json")
    assert [(row.node, row.verifier) for row in loaded.rows] == [(n, "check") for n in ("read", "add", "add", "reply")]
    assert (folder / "out/report.md").read_text().startswith("# What verifiers buy\n\n**Worth it: `check checks.py:t")


@pytest.mark.parametrize("columns", [50, 80, 140])
def test_no_line_of_the_report_is_too_long(sherlock, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    result = sherlock(*OK, "--verifier", TOTAL, "--verifier", check("broken"))
    assert max(map(cell_len, result.out.splitlines())) <= columns


def test_json_stands_alone_and_is_what_is_written(sherlock):
    result = sherlock(*OK, "--verifier", TOTAL, "--json")
    assert json.loads(result.out) == json.loads(Path("calibration.json").read_text())
    assert timeless(sherlock(*OK, "--verifier", TOTAL, "--json").out) == timeless(result.out)


def test_quiet_prints_one_sentence(sherlock):
    result = sherlock(*OK, "--verifier", TOTAL, "--quiet")
    assert result.err == ""
    assert result.out.startswith("No verifier is shown to be worth it: check at add, 0.30 [")
    assert len(result.out.splitlines()) <= 3


def test_a_dry_run_executes_and_writes_nothing(sherlock, folder):
    result = sherlock(*OK, "--verifier", TOTAL, "--dry-run")
    assert result.code == 0
    assert result.out.startswith("At most 30 trials on 10 cases and 1 node")
    assert not (folder / "calibration.json").exists()


def test_a_verifier_for_one_node_is_tried_there_beside_the_others(sherlock):
    data = json.loads(sherlock(*OK, "--verifier", TOTAL, "--verifier", check("never"), "--json").out)
    assert [row["node"] for row in data["rows"]] == ["read", "add", "add", "reply"]
    data = json.loads(sherlock(*OK, "--verifier", TOTAL, "--json").out)
    assert [row["node"] for row in data["rows"]] == ["add"]
    data = json.loads(sherlock(*OK, "--verifier", check("never"), "--node", "read", "--json").out)
    assert [row["node"] for row in data["rows"]] == ["read"]


def test_verifiers_of_the_settings(sherlock, folder, monkeypatch):
    (folder / "pyproject.toml").write_text(
        '[tool.sherlock]\ngraph = "agent.py:sloppy"\ncases = "cases.jsonl"\nscorer = "exact_match"\noutput = "a.json"\n'
        "[tool.sherlock.verifiers]\n"
        'sum = { use = "check", function = "checks.py:total", nodes = ["add"] }\n'
        'check = { regex = "[0-9 ]+", nodes = ["read", "add"] }\n'
        '[tool.sherlock.calibrate]\noutput = "out/c.json"\n'
    )
    inner = folder / "inner"
    inner.mkdir()
    monkeypatch.chdir(inner)
    rows = json.loads(sherlock("calibrate", "--json").out)["rows"]
    assert [(row["node"], sorted(row["settings"])) for row in rows] == [
        ("read", ["regex"]),
        ("add", ["function"]),
        ("add", ["regex"]),
    ]
    assert rows[1]["settings"]["function"] == f"{folder}/checks.py:total"
    assert (folder / "out/c.json").is_file()
    assert not (folder / "a.json").exists()
    rows = json.loads(sherlock("calibrate", "--json", "--verifier", "reply=sum").out)["rows"]
    assert [(row["node"], sorted(row["settings"])) for row in rows] == [("reply", ["function"])]


def test_files_of_verifiers_are_relative_to_the_settings(tmp_path):
    (tmp_path / "pyproject.toml").write_text(
        "[tool.sherlock.verifiers.all]\nuse = 'vote'\nverifiers = [{use = 'check', function = 'checks.py:total'}, "
        "{use = 'resolve', prompt_file = 'again.md'}, {use = 'check', regex = '.*[.]py:.*'}]\n"
    )
    [table] = read_settings(tmp_path).values["verifiers"].values()
    checked, again, matched = table["verifiers"]
    assert checked["function"] == f"{tmp_path}/checks.py:total"
    assert again["prompt_file"] == f"{tmp_path}/again.md"
    assert matched["regex"] == ".*[.]py:.*"


def test_the_order_of_an_analysis(sherlock, folder):
    assert sherlock("analyze", "agent.py:sloppy", *OK[2:], "--quiet").code == 0
    ranking = json.loads((folder / "analysis.json").read_text())["ranking"]
    rows = json.loads(sherlock(*OK, "--verifier", check("never"), "--json").out)["rows"]
    assert [row["node"] for row in rows] == ranking
    (folder / "analysis.json").rename(folder / "other.json")
    data = json.loads((folder / "other.json").read_text())
    data["ranking"].reverse()
    (folder / "other.json").write_text(json.dumps(data))
    rows = json.loads(sherlock(*OK, "--verifier", check("never"), "--json", "--analysis", "other.json").out)["rows"]
    assert [row["node"] for row in rows] == ranking[::-1]


def test_an_analysis_of_another_graph_is_used_by_nobody_who_did_not_name_it(sherlock, refused):
    assert sherlock("analyze", "agent.py:other", *OK[2:4], "--scorer", "agent.py:always", "--quiet").code == 0
    result = sherlock(*OK, "--verifier", TOTAL)
    assert result.code == 0
    assert "analysis.json is of another graph, so it is not used" in result.err
    refused(
        *OK,
        *("--verifier", TOTAL, "--analysis", "analysis.json", "--quiet", "--store", "new.sqlite"),
        says=["the analysis is of another graph", "analyse this one first"],
    )


def test_verifiers_that_fail_are_counted_and_do_not_end_it(sherlock):
    verifiers = [check(name, "add") for name in ("broken", "rubbish", "number")]
    options = [part for verifier in verifiers for part in ("--verifier", verifier)]
    result = sherlock(*OK, *options, "--json", "--faults", "own_faults.py:none")
    assert result.code == 0, result.err
    rows = json.loads(result.out)["rows"]
    assert all(row["failures"] == row["verifications"] == 10 for row in rows)
    said = {row["settings"]["function"].rpartition(":")[2]: row["failure"] for row in rows}
    assert "KeyError: 'stock'" in said["broken"]
    assert "returned 'maybe'" in said["rubbish"]
    assert "add" in said["number"]
    text = flat(sherlock("report", "calibration.json").out)
    assert "check checks.py:broken gave no verdict in 10 of 10 verifications; the first, at add: " in text
    assert text.endswith("Nothing can be said: no verifier gave a single verdict.")


def test_a_verifier_that_hangs_is_given_up(sherlock):
    hangs = ("--verifier", check("hangs", "add"), "--verifier-timeout-s", "0.2")
    result = sherlock(*OK, *hangs, "--json", "--faults", "own_faults.py:none")
    assert result.code == 0, result.err
    [row] = json.loads(result.out)["rows"]
    assert row["failures"] == row["verifications"] == 10
    assert "gave no verdict within 0.2 s" in row["failure"]


def test_a_limit_ends_it_with_a_partial_result(sherlock, folder):
    write_cases(folder / "many.jsonl", 40)
    slow = ("calibrate", "agent.py:slow_graph", "--cases", "many.jsonl", *OK[4:], "--concurrency", "1")
    result = sherlock(*slow, "--verifier", check("never"), "--max-seconds", "1.5")
    assert result.code == 0, result.err
    assert "Partial: limit reached: 1.5 seconds" in result.out
    assert Calibration.load("calibration.json").partial == "limit reached: 1.5 seconds"


def test_resume_repeats_nothing(sherlock):
    first = sherlock(*OK, "--verifier", TOTAL, "--json")
    before = Path(".sherlock/trials.sqlite").read_bytes()
    resumed = sherlock(*OK, "--verifier", TOTAL, "--json", "--resume")
    assert timeless(resumed.out) == timeless(first.out)
    assert len(Path(".sherlock/trials.sqlite").read_bytes()) == len(before)


def test_interrupted_it_keeps_what_is_there(folder):
    write_cases(folder / "many.jsonl", 60)
    code = "import sys; from sherlock.cli import main; sys.exit(main())"
    asked = ["calibrate", "agent.py:slow_graph", "--cases", "many.jsonl", *OK[4:], "--concurrency", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *asked, "--verifier", check("never")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if "comparing verifiers" in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Partial: interrupted." in out
    assert "the result so far is in calibration.json" in err
    assert Calibration.load("calibration.json").partial == "interrupted"


@pytest.mark.parametrize(
    ("verifier", "says"),
    [
        ("resolv", ["no verifier 'resolv'", "did you mean 'resolve'"]),
        ("add=resolv", ["at 'add'", "did you mean 'resolve'"]),
        ("=resolve", ["=resolve", "a node and a verifier"]),
        ("ad=resolve", ["'ad'", "did you mean 'add'"]),
        ('{"use": "check"', ["not JSON", "--verifier resolve"]),
        ('{"function": "checks.py:total"}', ["names no verifier", "use"]),
        ('{"use": "check", "functio": 1}', ["'check'", "no setting 'functio'", "did you mean 'function'"]),
        ('{"use": "check"}', ["nothing is to be checked"]),
        ('{"use": "check", "resamples": -1}', ["resamples is -1"]),
        ('{"use": "check", "function": "checks.py:totl"}', ["checks.py", "did you mean 'total'"]),
    ],
)
def test_what_is_no_verifier(refused, verifier, says):
    refused(*OK, "--verifier", verifier, says=says)


def test_no_verifier_at_all(refused):
    refused(*OK, says=["no verifier given", "--verifier resolve", r"\[tool.sherlock.verifiers\]"])


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[tool.sherlock.verifiers]\nresolv = {}", ["'resolv'", "did you mean 'resolve'"]),
        ("[tool.sherlock.verifiers]\nresolve = 3", ["resolve = 3", "a table"]),
        ("[tool.sherlock.verifiers]\nresolve = {nodes = 3}", ["resolve.nodes = 3", "list"]),
        ("[tool.sherlock]\nverifiers = ['resolve']", [r"verifiers = \['resolve'\]", "a table"]),
        ("[tool.sherlock.calibrate]\nvisits = 'all'", [r"\[tool.sherlock.calibrate\]", "unknown key 'visits'"]),
        ("[tool.sherlock.calibrat]\nseed = 1", ["unknown key 'calibrat'"]),
        ("[tool.sherlock.calibrate]\nseed = 'x'", ["seed = 'x'", "a whole number"]),
    ],
)
def test_settings(refused, folder, toml, says):
    (folder / "pyproject.toml").write_text(toml)
    refused(*OK, says=says)


def test_other_options(refused, folder):
    refused(*OK, "--verifier", TOTAL, "--verifier-timeout-s", "0", says=["--verifier-timeout-s 0", "more than 0"])
    refused(*OK, "--verifier", TOTAL, "--analysis", "nowhere.json", says=["nowhere.json", "cannot read"])
    refused(*OK, "--verifier", TOTAL, "--visits", "all", says=["No such option: --visits"])
    refused(*OK[:2], says=["no cases given"])
    (folder / "analysis.json").write_text("{")
    refused(*OK, "--verifier", TOTAL, says=["analysis.json", "not JSON"])
