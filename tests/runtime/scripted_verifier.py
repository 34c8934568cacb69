"""A verifier that does as it is told, deterministically, takes virtual time, and keeps a log of what it was asked."""

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from plain_records import plain
from random_graphs import Brief
from sayings import canonical, otherwise, said_alike, said_otherwise

from sherlock import Plan, Subject, Verdict


@dataclass
class Asked:
    """One verification. `inputs`: all that the node was given, as text.

    `end`: `running`, `answered`, `raised`, `cancelled`.
    """

    node: str
    text: str
    inputs: str
    output: Any
    started: float
    ended: float | None = None
    end: str = "running"
    verdict: Verdict | None = None


class ScriptedVerifier:
    """Answers `verdict_of(subject)` after `latency_of(subject)` virtual seconds; `verdict_of` may raise.

    Both must depend on nothing but the subject's node, text, output and inputs. `log` has an entry for each question.
    """

    def __init__(
        self,
        name: str = "scripted",
        latency_of: Callable[[Subject], float] = lambda subject: 1,
        verdict_of: Callable[[Subject], Verdict] = lambda subject: Verdict(True),
        log: list[Asked] | None = None,
    ) -> None:
        self.name = name
        self.latency_of = latency_of
        self.verdict_of = verdict_of
        self.log: list[Asked] = [] if log is None else log

    async def verify(self, subject: Subject) -> Verdict:
        loop = asyncio.get_running_loop()
        asked = Asked(subject.node, subject.text, inputs_of(subject), subject.output, loop.time())
        self.log.append(asked)
        try:
            await asyncio.sleep(self.latency_of(subject))
            asked.verdict = self.verdict_of(subject)
        except asyncio.CancelledError:
            asked.end = "cancelled"
            raise
        except Exception:
            asked.end = "raised"
            raise
        else:
            asked.end = "answered"
            return asked.verdict
        finally:
            asked.ended = loop.time()


def inputs_of(subject: Subject) -> str:
    return canonical(plain(subject.inputs))


@dataclass(frozen=True, repr=False)
class Script(Brief):
    """How a verifier of a random graph answers: by one of `choices`, after one of `latencies`, as the subject says.

    `accept`; `correct`: reject, with another text; `update`: reject, with another update; `same`: reject, with a text
    that means the same; `reject`: without a correction; `raise`. Where an output cannot be corrected, accept.
    """

    salt: int = 0
    choices: tuple[str, ...] = ("accept",)
    latencies: tuple[float, ...] = (1,)

    def latency_of(self, subject: Subject) -> float:
        return self.latencies[self._number(subject, "latency") % len(self.latencies)]

    def verdict_of(self, subject: Subject) -> Verdict:
        number = self._number(subject, "verdict")
        choice = self.choices[number % len(self.choices)]
        salt = self.salt + number // len(self.choices)
        if choice == "raise":
            raise RuntimeError("a verifier that breaks")
        if choice == "reject":
            return Verdict(False, rationale="rejected without a correction")
        corrected: Any = None
        if choice == "correct":
            corrected = said_otherwise(subject.text, salt)
        elif choice == "same":
            corrected = said_alike(subject.text)
        elif choice == "update":
            corrected = otherwise(subject.output, salt)
        if choice == "accept" or corrected in (subject.text, subject.output, {}):
            return Verdict(True)
        return Verdict(False, corrected=corrected, rationale=f"to be {choice}")

    def _number(self, subject: Subject, what: str) -> int:
        text = "\n".join([str(self.salt), what, subject.node, subject.text, inputs_of(subject)])
        return zlib.crc32(text.encode())


@dataclass(frozen=True, repr=False)
class Placed(Brief):
    """A verifier at a node: a `Script`, or anything with its two methods; and what becomes of a rejected output."""

    node: str
    script: Any = field(default_factory=Script)
    on_reject: str = "correct"
    log: list[Asked] | None = field(default=None, compare=False, repr=False)

    @property
    def verifier(self) -> ScriptedVerifier:
        return ScriptedVerifier(f"on {self.node}", self.script.latency_of, self.script.verdict_of, self.log)

    def with_log(self, log: list[Asked]) -> "Placed":
        return replace(self, log=log)


def plan_of(placements: dict[str, Placed], policy: Any = None) -> Plan:
    """The placements as a plan."""
    plan = Plan.attach({node: placed.verifier for node, placed in placements.items()}, policy=policy)
    made = {
        node: placement.model_copy(update={"on_reject": placements[node].on_reject})
        for node, placement in plan.placements.items()
    }
    return plan.model_copy(update={"placements": made})
