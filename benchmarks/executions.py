"""How many node executions does an analysis need, against re-running the whole workflow for every injection?

Every node counts its own executions, so that the artefact's count is checked too. Replays without a fault are counted
on both sides, as the artefact does; a further column holds all that was executed against the clean runs and injections
alone. Run: `python benchmarks/executions.py [--cases 12] [--seeds 5] [--json]`. Prints Markdown, in a few minutes.
"""

import argparse
import asyncio
import itertools
import operator
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import SimpleChatModel
from langchain_core.messages import BaseMessage
from langgraph.graph import END, START, StateGraph
from measured import Findings, Goal, machine, median, show

import sherlock
from sherlock.canonical import digest

CHAIN, DRAFTS = 10, 8
CHAIN_GOAL, FAN_OUT_GOAL = 0.55, 0.35
MARGIN = 0.10
TO_THE_END: dict[str, float] = {"margin": 0.0, "confidence": 1 - 1e-12}
"""Two nodes are told apart only where hardly any doubt is left. A margin of 0 alone still lets beaten nodes go."""
WEIGHTS = (0.05, 0.12, 0.03, 0.4, 0.06, 0.015, 0.2, 0.04, 0.08, 0.005)
"""What each node's part is worth in the chain whose true ranking is known."""


Graph = StateGraph[Any, Any, Any, Any]


def latest(one: int, other: int) -> int:
    return max(one, other)


class State(TypedDict, total=False):
    text: str
    drafts: Annotated[list[str], operator.add]
    ticket: Annotated[int, latest]


Parts = TypedDict("Parts", {"text": str} | {f"part{number}": str for number in range(CHAIN)}, total=False)  # type: ignore[misc]
"""The state of a chain in which each node writes a part of its own."""


class Nodes:
    """The nodes of one graph, which count their executions. With `tickets` each also writes a number never seen before,
    which no node uses and no score depends on, so that no state and no update ever come again.
    """

    def __init__(self, *, tickets: bool = False) -> None:
        self.executions: Counter[str] = Counter()
        self._tickets = itertools.count(1) if tickets else None

    def node(self, name: str, work: "Work") -> Callable[..., Any]:
        async def node(state: dict[str, Any]) -> dict[str, Any]:
            self.executions[name] += 1
            update = work(state)
            return update if self._tickets is None else {**update, "ticket": next(self._tickets)}

        return node


Work = Callable[[Any], dict[str, Any]]


def append(word: str) -> Work:
    """Masks nothing: whatever differs before differs after."""
    return lambda state: {"text": f"{state['text']}; {word}"}


def triage(state: dict[str, Any]) -> dict[str, Any]:
    """Masks every fault that leaves the class of the text as it was."""
    return {"text": "an urgent order" if "urgent" in state["text"] else "an order"}


def ask(word: str) -> Work:
    """A model decides, and its answer depends on all that it is told."""
    return lambda state: {"text": f"{state['text']}; {answer(word, state['text'])}"}


def part(name: str, word: str) -> Work:
    return lambda state: {name: answer(word, state["text"])}


def answer(word: str, text: str) -> str:
    directive = f"You are clerk {word}. Always note what was ordered, and never drop the number."
    return str(Clerk().invoke([("system", directive), ("user", text)]).content)


def draft(word: str) -> Work:
    return lambda state: {"drafts": [f"{state['text']}, {word}"]}


def gather(state: dict[str, Any]) -> dict[str, Any]:
    """Masks nothing: all drafts are in its text."""
    return {"text": " and ".join(state["drafts"])}


def vote(state: dict[str, Any]) -> dict[str, Any]:
    """Masks a fault in one draft: the most frequent class wins."""
    votes = Counter("urgent" in draft for draft in state["drafts"])
    return {"text": "urgent" if votes.most_common(1)[0][0] else "can wait"}


class Clerk(SimpleChatModel):
    """A deterministic model, so that the benchmark needs no server."""

    @property
    def _llm_type(self) -> str:
        return "clerk"

    def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
        return f"note {digest([message.text for message in messages])[:6]}"


def chain(nodes: Nodes, work: Mapping[str, Work], schema: type = State) -> Graph:
    builder: Graph = StateGraph(schema)
    _add(builder, nodes, work)
    for before, after in itertools.pairwise((START, *work, END)):
        builder.add_edge(before, after)
    return builder


def plain_chain(nodes: Nodes) -> Graph:
    return chain(nodes, {name: append(word) for name, word in _names(CHAIN)})


def masking_chain(nodes: Nodes) -> Graph:
    """The fourth, seventh and tenth node are triages."""
    work = {name: append(word) for name, word in _names(CHAIN)}
    return chain(nodes, work | dict.fromkeys(list(work)[3::3], triage))


def model_chain(nodes: Nodes) -> Graph:
    return chain(nodes, {name: ask(word) for name, word in _names(CHAIN)})


