"""What a fault is, how one is drawn for a node, and when it really changed something.

The faults themselves are in `prompt_faults.py`, `context_faults.py` and `output_faults.py`.
"""

import inspect
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from sherlock.equivalence import json_equal, matches_reference, normalise
from sherlock.errors import InjectionError
from sherlock.lens import category_of, read_text, read_value, write_text, write_value
from sherlock.values import encode, shorten, text_of

Kind = Literal["prompt", "context", "output"]

KINDS: Final[tuple[Kind, ...]] = ("prompt", "context", "output")

TABLE_1: Final[dict[Kind, float]] = {"prompt": 0.2863, "context": 0.1868, "output": 0.5269}
"""How often each kind of failure is seen in practice, adding up to 1 (arXiv:2511.00330, Table 1).

Behavioural deviation, context loss, execution fault; failures of control flow and of verification are
left out and the rest is scaled up.
"""


@dataclass(frozen=True, slots=True)
class Raw:
    """A value that takes the place of an output uncast, so that a wrong type can be injected."""

    value: Any


Corrupted: TypeAlias = str | Raw | list[str]


@dataclass(frozen=True, slots=True)
class FaultContext:
    """What a fault may look at beside the text.

    `history`: what the node was given by the nodes before it, nearest last. `others`: what the same node
    put out in other cases. `prompts`: directives of other nodes. `raw`: the node's whole update, or None
    where it is unknown. `category`: the kind of content, found from the text where it is "".
    """

    history: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    raw: Any = None
    category: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which a node fails.

    `kind`: `prompt` corrupts the directive, `context` what the node was given, `output` what it put out.
    `weight`: the share within its kind. `apply(text, rng, ctx)` or `apply(text, rng)` returns the
    corrupted text, `Raw(value)` (for an output), the new history (for context), or None where the fault
    does not fit; `rng` is a `random.Random` and the only source of chance it may use.
    """

    name: str
    kind: Kind
    weight: float
    apply: Callable[..., Corrupted | None]
    _takes_context: bool = field(init=False, repr=False, compare=False, default=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_takes_context", callable(self.apply) and _takes_context(self.apply))

    def corrupt(self, text: str, rng: random.Random, ctx: FaultContext) -> Corrupted | None:
        """Apply the fault; None where it does not fit.

        Raises:
            InjectionError: `apply` raised, or returned something that its kind cannot use.
        """
        try:
            corrupted = self.apply(text, rng, ctx) if self._takes_context else self.apply(text, rng)
        except Exception as error:
            raise InjectionError(
                f"The fault {self.name!r} raised {type(error).__name__}: {error}; "
                "mend its apply, and let it return None where it does not fit"
            ) from error
        if corrupted is None or _is_usable(self.kind, corrupted):
            return corrupted
        wanted = "the new history, a list of strings" if self.kind == "context" else "a string"
        raise InjectionError(
            f"The fault {self.name!r} of kind {self.kind!r} returned {shorten(corrupted)}; "
            f"return {wanted}, or None where it does not fit"
        )


@dataclass(frozen=True, slots=True)
class Drawn:
    """A fault and what it made of the text (of the history, for a context fault)."""

    fault: Fault
    corrupted: Corrupted


def draw(
    faults: Iterable[Fault], kind: Kind, text: str, *, rng: random.Random, ctx: FaultContext, n: int
) -> list[Drawn]:
    """Draw up to `n` different faults of one kind, by weight and without replacement.

    Faults that do not fit, change nothing, or do what one drawn before did are passed over, so fewer than
    `n` come back when no more fit. The same faults, arguments and state of `rng` give the same draw.
    """
    pool = [fault for fault in faults if fault.kind == kind]
    drawn: list[Drawn] = []
    while pool and len(drawn) < n:
        fault = rng.choices(pool, [candidate.weight for candidate in pool])[0]
        pool.remove(fault)
        # a source of its own: how much chance one fault uses must not shift what the next one does
        own = random.Random(rng.getrandbits(64))
        corrupted = fault.corrupt(text, own, ctx)
        if corrupted is None or not is_change(kind, text, corrupted, ctx):
            continue
        if all(corrupted != earlier.corrupted for earlier in drawn):
            drawn.append(Drawn(fault, corrupted))
    return drawn


def is_change(kind: Kind, text: str, corrupted: Corrupted, ctx: FaultContext) -> bool:
    """Tell whether a corruption differs from the original in more than its form.

    Blank parts of the history do not count, nor does a number or JSON that is equal by value, nor white
    space, case or outer punctuation (`sherlock.equivalence`); an output is compared as it reads once it
    is written.
    """
    if isinstance(corrupted, list):
        return [part for part in corrupted if part.strip()] != [part for part in ctx.history if part.strip()]
    if isinstance(corrupted, Raw):
        if ctx.raw is None:
            return not matches_reference(text_of(encode(corrupted.value)), text)
        return not json_equal(encode(corrupted.value), encode(read_value(ctx.raw)))
    if kind == "prompt":
        return normalise(corrupted) != normalise(text)
    after = _as_written(corrupted, ctx)
    # what cannot be cast is not passed over here: its author is to hear of it when it is written
    return _differs(corrupted if after is None else after, text, ctx)


def fits_and_changes(text: str, corrupted: str | Raw, ctx: FaultContext) -> bool:
    """Tell whether an output's corruption can be written to the node's update, and then reads differently."""
    if isinstance(corrupted, Raw):
        return is_change("output", text, corrupted, ctx)
    after = _as_written(corrupted, ctx)
    return after is not None and _differs(after, text, ctx)


def corrupt_update(update: Any, corrupted: str | Raw, node: str = "") -> Any:
    """A copy of a node's update with a drawn output fault in it.

    Raises:
        InjectionError: The text cannot be cast to the type that stood there; the message names the node and
            the key.
    """
    if isinstance(corrupted, Raw):
        return write_value(update, corrupted.value, node=node)
    return write_text(update, corrupted, node=node)


def check_faults(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """The faults as a tuple, if they can be drawn from.

    Raises ------ InjectionError There are none, one is no `Fault`, has an unknown kind, a weight that is
    no positive number, an `apply` that cannot be called, or a name that another has too.
    """
    checked = tuple(faults)
    if not checked:
        raise InjectionError("There are no faults to draw from; leave faults= out to use sherlock.faults.PAPER")
    for fault in checked:
        problem = _problem(fault)
        if problem:
            raise InjectionError(problem)
    names = [fault.name for fault in checked]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InjectionError(f"Two faults are named {twice!r}; give each its own name, results are kept by it")
    return checked


def _problem(fault: Any) -> str:
    if not isinstance(fault, Fault):
        return f"{shorten(fault)} is no fault; make one with sherlock.faults.Fault(name, kind, weight, apply)"
    if not isinstance(fault.name, str) or not fault.name.strip():
        return f"The name {shorten(fault.name)} of a fault is no name; give it a string"
    if fault.kind not in KINDS:
        return f"The fault {fault.name!r} has kind {shorten(fault.kind)}; use 'prompt', 'context' or 'output'"
    number = isinstance(fault.weight, (int, float)) and not isinstance(fault.weight, bool)
    if not number or not math.isfinite(fault.weight) or fault.weight <= 0:
        return f"The fault {fault.name!r} has weight {shorten(fault.weight)}; give a positive number"
    apply: Any = fault.apply
    if not callable(apply):
        return f"The fault {fault.name!r} has {shorten(apply)} for apply; give a function of (text, rng, ctx)"
    return ""


def _takes_context(apply: Callable[..., Any]) -> bool:
    """Whether `apply` has a third argument for the context.

    A third one with a default is often a value bound in a lambda, so then only its name tells.
    """
    try:
        parameters: Sequence[inspect.Parameter] = tuple(inspect.signature(apply).parameters.values())
    except (ValueError, TypeError):
        return True
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 3:
        return False
    third = positional[2]
    return third.default is third.empty or third.name in ("ctx", "context")


def _is_usable(kind: Kind, corrupted: object) -> bool:
    if kind == "context":
        return isinstance(corrupted, list) and all(isinstance(part, str) for part in corrupted)
    return isinstance(corrupted, str) or (kind == "output" and isinstance(corrupted, Raw))


def _as_written(corrupted: str, ctx: FaultContext) -> str | None:
    """How a text reads once it is cast and written; None where it cannot be."""
    if ctx.raw is None:
        return corrupted
    try:
        return read_text(write_text(ctx.raw, corrupted))
    except InjectionError:
        return None


def _differs(after: str, before: str, ctx: FaultContext) -> bool:
    """Differs by the rules of its own category and by those of plain text."""
    category = ctx.category or category_of(before, ctx.raw)
    return not any(matches_reference(after, before, rules) for rules in (category, "instruction"))
