"""Behavioural deviation: a node works under another directive than it was given.

The text is the node's directive. None of these fits a node without one.
"""

import random
import re
from collections.abc import Callable, Iterator

from sherlock.analysis.fault_model import FaultContext
from sherlock.analysis.wording import flips
from sherlock.equivalence import normalise

Candidates = Callable[[str, random.Random, FaultContext], Iterator[str]]


def another_task(_text: str, rng: random.Random, ctx: FaultContext) -> Iterator[str]:
    """The directive of another task: a router or a template that mixed up two nodes."""
    yield from rng.sample(ctx.prompts, len(ctx.prompts))
    yield from rng.sample(_TASKS, len(_TASKS))


def instruction_dropped(_text: str, _rng: random.Random, _ctx: FaultContext) -> Iterator[str]:
    """No directive at all: a system prompt that was lost, or that the model ignored."""
    yield ""


def constraint_negated(text: str, rng: random.Random, _ctx: FaultContext) -> Iterator[str]:
    """One constraint turned round: a model that misreads a rule, a limit or a format."""
    edits = [*flips(text, rng, _CONSTRAINTS), *_limits_raised(text)]
    yield from rng.sample(edits, len(edits))


def role_swapped(text: str, rng: random.Random, _ctx: FaultContext) -> Iterator[str]:
    """Another role than the one assigned, or one where none was: a model that falls out of its role."""
    roles = rng.sample(_ROLES, len(_ROLES))
    stated = _ROLE.search(text)
    for role in roles:
        if stated is None:
            yield f"You are {role}. {text}"
        else:
            yield f"{text[: stated.start('role')]}{role}{text[stated.end('role') :]}"


def first_change(find: Candidates) -> Callable[[str, random.Random, FaultContext], str | None]:
    """Make a fault of a search: the first candidate that differs from the directive, or None."""

    def apply(text: str, rng: random.Random, ctx: FaultContext) -> str | None:
        if not text.strip():
            return None
        return next((new for new in find(text, rng, ctx) if normalise(new) != normalise(text)), None)

    apply.__doc__ = find.__doc__
    return apply


def _limits_raised(text: str) -> Iterator[str]:
    """Ten times the number of words, sentences or items that is asked for."""
    for match in _LIMIT.finditer(text):
        yield f"{text[: match.end('number')]}0{text[match.end('number') :]}"


_LIMIT = re.compile(
    r"(?i)\b(?P<number>[1-9]\d{0,4})[ -]"
    r"(?:words?|sentences?|lines?|characters?|digits?|items?|steps?|points?|bullets?)\b"
)
_ROLE = re.compile(r"(?i)\byou(?:'re| are)\s+(?:now\s+)?(?P<role>(?:an?|the)\s+[^.,;:\n]+)")

_ROLES = [
    "a poet who answers every message with a short verse",
    "a stern examiner who answers only with questions",
    "a tour guide for the old town of Bruges",
    "a sports commentator in the last minute of a match",
    "a lawyer who commits to nothing",
]

_TASKS = [
    "Translate the text into French. Reply with the translation only.",
    "Count the vowels in the text and reply with that number.",
    "Write a cheerful advertisement of two sentences for a garden shop.",
    "Summarise the text in five words.",
    "Decide whether the text is about animals. Answer yes or no.",
    "List three books that someone who likes this text may enjoy.",
]

_CONSTRAINTS = {
    "must not": "must",
    "must": "must not",
    "should not": "should",
    "should": "should not",
    "do not": "do",
    "don't": "do",
    "never": "always",
    "always": "never",
    "not only": "only",
    "only": "not only",
    "at most": "at least",
    "at least": "at most",
    "no more than": "more than",
    "no fewer than": "fewer than",
    "no less than": "less than",
    "exactly": "anything but",
    "without": "with",
    "required": "forbidden",
    "forbidden": "required",
    "not allowed": "allowed",
    "allowed": "not allowed",
    "avoid": "prefer",
    "include": "leave out",
    "exclude": "include",
    "ignore": "pay attention to",
    "briefly": "at great length",
    "concise": "long-winded",
    "short": "long",
    "in one word": "in a long paragraph",
    "one word": "one long paragraph",
    "in one sentence": "in several paragraphs",
    "one sentence": "several paragraphs",
    "yes or no": "neither yes nor no",
    "lower case": "upper case",
    "upper case": "lower case",
    "lowercase": "uppercase",
    "uppercase": "lowercase",
    "ascending": "descending",
    "descending": "ascending",
    "first": "last",
    "before": "after",
    "all": "none of",
    "every": "no",
    "each": "no",
    "valid JSON": "plain prose, no JSON",
    "JSON": "plain prose",
    "Markdown": "plain text without Markdown",
    "English": "German",
    "a number": "words, without any number",
    "the number": "words, without the number",
    "integer": "fraction",
}
