"""Wrong input: exit code 2, and one line that names the place and the cure."""

import json

import pytest
from desk import write_cases

OK = ("analyze", "agent.py:graph", "--cases", "cases.jsonl", "--scorer", "exact_match")


def with_graph(graph):
    return ("analyze", graph, *OK[2:])


def with_cases(path):
    return (*OK[:3], path, *OK[4:])


def with_scorer(scorer):
    return (*OK[:5], scorer)


def test_no_graph_no_cases_no_scorer(refused):
    refused("analyze", says=["no graph given", "agent.py:graph", r"\[tool.sherlock\]"])
    refused("analyze", "agent.py:graph", says=["no cases given", "--cases cases.jsonl"])
    refused(*OK[:4], says=["no scorer given", "--scorer exact_match"])


def test_missing_file(refused):
    refused(*with_graph("agnet.py:graph"), says=["agnet.py", "did you mean|no file|does not exist"])


def test_missing_attribute(refused):
    refused(*with_graph("agent.py:grpah"), says=["agent.py", "grpah", "did you mean 'graph'"])


def test_an_attribute_that_is_no_graph(refused):
    refused(*with_graph("agent.py:number"), says=["agent.py:number", "int"])


def test_a_graph_that_raises_on_import(refused, folder):
    (folder / "raising.py").write_text("x = 1\nraise ValueError('no key')\n")
    refused(*with_graph("raising.py:graph"), says=["raising.py", "line 2", "ValueError: no key"])


def test_a_graph_name_without_langgraph_json(refused):
    refused(*with_graph("agent"), says=["'agent'", "langgraph.json"])


def test_an_entrypoint(refused):
    refused(*with_graph("entry.py:workflow"), says=["entry.py:workflow", "entrypoint"])


def test_missing_cases(refused):
    refused(*with_cases("cases.json"), says=["cases.json"])


def test_empty_cases(refused, folder):
    (folder / "empty.jsonl").write_text("\n\n")
    refused(*with_cases("empty.jsonl"), says=["empty.jsonl", "no case", "inputs"])


def test_a_line_that_is_not_json(refused, folder):
    (folder / "bad.jsonl").write_text('{"inputs": {"text": "1"}}\n{"inputs": \n')
    refused(*with_cases("bad.jsonl"), says=["bad.jsonl", "line 2"])


def test_a_case_without_inputs(refused, folder):
    (folder / "bad.jsonl").write_text('{"inputs": {"text": "1"}}\n{"input": {"text": "1"}}\n')
    refused(*with_cases("bad.jsonl"), says=["bad.jsonl", "line 2", "inputs"])


def test_unknown_scorer(refused):
    refused(*with_scorer("exact_mach"), says=["exact_mach", "did you mean 'exact_match'"])
    refused(*with_scorer("agent.py:rigth"), says=["agent.py", "did you mean 'right'"])


def test_a_scorer_that_raises_names_the_case(refused):
    refused(*with_scorer("agent.py:raising"), says=["case 1", "KeyError: 'total'", "agent.py"])


def test_a_scorer_that_returns_nan_names_the_case(refused):
    refused(*with_scorer("agent.py:nan"), says=["case 1", "nan", "from 0 to 1"])


def test_unknown_node(refused):
    refused(*OK, "--node", "ad", says=["'ad'", "did you mean 'add'"])


def test_every_clean_run_fails(refused):
    refused(*with_graph("agent.py:failing"), says=["every clean run raised", "nothing can be measured", "no stock"])


def test_no_clean_run_is_right(refused, folder):
    write_cases(folder / "wrong.jsonl", 3, expected={"answer": "never"})
    refused(*with_cases("wrong.jsonl"), says=["none of 3 clean runs was right", "nothing can be measured", "expected"])


def test_a_model_server_that_is_not_there(refused):
    refused(*with_graph("agent.py:calling"), says=["model 'local'", "could not be reached", "start its server"])


def test_a_store_of_another_graph(refused, sherlock):
    assert sherlock(*OK, "--store", "s.sqlite").code == 0
    refused(*with_graph("agent.py:other"), "--store", "s.sqlite", says=["s.sqlite", "another graph", "new path"])


