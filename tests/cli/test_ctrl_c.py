"""Interrupted: what was measured is kept, nothing is left running."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from desk import write_cases

from sherlock.analysis.artefact import Analysis

pytest_plugins = ("model_fixture",)

START = [sys.executable, "-c", "import sys; from sherlock.cli import main; sys.exit(main())", "analyze"]
SLOW = ["agent.py:slow_graph", "--cases", "many.jsonl", "--scorer", "exact_match", "--concurrency", "1"]


def begun(folder, *more):
    """A slow analysis that is past its clean runs."""
    write_cases(folder / "many.jsonl", 60)
    process = subprocess.Popen([*START, *SLOW, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for _ in range(25):
        assert process.stderr.readline(), process.communicate()
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_result_so_far_is_kept(folder, number, code):
    process = begun(folder, "--markdown", "report.md")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Partial: interrupted." in out
    assert "the result so far is in analysis.json" in err
    assert "go on from there with --resume" in err
    assert "Traceback" not in err
    assert Analysis.load("analysis.json").partial == "interrupted"
    assert Path("report.md").is_file()


def test_a_second_one_aborts(folder):
    process = begun(folder)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.model
@pytest.mark.usefixtures("model_extra")
def test_the_embedded_model_does_not_outlive_it(folder):
    write_cases(folder / "many.jsonl", 60)
    process = subprocess.Popen(
        [*START, "agent.py:local_graph", *SLOW[1:], "--model", "local"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = folder / "address"
    deadline = time.monotonic() + 60
    while not (address.exists() and address.read_text()) and time.monotonic() < deadline:
        time.sleep(0.1)
    server = urlsplit(address.read_text())
    socket.create_connection((server.hostname, server.port), timeout=5).close()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.hostname, server.port), timeout=5)
