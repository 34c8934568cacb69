"""`sherlock analyze` when all is well: what it prints where, what it writes, how it ends."""

import json
import sqlite3
from pathlib import Path

import pytest
from desk import write_cases
from rich.cells import cell_len

from sherlock.analysis.artefact import Analysis

OK = ("analyze", "agent.py:graph", "--cases", "cases.jsonl", "--scorer", "exact_match")


def timeless(text):
    data = json.loads(text)
    data.pop("timing")
    return data


def test_results_on_standard_output_progress_on_standard_error(sherlock, folder):
    result = sherlock(*OK, "--markdown", "out/report.md")
    assert result.code == 0
    assert result.out.startswith("Today: 10 of 10 cases right, 100 % [")
    assert "Saved analysis.json and out/report.md" in result.out
    assert result.out.rpartition("\n\n")[2].startswith("Guard ")
    assert "sherlock: look 1 of 4: 8 of 10 cases run, 8 right;" in result.err
    assert "At most 90 trials on 10 cases and 3 nodes" in result.err
    loaded = Analysis.load("analysis.json")
    assert set(loaded.nodes) == {"read", "add", "reply"}
    assert (folder / "out/report.md").read_text().startswith("# Which steps matter\n")
    assert (folder / ".sherlock/trials.sqlite").is_file()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_line_of_the_report_is_too_long(sherlock, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for line in sherlock(*OK).out.splitlines():
        assert cell_len(line) <= columns


def test_json_stands_alone_also_where_the_graph_prints(sherlock):
    result = sherlock("analyze", "agent.py:chatty_graph", *OK[2:], "--json")
    assert json.loads(result.out)["kind"] == "analysis"
    assert "replying to" in result.err
    assert json.loads(result.out) == json.loads(Path("analysis.json").read_text())


def test_quiet_prints_one_sentence(sherlock):
    result = sherlock(*OK, "--quiet", "--scorer", "agent.py:right")
    assert result.err == ""
    assert result.out.strip().startswith("Guard")
    assert len(result.out.strip().splitlines()) <= 4


def test_two_runs_with_one_seed_differ_in_timing_only(sherlock):
    first, second = (sherlock(*OK, "--json", "--seed", "5").out for _ in range(2))
    assert timeless(first) == timeless(second)
    assert timeless(sherlock(*OK, "--json", "--seed", "6").out) != timeless(first)


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(sherlock, folder):
    before = sorted(path.name for path in folder.iterdir())
    result = sherlock(*OK, "--dry-run")
    assert result.code == 0
    assert result.out.startswith(
        "At most 90 trials on 10 cases and 3 nodes: 285 node executions;"
    )  # five probes of three nodes with them
    after = sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")
    assert after == before


def test_a_limit_ends_it_early_with_a_partial_result(sherlock, folder):
    write_cases(folder / "many.jsonl", 40)
    result = sherlock(
        "analyze", "agent.py:slow_graph", "--cases", "many.jsonl", *OK[4:], "--max-seconds", "1.5", "--concurrency", "1"
    )
    assert result.code == 0
    assert "Partial: limit reached: 1.5 seconds" in result.out
    assert Analysis.load("analysis.json").partial == "limit reached: 1.5 seconds"


def test_without_resume_it_begins_anew_with_resume_it_repeats_nothing(sherlock):
    def trials():
        with sqlite3.connect(".sherlock/trials.sqlite") as store:
            return store.execute("select count(*), max(rowid) from results").fetchone()

    first = sherlock(*OK, "--json")
    count, last = trials()
    resumed = sherlock(*OK, "--json", "--resume")
    assert trials() == (count, last)
    assert timeless(resumed.out) == timeless(first.out)
    sherlock(*OK, "--json")
    assert trials()[0] == count


def test_the_default_store_of_another_graph_is_set_aside(sherlock, folder):
    sherlock(*OK)
    result = sherlock("analyze", "agent.py:other", *OK[2:4], "--scorer", "agent.py:always")
    assert result.code == 0, result.err
    assert "kept as .sherlock/trials.previous.sqlite" in result.err
    assert (folder / ".sherlock/trials.previous.sqlite").is_file()
    refused = sherlock(*OK, "--resume")
    assert refused.code == 2
    assert "another graph" in refused.err


def test_chosen_nodes_and_faults(sherlock):
    result = sherlock(*OK, "--node", "add", "--node", "reply", "--faults", "own_faults.py:mine", "--json")
    found = json.loads(result.out)
    assert sorted(found["nodes"]) == ["add", "reply"]
    assert found["settings"]["faults"] == {"shout": ["output", 1.0]}
    assert set(found["nodes"]["reply"]["by_fault"]) == {"shout"}


def test_faults_that_fit_nowhere_give_a_report_without_figures(sherlock):
    result = sherlock(*OK, "--faults", "own_faults.py:none")
    assert result.code == 0
    assert "Nothing can be said yet: no fault was injected in any of the 10 right cases so far." in " ".join(
        result.out.split()
    )


def test_settings_are_taken_from_pyproject_and_the_command_line_wins(sherlock, folder):
    (folder / "pyproject.toml").write_text(
        '[tool.sherlock]\ngraph = "agent.py:graph"\ncases = "cases.jsonl"\nscorer = "exact_match"\n'
        'faults-per-kind = 2\nseed = 3\nnode = "add"\noutput = "out/a.json"\n[tool.sherlock.prices]\n'
        "m = {input = 1, output = 2}\n"
        "[tool.sherlock.config.configurable]\nlanguage = 'en'\n"
    )
    found = json.loads(sherlock("analyze", "--json", "--seed", "4").out)
    assert list(found["nodes"]) == ["add"]
    assert (found["settings"]["faults_per_kind"], found["settings"]["seed"]) == (2, 4)
    assert (folder / "out/a.json").is_file()


def test_paths_in_pyproject_are_relative_to_it(sherlock, folder, monkeypatch):
    (folder / "pyproject.toml").write_text(
        '[tool.sherlock]\ngraph = "agent.py:graph"\ncases = "cases.jsonl"\nscorer = "agent.py:right"\n'
    )
    inner = folder / "notebooks" / "deep"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert sherlock("analyze", "--quiet").code == 0


def test_a_graph_of_langgraph_json(sherlock, folder):
    (folder / "langgraph.json").write_text('{"graphs": {"desk": "./agent.py:graph"}, "env": {"DESK": "open"}}')
    assert sherlock("analyze", "desk", *OK[2:], "--quiet").code == 0


def test_a_config_from_a_file(sherlock, folder):
    (folder / "config.json").write_text('{"configurable": {"language": "en"}}')
    assert sherlock(*OK, "--quiet", "--config", "config.json").code == 0
    assert sherlock(*OK, "--quiet", "--config", '{"recursion_limit": 30}').code == 0


def test_recordings(sherlock, folder):
    assert sherlock(*OK, "--quiet", "--recordings", "recorded", "--record", "none").code == 0


def test_the_markdown_report_on_standard_output(sherlock):
    result = sherlock(*OK, "--quiet", "--markdown", "-")
    assert "# Which steps matter" in result.out
