"""Where verifiers go when nothing was measured: Algorithm 1 of arXiv:2511.00330, section 5.

Terminal nodes first, then initial ones, then the others by fan-in, the highest first; the first k get a verifier. The
paper leaves open, and here it is so:

- Of several terminal or initial nodes those come first that more of the paths from start to end pass through, then
  those with the higher fan-in, then by name. Of other nodes with the same fan-in likewise.
- A node that is first and last is terminal. In a cycle every node counts once, however often it runs.
- A router is a node like any other: what it returns is what decides.
- A deferred node has the role that its edges give it.
- Nodes that no run reaches and error handlers never get one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sherlock.errors import PlanError
from sherlock.graph import Node, WorkflowGraph
from sherlock.placement.plan import Expectation, Plan
from sherlock.placement.slo import SLO

DEFAULT_COUNT = 3
"""How many nodes get a verifier if the SLO does not say."""

_ROLES = ("terminal", "initial", "middle")
_NEED_FIGURES = ("min_accuracy", "max_usd", "max_latency_s", "max_wh", "max_verifier_calls")


def ranking(workflow: WorkflowGraph, nodes: Iterable[str] | None = None) -> tuple[str, ...]:
    """The nodes that may get a verifier, in the order of Algorithm 1; all of the graph's, or those of `nodes`."""
    wanted = workflow.nodes.keys() if nodes is None else {workflow.known(name) for name in nodes}
    able = [workflow.nodes[name] for name in wanted]
    able = [node for node in able if node.reachable and not node.is_handler]
    return tuple(node.name for node in sorted(able, key=_place))


def plan_by_topology(
    workflow: WorkflowGraph,
    verifier: "str | Mapping[str, Any] | object | None",
    *,
    slo: SLO | None = None,
    nodes: Iterable[str] | None = None,
) -> Plan:
    """A plan without a calibration: `verifier` at the first nodes of Algorithm 1.

    `slo.max_verifiers` says how many, else `DEFAULT_COUNT`. Raises `PlanError` without a verifier, and for limits that
    cannot be kept without having measured anything.
    """
    slo = slo or SLO()
    if verifier is None:
        raise PlanError(
            "nothing was calibrated and there is no default verifier; give default_verifier, such as "
            "'self-reflection', or calibrate first"
        )
    blind = [name for name in slo.asked() if name in _NEED_FIGURES]
    if blind:
        raise PlanError(f"{blind[0]} cannot be kept without a calibration, which tells what a verifier does; calibrate")
    order = ranking(workflow, nodes)
    count = DEFAULT_COUNT if slo.max_verifiers is None else int(slo.max_verifiers)
    attached = Plan.attach(dict.fromkeys(order[:count], verifier)).placements
    placements = {
        name: placement.model_copy(update={"why": _why(workflow.nodes[name], order.index(name))})
        for name, placement in attached.items()
    }
    return Plan(
        placements=placements,
        expectation=Expectation(basis="screened only"),
        slo=slo,
        notes=("Placed by where nodes stand in the graph alone; calibrate to know what a verifier buys.",),
        fingerprint=workflow.fingerprint,
        graph=workflow.describe(),
    )


def _place(node: Node) -> tuple[int, float, float, int, str]:
    fan_in = -node.fan_in if node.role == "middle" else 0
    return _ROLES.index(node.role), fan_in, -node.dominator_share, -node.fan_in, node.name


def _why(node: Node, position: int) -> str:
    what = {"terminal": "ends the run", "initial": "starts it", "middle": f"{node.fan_in} nodes lead to it"}[node.role]
    return f"number {position + 1} of Algorithm 1: a {node.role} node ({what}); nothing was measured"
