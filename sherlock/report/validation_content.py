"""What the reports of a validation say: the sentence that matters, the figures of each way, promises, cases."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sherlock.estimate import Estimate
from sherlock.report.content import reservations
from sherlock.report.figures import amount, count, dollars, duration, figure, percent, share
from sherlock.report.sentence import Sentence
from sherlock.report.tables import Column, telling
from sherlock.report.texts import visible
from sherlock.runtime.validation import Figures, NodeVerdicts, PromiseCheck, Times, Validation, Way

LISTED = 12
WAYS: tuple[Way, ...] = ("unguarded", "guarded", "blocking")
LABELS = {
    "score": "score",
    "gain": "gain",
    "t_exec_s": "last node",
    "t_vrf_s": "last verdict",
    "blocking_s": "if blocking",
    "tokens": "tokens",
    "calls": "model calls",
    "usd": "dollars",
    "wh": "watt-hours",
}
ADDED = ("usd", "tokens", "calls", "wh")
QUANTILES = {"mean": "mean", "p50": "median", "p90": "p90", "p99": "p99"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure: in each way of running, and how the guarded runs differ from the others."""

    label: str
    levels: Mapping[Way, str]
    differences: Mapping[Way, str]


def headline(validation: Validation) -> Sentence:
    """Whether the promise was kept, what the plan brings, and what it costs in time."""
    gain, levels = validation.gain, validation.levels
    guarded, plain = levels.get("guarded"), levels.get("unguarded")
    if gain is None or guarded is None or plain is None or guarded.score is None or plain.score is None:
        why = f" ({visible(validation.partial)})" if validation.partial else ""
        return (f"Nothing can be said yet: no case was run in every way{why}.",)
    hedge = ", which may be nothing" if gain.low <= 0 <= gain.high else ""
    what = "a gain" if gain.value >= 0 else "a loss"
    shown = gain if gain.value >= 0 else Estimate(-gain.value, -gain.high, -gain.low, gain.n)
    score = f"the score is {figure(guarded.score)} with the plan and {figure(plain.score)} without, {what} of "
    partly = (f"Partial ({visible(validation.partial)}). ",) if validation.partial else ()
    return (*partly, _promise(validation), ": ", score, f"{figure(shown)}{hedge}", _lateness(validation), ".")


def _promise(validation: Validation) -> str:
    if not any(check.figure in ("score", "gain") for check in validation.promise):
        return "The plan promises no score"
    if validation.promise_kept is None:
        return f"The promise can be neither confirmed nor refuted, for {visible(validation.promise_note)}"
    return "The plan keeps its promise" if validation.promise_kept else "The plan does not keep its promise"


def _lateness(validation: Validation) -> str:
    """When the last verdict is in, beside the other ways."""
    told = []
    for way, what in (("unguarded", "the workflow without the plan"), ("blocking", "waiting for every verdict")):
        found = validation.timing.differences.get(way)  # type: ignore[call-overload]
        mean = None if found is None else found.t_vrf_s.mean
        if mean is not None:
            later = "later" if mean.value >= 0 else "sooner"
            told.append(f"{_plain_seconds(abs(mean.value))} {later} than {what}{_maybe(mean)}")
    return f"; the last verdict is in {' and '.join(told)}, on average" if told else ""


def _maybe(difference: Estimate) -> str:
    return " (which may be nothing)" if difference.low <= 0 <= difference.high else ""


def today(validation: Validation) -> str:
    """What was run."""
    ways = [way for way in WAYS if way in validation.levels]
    repeats = validation.settings.get("repeats", 1)
    often = "once" if repeats == 1 else f"{repeats} times"
    listed = f"{', '.join(ways[:-1])} and {ways[-1]}" if ways else "no way"
    return f"{count(len(validation.cases), 'case')}, each run {often} {listed}."


