"""Small real LangGraph graphs whose true vulnerabilities can be worked out by running every possible case.

Each holds a finite population of cases, some of which the clean run gets wrong, and simple output faults.
Nodes are deterministic and write one text each, so that the text of an output is that string. In loops the
first visit of a node is the one faulted, of parallel `Send` tasks the first. `loss_table.py` works out the
truth.
"""

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import scenario_graphs
from langgraph.graph import StateGraph
from scenario_graphs import Around, Coin

from sherlock.cases import Case


@dataclass(frozen=True, slots=True)
class TextFault:
    """The arguments of `sherlock.faults.Fault`, in order; `apply(text, rng)` gives None where the fault does
    not fit.
    """

    name: str
    kind: str
    weight: float
    apply: Callable[[str, Any], str | None]


def exactly(output: Mapping[str, Any], case: Case) -> float:
    return float(output["answer"] == case.expected)


def nearly(output: Mapping[str, Any], case: Case) -> float:
    """Half a point for an answer within two of the right one."""
    answer = _numbers(output["answer"])
    if not answer:
        return 0.0
    distance = abs(answer[0] - int(case.expected))
    return 1.0 if distance == 0 else 0.5 if distance <= 2 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scenario:
    """A graph, its population of `(inputs, expected, probability)`, and how it is scored.

    `make(around, coin)` builds the graph, each node function passed through `around`. `coin` is None except
    where a node is flaky: then `coin(seed)` says whether it works this time, which it does with probability
    `luck`, and the nodes in `before_flaky` are those whose replay runs it again.
    """

    name: str
    make: Callable[[Around, Coin], StateGraph]
    population: tuple[tuple[dict[str, str], str, float], ...]
    score: Callable[[Mapping[str, Any], Case], float] = exactly
    luck: float = 1.0
    before_flaky: frozenset[str] = frozenset()

    @property
    def faults(self) -> tuple[TextFault, ...]:
        return FAULTS

    def build(self) -> StateGraph:
        """The graph as a user would write it, not compiled."""
        return self.make(lambda _, function: function, SeededCoin(self.luck))

    def cases(self, n: int, seed: int = 0) -> list[Case]:
        """`n` cases drawn from the population."""
        drawn = random.Random(seed).choices(self.population, [p for _, _, p in self.population], k=n)
        return [self.case(inputs, expected, f"{seed}-{i}") for i, (inputs, expected, _) in enumerate(drawn)]

    def case(self, inputs: dict[str, str], expected: str, name: str) -> Case:
        return Case({**inputs, "seed": name} if self.luck < 1 else inputs, expected, id=name)

    def truth(self) -> dict[str, float]:
        """The vulnerability of every node, by brute force."""
        from loss_table import true_vulnerability

        return true_vulnerability(self)


class SeededCoin:
    """Falls differently every time a case's node runs, but the same way in every process."""

    def __init__(self, luck: float) -> None:
        self.luck = luck
        self.times: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __call__(self, seed: str) -> bool:
        with self.lock:
            self.times[seed] += 1
            times = self.times[seed]
        return random.Random(f"{seed}/{times}").random() < self.luck


# Faults


def _next_number(text: str, _rng: Any) -> str | None:
    found = list(re.finditer(r"\d+", text))
    if not found:
        return None
    last = found[-1]
    return text[: last.start()] + str(int(last.group()) + 1) + text[last.end() :]


OPPOSITES = {
    "high": "low",
    "low": "high",
    "free": "paid",
    "paid": "free",
    "refund": "order",
    "order": "refund",
}


def _opposite(text: str, _rng: Any) -> str | None:
    swapped = re.sub(r"\w+", lambda word: OPPOSITES.get(word.group(), word.group()), text)
    return swapped if swapped != text else None


