"""A bill is added up, and the slip in it is found while the reply is being written: a rollback, live.

    python examples/guarded_agent/agent.py

No model and no key: the nodes and the checker are plain code that takes its time, as a model would.
"""

import asyncio
from typing import TypedDict

from langgraph.graph import END, START, StateGraph

import sherlock
from sherlock import Verdict
from sherlock.runtime.events import Event, ExecutionEnded, ExecutionStarted

SECONDS = {"read": 0.3, "add": 0.4, "polite": 0.6, "draft": 0.5, "sign": 0.4}
"""How long each node thinks."""


class Bill(TypedDict, total=False):
    letter: str
    prices: list[int]
    total: str
    greeting: str
    reply: str


async def read(state: Bill) -> Bill:
    await asyncio.sleep(SECONDS["read"])
    return {"prices": [int(word) for word in state["letter"].split() if word.isdigit()]}


async def add(state: Bill) -> Bill:
    """Forgets to carry."""
    await asyncio.sleep(SECONDS["add"])
    prices = state["prices"]
    tens, ones = sum(price // 10 for price in prices), sum(price % 10 for price in prices)
    return {"total": f"{' + '.join(map(str, prices))} = {10 * tens + ones % 10}"}


async def polite(state: Bill) -> Bill:
    await asyncio.sleep(SECONDS["polite"])
    return {"greeting": f"Dear {state['letter'].split()[-1]},"}


async def draft(state: Bill) -> Bill:
    await asyncio.sleep(SECONDS["draft"])
    return {"reply": f"{state['greeting']} that is {state['total'].split()[-1]} dollars."}


async def sign(state: Bill) -> Bill:
    await asyncio.sleep(SECONDS["sign"])
    return {"reply": f"{state['reply']} Yours, the desk"}


class Adder:
    """Adds up again. It takes its time too."""

    name = "adder"

    async def verify(self, subject: sherlock.Subject) -> Verdict:
        await asyncio.sleep(1.3)
        sum_, _, total = subject.text.partition(" = ")
        right = sum(int(number) for number in sum_.split(" + "))
        if int(total) == right:
            return Verdict(True)
        return Verdict(False, corrected=f"{sum_} = {right}", rationale=f"{sum_} is {right}, not {total}")


def build() -> StateGraph:
    """`add` and `polite` side by side, then `draft`, which reads both, then `sign`."""
    builder = StateGraph(Bill)
    for node in (read, add, polite, draft, sign):
        builder.add_node(node)
    builder.add_edge(START, "read")
    builder.add_edge("read", "add")
    builder.add_edge("read", "polite")
    builder.add_edge(["add", "polite"], "draft")
    builder.add_edge("draft", "sign")
    builder.add_edge("sign", END)
    return builder


def show(event: Event) -> None:
    """One line for what a reader wants to see."""
    words = None
    match event:
        case ExecutionStarted():
            words = f"{event.node} runs"
        case ExecutionEnded(error=None):
            words = f"{event.node} is done"
        case sherlock.VerificationStarted():
            words = f"{event.node} is being verified; the run goes on"
        case sherlock.VerdictReached():
            words = f"{event.node} is {'accepted' if event.accepted else f'rejected: {event.rationale}'}"
        case sherlock.RolledBack():
            gone = ", ".join(label.split(":")[1] for label in event.discarded)
            words = f"ROLLED BACK to the step of {event.node}; what followed it: {gone or 'nothing'}"
    if words is not None:
        print(f"{event.at_s:6.2f} s  {words}", flush=True)


agent = sherlock.guard(build(), sherlock.Plan.attach({"add": Adder()}), on_event=show)


def main() -> None:
    state = agent.invoke({"letter": "A lamp for 17 a hat for 25 and a book for 9 please says Ida"})
    report = agent.report()
    assert report is not None
    print()
    print(state["reply"])
    print(
        f"{report.t_vrf_s:.1f} s, {report.rollbacks} rollback, {report.node_executions} executions, "
        f"{report.wasted_executions} of them wasted"
    )


if __name__ == "__main__":
    main()
