"""An effect was about to happen when a run died, and nobody knows whether it did: ask the node, or a person.

The node's `reconcile(key, inputs)` returns the update of the effect if it happened, None if it did not. Where there is
none the run stops with an interrupt, whose value is

    {"kind": "sherlock.effect", "key": ..., "node": ..., "input": ..., "question": ..., "answers": {...}}

and takes one of three answers: `"run"`, it did not happen, do it now (with the same key); `{"update": ...}`, it
happened, and this is what the node returned; `"done"`, it happened, go on without an update. What is not one of these
is asked again.
"""

from collections.abc import Mapping
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.runnables.config import set_config_context
from langgraph.types import interrupt

from sherlock.interpose.nodes import Visit
from sherlock.runtime.effects_claims import Claim, given_to, scratchpad_of
from sherlock.runtime.effects_tools import answered, calls_in, only_call
from sherlock.runtime.record import Record
from sherlock.side_effects import called

RUN_IT = object()
"""It did not happen."""

_ANSWERS = {
    "run": "It did not happen: execute the node now, with the same key.",
    "done": "It happened: go on without an update.",
    "update": 'It happened, and this is what the node returned: {"update": ...}.',
}


async def settled(claim: Claim, record: Record, visit: Visit, *, just_answered: bool) -> Any:
    """The update of an effect that happened, or `RUN_IT`. `just_answered`: this run was given an answer.

    Raises LangGraph's `GraphInterrupt` while a person has not answered, and what `reconcile` raises.
    """
    effect = record.place.effect
    if effect is not None and effect.reconcile is not None:
        found = await called(effect.reconcile, claim.key, record.value)
        return RUN_IT if found is None else found
    if record.place.tools is not None and (only := only_call(record.place.tools, record.value)) is not None:
        call, tool = only
        if tool.reconcile is not None:
            found = await called(tool.reconcile, claim.key, call["args"])
            return RUN_IT if found is None else _update_of(found, call, record.value)
    if not just_answered and claim.given is not None and claim.given == given_to(visit):
        scratchpad_of(visit).get_null_resume(True)  # an answer of before the claim says nothing about it
    return _asked(claim, record, visit)


def _update_of(found: Any, call: Mapping[str, Any], value: Any) -> Any:
    """A tool's own `reconcile` returns what the tool returns."""
    if isinstance(found, ToolMessage):
        return [found] if isinstance(answered(value, []), list) else {"messages": [found]}
    return answered(value, [call], found)


def _asked(claim: Claim, record: Record, visit: Visit) -> Any:
    question = {
        "kind": "sherlock.effect",
        "key": claim.key,
        "node": record.place.node,
        "input": record.value,
        "question": f"A run ended while {record.place.node!r} was at work. Did its effect happen?",
        "answers": _ANSWERS,
    }
    with set_config_context(visit.config) as context:
        # Answers to questions of before this claim may come first.
        for _ in scratchpad_of(visit).resume[: claim.answers]:
            context.run(interrupt, question)
        while True:
            given = context.run(interrupt, question)
            claim.asked = len(scratchpad_of(visit).resume)
            if given == "run":
                return RUN_IT
            if given == "done":
                return _nothing(record)
            if isinstance(given, Mapping) and set(given) == {"update"}:
                return given["update"]
            question = {**question, "problem": f"{given!r} is no answer: use 'run', 'done' or {{'update': ...}}."}


def _nothing(record: Record) -> Any:
    """No update; of a `ToolNode`, an answer to each call, for models refuse a call without one."""
    if record.place.tools is None:
        return None
    return answered(record.value, calls_in(record.value) or [])
