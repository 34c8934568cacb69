"""Execution faults: what a node puts out is wrong, in a way that fits the kind of content.

Each fault is a search: it yields corrupted outputs, likeliest first, and the first that can be written to
the node's update and really changes it is taken (`first_fit`). Where the output is JSON the edit is made
in one of its leaves.
"""

import json
import random
import re
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from sherlock.analysis import entities, wording
from sherlock.analysis.fault_model import FaultContext, Raw, fits_and_changes
from sherlock.analysis.json_edits import leaves, places, put, shuffled, without
from sherlock.equivalence import NOT_JSON, json_container, parse_number
from sherlock.lens import category_of, read_value, written
from sherlock.messages import is_messages
from sherlock.values import dump, encode

Candidates = Callable[[str, random.Random, FaultContext], Iterator[str | Raw]]
Edit = Callable[[str, random.Random], Iterator[str]]


def first_fit(find: Candidates) -> Callable[[str, random.Random, FaultContext], str | Raw | None]:
    """Make a fault of a search: the first candidate that fits the update and changes the value, or None."""

    def apply(text: str, rng: random.Random, ctx: FaultContext) -> str | Raw | None:
        if ctx.raw is None and not text:
            return None
        for candidate in islice(find(text, rng, ctx), _TRIES):
            if fits_and_changes(text, candidate, ctx):
                return candidate
        return None

    apply.__doc__ = find.__doc__
    return apply


def off_by_one(text: str, rng: random.Random, _ctx: FaultContext) -> Iterator[str | Raw]:
    """A number one too large or too small: a miscounted list, a fence-post error."""
    yield from _in_place(text, rng, wording.off_by_one)


def digits_swapped(text: str, rng: random.Random, _ctx: FaultContext) -> Iterator[str | Raw]:
    """Two digits of a number the wrong way round: a slip in copying or in carrying."""
    yield from _in_place(text, rng, wording.digits_swapped)


def sign_flipped(text: str, rng: random.Random, _ctx: FaultContext) -> Iterator[str | Raw]:
    """A number with the opposite sign: a difference taken the wrong way, a credit booked as a debit."""
    yield from _in_place(text, rng, wording.sign_flipped)


def unit_changed(text: str, rng: random.Random, _ctx: FaultContext) -> Iterator[str | Raw]:
    """A number in the wrong unit: dollars for cents, hours for minutes, a factor of ten or a thousand."""
    yield from _in_place(text, rng, wording.unit_changed)


def wrong_entity(text: str, rng: random.Random, ctx: FaultContext) -> Iterator[str | Raw]:
    """The right form with the wrong name, colour, day or quotation in it: a confusion, a hallucinated name."""
    elsewhere = [entity for other in ctx.others for entity in entities.entities(other)]
    yield from _in_place(text, rng, lambda part, own: entities.swapped(part, own, elsewhere))


def negated(text: str, rng: random.Random, ctx: FaultContext) -> Iterator[str | Raw]:
    """The opposite said: a misjudged yes or no, a `not` overlooked."""

    def edit(part: str, own: random.Random) -> Iterator[str]:
        if _is_code(part, ctx):
            yield from _code_negations(part, own)
            return
        yield from wording.negations(part, own)
        if len(part.split()) >= 3 and "=" not in part:
            yield f"It is not the case that: {part}"

    yield from _in_place(text, rng, edit)


def contradictory(text: str, rng: random.Random, ctx: FaultContext) -> Iterator[str | Raw]:
    """A statement taken back further on: a model that contradicts itself."""

    def edit(part: str, own: random.Random) -> Iterator[str]:
        if len(part.split()) < 3 or _is_code(part, ctx):
            return
        stop = "" if part.rstrip().endswith((".", "!", "?")) else "."
        sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s+", part.strip()) if sentence]
        for sentence in own.sample(sentences, len(sentences)):
            for opposite in islice([*wording.negations(sentence, own), *wording.off_by_one(sentence, own)], 1):
                yield f"{part}{stop} On second thoughts: {opposite}"
        yield f"{part}{stop} On second thoughts, none of this is so."

    yield from _in_place(text, rng, edit)


def other_case(_text: str, rng: random.Random, ctx: FaultContext) -> Iterator[str | Raw]:
    """What the node put out in another case: a stale cache, answers mixed up between requests."""
    yield from rng.sample(ctx.others, len(ctx.others))


def empty(text: str, rng: random.Random, _ctx: FaultContext) -> Iterator[str | Raw]:
    """Nothing: a model that stops at once, a search without hits."""
    yield ""
    if json_container(text) is not NOT_JSON:
        yield "[]" if text.lstrip().startswith("[") else "{}"
    yield from _in_a_string(text, rng, "")


def truncated(text: str, rng: random.Random, _ctx: FaultContext) -> Iterator[str | Raw]:
    """Cut off in the middle: a token limit, a broken stream."""
    if parse_number(text) is not None:
        return
    yield from _cuts(text, rng)
    value = json_container(text)
    if isinstance(value, list) and len(value) > 1:
        yield dump(value[: rng.randrange(1, len(value))])
    yield from _in_place(text, rng, _cuts)


def malformed_json(text: str, rng: random.Random, ctx: FaultContext) -> Iterator[str | Raw]:
    """JSON that does not parse: a bracket short, single quotes, a comma too many, prose around it."""
    value = read_value(ctx.raw)
    if ctx.raw is None or isinstance(value, str) or is_messages(value):
        if json_container(text) is not NOT_JSON:
            yield from _broken(text, rng)
        return
    keys = written(ctx.raw)
    for key in rng.sample(list(keys), len(keys)):
        if not isinstance(encode(keys[key]), (dict, list)) or is_messages(keys[key]):
            continue
        for broken in _broken(dump(encode(keys[key])), rng):
            yield Raw(broken if len(keys) == 1 else {**keys, key: broken})


