"""Small graphs for tests of how a guard is used, and verifiers that follow a rule."""

import asyncio
import operator
from typing import Annotated

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from sherlock import Verdict

WRONG = "quiet rivers bend before dawn"
RIGHT = "seven lamps hang over doors"


class State(TypedDict, total=False):
    x: str
    a: str
    b: str
    c: str
    log: Annotated[list, operator.add]


def saying(key, text, seconds=1.0, log=None):
    """A node that writes `text`; if that names a state key in braces, its value stands there."""

    async def node(state: State) -> State:
        if log is not None:
            log.append(key)
        await asyncio.sleep(seconds)
        return {key: text.format(**state)}

    return node


def chain(seconds=1.0, log=None, first=WRONG):
    """A builder: `a` says something, `b` repeats it, `c` repeats that."""
    builder = StateGraph(State)
    builder.add_node("a", saying("a", first, seconds, log))
    builder.add_node("b", saying("b", "b has {a}", seconds, log))
    builder.add_node("c", saying("c", "c has {b}", seconds, log))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "c")
    return builder


class Ruled:
    """A verifier: `rule(subject)` returns its verdict, or raises, after `seconds`."""

    def __init__(self, rule=None, seconds=1.0, name="ruled"):
        self.rule, self.seconds, self.name = rule or corrects, seconds, name
        self.asked = []

    async def verify(self, subject):
        self.asked.append(subject.node)
        await asyncio.sleep(self.seconds)
        return self.rule(subject)


def accepts(subject):
    return Verdict(True, rationale="it is fine")


def corrects(subject):
    """Corrects what is wrong."""
    if WRONG in subject.text:
        return Verdict(False, corrected=subject.text.replace(WRONG, RIGHT), rationale="it was wrong")
    return Verdict(True)


def rejects(subject):
    """Rejects what is wrong, and knows no better."""
    return Verdict(WRONG not in subject.text, rationale="it is wrong")


def breaks(subject):
    raise RuntimeError(f"cannot read {subject.text}")
