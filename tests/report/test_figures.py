"""Numbers as people read them."""

import pytest

from sherlock.estimate import Estimate
from sherlock.report.bars import bar, scale
from sherlock.report.figures import count, dollars, duration, figure, number, percent, share
from sherlock.report.texts import Charset


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (1234.5, "$1,234.50"),
        (0.0123, "$0.012"),
        (0.1, "$0.10"),
        (1e-6, "under $0.0001"),
    ],
)
def test_dollars(usd, shown):
    assert dollars(usd) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 0 s"), (151.2, "2 min 31 s"), (3900, "1 h 5 min")],
)
def test_durations(seconds, shown):
    assert duration(seconds) == shown


def test_figures():
    assert figure(Estimate(-0.001, -0.5, 1.0, 3)) == "0.00 [-0.50, 1.00]"
    assert share(Estimate(0.35, 0.18, 0.57, 20)) == "35 % [18, 57]"
    assert number(-0.004) == "0.00"
    assert [percent(value) for value in (0.95, 0.999, 1, 0.5)] == ["95 %", "99.9 %", "100 %", "50 %"]
    assert [count(n, "case") for n in (0, 1, 1200)] == ["0 cases", "1 case", "1,200 cases"]


def test_a_bar_shows_interval_and_value_in_its_place():
    drawn = bar(Estimate(0.5, 0.25, 0.99, 9), low=0, high=1, width=20, charset=Charset())
    assert drawn == "     ├────●────────┤"
    ascii_only = bar(Estimate(0.0, -0.5, 0.5, 9), low=-1, high=1, width=8, charset=Charset("ascii"))
    assert ascii_only == "  |-o-| "
    assert len(bar(Estimate(1.0, 1.0, 1.0, 9), low=0, high=1, width=8, charset=Charset())) == 8


def test_the_scale_reaches_below_zero_only_where_an_interval_does():
    assert scale([Estimate(0.5, 0.0, 1.0, 3)]) == (0.0, 1.0)
    assert scale([Estimate(0.5, 0.0, 1.0, 3), Estimate(0.0, -0.2, 0.2, 3)]) == (-0.25, 1.0)
    assert scale([Estimate(0.0, -0.6, 0.2, 3)]) == (-0.75, 1.0)
    assert scale([]) == (0.0, 1.0)
