"""The verifier `check`: an exact test of the output, the user's own or a ready one, that may pick another answer."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from sherlock.errors import SherlockError, VerifierError
from sherlock.loading import load_object
from sherlock.verifier import Subject, Verdict
from sherlock_verifiers import checks


@dataclass(frozen=True, kw_only=True)
class Check:
    """Run an exact test on the text; with `resamples`, ask the node again until an answer passes.

    Give one test or several, and all must pass. `function`: a function or `module:function`, sync or async, of the text
    or of the text and the `Subject`; it returns a bool, `(bool, correction)` or a `Verdict`. `regex`: the whole text
    matches. `json_schema`: the text is JSON that fits. `equation`: the text holds equations, and they are true;
    "question": and they calculate with the numbers of the node's question.

    Calls: none; with `resamples` up to that many, one after another, only for an output that fails.
    """

    function: str | Callable[..., Any] | None = None
    regex: str | None = None
    json_schema: Mapping[str, Any] | None = None
    equation: bool | str = False
    resamples: int = 0
    temperature: float = 0.7

    name: ClassVar[str] = "check"

    def __post_init__(self) -> None:
        if self.resamples < 0:
            raise VerifierError(f"resamples is {self.resamples}: give 0 or more")
        if self.equation not in (True, False, "question"):
            raise VerifierError(f"equation is {self.equation!r}: give true, false or 'question'")
        if not self._tests():
            raise VerifierError("nothing is to be checked: give a function, regex, json_schema or equation")

    async def verify(self, subject: Subject) -> Verdict:
        """The test's own verdict; a rejected output without correction may be replaced by a resample that passes."""
        tests = self._tests()
        verdict = await _tested(tests, subject.text, subject)
        if verdict.accepted or verdict.corrected is not None or not self.resamples:
            return verdict
        for drawn in range(1, self.resamples + 1):
            [text] = await subject.resample(1, temperature=self.temperature)
            if (await _tested(tests, text, subject)).accepted:
                return Verdict(False, 0.0, text, f"{verdict.rationale}; resample {drawn} passes")
        return Verdict(False, 0.0, None, f"{verdict.rationale}; none of {self.resamples} resamples passes")

    def _tests(self) -> list[tuple[str, Callable[..., Any]]]:
        tests: list[tuple[str, Callable[..., Any]]] = []
        if self.regex is not None:
            tests.append(("the regular expression", checks.matches(self.regex)))
        if self.json_schema is not None:
            tests.append(("the JSON schema", checks.fits(self.json_schema)))
        if self.equation == "question":
            tests.append(("the equation", lambda text, subject: checks.equation_of(text, subject.question)))
        elif self.equation:
            tests.append(("the equation", checks.equation))
        if self.function is not None:
            function = loaded_function(self.function)
            tests.append((getattr(function, "__name__", "the function"), function))
        return tests


def loaded_function(function: str | Callable[..., Any]) -> Callable[..., Any]:
    """The function, or the one that `module:function` or `file.py:function` names."""
    try:
        found = load_object(function, what="check") if isinstance(function, str) else function
    except SherlockError as error:
        raise VerifierError(str(error)) from error
    if not callable(found):
        raise VerifierError(f"{function!r} is a {type(found).__name__}: name a function")
    made: Callable[..., Any] = found
    return made


async def _tested(tests: list[tuple[str, Callable[..., Any]]], text: str, subject: Subject) -> Verdict:
    verdict = Verdict(True, 1.0)
    for name, test in tests:
        verdict = _verdict(name, await _called(test, text, subject))
        if not verdict.accepted:
            break
    return verdict


async def _called(test: Callable[..., Any], text: str, subject: Subject) -> Any:
    """A plain function runs in a thread, so that one that takes long holds up nothing else."""
    given = (text, subject) if _takes_two(test) else (text,)
    if inspect.iscoroutinefunction(test) or inspect.iscoroutinefunction(getattr(test, "__call__", None)):  # noqa: B004
        return await test(*given)
    found = await asyncio.to_thread(test, *given)
    return await found if inspect.isawaitable(found) else found


def _takes_two(test: Callable[..., Any]) -> bool:
    try:
        parameters = inspect.signature(test).parameters.values()
    except (TypeError, ValueError):  # some built-in callables tell nothing
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    # A second parameter that has a default is the function's own business, unless it is called `subject`.
    return len(required) >= 2 or any(p.name == "subject" for p in positional[1:2])


def _verdict(name: str, found: Any) -> Verdict:
    if isinstance(found, Verdict):
        return found
    passed, corrected = found if isinstance(found, tuple) and len(found) == 2 else (found, None)
    if not _is_bool(passed):
        raise VerifierError(f"{name} returned {found!r:.60}: let it return a bool, (bool, correction) or a Verdict")
    if passed:
        return Verdict(True, 1.0, corrected, f"{name} holds")
    return Verdict(False, 0.0, corrected, f"{name} does not hold")


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"))
