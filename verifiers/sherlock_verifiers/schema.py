"""The verifier `schema`: the output must be JSON of a given shape; a model repairs what is not."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sherlock.errors import VerifierError
from sherlock.models.structured import json_schema
from sherlock.verifier import Subject, Verdict
from sherlock_verifiers.asking import Asking, laid_out
from sherlock_verifiers.check import loaded_function
from sherlock_verifiers.checks import problems
from sherlock_verifiers.prompt_files import prompt_template
from sherlock_verifiers.quoting import quoted


@dataclass(frozen=True, kw_only=True)
class Schema(Asking):
    """Accept JSON that fits `schema`: a JSON schema, a pydantic model class, or `module:Class`.

    What does not fit is repaired by the model, at most `repairs` times; a repair that fits replaces the output.

    Calls: none for an output that fits, else at most `repairs`.
    """

    schema: Mapping[str, Any] | str | type
    repairs: int = 1

    name: ClassVar[str] = "schema"
    prompt_name: ClassVar[str] = "schema"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.repairs < 0:
            raise VerifierError(f"repairs is {self.repairs}: give 0 or more")
        problems("null", self._shape())

    async def verify(self, subject: Subject) -> Verdict:
        """The verdict is exact: the score is 1 or 0."""
        shape = self._shape()
        text, found = subject.text, problems(subject.text, shape)
        if not found:
            return Verdict(True, 1.0, None, "it fits the schema")
        first = found[0]
        for _ in range(self.repairs):
            text = await self._repaired(subject, text, found)
            found = problems(text, shape)
            if not found:
                return Verdict(False, 0.0, text, f"repaired: {first}")
        return Verdict(False, 0.0, None, first)

    def _shape(self) -> Mapping[str, Any] | type:
        if not isinstance(self.schema, str):
            shape: Mapping[str, Any] | type = self.schema
        else:
            shape = loaded_function(self.schema)  # type: ignore[assignment]
        if not isinstance(shape, Mapping) and not hasattr(shape, "model_json_schema"):
            raise VerifierError(f"schema is {self.schema!r:.80}: give a JSON schema or a pydantic model class")
        return shape

    async def _repaired(self, subject: Subject, text: str, found: list[str]) -> str:
        shape = self._shape()
        values = {
            "answer": quoted("answer", text, subject.seed),
            "wrong": quoted("wrong", "\n".join(found), subject.seed),
            "schema": json.dumps(json_schema(shape), ensure_ascii=False),
        }
        messages = laid_out(prompt_template(self.prompt_name, self.prompt_file), subject, values, self.prefix)
        answer = await subject.complete(
            messages, model=self.model, schema=shape, temperature=self.temperature, max_tokens=self.max_tokens
        )
        if answer.parsed is None:
            return answer.text
        # Words and code fences round the JSON are left behind.
        parsed = answer.parsed
        plain = parsed.model_dump(mode="json") if hasattr(parsed, "model_dump") else parsed
        return json.dumps(plain, ensure_ascii=False)
