"""The graphs of `scenarios.py`: each function builds one, its node functions passed through `around`."""

import operator
import re
from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

Node = Callable[[Any], dict[str, Any]]
Around = Callable[[str, Node], Node]
Coin = Callable[[str], bool] | None


# A chain that masks: most wrong numbers end up on the same side of the threshold


class ChainState(TypedDict, total=False):
    text: str
    numbers: str
    total: str
    grade: str
    answer: str


def chain(around: Around, _coin: Any) -> StateGraph:
    def read(state: ChainState) -> dict[str, Any]:
        return {"numbers": " ".join(re.findall(r"\d+", state["text"]))}

    def add(state: ChainState) -> dict[str, Any]:
        return {"total": str(sum(_numbers(state["numbers"])))}

    def grade(state: ChainState) -> dict[str, Any]:
        return {"grade": "high" if sum(_numbers(state["total"])) >= 10 else "low"}

    def reply(state: ChainState) -> dict[str, Any]:
        return {"answer": "shipping is free" if state["grade"] == "high" else "shipping is paid"}

    builder = StateGraph(ChainState)
    for function in (read, add, grade, reply):
        builder.add_node(function.__name__, around(function.__name__, function))
    return _in_a_row(builder, "read", "add", "grade", "reply")


# Three voters, two of them with a blind spot of their own


class VoteState(TypedDict, total=False):
    text: str
    sums: str
    a: str
    b: str
    c: str
    answer: str


def vote(around: Around, _coin: Any) -> StateGraph:
    def parse(state: VoteState) -> dict[str, Any]:
        return {"sums": " + ".join(re.findall(r"-?\d+", state["text"]))}

    def a(state: VoteState) -> dict[str, Any]:
        return {"a": str(sum(map(int, re.findall(r"-?\d+", state["sums"]))))}

    def b(state: VoteState) -> dict[str, Any]:
        return {"b": str(sum(map(int, re.findall(r"-?\d+", state["sums"])[:2])))}

    def c(state: VoteState) -> dict[str, Any]:
        return {"c": str(sum(_numbers(state["sums"])))}

    def vote(state: VoteState) -> dict[str, Any]:
        counts = Counter((state["a"], state["b"], state["c"]))
        return {"answer": min(counts, key=lambda answer: (-counts[answer], answer))}

    builder = StateGraph(VoteState)
    for function in (parse, a, b, c, vote):
        builder.add_node(function.__name__, around(function.__name__, function))
    builder.add_edge(START, "parse")
    for voter in "abc":
        builder.add_edge("parse", voter)
    builder.add_edge(["a", "b", "c"], "vote")
    return builder.add_edge("vote", END)


# A router by content: a node is visited by some cases only


class RouterState(TypedDict, total=False):
    text: str
    topic: str
    action: str
    answer: str


def router(around: Around, _coin: Any) -> StateGraph:
    def classify(state: RouterState) -> dict[str, Any]:
        words = state["text"].split()
        return {"topic": "refund" if "back" in words else "order" if "buy" in words else "other"}

    def refund(state: RouterState) -> dict[str, Any]:
        return {"action": f"refund {sum(_numbers(state['text'])[:1])}"}

    def order(state: RouterState) -> dict[str, Any]:
        return {"action": f"order {sum(_numbers(state['text'])[-1:])}"}

    def person(_state: RouterState) -> dict[str, Any]:
        return {"action": "ask"}

    def reply(state: RouterState) -> dict[str, Any]:
        verb, *numbers = re.findall(r"refund|order|\d+", state["action"]) or ["ask"]
        return {"answer": f"{verb} {numbers[0]}" if numbers and numbers[0] != "0" else "a person will answer"}

    def route(state: RouterState) -> str:
        return state["topic"] if state["topic"] in ("refund", "order") else "person"

    builder = StateGraph(RouterState)
    for function in (classify, refund, order, person, reply):
        builder.add_node(function.__name__, around(function.__name__, function))
    builder.add_edge(START, "classify")
    builder.add_conditional_edges("classify", route, ["refund", "order", "person"])
    for branch in ("refund", "order", "person"):
        builder.add_edge(branch, "reply")
    return builder.add_edge("reply", END)


# A loop that heals itself: what the check sees is done again


class LoopState(TypedDict, total=False):
    text: str
    draft: str
    verdict: str
    answer: str