def warnings(validation: Validation) -> list[str]:
    """What a reader must know before believing the figures."""
    found = reservations(validation.partial, validation.notes, validation.skipped)
    raised = [(case, way, error) for case, errors in validation.errors.items() for way, error in errors.items()]
    found += [f"Case {case!r} raised {way}, and scores 0: {error}" for case, way, error in raised[:3]]
    if len(raised) > 3:
        found.append(f"{count(len(raised) - 3, 'more run')} raised too, and score 0.")
    return found


def rows(validation: Validation) -> list[Row]:
    """The figures that there are: score, times, costs."""
    found = [_figures_row(validation, "score")]
    for name in ("t_exec_s", "t_vrf_s"):
        found += [_times_row(validation, name, part) for part in QUANTILES]
    found += [_figures_row(validation, name) for name in ("tokens", "calls", "usd", "wh")]
    return [row for row in found if row is not None]


def columns(validation: Validation) -> list[Column[Row]]:
    """Each way of running, then how the guarded runs differ from the others."""

    def level(way: Way) -> Callable[[Row], str | None]:
        return lambda row: row.levels.get(way)

    def difference(way: Way) -> Callable[[Row], str | None]:
        return lambda row: row.differences.get(way)

    found = [Column(way, level(way)) for way in WAYS if way in validation.levels]
    found += [Column(f"guarded - {way}", difference(way)) for way in WAYS if way in validation.differences]
    return telling(found, rows(validation))


def missing(validation: Validation) -> list[str]:
    """What the brackets are, and which figures have none."""
    n = len(validation.cases)
    confidence = percent(float(validation.settings.get("confidence", 0.95)))
    found = [f"Means of one run; brackets hold the {confidence} interval; the unit is the case."]
    short = [name for name, fewest in (("means", 5), ("medians", 8), ("p90", 20), ("p99", 100)) if n < fewest]
    if short:
        found.append(
            f"No {', no '.join(short)}: {count(n, 'case is', 'cases are')} too few "
            "(5 for costs and mean times, 8 for medians, 20 for p90, 100 for p99)."
        )
    if _is_unknown(validation, "usd"):
        found.append("No dollars: the price of a model is unknown; add it under [tool.sherlock.prices].")
    return found


def node_columns(nodes: Sequence[NodeVerdicts]) -> list[Column[NodeVerdicts]]:
    """What the verifier of a node said."""
    found: list[Column[NodeVerdicts]] = [
        Column("match rate", lambda node: None if node.match_rate is None else share(node.match_rate)),
        Column("verdicts", lambda node: count(node.verdicts)),
        Column("rejected", lambda node: count(node.rejected)),
        Column("no verdict", lambda node: count(node.failures) if node.failures else None),
    ]
    return telling(found, nodes)


def outcome(validation: Validation) -> list[tuple[str, str]]:
    """What became of the cases and of the speculation, as label and text."""
    timing = validation.timing
    executed, wasted = timing.node_executions.get("guarded", 0), timing.wasted_executions.get("guarded", 0)
    found = [
        ("repaired", _named(validation.repaired)),
        ("broken", _named(validation.broken)),
        ("flagged", count(validation.flagged, "output") if validation.flagged else None),
        ("no verdict", count(validation.failures, "verification") if validation.failures else None),
        ("rollbacks", f"{count(timing.rollbacks.get('guarded', 0))} in the guarded runs"),
        ("thrown away", f"{wasted:,} of {count(executed, 'node execution')}" if executed else None),
    ]
    return [(name, text) for name, text in found if text is not None]


def promises(validation: Validation) -> list[tuple[str, str]]:
    """What the plan promised beside what was measured, as label and text."""
    checks = [*validation.promise, *validation.timing.promise]
    found = [(LABELS[check.figure], _checked(check)) for check in checks]
    if not any(check.figure in ("score", "gain") for check in checks):
        return found
    why = f"cannot be decided: {validation.promise_note}" if validation.promise_kept is None else None
    decided = why or ("kept" if validation.promise_kept else "refuted")
    return [*found, ("altogether", decided)]


