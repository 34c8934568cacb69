"""`plan.yaml`: which verifier is attached to which node, what that is expected to do, and what was not taken.

The file is meant to be read and edited. Reading it runs no code, and a slip of the hand is an error with its line.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, PrivateAttr
from typing_extensions import TypedDict

from sherlock.errors import PlanError, PlanMismatch, VerifierError, VerifierNotFound
from sherlock.estimate import Estimate
from sherlock.graph import WorkflowGraph, difference
from sherlock.placement.slo import SLO, Objective
from sherlock.usage import Energy

SCHEMA_VERSION: Final = 1

Basis = Literal["measured jointly", "modelled", "screened only"]
Category = Literal["instruction", "tool", "number", "json", "code", "maths"]
OnReject = Literal["correct", "retry", "flag", "raise"]


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _rounded_interval(interval: Any) -> Any:
    figures = {name: _rounded(getattr(interval, name)) for name in ("value", "low", "high")}
    return dataclasses.replace(interval, **figures)


Figure = Annotated[float, AfterValidator(_rounded)]
"""A figure to read: four significant digits."""
Range = Annotated[Estimate, AfterValidator(_rounded_interval)]
WattHours = Annotated[Energy, AfterValidator(_rounded_interval)]


class Model(BaseModel):
    """Frozen data with no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class PolicyFields(TypedDict, total=False):
    """How the plan is run; what is left out has the runtime's default."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    mode: Literal["speculate", "blocking", "auto"]
    budget: float | None
    max_depth: int
    max_rollbacks: int
    on_limit: Literal["raise", "flag"]
    verifier_timeout_s: float
    max_verifiers_in_flight: int
    on_failure: Literal["closed", "open"]
    stream: Literal["hold", "mark"]


class PlacementFigures(Model):
    """What one verifier does by itself, per run: means, from the calibration."""

    gain: Range | None = None
    match_rate: Figure | None = None
    usd: Figure | None = None
    wh: WattHours | None = None
    latency_s: Figure | None = None
    tokens: Figure | None = None
    calls: Figure | None = None


class Placement(Model):
    """A verifier at a node. `settings` are the verifier's own; `on_reject` says what becomes of a rejected output."""

    verifier: str = Field(min_length=1)
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    category: Category | None = None
    on_reject: OnReject = "correct"
    why: str | None = None
    expected: PlacementFigures | None = None

    _instance: Any = PrivateAttr(default=None)

    @property
    def spec(self) -> Any:
        """What `make_verifier` takes: the instance that was attached, or the name with its settings."""
        return {"use": self.verifier, **self.settings} if self._instance is None else self._instance


class Seconds(Model):
    """A latency over runs, in seconds."""

    mean: Figure
    p50: Figure
    p95: Figure
    p99: Figure


class Expectation(Model):
    """What the plan is expected to do to a run, and how that is known. What is None is not known.

    `score`: the mean final score; `gain`: what of it the plan brings. `usd`, `wh`, `tokens`, `calls`: what verification
    adds. `latency_s`: until the last verdict; `execution_s`: until the last node ends; `blocking_s`: if every node
    waited for the verdict on the one before.
    """

    basis: Basis
    score: Range | None = None
    gain: Range | None = None
    usd: Figure | None = None
    wh: WattHours | None = None
    tokens: Figure | None = None
    calls: Figure | None = None
    latency_s: Seconds | None = None
    execution_s: Seconds | None = None
    blocking_s: Seconds | None = None


class Rejected(Model):
    """A verifier that was not taken for a node, and why."""

    node: str
    verifier: str
    why: str


class NodeFigures(Model):
    """What one execution of a node takes: means, for the runtime to weigh speculation by."""

    latency_s: Figure | None = None
    usd: Figure | None = None


