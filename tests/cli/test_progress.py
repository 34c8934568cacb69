"""Progress: a line now and then, or a view that fits its terminal."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from sherlock.analysis.analyze import Progress
from sherlock.analysis.artefact import Forecast
from sherlock.cli import console
from sherlock.cli.live_view import view
from sherlock.cli.progress import Lines, Live, Told, watch
from sherlock.estimate import Estimate

FORECAST = Forecast(cases=20, nodes=2, trials=120, node_executions=400, basis="at most so many")
RANKING = tuple((f"node {'x' * i * 9}[bold]", Estimate(1 - i / 40, 0.2, 1.0, 12)) for i in range(30))


def event(stage, **changes):
    return Progress(
        stage=stage, forecast=FORECAST, **{"trials": 45, "cases": 12, "right": 9, "model_calls": 7, **changes}
    )


def test_nothing_is_said_at_once(capsys):
    lines = Lines()
    lines(event("forecast"))
    lines(event("clean"))
    assert capsys.readouterr().err == ""


def test_the_forecast_comes_before_the_first_look(capsys):
    lines = Lines()
    lines(event("forecast"))
    lines(event("look", what="look 1 of 4", elapsed_s=12))
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith(
        "sherlock: At most 120 trials on 20 cases and 2 nodes: 400 node executions; model calls: unknown"
    )
    assert second == "sherlock: That is at most so many."
    assert third == "sherlock: look 1 of 4: 12 of 20 cases run, 9 right; 45 of at most 120 trials; 7 model calls; 12 s"


def test_on_a_terminal_the_forecast_comes_first(capsys):
    Lines(patience_s=0)(event("forecast"))
    assert "At most 120 trials" in capsys.readouterr().err


def test_lines_come_now_and_then(capsys):
    lines = Lines(every_s=0, patience_s=0)
    lines(event("forecast", cases=0, right=0, trials=0))
    for _ in range(3):
        lines(event("clean", cases=0, right=0, trials=0, usd=0.25))
    said = capsys.readouterr().err.splitlines()
    assert (
        said[-1]
        == "sherlock: running the cases: 3 of 20 cases run; 0 of at most 120 trials; 7 model calls ($0.25); 0.0 s"
    )
    assert len(said) == 6
    lines = Lines(every_s=60, patience_s=0)
    for _ in range(3):
        lines(event("trial"))
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_quiet_says_only_what_it_is_told(capsys):
    quiet = watch(quiet=True)
    quiet(event("forecast"))
    quiet(event("look"))
    assert capsys.readouterr().err == ""
    quiet.say("stopping")
    assert capsys.readouterr().err == "sherlock: stopping\n"
    assert type(quiet) is Told


def test_a_live_view_only_on_a_terminal_that_may_be_drawn_on(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(watch(quiet=False), Lines)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    assert isinstance(watch(quiet=False), Live)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not console.is_live()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not console.is_live()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("size", [(80, 24), (60, 10)])
def test_the_view_fits_its_terminal(encoding, size):
    width, height = size
    for shown, ranking in ((None, ()), (event("forecast"), ()), (event("trial", usd=None), RANKING)):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
        terminal = Console(file=stream, width=width, height=height, _environ={})
        terminal.print(view(shown, 12, ranking, terminal))
        lines = [line.rstrip() for line in stream.buffer.getvalue().decode(encoding).splitlines()]
        assert max(map(cell_len, lines)) <= width
        assert len(lines) <= height
    assert "injecting faults" in lines[0]
    assert lines[1].split()[0] == "cases"
    assert lines[1].endswith("12 of 20, 9 right")
    assert lines[3].endswith("7 (unknown)")
    assert lines[5].startswith("node [bold]")


def test_the_live_view_is_gone_at_the_end(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    with Live() as live:
        live(event("forecast"))
        live(event("look", ranking=RANKING[:2]))
        live(event("trial"))
    drawn = terminal.getvalue()
    assert "At most 120 trials" in drawn
    assert "vulnerability so far" in drawn
    assert drawn.endswith("\x1b[2K") or "\x1b[1A\x1b[2K" in drawn
