"""An interval as a bar of text: `  ├──●─┤`, so that overlaps are seen at a glance."""

import math

from sherlock.estimate import Estimate
from sherlock.report.texts import Charset


def bar(estimate: Estimate, *, low: float, high: float, width: int, charset: Charset) -> str:
    """The interval on a scale from `low` to `high`, `width` columns wide, with a dot at the value."""
    line, left, right, dot = ("─", "├", "┤", "●") if charset.drawn else ("-", "|", "|", "o")

    def place(value: float) -> int:
        part = (min(max(value, low), high) - low) / (high - low)
        return min(width - 1, int(part * width))

    start, end = place(estimate.low), place(estimate.high)
    cells = [" "] * width
    cells[start : end + 1] = [line] * (end + 1 - start)
    cells[start], cells[end] = left, right
    cells[place(estimate.value)] = dot
    return "".join(cells)


def scale(estimates: list[Estimate]) -> tuple[float, float]:
    """From 0 to 1, or from the quarter below the lowest interval where that reaches below 0."""
    lowest = min((estimate.low for estimate in estimates), default=0.0)
    return (-math.ceil(-4 * lowest) / 4 if lowest < -0.005 else 0.0, 1.0)
