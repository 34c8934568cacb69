"""Sherlock finds the steps of a LangGraph agent that matter, checks those, and does not wait for the check.

Names are loaded when they are first used, so `import sherlock` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sherlock.analysis.analyze import Progress as Progress
    from sherlock.analysis.analyze import aanalyze as aanalyze
    from sherlock.analysis.artefact import Analysis as Analysis
    from sherlock.analysis.calibrate import acalibrate as acalibrate
    from sherlock.analysis.calibration import Calibration as Calibration
    from sherlock.analysis.fault_model import Fault as Fault
    from sherlock.analysis.fault_model import Raw as Raw
    from sherlock.calls import analyze as analyze
    from sherlock.calls import calibrate as calibrate
    from sherlock.calls import plan as plan
    from sherlock.calls import validate as validate
    from sherlock.cases import Case as Case
    from sherlock.estimate import Estimate as Estimate
    from sherlock.graph import WorkflowGraph as WorkflowGraph
    from sherlock.placement.plan import Plan as Plan
    from sherlock.placement.planning import aplan as aplan
    from sherlock.placement.slo import SLO as SLO
    from sherlock.registry import make_verifier as make_verifier
    from sherlock.registry import verifiers as verifiers
    from sherlock.runtime.effects import effect_key as effect_key
    from sherlock.runtime.events import Committed as Committed
    from sherlock.runtime.events import RolledBack as RolledBack
    from sherlock.runtime.events import RunFinished as RunFinished
    from sherlock.runtime.events import RunReport as RunReport
    from sherlock.runtime.events import VerdictReached as VerdictReached
    from sherlock.runtime.events import VerificationStarted as VerificationStarted
    from sherlock.runtime.events import VerifierFailed as VerifierFailed
    from sherlock.runtime.guard import GuardedGraph as GuardedGraph
    from sherlock.runtime.guard import guard as guard
    from sherlock.runtime.policy import Policy as Policy
    from sherlock.runtime.validate import ValidationProgress as ValidationProgress
    from sherlock.runtime.validate import avalidate as avalidate
    from sherlock.runtime.validation import Validation as Validation
    from sherlock.side_effects import effects as effects
    from sherlock.usage import Energy as Energy
    from sherlock.usage import Limits as Limits
    from sherlock.usage import Usage as Usage
    from sherlock.verified_nodes import verified as verified
    from sherlock.verifier import Subject as Subject
    from sherlock.verifier import Verdict as Verdict
    from sherlock.verifier import Verifier as Verifier
    from sherlock.verifier import VerifierFailure as VerifierFailure
    from sherlock.verifier import run_verifier as run_verifier

__version__ = "0.1.0"

_HOME = {
    "Analysis": "sherlock.analysis.artefact",
    "Case": "sherlock.cases",
    "Energy": "sherlock.usage",
    "Estimate": "sherlock.estimate",
    "Fault": "sherlock.analysis.fault_model",
    "Limits": "sherlock.usage",
    "Plan": "sherlock.placement.plan",
    "SLO": "sherlock.placement.slo",
    "aplan": "sherlock.placement.planning",
    "plan": "sherlock.calls",
    "Progress": "sherlock.analysis.analyze",
    "Raw": "sherlock.analysis.fault_model",
    "Usage": "sherlock.usage",
    "WorkflowGraph": "sherlock.graph",
    "Calibration": "sherlock.analysis.calibration",
    "Subject": "sherlock.verifier",
    "Verdict": "sherlock.verifier",
    "Verifier": "sherlock.verifier",
    "VerifierFailure": "sherlock.verifier",
    "make_verifier": "sherlock.registry",
    "run_verifier": "sherlock.verifier",
    "verifiers": "sherlock.registry",
    "aanalyze": "sherlock.analysis.analyze",
    "acalibrate": "sherlock.analysis.calibrate",
    "calibrate": "sherlock.calls",
    "analyze": "sherlock.calls",
    "effects": "sherlock.side_effects",
    "verified": "sherlock.verified_nodes",
    "Policy": "sherlock.runtime.policy",
    "guard": "sherlock.runtime.guard",
    "GuardedGraph": "sherlock.runtime.guard",
    "effect_key": "sherlock.runtime.effects",
    "validate": "sherlock.calls",
    "avalidate": "sherlock.runtime.validate",
    "ValidationProgress": "sherlock.runtime.validate",
    "Validation": "sherlock.runtime.validation",
    **dict.fromkeys(
        (
            *("VerificationStarted", "VerdictReached", "VerifierFailed", "Committed", "RolledBack", "RunFinished"),
            "RunReport",
        ),
        "sherlock.runtime.events",
    ),
}
_ERRORS = (
    *("SherlockError", "ArtefactError", "GraphError", "CasesError", "InjectionError", "StoreError", "ModelError"),
    *("MissingRecording", "LimitReached", "PlanError", "PlanMismatch", "VerifierError", "VerifierNotFound"),
    "OutputRejected",
    *("SpeculationError", "RollbackLimit", "NotRevertible"),
)
_MODULES = ("errors", "faults", "models")

__all__ = [*sorted(_HOME), *sorted(_ERRORS)]  # noqa: PLE0604  (names, all of them)


def __getattr__(name: str) -> Any:
    if name in _HOME or name in _ERRORS:
        value = getattr(importlib.import_module(_HOME.get(name, "sherlock.errors")), name)
    elif name in _MODULES:
        value = importlib.import_module(f"sherlock.{name}")
    else:
        raise AttributeError(f"module 'sherlock' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])
