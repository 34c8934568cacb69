"""Workflows whose outputs are rejected now and then: guarded, verified by hand, and at best.

What a node says is a name for the run, the node and what the node has read. How long that took, how long its verdict
takes and what the verdict is are functions of the name. So every way of running a workflow meets the same times and the
same verdicts, wherever it executes a node on the same input.
"""

import asyncio
import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph

import sherlock


@dataclass(frozen=True, slots=True, kw_only=True)
class Workflow:
    """`sources`: each node, in the order of the flow, with the nodes that it reads. `placed`: those with a verifier."""

    name: str
    sources: Mapping[str, tuple[str, ...]]
    placed: frozenset[str]

    @property
    def last(self) -> list[str]:
        read = {source for sources in self.sources.values() for source in sources}
        return [node for node in self.sources if node not in read]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Lognormal seconds, by medians and the deviation of the logarithm, and the rate of verdicts that match."""

    match_rate: float
    execution_s: float = 1.0
    verdict_s: float = 2.0
    spread: float = 0.6

    def execution(self, said: str) -> float:
        """The seconds that the execution took in which this was said."""
        return self.execution_s * math.exp(random.Random(f"execution {said}").gauss(0, self.spread))

    def verdict(self, said: str) -> float:
        """The seconds until there is a verdict on what was said."""
        return self.verdict_s * math.exp(random.Random(f"verdict {said}").gauss(0, self.spread))

    def accepts(self, said: str) -> bool:
        """The verdict."""
        return random.Random(f"accepts {said}").random() < self.match_rate


@dataclass(slots=True)
class Took:
    """Seconds of one run: until its last execution that counts has ended, and until all verdicts were in."""

    t_exec: float
    t_vrf: float


@dataclass(frozen=True, slots=True)
class Judge:
    """The verifier of one node."""

    times: Times
    name: str = "judge"

    async def verify(self, subject: sherlock.Subject) -> sherlock.Verdict:
        await asyncio.sleep(self.times.verdict(subject.text))
        if self.times.accepts(subject.text):
            return sherlock.Verdict(accepted=True)
        return sherlock.Verdict(accepted=False, corrected=corrected(subject.text))


def said(node: str, run: int, read: Sequence[str]) -> str:
    """What a node says: one word, so that no two outputs have a part in common."""
    return "w" + hashlib.sha256(f"{run} {node} {' '.join(read)}".encode()).hexdigest()[:16]


def corrected(text: str) -> str:
    return said("correction", 0, [text])


@dataclass(slots=True)
class Executions:
    """When the nodes of the run under way ended."""

    ends: list[float] = field(default_factory=list)


def compiled(workflow: Workflow, times: Times, log: Executions, *, by_hand: bool = False) -> Any:
    """The workflow in LangGraph. A node is given what it reads and no more."""
    state = TypedDict("state", {"run": int, **dict.fromkeys(workflow.sources, str)}, total=False)  # type: ignore[misc]
    judge = Judge(times)

    def function(node: str, sources: tuple[str, ...]) -> Any:
        async def execute(values: dict[str, Any]) -> dict[str, str]:
            text = said(node, values["run"], [values[source] for source in sources])
            await asyncio.sleep(times.execution(text))
            log.ends.append(asyncio.get_running_loop().time())
            return {node: text}

        async def verified(values: dict[str, Any]) -> dict[str, str]:
            update = await execute(values)
            subject = sherlock.Subject(node=node, inputs=values, text=update[node], output=update)
            verdict = await judge.verify(subject)
            return update if verdict.accepted else {node: verdict.corrected}

        return verified if by_hand and node in workflow.placed else execute

    builder = StateGraph(state)
    for node, sources in workflow.sources.items():
        reads = TypedDict(f"{node}_reads", {"run": int, **dict.fromkeys(sources, str)}, total=False)  # type: ignore[misc]
        builder.add_node(node, function(node, sources), input_schema=reads)
        builder.add_edge(list(sources) if len(sources) > 1 else (sources or (START,))[0], node)
    for node in workflow.last:
        builder.add_edge(node, END)
    return builder.compile()


@dataclass(slots=True)
class ByHand:
    """The workflow whose nodes await their verifiers."""

    workflow: Workflow
    times: Times
    log: Executions = field(default_factory=Executions)
    graph: Any = None

    def __post_init__(self) -> None:
        self.graph = compiled(self.workflow, self.times, self.log, by_hand=True)

    async def run(self, number: int) -> tuple[Any, Took]:
        """The final state, and what it took."""
        loop = asyncio.get_running_loop()
        self.log.ends.clear()
        began = loop.time()
        state = await self.graph.ainvoke({"run": number})
        return state, Took(max(self.log.ends) - began, loop.time() - began)


@dataclass(slots=True)
class Guarded:
    """The workflow under `guard`, with the default policy but for the mode, and for rollbacks without a limit."""

    workflow: Workflow
    times: Times
    mode: str = "speculate"
    agent: Any = None

    def __post_init__(self) -> None:
        plan = sherlock.Plan.attach({node: Judge(self.times) for node in sorted(self.workflow.placed)})
        graph = compiled(self.workflow, self.times, Executions())
        self.agent = sherlock.guard(graph, plan, policy={"mode": self.mode, "max_rollbacks": 1000})

    async def run(self, number: int) -> tuple[Any, Took]:
        """The final state, and what it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        state = await self.agent.ainvoke({"run": number})
        return state, Took(self.agent.report().t_exec_s, loop.time() - began)


