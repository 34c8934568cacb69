"""The one sentence about a calibration: which verifier is worth its price where, and which are not shown to be."""

from collections.abc import Sequence

from sherlock.analysis.calibration import Calibration, CalibrationRow
from sherlock.estimate import Estimate
from sherlock.report.calibration_content import short_names, tokens, verified
from sherlock.report.figures import count, dollars, figure
from sherlock.report.sentence import Sentence
from sherlock.report.texts import Name, visible

LISTED = 3


def headline(calibration: Calibration) -> Sentence:
    """What to put where and why, or why that cannot be said."""
    if calibration.partial is not None and calibration.partial.startswith("dry run"):
        return ("Nothing was executed: this was a dry run.",)
    partly = (f"Partial ({visible(calibration.partial)}). ",) if calibration.partial else ()
    tried = [row for row in calibration.rows if row.gain is not None]
    if not tried:
        return (*partly, "Nothing can be said yet: no verifier was tried.")
    tried = [row for row in tried if row.failures < row.verifications]
    if not tried:
        return (*partly, "Nothing can be said: no verifier gave a single verdict.")
    good, open_, bad = worth(calibration), *_others(tried)
    parts = [*_good(good, calibration), *_open(open_, calibration, none_good=not good), *_bad(bad, calibration)]
    return (*partly, *parts)


def worth(calibration: Calibration) -> list[CalibrationRow]:
    """At each node the row that gains most of those whose whole interval is above 0; the largest gain first."""
    best: dict[str, CalibrationRow] = {}
    for row in calibration.rows:
        if row.gain is None or row.gain.low <= 0 or row.dropped:
            continue
        so_far = best.get(row.node)
        if so_far is None or _merit(row) > _merit(so_far):
            best[row.node] = row
    return sorted(best.values(), key=lambda row: (-_gain(row).value, row.node))


def price(row: CalibrationRow) -> tuple[float, float]:
    """Dollars and tokens of one verification; unknown dollars count as none, for comparisons only."""
    n = verified(row)
    return ((row.usage.usd or 0.0) / n, row.usage.tokens / n)


def _others(tried: Sequence[CalibrationRow]) -> tuple[list[CalibrationRow], list[CalibrationRow]]:
    """Rows whose interval includes 0, the likeliest first, and rows that do harm, the worst first."""
    unclear = [row for row in tried if _gain(row).low <= 0 <= _gain(row).high]
    harmful = [row for row in tried if _gain(row).high < 0]
    unclear.sort(key=lambda row: (-_gain(row).value, price(row), row.node, row.label))
    harmful.sort(key=lambda row: (_gain(row).value, row.node, row.label))
    return unclear, harmful


def _good(rows: Sequence[CalibrationRow], calibration: Calibration) -> Sentence:
    if not rows:
        return ()
    parts: list[str] = ["Worth it: "]
    for place, row in enumerate(rows[:LISTED]):
        parts += ["; " if place else "", *_place(row, calibration), f" gains {figure(_gain(row))} of the score"]
        parts += [f" {_spent(row)}", *_cheaper(row, calibration)]
    more = len(rows) - LISTED
    return (*parts, f"; and one at each of {count(more, 'more node')}." if more > 0 else ".")


def _cheaper(row: CalibrationRow, calibration: Calibration) -> Sentence:
    """Another row at the node that also helps, for less."""
    helping = [
        other
        for other in calibration.rows
        if other.node == row.node and other.gain is not None and other.gain.low > 0 and price(other) < price(row)
    ]
    if not helping:
        return ()
    found = max(helping, key=_merit)
    name = Name(short_names(calibration.rows)[found.label])
    return (" (", name, f" gains {figure(_gain(found))} there {_spent(found)})")


def _open(rows: Sequence[CalibrationRow], calibration: Calibration, *, none_good: bool) -> Sentence:
    if not rows:
        return ("No verifier is worth it.",) if none_good else ()
    first = rows[0]
    lead = "No verifier is shown to be worth it" if none_good else " Not shown to help"
    if all(_gain(row).value == 0 for row in rows):
        which = count(len(rows), "verifier") if none_good else count(len(rows), "other")
        return (f"{lead}: {which} changed no score in {count(_gain(first).n, 'case')}.",)
    if len(rows) == 1:
        return (f"{lead}: ", *_place(first, calibration), f", {figure(_gain(first))}, which may be nothing.")
    return (
        f"{lead}: {len(rows)} whose intervals include 0, the likeliest ",
        *_place(first, calibration),
        f" with {figure(_gain(first))} over {count(_gain(first).n, 'case')}.",
    )


def _bad(rows: Sequence[CalibrationRow], calibration: Calibration) -> Sentence:
    if not rows:
        return ()
    parts: list[str] = [" Harmful: "]
    for place, row in enumerate(rows[:LISTED]):
        parts += ["; " if place else "", *_place(row, calibration), f", {figure(_gain(row))}"]
    more = len(rows) - LISTED
    return (*parts, f"; and {count(more, 'other')}." if more > 0 else ".")


def _place(row: CalibrationRow, calibration: Calibration) -> Sentence:
    return (Name(short_names(calibration.rows)[row.label]), " at ", Name(row.node))


def _spent(row: CalibrationRow) -> str:
    """What one verification takes."""
    if row.usage.calls == 0:
        return "without a model call"
    usd, number = price(row)
    if row.usage.usd is None:
        return f"for {tokens(number)} tokens of unknown price a time"
    return f"for {tokens(number)} tokens{f' and {dollars(usd)}' if usd else ''} a time"


def _merit(row: CalibrationRow) -> tuple[float, float, float]:
    usd, number = price(row)
    return (_gain(row).value, -usd, -number)


def _gain(row: CalibrationRow) -> Estimate:
    assert row.gain is not None
    return row.gain
