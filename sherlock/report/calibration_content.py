"""What the reports of a calibration say: the columns of its table, why a row was left out, what it took."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sherlock.analysis.calibration import Calibration, CalibrationRow, VerdictExample
from sherlock.estimate import Estimate
from sherlock.report.content import reservations, spending
from sherlock.report.figures import amount, count, dollars, duration, figure, number, share
from sherlock.report.tables import Column, telling

NODE_COLUMNS = ("node", "verifier")


def today(calibration: Calibration) -> str:
    """What the workflow gets right without any verifier."""
    scores = calibration.scores.values()
    if not scores:
        return "No case was run."
    mark = float(calibration.settings.get("pass_mark", 1.0))
    right = sum(score >= mark for score in scores)
    accuracy = "" if calibration.accuracy is None else f", {share(calibration.accuracy)}"
    mean = "" if calibration.baseline is None else f"; mean score {figure(calibration.baseline)}"
    return f"Without a verifier: {right:,} of {count(len(scores), 'case')} right{accuracy}{mean}."


def columns(rows: Sequence[CalibrationRow]) -> list[Column[CalibrationRow]]:
    """Those that say something here: what a verifier buys, what one verification costs, then how that comes about."""
    found = [
        _figure("gain", lambda row: row.gain, "what the final score gains when the verifier is heeded, over all cases"),
        Column(
            "tokens", lambda row: _each(row, float(row.usage.tokens), tokens), "like dollars and s, per verification"
        ),
        Column("dollars", lambda row: _each(row, row.usage.usd, dollars)),
        Column("s", lambda row: None if row.latency_s is None else amount(row.latency_s.mean)),
        Column("Wh", watt_hours),
        _share("repaired", lambda row: row.repaired, "cases whose score rises"),
        _share("broken", lambda row: row.broken, "cases whose score falls"),
        _share("match rate", lambda row: row.match_rate, "outputs left as they were"),
        _share("detection", lambda row: row.detection, "injected faults that are rejected"),
        _share("correction", lambda row: row.correction, "injected faults that are put right"),
        _share("false alarm", lambda row: row.false_alarm, "right outputs that are rejected"),
        Column("failed", lambda row: f"{row.failures:,} of {row.verifications:,}" if row.failures else None),
    ]
    return telling(found, rows)


def meanings(found: Sequence[Column[CalibrationRow]]) -> list[str]:
    """What the columns mean."""
    return [f"{column.title}: {column.meaning}" for column in found if column.meaning]


def short_names(rows: Sequence[CalibrationRow]) -> dict[str, str]:
    """What to call each verifier, by its label: its name, with the settings that tell it from others of that name."""
    by_name: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row.verifier, {})[row.label] = row.settings or {}
    found: dict[str, str] = {}
    for name, labels in by_name.items():
        keys = sorted({key for settings in labels.values() for key in settings})
        telling_apart = [key for key in keys if len({_shown(each.get(key)) for each in labels.values()}) > 1]
        for label, settings in labels.items():
            said = [f"{key}={_shown(settings[key])}" for key in telling_apart if key in settings]
            if len(telling_apart) == 1:  # its name would say the same in every row
                said = [each.partition("=")[2] for each in said]
            found[label] = " ".join([name, *said])
    return found


def left_out(calibration: Calibration) -> list[str]:
    """Which rows were not tried on every case, and why, and which verifiers gave no verdict at times."""
    names = short_names(calibration.rows)
    found = []
    for row in calibration.rows:
        if row.gain is None and not calibration.partial:
            found.append(f"{names[row.label]} at {row.node} was never tried: no case reached it.")
        elif row.dropped:
            found.append(f"{names[row.label]} at {row.node} was dropped early: {dropped(row, names)}.")
    for label, name in names.items():
        rows = [row for row in calibration.rows if row.label == label and row.failures]
        if rows:
            verifications = sum(row.verifications for row in calibration.rows if row.label == label)
            of = f"{sum(row.failures for row in rows):,} of {count(verifications, 'verification')}"
            found.append(f"{name} gave no verdict in {of}; the first, at {rows[0].node}: {rows[0].failure}.")
    return found


def dropped(row: CalibrationRow, names: Mapping[str, str]) -> str:
    """Why a row was dropped, with the verifiers called what they are called elsewhere."""
    said = row.dropped or ""
    for label in sorted(names, key=len, reverse=True):
        if f"beaten by {label} on" in said:
            return said.replace(label, names[label])
    return said


def warnings(calibration: Calibration) -> list[str]:
    """What a reader must know before believing the figures."""
    found = reservations(calibration.partial, calibration.notes, calibration.skipped)
    return [*found, *left_out(calibration)]


def caution(calibration: Calibration) -> str:
    """What the figures of single verifiers do not promise; "" where there is nothing to choose from."""
    if sum(row.gain is not None for row in calibration.rows) < 2:
        return ""
    return (
        "The best of several looks better than it is, and gains of verifiers do not add up: `sherlock plan` measures "
        "whole plans."
    )


def cost(calibration: Calibration) -> list[tuple[str, str]]:
    """What the calibration took, as label and text."""
    return [
        ("verifications", count(calibration.verifications)),
        ("trials", count(calibration.trials)),
        ("node executions", count(calibration.node_executions)),
        *spending(calibration.usage, calibration.timing.spent, calibration.timing.seconds),
    ]


def example_title(example: VerdictExample) -> str:
    """In which case, what the verdict was, and what became of the score."""
    if example.failure is not None:
        return f"case {example.case}: no verdict ({example.failure})"
    verdict = "rejected" if example.rejected else "accepted"
    if example.gain == 0:
        return f"case {example.case}: {verdict}, the score stays"
    return f"case {example.case}: {verdict}, the score {'rises' if example.gain > 0 else 'falls'} by {_size(example)}"


def row_facts(row: CalibrationRow, label: str) -> list[tuple[str, str]]:
    """All that is known about one row, as label and text."""
    facts = [(column.title, text) for column in columns([row]) if (text := column.cell(row)) is not None]
    facts.append(("for a plan", f"{number(row.shrunk_gain)}, the gain pulled towards what injected faults say"))
    if label != row.verifier:
        facts.append(("settings", label.removeprefix(row.verifier).strip()))
    if row.latency_s is not None:
        late = row.latency_s
        facts.append(("latency", f"mean {duration(late.mean)}, median {duration(late.p50)}, p90 {duration(late.p90)}"))
    if row.failure is not None:
        facts.append(("first failure", row.failure))
    if row.dropped is not None:
        facts.append(("dropped", row.dropped))
    return facts


def watt_hours(row: CalibrationRow) -> str | None:
    """`0.012 [0.004, 0.03] estimated` per verification; None where it is not known."""
    wh = row.usage.wh
    if wh is None or row.gain is None:
        return None
    value, low, high = (amount(part / verified(row)) for part in (wh.value, wh.low, wh.high))
    return f"{value} [{low}, {high}] {wh.source}"


def verified(row: CalibrationRow) -> int:
    """How many outputs of the node were verified: what `row.usage` is the sum over."""
    counted = row.latency_s or row.match_rate or row.gain
    return max(1, counted.n) if counted is not None else 1


def tokens(value: float) -> str:
    """Whole tokens; one decimal where there are few."""
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _each(row: CalibrationRow, total: float | None, shown: Callable[[Any], str]) -> str | None:
    if row.gain is None:
        return None
    return shown(None if total is None else total / verified(row))


def _size(example: VerdictExample) -> str:
    size = math.fabs(example.gain)
    return number(size) if size >= 0.01 else f"{size:.1g}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _figure(title: str, of: Callable[[CalibrationRow], Estimate | None], meaning: str) -> Column[CalibrationRow]:
    return Column(title, lambda row: None if (found := of(row)) is None else figure(found), meaning)


def _share(title: str, of: Callable[[CalibrationRow], Estimate | None], meaning: str) -> Column[CalibrationRow]:
    return Column(title, lambda row: None if (found := of(row)) is None else share(found), meaning)