def loop(around: Around, _coin: Any) -> StateGraph:
    def draft(state: LoopState) -> dict[str, Any]:
        return {"draft": f"total {sum(_numbers(state['text']))}"}

    def check(state: LoopState) -> dict[str, Any]:
        complete = re.fullmatch(r"total \d+", state["draft"]) is not None
        return {"verdict": "fine" if complete else state.get("verdict", "") + "again "}

    def send(state: LoopState) -> dict[str, Any]:
        return {"answer": state["draft"].removeprefix("total ")}

    def route(state: LoopState) -> str:
        return "draft" if state["verdict"] in ("again ", "again again ") else "send"

    builder = StateGraph(LoopState)
    for function in (draft, check, send):
        builder.add_node(function.__name__, around(function.__name__, function))
    builder.add_edge(START, "draft")
    builder.add_edge("draft", "check")
    builder.add_conditional_edges("check", route, ["draft", "send"])
    return builder.add_edge("send", END)


# Map-reduce by Send, with a graded score


class ReduceState(TypedDict, total=False):
    text: str
    parts: str
    part: str
    done: Annotated[str, operator.add]
    answer: str


def map_reduce(around: Around, _coin: Any) -> StateGraph:
    def split(state: ReduceState) -> dict[str, Any]:
        return {"parts": "|".join(part.strip() for part in state["text"].split("and"))}

    def work(state: ReduceState) -> dict[str, Any]:
        factors = _numbers(state["part"])
        return {"done": f"{factors[0] * (factors[1] if len(factors) > 1 else 1)};" if factors else ""}

    def total(state: ReduceState) -> dict[str, Any]:
        return {"answer": str(sum(_numbers(state.get("done", ""))))}

    def spread(state: ReduceState) -> list[Send]:
        return [Send("work", {"part": part}) for part in state["parts"].split("|")]

    builder = StateGraph(ReduceState)
    for function in (split, work, total):
        builder.add_node(function.__name__, around(function.__name__, function))
    builder.add_edge(START, "split")
    builder.add_conditional_edges("split", spread, ["work"])
    builder.add_edge("work", "total")
    return builder.add_edge("total", END)


# A subgraph


class NestedState(TypedDict, total=False):
    text: str
    request: str
    numbers: str
    result: str
    answer: str


def nested(around: Around, _coin: Any) -> StateGraph:
    def intake(state: NestedState) -> dict[str, Any]:
        return {"request": state["text"].strip().lower()}

    def parse(state: NestedState) -> dict[str, Any]:
        return {"numbers": " ".join(re.findall(r"\d+", state["request"]))}

    def compute(state: NestedState) -> dict[str, Any]:
        return {"result": str(max(_numbers(state["numbers"]), default=0))}

    def reply(state: NestedState) -> dict[str, Any]:
        return {"answer": f"at most {min(sum(_numbers(state['result'])), 20)}"}

    inner = StateGraph(NestedState)
    inner.add_node("parse", around("solve/parse", parse))
    inner.add_node("compute", around("solve/compute", compute))
    builder = StateGraph(NestedState)
    builder.add_node("intake", around("intake", intake))
    builder.add_node("solve", _in_a_row(inner, "parse", "compute").compile())
    builder.add_node("reply", around("reply", reply))
    return _in_a_row(builder, "intake", "solve", "reply")


# A flaky suffix: the second node does not always work


class FlakyState(TypedDict, total=False):
    text: str
    seed: str
    numbers: str
    total: str
    answer: str


def flaky(around: Around, coin: Coin) -> StateGraph:
    def read(state: FlakyState) -> dict[str, Any]:
        return {"numbers": " ".join(re.findall(r"\d+", state["text"]))}

    def add(state: FlakyState) -> dict[str, Any]:
        works = coin is None or coin(state.get("seed", ""))
        return {"total": str(sum(_numbers(state["numbers"]))) if works else "Error: timed out"}

    def reply(state: FlakyState) -> dict[str, Any]:
        return {"answer": f"about {round(sum(_numbers(state['total'])), -1)}"}

    builder = StateGraph(FlakyState)
    for function in (read, add, reply):
        builder.add_node(function.__name__, around(function.__name__, function))
    return _in_a_row(builder, "read", "add", "reply")


def _in_a_row(builder: StateGraph, *names: str) -> StateGraph:
    for before, after in zip((START, *names), (*names, END), strict=True):
        builder.add_edge(before, after)
    return builder


def _numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]
