"""Measure the order desk on fresh cases: each step on gold inputs, then the whole, one request at a time.

    python measure.py --seed 7 --n 40

Uses the server that `OPENAI_BASE_URL` names, else starts the embedded model. Prints Markdown.
"""

import argparse
import asyncio
import contextlib
import json
import os
import time
from typing import Any

import graph as desk
from make_cases import make_cases
from scorers import graded, right, strict

from sherlock.cases import Case
from sherlock.estimate import mean_score
from sherlock.interpose.calls import CallScope, install
from sherlock.models.local import serve

STEPS = {
    "intake": "order",
    "read_tone": "tone",
    "shipping": "van",
    "subtotal": "goods",
    "work_total": "total",
    "compose": "draft",
}
GOLD = {**STEPS, "stock": "prices"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the order desk on fresh cases.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=40, help="number of cases")
    parser.add_argument("--split", choices=["heldout", "train"], default="heldout")
    asked = parser.parse_args()
    cases = make_cases(asked.seed, asked.n, asked.split)
    install()
    given = os.environ.get("OPENAI_BASE_URL")
    with contextlib.nullcontext() if given else serve(export=True):
        asyncio.run(_measure([Case(**case) for case in cases]))


async def _measure(cases: list[Case]) -> None:
    print("| step | right given gold inputs |\n|---|---|")
    for step, key in STEPS.items():
        print(f"| `{step}` | {_shown([await _right_alone(step, key, case) for case in cases])} |", flush=True)
    scope = CallScope()
    began = time.perf_counter()
    with scope.active():
        outputs = [await desk.graph.ainvoke(case.inputs) for case in cases]
    seconds = time.perf_counter() - began
    ends = list(zip(outputs, cases, strict=True))
    print("\n| the whole | |\n|---|---|")
    print(f"| all four facts right (`strict`) | {_shown([strict(*end) for end in ends])} |")
    print(f"| share of facts right (`graded`) | {_shown([graded(*end) for end in ends])} |")
    for fact in ("name", "van", "total", "route"):
        print(f"| {fact} right | {_shown([right(output, case.expected)[fact] for output, case in ends])} |")
    used, n = scope.usage, len(cases)
    print(f"| model calls a case | {used.calls / n:.1f} |")
    print(f"| prompt tokens a case | {used.tokens_in / n:.0f}, {used.tokens_cached / used.tokens_in:.0%} cached |")
    print(f"| answer tokens a case | {used.tokens_out / n:.0f} |")
    print(f"| seconds a case | {seconds / n:.1f} |")


async def _right_alone(step: str, key: str, case: Case) -> bool:
    gold = case.references or {}
    state = {**case.inputs, **{GOLD[node]: _value(gold[node]) for node in GOLD}}
    answer = await getattr(desk, step)(state)
    return bool(answer[key] == state[key])


def _value(text: str) -> Any:
    """Gold text as the state holds it."""
    return json.loads(text) if text[0] in "[{" else text


def _shown(values: list[Any]) -> str:
    found = mean_score([float(value) for value in values])
    return f"{found.value:.0%} [{found.low:.0%}, {found.high:.0%}], n = {found.n}"


if __name__ == "__main__":
    main()
