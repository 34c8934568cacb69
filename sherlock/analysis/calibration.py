"""`calibration.json`: what each verifier buys at each node, as data. Loading one runs no code."""

from pathlib import Path
from typing import Any, Final, Literal, Self

from pydantic import Field, ValidationError

from sherlock.analysis.artefact import Forecast, Latency, latency
from sherlock.artefacts import Model, TimelessUsage, damaged, read_artefact, to_json, write_artefact
from sherlock.estimate import Estimate
from sherlock.usage import NO_USAGE, Usage

SCHEMA_VERSION: Final = 1


class VerdictExample(Model):
    """One verification of an output that the node really made, to look at. Texts are cut."""

    case: str
    before: str
    after: str
    rejected: bool
    gain: float
    failure: str | None = None


class Tried(Model):
    """One verifier at one node in one case.

    `reached`: the node ran; else there was nothing to verify, and nothing changed. `before`: the final score without
    the verdict; `gain`: what acting on it added. `changed`: the output was not left as it was. Of the `faults` that
    were injected, `repaired` is how many verdicts brought score, `corrected` how many put the output right.
    """

    reached: bool = True
    before: float
    gain: float = 0.0
    changed: bool = False
    faults: int = 0
    repaired: int = 0
    corrected: int = 0


class CalibrationRow(Model):
    """One verifier at one node.

    `gain`: change of the final score on the outputs that the node really makes, over all cases, the verdict acted on;
    a case that does not reach the node counts as no change. `repaired` and `broken` are the shares of cases whose score
    rose and fell. `shrunk_gain` is what a plan is chosen by: the gain pulled towards what the injected faults say.
    `match_rate`: how often an output is left as it was, or corrected to what says the same. `detection`, `correction`:
    shares of injected faults that were rejected, and put right. `false_alarm`: the share of right outputs that were
    rejected. `usage` is the sum over the outputs that the node really made; `failures` counts verifications that gave
    no verdict, of which `failure` is the first. `dropped` says why a row was not tried on every case. `cases` holds the
    figures of each case, by its id.
    """

    node: str
    verifier: str
    label: str
    settings: dict[str, Any] | None
    gain: Estimate | None
    shrunk_gain: float
    se: float
    repaired: Estimate | None
    broken: Estimate | None
    match_rate: Estimate | None
    detection: Estimate | None = None
    correction: Estimate | None = None
    false_alarm: Estimate | None = None
    verifications: int
    failures: int
    failure: str | None = None
    usage: TimelessUsage = NO_USAGE
    cases: dict[str, Tried] = Field(default_factory=dict)
    dropped: str | None = None
    examples: tuple[VerdictExample, ...] = ()
    latency_s: Latency | None = Field(default=None, exclude=True)


class CalibrationTiming(Model):
    """Everything that depends on the clock, in seconds. `rows` is keyed by node and label, `nodes` by node."""

    seconds: float = 0.0
    spent: Usage = NO_USAGE
    rows: dict[str, dict[str, list[float]]] = Field(default_factory=dict)
    nodes: dict[str, list[float]] = Field(default_factory=dict)


class Calibration(Model):
    """What each verifier buys at each node: the result of `sherlock.calibrate`.

    `scores` holds the score of each case without verifiers, by its id; `visits` how often each node runs in a run.
    """

    kind: Literal["calibration"] = "calibration"
    schema_version: Literal[1] = SCHEMA_VERSION
    fingerprint: str
    graph: dict[str, Any]
    settings: dict[str, Any]
    baseline: Estimate | None = None
    accuracy: Estimate | None = None
    scores: dict[str, float] = Field(default_factory=dict)
    rows: list[CalibrationRow] = Field(default_factory=list)
    categories: dict[str, str] = Field(default_factory=dict)
    node_usage: dict[str, TimelessUsage] = Field(default_factory=dict)
    visits: dict[str, float] = Field(default_factory=dict)
    skipped: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    trials: int = 0
    verifications: int = 0
    node_executions: int = 0
    usage: TimelessUsage = NO_USAGE
    partial: str | None = None
    forecast: Forecast | None = None
    timing: CalibrationTiming = CalibrationTiming()

    def row(self, node: str, label: str) -> CalibrationRow | None:
        """The row of a verifier at a node, by its label."""
        return next((row for row in self.rows if row.node == node and row.label == label), None)

    def latencies(self, node: str, label: str) -> list[float]:
        """The recorded seconds of each verification."""
        return self.timing.rows.get(node, {}).get(label, [])

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
            ArtefactError: there is no such file, or it is no calibration of a version that this library knows.
        """
        data = read_artefact(path, kind="calibration", version=SCHEMA_VERSION)
        try:
            loaded = cls.model_validate(data)
        except ValidationError as error:
            raise damaged(path, error) from error
        rows = [
            row.model_copy(update={"latency_s": latency(loaded.latencies(row.node, row.label))}) for row in loaded.rows
        ]
        return loaded.model_copy(update={"rows": rows})
