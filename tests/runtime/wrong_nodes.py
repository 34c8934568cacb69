"""What the tests of silent failures are made of: nodes that say what is wrong, and a verifier that corrects it."""

import asyncio
import operator
from typing import Annotated, Any, TypedDict

from sayings import SAYINGS
from scripted_verifier import Placed, plan_of

import sherlock
from sherlock import Verdict

WRONG, RIGHT, OTHER = SAYINGS[:3]
THREAD = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    x: str
    a: str
    b: str
    c: str
    n: int
    got: Annotated[list, operator.add]


class Rejecting:
    """Rejects the texts in `wrong` and corrects them to `RIGHT`, after as many seconds as `seconds` says."""

    def __init__(self, wrong=(WRONG,), seconds=10.0):
        self.wrong, self.seconds = wrong, seconds

    def latency_of(self, subject):
        return self.seconds(subject) if callable(self.seconds) else self.seconds

    def verdict_of(self, subject):
        if subject.text in self.wrong:
            return Verdict(False, corrected=RIGHT)
        return Verdict(True)


class Nodes:
    """Node functions that count their calls. `said`: what the placed node says; `broken`: whether one fails."""

    def __init__(self, said: str = WRONG) -> None:
        self.said = said
        self.broken = True
        self.calls: list[str] = []

    def saying(self, name: str, key: str, seconds: float = 1) -> Any:
        async def node(state: State) -> State:
            self.calls.append(name)
            await asyncio.sleep(seconds)
            return {key: self.said}

        return node

    def copying(self, name: str, source: str, key: str, seconds: float = 1) -> Any:
        async def node(state: State) -> State:
            self.calls.append(name)
            await asyncio.sleep(seconds)
            return {key: f"{state.get(source)}"}

        return node


def guarded(graph, verifiers, mode="speculate"):
    """The graph with verifiers on nodes, and their log."""
    log: list[Any] = []
    placed = {node: Placed(node, script).with_log(log) for node, script in verifiers.items()}
    return sherlock.guard(graph, plan_of(placed, {"mode": mode})), log
