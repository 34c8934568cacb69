"""Write cases for the order desk, with gold answers for its end and for every node.

python make_cases.py --seed 7 --n 20 > cases.jsonl

The same arguments give the same bytes. `--split heldout` (the default) and `--split train` share no name,
city, item, remark or phrasing; the examples in `prompts.py` come from `train`.
"""

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from catalogue import FEES, LARGE_TOTAL, fee_of, price_of
from prompts import reply, summed
from vocabulary import SPLITS, Vocabulary

ASIDE_SHARE = 0.2
BAG_SHARE = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description="Write order desk cases as JSON Lines.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=40, help="number of cases")
    parser.add_argument("--split", choices=sorted(SPLITS), default="heldout")
    parser.add_argument("-o", "--output", type=Path, help="file to write (default: standard output)")
    asked = parser.parse_args()
    text = "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in make_cases(asked.seed, asked.n, asked.split))
    if asked.output:
        asked.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


def make_cases(seed: int, n: int, split: str = "heldout") -> list[dict[str, Any]]:
    """`n` cases of the split, each a dict as `sherlock` reads it from JSON Lines; no two e-mails are equal."""
    rng = random.Random(f"order desk {split} {seed}")
    cases: list[dict[str, Any]] = []
    emails: set[str] = set()
    while len(cases) < n:
        case = _case(rng, SPLITS[split])
        if case["inputs"]["email"] not in emails:
            emails.add(case["inputs"]["email"])
            cases.append({"id": f"{split}-{seed}-{len(cases) + 1:03d}", **case, "tags": [split]})
    return cases


def _case(rng: random.Random, words: Vocabulary) -> dict[str, Any]:
    name = rng.choice(words.names)
    cities = rng.sample(words.cities, 3)
    items = rng.sample(words.items, 2)
    vans = rng.sample(sorted(FEES), 3)
    tone = rng.choice(["good", "bad"])
    order = {"name": name, "city": cities[0], "items": sorted(items)}
    inputs = {
        "email": _email(rng, words, order, items, other=cities[1], tone=tone),
        "dispatch": _dispatch(rng, words, dict(zip(cities, vans, strict=True))),
    }
    return {"inputs": inputs, **_gold(order, van=vans[0], tone=tone)}


def _email(
    rng: random.Random, words: Vocabulary, order: dict[str, Any], items: list[str], *, other: str, tone: str
) -> str:
    a, b = (_with_article(item) for item in items)
    text = rng.choice(words.orders).format(name=order["name"], city=order["city"], a=a, b=b)
    if rng.random() < ASIDE_SHARE:
        text = _with_aside(text, rng.choice(words.asides).format(other=other), order["name"])
    remark = rng.choice(words.praise if tone == "good" else words.complaints)
    return f"{text}\nP.S. {remark.format(thing=rng.choice(words.things))}"


def _with_article(item: str) -> str:
    return f"an {item}" if item[0] in "aeiou" else f"a {item}"


def _with_aside(text: str, aside: str, name: str) -> str:
    """The aside after the order, but before the sender's name where that closes the e-mail."""
    body, full_stop, farewell = text.rpartition(". ")
    if farewell.endswith(f", {name}"):
        return f"{body}{full_stop}{aside} {farewell}"
    return f"{text} {aside}"


def _dispatch(rng: random.Random, words: Vocabulary, vans: dict[str, str]) -> str:
    """Today's dispatch sheet: a line for each city, in any order, some of them also about letters."""
    lines = []
    for city, van in vans.items():
        parts = [rng.choice(words.vans).format(city=city, colour=van)]
        if rng.random() < BAG_SHARE:
            bag = rng.choice([colour for colour in sorted(FEES) if colour != van])
            parts.append(rng.choice(words.bags).format(city=city, colour=bag))
            rng.shuffle(parts)
        lines.append(" ".join(parts))
    rng.shuffle(lines)
    return "\n".join(lines)


def _gold(order: dict[str, Any], *, van: str, tone: str) -> dict[str, Any]:
    first, second = (price_of(item) for item in order["items"])
    goods, fee = first + second, fee_of(van)
    total = goods + fee
    answer = reply(order["name"], van, total)
    route = "manager" if tone == "bad" and total >= LARGE_TOTAL else "desk"
    outputs: dict[str, Any] = {
        "intake": order,
        "read_tone": tone,
        "stock": [first, second],
        "shipping": van,
        "subtotal": summed(first, second),
        "work_total": summed(goods, fee),
        "compose": answer,
        "check": {"reply": answer, "route": route},
    }
    return {
        "expected": {"name": order["name"], "van": van, "total": total, "route": route},
        "references": {node: _text(value) for node, value in outputs.items()},
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)


if __name__ == "__main__":
    main()
