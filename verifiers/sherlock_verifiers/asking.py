"""How the verifiers ask a model for a judgement: prompt, layout, schema, one repair."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sherlock.errors import VerifierError
from sherlock.models.structured import parse
from sherlock.verifier import Completion, Message, Subject, UnreadableAnswer, message_text
from sherlock_verifiers.prompt_files import PromptTemplate, prompt_template
from sherlock_verifiers.quoting import quoted

JSON = dict[str, Any]

_KEPT = 2000
_STARTS = 200


@dataclass(frozen=True, kw_only=True)
class Asking:
    """The settings of every verifier that asks a model for a judgement.

    `model`: who is asked; None: the node's own model. `prefix`: what the prompt begins with; "verifier": the
    verifier's own words, the same for every output; "node": the node's own messages, byte for byte, so that a server
    with a prompt cache need not read them again. `prompt_file`: a file to use instead of the shipped prompt.
    `max_tokens` bounds one answer.
    """

    model: Any = None
    prefix: Literal["verifier", "node"] = "verifier"
    prompt_file: str | None = None
    max_tokens: int | None = 1024
    temperature: float = 0.0

    prompt_name: ClassVar[str]

    def __post_init__(self) -> None:
        if self.prefix not in ("verifier", "node"):
            raise VerifierError(f"prefix is {self.prefix!r}: give 'verifier' or 'node'")
        if self.max_tokens is not None and self.max_tokens < 1:
            raise VerifierError(f"max_tokens is {self.max_tokens}: give at least 1, or None")
        if self.prompt_file is not None:
            self.template()

    def template(self, name: str | None = None) -> PromptTemplate:
        """The user's prompt file, else the shipped prompt of that name (default: the verifier's first)."""
        return prompt_template(name or self.prompt_name, self.prompt_file)

    async def ask(
        self,
        subject: Subject,
        schema: JSON,
        data: Mapping[str, str],
        *,
        words: Mapping[str, str] | None = None,
        template: PromptTemplate | None = None,
        model: Any = None,
    ) -> JSON:
        """The model's answer, which fits the schema.

        `data` are texts under test, by placeholder: they are quoted. `words` are the verifier's own, put in as they
        are. `{{request}}` is what the node was asked, `{{form}}` what the answer should look like. Raises
        `UnreadableAnswer` when the answer does not fit, not even when it was asked for once more.
        """
        template = template or self.template()
        values = {name: quoted(name, text, subject.seed) for name, text in data.items()}
        values |= {**(words or {}), "form": _form(schema)}
        messages = laid_out(template, subject, values, self.prefix)
        model = self.model if model is None else model
        settings: Any = {"model": model, "schema": schema, "temperature": self.temperature}
        settings["max_tokens"] = self.max_tokens
        first = await subject.complete(messages, **settings)
        found = _only_value(first, schema)
        if found is None:
            again = [*messages, {"role": "assistant", "content": first.text[:_KEPT] or "(nothing)"}]
            again += prompt_template("repair").filled({"form": _form(schema)})
            second = await subject.complete(again, **settings)
            found = _only_value(second, schema)
        if found is None:
            raise UnreadableAnswer(f"{second.text!r:.80} is no JSON object with {', '.join(schema['required'])}")
        return found


def laid_out(
    template: PromptTemplate, subject: Subject, values: Mapping[str, str], prefix: Literal["verifier", "node"]
) -> list[JSON]:
    """The messages of a prompt: alone, or after the node's own messages."""
    if prefix == "verifier" or not subject.prompt:
        return list(template.filled({**values, "request": quoted("request", request_of(subject), subject.seed)}))
    own = template.filled({**values, "request": "the conversation above"})
    system = "\n\n".join(turn["content"] for turn in own if turn["role"] == "system")
    turns = [turn for turn in own if turn["role"] != "system"]
    turns[0] = {**turns[0], "content": f"{system}\n\n{turns[0]['content']}".strip()}
    # Many chat templates refuse two user turns in a row.
    bridge = (
        [] if subject.prompt[-1].get("role") == "assistant" else [{"role": "assistant", "content": "(quoted below)"}]
    )
    return [*map(dict, subject.prompt), *bridge, *turns]


def request_of(subject: Subject) -> str:
    """What the node was asked: its messages, or what it read from the state when it asks no model."""
    if not subject.prompt:
        return json.dumps(subject.inputs, ensure_ascii=False, default=str)
    if len(subject.prompt) == 1 and subject.question:
        return subject.question
    return "\n\n".join(f"{message.get('role')}: {_said(message)}" for message in subject.prompt)


def _said(message: Message) -> str:
    """The text of a message; of one without text, such as a tool call, all of it."""
    return message_text(message) or json.dumps(dict(message), ensure_ascii=False, default=str)


def fields(**types: Any) -> JSON:
    """The JSON schema of an object that has all these keys and no other; a list of texts is a choice."""
    made = {key: {"enum": kind, "type": "string"} if isinstance(kind, list) else kind for key, kind in types.items()}
    return {"type": "object", "properties": made, "required": list(types), "additionalProperties": False}


TEXT: JSON = {"type": "string"}
SHARE: JSON = {"type": "number", "minimum": 0, "maximum": 1}


def share(value: float) -> float:
    """A model's figure for how sure it is, brought into [0, 1]."""
    return min(1.0, max(0.0, float(value)))


def _form(schema: JSON) -> str:
    return json.dumps({key: _sort(kind) for key, kind in schema["properties"].items()}, ensure_ascii=False)


def _sort(kind: JSON) -> str:
    if "enum" in kind:
        return " or ".join(map(str, kind["enum"]))
    bounds = f" from {kind['minimum']} to {kind['maximum']}" if "minimum" in kind and "maximum" in kind else ""
    return f"{kind.get('type', 'value')}{bounds}"


def _only_value(completion: Completion, schema: JSON) -> JSON | None:
    """The one object in the answer that fits.

    An answer that holds several different ones is not read: it may quote one of them from the text under test.
    """
    if not completion.text:
        return completion.parsed if isinstance(completion.parsed, dict) else None
    values = [value for value in _objects(completion.text) if parse(json.dumps(value), schema) is not None]
    different = [value for value in values if value != values[0]]
    return values[0] if values and not different else None


def _objects(text: str) -> Sequence[JSON]:
    decoder = json.JSONDecoder()
    found: list[JSON] = []
    at = text.find("{")
    for _ in range(_STARTS):
        if at < 0:
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found.append(value)
        at = text.find("{", end)
    return found
