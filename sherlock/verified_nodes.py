"""Which nodes are to be verified, said in the code: the `verified` decorator, and finding what was said about a node.

Not called `verified.py`: a module of that name would hide the decorator `sherlock.verified` once it is imported.
"""

import dataclasses
import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from sherlock.callables import called_name, layers, steps
from sherlock.errors import PlanError, VerifierError

OnReject = Literal["correct", "retry", "flag", "raise"]
Category = Literal["instruction", "tool", "number", "json", "code", "maths"]

_MARK = "__sherlock_verified__"
_READS = "__sherlock_reads__"
_FIELDS = ("verifier", "on_reject", "category", "speculate", "reads")
_OTHERS = ("effects", "undo", "reconcile", "stub")
_Thing = TypeVar("_Thing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """What was said about a node: `verifier` is a name, `{"use": name, **settings}` or a verifier.

    `on_reject` says what becomes of a rejected output, `category` how outputs are compared (None: as their text tells),
    `speculate` whether work may go on before the verdict, and `reads` the state keys that the node reads (None: not
    said). Whether a verifier of that name is installed is not asked here.

    Raises `VerifierError` when `verifier` cannot be one, `PlanError` when anything else is malformed.
    """

    verifier: Any
    on_reject: OnReject = "correct"
    category: Category | None = None
    speculate: bool = True
    reads: frozenset[str] | None = None

    def __post_init__(self) -> None:
        _check_verifier(self.verifier)
        _one_of("on_reject", self.on_reject, get_args(OnReject))
        if self.category is not None:
            _one_of("category", self.category, get_args(Category))
        if not isinstance(self.speculate, bool):
            raise PlanError(f"speculate is {self.speculate!r:.60}: give True or False")


def verified(
    verifier: Any,
    *,
    on_reject: OnReject = "correct",
    category: Category | None = None,
    speculate: bool = True,
    reads: Iterable[str] | None = None,
) -> Callable[[_Thing], _Thing]:
    """Have `guard` verify what a node's function, callable class or runnable returns; it is marked, not wrapped.

    `verifier`: a name, `{"use": name, **settings}`, or a verifier. `on_reject`: `correct` puts the verifier's
    correction in, `retry` runs the node again, `flag` goes on and says so, `raise` raises `OutputRejected`. `category`:
    the kind of the output, which decides when a correction says the same. `speculate=False` waits for every verdict
    here. `reads`: the state keys that the node reads, taken at its word.

    Raises `VerifierError` and `PlanError` as `Marked` does, and `PlanError` for what cannot be marked. A name is looked
    up by `guard`, which raises `VerifierNotFound`.
    """
    said = Marked(
        verifier=verifier, on_reject=on_reject, category=category, speculate=speculate, reads=_state_keys(reads)
    )

    def mark(thing: _Thing) -> _Thing:
        try:
            setattr(thing, _MARK, said)
            if said.reads is not None:
                setattr(thing, _READS, said.reads)
        except (AttributeError, TypeError, ValueError) as error:
            raise PlanError(
                f"a {type(thing).__name__} cannot be marked: give its node "
                "metadata={'sherlock': {'verifier': ...}} instead"
            ) from error
        return thing

    return mark


def placement_of(node: Any) -> Marked | None:
    """What was said about a node (LangGraph's `PregelNode` or node spec); None when it names no verifier.

    A field in `metadata={"sherlock": {...}}` comes before that of the mark. Of a sequence the mark of the last step
    counts, for its output is the node's; but its `reads` do not, for it is not given the state.

    Raises `PlanError` for a malformed field, one that does not exist, and for a mark on a part whose output is not the
    node's; `VerifierError` when `verifier` cannot be one.
    """
    metadata = getattr(node, "metadata", None)
    said = metadata.get("sherlock") if isinstance(metadata, Mapping) else None
    fields = _checked(said) if isinstance(said, Mapping) else {}
    mark = _of_runnable(getattr(node, "bound", None) or getattr(node, "runnable", None))
    if mark is not None:
        return dataclasses.replace(mark, **fields)
    return Marked(**fields) if "verifier" in fields else None


def _of_runnable(runnable: Any) -> Marked | None:
    for layer in layers(runnable):
        mark = getattr(layer, _MARK, None)
        if isinstance(mark, Marked):
            return mark
        if parts := steps(layer):
            return _of_parts(layer, parts)
    return None


def _of_parts(whole: Any, parts: list[object]) -> Marked | None:
    in_sequence = isinstance(getattr(whole, "steps", None), list | tuple)
    inner = parts[:-1] if in_sequence else parts
    for part in inner:
        if _of_runnable(part) is not None:
            raise PlanError(
                f"{called_name(part)!r} is marked to be verified, but what it returns is not what its node returns: "
                "add it to the graph as a node of its own, or mark the last step"
            )
    last = _of_runnable(parts[-1]) if in_sequence else None
    return dataclasses.replace(last, reads=None) if last is not None else None


def _checked(said: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are given. A misspelt one would leave a node unverified without a word."""
    for name in said:
        if name not in (*_FIELDS, *_OTHERS):
            near = difflib.get_close_matches(str(name), (*_FIELDS, *_OTHERS), n=1, cutoff=0.0)[0]
            raise PlanError(f"a node's metadata have {name!r} under 'sherlock', which says nothing: is it {near!r}?")
    fields = {name: said[name] for name in _FIELDS if said.get(name) is not None}
    return {**fields, "reads": _state_keys(fields["reads"])} if "reads" in fields else fields


def _check_verifier(verifier: Any) -> None:
    if isinstance(verifier, str):
        named = bool(verifier)
    elif isinstance(verifier, Mapping):
        named = isinstance(verifier.get("use"), str)
    else:
        named = isinstance(getattr(verifier, "name", None), str) and callable(getattr(verifier, "verify", None))
    if not named or isinstance(verifier, type):
        raise VerifierError(
            f'{verifier!r:.80} is no verifier: give a name, {{"use": name, ...settings}}, or an object with a `name` '
            "and an async method `verify(subject)`"
        )


def _one_of(field: str, value: Any, known: Collection[str]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1, cutoff=0.0)[0]
        raise PlanError(f"{field} is {value!r:.60}: use one of {', '.join(known)} ({near!r}?)")


def _state_keys(reads: Any) -> frozenset[str] | None:
    if reads is None:
        return None
    if isinstance(reads, str) or not isinstance(reads, Iterable):
        raise PlanError(f"reads is {reads!r:.60}: give a list of state keys")
    keys = frozenset(reads)
    if not all(isinstance(key, str) for key in keys):
        raise PlanError(f"reads is {sorted(map(str, keys))!r:.80}: every state key must be a string")
    return keys
