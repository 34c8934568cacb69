"""Prompts as data files: Markdown whose headings `# system`, `# user` and `# assistant` are the turns.

What stands above the first heading is a note to readers. `{{name}}` is replaced by a value; values are put in once, so
that nothing in them is taken for a heading or a placeholder.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from sherlock.errors import VerifierError

VERSION = "v1"
"""Of the prompts that are used by default; a changed wording is a new file with a new version."""

_HEADING = re.compile(r"^# (system|user|assistant)[ \t]*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """Turns of role and text, with placeholders."""

    name: str
    turns: tuple[tuple[str, str], ...]

    def filled(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        """The messages. Raises `VerifierError` for a placeholder that has no value."""
        return [{"role": role, "content": self._fill(text, values)} for role, text in self.turns]

    def _fill(self, text: str, values: Mapping[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                known = ", ".join(f"{{{{{name}}}}}" for name in sorted(values))
                raise VerifierError(f"the prompt {self.name!r} holds {match[0]}, which has no value: use {known}")
            return values[match[1]]

        return _PLACEHOLDER.sub(value, text)


def prompt_template(name: str, file: str | None = None) -> PromptTemplate:
    """The shipped prompt of that name, or the user's own `file` in its place.

    Raises `VerifierError` when the file cannot be read or holds no turn.
    """
    return _shipped(name) if file is None else _parsed(file, _read(file))


def template_of(name: str, turns: Sequence[Mapping[str, str]]) -> PromptTemplate:
    """A template from messages with role and content."""
    wrong = [turn for turn in turns if not {"role", "content"} <= turn.keys()]
    if wrong or not turns:
        raise VerifierError(f"the prompt of {name!r} is not a list of messages with role and content: correct it")
    return PromptTemplate(name, tuple((turn["role"], turn["content"]) for turn in turns))


@functools.cache
def _shipped(name: str) -> PromptTemplate:
    file = f"{name}.{VERSION}.md"
    return _parsed(file, (files("sherlock_verifiers") / "prompts" / file).read_text("utf-8"))


def _read(file: str) -> str:
    try:
        return Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise VerifierError(f"the prompt file {file!r} cannot be read: {error}") from error


def _parsed(name: str, text: str) -> PromptTemplate:
    parts = _HEADING.split(text)
    turns = tuple((role, said.strip()) for role, said in zip(parts[1::2], parts[2::2], strict=True))
    if not any(role == "user" for role, _ in turns):
        raise VerifierError(f"the prompt file {name!r} has no turn `# user`: write one")
    return PromptTemplate(name, turns)
