"""The fault model, for users: `PAPER`, and what one's own faults are made of."""

from sherlock.analysis.faults import (
    KINDS,
    PAPER,
    TABLE_1,
    Corrupted,
    Drawn,
    Fault,
    FaultContext,
    Kind,
    Raw,
    check_faults,
    corrupt_update,
    draw,
    is_change,
    plausible,
)

__all__ = [
    "KINDS",
    "PAPER",
    "TABLE_1",
    "Corrupted",
    "Drawn",
    "Fault",
    "FaultContext",
    "Kind",
    "Raw",
    "check_faults",
    "corrupt_update",
    "draw",
    "is_change",
    "plausible",
]
