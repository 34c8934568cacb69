"""The one sentence that says which node to guard first, and how far that can be believed."""

from collections.abc import Sequence

from sherlock.analysis.artefact import Analysis, NodeAnalysis
from sherlock.analysis.vulnerability import LOOKS, MIN_CASES
from sherlock.estimate import Estimate
from sherlock.report.figures import count, figure, number, percent, share
from sherlock.report.texts import Name, visible

Sentence = tuple[str, ...]
"""Its parts; those that are a `Name` are names of nodes or verifiers."""


def headline(analysis: Analysis) -> Sentence:
    """Which node to guard first and why, or why that cannot be said yet."""
    if analysis.forecast is not None and analysis.partial is not None and analysis.partial.startswith("dry run"):
        return ("Nothing was executed: this was a dry run.",)
    known = [name for name in analysis.ranking if ranked(analysis, name) is not None]
    if not known:
        return (_nothing_known(analysis),)
    first = analysis.nodes[known[0]]
    value = _sure(ranked(analysis, first.name))
    if value.value <= 0:
        return (*_partly(analysis), *_nothing_to_guard(analysis, value))
    return (
        *_partly(analysis),
        *_advice(analysis, known),
        ": ",
        *_reason(first, value, analysis),
        "; ",
        *_trust(analysis),
    )


def spoken(sentence: Sentence) -> str:
    """The sentence as plain text, names in backticks."""
    return "".join(f"`{visible(part)}`" if isinstance(part, Name) else part for part in sentence)


def ranked(analysis: Analysis, name: str) -> Estimate | None:
    """The figure that the ranking goes by."""
    node = analysis.nodes[name]
    return node.criticality if analysis.ranked_by == "criticality" else node.vulnerability


def right_cases(analysis: Analysis) -> int:
    """How many clean runs were right."""
    return sum(case.right for case in analysis.cases)


def names(nodes: Sequence[str], last: str = "and") -> Sentence:
    """`a`, `b` and `c`; with more than five, how many others there are."""
    shown = list(nodes) if len(nodes) <= 5 else list(nodes[:4])
    parts: list[str] = []
    for place, node in enumerate(shown):
        is_last = place == len(nodes) - 1
        parts += ([f" {last} "] if is_last and place else [", "] if place else []) + [Name(node)]
    return (*parts, f" {last} {len(nodes) - len(shown)} others") if len(shown) < len(nodes) else tuple(parts)


def _partly(analysis: Analysis) -> Sentence:
    return (f"Partial ({visible(analysis.partial)}). ",) if analysis.partial else ()


def _nothing_known(analysis: Analysis) -> str:
    why = f" ({visible(analysis.partial)})" if analysis.partial else ""
    right = right_cases(analysis)
    if right == 0:
        return f"Nothing can be said yet: no clean run was right so far{why}."
    return f"Nothing can be said yet: no fault was injected in any of the {count(right, 'right case')} so far{why}."


def _nothing_to_guard(analysis: Analysis, value: Estimate) -> Sentence:
    cases = f"{count(value.n, 'case')}, the interval reaches {number(value.high)}"
    if analysis.ranked_by == "criticality":
        return ("No node need be guarded so far: the right output put in at any node gained nothing", f" ({cases}).")
    return ("No node need be guarded so far: no fault made the final answer worse", f" ({cases}).")


def _advice(analysis: Analysis, known: Sequence[str]) -> Sentence:
    """What to guard: the first nodes when that is settled, else one of the first tier."""
    top = min(int(analysis.settings.get("top", 1)), len(known))
    if analysis.settled or len(known) == 1:
        return ("Guard ", *names(known[:top]), " first")
    tier = [name for name in (analysis.tiers[0] if analysis.tiers else known) if name in known]
    if len(tier) <= top:
        return ("Guard ", *names(known[:top]), " first")
    of = " (first tier)" if len(tier) < len(known) else ", for no node stands out"
    return ("Guard one of ", *names(tier, "or"), of, ", most likely ", Name(known[0]))


def _reason(node: NodeAnalysis, value: Estimate, analysis: Analysis) -> Sentence:
    is_alone = not analysis.settled or int(analysis.settings.get("top", 1)) == 1
    where: Sentence = ("there",) if is_alone else ("in ", Name(node.name))
    if analysis.ranked_by == "criticality":
        reason: Sentence = ("its right output" if is_alone else "the right output ", *(() if is_alone else where))
        why = f" would gain {figure(value)} of the score"
    else:
        reason = ("a fault ", *where)
        why = f" costs {figure(value)} of the score"
    if value.low <= 0:
        why += ", which may be nothing"
    if analysis.ranked_by == "criticality" and node.vulnerability is not None:
        why += f", a fault there costs {figure(node.vulnerability)}"
    if node.fault_rate is not None:
        why += f", and its output is wrong in {share(node.fault_rate)} of cases"
    return (*reason, why, *_origin(node, analysis))


def _origin(node: NodeAnalysis, analysis: Analysis) -> Sentence:
    """Where the errors come from, if the node makes none by itself."""
    own, seen = node.own_fault_rate, node.fault_rate
    if own is None or seen is None or own.value > 0 or seen.value == 0:
        return ()
    for name in analysis.ranking:
        begins = analysis.nodes[name].own_fault_rate
        if begins is not None and begins.value > 0:
            return (", all inherited: the first to err by itself is ", Name(name), f", in {share(begins)}")
    return (", all inherited",)


def _trust(analysis: Analysis) -> Sentence:
    """How settled that is, in the cases that it took, and with what the first node is tied."""
    right = right_cases(analysis)
    after = f"after {count(right, 'right case')}"
    if len(analysis.nodes) == 1:
        return (f"it is the only node that was analysed, {after}.",)
    if right < MIN_CASES:
        return (
            f"not settled, for only {count(right, 'clean run was', 'clean runs were')} right: add cases until ",
            f"{MIN_CASES} or more are.",
        )
    if not analysis.settled:
        return (f"not settled {after}: {_cure(analysis, right)}.",)
    margin = number(float(analysis.settings.get("margin", 0.10)))
    settled = f"settled at {percent(float(analysis.settings.get('confidence', 0.95)))} {after}"
    rivals = _rivals(analysis)
    if rivals:
        return (
            settled,
            " (no other node beats it by more than ",
            margin,
            "), though ",
            *names(rivals),
            " cannot be told from it.",
        )
    return (settled, ".")


def _cure(analysis: Analysis, right: int) -> str:
    if analysis.partial:
        return "go on with --resume"
    return "add cases" if right < LOOKS[-1] else "more would hardly tell them apart, so take them as equal"


def _rivals(analysis: Analysis) -> list[str]:
    """What stands in the first tier beside the nodes that were named."""
    top = int(analysis.settings.get("top", 1))
    first = analysis.tiers[0] if analysis.tiers else []
    return [name for name in first if name not in analysis.ranking[:top]]


def _sure(value: Estimate | None) -> Estimate:
    assert value is not None
    return value
