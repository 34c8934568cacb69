"""The example that shows a rollback."""

import subprocess
import sys
from pathlib import Path

AGENT = Path(__file__).parents[2] / "examples" / "guarded_agent" / "agent.py"


def test_it_shows_a_rollback():
    done = subprocess.run([sys.executable, AGENT], capture_output=True, text=True, timeout=60, check=True)
    lines = done.stdout.splitlines()
    assert "Dear Ida, that is 51 dollars. Yours, the desk" in lines
    told = [line.partition(" s  ")[2] for line in lines]
    rollback = told.index("ROLLED BACK to the step of add; what followed it: draft, sign")
    assert told.index("draft is done") < rollback
    assert "draft is done" in told[rollback:]
    assert "polite runs" not in told[rollback:]
    assert "1 rollback, 7 executions, 2 of them wasted" in lines[-1]
    assert done.stderr == ""
    page = (AGENT.parent / "README.md").read_text()
    assert all(line in page for line in told)
