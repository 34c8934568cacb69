"""How long a verified run takes: with speculation, and blocking, from recorded latencies.

Without limits on concurrency the time until the last verdict is a longest path (arXiv:2511.00330, section 7): a node's
verifier delays what hangs on the node only when it rejects, for what hangs on it ran on meanwhile.

    start_j = max over parents i of  start_i + exec_i + verify_i * rejected_i
    T_exec  = max_j  start_j + exec_j                 T_vrf = max_j  start_j + exec_j + verify_j

Blocking, every parent's verifier delays: verify_i * 1 in `start_j`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sherlock.placement.figures import Chosen
from sherlock.placement.rows import Workload
from sherlock.placement.slo import LATENCY_QUANTILE, SLO
from sherlock.placement.streams import stream

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]

DRAWS = 4000


@dataclass(frozen=True, slots=True)
class Times:
    """One run, or an array of runs: seconds until the last node ends, the last verdict is in, and if it had blocked."""

    execution_s: Any
    verified_s: Any
    blocking_s: Any


def times(
    parents: Mapping[str, Sequence[str]],
    execution: Mapping[str, Any],
    verify: Mapping[str, Any],
    rejected: Mapping[str, Any],
) -> Times:
    """The exact times of runs with unlimited concurrency.

    `parents`: for each node, in topological order, the nodes that it waits for. `execution`: seconds of each node.
    `verify`, `rejected`: for the nodes that have a verifier, its seconds, and whether it rejects (1 or 0). Figures may
    be numbers or arrays with one element for each run.
    """
    import numpy as np

    def latest(ends: Sequence[Any]) -> Any:
        return np.maximum.reduce(np.broadcast_arrays(*ends)) if ends else 0.0

    ready: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    blocked: dict[str, Any] = {}
    for name, before in parents.items():
        ends[name] = latest([ready[parent] for parent in before]) + execution[name]
        ready[name] = ends[name] + verify.get(name, 0.0) * rejected.get(name, 0.0)
        blocked[name] = latest([blocked[parent] for parent in before]) + execution[name] + verify.get(name, 0.0)
    verdicts = [ends[name] + verify[name] for name in ends if name in verify]
    return Times(
        execution_s=latest(list(ends.values())),
        verified_s=latest([*ends.values(), *verdicts]),
        blocking_s=latest(list(blocked.values())),
    )


@dataclass(frozen=True)
class LatencyModel:
    """Simulated runs of a workload: latencies are drawn from those that were recorded, verdicts by the match rate.

    Every node and row has its own stream of draws, so that plans are compared on the same runs, and a plan that holds
    another is never faster in any of them. Nodes are drawn apart: what makes a whole run slow is not in it.
    """

    workload: Workload
    seed: int = 0
    draws: int = DRAWS

    def simulate(self, chosen: Chosen) -> Times:
        """One `Times` of arrays, an element for each run."""
        verify = {node: self._sample(row.latency_s, "verify", node, row.label) for node, row in chosen.items()}
        rejected = {
            node: (stream(self.seed, "reject", node, row.label).random(self.draws) >= row.match_rate).astype(float)
            for node, row in chosen.items()
        }
        return times(self._parents, self._executions, verify, rejected)

    def quantile(self, chosen: Chosen, share: float = LATENCY_QUANTILE) -> float:
        """The seconds that this share of runs keeps until the last verdict."""
        import numpy as np

        return float(np.quantile(self.simulate(chosen).verified_s, share))

    def keeps(self, chosen: Chosen, slo: SLO) -> bool:
        """Whether a plan keeps `max_latency_s` in 95 % of runs; what `best_plans` takes as `accept`."""
        return slo.max_latency_s is None or self.quantile(chosen) <= slo.max_latency_s * (1 + 1e-9)

    @cached_property
    def _parents(self) -> dict[str, list[str]]:
        return self.workload.parents

    @cached_property
    def _executions(self) -> "dict[str, Column]":
        return {name: self._sample(work.latency_s, "run", name) for name, work in self.workload.nodes.items()}

    def _sample(self, recorded: Sequence[float], *names: str) -> "Column":
        import numpy as np

        if not recorded:
            return np.zeros(self.draws)
        return np.asarray(recorded, dtype=float)[stream(self.seed, *names).integers(len(recorded), size=self.draws)]


def quantiles(seconds: Any) -> dict[str, float]:
    """Mean, p50, p95 and p99, as a plan shows them."""
    import numpy as np

    found = np.quantile(seconds, [0.5, 0.95, 0.99])
    mean = math.fsum(np.atleast_1d(seconds)) / np.size(seconds)
    return {"mean": mean, **dict(zip(("p50", "p95", "p99"), map(float, np.atleast_1d(found)), strict=True))}
