"""`validation.json`: what a plan did to a workflow, run against the workflow without it. Loading one runs no code.

Everything that depends on the clock stands under `timing`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError

from sherlock.artefacts import Model, TimelessUsage, damaged, read_artefact, to_json, write_artefact
from sherlock.estimate import Estimate
from sherlock.usage import NO_USAGE

SCHEMA_VERSION: Final = 1

Way = Literal["unguarded", "guarded", "blocking"]
"""A way of running a case: without the plan, under it, and under it with every verdict waited for."""


class Figures(Model):
    """Figures of one run, or differences of them: means over cases, with intervals. None: not known, or too few cases.

    `score` lies in [0, 1], a difference of it in [-1, 1]. `wh` is in watt-hours; it leaves out how far they are known.
    """

    score: Estimate | None = None
    usd: Estimate | None = None
    tokens: Estimate | None = None
    calls: Estimate | None = None
    wh: Estimate | None = None


class Seconds(Model):
    """A time over runs, or how two differ. None: too few cases (5 for a mean, 8 for p50, 20 for p90, 100 for p99)."""

    mean: Estimate | None = None
    p50: Estimate | None = None
    p90: Estimate | None = None
    p99: Estimate | None = None


class Times(Model):
    """`t_exec_s`: until the last execution that was kept ended; `t_vrf_s`: until the last verdict was in."""

    t_exec_s: Seconds = Seconds()
    t_vrf_s: Seconds = Seconds()


class NodeVerdicts(Model):
    """What the verifier of one node said in the guarded runs.

    `match_rate`: how often a verdict left the output as it was; mean of the cases' shares. `rejected` counts outputs
    that were not accepted, `failures` verifications without a verdict.
    """

    node: str
    verifier: str
    match_rate: Estimate | None = None
    verdicts: int = 0
    rejected: int = 0
    failures: int = 0


class PromiseCheck(Model):
    """One figure that the plan promises, beside what was measured.

    `kept`: True where what was measured is no less than the lower end of the promise; False where it is less than
    promised by more than both intervals allow; None where neither can be said, and for figures that decide nothing.
    """

    figure: Literal["score", "gain", "usd", "tokens", "calls", "wh", "t_exec_s", "t_vrf_s", "blocking_s"]
    promised: Estimate | float
    measured: Estimate | None = None
    kept: bool | None = None


class ValidatedCase(Model):
    """The scores of a case in each way of running it, one for each repeat; `errors` says what a run raised."""

    id: str
    scores: dict[Way, list[float]] = Field(default_factory=dict)
    errors: dict[Way, str] = Field(default_factory=dict)


class TimedRun(Model):
    """One run: its times in seconds, and what was thrown away in it."""

    case: str
    repeat: int
    way: Way
    t_exec_s: float
    t_vrf_s: float
    rollbacks: int = 0
    node_executions: int = 0
    wasted_executions: int = 0


class ValidationTiming(Model):
    """Everything that depends on the clock. `differences`: the guarded runs less those of another way.

    `rollbacks`, `node_executions`, `wasted_executions`: sums over the runs of a way.
    """

    seconds: float = 0.0
    levels: dict[Way, Times] = Field(default_factory=dict)
    differences: dict[Way, Times] = Field(default_factory=dict)
    rollbacks: dict[Way, int] = Field(default_factory=dict)
    node_executions: dict[Way, int] = Field(default_factory=dict)
    wasted_executions: dict[Way, int] = Field(default_factory=dict)
    promise: list[PromiseCheck] = Field(default_factory=list)
    runs: list[TimedRun] = Field(default_factory=list)


class Validation(Model):
    """What a plan did on cases, measured: the result of `sherlock.validate`.

    `levels`: each way of running; `differences`: the guarded runs less those of another way, paired by case.
    `repaired`, `broken`: the cases whose score is higher and lower guarded than unguarded. `flagged`: outputs that
    stayed although nobody vouches for them, `failures`: verifications without a verdict; both in the guarded runs.
    `placements` holds the verifier of each node. `promise_kept` is False where the score or the gain that the plan
    promised is refuted, True where all that can be decided is kept, None where nothing can be; `promise_note` says why.
    """

    kind: Literal["validation"] = "validation"
    schema_version: Literal[1] = SCHEMA_VERSION
    fingerprint: str
    graph: dict[str, Any]
    settings: dict[str, Any]
    placements: dict[str, str] = Field(default_factory=dict)
    levels: dict[Way, Figures] = Field(default_factory=dict)
    differences: dict[Way, Figures] = Field(default_factory=dict)
    nodes: list[NodeVerdicts] = Field(default_factory=list)
    repaired: list[str] = Field(default_factory=list)
    broken: list[str] = Field(default_factory=list)
    cases: list[ValidatedCase] = Field(default_factory=list)
    flagged: int = 0
    failures: int = 0
    promise: list[PromiseCheck] = Field(default_factory=list)
    promise_kept: bool | None = None
    promise_note: str = ""
    skipped: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    runs: int = 0
    usage: TimelessUsage = NO_USAGE
    partial: str | None = None
    timing: ValidationTiming = ValidationTiming()

    @property
    def gain(self) -> Estimate | None:
        """What the plan brings of the score: guarded less unguarded, paired by case."""
        found = self.differences.get("unguarded")
        return None if found is None else found.score

    @property
    def errors(self) -> Mapping[str, Mapping[Way, str]]:
        """What runs raised, by case and way."""
        return {case.id: case.errors for case in self.cases if case.errors}

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
            ArtefactError: there is no such file, or it is no validation of a version that this library knows.
        """
        data = read_artefact(path, kind="validation", version=SCHEMA_VERSION)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise damaged(path, error) from error
