"""A small shop with an effect, a log of what it did to the world, a saver that dies, and verifiers."""

import asyncio
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

import sherlock
from sherlock import Plan, Verdict

CONFIG = {"configurable": {"thread_id": "thread"}}


class State(TypedDict, total=False):
    order: str
    paid: Annotated[list, operator.add]
    note: str


@dataclass
class World:
    """`sent`: the effects that happened, with their keys, in order."""

    sent: list[tuple[str, str | None]] = field(default_factory=list)

    def send(self, what: str) -> None:
        self.sent.append((what, sherlock.effect_key()))

    def charge_and(self, then: Callable[[], Any]) -> Callable[[State], State]:
        """A node function that has its effect, then calls `then`."""

        def charge(state: State) -> State:
            self.send(state["order"])
            then()
            return {"paid": [state["order"]]}

        return charge

    @property
    def keys(self) -> list[str | None]:
        return [key for _, key in self.sent]

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.sent]


class Dying(InMemorySaver):
    """Stores `left` entries more, then raises: for a run, the end of its process."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def die(self) -> None:
        self.left = 0

    def put(self, *arguments: Any, **named: Any) -> Any:
        self._count()
        return super().put(*arguments, **named)

    def put_writes(self, *arguments: Any, **named: Any) -> None:
        self._count()
        super().put_writes(*arguments, **named)

    def _count(self) -> None:
        if self.left <= 0:
            raise ConnectionError("the machine is gone")
        self.left -= 1


class Judge:
    """Accepts what `wanted` says, corrects the rest by it; after `seconds`."""

    name = "judge"

    def __init__(self, wanted: Callable[[str], str] = lambda text: text, seconds: float = 0.01) -> None:
        self.wanted = wanted
        self.seconds = seconds

    async def verify(self, subject: Any) -> Verdict:
        await asyncio.sleep(self.seconds)
        wanted = self.wanted(subject.text)
        return Verdict(True) if wanted == subject.text else Verdict(False, corrected=wanted)


def placed(**verifiers: Any) -> Plan:
    """A plan: `sub__node` stands for `sub/node`."""
    return Plan.attach({node.replace("__", "/"): verifier for node, verifier in verifiers.items()})


def shop(
    world: World, charge: Any = None, *, kind: str = "irreversible", retry: Any = None, **declared: Any
) -> StateGraph:
    """read -> charge -> tell. `charge(state)` may stand in for the node's own function."""

    async def pay(state: State) -> State:
        world.send(state["order"])
        return {"paid": [state["order"]]}

    def tell(state: State) -> State:
        return {"note": f"paid for {', '.join(map(str, state['paid']))}"}

    builder = StateGraph(State)
    builder.add_node("read", lambda state: {"order": state["order"].strip()})
    builder.add_node("charge", sherlock.effects(kind, **declared)(charge or pay), retry_policy=retry)
    builder.add_node("tell", tell)
    builder.add_edge(START, "read")
    builder.add_edge("read", "charge")
    builder.add_edge("charge", "tell")
    builder.add_edge("tell", END)
    return builder
