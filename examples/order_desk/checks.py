"""Exact checks for the verifier `check`: what fails is asked for again, not put right here."""

import json
import re
from typing import Any

import graph as desk
from catalogue import fee_of, price_of
from prompts import summed


def order(text: str, subject: Any) -> bool:
    """Whether customer, city and two things stand in the e-mail that `intake` read, and the shop has the things.

    It cannot tell which of two cities is the address.
    """
    body, _, _ = desk.text_in(subject.inputs.get("email")).partition("\nP.S.")
    found = desk.order_in(text)
    things = found["items"]
    words = [found["name"], found["city"], *things]
    stand_there = all(word and re.search(rf"\b{re.escape(word)}\b", body) for word in words)
    return stand_there and len(set(things)) == 2 and all(map(price_of, things))


def goods(text: str, subject: Any) -> bool:
    """Whether the text adds up the two prices that `subtotal` read, in their order."""
    one, other = desk.prices_in(subject.inputs.get("prices"))
    return text == summed(one, other)


def total(text: str, subject: Any) -> bool:
    """Whether the text adds the fee of the van to the price of the goods, both as `work_total` read them."""
    read = subject.inputs
    return text == summed(desk.amount_in(read.get("goods")), fee_of(desk.text_in(read.get("van"))))


def as_order(text: str) -> str:
    """What `intake` makes of the model's words, for the verifier `resolve`."""
    return json.dumps(desk.order_in(text))
