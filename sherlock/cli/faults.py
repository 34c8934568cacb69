"""`sherlock faults`: the fault model, or a user's own."""

import inspect
import json
import random
from collections.abc import Sequence
from typing import Any

from sherlock.analysis.faults import KINDS, PAPER, TABLE_1, Fault, FaultContext, check_faults
from sherlock.cli import console
from sherlock.cli.settings import SettingsError


def load_faults(reference: str | None) -> tuple[Fault, ...]:
    """The paper's faults, or those that `module:attr` or `file.py:attr` names.

    Raises `CasesError` where there is no such list, `InjectionError` where something in it is no fault.
    """
    if reference is None:
        return PAPER
    from sherlock.loading import load_object

    found = load_object(reference, what="list of faults")
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise SettingsError(f"{reference} is a {type(found).__name__}: make it a list of sherlock.Fault")
    return check_faults(found)


def show(*, kind: str | None, reference: str | None, text: str | None, seed: int, as_json: bool) -> None:
    """Print the faults, or what they do to `text`."""
    if kind is not None and kind not in KINDS:
        raise SettingsError(f"--kind {kind}: say {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    faults = load_faults(reference)
    rows = [_row(fault, faults, text, seed) for fault in faults if kind in (None, fault.kind)]
    if as_json:
        console.print_json(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    from sherlock.report.terminal_lists import print_faults

    print_faults(rows, console.for_results(), tried=text)


def _row(fault: Fault, faults: Sequence[Fault], text: str | None, seed: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": fault.name,
        "kind": fault.kind,
        "share": round(share(fault, faults), 4),
        "stands_for": stands_for(fault),
    }
    if text is not None:
        row["result"] = tried(fault, text, seed)
    return row


def share(fault: Fault, faults: Sequence[Fault]) -> float:
    """The share of a fault among all injections, if every fault fits."""
    kinds = {other.kind for other in faults}
    within = sum(other.weight for other in faults if other.kind == fault.kind)
    return TABLE_1[fault.kind] / sum(TABLE_1[kind] for kind in kinds) * fault.weight / within


def stands_for(fault: Fault) -> str:
    """The first line of what its function says about it."""
    return (inspect.getdoc(fault.apply) or "").partition("\n")[0]


def tried(fault: Fault, text: str, seed: int) -> str | None:
    """What the fault makes of a text; None where it does not fit. Context faults take the text's lines as history."""
    lines = text.splitlines() or [text]
    context = FaultContext(history=lines, others=[], prompts=[], raw=text)
    made = fault.corrupt(text, random.Random(seed), context)
    if made is None or isinstance(made, str):
        return made
    if isinstance(made, list):
        return "\n".join(made)
    return repr(made.value)