def test_a_store_that_is_none(refused, folder):
    (folder / "s.sqlite").write_text("this is no database, " * 99)
    refused(*OK, "--store", "s.sqlite", says=["s.sqlite", "store"])


def test_interrupts_without_answers(refused):
    refused(*with_graph("agent.py:asking"), says=["case '1'", "interrupt", '"resume"'])


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--top", "0", ["top is 0"]),
        ("--top", "one", ["--top", "integer", "analyze --help"]),
        ("--confidence", "95", ["confidence is 95", "between 0 and 1"]),
        ("--pass-mark", "2", ["pass_mark is 2"]),
        ("--margin", "-1", ["margin is -1"]),
        ("--visits", "some", ["visits is 'some'", "first"]),
        ("--max-usd", "-1", ["usd is -1"]),
        ("--concurrency", "0", ["concurrency is 0"]),
        ("--record", "some", ["--record some", "none, new or all"]),
        ("--record", "none", ["--record needs --recordings"]),
        ("--model", "gpt", ["--model gpt", "local"]),
        ("--config", "{", ["--config", "not JSON"]),
        ("--config", "[]", ["--config", "cannot be read"]),
        ("--config", "nowhere.json", ["nowhere.json", "cannot be read"]),
        ("--faults", "own_faults.py:min", ["own_faults.py", "did you mean 'mine'"]),
        ("--faults", "agent.py:number", ["agent.py:number", "list"]),
        ("--output", ".", ["is a folder"]),
        ("--casse", "x", ["No such option: --casse", "--cases"]),
    ],
)
def test_options(refused, option, value, says):
    refused(*OK, option, value, says=says)


def test_unknown_command(refused):
    refused("analyse", says=["No such command 'analyse'", "analyze"])


def test_a_missing_value(refused):
    refused(*OK, "--top", says=["--top", "requires an argument"])


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[tool.sherlock]\nscorre = 'x'", ["pyproject.toml", "'scorre'", "did you mean 'scorer'"]),
        ("[tool.sherlock]\nmax-uds = 1", ["pyproject.toml", "'max-uds'", "did you mean 'max_usd'"]),
        ("[tool.sherlock]\ntop = 'two'", ["pyproject.toml", "top = 'two'", "a whole number"]),
        ("[tool.sherlock]\nnode = 3", ["node = 3", "list of texts"]),
        ("[tool.sherlock]\nresume = 1", ["resume = 1", "true or false"]),
        ("[tool.sherlock]\nprices = 1", ["prices = 1", "a table"]),
        ("[tool.sherlock.prices]\nm = {input = 1}", ["'m'", "output"]),
        ("[tool]\nsherlock = 3", ["pyproject.toml", "no table"]),
        ("[tool.sherlock\n", ["pyproject.toml", "TOML", "line 1"]),
    ],
)
def test_settings(refused, folder, toml, says):
    (folder / "pyproject.toml").write_text(toml)
    refused(*OK, says=says)


def test_reports_of_what_is_none(refused, folder):
    refused("report", "nowhere.json", says=["nowhere.json", "cannot read"])
    (folder / "cut.json").write_text('{"kind": "analysis", ')
    refused("report", "cut.json", says=["cut.json", "not JSON"])
    (folder / "recipe.json").write_text('{"kind": "recipe"}')
    refused("report", "recipe.json", says=["recipe.json", "'recipe'", "sherlock analyze"])
    (folder / "new.json").write_text('{"kind": "analysis", "schema_version": 99}')
    refused("report", "new.json", says=["new.json", "99"])


def test_faults_of_an_unknown_kind(refused):
    refused("faults", "--kind", "outptu", says=["outptu", "prompt, context or output"])


def test_a_message_stays_on_one_line_whatever_it_holds(refused, folder):
    name = "bad\nname\x1b[31m"
    (folder / "langgraph.json").write_text(json.dumps({"graphs": {"x": "agent.py:graph"}}))
    line = refused(*with_graph(name), says=["langgraph.json"])
    assert "\x1b" not in line
