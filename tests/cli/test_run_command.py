"""`sherlock run`: one input, seen as it goes."""

import io
import json
import os
import pty
import signal
import subprocess
import sys

import pytest

PLAN = """placements:
  add:
    verifier: check
    settings: {function: "checks.py:total"}
"""
ASKS = """
import sqlite3
from typing import TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict, total=False):
    numbers: str
    total: str
    answer: str


def add(state):
    return {"total": "3"}


def reply(state):
    return {"answer": f"{state['total']} for {interrupt('for whom?')}"}


def build(saver):
    builder = StateGraph(State)
    builder.add_node("add", add)
    builder.add_node("reply", reply)
    builder.add_edge(START, "add")
    builder.add_edge("add", "reply")
    builder.add_edge("reply", END)
    return builder.compile(checkpointer=saver)


import contextlib


@contextlib.asynccontextmanager
async def lasting():
    async with AsyncSqliteSaver.from_conn_string("threads.sqlite") as saver:
        yield build(saver)


forgetful = build(None)
"""


def flat(text):
    return " ".join(text.split())


@pytest.fixture
def planned(sherlock, folder):
    (folder / "plan.yaml").write_text(PLAN)
    (folder / "asks.py").write_text(ASKS)
    return sherlock


WRONG = '{"text": "add 1 and 2"}'


def test_a_rollback_is_told_line_by_line(planned):
    result = planned("run", "agent.py:sloppy", "--plan", "plan.yaml", "--input", WRONG)
    assert result.code == 0
    lines = [line.partition(" s  ")[2] for line in result.err.splitlines()]
    assert lines[0] == "read runs"
    assert "add is verified by check" in lines
    assert any(line.startswith("add: check puts '3' for '4' (total does not hold), in ") for line in lines)
    [rollback] = [line for line in lines if line.startswith("ROLLED BACK after add: ")]
    assert rollback.endswith("the corrected output flows on")
    out = flat(result.out)
    assert "Output text: add 1 and 2 numbers: 1 2 total: 3 answer: It is 3" in out
    assert "verdicts 1, 1 of them rejected the output" in out
    assert "rollbacks 1" in out
    assert "waiting for every verdict (" in out
    assert "verifiers no model call" in out


def test_input_from_a_file_from_stdin_and_from_cases(planned, folder, monkeypatch):
    run = ("run", "agent.py:sloppy", "--plan", "plan.yaml", "--json")
    (folder / "case.json").write_text(WRONG)
    assert json.loads(planned(*run, "--input", "case.json").out)["output"]["answer"] == "It is 3"
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"text": "add 2 and 2"}'))
    assert json.loads(planned(*run, "--input", "-").out)["output"]["answer"] == "It is 4"
    assert json.loads(planned(*run, "--cases", "cases.jsonl", "--case", "4").out)["output"]["answer"] == "It is 13"
    assert json.loads(planned(*run, "--cases", "cases.jsonl").out)["output"]["answer"] == "It is 1"


def test_the_timeline_as_json(planned):
    result = planned("run", "agent.py:sloppy", "--plan", "plan.yaml", "--input", WRONG, "--json")
    assert result.err == ""
    found = json.loads(result.out)
    kinds = [event["event"] for event in found["events"]]
    assert {"ExecutionStarted", "ExecutionEnded", "VerificationStarted", "VerdictReached", "RolledBack"} <= set(kinds)
    assert "RunFinished" not in kinds
    times = [event["at_s"] for event in found["events"]]
    assert times == sorted(times)
    [report] = found["reports"]
    assert (report["rollbacks"], report["end"]) == (1, "done")
    assert found["t_vrf_s"] == report["t_vrf_s"] >= found["t_exec_s"] > 0
    assert found["blocking_s"] > 0


def test_the_mode_wins_over_the_plan(planned):
    blocking = planned(
        "run", "agent.py:sloppy", "--plan", "plan.yaml", "--input", WRONG, "--mode", "blocking", "--json"
    )
    [report] = json.loads(blocking.out)["reports"]
    assert report["wasted_executions"] == 0


def test_what_the_code_declares(planned, folder):
    (folder / "declared.py").write_text(
        "import sherlock\nfrom agent import *\nfrom checks import total\n\n"
        "builder = build(reply, sherlock.verified({'use': 'check', 'function': 'checks.py:total'})(add_badly))\n"
    )
    assert "answer: It is 3" in planned("run", "declared.py:builder", "--input", WRONG).out