FAULTS = (
    TextFault("empty", "output", 0.15, lambda text, _rng: "" if text else None),
    TextFault("error text", "output", 0.15, lambda _text, _rng: "Error: timed out"),
    TextFault("truncated", "output", 0.2, lambda text, _rng: text[: len(text) // 2] if text else None),
    TextFault("number off by one", "output", 0.3, _next_number),
    TextFault("opposite", "output", 0.2, _opposite),
)


def _numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]


def _population(*rows: tuple[str, str, float]) -> tuple[tuple[dict[str, str], str, float], ...]:
    return tuple(({"text": text}, expected, probability) for text, expected, probability in rows)


CHAIN = Scenario(
    name="chain with masking",
    make=scenario_graphs.chain,
    population=_population(
        ("3 tea and 4 milk", "shipping is paid", 0.18),
        ("8 tea and 1 milk", "shipping is paid", 0.14),
        ("2 tea", "shipping is paid", 0.12),
        ("9 tea and 1 milk", "shipping is free", 0.12),
        ("12 tea and 7 milk", "shipping is free", 0.14),
        ("6 tea and 5 milk", "shipping is free", 0.10),
        ("20 milk", "shipping is free", 0.05),
        ("six tea and 5 milk", "shipping is free", 0.08),
        ("a dozen of tea", "shipping is free", 0.07),
    ),
)

VOTE = Scenario(
    name="vote of three",
    make=scenario_graphs.vote,
    population=_population(
        ("2 and 3", "5", 0.25),
        ("17 and 5", "22", 0.2),
        ("4 and 4 and 1", "9", 0.15),
        ("10 and -3", "7", 0.15),
        ("20 and 5 and 6", "31", 0.1),
        ("9 and -2 and 5", "12", 0.1),
        ("31 and -1 and 2", "32", 0.05),
    ),
)

ROUTER = Scenario(
    name="router",
    make=scenario_graphs.router,
    population=_population(
        ("please buy 12 cups", "order 12", 0.19),
        ("buy 3 boxes for me", "order 3", 0.15),
        ("take back invoice 41", "refund 41", 0.2),
        ("money back for 7", "refund 7", 0.1),
        ("where are you", "a person will answer", 0.1),
        ("I want to buy something", "a person will answer", 0.14),
        ("buy 5 when you are back", "order 5", 0.07),
        ("send 8 more cups", "order 8", 0.05),
    ),
)

LOOP = Scenario(
    name="loop that heals itself",
    make=scenario_graphs.loop,
    population=_population(
        ("4 and 5", "9", 0.25),
        ("11 and 20", "31", 0.25),
        ("7", "7", 0.2),
        ("6 and 6 and 6", "18", 0.1),
        ("two and 3", "5", 0.12),
        ("5 less 1", "4", 0.08),
    ),
)

MAP_REDUCE = Scenario(
    name="map-reduce by Send",
    make=scenario_graphs.map_reduce,
    score=nearly,
    population=_population(
        ("2 x 3 and 4 x 5", "26", 0.25),
        ("1 x 2 and 6 and 3 x 3", "17", 0.25),
        ("7 x 2 and 1", "15", 0.2),
        ("10 x 2", "20", 0.1),
        ("2 x 2 x 2 and 3", "11", 0.1),
        ("5 and half of 4", "7", 0.1),
    ),
)

NESTED = Scenario(
    name="subgraph",
    make=scenario_graphs.nested,
    population=_population(
        ("Of 9 and 4 ", "at most 9", 0.2),
        ("Of 3 and 11", "at most 11", 0.2),
        ("Of 25 and 2 ", "at most 20", 0.2),
        ("Of 1 and 40", "at most 20", 0.1),
        ("Of 6", "at most 6", 0.1),
        ("Of ten and 7", "at most 10", 0.12),
        ("Of 5 and minus 8", "at most 5", 0.08),
    ),
)

FLAKY = Scenario(
    name="flaky suffix",
    make=scenario_graphs.flaky,
    luck=0.75,
    before_flaky=frozenset({"read"}),
    population=_population(
        ("13 and 21", "about 30", 0.3),
        ("44 and 50", "about 90", 0.25),
        ("62", "about 60", 0.2),
        ("1 and 3", "about 0", 0.1),
        ("forty and 12", "about 50", 0.15),
    ),
)

SCENARIOS = (CHAIN, VOTE, ROUTER, LOOP, MAP_REDUCE, NESTED, FLAKY)
