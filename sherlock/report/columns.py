"""The ranked table: its columns, in the order of their importance, and why a figure may be missing."""

from collections.abc import Callable

from sherlock.analysis.artefact import Analysis, NodeAnalysis
from sherlock.estimate import Estimate
from sherlock.report.figures import count, figure, share
from sherlock.report.sentence import right_cases
from sherlock.report.tables import Column, telling

Kinds = ("prompt", "context", "output")


def columns(analysis: Analysis) -> list[Column[NodeAnalysis]]:
    """Those that say something here, the most important first. The node itself is not among them."""
    nodes = list(analysis.nodes.values())
    gain = _estimate(
        "repair gain", lambda n: n.criticality, "what the score gains when a node's right output is put in"
    )
    loss = _estimate(
        "vulnerability",
        lambda n: n.vulnerability,
        "what a fault at the node costs of the score, over cases that were right without it",
    )
    ranked = [gain, loss] if analysis.ranked_by == "criticality" else [loss, gain]
    found = [
        ranked[0],
        Column("tier", lambda n: None if n.tier is None else str(n.tier), "nodes of one tier cannot be told apart"),
        Column("role", lambda n: n.role, is_number=False),
        ranked[1],
        Column(
            "fault rate",
            lambda n: None if n.fault_rate is None else share(n.fault_rate),
            "how often the node's output is wrong, inherited errors included",
        ),
        Column("fan-in", lambda n: str(n.fan_in)),
        Column("trials", lambda n: count(n.trials), "faults injected there"),
        Column("masked", lambda n: count(n.masked), "trials whose fault was gone before the end"),
        _estimate("rescue", lambda n: n.rescue, "what a fault gains where the clean run was wrong"),
        _estimate("exposure", lambda n: n.exposure, "what a fault costs over all cases"),
        _estimate("instability", lambda n: n.instability, "how often running the node again gives something else"),
        Column("faults", _kinds, "the classes that the figures are over: p prompt, c context, o output"),
    ]
    if not kinds_differ(analysis):
        found = [column for column in found if column.title != "faults"]
    return telling(found, nodes)


def why_missing(analysis: Analysis) -> list[str]:
    """For every figure that some nodes have not got: which one, and why."""
    nodes = list(analysis.nodes.values())
    if not nodes or not analysis.cases:
        return []
    right = right_cases(analysis)
    wrong = sum(case.score is not None for case in analysis.cases) - right
    reasons = {
        "vulnerability": "no fault fitted in a case that was right" if right else "no clean run was right",
        "repair gain": "needs gold text for the node (`references` in the cases)",
        "fault rate": "needs gold text for the node (`references` in the cases)",
        "rescue": "no fault was injected in a case that was wrong" if wrong else "no clean run was wrong",
        "exposure": "needs vulnerability and rescue",
        "instability": "the node was not run twice on one input, or recordings answered for its model",
    }
    empty = {title: sum(_value(node, title) is None for node in nodes) for title in reasons}
    grouped: dict[str, list[str]] = {}
    for title, reason in reasons.items():
        if empty[title]:
            part = title if empty[title] == len(nodes) else f"{title} of {count(empty[title], 'node')}"
            grouped.setdefault(reason, []).append(part)
    return [f"no {' and no '.join(titles)}: {reason}" for reason, titles in grouped.items()]


def kinds_differ(analysis: Analysis) -> bool:
    """Whether the vulnerabilities are over different fault classes, so that they compare with care only."""
    return len({node.kinds for node in analysis.nodes.values() if node.vulnerability is not None}) > 1


def classes(analysis: Analysis) -> str:
    """Which fault classes the vulnerabilities are over, in one sentence; "" where nothing was measured."""
    measured = [node for node in analysis.nodes.values() if node.vulnerability is not None]
    if not measured:
        return ""
    if kinds_differ(analysis):
        return (
            "Vulnerabilities are over the fault classes that fit each node (column faults), weighted by their shares "
            "in practice: compare nodes with different classes with care."
        )
    kinds = measured[0].kinds
    listed = f"{', '.join(kinds[:-1])} and {kinds[-1]}" if len(kinds) > 1 else "".join(kinds)
    return (
        f"Vulnerabilities are over {listed} faults{', weighted by their shares in practice' if len(kinds) > 1 else ''}."
    )


def _value(node: NodeAnalysis, title: str) -> Estimate | None:
    attribute = "criticality" if title == "repair gain" else title.replace(" ", "_")
    value: Estimate | None = getattr(node, attribute)
    return value


def _estimate(title: str, of: Callable[[NodeAnalysis], Estimate | None], meaning: str) -> Column[NodeAnalysis]:
    def cell(node: NodeAnalysis) -> str | None:
        estimate = of(node)
        return None if estimate is None else figure(estimate)

    return Column(title, cell, meaning)


def _kinds(node: NodeAnalysis) -> str | None:
    return " ".join(kind[0] for kind in Kinds if kind in node.kinds) or None