def masking_model_chain(nodes: Nodes) -> Graph:
    work = {name: ask(word) for name, word in _names(CHAIN)}
    return chain(nodes, work | dict.fromkeys(list(work)[3::3], triage))


def plain_fan_out(nodes: Nodes) -> Graph:
    return fan_out(nodes, gather)


def masking_fan_out(nodes: Nodes) -> Graph:
    return fan_out(nodes, vote)


def chain_of_parts(nodes: Nodes) -> Graph:
    """Each node asks a model about the same text and writes a part of its own, so that what a fault costs is known."""
    work = {f"part{number}": part(f"part{number}", word) for number, (_, word) in enumerate(_names(CHAIN))}
    return chain(nodes, work, Parts)


def fan_out(nodes: Nodes, merge: Work) -> Graph:
    """Twelve nodes: intake, split, eight drafts side by side, merge, reply."""
    builder: Graph = StateGraph(State)
    drafts = {name: draft(word) for name, word in _names(DRAFTS)}
    _add(builder, nodes, {"intake": append("received"), "split": append("assigned"), **drafts})
    _add(builder, nodes, {"merge": merge}, reads="drafts")
    _add(builder, nodes, {"reply": append("regards")})
    for name in drafts:
        builder.add_edge("split", name)
    builder.add_edge(list(drafts), "merge")
    for before, after in ((START, "intake"), ("intake", "split"), ("merge", "reply"), ("reply", END)):
        builder.add_edge(before, after)
    return builder


def _add(builder: Graph, nodes: Nodes, work: Mapping[str, Work], reads: str = "text") -> None:
    """What a node reads is declared: through what counts its executions, its source does not show it."""
    for name, function in work.items():
        builder.add_node(name, nodes.node(name, function), metadata={"sherlock": {"reads": [reads]}})


def _names(count: int) -> list[tuple[str, str]]:
    words = ("logged", "priced", "packed", "weighed", "labelled", "booked", "insured", "loaded", "shipped", "billed")
    return [(f"n{place}_{word}", word) for place, word in enumerate(words[:count])]


Make = Callable[[Nodes], Graph]


def cases(make: Make, count: int, seed: int) -> list[sherlock.Case]:
    """Orders that the workflow gets right: what it returns without a fault is what is expected."""
    rng = random.Random(seed)
    towns = ("Berlin", "Lyon", "Porto", "Oslo")
    texts = [
        f"{rng.choice(('An urgent', 'A new'))} order of {rng.randint(2, 90)} chairs from {rng.choice(towns)}, "
        f"line {number}"
        for number in range(count)
    ]
    graph = make(Nodes()).compile()

    async def outputs() -> list[dict[str, Any]]:
        return [await graph.ainvoke({"text": text}) for text in texts]

    return [sherlock.Case({"text": text}, out) for text, out in zip(texts, asyncio.run(outputs()), strict=True)]


def right(output: Mapping[str, Any], case: sherlock.Case) -> bool:
    return bool(output["text"] == case.expected["text"])


