"""The board of a run, event by event."""

from sherlock.report.run_board import Board, line
from sherlock.runtime.events import (
    Committed,
    ExecutionEnded,
    ExecutionStarted,
    Flagged,
    RolledBack,
    RunReport,
    VerdictReached,
    VerificationStarted,
    VerifierFailed,
)


def event(kind, label="", **fields):
    node = label.partition(":")[2].rpartition(":")[0]
    return kind(run_id="r", node=node, execution_id=label, at_s=0.5, **fields)


def board(*events):
    made = Board()
    for each in events:
        made.take(each)
    return made


def states(made):
    return {row.label: row.state for row in made.rows.values()}


REJECTED = [
    event(ExecutionStarted, "1:a:1", step=1),
    event(ExecutionEnded, "1:a:1", seconds=0.2),
    event(VerificationStarted, "1:a:1", verifier="check"),
    event(ExecutionStarted, "2:b:2", step=2),
    event(ExecutionEnded, "2:b:2", seconds=0.2),
    event(ExecutionStarted, "3:c:3", step=3),
    event(VerdictReached, "1:a:1", verifier="check", accepted=False, matched=False, seconds=1, before="x", after="y"),
    event(RolledBack, "1:a:1", step=2, discarded=("2:b:2", "3:c:3")),
]


def test_a_row_goes_from_running_to_its_verdict():
    made = board(*REJECTED[:3])
    [row] = made.rows.values()
    assert (row.node, row.state, row.seconds, row.verdict, row.tone) == ("a", "done", 0.2, "check ...", "")
    made = board(*REJECTED[:7])
    assert (made.rows["1:a:1"].verdict, made.rows["1:a:1"].tone) == ("check puts 'y' for 'x'", "bad")
    assert states(made) == {"1:a:1": "done", "2:b:2": "done", "3:c:3": "runs"}


def test_what_stood_on_a_rejected_output_is_in_doubt_until_it_runs_again():
    made = board(*REJECTED)
    assert states(made) == {"1:a:1": "done", "2:b:2": "in doubt", "3:c:3": "in doubt"}
    made.take(event(ExecutionEnded, "3:c:3", seconds=0.1, error="CancelledError()"))
    made.take(event(ExecutionStarted, "2:b:4", step=2))
    assert states(made) == {"1:a:1": "done", "2:b:2": "thrown away", "3:c:3": "ended", "2:b:4": "runs"}
    assert [row.label for row in made.thrown_away] == ["2:b:2"]


def test_the_report_settles_what_is_in_doubt():
    again = event(ExecutionStarted, "2:b:4", step=2)
    kept = board(*REJECTED, again)
    kept.finish(RunReport(run_id="r", wasted_executions=1))
    assert kept.rows["3:c:3"].state == "done"
    gone = board(*REJECTED, again)
    gone.finish(RunReport(run_id="r", wasted_executions=2))
    assert gone.rows["3:c:3"].state == "thrown away"


def test_a_node_that_is_repeated_was_for_nothing():
    made = board(*REJECTED[:2], event(RolledBack, "1:a:1", step=1, retry=True))
    assert states(made) == {"1:a:1": "thrown away"}


def test_failures_and_flags():
    made = board(*REJECTED[:2], event(VerifierFailed, "1:a:1", verifier="v", message="it hung", seconds=1))
    assert made.rows["1:a:1"].verdict == "v gave no verdict: it hung"
    made.take(event(Flagged, "1:a:1", why="open"))
    assert made.rows["1:a:1"].verdict == "v gave no verdict: it hung; stays, flagged"


def test_every_event_as_a_line():
    told = [line(each) for each in REJECTED]
    assert [text for text, _ in told] == [
        "a runs",
        "a is done, in 0.2 s",
        "a is verified by check",
        "b runs",
        "b is done, in 0.2 s",
        "c runs",
        "a: check puts 'y' for 'x', in 1 s",
        "ROLLED BACK after a: b, c stood on it; the corrected output flows on",
    ]
    assert told[-1][1] == told[-2][1] == "bad"
    raised = event(ExecutionEnded, "1:a:1", seconds=0.2, error="KeyError('x')")
    assert line(raised) == ("a raised KeyError('x'), after 0.2 s", "dim")
    assert line(event(Flagged, "1:a:1", why="open")) == ("a stays, flagged: open", "bad")
    assert line(event(Committed, step=3)) is None
    long = event(VerdictReached, "1:a:1", verifier="v", accepted=False, matched=False, seconds=1, before="z" * 999)
    assert len(line(long)[0]) < 250
