"""The verifier `advanced-refine`: a larger model criticises the answer and rewrites it."""

from dataclasses import dataclass
from typing import ClassVar

from sherlock.errors import VerifierError
from sherlock_verifiers.self_refine import SelfRefine


@dataclass(frozen=True, kw_only=True)
class AdvancedRefine(SelfRefine):
    """`self-refine` by another model, which must be named: `model`.

    Calls: at most `rounds`, and one for each answer that must be repaired.
    """

    name: ClassVar[str] = "advanced-refine"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None:
            raise VerifierError("no model is named: give the setting `model` the larger model that refines")