def right_parts(output: Mapping[str, Any], case: sherlock.Case) -> float:
    """The weights of the parts that are right."""
    wrong = [w for n, w in enumerate(WEIGHTS) if output.get(f"part{n}") != case.expected[f"part{n}"]]
    return max(0.0, 1.0 - sum(wrong))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One analysis. `counted`: what the nodes counted; `told`: what the artefact says. `full`: what whole runs in place
    of every replay would have executed; `injections`: the same without the replays that have no fault.
    """

    counted: int
    told: int
    full: int
    full_told: int
    injections: int
    trials: int
    ranking: tuple[str, ...]
    values: Mapping[str, float]
    settled: bool

    @property
    def ratio(self) -> float:
        return self.counted / self.full


def analysed(make: Make, count: int, seed: int, *, tickets: bool = False, **settings: Any) -> Run:
    """Analyse once, to the end unless `settings` say otherwise."""
    nodes = Nodes(tickets=tickets)
    graph = make(nodes)
    size = len(graph.nodes)
    done: Counter[str] = Counter()

    def progress(event: Any) -> None:
        done[event.stage] += 1

    found = sherlock.analyze(
        graph,
        cases(make, count, seed),
        scorer=right_parts if make is chain_of_parts else right,
        seed=seed,
        progress=progress,
        **(TO_THE_END | settings),
    )
    return Run(
        counted=nodes.executions.total(),
        told=found.node_executions,
        full=size * (done["clean"] + done["sham"] + done["trial"]),
        full_told=found.node_executions_full,
        injections=size * (done["clean"] + done["trial"]),
        trials=found.trials,
        ranking=tuple(found.ranking),
        values={name: node.vulnerability.value for name, node in found.nodes.items() if node.vulnerability},
        settled=found.settled,
    )


WORKFLOWS: dict[str, tuple[Make, dict[str, Any]]] = {
    "chain, masks nothing": (plain_chain, {}),
    "chain, masks nothing, 3 faults of each kind": (plain_chain, {"faults_per_kind": 3}),
    "chain, masks nothing, nodes ask a model": (model_chain, {}),
    "chain, masks nothing, not deterministic": (plain_chain, {"tickets": True}),
    "chain, three nodes mask": (masking_chain, {}),
    "chain, three nodes mask, others ask a model": (masking_model_chain, {}),
    "chain, three nodes mask, not deterministic": (masking_chain, {"tickets": True}),
    "fan-out, masks nothing": (plain_fan_out, {}),
    "fan-out, masks nothing, not deterministic": (plain_fan_out, {"tickets": True}),
    "fan-out, a vote masks": (masking_fan_out, {}),
    "fan-out, a vote masks, not deterministic": (masking_fan_out, {"tickets": True}),
}


def against_whole_runs(count: int, seeds: int) -> Findings:
    """Every workflow, analysed to the end."""
    rows, goals = [], []
    for name, (make, options) in WORKFLOWS.items():
        runs = [analysed(make, count, seed, **options) for seed in range(seeds)]
        rows.append(_row(name, runs))
        goals.append(Goal(what=f"{name}, highest ratio", value=max(run.ratio for run in runs), most=goal_of(name)))
    for shape, mask in (("chain", "three nodes mask"), ("fan-out", "a vote masks")):
        plain, masked = (next(r for r in rows if r["workflow"] == f"{shape}, {x}") for x in ("masks nothing", mask))
        goals.append(Goal(what=f"{shape}, masked against not", value=masked["ratio"][0], most=plain["ratio"][0]))
    title = (
        f"Node executions of `analyze` against whole re-runs, {count} cases, to the end; median of {seeds} seeds "
        "with 95 % interval. Chain: 10 nodes; fan-out: 12."
    )
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


def goal_of(workflow: str) -> float:
    """The highest ratio that a workflow may have; where faults are masked it should be lower than where none are."""
    return CHAIN_GOAL if workflow.startswith("chain") else FAN_OUT_GOAL


def _row(name: str, runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "workflow": name,
        "trials": round(median([run.trials for run in runs])[0]),
        "executed, by the nodes": round(median([run.counted for run in runs])[0]),
        "count agrees": all(run.counted == run.told and run.full == run.full_told for run in runs),
        "whole runs": round(median([run.full for run in runs])[0]),
        "ratio": median([run.ratio for run in runs]),
        "against clean runs and injections alone": median([run.counted / run.injections for run in runs]),
    }


SETTLING: dict[str, Make] = {
    "chain of parts": chain_of_parts,
    "chain, three nodes mask": masking_chain,
    "fan-out, a vote masks": masking_fan_out,
}


def against_going_on(count: int, seeds: int) -> Findings:
    """The default margin and confidence against next to every node getting every case that is used."""
    rows, goals = [], []
    for name, make in SETTLING.items():
        ends = [analysed(make, count, seed) for seed in range(seeds)]
        beaten = [analysed(make, count, seed, margin=0.0, confidence=0.95) for seed in range(seeds)]
        stops = [analysed(make, count, seed, margin=MARGIN, confidence=0.95) for seed in range(seeds)]
        both = list(zip(stops, ends, strict=True))
        shares = [stop.counted / end.counted for stop, end in both]
        rows.append(
            {
                "workflow": name,
                "settled": sum(stop.settled for stop in stops),
                "executed": round(median([stop.counted for stop in stops])[0]),
                "with margin 0": round(median([run.counted for run in beaten])[0]),
                "to the end": round(median([end.counted for end in ends])[0]),
                "part of that": median(shares),
                "against whole runs to the end": median([stop.counted / end.full for stop, end in both]),
                "same first": sum(stop.ranking[0] == end.ranking[0] for stop, end in both),
                "first within the margin": sum(_is_first(stop.ranking[0], end.values) for stop, end in both),
                "same order": sum(stop.ranking == end.ranking for stop, end in both),
                "Kendall's tau": median([_agreement(stop, end) for stop, end in both]),
            }
        )
        goals.append(Goal(what=f"{name}, largest part of the way to the end", value=max(shares), most=1.0))
    title = f"Adaptive stopping: {count} cases, margin {MARGIN}, {seeds} seeds."
    return Findings(title=title, rows=rows, goals=goals, notes=[machine()])


def _is_first(node: str, values: Mapping[str, float]) -> bool:
    return values[node] >= max(values.values()) - MARGIN


def _agreement(stop: Run, end: Run) -> float:
    """Kendall's tau-b between the two sets of vulnerabilities."""
    from scipy.stats import kendalltau

    names = sorted(stop.values.keys() & end.values.keys())
    found = kendalltau([stop.values[name] for name in names], [end.values[name] for name in names])
    return float(found.statistic)


def main(arguments: Sequence[str] | None = None) -> list[Findings]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=12)
    parser.add_argument("--many", type=int, default=60, help="cases for the second table")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    findings = [against_whole_runs(options.cases, options.seeds), against_going_on(options.many, options.seeds)]
    show(*findings, as_json=options.json)
    return findings


if __name__ == "__main__":
    main()
