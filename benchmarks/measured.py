"""What the benchmarks share: a table with a verdict, the machine's load, and intervals for medians and exponents."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

RESAMPLES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure held against its goal: a count, or what a measurement gave with its 95 % interval.

    It must be at most `most`, or at least `least`: one of them is given.
    """

    what: str
    value: float | tuple[float, float, float]
    most: float | None = None
    least: float | None = None

    @property
    def verdict(self) -> str:
        """`met` or `missed` by the whole interval, else `open`."""
        low, high = self.value[1:] if isinstance(self.value, tuple) else (self.value, self.value)
        if self.most is None:
            assert self.least is not None
            bound, low, high = -self.least, -high, -low
        else:
            bound = self.most
        if high <= bound:
            return "met"
        return "missed" if low > bound else "open"

    def __str__(self) -> str:
        bound = f"at most {self.most:.3g}" if self.least is None else f"at least {self.least:.3g}"
        return f"{self.what}: {_cell(self.value)}, goal {bound}: **{self.verdict}**"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a benchmark found. Rows have the same keys, which are the columns."""

    title: str
    rows: Sequence[Mapping[str, Any]]
    goals: Sequence[Goal]
    notes: Sequence[str] = field(default=())

    def markdown(self) -> str:
        columns = list(self.rows[0])
        lines = [f"{self.title}\n", f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
        lines += [f"| {' | '.join(_cell(row[column]) for column in columns)} |" for row in self.rows]
        lines += ["", *(f"- {goal}" for goal in self.goals), *(f"- {note}" for note in self.notes)]
        return "\n".join(lines)

    def data(self) -> dict[str, Any]:
        goals = [{**asdict(goal), "verdict": goal.verdict} for goal in self.goals]
        return {"title": self.title, "rows": list(self.rows), "goals": goals, "notes": list(self.notes)}


def show(*findings: Findings, as_json: bool) -> None:
    """Print what was found: Markdown, or a JSON list."""
    if as_json:
        print(json.dumps([found.data() for found in findings], indent=1))
    else:
        print("\n\n".join(found.markdown() for found in findings))


def machine() -> str:
    """Versions, and how busy the machine is with other work: ratios bear that, plain times do not."""
    one, five, _ = os.getloadavg()
    return (
        f"Python {platform.python_version()}, langgraph {version('langgraph')}, {os.cpu_count()} cores; "
        f"load average at the end {one:.1f} (1 minute), {five:.1f} (5 minutes)"
    )


def median(values: Sequence[float]) -> tuple[float, float, float]:
    """The median with its 95 % percentile-bootstrap interval, seeded."""
    data = np.asarray(values, dtype=float)
    picks = np.random.default_rng(0).integers(len(data), size=(RESAMPLES, len(data)))
    low, high = np.quantile(np.median(data[picks], axis=1), [0.025, 0.975])
    return float(np.median(data)), float(low), float(high)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> tuple[float, float, float]:
    """The b of cost = a * size ** b by least squares on logarithms, with its 95 % t interval."""
    from scipy.stats import linregress
    from scipy.stats import t as student

    fit = linregress([math.log(size) for size in sizes], [math.log(cost) for cost in costs])
    reach = float(student.ppf(0.975, len(sizes) - 2)) * float(fit.stderr)
    return float(fit.slope), float(fit.slope) - reach, float(fit.slope) + reach


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, tuple):
        middle, low, high = value
        return f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    return str(value)
