"""`analysis.json`: what an analysis found, as data. Loading one runs no code.

Everything that depends on the clock stands under `timing`, so that two runs with one seed on deterministic nodes give
files that are equal but for that key.
"""

from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError

from sherlock.artefacts import Model, TimelessUsage, damaged, read_artefact, to_json, write_artefact
from sherlock.estimate import Estimate
from sherlock.usage import NO_USAGE, Usage

SCHEMA_VERSION: Final = 1


class Latency(Model):
    """How long a node took in the clean runs, in seconds; `n` executions."""

    mean: float
    p50: float
    p90: float
    n: int


class Example(Model):
    """One injection, to look at: what the fault did to the node, and what became of the answer. Texts are cut."""

    case: str
    visit: int
    kind: str
    fault: str
    before: str
    after: str
    answer: str
    score: float
    sham_score: float
    masked: bool
    error: str | None = None


class FaultEffect(Model):
    """The mean loss that one fault caused at one node, on clean-right cases."""

    kind: str
    loss: Estimate


class NodeAnalysis(Model):
    """What is known about one node. See `docs/statistics.md` for what each estimate estimates."""

    name: str
    role: Literal["terminal", "initial", "middle"]
    fan_in: int
    fan_out: int
    depth: int
    dominator_share: float
    category: str | None = None
    vulnerability: Estimate | None = None
    rescue: Estimate | None = None
    exposure: Estimate | None = None
    fault_rate: Estimate | None = None
    own_fault_rate: Estimate | None = None
    """Share of wrong outputs among the cases in which every node right before it was right."""
    criticality: Estimate | None = None
    instability: Estimate | None = None
    tier: int | None = None
    kinds: tuple[str, ...] = ()
    by_fault: dict[str, FaultEffect] = Field(default_factory=dict)
    deterministic: bool = False
    trials: int = 0
    masked: int = 0
    errors: int = 0
    usage: TimelessUsage = NO_USAGE
    examples: tuple[Example, ...] = ()
    latency_s: Latency | None = Field(default=None, exclude=True)


class CaseResult(Model):
    """How the clean run of a case went."""

    id: str
    score: float | None
    right: bool
    error: str | None = None


class Forecast(Model):
    """What an analysis may cost at most, said before its first call. Model calls and dollars: None if unknown."""

    cases: int
    nodes: int
    trials: int
    node_executions: int
    model_calls: int | None = None
    usd: float | None = None
    basis: str


class Timing(Model):
    """Everything that depends on the clock or on what was already recorded or stored. Seconds.

    `spent` is what the calls that were really made have cost; `Analysis.usage` counts replayed ones too.
    """

    seconds: float = 0.0
    spent: Usage = NO_USAGE
    nodes: dict[str, Latency] = Field(default_factory=dict)


class Analysis(Model):
    """Which nodes of a workflow matter, with intervals: the result of `sherlock.analyze`."""

    kind: Literal["analysis"] = "analysis"
    schema_version: Literal[1] = SCHEMA_VERSION
    fingerprint: str
    graph: dict[str, Any]
    settings: dict[str, Any]
    baseline: Estimate | None = None
    accuracy: Estimate | None = None
    nodes: dict[str, NodeAnalysis] = Field(default_factory=dict)
    ranking: list[str] = Field(default_factory=list)
    ranked_by: Literal["criticality", "vulnerability"] = "vulnerability"
    settled: bool = False
    tiers: list[list[str]] = Field(default_factory=list)
    cases: list[CaseResult] = Field(default_factory=list)
    skipped: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    trials: int = 0
    node_executions: int = 0
    node_executions_full: int = 0
    model_calls: int = 0
    usage: TimelessUsage = NO_USAGE
    partial: str | None = None
    forecast: Forecast | None = None
    timing: Timing = Timing()

    def save(self, path: str | Path) -> None:
        """Write the artefact as JSON; the file is whole or not there."""
        write_artefact(path, self.to_json())

    def to_json(self) -> str:
        """The artefact as JSON text, keys sorted."""
        return to_json(self)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an artefact.

        Raises:
            ArtefactError: there is no such file, or it is no analysis of a version that this library knows.
        """
        data = read_artefact(path, kind="analysis", version=SCHEMA_VERSION)
        try:
            loaded = cls.model_validate(data)
        except ValidationError as error:
            raise damaged(path, error) from error
        latencies = loaded.timing.nodes
        timed = {
            name: node.model_copy(update={"latency_s": latencies.get(name)}) for name, node in loaded.nodes.items()
        }
        return loaded.model_copy(update={"nodes": timed})


def latency(samples: list[float]) -> Latency | None:
    """Mean and quantiles of recorded seconds; None without any."""
    if not samples:
        return None
    ordered = sorted(samples)
    p50, p90 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.9))
    return Latency(mean=sum(ordered) / len(ordered), p50=p50, p90=p90, n=len(ordered))