class Plan(Model):
    """Which verifier is attached to which node: the result of `sherlock.plan`, or of `Plan.attach`.

    `fingerprint` and `graph` say which graph it was made for; None where nobody said.
    """

    placements: dict[str, Placement] = Field(default_factory=dict)
    expectation: Expectation | None = None
    objective: Objective = "accuracy"
    slo: SLO = SLO()
    policy: PolicyFields = Field(default_factory=PolicyFields)
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    kind: Literal["plan"] = "plan"
    schema_version: Literal[1] = SCHEMA_VERSION
    fingerprint: str | None = None
    nodes: dict[str, NodeFigures] = Field(default_factory=dict)
    graph: dict[str, Any] | None = None

    @classmethod
    def attach(cls, placements: Mapping[str, Any], *, policy: Any = None) -> Self:
        """A plan by hand: {node: name | verifier | {"use": name, **settings}}.

        In a mapping `on_reject` may stand beside the settings. `policy`: a mapping of policy fields, or a `Policy`.

        Raises:
            VerifierNotFound: no verifier of that name is installed.
            VerifierError: what stands for a verifier is none.
            PlanError: a placement or the policy is malformed.
        """
        made = {str(node): _attached(str(node), spec) for node, spec in placements.items()}
        fields = dataclasses.asdict(policy) if dataclasses.is_dataclass(policy) else policy  # type: ignore[arg-type]
        from pydantic import ValidationError

        try:
            return cls.model_validate({"policy": dict(fields or {})}).model_copy(update={"placements": made})
        except ValidationError as error:
            first = error.errors()[0]
            raise PlanError(f"the policy is wrong at {first['loc'][-1]!r}: {first['msg'].lower()}") from error

    def check(self, workflow: Any) -> None:
        """Raise `PlanMismatch`, naming the difference, unless the plan is for this graph.

        `workflow`: a `WorkflowGraph`, or a graph that one can be read from. A plan that does not say which graph it is
        for must only place on nodes that there are.
        """
        graph = workflow if isinstance(workflow, WorkflowGraph) else WorkflowGraph.of(workflow)
        if self.fingerprint is not None and self.fingerprint != graph.fingerprint:
            said = difference(WorkflowGraph.from_description(self.graph), graph) if self.graph else ""
            raise PlanMismatch(
                f"the plan is for another graph: {said or 'its fingerprint differs'}; plan again, or mend the graph"
            )
        from sherlock.placement.plan_file import no_such_node

        for node in self.placements:
            if node not in graph.nodes or node in graph.handlers:
                raise PlanMismatch(f"the plan places {self.placements[node].verifier!r} on {no_such_node(node, graph)}")

    def to_yaml(self) -> str:
        """The text of the file. Raises `PlanError` for a verifier that was not made from a name."""
        from sherlock.placement.plan_file import text_of

        return text_of(self._saveable())

    def save(self, path: str | Path) -> None:
        """Write the plan. The file is whole or not there: it is renamed into place."""
        from sherlock.placement.plan_file import save

        save(self.to_yaml(), Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a plan that was saved, written or edited by hand; no code is run.

        Raises `PlanError` that names line and key: of a typo, a wrong type, a node placed twice or that the plan's
        graph has not got, a verifier that is not installed.
        """
        from sherlock.placement.plan_file import load

        return load(cls, Path(path))

    def _saveable(self) -> Self:
        """The plan with every instance replaced by the name and settings that it was made from."""
        from sherlock.registry import settings_of

        made = {}
        for node, placement in self.placements.items():
            made[node] = placement
            if placement._instance is None:  # noqa: SLF001  (its own class, one level down)
                continue
            try:
                spec = settings_of(placement._instance)  # noqa: SLF001
            except VerifierError as error:
                raise PlanError(f"the plan cannot be saved, because of node {node!r}: {error}") from error
            made[node] = placement.model_copy(update={"verifier": spec.pop("use"), "settings": spec})
        return self.model_copy(update={"placements": made})


def _attached(node: str, spec: Any) -> Placement:
    """One placement of `Plan.attach`."""
    from pydantic import ValidationError

    from sherlock.placement.plan_file import nearest
    from sherlock.registry import make_verifier, verifiers

    if not isinstance(spec, str | Mapping):
        verifier = make_verifier(spec)
        placement = Placement(verifier=verifier.name)
        placement._instance = verifier  # noqa: SLF001
        return placement
    given: dict[str, Any] = {"use": spec} if isinstance(spec, str) else dict(spec)
    name, on_reject = given.pop("use", None), given.pop("on_reject", "correct")
    if not isinstance(name, str):
        raise PlanError(f'node {node!r} has {spec!r:.80}, which names no verifier; write it as {{"use": name, ...}}')
    if name not in verifiers():
        raise VerifierNotFound(f"there is no verifier {name!r} for node {node!r}{nearest(name, verifiers())}")
    try:
        return Placement(verifier=name, settings=given, on_reject=on_reject)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise PlanError(f"the placement at node {node!r} is wrong at {place}: {first['msg'].lower()}") from error
