"""Help, report, faults, doctor, completion."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest
from rich.cells import cell_len

import sherlock as package
from sherlock.analysis.faults import PAPER
from sherlock.cli import doctor
from sherlock.cli.app import command as parser
from sherlock.report.markdown import markdown

OK = ("analyze", "agent.py:graph", "--cases", "cases.jsonl", "--scorer", "exact_match", "--quiet")
COMMANDS = list(parser().commands)
HEAVY = ("langgraph", "scipy", "openai", "numpy", "pydantic", "litellm", "networkx", "rich", "jinja2", "httpx")


def test_help_imports_nothing_heavy():
    code = (
        f"import sys; from sherlock.cli import main; main(['--help']); print([m for m in {HEAVY} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    listed = out.partition("Commands:")[2].splitlines()[1:]
    assert [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "] == COMMANDS


def test_no_arguments_are_a_call_for_help(sherlock):
    assert sherlock().out == sherlock("--help").out
    assert sherlock("--version").out == f"sherlock-langgraph {package.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(sherlock, command):
    result = sherlock(command, "--help")
    assert result.code == 0
    assert f"Usage: sherlock {command}" in result.out
    assert max(map(cell_len, result.out.splitlines())) <= 80


def test_completion_is_on():
    env = {**os.environ, "_SHERLOCK_COMPLETE": "complete_bash", "COMP_WORDS": "sherlock an", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['sherlock']; from sherlock.cli import main; sys.exit(main())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False).stdout
    assert out.split() == ["analyze"]


# report


@pytest.fixture
def analysed(sherlock):
    assert sherlock(*OK).code == 0
    return sherlock


def test_a_report_is_what_the_analysis_printed(analysed):
    first = analysed(*OK[:-1]).out
    again = analysed("report", "analysis.json").out
    assert again.split() == [word for word in first.split() if word not in ("Saved", "analysis.json")]


def test_a_report_in_markdown(analysed, folder):
    result = analysed("report", "analysis.json", "--markdown", "new/r.md")
    assert (result.code, result.out) == (0, "")
    from sherlock.analysis.artefact import Analysis

    assert (folder / "new/r.md").read_text() == markdown(Analysis.load("analysis.json"))
    assert analysed("report", "analysis.json", "--markdown", "-").out == (folder / "new/r.md").read_text()


def test_a_report_in_json(analysed, folder):
    assert analysed("report", "analysis.json", "--json").out == (folder / "analysis.json").read_text()
    one = json.loads(analysed("report", "analysis.json", "--json", "--node", "add").out)
    assert one["name"] == "add"


def test_a_report_on_one_node(analysed):
    result = analysed("report", "analysis.json", "--node", "add")
    assert result.out.startswith("add\n")
    assert "fan-in 1, fan-out 1" in result.out
    refused = analysed("report", "analysis.json", "--node", "ad")
    assert (refused.code, refused.err) == (2, "sherlock: 'analysis.json' has no node 'ad': did you mean 'add'?\n")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_encoding_of_standard_output(analysed, folder, encoding):
    data = json.loads((folder / "analysis.json").read_text())
    data["notes"] = ["naïve 日本語 \x1b[31m 🚀"]
    (folder / "strange.json").write_text(json.dumps(data))
    code = "import sys; from sherlock.cli import main; sys.exit(main(['report', 'strange.json', *sys.argv[1:]]))"
    env = {**os.environ, "PYTHONIOENCODING": encoding, "NO_COLOR": "1", "COLUMNS": "80"}
    for more in ([], ["--json"]):
        done = subprocess.run([sys.executable, "-c", code, *more], capture_output=True, env=env, check=True)
        text = done.stdout.decode(encoding)
        assert "\x1b" not in text
        if more:
            assert json.loads(text)["notes"] == data["notes"]
        else:
            assert max(map(len, text.splitlines())) <= 80
            assert r"\u65e5" in text


def test_a_reader_that_goes_away(analysed):
    """As `| head` does; with a pipe that is closed before anything is written."""
    code = "import sys; from sherlock.cli import main; sys.exit(main(['report', 'analysis.json']))"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


# faults


def test_faults_are_listed_with_their_share_and_what_they_stand_for(sherlock):
    rows = json.loads(sherlock("faults", "--json").out)
    assert [row["name"] for row in rows] == [fault.name for fault in PAPER]
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=0.002)
    assert all(row["stands_for"].endswith(".") for row in rows)
    prompts = [row["share"] for row in rows if row["kind"] == "prompt"]
    assert sum(prompts) == pytest.approx(0.2863, abs=0.001)
    text = sherlock("faults").out
    assert max(map(cell_len, text.splitlines())) <= 80
    assert [line.split()[:2] for line in sherlock("faults", "--kind", "context").out.splitlines()[2:3]] == [
        ["history_gone", "context"]
    ]


def test_faults_can_be_tried(sherlock):
    rows = json.loads(sherlock("faults", "--try", "The total is 14 dollars.", "--json").out)
    made = {row["name"]: row["result"] for row in rows}
    assert made["digits_swapped"] == "The total is 41 dollars."
    assert made["missing_field"] is None
    assert made["empty"] == ""
    again = json.loads(sherlock("faults", "--try", "The total is 14 dollars.", "--json", "--seed", "1").out)
    assert [row["name"] for row in again] == [row["name"] for row in rows]
    assert "(does not fit)" in sherlock("faults", "--try", "yes").out


def test_own_faults(sherlock):
    rows = json.loads(sherlock("faults", "--faults", "own_faults.py:mine", "--try", "no", "--json").out)
    assert rows == [
        {
            "name": "shout",
            "kind": "output",
            "share": 1.0,
            "stands_for": "Too much said: a model that goes on and on.",
            "result": "no and so on",
        }
    ]


# doctor


def test_doctor(sherlock, folder):
    (folder / "langgraph.json").write_text('{"graphs": {"desk": "./agent.py:graph"}}')
    result = sherlock("doctor", "--json")
    found = {finding["name"]: finding for finding in json.loads(result.out)}
    assert found["langgraph"]["says"] == metadata.version("langgraph")
    assert found["hooks"]["state"] == "ok"
    assert found["langgraph.json"]["says"] == "lists desk"
    assert result.code == int(any(finding["state"] == "broken" for finding in found.values()))
    assert all(finding["cure"] for finding in found.values() if finding["state"] == "broken")
    assert max(map(cell_len, sherlock("doctor").out.splitlines())) <= 80


def test_doctor_does_not_import_litellm():
    code = "import sys; from sherlock.cli import main; main(['doctor']); print('litellm' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "False"


def test_doctor_finds_what_is_broken(sherlock, folder, monkeypatch):
    (folder / "langgraph.json").write_text("{")
    (folder / "pyproject.toml").write_text("[tool.sherlock]\nscorre = 1")
    (folder / "file").write_text("")
    monkeypatch.setenv("SHERLOCK_CACHE_DIR", str(folder / "file" / "cache"))
    owners = {"sherlock": ["sherlock-langgraph", "sherlock"], "verifiers": ["verifiers"]}
    monkeypatch.setattr(doctor.metadata, "packages_distributions", lambda: owners)
    result = sherlock("doctor", "--json")
    found = [(finding["name"], finding["state"], finding["cure"]) for finding in json.loads(result.out)]
    assert result.code == 1
    assert ("sherlock", "broken", "pip uninstall sherlock && pip install --force-reinstall sherlock-langgraph") in found
    assert ("cache", "broken", "set SHERLOCK_CACHE_DIR to a folder of yours") in found
    assert {"langgraph.json", "settings", "cache", "sherlock"} == {
        name for name, state, _ in found if state == "broken"
    }
    assert ("verifiers", "info", "") in found
