"""What the reports say beside the table: how the workflow does today, what the analysis cost, what to know first."""

from collections.abc import Mapping, Sequence
from typing import Any

from sherlock.analysis.artefact import Analysis, Example, Forecast, NodeAnalysis
from sherlock.report.figures import count, dollars, duration, figure, number, percent, share
from sherlock.report.sentence import right_cases
from sherlock.usage import Usage


def today(analysis: Analysis) -> str:
    """What the workflow gets right without any fault."""
    run = [case for case in analysis.cases if case.score is not None]
    if not run:
        return "No case was run."
    right = right_cases(analysis)
    accuracy = "" if analysis.accuracy is None else f", {share(analysis.accuracy)}"
    mean = "" if analysis.baseline is None else f"; mean score {figure(analysis.baseline)}"
    mark = float(analysis.settings.get("pass_mark", 1.0))
    passing = "" if mark == 1 else f" (a score of {mark:g} or more)"
    return f"Today: {right:,} of {count(len(run), 'case')} right{passing}{accuracy}{mean}.{_left_over(analysis)}"


def _left_over(analysis: Analysis) -> str:
    left = analysis.forecast.cases - len(analysis.cases) if analysis.forecast is not None else 0
    if left <= 0:
        return ""
    what = "not reached" if analysis.partial else "not needed"
    return f" {count(left, f'more case was {what}', f'more cases were {what}')}."


def interval_note(settings: Mapping[str, Any]) -> str:
    """What the brackets are, under the settings of a study."""
    confidence = percent(float(settings.get("confidence", 0.95)))
    return f"Brackets hold the {confidence} interval; the unit is the case."


def cost(analysis: Analysis) -> list[tuple[str, str]]:
    """What the analysis took, as label and text."""
    spent = analysis.timing.spent
    executions = count(analysis.node_executions)
    if analysis.node_executions_full:
        part = percent(round(analysis.node_executions / analysis.node_executions_full, 2))
        executions += f" ({part} of the {analysis.node_executions_full:,} that re-running everything would take)"
    return [
        ("trials", count(analysis.trials)),
        ("node executions", executions),
        *spending(analysis.usage, spent, analysis.timing.seconds),
    ]


def spending(usage: Usage, spent: Usage, seconds: float) -> list[tuple[str, str]]:
    """Model calls and what they cost. `spent` is of those that were made, `usage` of the replayed ones too."""
    return [
        ("model calls", _calls(usage.calls, spent)),
        ("tokens", _tokens(usage, spent)),
        ("cost", _cost(usage, spent)),
        ("time", duration(seconds)),
    ]


def _calls(calls: int, spent: Usage) -> str:
    if spent.calls == calls:
        return count(calls)
    return f"{calls:,}, of which {spent.calls:,} were made now and the others were answered from what is kept"


def _tokens(usage: Usage, spent: Usage) -> str:
    about = "about " if usage.estimated else ""
    cached = f", {spent.tokens_cached:,} of them cached by the server" if spent.tokens_cached else ""
    return f"{about}{usage.tokens_in:,} in{cached}; {about}{usage.tokens_out:,} out"


def _cost(usage: Usage, spent: Usage) -> str:
    if spent.usd is None:
        return "unknown: no price is known for a model; add it under [tool.sherlock.prices]"
    if usage.usd is not None and usage.usd > spent.usd:
        return f"{dollars(spent.usd)} now; {dollars(usage.usd)} if every call had been made"
    return dollars(spent.usd)


def forecast_lines(forecast: Forecast) -> list[str]:
    """What an analysis may take, before it begins."""
    calls = (
        "model calls: unknown before the first run"
        if forecast.model_calls is None
        else (f"model calls: at most {forecast.model_calls:,}")
    )
    usd = "" if forecast.usd is None else f", {dollars(forecast.usd)}"
    return [
        (
            f"At most {count(forecast.trials, 'trial')} on {count(forecast.cases, 'case')} and "
            f"{count(forecast.nodes, 'node')}: {count(forecast.node_executions, 'node execution')}; {calls}{usd}."
        ),
        f"That is {forecast.basis}.",
    ]


def warnings(analysis: Analysis) -> list[str]:
    """What a reader must know before believing the figures."""
    failed = [case for case in analysis.cases if case.error]
    found = reservations(analysis.partial, analysis.notes, analysis.skipped)
    found += [f"The clean run of case {case.id!r} raised: {case.error}" for case in failed[:3]]
    if len(failed) > 3:
        found.append(f"The clean runs of {count(len(failed) - 3, 'more case')} raised too.")
    return found


def reservations(partial: str | None, notes: Sequence[str], skipped: Sequence[str]) -> list[str]:
    """Why a study is partial, what it noted, and which cases it could not use."""
    found = [f"Partial: {partial}. The figures hold for what was done until then."] if partial else []
    found += [f"{note[:1].upper()}{note[1:]}." if not note.endswith(".") else note for note in notes]
    found += [f"Skipped: {each}." for each in skipped[:5]]
    if len(skipped) > 5:
        found.append(f"Skipped: {count(len(skipped) - 5, 'more case')}.")
    return found


def example_title(example: Example) -> str:
    """Which fault it was, where, and what became of the score."""
    visit = f", visit {example.visit + 1}" if example.visit else ""
    ending = " (masked)" if example.masked else ""
    return f"{example.kind} fault {example.fault} in case {example.case}{visit}: {_change(example)}{ending}"


def _change(example: Example) -> str:
    before, after = number(example.sham_score), number(example.score)
    if before == after:
        return f"the score stays {after}"
    return f"the score {'falls' if example.score < example.sham_score else 'rises'} from {before} to {after}"


def node_facts(node: NodeAnalysis) -> list[tuple[str, str]]:
    """Where a node stands and what it took, as label and text."""
    usage = node.usage
    facts = [
        ("role", f"{node.role}, depth {node.depth}, fan-in {node.fan_in}, fan-out {node.fan_out}"),
        ("on the way", f"{percent(round(node.dominator_share, 3))} of all paths to the end pass through it"),
        ("output", node.category or "not seen"),
        ("deterministic", "shown to be" if node.deterministic else "not shown to be"),
        ("trials", f"{node.trials:,}, of which {node.masked:,} masked and {node.errors:,} ended in an error"),
        ("clean runs", f"{count(usage.calls, 'model call')}, {usage.tokens:,} tokens, {dollars(usage.usd)}"),
    ]
    if node.latency_s is not None:
        late = node.latency_s
        facts.append(("latency", f"mean {duration(late.mean)}, median {duration(late.p50)}, p90 {duration(late.p90)}"))
    return facts
