"""The error tree. A message says what was wrong, with which value, and what to do.

SherlockError
├── GraphError            the graph cannot be read, loaded or replayed
├── CasesError            a case, its file, or its scorer is wrong
├── InjectionError        a fault or a replacement text does not fit its node
├── StoreError            the trial store cannot be used for this analysis
├── ModelError            a model server is missing, unreachable or misconfigured
│   └── MissingRecording  a call that replay had no answer for
├── LimitReached          a limit in dollars, tokens, calls or seconds
├── PlanError             a plan is malformed
│   └── PlanMismatch      a plan is for another graph
├── VerifierError         a verifier failed and the policy fails closed
│   └── VerifierNotFound  no verifier of that name
├── OutputRejected        a verifier rejected an output whose rejection is to be raised
└── SpeculationError      the runtime could not keep its promise
    ├── RollbackLimit     too many rollbacks in one run
    └── NotRevertible     an effect that cannot be undone
"""

from typing import Any


class SherlockError(Exception):
    """The root of everything that this library raises on purpose."""


class GraphError(SherlockError):
    """The graph cannot be read, loaded or replayed."""


class CasesError(SherlockError):
    """A case, its file, or its scorer is wrong."""


class InjectionError(SherlockError):
    """A fault or a replacement text does not fit its node."""


class ArtefactError(SherlockError):
    """A saved artefact cannot be read: damaged, of an unknown version, or of another kind."""


class StoreError(SherlockError):
    """The trial store cannot be used for this analysis."""


class ModelError(SherlockError):
    """A model server is missing, unreachable or misconfigured."""


class MissingRecording(ModelError):
    """A model call that replay had no recorded answer for."""


class LimitReached(SherlockError):
    """A limit in dollars, tokens, calls or seconds was reached."""


class PlanError(SherlockError):
    """A plan is malformed."""


class PlanMismatch(PlanError):
    """A plan is for another graph."""


class VerifierError(SherlockError):
    """A verifier failed and the policy fails closed."""


class VerifierNotFound(VerifierError):
    """No verifier of that name is installed."""


class OutputRejected(SherlockError):
    """A verifier rejected an output, and `on_reject` is `raise`; what is None was not told."""

    def __init__(
        self, message: str, *, node: str | None = None, rationale: str | None = None, verdict: Any = None
    ) -> None:
        super().__init__(message)
        self.node = node
        self.rationale = rationale
        self.verdict = verdict


class SpeculationError(SherlockError):
    """The runtime could not keep its promise."""


class RollbackLimit(SpeculationError):
    """Too many rollbacks in one run."""


class NotRevertible(SpeculationError):
    """An effect that cannot be undone."""
