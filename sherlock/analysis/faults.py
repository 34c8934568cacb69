"""The fault model: which failures are injected, and how often each.

`PAPER` holds the three classes of failure of arXiv:2511.00330, section 5. The shares of the classes are
the paper's (`TABLE_1`); it does not split a class any further, so the weights within one are ours: wrong
content before wrong form before no answer at all.
"""

import random
import re
from collections.abc import Callable, Iterator

from sherlock.analysis import context_faults, output_faults, prompt_faults
from sherlock.analysis.fault_model import (
    KINDS,
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
    fits_and_changes,
    is_change,
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


def _prompt(weight: float, find: prompt_faults.Candidates) -> Fault:
    return Fault(_name(find), "prompt", weight, prompt_faults.first_change(find))


def _context(weight: float, apply: Callable[..., list[str] | None]) -> Fault:
    return Fault(_name(apply), "context", weight, apply)


def _output(weight: float, find: output_faults.Candidates) -> Fault:
    return Fault(_name(find), "output", weight, output_faults.first_fit(find))


def _name(function: Callable[..., object]) -> str:
    return str(getattr(function, "__name__", ""))


PAPER: tuple[Fault, ...] = (
    _prompt(0.25, prompt_faults.another_task),
    _prompt(0.25, prompt_faults.instruction_dropped),
    _prompt(0.30, prompt_faults.constraint_negated),
    _prompt(0.20, prompt_faults.role_swapped),
    _context(0.30, context_faults.history_gone),
    _context(0.30, context_faults.history_halved),
    _context(0.25, context_faults.nearest_kept),
    _context(0.15, context_faults.history_shuffled),
    # wrong content: 60 %
    _output(0.07, output_faults.off_by_one),
    _output(0.05, output_faults.digits_swapped),
    _output(0.04, output_faults.sign_flipped),
    _output(0.04, output_faults.unit_changed),
    _output(0.15, output_faults.wrong_entity),
    _output(0.10, output_faults.negated),
    _output(0.05, output_faults.contradictory),
    _output(0.10, output_faults.other_case),
    # wrong form: 24 %
    _output(0.08, output_faults.truncated),
    _output(0.06, output_faults.malformed_json),
    _output(0.06, output_faults.missing_field),
    _output(0.04, output_faults.wrong_type),
    # no answer: 16 %
    _output(0.06, output_faults.empty),
    _output(0.05, output_faults.error_text),
    _output(0.05, output_faults.refused),
)
"""The paper's fault model: four prompt, four context and fifteen output faults; weights add up to 1 in
each kind."""


def plausible(
    complete: Callable[[str], str], *, name: str = "plausible", weight: float = 1.0, attempts: int = 3
) -> Fault:
    """An output fault made by a model: a version of the output that is wrong but could pass for right.

    `complete` takes a prompt and returns the model's answer. An answer that cannot be written to the
    node's update, or that says what the original said, is thrown away and asked for again, `attempts`
    times at most; then the fault does not fit. The answer is the text between the tags it was asked for,
    else the whole reply.
    """

    def search(text: str, _rng: random.Random, _ctx: FaultContext) -> Iterator[str]:
        for attempt in range(attempts):
            again = _AGAIN.format(number=attempt + 1) if attempt else ""
            yield _answer(complete(_PLAUSIBLE.format(text=text, again=again)))

    def apply(text: str, rng: random.Random, ctx: FaultContext) -> str | None:
        if not text.strip():
            return None
        return next(
            (answer for answer in search(text, rng, ctx) if answer and fits_and_changes(text, answer, ctx)),
            None,
        )

    return Fault(name, "output", weight, apply)


_PLAUSIBLE = """\
Below is the output of one step of a program. Write a version of it that is wrong in exactly one fact, number or
decision, yet looks as right as the original: same language, same form, same length, and no hint that it is wrong.
If it is JSON, keep it valid JSON with the same fields. Write the changed version between <wrong> and </wrong>.{again}

<output>
{text}
</output>
"""
_AGAIN = " This is attempt {number}: the last version did not differ from the output or did not fit; change more."
_TAGGED = re.compile(r"(?s)<wrong>(.*?)(?:</wrong>|\Z)")


def _answer(reply: str) -> str:
    tagged = _TAGGED.findall(reply)
    return str(tagged[-1] if tagged else reply).strip()