def best(workflow: Workflow, times: Times, number: int) -> tuple[dict[str, Any], Took]:
    """What a run takes at least, whoever runs it: the final state, and the seconds.

    A node cannot begin before all that it reads is there, for good. What is accepted is there when its execution ends,
    as one may rightly guess that it will be; what is rejected is there when the verdict brings the correction, as
    nobody can guess that. All guesses are right here: nothing waits that need not, and no work is thrown away.
    Supersteps are not counted in: nodes wait for what they read and for nothing else.
    """
    state: dict[str, Any] = {"run": number}
    there: dict[str, float] = {}
    took = Took(0.0, 0.0)
    for node, sources in workflow.sources.items():
        text = said(node, number, [state[source] for source in sources])
        there[node] = end = max((there[source] for source in sources), default=0.0) + times.execution(text)
        state[node] = text
        took.t_exec = max(took.t_exec, end)
        if node in workflow.placed:
            end += times.verdict(text)
            if not times.accepts(text):
                there[node], state[node] = end, corrected(text)
        took.t_vrf = max(took.t_vrf, end)
    return state, took


def chain(length: int = 8) -> dict[str, tuple[str, ...]]:
    return {f"n{i}": (f"n{i - 1}",) if i else () for i in range(length)}


def diamonds(count: int = 3, width: int = 3) -> dict[str, tuple[str, ...]]:
    """Diamonds one after another, branches of one node."""
    sources: dict[str, tuple[str, ...]] = {"top0": ()}
    for i in range(count):
        branches = tuple(f"branch{i}{j}" for j in range(width))
        sources |= dict.fromkeys(branches, (f"top{i}",))
        sources[f"top{i + 1}"] = branches
    return sources


def long_diamond(length: int = 3, width: int = 3) -> dict[str, tuple[str, ...]]:
    """One diamond, branches of several nodes: LangGraph takes them in step."""
    sources: dict[str, tuple[str, ...]] = {"top": ()}
    for i in range(length):
        sources |= {f"n{i}{j}": (f"n{i - 1}{j}" if i else "top",) for j in range(width)}
    sources["bottom"] = tuple(f"n{length - 1}{j}" for j in range(width))
    return sources


def fan_out(width: int = 12) -> dict[str, tuple[str, ...]]:
    """An intake, a split, drafts side by side, a merge and a reply."""
    drafts = tuple(f"draft{i}" for i in range(width))
    return {
        "intake": (),
        "split": ("intake",),
        **dict.fromkeys(drafts, ("split",)),
        "merge": drafts,
        "reply": ("merge",),
    }


SHAPES = {
    "chain of 8": chain(),
    "3 diamonds, 3 wide": diamonds(),
    "diamond, 3 wide, 3 long": long_diamond(),
    "fan-out of 12": fan_out(),
}


def workflows() -> list[Workflow]:
    """Each shape with a verifier on every node, and with three: on the last, the first, and the one that reads most."""
    found = []
    for name, sources in SHAPES.items():
        nodes = list(sources)
        middle = max(nodes[1:-1], key=lambda node: len(sources[node]))
        found.append(Workflow(name=f"{name}, all placed", sources=sources, placed=frozenset(nodes)))
        three = frozenset({nodes[0], middle, nodes[-1]})
        found.append(Workflow(name=f"{name}, 3 placed", sources=sources, placed=three))
    return found