def cost(validation: Validation) -> list[tuple[str, str]]:
    """What the validation took, as label and text."""
    usage = validation.usage
    about = "about " if usage.estimated else ""
    return [
        ("runs", count(validation.runs)),
        ("model calls", count(usage.calls)),
        ("tokens", f"{about}{usage.tokens_in:,} in; {about}{usage.tokens_out:,} out"),
        ("cost", "unknown" if usage.usd is None else dollars(usage.usd)),
        ("time", duration(validation.timing.seconds)),
    ]


def cases_at(validation: Validation, node: str) -> list[tuple[str, str]]:
    """What is known of one node, as label and text."""
    return [
        (f"{each.verifier}: {column.title}", text)
        for each in validation.nodes
        if each.node == node
        for column in node_columns([each])
        if (text := column.cell(each)) is not None
    ]


def _checked(check: PromiseCheck) -> str:
    how = _formats(check.figure)
    promised = check.promised if isinstance(check.promised, float) else None
    said = figure(check.promised) if isinstance(check.promised, Estimate) else how(promised or 0.0)
    added = " for verification" if check.figure in ADDED else " s" if check.figure.endswith("_s") else ""
    measured = "not measured" if check.measured is None else f"measured {_interval(check.measured, how)}"
    verdict = {True: ": kept", False: ": refuted", None: ""}[check.kept]
    return f"promised {said}{added}, {measured}{verdict}"


def _figures_row(validation: Validation, name: str) -> Row | None:
    def text(figures: Figures) -> str | None:
        return _shown(getattr(figures, name), name)

    levels = {way: found for way, each in validation.levels.items() if (found := text(each)) is not None}
    differences = {way: found for way, each in validation.differences.items() if (found := text(each)) is not None}
    nothing = all(_is_nothing(getattr(each, name)) for each in validation.levels.values())
    if not levels or (name != "score" and nothing):
        return None
    return Row(label=LABELS[name], levels=levels, differences=differences)


def _times_row(validation: Validation, name: str, part: str) -> Row | None:
    def text(times: Times) -> str | None:
        return _shown(getattr(getattr(times, name), part), name)

    timing = validation.timing
    levels = {way: found for way, each in timing.levels.items() if (found := text(each)) is not None}
    differences = {way: found for way, each in timing.differences.items() if (found := text(each)) is not None}
    if not levels:
        return None
    return Row(label=f"{LABELS[name]}, {QUANTILES[part]} s", levels=levels, differences=differences)


def _is_nothing(estimate: Estimate | None) -> bool:
    return estimate is None or estimate.value == estimate.low == estimate.high == 0


def _is_unknown(validation: Validation, name: str) -> bool:
    guarded = validation.levels.get("guarded")
    return guarded is not None and guarded.calls is not None and getattr(guarded, name) is None


def _shown(estimate: Estimate | None, name: str) -> str | None:
    return None if estimate is None else _interval(estimate, _formats(name))


def _interval(estimate: Estimate, how: Callable[[float], str]) -> str:
    return f"{how(estimate.value)} [{how(estimate.low)}, {how(estimate.high)}]"


def _formats(name: str) -> Callable[[float], str]:
    """How the numbers of a figure are written."""
    if name in ("score", "gain"):
        return lambda value: f"{value + 0.0:.2f}".replace("-0.00", "0.00")
    if name == "usd":
        return lambda value: f"-{dollars(-value)}" if value < 0 else dollars(value)
    return amount


def _plain_seconds(seconds: float) -> str:
    return f"{amount(seconds)} s" if seconds < 10 else duration(seconds)


def _named(cases: Sequence[str]) -> str:
    if not cases:
        return "no case"
    more = len(cases) - LISTED
    listed = ", ".join(cases[:LISTED])
    return f"{count(len(cases), 'case')}: {listed}{f' and {more:,} more' if more > 0 else ''}"
