"""The verifier `resolve`: solve the task again, from the input alone, and compare."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sherlock.equivalence import matches_reference, rouge_l, same_meaning
from sherlock.errors import VerifierError
from sherlock.verifier import Subject, UnreadableAnswer, Verdict, message_text
from sherlock_verifiers.check import loaded_function
from sherlock_verifiers.prompt_files import PromptTemplate, prompt_template, template_of


@dataclass(frozen=True, kw_only=True)
class Resolve:
    r"""Solve the task again without seeing the answer; a different answer replaces it.

    `prompt`: messages to solve it with, such as more examples than the node's own prompt has, or `prompt_file`, a file
    of them; `{{input}}` is the node's last user message, `{{task}}` its system text, `{{inputs.KEY}}` a value that the
    node read from the state. Without either the node's own messages are sent, with a request to take care ahead of
    them (`prefix="node"`: without it). `model`: who solves it; None: the node's own model. `stop` and `max_tokens`: by
    default the node's own. `extract`: a regular expression whose first group is the answer. `cast`: a function, or
    `module:function`, from what the model said to the text that the node makes of it. `threshold`: the ROUGE-L from
    which two texts say the same. Answers are stripped of outer white space.

    Calls: one.
    """

    prompt: Sequence[Mapping[str, str]] | None = None
    prompt_file: str | None = None
    model: Any = None
    prefix: str = "verifier"
    stop: str | Sequence[str] | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    extract: str | None = None
    cast: str | Callable[[str], Any] | None = None
    threshold: float = 0.7

    name: ClassVar[str] = "resolve"

    def __post_init__(self) -> None:
        if self.prompt is not None and self.prompt_file is not None:
            raise VerifierError("both prompt and prompt_file are given: give one of them")
        if self.prefix not in ("verifier", "node"):
            raise VerifierError(f"prefix is {self.prefix!r}: give 'verifier' or 'node'")
        if not 0 <= self.threshold <= 1:
            raise VerifierError(f"threshold is {self.threshold}: give a number in [0, 1]")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise VerifierError(f"max_tokens is {self.max_tokens}: give at least 1, or None for the node's own")
        if self.extract is not None and not _has_group(self.extract):
            raise VerifierError(f"extract is {self.extract!r}: give a regular expression with a group")
        self._template()
        self._casting()

    async def verify(self, subject: Subject) -> Verdict:
        """Accept when the new answer says the same; its likeness to the old one, from 0 to 1, is the score."""
        own = {"stop": self.stop, "max_tokens": self.max_tokens}
        settings: dict[str, Any] = {key: subject.settings.get(key) if v is None else v for key, v in own.items()}
        messages = self._messages(subject)
        completion = await subject.complete(messages, model=self.model, temperature=self.temperature, **settings)
        answer = self._answer(completion.text)
        if agrees(subject.text, answer, subject.category, self.threshold):
            return Verdict(True, 1.0, None, "solved again, the answer is the same")
        likeness = min(rouge_l(subject.text, answer), 0.5)
        return Verdict(False, likeness, answer, f"solved again, the answer is {answer!r:.80}")

    def _template(self) -> PromptTemplate | None:
        if self.prompt is not None:
            return template_of(self.name, self.prompt)
        return None if self.prompt_file is None else prompt_template(self.name, self.prompt_file)

    def _messages(self, subject: Subject) -> list[dict[str, Any]]:
        template = self._template()
        if template is not None:
            return list(template.filled(_values(subject)))
        if not subject.prompt:
            raise VerifierError(f"the node {subject.node!r} asked no model: give a prompt to solve its task with")
        if self.prefix == "node":
            return [dict(message) for message in subject.prompt]
        return _with_care(subject)

    def _answer(self, text: str) -> str:
        found = re.search(self.extract, text, re.DOTALL) if self.extract else None
        if self.extract and found is None:
            raise UnreadableAnswer(f"{text!r:.80} does not hold {self.extract!r}")
        answer = (found[1] if found else text).strip()
        if not answer:
            raise UnreadableAnswer("the new answer is empty")
        casting = self._casting()
        if casting is None:
            return answer
        made = casting(answer)
        if not isinstance(made, str):
            raise VerifierError(f"cast returned {made!r:.60}: let it return a text")
        return made

    def _casting(self) -> Callable[..., Any] | None:
        return None if self.cast is None else loaded_function(self.cast)


def agrees(text: str, answer: str, category: str, threshold: float = 0.7) -> bool:
    """Whether two answers to one question say the same."""
    text, answer = text.strip(), answer.strip()
    return matches_reference(answer, text, category) or same_meaning(text, answer, category, threshold)


def _with_care(subject: Subject) -> list[dict[str, Any]]:
    """The node's messages, with the shipped prompt's words at the end of the system text."""
    [care] = [turn["content"] for turn in prompt_template("resolve").filled({"input": ""}) if turn["role"] == "system"]
    messages = [dict(message) for message in subject.prompt]
    if messages[0].get("role") in ("system", "developer"):
        return [{**messages[0], "content": f"{message_text(messages[0])}\n{care}"}, *messages[1:]]
    return [{"role": "system", "content": care}, *messages]


def _values(subject: Subject) -> dict[str, str]:
    values = {"input": subject.question, "task": subject.task}
    if isinstance(subject.inputs, Mapping):
        for key, value in subject.inputs.items():
            said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            values[f"inputs.{key}"] = said
    return values


def _has_group(pattern: str) -> bool:
    try:
        return re.compile(pattern).groups > 0
    except re.error:
        return False