def test_an_interrupt_and_its_answer(planned, folder):
    run = ("run", "asks.py:lasting", "--plan", "plan2.yaml")
    (folder / "plan2.yaml").write_text('placements: {add: {verifier: check, settings: {regex: "[0-9]+"}}}\n')
    result = planned(*run, "--input", "{}", "--thread", "t1")
    assert result.code == 0, result.err
    out = flat(result.out)
    assert out.startswith("The run waits for an answer: for whom? Go on with: sherlock run asks.py:lasting")
    assert "--thread t1 --resume ANSWER" in out
    assert "answer: 3 for Ada" in planned(*run, "--thread", "t1", "--resume", "Ada").out
    forgetful = flat(planned("run", "asks.py:forgetful", *run[2:], "--input", "{}").out)
    assert "The run waits for an answer: for whom? Its checkpointer forgets it now" in forgetful
    (folder / "asked.jsonl").write_text('{"inputs": {}, "resume": ["Bob"]}\n')
    assert "answer: 3 for Bob" in planned("run", "asks.py:forgetful", *run[2:], "--cases", "asked.jsonl").out


def test_a_run_that_raises(planned):
    result = planned("run", "agent.py:failing", "--plan", "plan.yaml", "--input", WRONG)
    assert result.code == 1
    assert result.out.startswith("The run raised RuntimeError: no stock\n")
    assert "Traceback" not in result.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], ["no input given", "--input"]),
        (["--input", "nowhere.json"], ["nowhere.json", "cannot be read"]),
        (["--input", "{not"], ["not JSON"]),
        (["--input", "list.json"], ["holds no JSON object"]),
        (["--cases", "cases.jsonl", "--case", "44"], ["no case '44'", "did you mean '4'"]),
        (["--input", WRONG, "--case", "4"], ["two inputs"]),
        (["--input", WRONG, "--mode", "block"], ["mode is 'block'", "'blocking'"]),
        (["--input", WRONG, "--thread", "t"], ["no checkpointer", "leave --thread"]),
        (["--resume", "yes"], ["--resume needs --thread"]),
        (["--resume", "yes", "--thread", "t", "--input", WRONG], ["leave --input"]),
        (["--input", WRONG, "--model", "big"], ["--model big"]),
    ],
)
def test_bad_input(planned, refused, folder, options, says):
    (folder / "list.json").write_text("[1]")
    refused("run", "agent.py:sloppy", "--plan", "plan.yaml", *options, says=says)


def test_no_plan(planned, refused, folder):
    refused("run", says=["no graph given"])
    refused("run", "agent.py:graph", "--input", WRONG, says=["no node has a verifier", "--plan plan.yaml", "verified"])
    (folder / "none.yaml").write_text("placements: {}\n")
    refused("run", "agent.py:graph", "--plan", "none.yaml", "--input", WRONG, says=["none.yaml places none"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a pseudo-terminal")
def test_on_a_terminal_it_is_drawn(planned, folder):
    main, terminal = pty.openpty()
    asked = ["run", "agent.py:sloppy", "--plan", "plan.yaml", "--input", WRONG]
    start = [sys.executable, "-c", "import sys; from sherlock.cli import main; sys.exit(main())", *asked]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(start, stdout=subprocess.DEVNULL, stderr=terminal, env=environment)
    os.close(terminal)
    drawn = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        drawn += part
    os.close(main)
    assert process.wait(timeout=30) == 0
    text = drawn.decode()
    assert "\x1b[1;31m" in text, "a rollback is red"
    assert "ROLLED BACK after add" in text
    assert "check puts '3' for '4'" in text


def test_interrupted_by_its_user(planned, folder):
    (folder / "slow.py").write_text(
        "import asyncio\n\nfrom agent import build, reply\n\n\n"
        "async def wait(state):\n    await asyncio.sleep(30)\n    return reply(state)\n\n\ngraph = build(wait)\n"
    )
    asked = ["run", "slow.py:graph", "--plan", "plan.yaml", "--input", WRONG]
    start = [sys.executable, "-c", "import sys; from sherlock.cli import main; sys.exit(main())", *asked]
    process = subprocess.Popen(start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while "reply runs" not in (line := process.stderr.readline()):
        assert line, process.communicate()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "sherlock: the run was ended; nothing that was not verified was kept"
    assert "Traceback" not in err
