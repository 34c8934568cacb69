"""Which nodes have been shown to be deterministic, so that their results may be shared and their shams left out.

A node is shown to be deterministic when it has met an input again at least `ENOUGH` times, has answered alike every
time, and none of its model calls was live (neither answered from a recording nor recorded for the next time). The
list changes only when asked to, between rounds of work, so that it never depends on which trial ended first.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from sherlock.analysis.executions import CleanRun, Line

ENOUGH = 5


@dataclass(slots=True)
class Determinism:
    """The evidence so far. `recorded` says that model calls are answered from, or kept as, recordings."""

    recorded: bool
    shown: frozenset[str] = frozenset()
    _agreed: Counter[str] = field(default_factory=Counter)
    _disagreed: set[str] = field(default_factory=set)
    _live: set[str] = field(default_factory=set)
    _paths_differ: bool = False
    _by_case: dict[str, dict[int, list[bool]]] = field(default_factory=lambda: defaultdict(dict))

    def saw_clean(self, run: CleanRun) -> None:
        """Note which nodes made live model calls."""
        self._live |= run.live

    def saw_replay(self, case: int, line: Line) -> None:
        """Note where a replay without a fault agreed with the clean run."""
        self._live |= line.live
        for node, agreed in line.evidence:
            self._by_case[node].setdefault(case, []).append(agreed)
            if agreed:
                self._agreed[node] += 1
            else:
                self._disagreed.add(node)
        if not line.same_path and all(agreed for _, agreed in line.evidence):
            self._paths_differ = True

    def update(self) -> None:
        """Bring `shown` up to date."""
        enough = {node for node, count in self._agreed.items() if count >= ENOUGH}
        self.shown = frozenset() if self._paths_differ else frozenset(enough - self._disagreed - self._live)

    @property
    def any_live(self) -> bool:
        return bool(self._live)

    def shows(self, nodes: Iterable[str]) -> bool:
        """Whether all of `nodes` have been shown to be deterministic."""
        return self.shown.issuperset(nodes)

    def disagreements(self, node: str) -> list[float]:
        """Per case with evidence, in case order: the share of re-executions on an equal input that differed."""
        by_case = self._by_case.get(node, {})
        return [1 - sum(by_case[case]) / len(by_case[case]) for case in sorted(by_case)]
