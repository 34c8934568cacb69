"""An order desk: reads an order e-mail, works out van and price, and writes the reply.

intake ── stock ── subtotal ─┐ └───── shipping ──────────┴─ work_total ── compose ─┐ read_tone
─────────────────────────────────────────────┴─ check

Six of the eight steps ask a language model (`OPENAI_BASE_URL`, model "local"); `stock` and `check` are code.
A step that meets an answer it cannot read goes on with an empty value or 0.
"""

import json
import re
from typing import Any, TypedDict

from catalogue import LARGE_TOTAL, fee_of, price_of
from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI
from prompts import COMPOSE, INTAKE, SHIPPING, SUBTOTAL, TONE, TOTAL, Prompt, charged, facts, priced, reply


class Desk(TypedDict, total=False):
    email: str
    dispatch: str
    order: dict[str, Any]
    tone: str
    prices: list[int]
    van: str
    goods: str
    total: str
    draft: str
    reply: str
    route: str


async def intake(state: Desk) -> Desk:
    """Who orders which two things (in alphabetical order), and where they go."""
    body, _, _ = text_in(state.get("email")).partition("\nP.S.")
    return {"order": order_in(await ask(INTAKE, body.strip(), max_tokens=48))}


async def read_tone(state: Desk) -> Desk:
    """Whether the postscript is "good" or "bad" for the shop."""
    _, _, remark = text_in(state.get("email")).partition("\nP.S.")
    return {"tone": await ask(TONE, remark.strip(), max_tokens=4)}


def stock(state: Desk) -> Desk:
    """The prices of the two things ordered."""
    return {"prices": [price_of(item) for item in _items(state.get("order"))]}


async def shipping(state: Desk) -> Desk:
    """The colour of the van that goes to the customer's city."""
    city = _field(state.get("order"), "city")
    lines = [line for line in text_in(state.get("dispatch")).splitlines() if city and city in line]
    return {"van": await ask(SHIPPING, " ".join(lines), max_tokens=4)}


async def subtotal(state: Desk) -> Desk:
    """The price of the goods, as an equation."""
    items, prices = _items(state.get("order")), prices_in(state.get("prices"))
    return {"goods": await ask(SUBTOTAL, priced(items[0], prices[0], items[1], prices[1]), max_tokens=12)}


async def work_total(state: Desk) -> Desk:
    """The price with delivery, as an equation."""
    goods, fee = amount_in(state.get("goods")), fee_of(text_in(state.get("van")))
    return {"total": await ask(TOTAL, charged(goods, fee), max_tokens=12)}


async def compose(state: Desk) -> Desk:
    """The reply to the customer."""
    name, van = _field(state.get("order"), "name"), text_in(state.get("van"))
    return {"draft": await ask(COMPOSE, facts(name, van, amount_in(state.get("total"))), max_tokens=40)}


def check(state: Desk) -> Desk:
    """Replace a draft that misses a fact, and pass large orders of angry customers to the manager."""
    name, van = _field(state.get("order"), "name"), text_in(state.get("van"))
    total, draft = amount_in(state.get("total")), text_in(state.get("draft"))
    complete = f"Dear {name}," in draft and f" {van} van" in draft and re.search(rf"\${total}(?!\d)", draft)
    to_manager = text_in(state.get("tone")) == "bad" and total >= LARGE_TOTAL
    return {
        "reply": draft if complete else reply(name, van, total),
        "route": "manager" if to_manager else "desk",
    }


async def ask(prompt: Prompt, question: str, *, max_tokens: int) -> str:
    """The model's answer, one line."""
    async with AsyncOpenAI() as client:
        completion = await client.chat.completions.create(
            model="local",
            messages=prompt.messages(question),
            temperature=0,
            seed=0,
            max_tokens=max_tokens,
            stop=["\n"],
        )
    return (completion.choices[0].message.content or "").strip()


def order_in(answer: str) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except json.JSONDecodeError:
        found = None
    return {"name": _field(found, "name"), "city": _field(found, "city"), "items": sorted(_items(found))}


def _field(order: Any, name: str) -> str:
    return text_in(order.get(name)) if isinstance(order, dict) else ""


def _items(order: Any) -> list[str]:
    """The two things ordered; "" for one that is missing."""
    items = order.get("items") if isinstance(order, dict) else None
    found = [text_in(item) for item in items] if isinstance(items, list) else []
    return [*found, "", ""][:2]


def prices_in(prices: Any) -> list[int]:
    found = [amount_in(price) for price in prices] if isinstance(prices, list) else []
    return [*found, 0, 0][:2]


def amount_in(value: Any) -> int:
    """The last whole number in a text or number; 0 when there is none."""
    numbers = re.findall(r"\d+", str(value))
    return int(numbers[-1]) if numbers else 0


def text_in(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _build() -> StateGraph[Desk]:
    desk = StateGraph(Desk)
    for step in (intake, read_tone, stock, shipping, subtotal, work_total, compose, check):
        desk.add_node(step.__name__, step)
    desk.add_edge(START, "intake")
    desk.add_edge(START, "read_tone")
    desk.add_edge("intake", "stock")
    desk.add_edge("stock", "subtotal")
    desk.add_edge("intake", "shipping")
    desk.add_edge(["subtotal", "shipping"], "work_total")
    desk.add_edge("work_total", "compose")
    desk.add_edge(["compose", "read_tone"], "check")
    desk.add_edge("check", END)
    return desk


graph = _build().compile()