def missing_field(text: str, rng: random.Random, _ctx: FaultContext) -> Iterator[str | Raw]:
    """A field or an item left out: a schema that the model forgot half of."""
    value = json_container(text)
    if value is not NOT_JSON:
        for path, _ in shuffled(places(value), rng):
            yield dump(without(value, path))


def wrong_type(text: str, rng: random.Random, ctx: FaultContext) -> Iterator[str | Raw]:
    """A value of another type than what reads it expects: words for a number, a list for a name, null."""
    value = read_value(ctx.raw)
    if isinstance(value, (bool, int, float)):
        yield Raw(_wrongly_typed(encode(value), rng))
        return
    parsed = json_container(text)
    if parsed is NOT_JSON:
        return
    in_text = ctx.raw is None or isinstance(value, str) or is_messages(value)
    for path, old in shuffled(places(parsed), rng):
        wrong = _wrongly_typed(old, rng)
        try:
            yield dump(put(parsed, path, wrong)) if in_text else Raw(put(value, path, wrong))
        except LookupError:
            continue


def error_text(text: str, rng: random.Random, ctx: FaultContext) -> Iterator[str | Raw]:
    """An error message where a result should be: a tool that failed and said so in its output."""
    yield from _instead(text, rng, ctx, rng.choice(_ERRORS))


def refused(text: str, rng: random.Random, ctx: FaultContext) -> Iterator[str | Raw]:
    """A refusal: a model that takes a harmless task for a harmful or an impossible one."""
    yield from _instead(text, rng, ctx, rng.choice(_REFUSALS))


# enough to get past what cannot be cast, few enough that a huge JSON value does not hold up a draw
_TRIES = 40

_ERRORS = [
    "Error: the request timed out after 30 seconds.",
    "503 Service Unavailable: please try again later.",
    "Error: the tool returned no result (connection reset by peer).",
    "Internal error: rate limit exceeded.",
]
_REFUSALS = [
    "I'm sorry, but I'm not able to do that.",
    "I can't assist with this request.",
    "Unfortunately I am unable to help with this one.",
]


def _is_code(part: str, ctx: FaultContext) -> bool:
    return "code" in (ctx.category, category_of(part))


def _in_place(text: str, rng: random.Random, edit: Edit) -> Iterator[str]:
    """Edit the text; where it is JSON, one of its leaves, so that it stays JSON of the same shape."""
    value = json_container(text)
    if value is NOT_JSON:
        yield from edit(text, rng)
        return
    for path, leaf in shuffled(leaves(value), rng):
        for new in islice(_leaf_edits(leaf, rng, edit), 3):
            yield dump(put(value, path, new))


def _leaf_edits(leaf: Any, rng: random.Random, edit: Edit) -> Iterator[Any]:
    """Edits of a leaf that keep its type, a number or bool being edited as it is written."""
    if isinstance(leaf, str):
        yield from edit(leaf, rng)
    elif leaf is not None:
        for new in edit(json.dumps(leaf), rng):
            try:
                parsed = json.loads(new)
            except ValueError:
                continue
            if isinstance(parsed, bool) == isinstance(leaf, bool) and isinstance(parsed, (bool, int, float)):
                yield parsed


def _in_a_string(text: str, rng: random.Random, new: str) -> Iterator[str]:
    """Where the text is JSON, `new` in place of one of its strings."""
    value = json_container(text)
    if value is not NOT_JSON:
        for path, leaf in shuffled(leaves(value), rng):
            if isinstance(leaf, str):
                yield dump(put(value, path, new))


def _instead(text: str, rng: random.Random, ctx: FaultContext, message: str) -> Iterator[str | Raw]:
    yield message
    if len(written(ctx.raw)) == 1:
        yield dump({"error": message})
    yield from _in_a_string(text, rng, message)


def _cuts(text: str, rng: random.Random) -> Iterator[str]:
    """The text up to somewhere between a fifth and four fifths of it, tried three times."""
    if len(text.strip()) < 4:
        return
    for _ in range(3):
        cut = text[: max(1, int(len(text) * rng.uniform(0.2, 0.8)))].rstrip()
        if cut:
            yield cut


def _broken(text: str, rng: random.Random) -> Iterator[str]:
    """Texts that are nearly this JSON and do not parse."""
    whole = text.rstrip()
    ways = [
        whole[:-1],
        f"{whole[:-1]},{whole[-1]}",
        whole.replace('"', "'"),
        f"Here is the JSON: {whole}",
        whole[: max(1, len(whole) // 2)],
    ]
    for candidate in rng.sample(ways, len(ways)):
        try:
            json.loads(candidate)
        except (ValueError, RecursionError):
            yield candidate


def _wrongly_typed(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return "maybe"
    if isinstance(value, (int, float)):
        return rng.choice([f"about {value}", None])
    if isinstance(value, str):
        return rng.choice([[value], None, {"value": value}])
    if value is None:
        return "unknown"
    return dump(value)


def _code_negations(text: str, rng: random.Random) -> Iterator[str]:
    tokens = list(_CODE_TOKEN.finditer(text))
    for match in rng.sample(tokens, len(tokens)):
        yield text[: match.start()] + _CODE_OPPOSITES[match[0]] + text[match.end() :]


_CODE_OPPOSITES = {
    "==": "!=", "!=": "==", "<=": ">", ">=": "<", " < ": " >= ", " > ": " <= ", "True": "False", "False": "True",
    " and ": " or ", " or ": " and ", "if not ": "if ", "not in": "in",
}  # fmt: skip
_CODE_TOKEN = re.compile("|".join(map(re.escape, sorted(_CODE_OPPOSITES, key=len, reverse=True))))
